//! Latencies by classes, from which percentiles are told.
//!
//! Every attempt falls into one of sixteen classes, each about twice as wide as the one before. Classes can be added up over any span of
//! time, which percentiles cannot; what is told of them is as exact as a class is narrow.

/// The upper bounds of the classes but the last, which has none; in milliseconds, each belonging to its own class.
pub const LATENCY_BOUNDS_MS: [u64; 15] =
    [5, 10, 20, 40, 80, 150, 300, 600, 1_200, 2_500, 5_000, 10_000, 20_000, 40_000, 60_000];

/// How many classes there are.
pub const LATENCY_CLASSES: usize = LATENCY_BOUNDS_MS.len() + 1;

/// How many latencies fell into each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram(pub [u64; LATENCY_CLASSES]);

impl Histogram {
    /// The class of a latency.
    pub fn class(ms: u64) -> usize {
        LATENCY_BOUNDS_MS.partition_point(|bound| *bound < ms)
    }

    /// Counts a latency.
    pub fn record(&mut self, ms: u64) {
        let class = &mut self.0[Self::class(ms)];
        *class = class.saturating_add(1);
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own = own.saturating_add(other);
        }
    }

    /// How many latencies were counted.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, class| sum.saturating_add(*class))
    }

    /// The latency, in milliseconds, that `percent` of a hundred did not exceed, estimated within its class; `None` when nothing was
    /// counted. More than a hundred counts as a hundred. What lies beyond the last bound is told as that bound.
    pub fn percentile(&self, percent: u8) -> Option<u64> {
        let all = u128::from(self.count());
        let rank = (all * u128::from(percent.min(100))).div_ceil(100).max(1);
        let mut before = 0;
        for (class, count) in self.0.iter().map(|count| u128::from(*count)).enumerate() {
            if count > 0 && before + count >= rank {
                let upper = LATENCY_BOUNDS_MS.get(class).copied();
                let lower = class.checked_sub(1).map_or(0, |below| LATENCY_BOUNDS_MS[below]);
                let width = u128::from(upper.unwrap_or(lower) - lower);
                let within = width * (rank - before) / count;
                return Some(lower + u64::try_from(within).expect("it is not wider than the class"));
            }
            before += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_class_below_it() {
        for (ms, class) in [(0, 0), (5, 0), (6, 1), (10, 1), (11, 2), (59_999, 14), (60_000, 14), (60_001, 15)] {
            assert_eq!(Histogram::class(ms), class, "{ms} ms");
        }
        assert_eq!(Histogram::class(u64::MAX), LATENCY_CLASSES - 1);
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Histogram::default().percentile(50), None);
    }

    #[test]
    fn percentiles_lie_in_the_class_of_their_rank() {
        let mut told = Histogram::default();
        (0..90).for_each(|_| told.record(30));
        (0..9).for_each(|_| told.record(900));
        told.record(70_000);
        assert_eq!(told.count(), 100);
        // 50 of the 90 between 20 and 40 ms; 5 of the 9 between 600 and 1,200 ms.
        assert_eq!(told.percentile(50), Some(31));
        assert_eq!(told.percentile(90), Some(40));
        assert_eq!(told.percentile(95), Some(933));
        assert_eq!(told.percentile(99), Some(1_200));
        assert_eq!(told.percentile(100), Some(60_000));
        assert_eq!(told.percentile(255), Some(60_000));
        assert_eq!(told.percentile(0), Some(20), "the first of them");
    }

    #[test]
    fn a_percentile_is_never_less_than_a_lower_one_nor_outside_its_class() {
        let mut latencies: Vec<u64> = (0..5_000_u64).map(|n| (n * n * 7919) % 50_000).collect();
        let mut told = Histogram::default();
        latencies.iter().for_each(|ms| told.record(*ms));
        latencies.sort_unstable();
        let mut last = 0;
        for percent in 1..=100_u8 {
            let estimate = told.percentile(percent).unwrap();
            let exact = latencies[(latencies.len() * usize::from(percent)).div_ceil(100) - 1];
            let (low, high) = (Histogram::class(estimate.max(1)), Histogram::class(exact));
            assert!(low.abs_diff(high) <= 1, "{percent} %: {estimate} for {exact}");
            assert!(estimate >= last);
            last = estimate;
        }
    }

    #[test]
    fn sums_are_those_of_both() {
        let (mut one, mut other, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        one.record(7);
        other.record(7);
        other.record(4_000);
        [7, 7, 4_000].iter().for_each(|ms| both.record(*ms));
        one.add(&other);
        assert_eq!(one, both);
    }
}
