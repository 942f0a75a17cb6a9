//! Group commit: what waits to be written is done in one transaction.
//!
//! A caller puts its step into the queue. Whoever finds nobody leading becomes the leader: it takes what waits, has the writer run
//! each step behind a savepoint of one transaction and commit once, answers all, and goes on until nothing waits. While it
//! syncs, the next steps gather.
//!
//! A step that fails is undone to its savepoint and harms no other. When the transaction itself fails, every step in it
//! is answered as unavailable. The leader does not depend on a caller: one that goes away has its step done all the
//! same, and its answer dropped.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::Result;
use crate::sql::{Connection, corrupt, unavailable};

/// Where the database's work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threading {
    /// On tokio's threads for blocking work: in production.
    Pool,
    /// On the caller's own: in simulation, where no other thread may decide an order.
    Inline,
}

/// A connection that writes.
pub(crate) trait Writer: Send + 'static {
    /// How many steps are committed together at most: it bounds how long the first of them waits.
    const GROUP: usize;

    /// Runs a group in one transaction.
    ///
    /// # Errors
    /// Why the transaction came to nothing; then no step of it has changed anything.
    fn transact(&mut self, group: &mut [Box<dyn Step>]) -> Result<(), String>;

    /// Lets go of the database.
    fn close(self);
}

/// Runs work where the threading says.
pub(crate) async fn on<T, F>(threading: Threading, work: F) -> Result<T>
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
pub(crate) struct Group<W> {
    /// `None` once closed.
    writer: Mutex<Option<W>>,
    queue: Mutex<Queue>,
}

impl<W> std::fmt::Debug for Group<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("queue", &self.queue).finish_non_exhaustive()
    }
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

impl<W: Writer> Group<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self { writer: Mutex::new(Some(writer)), queue: Mutex::default() }
    }

    /// Queues a step and waits for its answer.
    pub(crate) async fn run<T, F>(self: &Arc<Self>, threading: Threading, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let step = Box::new(Queued { work, result: None, answer });
        if self.push(step) {
            let leader = Leader { group: Arc::clone(self), done: false };
            match threading {
                Threading::Inline => leader.lead(),
                // Not awaited: the leader outlives the caller that set it off.
                Threading::Pool => drop(tokio::task::spawn_blocking(move || leader.lead())),
            }
        }
        answered.await.unwrap_or_else(|_| Err(unavailable("the process is stopping")))
    }

    /// Waits for the group under way, then closes the connection. Steps that still wait are answered as unavailable.
    pub(crate) fn close(&self) {
        if let Some(writer) = self.writer.lock().take() {
            writer.close();
        }
    }

    /// The writer itself.
    #[cfg(test)]
    pub(crate) fn writer(&self) -> parking_lot::MappedMutexGuard<'_, W> {
        parking_lot::MutexGuard::map(self.writer.lock(), |writer| writer.as_mut().unwrap())
    }

    /// How many steps wait for the next group.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.queue.lock().steps.len()
    }

    /// Whether a group is under way.
    #[cfg(test)]
    pub(crate) fn is_led(&self) -> bool {
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
        let size = queue.steps.len().min(W::GROUP);
        Some(queue.steps.drain(..size).collect())
    }

    fn commit(&self, mut group: Vec<Box<dyn Step>>) {
        let mut writer = self.writer.lock();
        let outcome = match writer.as_mut() {
            Some(writer) => writer.transact(&mut group),
            None => Err("the store is closed".to_owned()),
        };
        drop(writer);
        for step in group {
            step.answer(&outcome);
        }
    }
}

/// The duty to run what waits. Dropped without having done so (the runtime is shutting down), it turns away what waits,
/// so that no step waits for a leader that will never come.
struct Leader<W: Writer> {
    group: Arc<Group<W>>,
    done: bool,
}

impl<W: Writer> Leader<W> {
    fn lead(mut self) {
        while let Some(group) = self.group.take() {
            self.group.commit(group);
        }
        self.done = true;
    }
}

impl<W: Writer> Drop for Leader<W> {
    fn drop(&mut self) {
        if !self.done {
            let mut queue = self.group.queue.lock();
            queue.led = false;
            queue.steps.clear();
        }
    }
}

/// A step of any type.
pub(crate) trait Step: Send {
    /// Runs it and keeps its result; tells whether it succeeded. Run again, in another transaction, the last result counts.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Answers its caller, now that the fate of its transaction is known.
    fn answer(self: Box<Self>, outcome: &Result<(), String>);
}

struct Queued<T, F> {
    work: F,
    result: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T, F> Step for Queued<T, F>
where
    T: Send,
    F: Fn(&Connection) -> Result<T> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let result = catch_unwind(AssertUnwindSafe(|| (self.work)(connection)))
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
