//! The clocks of processes: the simulation's time, each off by something of its own, and jumping.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use datasonar::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Long naps, as the machine's clock has them, so that a jump is noticed.
const NAP: Duration = Duration::from_secs(30);

/// When every simulation begins: a Thursday.
pub(crate) fn epoch() -> Timestamp {
    Timestamp::from_second(1_767_225_600).expect("it is in range")
}

/// A clock that is off.
#[derive(Debug)]
pub(crate) struct OffClock {
    begin: Instant,
    off_ms: AtomicI64,
}

impl OffClock {
    pub(crate) fn new(begin: Instant, off_ms: i64) -> Self {
        Self { begin, off_ms: AtomicI64::new(off_ms) }
    }

    pub(crate) fn jump_to(&self, off_ms: i64) {
        self.off_ms.store(off_ms, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for OffClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.begin.elapsed().as_millis()).expect("a simulation takes days, not ages");
        epoch() + SignedDuration::from_millis(elapsed + self.off_ms.load(Ordering::Relaxed))
    }

    async fn sleep_until(&self, time: Timestamp) {
        loop {
            let left = time.duration_since(self.now());
            if left <= SignedDuration::ZERO {
                return;
            }
            tokio::time::sleep(left.unsigned_abs().min(NAP)).await;
        }
    }
}
