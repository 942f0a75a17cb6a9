//! Chance: a sequence that depends on the seed alone.

use std::{ops::Range, time::Duration};

/// A generator (SplitMix64). Whoever is to draw independently of the others gets one of its own by [`Dice::fork`].
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        // Seeds are counted up; the first draw keeps neighbours from being alike.
        let mut dice = Self(seed ^ 0x5eed_0000_0000_0000);
        dice.next();
        dice
    }

    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of the range, which is not empty.
    pub(crate) fn of(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// An index into a list of this length, which is not empty.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.next() % length as u64).expect("it is less than a length")
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// True so many times in a million.
    pub(crate) fn chance(&mut self, millionths: u64) -> bool {
        self.next() % 1_000_000 < millionths
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.chance(percent * 10_000)
    }

    pub(crate) fn milliseconds(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.of(range))
    }
}
