//! Seeds by the hundred: each run twice, on as many threads as there are processors.

use std::{
    fmt,
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use crate::{Line, Mutation, Outcome, run};

/// How much of the trace a failure shows.
const SHOWN: usize = 60;
/// More threads than this would wait for what the product shares within one process.
const MOST_THREADS: usize = 8;

/// A seed that did not go as it must.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was wrong, and the end of the trace.
    pub report: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, report } = self;
        writeln!(f, "seed {seed} failed")?;
        writeln!(f, "{report}")?;
        write!(f, "to repeat it: cargo run -p datasonar-sim -- --seed {seed}")
    }
}

/// Runs a seed twice. Both runs must be the same, and keep every promise.
///
/// # Errors
/// What was wrong.
pub fn check(seed: u64) -> Result<Outcome, Failure> {
    let failed = |report: String| Failure { seed, report };
    let once =
        || run(seed, None).map_err(|error| failed(format!("the simulation could not be carried out: {error:#}")));
    let outcome = once()?;
    if !outcome.violations.is_empty() {
        return Err(failed(report(&outcome)));
    }
    let again = once()?;
    if again.hash != outcome.hash {
        return Err(failed(difference(&outcome, &again)));
    }
    Ok(outcome)
}

/// What was violated, and the trace until it was.
pub fn report(outcome: &Outcome) -> String {
    let mut text = String::new();
    let at = outcome.violations.first().map_or(u64::MAX, |violation| violation.at);
    let end = outcome.trace.partition_point(|line| line.at <= at);
    for line in &outcome.trace[end.saturating_sub(SHOWN)..end] {
        text.push_str(&line.text);
        text.push('\n');
    }
    text.push_str("violated:\n");
    for violation in &outcome.violations {
        text.push_str(&format!("  {violation}\n"));
    }
    text
}

/// Where two runs of one seed part.
fn difference(one: &Outcome, other: &Outcome) -> String {
    let place = one.trace.iter().zip(&other.trace).position(|(one, other)| one != other);
    let place = place.unwrap_or(one.trace.len().min(other.trace.len()));
    let from = place.saturating_sub(10);
    let line = |trace: &[Line]| trace.get(place).map_or("(the end)", |line| line.text.as_str()).to_owned();
    let before = one.trace[from..place.min(one.trace.len())].iter().map(|line| line.text.as_str());
    let before = before.collect::<Vec<_>>().join("\n");
    let (one, other) = (line(&one.trace), line(&other.trace));
    format!("two runs part at line {place}:\n{before}\n  the first: {one}\n  the second: {other}")
}

/// Checks `count` seeds from `first` on; tells `done` of each. Ends at the first failure.
///
/// # Errors
/// The failure.
pub fn check_many(first: u64, count: u64, done: impl Fn(&Outcome) + Sync) -> Result<(), Failure> {
    let failure = Mutex::new(None);
    let is_over = AtomicBool::new(false);
    for_each_seed(first, count, |seed| {
        match check(seed) {
            Ok(outcome) => done(&outcome),
            Err(failed) => {
                is_over.store(true, Ordering::Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failed);
            }
        }
        !is_over.load(Ordering::Relaxed)
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Runs `count` seeds from `first` on with the engine broken, until the oracle notices.
///
/// # Errors
/// When a simulation could not be carried out.
pub fn hunt(mutation: Mutation, first: u64, count: u64) -> anyhow::Result<Option<Outcome>> {
    let found = Mutex::new(Ok(None));
    for_each_seed(first, count, |seed| {
        let outcome = run(seed, Some(mutation));
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(outcome) if outcome.violations.is_empty() => {}
            Ok(outcome) => *found = Ok(Some(outcome)),
            Err(error) => *found = Err(error),
        }
        matches!(*found, Ok(None))
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Hands out seeds to threads until one of them is told to go no further.
fn for_each_seed(first: u64, count: u64, work: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(first);
    let is_over = AtomicBool::new(false);
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || !work(seed) {
                        is_over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}
