//! What a target has answered, and what that means for the messages that were sent.

use std::time::Duration;

/// Bytes of an answer that are read.
pub(super) const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Bytes of an answer that a dead letter keeps.
const EXCERPT_BYTES_MAX: usize = 1 << 10;

/// Bytes of a line about it.
const LINE_BYTES_MAX: usize = 2 << 10;

/// An answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// How long the target wishes not to be asked again: `Retry-After` (RFC 9110, section 10.2.3).
    pub(crate) retry_after: Option<Duration>,
    /// The body, at most 1 MiB of it.
    pub(crate) body: Vec<u8>,
    /// Whether the body went on.
    pub(crate) cut: bool,
}

/// What becomes of the messages of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The target has all of them.
    Accepted,
    /// It cannot take them at present; it may wish for a pause.
    Again { after: Option<Duration>, cause: String },
    /// They are too many for it, or one of them is wrong and it does not say which: halves are sent, down to one message
    /// alone, which is refused for good.
    Split(String),
    /// It would not take any message, whatever it holds: a wrong token, a wrong address. Nothing is thrown away; somebody must
    /// act, and is told again and again.
    Stop(String),
    /// It answered for each of them, in the order in which they were sent.
    Parts(Vec<Part>),
}

/// What becomes of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The target has it.
    Accepted,
    /// The target cannot take it at present.
    Again(String),
    /// The target would not take any message: see [`Verdict::Stop`].
    Stop(String),
    /// It was not looked at because of another one, which is no failure of the target.
    Unseen,
    /// The target will never take it.
    Refused(String),
}

impl Answer {
    /// What an answer means by its status alone (RFC 9110, section 15), where the target has no codes of its own. A 4xx
    /// that is not about the moment will not get better by itself; those that are about every request alike stop.
    pub(crate) fn verdict(&self) -> Verdict {
        match self.status {
            200..=299 => Verdict::Accepted,
            408 | 425 | 429 | 500..=599 => Verdict::Again { after: self.retry_after, cause: self.excerpt() },
            // Credentials, a proxy's too; an address; a method or a form that the address does not know.
            300..=399 | 401 | 403 | 404 | 405 | 406 | 407 | 415 => Verdict::Stop(self.excerpt()),
            _ => Verdict::Split(self.excerpt()),
        }
    }

    /// The status and the beginning of the body, on one line, for logs and dead letters.
    pub(crate) fn excerpt(&self) -> String {
        let begins = self.body.get(..EXCERPT_BYTES_MAX);
        let text = String::from_utf8_lossy(begins.unwrap_or(&self.body));
        let line = one_line(&format!("HTTP {}: {text}", self.status));
        let line = line.trim_end_matches(':');
        if begins.is_some_and(|begins| begins.len() < self.body.len()) { format!("{line}…") } else { line.to_owned() }
    }
}

/// What a target says, for logs and dead letters: on one line, without what a terminal would act on, and short.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = words.collect::<Vec<_>>().join(" ");
    if line.len() > LINE_BYTES_MAX {
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        line.push('…');
    }
    line
}

/// Reads `Retry-After`: seconds, or a date. A date that has passed is no pause.
pub(super) fn retry_after(text: &str, now_ms: i64) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let ms = date.timestamp().as_millisecond().saturating_sub(now_ms);
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() }
    }

    #[test]
    fn every_status_means_something() {
        let mut kinds = std::collections::BTreeMap::new();
        for status in 200..=599 {
            let kind = match answer(status, "").verdict() {
                Verdict::Accepted => "accepted",
                Verdict::Again { .. } => "again",
                Verdict::Split(_) => "split",
                Verdict::Stop(_) => "stop",
                Verdict::Parts(_) => "parts",
            };
            kinds.insert(status, kind);
        }
        for (status, kind) in [
            (200, "accepted"),
            (202, "accepted"),
            (302, "stop"),
            (400, "split"),
            (401, "stop"),
            (403, "stop"),
            (404, "stop"),
            (408, "again"),
            (413, "split"),
            (422, "split"),
            (429, "again"),
            (500, "again"),
            (503, "again"),
        ] {
            assert_eq!(kinds[&status], kind, "{status}");
        }
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(answer(413, "").excerpt(), "HTTP 413");
        assert_eq!(answer(400, " a\n\tb\u{1b}[0m ").excerpt(), "HTTP 400: a b [0m");
        let long = answer(500, &"x".repeat(5_000)).excerpt();
        assert!(long.ends_with("x…") && long.len() < 1_100, "{long}");
        assert_eq!(one_line(&"a\n".repeat(5_000)).len(), LINE_BYTES_MAX + '…'.len_utf8());
        let within = answer(500, &"€".repeat(1_000)).excerpt();
        assert!(within.ends_with('…'), "cut within a character");
    }

    #[test]
    fn a_pause_is_wished_in_seconds_or_by_a_date() {
        let now_ms = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
        assert_eq!(retry_after("120", now_ms), Some(Duration::from_secs(120)));
        assert_eq!(retry_after(" 0 ", now_ms), Some(Duration::ZERO));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now_ms), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now_ms), Some(Duration::ZERO));
        for text in ["", "-5", "soon", "1.5", "99999999999999"] {
            assert_eq!(retry_after(text, now_ms), None, "{text}");
        }
    }
}
