//! Group commit: what waits to be written is done in one transaction.
//!
//! A caller puts its step into the queue. Whoever finds nobody leading becomes the leader: it takes what waits, has the writer run
//! each step behind a savepoint of one transaction and commit once, answers all, and goes on until nothing waits. While it
//! syncs, the next steps gather.
//!
//! Steps of which many wait and that change the same rows ([`Joint`]) are done as one: a row that counts what they do is written once for all.
//!
//! A step that fails is undone to its savepoint and harms no other. When the transaction itself fails, every step in it
//! is answered as unavailable. The leader does not depend on a caller: one that goes away has its step done all the
//! same, and its answer dropped.

use std::any::{Any, TypeId};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::sql::{Connection, corrupt, unavailable};
use crate::{Result, StoreError};

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
        self.queue(threading, Box::new(Queued { work, result: None, answer }));
        answered.await.unwrap_or_else(|_| Err(unavailable("the process is stopping")))
    }

    /// Queues a step that is done together with those of its kind that wait, and waits for its answer.
    pub(crate) async fn join<J: Joint>(self: &Arc<Self>, threading: Threading, item: J) -> Result<J::Answer> {
        let (answer, answered) = oneshot::channel();
        self.queue(threading, Box::new(Joined { items: vec![item], answers: vec![answer], result: None }));
        answered.await.unwrap_or_else(|_| Err(unavailable("the process is stopping")))
    }

    fn queue(self: &Arc<Self>, threading: Threading, step: Box<dyn Step>) {
        if self.push(step) {
            let leader = Leader { group: Arc::clone(self), done: false };
            match threading {
                Threading::Inline => leader.lead(),
                // Not awaited: the leader outlives the caller that set it off.
                Threading::Pool => drop(tokio::task::spawn_blocking(move || leader.lead())),
            }
        }
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
        let mut group: Vec<Box<dyn Step>> = Vec::with_capacity(size);
        for step in queue.steps.drain(..size) {
            let kind = step.kind();
            match group.iter_mut().find(|first| kind.is_some() && first.kind() == kind) {
                Some(first) => first.join(step),
                None => group.push(step),
            }
        }
        Some(group)
    }

    fn commit(&self, mut group: Vec<Box<dyn Step>>) {
        let outcome = self.transact(&mut group);
        for mut step in group {
            let parts = if outcome.is_ok() { step.take_apart() } else { Vec::new() };
            if parts.is_empty() {
                step.answer(&outcome);
            }
            for mut part in parts {
                let outcome = self.transact(slice::from_mut(&mut part));
                part.answer(&outcome);
            }
        }
    }

    fn transact(&self, group: &mut [Box<dyn Step>]) -> Result<(), String> {
        let mut writer = self.writer.lock();
        match writer.as_mut() {
            Some(writer) => writer.transact(group),
            None => Err("the store is closed".to_owned()),
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

/// A step that costs less when it is done together with others of its kind.
pub(crate) trait Joint: Send + Sized + 'static {
    /// What each is answered.
    type Answer: Send + 'static;

    /// Does all of them, each as if it were done alone after those before it.
    ///
    /// # Errors
    /// When one of them makes it impossible to do any in this way: then each is done by itself.
    fn run(connection: &Connection, items: &[Self]) -> Result<Vec<Result<Self::Answer>>>;
}

/// A step of any type.
pub(crate) trait Step: Any + Send {
    /// Runs it and keeps its result; tells whether it succeeded. Run again, in another transaction, the last result counts.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Makes this its result, since the database refused what it did.
    fn refuse(&mut self, error: StoreError);

    /// What it may be joined by: steps that answer the same here.
    fn kind(&self) -> Option<TypeId> {
        None
    }

    /// Takes another step of its kind into itself.
    fn join(&mut self, _other: Box<dyn Step>) {}

    /// What it is made of, when it is several that could not be done as one; nothing is left of it then.
    fn take_apart(&mut self) -> Vec<Box<dyn Step>> {
        Vec::new()
    }

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
    T: Send + 'static,
    F: Fn(&Connection) -> Result<T> + Send + 'static,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let result = catch_unwind(AssertUnwindSafe(|| (self.work)(connection)))
            .unwrap_or_else(|_| Err(corrupt("a step of the store panicked")));
        self.result.insert(result).is_ok()
    }

    fn refuse(&mut self, error: StoreError) {
        self.result = Some(Err(error));
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

/// Joint steps, as one.
struct Joined<J: Joint> {
    items: Vec<J>,
    answers: Vec<oneshot::Sender<Result<J::Answer>>>,
    result: Option<Result<Vec<Result<J::Answer>>>>,
}

impl<J: Joint> Step for Joined<J> {
    fn run(&mut self, connection: &Connection) -> bool {
        let result = catch_unwind(AssertUnwindSafe(|| J::run(connection, &self.items)))
            .unwrap_or_else(|_| Err(corrupt("a step of the store panicked")));
        // One that fails by itself has changed nothing.
        let result = result.and_then(|mut each| match (each.len(), each.pop()) {
            (1, Some(Err(error))) => Err(error),
            (_, last) => {
                each.extend(last);
                Ok(each)
            }
        });
        self.result.insert(result).is_ok()
    }

    fn refuse(&mut self, error: StoreError) {
        self.result = Some(Err(error));
    }

    fn kind(&self) -> Option<TypeId> {
        Some(TypeId::of::<J>())
    }

    fn join(&mut self, other: Box<dyn Step>) {
        let other: Box<dyn Any> = other;
        let other = other.downcast::<Self>().expect("only steps of one kind are joined");
        self.items.extend(other.items);
        self.answers.extend(other.answers);
    }

    fn take_apart(&mut self) -> Vec<Box<dyn Step>> {
        if self.items.len() < 2 || !matches!(self.result, Some(Err(_))) {
            return Vec::new();
        }
        let each = self.items.drain(..).zip(self.answers.drain(..));
        each.map(|(item, answer)| -> Box<dyn Step> {
            Box::new(Self { items: vec![item], answers: vec![answer], result: None })
        })
        .collect()
    }

    fn answer(self: Box<Self>, outcome: &Result<(), String>) {
        let each: Vec<_> = match (self.result, outcome) {
            (Some(Err(error)), _) if self.answers.len() == 1 => vec![Err(error)],
            (_, Err(text)) => self.answers.iter().map(|_| Err(unavailable(text))).collect(),
            (Some(Ok(each)), Ok(())) => each,
            (_, Ok(())) => self.answers.iter().map(|_| Err(corrupt("a step of the store was not run"))).collect(),
        };
        for (answer, result) in self.answers.into_iter().zip(each) {
            answer.send(result).ok();
        }
    }
}
