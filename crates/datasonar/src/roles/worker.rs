//! The worker: claims tasks, has their URLs scraped, finishes them.
//!
//! It holds leases on its open tasks and renews them by heartbeat. A lease that is lost stops its task, whose results are
//! dropped: somebody else has it. It opens as many tasks as keep its fetch slots busy and no more; one job fills at most
//! half of them while another waits, and even a full worker looks for jobs it does not know yet, so that a single scrape
//! starts at once in the middle of a batch.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use datasonar_store::{AccountId, ClaimTasks, ClaimedTask, JobId, ProcessId, Renewal, Store, TaskLease};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    DRAIN,
    health::{Health, steady},
    task::{OpenTask, Tools},
};
use crate::{clock::Clock, jobs::URLS_PER_TASK, wake::Wake};

/// How long a lease holds without a heartbeat, and how often there is one.
const LEASE: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long an idle worker waits before it looks again.
const POLL: Duration = Duration::from_secs(1);
/// How many tasks may be open at once, most of them waiting for a slow page or two.
const MAX_OPEN: usize = 64;
/// How many tasks of jobs it does not know a full worker takes all the same.
const NEWCOMERS: usize = 8;
/// How many isolated tasks may be open, beside all others. They take turns at being worked on.
const ISOLATED: usize = 8;

/// What a worker is made of.
pub struct WorkerParts {
    /// This process.
    pub owner: ProcessId,
    /// The rows.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Rung when there may be work.
    pub wake: Wake,
    /// Where failures of the store are told.
    pub health: Health,
    /// What a task needs.
    pub tools: Arc<Tools>,
    /// How many pages are fetched at once: what the worker opens tasks for.
    pub fetch_concurrency: usize,
}

/// The worker.
pub struct Worker {
    parts: WorkerParts,
    open: Arc<Mutex<BTreeMap<TaskLease, Held>>>,
    /// URLs of open tasks that have no result yet.
    waiting: Arc<AtomicUsize>,
}

/// An open task, as the heartbeat sees it.
struct Held {
    /// Stops the task: its lease is lost.
    lost: CancellationToken,
    /// Ends the task early: its job was cancelled.
    cancelled: CancellationToken,
    /// Whose isolated task it is, if it is one.
    isolated: Option<AccountId>,
}

impl Worker {
    /// Puts a worker together.
    pub fn new(parts: WorkerParts) -> Self {
        Self { parts, open: Arc::default(), waiting: Arc::default() }
    }

    /// Works until told to stop, then lets open tasks finish for a while and gives the rest back.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let heart = CancellationToken::new();
        let beat = self.heartbeat(heart.clone());
        let work = async {
            while !stop.is_cancelled() {
                let is_full = self.claim(&mut tasks).await;
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    _ = tasks.join_next(), if !tasks.is_empty() => {}
                    () = self.parts.wake.tasks().notified() => {}
                    () = tokio::time::sleep(if is_full { POLL / 4 } else { POLL }) => {}
                }
                while tasks.try_join_next().is_some() {}
            }
            self.drain(tasks).await;
            heart.cancel();
        };
        tokio::join!(beat, work);
    }

    /// Claims what there is room for. Tells whether there may be more than it took.
    async fn claim(&self, tasks: &mut JoinSet<()>) -> bool {
        let (mut held, mut isolated_held) = (BTreeMap::<JobId, u32>::new(), Vec::new());
        for (lease, task) in self.open.lock().iter() {
            match task.isolated {
                Some(account) => isolated_held.push(account),
                None => *held.entry(lease.job).or_default() += 1,
            }
        }
        let isolated = ISOLATED.saturating_sub(isolated_held.len());
        let open: usize = held.values().map(|count| *count as usize).sum();
        let waiting = self.waiting.load(Ordering::Relaxed);
        let wanted = (2 * self.parts.fetch_concurrency).saturating_sub(waiting).div_ceil(URLS_PER_TASK as usize);
        let room = wanted.min(MAX_OPEN.saturating_sub(open));
        let newcomers_only = room == 0;
        let limit = if newcomers_only { (MAX_OPEN + NEWCOMERS).saturating_sub(open).min(NEWCOMERS) } else { room };
        if limit == 0 && isolated == 0 {
            return true;
        }
        let held: Vec<_> = held.into_iter().collect();
        let claimed = steady(&self.parts.health, "worker", || {
            self.parts.store.claim_tasks(ClaimTasks {
                owner: self.parts.owner,
                limit: u32::try_from(limit).unwrap_or(1),
                per_job: u32::try_from((open + limit).div_ceil(2)).unwrap_or(1),
                held: held.clone(),
                newcomers_only,
                isolated: u32::try_from(isolated).unwrap_or(0),
                isolated_held: isolated_held.clone(),
                // Of each try: a lease that counts from before a long outage has run out when it is given.
                now: self.parts.clock.now(),
                lease: LEASE,
            })
        });
        match claimed.await {
            Ok(claimed) => {
                let is_full = newcomers_only || claimed.iter().filter(|task| task.isolation.is_none()).count() == limit;
                for task in claimed {
                    self.open(task, tasks);
                }
                is_full
            }
            Err(error) => {
                tracing::error!(%error, "tasks could not be claimed");
                self.parts.health.fail("worker", "tasks cannot be claimed");
                false
            }
        }
    }

    fn open(&self, claimed: ClaimedTask, tasks: &mut JoinSet<()>) {
        let isolated = claimed.isolation.as_ref().map(|_| claimed.scope.account);
        let held = Held { lost: CancellationToken::new(), cancelled: CancellationToken::new(), isolated };
        if claimed.cancelled {
            held.cancelled.cancel();
        }
        let lease = claimed.lease;
        let task = OpenTask {
            tools: self.parts.tools.clone(),
            health: self.parts.health.clone(),
            cancelled: held.cancelled.clone(),
            // Of an isolated task one page is worked on at a time: it keeps few slots busy.
            waiting: Waiting::new(self.waiting.clone(), if isolated.is_some() { 1 } else { claimed.urls as usize }),
            claimed,
        };
        let (lost, open) = (held.lost.clone(), self.open.clone());
        let (store, health) = (self.parts.store.clone(), self.parts.health.clone());
        self.open.lock().insert(lease, held);
        tasks.spawn(async move {
            let is_lost = lost.run_until_cancelled(task.run()).await;
            if is_lost.is_none() {
                tracing::warn!(job = %lease.job, task = lease.seq, "the lease was lost; the task was dropped");
            }
            open.lock().remove(&lease);
            if is_lost.unwrap_or(true) {
                // Its holder was taken for dead, and is not.
                let released = steady(&health, "worker", || store.release_tasks(vec![lease])).await;
                if let Err(error) = released {
                    tracing::warn!(job = %lease.job, task = lease.seq, %error, "a death that was none stays counted");
                }
            }
        });
    }

    /// Renews the leases of all open tasks, at intervals and when a job was cancelled.
    async fn heartbeat(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(HEARTBEAT) => {}
                () = self.parts.wake.leases().notified() => {}
            }
            let leases: Vec<TaskLease> = self.open.lock().keys().copied().collect();
            if leases.is_empty() {
                continue;
            }
            let renewed = steady(&self.parts.health, "worker", || {
                self.parts.store.renew_tasks(leases.clone(), self.parts.clock.now(), LEASE)
            });
            match renewed.await {
                Ok(renewals) => self.apply(&leases, &renewals),
                Err(error) => tracing::error!(%error, "leases could not be renewed"),
            }
        }
    }

    fn apply(&self, leases: &[TaskLease], renewals: &[Renewal]) {
        let open = self.open.lock();
        for (lease, renewal) in leases.iter().zip(renewals) {
            // A task that was finished in the meantime is not in the map, and its lease is rightly lost.
            let Some(held) = open.get(lease) else { continue };
            match renewal {
                Renewal::Held => {}
                Renewal::Cancelled => held.cancelled.cancel(),
                Renewal::Lost => held.lost.cancel(),
            }
        }
    }

    /// Lets open tasks finish, gives back those that do not in time.
    async fn drain(&self, mut tasks: JoinSet<()>) {
        let done = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, done).await.is_ok() {
            return;
        }
        tasks.shutdown().await;
        let leases: Vec<TaskLease> = self.open.lock().keys().copied().collect();
        tracing::info!(tasks = leases.len(), "open tasks were given back");
        if let Err(error) = self.parts.store.release_tasks(leases).await {
            tracing::warn!(%error, "leases could not be given back; they will expire");
        }
    }
}

/// Counts a task's URLs as waiting until each has its result, or the task is dropped.
pub(super) struct Waiting {
    total: Arc<AtomicUsize>,
    left: usize,
}

impl Waiting {
    fn new(total: Arc<AtomicUsize>, urls: usize) -> Self {
        total.fetch_add(urls, Ordering::Relaxed);
        Self { total, left: urls }
    }

    /// Counts one URL as done.
    pub(super) fn done(&mut self) {
        if self.left > 0 {
            self.left -= 1;
            self.total.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.total.fetch_sub(self.left, Ordering::Relaxed);
    }
}
