//! A check by chance: random steps, on the store and on a model of it that is simple enough to be right.
//!
//! What holds at every step: a task has one holder, the one of its highest epoch; what is finished is never given again;
//! a job's counters are the sums over its finished tasks; it ends with its last task, once, and owes one delivery if it
//! has an endpoint, and none otherwise. Seeds are fixed, so a failure repeats; it names its seed and step.

use std::collections::{BTreeMap, HashSet};

use super::samples::*;
use crate::{
    ClaimTasks, ClaimedTask, DeliveryId, Finish, FinishTask, JobId, JobStatus, NewJob, ProcessId, Renewal, Scope,
    StoreError, TaskLease, Totals,
};

const SEEDS: u64 = 12;
const STEPS: u32 = 150;

/// Runs random steps from each seed, one after the other on the same store.
pub async fn random_steps_keep_to_the_model(store: Tested) {
    for seed in 0..SEEDS {
        let mut run = Run::new(store.clone(), seed);
        for step in 0..STEPS {
            run.at = format!("seed {seed}, step {step}");
            run.step().await;
            run.compare().await;
        }
        run.at = format!("seed {seed}, at the end");
        run.drain().await;
    }
}

/// Numbers by SplitMix64: the same from the same seed.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    /// Held until then by the holder of the epoch.
    Held(i64),
    Finished,
}

struct Task {
    state: State,
    epoch: u32,
    /// How many holders died. Two isolate it, so that it comes in a lane of its own.
    deaths: u32,
}

struct Job {
    scope: Scope,
    endpoint: bool,
    cancelled: bool,
    ended: bool,
    delivery: Option<DeliveryId>,
    tasks: Vec<Task>,
    succeeded: u64,
    failed: u64,
}

impl Task {
    fn is_isolated(&self) -> bool {
        self.deaths >= 2
    }
}

struct Run {
    store: Tested,
    owner: ProcessId,
    chance: Chance,
    now: i64,
    scopes: Vec<Scope>,
    jobs: BTreeMap<JobId, Job>,
    /// All that was ever claimed, of which most is stale.
    claimed: Vec<ClaimedTask>,
    at: String,
}

impl Run {
    fn new(store: Tested, seed: u64) -> Self {
        let scope = scope();
        let scopes = vec![scope, sandbox_of(scope), self::scope()];
        let at = String::new();
        Self {
            store,
            owner: process(),
            chance: Chance(seed),
            now: 0,
            scopes,
            jobs: BTreeMap::new(),
            claimed: Vec::new(),
            at,
        }
    }

    async fn step(&mut self) {
        match self.chance.below(20) {
            0..3 => self.submit().await,
            3..8 => self.claim().await,
            8..14 => self.finish().await,
            14..16 => self.renew().await,
            16 => self.release().await,
            17 => self.cancel().await,
            18 => self.now += 10 + self.chance.below(60) as i64,
            _ if self.chance.below(8) == 0 => self.free().await,
            _ => self.now += 1,
        }
    }

    async fn submit(&mut self) {
        let scope = self.scopes[self.chance.below(self.scopes.len())];
        let tasks = 1 + self.chance.below(5) as u32;
        let endpoint = self.chance.below(3) > 0;
        let new = NewJob { created_at: at(self.now), ..batch(scope, tasks) };
        let new = if endpoint { new } else { silent(new) };
        let id = submit(&self.store, new).await;
        let tasks = (0..tasks).map(|_| Task { state: State::Free, epoch: 0, deaths: 0 }).collect();
        let job =
            Job { scope, endpoint, cancelled: false, ended: false, delivery: None, tasks, succeeded: 0, failed: 0 };
        self.jobs.insert(id, job);
    }

    fn is_claimable(&self, state: State) -> bool {
        match state {
            State::Free => true,
            State::Held(until) => until <= self.now,
            State::Finished => false,
        }
    }

    fn claimable(&self) -> usize {
        self.jobs.values().flat_map(|job| &job.tasks).filter(|task| self.is_claimable(task.state)).count()
    }

    async fn claim(&mut self) {
        let limit = 1 + self.chance.below(5);
        let expected = limit.min(self.claimable());
        let is_any_isolated = self.jobs.values().flat_map(|job| &job.tasks).any(Task::is_isolated);
        let claimed = self.claim_as_one(limit as u32).await;
        // Isolated tasks come besides, but not two of an account.
        assert!(is_any_isolated || claimed.len() == expected, "{}: {} of {expected}", self.at, claimed.len());
        for task in claimed {
            self.given(&task);
            self.claimed.push(task);
        }
    }

    /// Claims for the one process that there is: only those who free leases know of deaths.
    async fn claim_as_one(&self, limit: u32) -> Vec<ClaimedTask> {
        let claim = ClaimTasks { owner: self.owner, now: at(self.now), ..claiming(limit) };
        self.store.claim_tasks(claim).await.unwrap()
    }

    fn given(&mut self, claimed: &ClaimedTask) {
        let TaskLease { job: id, seq, epoch } = claimed.lease;
        let job = &self.jobs[&id];
        if claimed.isolation.is_some() {
            let task = &job.tasks[seq as usize];
            assert!(task.is_isolated() && self.is_claimable(task.state), "{}: it is isolated", self.at);
        } else {
            let first = job.tasks.iter().position(|task| self.is_claimable(task.state) && !task.is_isolated());
            assert_eq!(first, Some(seq as usize), "{}: the first task that can be given", self.at);
        }
        assert_eq!((claimed.cancelled, claimed.scope), (job.cancelled, job.scope), "{}", self.at);
        let until = self.now + LEASE.as_secs() as i64;
        let task = &mut self.jobs.get_mut(&id).unwrap().tasks[seq as usize];
        assert!(epoch > task.epoch, "{}: an epoch is never given twice", self.at);
        (task.state, task.epoch) = (State::Held(until), epoch);
    }

    /// Some task that was claimed, lately more often than long ago.
    fn some_claimed(&mut self) -> Option<ClaimedTask> {
        let recent = self.claimed.len().min(1 + self.chance.below(12));
        if recent == 0 {
            return None;
        }
        let index = self.claimed.len() - 1 - self.chance.below(recent);
        Some(self.claimed[index].clone())
    }

    fn task(&mut self, lease: TaskLease) -> &mut Task {
        &mut self.jobs.get_mut(&lease.job).unwrap().tasks[lease.seq as usize]
    }

    fn holds(&mut self, lease: TaskLease) -> bool {
        let task = self.task(lease);
        task.epoch == lease.epoch && matches!(task.state, State::Held(_))
    }

    async fn finish(&mut self) {
        let Some(claimed) = self.some_claimed() else { return };
        let succeeded = self.chance.below(11) as u32;
        let finish = FinishTask { succeeded, failed: 10 - succeeded, now: at(self.now), ..outcome(&claimed) };
        let delivery = finish.delivery;
        let done = self.store.finish_task(finish).await;
        if !self.holds(claimed.lease) {
            assert!(matches!(done, Err(StoreError::LeaseLost)), "{}: {done:?}", self.at);
            return;
        }
        self.task(claimed.lease).state = State::Finished;
        let job = self.jobs.get_mut(&claimed.lease.job).unwrap();
        job.succeeded += u64::from(succeeded);
        job.failed += u64::from(10 - succeeded);
        job.ended = job.tasks.iter().all(|task| task.state == State::Finished);
        job.delivery = (job.ended && job.endpoint).then_some(delivery);
        let expected = if job.ended { Finish::Job { delivery: job.delivery } } else { Finish::Task };
        assert_eq!(done.unwrap(), expected, "{}", self.at);
    }

    async fn renew(&mut self) {
        let Some(claimed) = self.some_claimed() else { return };
        let told = self.store.renew_tasks(vec![claimed.lease], at(self.now), LEASE).await.unwrap();
        let expected = match (self.holds(claimed.lease), self.jobs[&claimed.lease.job].cancelled) {
            (false, _) => Renewal::Lost,
            (true, false) => Renewal::Held,
            (true, true) => Renewal::Cancelled,
        };
        assert_eq!(told, [expected], "{}", self.at);
        if expected != Renewal::Lost {
            self.task(claimed.lease).state = State::Held(self.now + LEASE.as_secs() as i64);
        }
    }

    async fn release(&mut self) {
        let Some(claimed) = self.some_claimed() else { return };
        self.store.release_tasks(vec![claimed.lease]).await.unwrap();
        if self.holds(claimed.lease) {
            self.task(claimed.lease).state = State::Free;
        }
    }

    async fn cancel(&mut self) {
        let Some(index) = self.jobs.len().checked_sub(1).map(|last| self.chance.below(last + 1)) else { return };
        let now = at(self.now);
        let (id, job) = self.jobs.iter_mut().nth(index).unwrap();
        let done = self.store.cancel_job(job.scope, *id, now).await;
        assert_eq!(done.is_ok(), !job.ended, "{}", self.at);
        job.cancelled |= done.is_ok();
    }

    async fn free(&mut self) {
        self.store.free_leases().await.unwrap();
        for task in self.jobs.values_mut().flat_map(|job| &mut job.tasks) {
            if let State::Held(_) = task.state {
                task.deaths += 1;
                task.state = State::Free;
            }
        }
    }

    /// Compares a job, and now and then all of them.
    async fn compare(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let all = self.chance.below(25) == 0;
        let chosen = self.chance.below(self.jobs.len());
        for (index, (id, job)) in self.jobs.iter().enumerate() {
            if all || index == chosen {
                self.compare_job(*id, job).await;
            }
        }
    }

    async fn compare_job(&self, id: JobId, job: &Job) {
        let found = self.store.job(job.scope, id).await.unwrap();
        let finished = job.tasks.iter().filter(|task| task.state == State::Finished).count() as u64;
        assert_eq!((found.succeeded, found.failed), (job.succeeded, job.failed), "{}", self.at);
        assert_eq!((found.segments, found.result_bytes), (finished, finished * 1000), "{}", self.at);
        assert_eq!(found.delivery.map(|delivery| delivery.0), job.delivery, "{}", self.at);
        assert_eq!(found.cancelled_at.is_some(), job.cancelled, "{}", self.at);
        let expected = match (job.ended, job.cancelled) {
            (true, true) => JobStatus::Failed,
            (true, false) => JobStatus::Completed,
            (false, _) if job.tasks.iter().all(|task| task.epoch == 0) => JobStatus::Pending,
            (false, _) => JobStatus::Started,
        };
        assert_eq!(found.status, expected, "{}", self.at);
        let run = job.tasks.iter().take_while(|task| task.state == State::Finished).count();
        assert_eq!(self.store.finished_tasks(id, 0, ALL).await.unwrap().len(), run, "{}", self.at);
    }

    /// Lets all leases run out, finishes all there is, and counts what is owed.
    async fn drain(&mut self) {
        self.now += 1000;
        let left = self.claimable();
        let mut tasks = Vec::new();
        loop {
            let more = self.claim_as_one(ALL).await;
            if more.is_empty() {
                break;
            }
            tasks.extend(more);
        }
        assert_eq!(tasks.len(), left, "{}", self.at);
        // Isolated ones come when they come.
        tasks.sort_by_key(|task| (task.isolation.is_some(), task.lease));
        for task in tasks {
            self.given(&task);
            self.claimed.push(task.clone());
            let finish = FinishTask { now: at(self.now), ..outcome(&task) };
            let delivery = finish.delivery;
            let done = self.store.finish_task(finish).await.unwrap();
            self.task(task.lease).state = State::Finished;
            let job = self.jobs.get_mut(&task.lease.job).unwrap();
            job.succeeded += 10;
            job.ended = done != Finish::Task;
            job.delivery = (job.ended && job.endpoint).then_some(delivery);
        }
        for (id, job) in &self.jobs {
            assert!(job.ended, "{}", self.at);
            self.compare_job(*id, job).await;
        }
        self.deliver().await;
    }

    async fn deliver(&mut self) {
        let owed: HashSet<_> = self.jobs.values().filter_map(|job| job.delivery).collect();
        let claimed = claim_due(&self.store, ALL, at(self.now)).await;
        assert_eq!(claimed.len(), owed.len(), "{}", self.at);
        assert_eq!(claimed.iter().map(|claimed| claimed.delivery.id).collect::<HashSet<_>>(), owed, "{}", self.at);
        for claimed in &claimed {
            succeed(&self.store, claimed, at(self.now)).await;
        }
        assert_eq!(self.store.totals().await.unwrap(), Totals::default(), "{}", self.at);
    }
}
