//! Time and chance, as parts that are passed in.
//!
//! Every timestamp in a row, every due time and every id comes from here, so that a test or the simulation decides what
//! time it is and what the dice show. Timers of a single exchange (a time-out, a pause between two tries) are tokio's,
//! which tests can pause.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use uuid::Uuid;

/// What time it is.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The time, to the millisecond.
    fn now(&self) -> Timestamp;

    /// Waits until it is `time`; at once when it is past.
    async fn sleep_until(&self, time: Timestamp);

    /// Learns what time it is for the store that several machines share. A clock that keeps to its own does nothing.
    fn follow(&self, _store: Timestamp) {}
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        whole_milliseconds(machine())
    }

    async fn sleep_until(&self, time: Timestamp) {
        nap_until(self, time).await;
    }
}

/// The clock of a server: the machine's time, or the shared store's, without its leaps.
///
/// Leases and due times must not lapse because somebody sets the clock. So this one never goes back, and follows a clock that was set by
/// going up to half as fast again, or half as slow, until it has caught up. How fast time passes is told by the machine's counter since it was
/// started, which nobody sets, and which goes on while the machine sleeps.
#[derive(Debug)]
pub struct SteadyClock(Mutex<Pace>);

/// What a [`SteadyClock`] knows.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// What was told last, and what the counter was then.
    told: Timestamp,
    counted: Duration,
    /// What the store's time was, and what the counter was then; `None` while there is no such store.
    store: Option<(Timestamp, Duration)>,
}

impl Pace {
    /// What to tell when the machine's clock and counter stand so.
    fn tell(&mut self, machine: Timestamp, counted: Duration) -> Timestamp {
        let passed = counted.saturating_sub(self.counted);
        let aim = match self.store {
            Some((time, then)) => time + counted.saturating_sub(then),
            None => machine,
        };
        self.told = aim.clamp(self.told + passed / 2, self.told + passed * 3 / 2);
        self.counted = counted;
        self.told
    }
}

impl SteadyClock {
    /// Begins with the machine's time.
    pub fn new() -> Self {
        Self(Mutex::new(Pace { told: machine(), counted: counter(), store: None }))
    }
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        whole_milliseconds(self.0.lock().tell(machine(), counter()))
    }

    async fn sleep_until(&self, time: Timestamp) {
        nap_until(self, time).await;
    }

    fn follow(&self, store: Timestamp) {
        let mut pace = self.0.lock();
        let counted = counter();
        if pace.store.replace((store, counted)).is_none() {
            // Nothing was told yet that the first answer could contradict.
            (pace.told, pace.counted) = (store, counted);
        }
    }
}

/// The time since the machine was started, its sleep included.
fn counter() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const COUNTER: ClockId = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const COUNTER: ClockId = ClockId::Monotonic;
    let time = clock_gettime(COUNTER);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place where the machine's time enters")]
fn machine() -> Timestamp {
    Timestamp::now()
}

/// Waits in short naps, because a timer of hours would not notice that the machine slept or its clock was set.
async fn nap_until(clock: &dyn Clock, time: Timestamp) {
    const NAP: SignedDuration = SignedDuration::from_secs(30);
    loop {
        let left = time.duration_since(clock.now());
        if left <= SignedDuration::ZERO {
            return;
        }
        tokio::time::sleep(left.min(NAP).unsigned_abs()).await;
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

/// A wait as `Retry-After` says it (RFC 9110, 10.2.3): whole seconds, rounded up, so that whoever waits for them does not come too early; at least one.
pub fn whole_seconds(time: Duration) -> u32 {
    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).max(1);
    u32::try_from(seconds).unwrap_or(u32::MAX)
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

    /// What a steady clock tells when the machine's is set, second by second.
    #[test]
    fn a_clock_that_is_set_is_followed_without_leaps() {
        let begin = Timestamp::from_second(1_800_000_000).unwrap();
        let seconds = |seconds: i64| begin + SignedDuration::from_secs(seconds);
        let count = Duration::from_secs;
        let mut pace = Pace { told: begin, counted: count(100), store: None };
        assert_eq!(pace.tell(seconds(10), count(110)), seconds(10), "an undisturbed clock is told as it is");
        // Set an hour forward: half as fast again, until it has caught up.
        assert_eq!(pace.tell(seconds(3_630), count(130)), seconds(40));
        assert_eq!(pace.tell(seconds(10_820), count(7_320)), seconds(10_820));
        // Set back: never back, half as slow.
        assert_eq!(pace.tell(seconds(10_810), count(7_320)), seconds(10_820));
        assert_eq!(pace.tell(seconds(10_730), count(7_340)), seconds(10_830));
        // A counter that stands still stops it; nothing is told twice as fast.
        assert_eq!(pace.tell(seconds(99_999), count(7_340)), seconds(10_830));
    }

    #[test]
    fn the_time_of_a_store_is_followed_and_not_the_machines() {
        let begin = Timestamp::from_second(1_800_000_000).unwrap();
        let seconds = |seconds: i64| begin + SignedDuration::from_secs(seconds);
        let count = Duration::from_secs;
        let mut pace = Pace { told: begin, counted: count(0), store: Some((begin, count(0))) };
        assert_eq!(pace.tell(seconds(5_000), count(60)), seconds(60));
        pace.store = Some((seconds(63), count(60)));
        assert_eq!(pace.tell(seconds(0), count(62)), seconds(63));
        assert_eq!(pace.tell(seconds(0), count(70)), seconds(73));
    }

    #[test]
    fn a_steady_clock_begins_with_the_machines_time_or_the_stores() {
        let clock = SteadyClock::new();
        assert!(clock.now().duration_since(SystemClock.now()).abs() < SignedDuration::from_secs(1));
        let store = SystemClock.now() + SignedDuration::from_hours(5);
        clock.follow(store);
        assert!(clock.now().duration_since(store).abs() < SignedDuration::from_secs(1));
    }

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
