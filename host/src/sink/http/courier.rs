//! The patience: pieces are sent in order until each message is taken or refused for good, however long that takes.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::answer::{Part, Verdict};
use super::{HttpConfig, Parcels};
use crate::sink::{Refused, SinkError, Wait};

/// How a target has behaved so far, and what is done about it. One worker's.
#[derive(Debug)]
pub(crate) struct Courier {
    name: String,
    request_bytes_max: usize,
    retry: (Duration, Duration),
    retry_after_max: Duration,
    failures_in_row_max: u32,
    /// Requests in a row of which nothing was taken.
    failures: u32,
    /// Whether the target counts as down: what is sent then is one message, until one is taken.
    down: bool,
}

/// What is left of a piece after an attempt.
struct Left {
    /// To be sent again, in order.
    again: Vec<usize>,
    /// Whether anything was taken or refused, so that the target works.
    progress: bool,
    /// Why something is to be sent again; None where nothing went wrong with it.
    cause: Option<String>,
    /// Whether somebody must act.
    stop: bool,
    after: Option<Duration>,
}

impl Courier {
    /// A courier to a target that is not reached over HTTP. What is delivered at once is one piece.
    pub(crate) fn to(name: String, retry: (Duration, Duration)) -> Courier {
        let patience = HttpConfig { url: name, retry_min: retry.0, retry_max: retry.1, ..HttpConfig::default() };
        Courier { request_bytes_max: usize::MAX, ..Courier::new(&patience) }
    }

    /// A courier to the target of `config`.
    pub(crate) fn new(config: &HttpConfig) -> Courier {
        Courier {
            name: config.url.clone(),
            request_bytes_max: config.request_bytes_max,
            retry: (config.retry_min, config.retry_max),
            retry_after_max: config.retry_after_max,
            failures_in_row_max: config.failures_in_row_max,
            failures: 0,
            down: false,
        }
    }

    /// Sends all of `parcels` and returns when each is taken or refused for good. `attempt` sends the messages of a piece
    /// once. A piece is sent when all before it is settled, so that messages arrive in their order.
    pub(crate) fn deliver(
        &mut self,
        mut parcels: Parcels,
        wait: &mut Wait<'_>,
        mut attempt: impl FnMut(&Parcels, &[usize], &mut Wait<'_>) -> Result<Verdict, SinkError>,
    ) -> Result<Vec<Refused>, SinkError> {
        let mut refused = std::mem::take(&mut parcels.refused);
        let mut queue: VecDeque<Vec<usize>> = parcels.pieces(self.request_bytes_max).into();
        while let Some(mut piece) = queue.pop_front() {
            if self.down && piece.len() > 1 {
                queue.push_front(piece.split_off(1));
            }
            let waiting = piece.len() + queue.iter().map(Vec::len).sum::<usize>();
            let verdict = match attempt(&parcels, &piece, wait) {
                Err(SinkError::Stopped { .. }) => return Err(self.stopped(waiting)),
                verdict => verdict?,
            };
            if let Verdict::Split(cause) = &verdict
                && piece.len() > 1
            {
                tracing::debug!(target = self.name, messages = piece.len(), "sent in halves: {cause}");
                wait.metrics.retried(piece.len());
                self.works(wait);
                let second = piece.split_off(piece.len().div_ceil(2));
                queue.push_front(second);
                queue.push_front(piece);
                continue;
            }
            let left = settle(verdict, piece, &mut refused);
            if left.progress {
                self.works(wait);
            }
            if left.again.is_empty() {
                continue;
            }
            wait.metrics.retried(left.again.len());
            let waiting = left.again.len() + queue.iter().map(Vec::len).sum::<usize>();
            if left.cause.is_some() && !wait.pause(self.fails(&left, waiting, wait)) {
                return Err(self.stopped(waiting));
            }
            queue.push_front(left.again);
        }
        refused.sort_by_key(|refused| refused.index);
        Ok(refused)
    }

    fn stopped(&self, waiting: usize) -> SinkError {
        SinkError::Stopped { name: self.name.clone(), waiting }
    }

    /// The target has settled something.
    fn works(&mut self, wait: &Wait<'_>) {
        if self.down {
            tracing::info!(target = self.name, "the target takes messages again");
            wait.metrics.target_up();
        }
        (self.failures, self.down) = (0, false);
    }

    /// Notes a failure, says so, and gives the pause before the next attempt.
    fn fails(&mut self, left: &Left, waiting: usize, wait: &Wait<'_>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let cause = left.cause.as_deref().unwrap_or_default();
        let doublings = (self.failures - 1).min(20);
        let full = self.retry.0.saturating_mul(1 << doublings).min(self.retry.1);
        let asked = left.after.unwrap_or_default().min(self.retry_after_max);
        // With all workers of all instances in step, a target that comes back would fall over at once.
        let pause = if left.stop { self.retry.1 } else { jittered(full).max(asked) };
        let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let goes_down = !self.down && (left.stop || self.failures >= self.failures_in_row_max);
        if left.stop {
            tracing::error!(
                target = self.name,
                waiting,
                retry_ms,
                "refuses every message until somebody acts, nothing is thrown away: {cause}"
            );
        } else if goes_down {
            tracing::error!(target = self.name, waiting, retry_ms, "the target counts as down: {cause}");
        } else if !self.down {
            tracing::warn!(target = self.name, waiting, retry_ms, "not delivered yet: {cause}");
        } else {
            tracing::debug!(target = self.name, waiting, retry_ms, "still down: {cause}");
        }
        if goes_down || self.down {
            self.down = true;
            wait.metrics.target_down(&self.name, cause);
        }
        pause
    }
}

/// What a verdict leaves of `piece`; what is refused for good is added to `refused`.
fn settle(verdict: Verdict, piece: Vec<usize>, refused: &mut Vec<Refused>) -> Left {
    let mut left = Left { again: Vec::new(), progress: false, cause: None, stop: false, after: None };
    match verdict {
        Verdict::Accepted => left.progress = true,
        Verdict::Split(cause) => {
            refused.extend(piece.into_iter().map(|index| Refused { index, cause: cause.clone() }));
            left.progress = true;
        }
        Verdict::Again { after, cause } => {
            (left.again, left.cause, left.after) = (piece, Some(cause), after);
        }
        Verdict::Stop(cause) => (left.again, left.cause, left.stop) = (piece, Some(cause), true),
        Verdict::Parts(parts) => {
            let mut parts = parts.into_iter();
            for index in piece {
                match parts.next().unwrap_or_else(|| Part::Again("not answered for".to_owned())) {
                    Part::Accepted => left.progress = true,
                    Part::Refused(cause) => {
                        refused.push(Refused { index, cause });
                        left.progress = true;
                    }
                    Part::Unseen => left.again.push(index),
                    Part::Again(cause) => {
                        left.again.push(index);
                        left.cause.get_or_insert(cause);
                    }
                    Part::Stop(cause) => {
                        left.again.push(index);
                        left.stop = true;
                        left.cause = Some(cause);
                    }
                }
            }
        }
    }
    if !left.progress {
        left.cause.get_or_insert_with(|| "nothing was taken".to_owned());
    }
    left
}

/// Between a half and the whole of `pause`, by chance.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
    let chance = RandomState::new().build_hasher().finish();
    half + Duration::from_nanos(if nanos == 0 { 0 } else { chance % (nanos + 1) })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Patience;
    use super::*;

    fn parcels(n: usize) -> Parcels {
        let mut parcels = Parcels::default();
        for number in 0..n {
            parcels.push(|to| {
                to.push(b'0' + number as u8);
                Ok(())
            });
        }
        parcels
    }

    fn courier() -> Courier {
        Courier::new(&HttpConfig {
            retry_min: Duration::from_micros(10),
            retry_max: Duration::from_micros(50),
            failures_in_row_max: 3,
            ..HttpConfig::default()
        })
    }

    /// Delivers `n` messages; `answer` is asked with the number of the attempt and the messages of its piece.
    fn deliver(
        courier: &mut Courier,
        n: usize,
        mut answer: impl FnMut(usize, &[usize]) -> Verdict,
    ) -> (Vec<Vec<usize>>, Vec<usize>, Patience) {
        let (mut sent, mut patience) = (Vec::new(), Patience::new());
        let refused = courier.deliver(parcels(n), &mut patience.wait(), |_, piece, _| {
            sent.push(piece.to_vec());
            Ok(answer(sent.len() - 1, piece))
        });
        (sent, refused.unwrap().iter().map(|refused| refused.index).collect(), patience)
    }

    fn again() -> Verdict {
        Verdict::Again { after: None, cause: "busy".to_owned() }
    }

    #[test]
    fn halves_are_sent_until_the_bad_one_is_alone() {
        let (sent, refused, _) = deliver(&mut courier(), 4, |_, piece| {
            if piece.contains(&2) { Verdict::Split("bad".to_owned()) } else { Verdict::Accepted }
        });
        assert_eq!(sent, [vec![0, 1, 2, 3], vec![0, 1], vec![2, 3], vec![2], vec![3]]);
        assert_eq!(refused, [2]);
    }

    #[test]
    fn what_was_not_taken_is_sent_again_and_nothing_else() {
        let (sent, refused, patience) = deliver(&mut courier(), 4, |attempt, piece| match attempt {
            0 => Verdict::Parts(vec![
                Part::Accepted,
                Part::Again("busy".to_owned()),
                Part::Refused("bad".to_owned()),
                Part::Unseen,
            ]),
            1 => again(),
            _ => Verdict::Parts(piece.iter().map(|_| Part::Accepted).collect()),
        });
        assert_eq!(sent, [vec![0, 1, 2, 3], vec![1, 3], vec![1, 3]]);
        assert_eq!(refused, [2]);
        assert_eq!(patience.metric("retried_total"), 4.0);
    }

    #[test]
    fn an_answer_that_lacks_results_loses_no_message() {
        let (sent, refused, _) = deliver(&mut courier(), 3, |attempt, _| match attempt {
            0 => Verdict::Parts(vec![Part::Accepted]),
            1 => Verdict::Parts(Vec::new()),
            _ => Verdict::Accepted,
        });
        assert_eq!(sent, [vec![0, 1, 2], vec![1, 2], vec![1, 2]]);
        assert!(refused.is_empty());
    }

    #[test]
    fn a_target_that_is_down_is_probed_with_one_message() {
        let mut courier = courier();
        let (sent, _, patience) =
            deliver(&mut courier, 3, |attempt, _| if attempt < 5 { again() } else { Verdict::Accepted });
        let all = vec![0, 1, 2];
        assert_eq!(sent, [all.clone(), all.clone(), all, vec![0], vec![0], vec![0], vec![1, 2]]);
        assert_eq!(patience.metric("target_down"), 0.0);
        assert!(!courier.down);
    }

    #[test]
    fn a_target_that_is_down_shows_with_its_last_cause() {
        let mut patience = Patience::new();
        let overview = patience.all.overview().clone();
        let mut attempt = 0;
        let delivered = courier().deliver(parcels(1), &mut patience.wait(), |_, _, _| {
            attempt += 1;
            let shown: Vec<String> = overview.down().into_iter().map(|one| one.down.cause).collect();
            let expect = if attempt > 3 { vec![format!("failure {}", attempt - 1)] } else { Vec::new() };
            assert_eq!(shown, expect, "before attempt {attempt}");
            Ok(if attempt > 5 {
                Verdict::Accepted
            } else {
                Verdict::Again { after: None, cause: format!("failure {attempt}") }
            })
        });
        assert!(delivered.unwrap().is_empty() && attempt == 6);
        assert!(overview.down().is_empty());
    }

    #[test]
    fn a_wrong_token_throws_nothing_away() {
        let (sent, refused, _) = deliver(&mut courier(), 2, |attempt, _| match attempt {
            0..3 => Verdict::Stop("no such token".to_owned()),
            _ => Verdict::Accepted,
        });
        assert_eq!(sent, [vec![0, 1], vec![0], vec![0], vec![0], vec![1]], "one message tries the token");
        assert!(refused.is_empty());
    }

    #[test]
    fn a_stop_ends_the_waiting() {
        let mut patience = Patience::new();
        patience.shutdown.request();
        let delivered = courier().deliver(parcels(2), &mut patience.wait(), |_, _, _| Ok(again()));
        assert!(matches!(delivered, Err(SinkError::Stopped { waiting: 2, .. })), "{delivered:?}");
    }

    #[test]
    fn pauses_grow_to_their_limit_and_follow_the_target_to_another() {
        let mut courier = Courier::new(&HttpConfig {
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(1),
            retry_after_max: Duration::from_secs(60),
            failures_in_row_max: 1_000,
            ..HttpConfig::default()
        });
        let mut patience = Patience::new();
        let wait = patience.wait();
        let left = |after| Left { again: vec![0], progress: false, cause: None, stop: false, after };
        for full_ms in [100, 200, 400, 800, 1_000, 1_000] {
            let pause = courier.fails(&left(None), 1, &wait).as_millis();
            assert!((full_ms / 2..=full_ms).contains(&pause), "{pause} of {full_ms}");
        }
        assert_eq!(courier.fails(&left(Some(Duration::from_secs(30))), 1, &wait), Duration::from_secs(30));
        assert_eq!(courier.fails(&left(Some(Duration::from_secs(3_000))), 1, &wait), Duration::from_secs(60));
    }
}
