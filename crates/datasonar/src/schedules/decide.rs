//! What becomes of a schedule whose time has come: a pure decision. The scheduler loads what it needs to know and records
//! what comes of it.
//!
//! However many of its times have passed unseen, while nothing ran or while the machine slept, they come to one run, at once;
//! after it the schedule goes on at its next time. While it is paused nothing becomes of it, and the times that pass then are
//! not made up for.

use datasonar_store::Overlap;
use jiff::Timestamp;

/// Where a schedule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it does when its last job has not ended.
    pub overlap: Overlap,
    /// Whether it rests.
    pub paused: bool,
    /// Its next time, as it was last planned.
    pub next_run_at: Option<Timestamp>,
    /// Whether a job of it is open.
    pub is_open: bool,
    /// The time of the run that waits for that job's end, if one does.
    pub queued: Option<Timestamp>,
}

/// What a run comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its job starts.
    Start,
    /// It waits until the job before has ended.
    Queue,
    /// There is none, because the job before has not ended.
    Skip,
}

/// A run that is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The time it was planned for.
    pub planned_at: Timestamp,
    /// What it comes to.
    pub decision: Decision,
    /// The schedule's next time thereafter.
    pub next_run_at: Option<Timestamp>,
}

/// Decides what is to be done now; `None` when nothing is. `next` tells a schedule's first time after another.
pub fn decide(schedule: &Standing, now: Timestamp, next: impl Fn(Timestamp) -> Option<Timestamp>) -> Option<Step> {
    let Standing { overlap, paused, next_run_at, is_open, queued } = *schedule;
    if paused {
        return None;
    }
    if let Some(planned_at) = queued.filter(|_| !is_open) {
        return Some(Step { planned_at, decision: Decision::Start, next_run_at });
    }
    let planned_at = next_run_at.filter(|time| *time <= now)?;
    let decision = match overlap {
        Overlap::Allow => Decision::Start,
        _ if !is_open => Decision::Start,
        Overlap::Queue if queued.is_none() => Decision::Queue,
        Overlap::Queue | Overlap::Skip => Decision::Skip,
    };
    Some(Step { planned_at, decision, next_run_at: next(now) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Every ten seconds.
    fn next(after: Timestamp) -> Option<Timestamp> {
        Some(at((after.as_second().div_euclid(10) + 1) * 10))
    }

    #[test]
    fn what_becomes_of_a_time() {
        use Decision::{Queue, Skip, Start};
        let due = |overlap, is_open, queued: Option<i64>| {
            let queued = queued.map(at);
            let standing = Standing { overlap, paused: false, next_run_at: Some(at(100)), is_open, queued };
            decide(&standing, at(100), next).map(|step| (step.decision, step.planned_at.as_second(), step.next_run_at))
        };
        for (overlap, is_open, queued, expected) in [
            (Overlap::Skip, false, None, (Start, 100, 110)),
            (Overlap::Skip, true, None, (Skip, 100, 110)),
            (Overlap::Queue, false, None, (Start, 100, 110)),
            (Overlap::Queue, true, None, (Queue, 100, 110)),
            (Overlap::Queue, true, Some(90), (Skip, 100, 110)),
            // The one that waits comes first, and the time that is due stays due.
            (Overlap::Queue, false, Some(90), (Start, 90, 100)),
            (Overlap::Allow, true, None, (Start, 100, 110)),
            (Overlap::Allow, false, None, (Start, 100, 110)),
        ] {
            let (decision, planned, next) = expected;
            assert_eq!(due(overlap, is_open, queued), Some((decision, planned, Some(at(next)))), "{overlap} {is_open}");
        }
    }

    #[test]
    fn nothing_is_done_before_its_time_or_while_it_rests() {
        let standing = Standing {
            overlap: Overlap::Allow,
            paused: false,
            next_run_at: Some(at(100)),
            is_open: false,
            queued: None,
        };
        assert_eq!(decide(&standing, at(99), next), None);
        assert_eq!(decide(&Standing { next_run_at: None, ..standing }, at(500), next), None);
        assert_eq!(decide(&Standing { paused: true, queued: Some(at(90)), ..standing }, at(500), next), None);
    }

    #[test]
    fn what_was_missed_is_one_run() {
        let standing = Standing {
            overlap: Overlap::Allow,
            paused: false,
            next_run_at: Some(at(100)),
            is_open: false,
            queued: None,
        };
        let step = decide(&standing, at(9_999), next).unwrap();
        assert_eq!((step.planned_at, step.decision, step.next_run_at), (at(100), Decision::Start, Some(at(10_000))));
    }

    #[derive(Clone, Copy, Debug)]
    enum Happening {
        /// So many seconds pass, and the scheduler looks.
        Looks(i64),
        /// So many seconds pass, and nobody looks.
        Passes(i64),
        /// The oldest open job ends.
        Ends,
    }

    fn happenings() -> impl Strategy<Value = Vec<Happening>> {
        let happening = prop_oneof![
            4 => (0_i64..15).prop_map(Happening::Looks),
            1 => (0_i64..60).prop_map(Happening::Passes),
            2 => Just(Happening::Ends),
        ];
        proptest::collection::vec(happening, 1..80)
    }

    fn overlaps() -> impl Strategy<Value = Overlap> {
        prop_oneof![Just(Overlap::Skip), Just(Overlap::Queue), Just(Overlap::Allow)]
    }

    proptest! {
        /// Whatever happens: each time is decided once; jobs overlap only where that is allowed; one run waits at most,
        /// and it runs; nothing that is due is left.
        #[test]
        fn a_schedule_keeps_its_rules(overlap in overlaps(), happenings in happenings()) {
            let mut now = at(1_000);
            let mut standing = Standing { overlap, paused: false, next_run_at: next(now), is_open: false, queued: None };
            let (mut open, mut decided, mut started) = (0, BTreeSet::new(), BTreeSet::new());
            for happening in happenings {
                match happening {
                    Happening::Passes(seconds) => now += SignedDuration::from_secs(seconds),
                    Happening::Ends => open = u32::saturating_sub(open, 1),
                    Happening::Looks(seconds) => {
                        now += SignedDuration::from_secs(seconds);
                        standing.is_open = open > 0;
                        for look in 0.. {
                            let Some(step) = decide(&standing, now, next) else { break };
                            prop_assert!(look < 3, "it does not come to rest");
                            prop_assert!(step.planned_at <= now && step.next_run_at.is_some());
                            if standing.queued != Some(step.planned_at) {
                                prop_assert!(decided.last().is_none_or(|last| *last < step.planned_at));
                                decided.insert(step.planned_at);
                            }
                            match step.decision {
                                Decision::Start => {
                                    prop_assert!(overlap == Overlap::Allow || open == 0);
                                    prop_assert!(started.insert(step.planned_at), "it ran twice");
                                    open += 1;
                                    if standing.queued == Some(step.planned_at) {
                                        standing.queued = None;
                                    }
                                }
                                Decision::Queue => {
                                    prop_assert!(overlap == Overlap::Queue && standing.queued.is_none());
                                    standing.queued = Some(step.planned_at);
                                }
                                Decision::Skip => prop_assert!(overlap != Overlap::Allow && open > 0),
                            }
                            standing.next_run_at = step.next_run_at;
                            standing.is_open = open > 0;
                        }
                        prop_assert!(standing.next_run_at > Some(now));
                        prop_assert!(standing.queued.is_none() || open > 0);
                    }
                }
            }
            prop_assert!(started.is_subset(&decided));
        }
    }
}
