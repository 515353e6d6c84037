//! Which letters are meant.

use std::str::FromStr;

use super::Letter;

/// A point in time: as RFC 3339, or as a duration before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// In milliseconds since the epoch.
    pub ms: i64,
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Time, String> {
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Ok(Time { ms: time.as_millisecond() });
        }
        let hint = "write a time such as 2025-06-03T09:00:00Z, or a duration back such as 2h or 3 days";
        let back = text.parse::<jiff::Span>().map_err(|_| hint)?;
        let back = back.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| hint)?;
        let time = jiff::Timestamp::now().checked_sub(back.abs()).map_err(|_| hint)?;
        Ok(Time { ms: time.as_millisecond() })
    }
}

/// Conditions that must all hold; without any, every letter is meant.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// A rule that was selected for the record when its module failed.
    pub rule: Option<String>,
    /// The module that failed.
    pub module: Option<String>,
    /// The reason.
    pub reason: Option<String>,
    /// Written at this time or later.
    pub since: Option<Time>,
    /// Written before this time.
    pub until: Option<Time>,
    /// The topic that the message came from.
    pub topic: Option<String>,
    /// The partition that the message came from.
    pub partition: Option<i32>,
}

impl Selection {
    /// Whether a letter is meant. One whose time is not known is not meant where a time is asked for.
    pub fn holds(&self, letter: &Letter) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let time = |wanted: Option<Time>, good: fn(i64, i64) -> bool| {
            wanted.is_none_or(|wanted| letter.time_ms.is_some_and(|ms| good(ms, wanted.ms)))
        };
        self.rule.as_ref().is_none_or(|rule| letter.rules.contains(rule))
            && self.module.as_ref().is_none_or(|module| letter.module.as_ref() == Some(module))
            && is(&self.reason, &letter.reason)
            && is(&self.topic, &letter.topic)
            && self.partition.is_none_or(|partition| partition == letter.partition)
            && time(self.since, |ms, since| ms >= since)
            && time(self.until, |ms, until| ms < until)
    }

    /// Whether a time is asked for.
    pub fn by_time(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        Letter {
            reason: "module_trapped".to_owned(),
            detail: String::new(),
            topic: "t".to_owned(),
            partition: 4,
            offset: 5,
            module: Some("m".to_owned()),
            rules: vec!["A-1".to_owned(), "A-12".to_owned()],
            time_ms: Some(1_000),
            key: Vec::new(),
            headers: Vec::new(),
            original: Vec::new(),
        }
    }

    #[test]
    fn every_condition_must_hold() {
        let check = |expect: bool, change: &dyn Fn(&mut Selection)| {
            let mut selection = Selection::default();
            change(&mut selection);
            assert_eq!(selection.holds(&letter()), expect, "{selection:?}");
        };
        let text = |text: &str| Some(text.to_owned());
        check(true, &|_| {});
        check(true, &|s| s.rule = text("A-12"));
        check(false, &|s| s.rule = text("A-2"));
        check(false, &|s| s.rule = text("A-1,A-12"));
        check(true, &|s| s.module = text("m"));
        check(false, &|s| s.module = text("n"));
        check(false, &|s| s.reason = text("module"));
        check(false, &|s| s.topic = text("other"));
        check(false, &|s| s.partition = Some(5));
        check(true, &|s| (s.since, s.until) = (Some(Time { ms: 1_000 }), Some(Time { ms: 1_001 })));
        check(false, &|s| s.since = Some(Time { ms: 1_001 }));
        check(false, &|s| s.until = Some(Time { ms: 1_000 }));
        let unknown = Letter { time_ms: None, ..letter() };
        assert!(!Selection { since: Some(Time { ms: 0 }), ..Selection::default() }.holds(&unknown));
        let read = Letter { module: None, rules: Vec::new(), ..letter() };
        assert!(!Selection { module: text("m"), ..Selection::default() }.holds(&read));
    }

    #[test]
    fn a_time_is_absolute_or_back_from_now() {
        let ms = |text: &str| text.parse::<Time>().unwrap().ms;
        assert_eq!(ms("1970-01-01T00:00:02Z"), 2_000);
        assert_eq!(ms("1970-01-01T01:00:00+01:00"), 0);
        let now = jiff::Timestamp::now().as_millisecond();
        for (text, back) in [("2h", 7_200_000), ("90m", 5_400_000), ("1d", 86_400_000), ("3 days", 259_200_000)] {
            assert!((now - back - ms(text)).abs() < 60_000, "{text}");
        }
        for wrong in ["", "yesterday", "2", "1 month", "2025-06-03"] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
    }
}
