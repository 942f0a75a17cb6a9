//! What all parts of a simulation share: the seed's dice, the trace, the oracle, and what time it is.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::{
    dice::Dice,
    oracle::Oracle,
    trace::{Line, Trace},
    weather::Weather,
};

/// A simulation that takes more lines than this goes round in circles.
const MOST_LINES: usize = 400_000;

/// A simulation.
pub(crate) struct World {
    pub(crate) begin: Instant,
    pub(crate) weather: Weather,
    dice: Mutex<Dice>,
    trace: Mutex<Trace>,
    oracle: Mutex<Oracle>,
    /// Whether faults happen.
    is_stormy: AtomicBool,
}

impl World {
    pub(crate) fn new(weather: Weather, dice: Dice) -> Arc<Self> {
        Arc::new(Self {
            begin: Instant::now(),
            weather,
            dice: Mutex::new(dice),
            trace: Mutex::default(),
            oracle: Mutex::new(Oracle::new(Instant::now())),
            is_stormy: AtomicBool::new(false),
        })
    }

    /// The simulation's own time, in milliseconds since it began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).expect("a simulation takes days, not ages")
    }

    pub(crate) fn note(&self, who: &str, what: fmt::Arguments<'_>) {
        let at = self.now();
        let mut trace = self.trace.lock();
        trace.note(at, who, what);
        assert!(trace.lines.len() < MOST_LINES, "the simulation goes round in circles: {MOST_LINES} lines");
    }

    /// Takes note of a call with its answer.
    pub(crate) fn note_call(&self, who: &str, call: fmt::Arguments<'_>, answer: fmt::Arguments<'_>) {
        self.note(who, call);
        self.trace.lock().add(answer);
    }

    /// Takes the lines, and the hash of all that they are about.
    pub(crate) fn take_trace(&self) -> (Vec<Line>, u64) {
        let mut trace = self.trace.lock();
        (std::mem::take(&mut trace.lines), trace.hash())
    }

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock()
    }

    pub(crate) fn dice(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock()
    }

    pub(crate) fn is_stormy(&self) -> bool {
        self.is_stormy.load(Ordering::Relaxed)
    }

    pub(crate) fn set_stormy(&self, is_stormy: bool) {
        self.is_stormy.store(is_stormy, Ordering::Relaxed);
    }

    /// Whether a fault of this frequency happens now.
    pub(crate) fn strikes(&self, millionths: u64) -> bool {
        self.is_stormy() && self.dice().chance(millionths)
    }

    /// Waits up to so many milliseconds.
    pub(crate) async fn dawdle(&self, most_ms: u64) {
        if most_ms > 0 {
            let time = self.dice().milliseconds(0..most_ms + 1);
            if time > Duration::ZERO {
                tokio::time::sleep(time).await;
            }
        }
    }
}
