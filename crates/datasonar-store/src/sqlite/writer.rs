//! The writer: one connection, and group commit.
//!
//! A caller puts its step into the queue. Whoever finds nobody leading becomes the leader: it takes what waits, runs
//! each step behind a savepoint of one transaction, commits once, answers all, and goes on until nothing waits. While it
//! syncs, the next steps gather.
//!
//! A step that fails is undone to its savepoint and harms no other. When the transaction itself fails, every step in it
//! is answered as unavailable. The leader does not depend on a caller: one that goes away has its step done all the
//! same, and its answer dropped.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::Threading;
use super::fault::{corrupt, unavailable};
use crate::{Result, StoreError};

/// How many steps are committed together at most: it bounds how long the first of them waits.
const GROUP: usize = 256;

/// Runs work where the threading says.
pub(super) async fn on<T, F>(threading: Threading, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match threading {
        Threading::Inline => Ok(work()),
        Threading::Pool => tokio::task::spawn_blocking(work).await.map_err(|_| unavailable("the process is stopping")),
    }
}

/// The connection that writes, and the steps that wait for it.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` once closed.
    connection: Mutex<Option<Connection>>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    steps: VecDeque<Box<dyn Step>>,
    led: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("steps", &self.steps.len()).field("led", &self.led).finish()
    }
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection: Mutex::new(Some(connection)), queue: Mutex::default() }
    }

    /// Queues a step and waits for its answer.
    pub(super) async fn run<T, F>(self: &Arc<Self>, threading: Threading, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let step = Box::new(Queued { work: Some(work), result: None, answer });
        if self.push(step) {
            let leader = Leader { writer: Arc::clone(self), done: false };
            match threading {
                Threading::Inline => leader.lead(),
                // Not awaited: the leader outlives the caller that set it off.
                Threading::Pool => drop(tokio::task::spawn_blocking(move || leader.lead())),
            }
        }
        answered.await.unwrap_or_else(|_| Err(unavailable("the process is stopping")))
    }

    /// Waits for the group under way, then closes the connection. Steps that still wait are answered as unavailable.
    pub(super) fn close(&self) {
        let Some(connection) = self.connection.lock().take() else { return };
        if let Err(error) = connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);") {
            tracing::warn!(%error, "the database's log could not be folded in");
        }
        if let Err((_, error)) = connection.close() {
            tracing::warn!(%error, "the database could not be closed");
        }
    }

    /// How many steps wait for the next group.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().steps.len()
    }

    /// Whether a group is under way.
    #[cfg(test)]
    pub(super) fn is_led(&self) -> bool {
        self.queue.lock().led
    }

    /// Queues a step; answers whether the caller is to lead.
    fn push(&self, step: Box<dyn Step>) -> bool {
        let mut queue = self.queue.lock();
        queue.steps.push_back(step);
        !std::mem::replace(&mut queue.led, true)
    }

    /// Takes the next group; when there is none, the leader's time is over.
    fn take(&self) -> Option<Vec<Box<dyn Step>>> {
        let mut queue = self.queue.lock();
        if queue.steps.is_empty() {
            queue.led = false;
            return None;
        }
        let size = queue.steps.len().min(GROUP);
        Some(queue.steps.drain(..size).collect())
    }

    fn commit(&self, mut group: Vec<Box<dyn Step>>) {
        let connection = self.connection.lock();
        let outcome = match connection.as_ref() {
            Some(connection) => transact(connection, &mut group),
            None => Err("the store is closed".to_owned()),
        };
        drop(connection);
        for step in group {
            step.answer(&outcome);
        }
    }
}

/// Runs a group in one transaction.
///
/// # Errors
/// Why the transaction came to nothing; then no step of it has changed anything.
fn transact(connection: &Connection, group: &mut [Box<dyn Step>]) -> Result<(), String> {
    let alone = group.len() == 1;
    execute(connection, "BEGIN IMMEDIATE")?;
    for step in group {
        let done = if alone { step.run(connection) } else { guarded(connection, step.as_mut())? };
        if connection.is_autocommit() {
            // Some failures, a full disk for one, end the whole transaction and not only the step.
            return Err("the transaction was undone".to_owned());
        }
        if alone && !done {
            return execute(connection, "ROLLBACK");
        }
    }
    execute(connection, "COMMIT").inspect_err(|_| {
        if !connection.is_autocommit() {
            execute(connection, "ROLLBACK").ok();
        }
    })
}

/// Runs a step behind a savepoint, and undoes it when it fails.
fn guarded(connection: &Connection, step: &mut dyn Step) -> Result<bool, String> {
    execute(connection, "SAVEPOINT step")?;
    let done = step.run(connection);
    if !done && !connection.is_autocommit() {
        execute(connection, "ROLLBACK TO step")?;
    }
    if !connection.is_autocommit() {
        execute(connection, "RELEASE step")?;
    }
    Ok(done)
}

fn execute(connection: &Connection, sql: &str) -> Result<(), String> {
    let done = connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
    done.map(drop).map_err(|error| match StoreError::from(error) {
        StoreError::Unavailable(text) => text,
        _ => "the transaction failed".to_owned(),
    })
}

/// The duty to run what waits. Dropped without having done so (the runtime is shutting down), it turns away what waits,
/// so that no step waits for a leader that will never come.
struct Leader {
    writer: Arc<Writer>,
    done: bool,
}

impl Leader {
    fn lead(mut self) {
        while let Some(group) = self.writer.take() {
            self.writer.commit(group);
        }
        self.done = true;
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.done {
            let mut queue = self.writer.queue.lock();
            queue.led = false;
            queue.steps.clear();
        }
    }
}

/// A step of any type.
trait Step: Send {
    /// Runs it and keeps its result; tells whether it succeeded.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Answers its caller, now that the fate of its transaction is known.
    fn answer(self: Box<Self>, outcome: &Result<(), String>);
}

struct Queued<T, F> {
    work: Option<F>,
    result: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T, F> Step for Queued<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let Some(work) = self.work.take() else { return false };
        let result = catch_unwind(AssertUnwindSafe(|| work(connection)))
            .unwrap_or_else(|_| Err(corrupt("a step of the store panicked")));
        self.result.insert(result).is_ok()
    }

    fn answer(self: Box<Self>, outcome: &Result<(), String>) {
        let result = match (self.result, outcome) {
            (Some(Err(error)), _) => Err(error),
            (_, Err(text)) => Err(unavailable(text)),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(corrupt("a step of the store was not run")),
        };
        self.answer.send(result).ok();
    }
}
