//! When a delivery is attempted again: a pure function of what happened so far.
//!
//! The schedule counts from the first attempt, so that it spans a known time whatever each attempt took. Four failures
//! leave a delivery `pending`, the fifth makes it `failed`, a dead letter; attempts that are still due run all the same.
//!
//! A replay is a person's, outside the schedule: when it fails, the schedule goes on where it was, if it had not ended.

use std::time::Duration;

use datasonar_store::{DeliveryStatus, Verdict};
use jiff::{SignedDuration, Timestamp};

/// After so many failed attempts of the schedule a delivery is `failed`.
const FAILED_AFTER: u32 = 5;
/// The most that jitter adds to an offset: this share of it, and no more than this long.
const JITTER_SHARE: f64 = 0.1;
const JITTER_MOST: Duration = Duration::from_secs(60);

/// The operator's retry policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Offsets of the second and later attempts from the first, ascending.
    pub schedule: Vec<Duration>,
    /// How many attempts the schedule makes at most, the first included.
    pub max_attempts: u32,
}

/// What is known of a delivery when an attempt has ended.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// How many attempts the schedule has made, this one included if it was one.
    pub automatic_attempts: u32,
    /// When the first attempt began.
    pub first_attempt_at: Timestamp,
    /// Where the delivery stood before this one.
    pub status: DeliveryStatus,
    /// Whether the schedule had ended before this one: nothing that a replay brings may begin it again.
    pub schedule_ended: bool,
}

/// How an attempt ended, as far as the schedule cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with a 2xx.
    Delivered,
    /// Anything else.
    Failed {
        /// What `Retry-After` asked for, on a 429 or 503.
        retry_after: Option<Duration>,
    },
    /// Answered with 410 Gone: the endpoint wants no more.
    Gone,
}

impl RetryPolicy {
    /// Decides what follows from an attempt that ended at `now`. `chance` is a fraction from 0 to 1, for the jitter.
    pub fn next(&self, history: History, outcome: Outcome, now: Timestamp, chance: f64) -> Verdict {
        let retry_after = match outcome {
            Outcome::Delivered => return Verdict { status: DeliveryStatus::Delivered, next_attempt_at: None },
            Outcome::Gone if history.status != DeliveryStatus::Delivered => {
                return Verdict { status: DeliveryStatus::Failed, next_attempt_at: None };
            }
            Outcome::Gone => None,
            Outcome::Failed { retry_after } => retry_after,
        };
        let next_attempt_at = if history.schedule_ended { None } else { self.due(history, retry_after, now, chance) };
        let is_failed = history.automatic_attempts >= FAILED_AFTER || next_attempt_at.is_none();
        let status = match history.status {
            DeliveryStatus::Pending if !is_failed => DeliveryStatus::Pending,
            DeliveryStatus::Pending | DeliveryStatus::Failed => DeliveryStatus::Failed,
            DeliveryStatus::Delivered => DeliveryStatus::Delivered,
        };
        Verdict { status, next_attempt_at }
    }

    fn due(&self, history: History, retry_after: Option<Duration>, now: Timestamp, chance: f64) -> Option<Timestamp> {
        let made = history.automatic_attempts;
        if made >= self.max_attempts {
            return None;
        }
        // A replay may come before the schedule's first attempt, which is then due like a second one.
        let index = usize::try_from(made.max(1) - 1).ok()?;
        let offset = *self.schedule.get(index)?;
        let at = |offset: Duration| history.first_attempt_at.checked_add(signed(offset)).unwrap_or(Timestamp::MAX);
        let least_gap = signed(self.schedule.first().copied().unwrap_or_default());
        let scheduled = at(offset).max(now.checked_add(least_gap).unwrap_or(Timestamp::MAX));
        let jitter = offset.mul_f64(JITTER_SHARE * chance.clamp(0.0, 1.0)).min(JITTER_MOST);
        let due = scheduled.checked_add(signed(jitter)).unwrap_or(Timestamp::MAX);
        let Some(asked) = retry_after else { return Some(due) };
        // What the endpoint asks for moves the attempt between its own offset and the next, and no further.
        let last = self.schedule.get(index + 1).or(self.schedule.last()).copied().map_or(due, at);
        let asked = now.checked_add(signed(asked)).unwrap_or(Timestamp::MAX);
        Some(due.max(asked.min(last)))
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OFFSETS: [u64; 6] = [30, 120, 600, 3_600, 21_600, 86_400];

    fn policy(max_attempts: u32) -> RetryPolicy {
        RetryPolicy { schedule: OFFSETS.map(Duration::from_secs).to_vec(), max_attempts }
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const FAILED: Outcome = Outcome::Failed { retry_after: None };

    /// After so many attempts of the schedule, the last of them just made.
    fn scheduled(made: u32) -> History {
        let status = if made > FAILED_AFTER { DeliveryStatus::Failed } else { DeliveryStatus::Pending };
        History { automatic_attempts: made, first_attempt_at: second(0), status, schedule_ended: false }
    }

    fn after(made: u32, outcome: Outcome, now: i64) -> Verdict {
        policy(7).next(scheduled(made), outcome, second(now), 0.0)
    }

    #[test]
    fn an_endpoint_that_is_down_sees_seven_attempts_over_a_day() {
        for (made, offset) in (1..).zip(OFFSETS) {
            let previous = if made == 1 { 0 } else { OFFSETS[made as usize - 2] };
            let verdict = after(made, FAILED, i64::try_from(previous).unwrap() + 1);
            let expected = if made == 1 { 31 } else { i64::try_from(offset).unwrap() };
            assert_eq!(verdict.next_attempt_at, Some(second(expected)), "after {made}");
            let status = if made < 5 { DeliveryStatus::Pending } else { DeliveryStatus::Failed };
            assert_eq!(verdict.status, status, "after {made}");
        }
        assert_eq!(after(7, FAILED, 86_401), Verdict { status: DeliveryStatus::Failed, next_attempt_at: None });
    }

    #[test]
    fn five_attempts_at_most_end_with_the_fifth() {
        let verdict = policy(5).next(scheduled(5), FAILED, second(3_601), 0.0);
        assert_eq!(verdict, Verdict { status: DeliveryStatus::Failed, next_attempt_at: None });
    }

    #[test]
    fn success_and_gone_end_the_schedule() {
        assert_eq!(
            after(3, Outcome::Delivered, 700),
            Verdict { status: DeliveryStatus::Delivered, next_attempt_at: None }
        );
        assert_eq!(after(1, Outcome::Gone, 1), Verdict { status: DeliveryStatus::Failed, next_attempt_at: None });
    }

    #[test]
    fn retry_after_is_honoured_up_to_the_next_offset() {
        let asks = |seconds| Outcome::Failed { retry_after: Some(Duration::from_secs(seconds)) };
        assert_eq!(after(1, asks(60), 0).next_attempt_at, Some(second(60)));
        assert_eq!(after(1, asks(5), 0).next_attempt_at, Some(second(30)));
        assert_eq!(after(1, asks(1_000_000), 0).next_attempt_at, Some(second(120)));
        assert_eq!(after(6, asks(1_000_000), 21_601).next_attempt_at, Some(second(86_400)));
    }

    #[test]
    fn a_replay_that_fails_leaves_the_schedule_as_it_was() {
        let replay = |made, status| History { status, ..scheduled(made) };
        let ended = |made, status| History { schedule_ended: true, ..replay(made, status) };
        let next = |history, now| policy(7).next(history, FAILED, second(now), 0.0);
        let pending = DeliveryStatus::Pending;
        assert_eq!(next(replay(3, pending), 300), Verdict { status: pending, next_attempt_at: Some(second(600)) });
        let failed = DeliveryStatus::Failed;
        assert_eq!(next(replay(5, failed), 7_200), Verdict { status: failed, next_attempt_at: Some(second(21_600)) });
        assert_eq!(next(ended(7, failed), 90_000), Verdict { status: failed, next_attempt_at: None });
        assert_eq!(next(ended(1, failed), 10), Verdict { status: failed, next_attempt_at: None }, "it was gone");
        let delivered = DeliveryStatus::Delivered;
        assert_eq!(next(ended(1, delivered), 10), Verdict { status: delivered, next_attempt_at: None });
    }

    /// What befalls a delivery next: how long the attempt takes, its outcome, and whether a person comes before it.
    fn event() -> impl Strategy<Value = (i64, Outcome, bool, f64)> {
        let outcome = prop_oneof![
            8 => proptest::option::of(0..100_000_u64)
                .prop_map(|asked| Outcome::Failed { retry_after: asked.map(Duration::from_secs) }),
            1 => Just(Outcome::Delivered),
            1 => Just(Outcome::Gone),
        ];
        (0..40_i64, outcome, prop::bool::weighted(0.3), 0.0..1.0)
    }

    proptest! {
        /// A whole life of a delivery, with whatever an endpoint and a person may do to it.
        #[test]
        fn a_delivery_is_owed_its_attempts_at_their_times_and_no_more(
            events in proptest::collection::vec(event(), 1..30),
            max_attempts in 1..=7_u32,
        ) {
            let policy = policy(max_attempts);
            let mut now = second(0);
            let (mut made, mut status, mut due) = (0, DeliveryStatus::Pending, Some(now));
            let (mut last_end, mut gone, mut schedule_ended) = (None, false, false);
            for (took, outcome, replayed, chance) in events {
                if !replayed {
                    let Some(due) = due else { continue };
                    now = now.max(due);
                    prop_assert!(!gone, "nothing is sent by itself to who wants no more");
                    let offset = if made == 0 { 0 } else { OFFSETS[made as usize - 1] };
                    prop_assert!(now >= second(i64::try_from(offset).unwrap()), "early");
                    prop_assert!(last_end.is_none_or(|end| made == 0 || now >= end + SignedDuration::from_secs(30)));
                    made += 1;
                }
                now += SignedDuration::from_secs(took);
                let history = History { automatic_attempts: made, first_attempt_at: second(0), status, schedule_ended };
                let verdict = policy.next(history, outcome, now, chance);
                last_end = Some(now);
                gone |= outcome == Outcome::Gone;
                prop_assert!(made <= max_attempts);
                match (status, outcome) {
                    (DeliveryStatus::Delivered, _) | (_, Outcome::Delivered) => {
                        prop_assert_eq!(verdict, Verdict { status: DeliveryStatus::Delivered, next_attempt_at: None });
                    }
                    (_, Outcome::Gone) => {
                        prop_assert_eq!(verdict, Verdict { status: DeliveryStatus::Failed, next_attempt_at: None });
                    }
                    (_, Outcome::Failed { .. }) => {
                        let expected = if made >= FAILED_AFTER.min(max_attempts) || gone {
                            DeliveryStatus::Failed
                        } else {
                            DeliveryStatus::Pending
                        };
                        prop_assert_eq!(verdict.status, expected);
                        prop_assert_eq!(verdict.next_attempt_at.is_some(), made < max_attempts && !gone);
                    }
                }
                (status, due) = (verdict.status, verdict.next_attempt_at);
                schedule_ended = due.is_none();
            }
        }

        #[test]
        fn no_attempt_is_early_and_none_is_much_too_late(
            made in 1..=6_u32,
            took in 0..200_000_i64,
            chance in 0.0..1.0,
            asked in proptest::option::of(0..200_000_u64),
        ) {
            let retry_after = asked.map(Duration::from_secs);
            let now = second(took);
            let verdict = policy(7).next(scheduled(made), Outcome::Failed { retry_after }, now, chance);
            let due = verdict.next_attempt_at.unwrap();
            let offset = i64::try_from(OFFSETS[made as usize - 1]).unwrap();
            let scheduled = second(offset.max(took + 30));
            prop_assert!(due >= scheduled);
            let next = OFFSETS.get(made as usize).map_or(86_400, |next| *next);
            let latest = scheduled.as_second() + (offset / 10).min(60) + 1;
            let latest = if asked.is_some() { latest.max(i64::try_from(next).unwrap()) } else { latest };
            prop_assert!(due <= second(latest));
        }
    }
}
