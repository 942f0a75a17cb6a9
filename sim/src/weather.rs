//! How bad a seed is: which faults there are and how often. Each seed draws its own, so that some have one fault alone,
//! and some all of them at once.

use std::time::Duration;

use crate::dice::Dice;

/// Faults in a million calls, unless it says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// A process dies before a call of the store has done anything.
    pub(crate) dies_before: u64,
    /// A process dies after a call was done and before it hears of it.
    pub(crate) dies_after: u64,
    /// A call fails and does nothing.
    pub(crate) fails: u64,
    /// A call is done, and its answer lost.
    pub(crate) loses_answer: u64,
    /// An answer comes late.
    pub(crate) late: u64,
    /// A blob is not written or read.
    pub(crate) blob_fails: u64,
    /// A name is not resolved, or a connection not made.
    pub(crate) net_fails: u64,
    /// A process that has just claimed something is cut off, for longer than a lease.
    pub(crate) ambush: u64,
    /// The least and the most milliseconds between two misfortunes of processes (death, cut, jump).
    pub(crate) misfortune_ms: (u64, u64),
    /// The most milliseconds that a clock is off.
    pub(crate) skew_ms: i64,
    /// The most milliseconds that a call of the store takes.
    pub(crate) call_ms: u64,
    /// How long faults happen.
    pub(crate) storm: Duration,
}

impl Weather {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let often = [0, 500, 2_000, 8_000];
        let mut rate = || *dice.pick(&often);
        Self {
            dies_before: rate(),
            dies_after: rate(),
            fails: rate() * 2,
            loses_answer: rate(),
            late: rate() * 2,
            blob_fails: rate() * 4,
            net_fails: rate() * 2,
            ambush: *dice.pick(&[0, 20_000, 100_000, 300_000]),
            misfortune_ms: *dice.pick(&[(1_000, 8_000), (3_000, 20_000), (10_000, 60_000)]),
            skew_ms: *dice.pick(&[0, 200, 2_000]),
            call_ms: *dice.pick(&[1, 3, 20]),
            storm: dice.milliseconds(40_000..130_000),
        }
    }
}
