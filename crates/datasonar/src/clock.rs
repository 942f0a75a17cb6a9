//! Time and chance, as parts that are passed in.
//!
//! Every timestamp in a row, every due time and every id comes from here, so that a test or the simulation decides what
//! time it is and what the dice show. Timers of a single exchange (a time-out, a pause between two tries) are tokio's,
//! which tests can pause.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use uuid::Uuid;

/// What time it is.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The time, to the millisecond.
    fn now(&self) -> Timestamp;

    /// Waits until it is `time`; at once when it is past.
    async fn sleep_until(&self, time: Timestamp);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place where the machine's time enters")]
        let now = Timestamp::now();
        whole_milliseconds(now)
    }

    async fn sleep_until(&self, time: Timestamp) {
        // Short naps, because a timer of hours would not notice that the machine slept or its clock was set.
        const NAP: SignedDuration = SignedDuration::from_secs(30);
        loop {
            let left = time.duration_since(self.now());
            if left <= SignedDuration::ZERO {
                return;
            }
            tokio::time::sleep(left.min(NAP).unsigned_abs()).await;
        }
    }
}

/// A clock that stands still until it is told otherwise.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<watch::Sender<Timestamp>>);

impl ManualClock {
    /// Starts at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(watch::Sender::new(whole_milliseconds(now))))
    }

    /// Moves on by `step` and wakes whoever waited for a time on the way.
    pub fn advance(&self, step: SignedDuration) {
        self.0.send_modify(|now| *now += step);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    async fn sleep_until(&self, time: Timestamp) {
        let mut now = self.0.subscribe();
        // The sender lives as long as `self`, so that waiting can only end with the time reached.
        let _ = now.wait_for(|now| *now >= time).await;
    }
}

fn whole_milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).expect("a timestamp's own milliseconds are in range")
}

/// Mints ids, secrets and jitter.
#[derive(Clone)]
pub struct Ids {
    clock: Arc<dyn Clock>,
    source: Arc<Source>,
}

enum Source {
    System(SystemRandom),
    Seeded(Mutex<u64>),
}

impl Ids {
    /// Draws from the operating system's random numbers.
    pub fn random(clock: Arc<dyn Clock>) -> Self {
        Self { clock, source: Arc::new(Source::System(SystemRandom::new())) }
    }

    /// Draws a sequence that depends on `seed` alone: for tests and the simulation, never for secrets that matter.
    pub fn seeded(clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self { clock, source: Arc::new(Source::Seeded(Mutex::new(seed))) }
    }

    /// Random bytes, fit for a secret.
    ///
    /// # Panics
    /// When the operating system has no random numbers to give: nothing safe can be done then.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &*self.source {
            Source::System(random) => random.fill(&mut bytes).expect("the operating system gives random bytes"),
            Source::Seeded(state) => {
                let mut state = state.lock();
                for chunk in bytes.chunks_mut(8) {
                    chunk.copy_from_slice(&split_mix(&mut state).to_le_bytes()[..chunk.len()]);
                }
            }
        }
        bytes
    }

    /// A UUID of version 7 (RFC 9562) for the present time.
    pub fn uuid(&self) -> Uuid {
        let milliseconds = u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &self.bytes()).into_uuid()
    }

    /// A fraction from 0 (included) to 1 (excluded), for jitter.
    pub fn fraction(&self) -> f64 {
        let bits = u64::from_le_bytes(self.bytes()) >> 11;
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds exactly")]
        let fraction = bits as f64 / (1_u64 << 53) as f64;
        fraction
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_those_whose_time_has_come() {
        let clock = ManualClock::new(Timestamp::from_second(1_000).unwrap());
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(Timestamp::from_second(1_010).unwrap()).await }
        });
        clock.advance(SignedDuration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(SignedDuration::from_secs(1));
        sleeper.await.unwrap();
    }

    #[test]
    fn a_seed_decides_every_id() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_000).unwrap()));
        let (a, b) = (Ids::seeded(clock.clone(), 7), Ids::seeded(clock, 7));
        assert_eq!(a.uuid(), b.uuid());
        assert_ne!(a.uuid(), a.uuid());
        assert!((0.0..1.0).contains(&a.fraction()));
    }
}
