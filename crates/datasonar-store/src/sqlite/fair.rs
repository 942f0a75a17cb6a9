//! Who is served when tasks are claimed.
//!
//! Accounts take turns, and within an account its jobs; a turn is one task. Who was served longest ago comes first, who
//! never was before all. A job that has as many of the claimer's tasks as it may is passed over; only when it is the one
//! job left that has a task to give does it get the rest.
//!
//! This decides and does nothing else: it knows neither rows nor leases.

use std::collections::{HashMap, VecDeque};

use crate::{AccountId, ClaimTasks, JobId};

/// A job that has tasks to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) job: JobId,
    /// How many; at least one.
    pub(super) tasks: u32,
}

/// What a job gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) account: AccountId,
    pub(super) job: JobId,
    pub(super) tasks: u32,
}

/// Accounts and jobs that have tasks to give, those that were served longest ago first. Asked for one by one, so that
/// no more of them are looked at than are needed.
pub(super) trait Candidates {
    type Error;

    /// The next account.
    fn next_account(&mut self) -> Result<Option<AccountId>, Self::Error>;

    /// The next job of this account.
    fn next_job(&mut self, account: AccountId) -> Result<Option<Candidate>, Self::Error>;
}

/// Shares out at most `claim.limit` tasks. The grants are in the order of the jobs' last turns.
pub(super) fn allocate<C: Candidates>(claim: &ClaimTasks, candidates: &mut C) -> Result<Vec<Grant>, C::Error> {
    let mut sharing = Sharing {
        held: claim.held.iter().copied().collect(),
        per_job: claim.per_job.max(1),
        newcomers_only: claim.newcomers_only,
        full: Vec::new(),
        grants: HashMap::new(),
        turn: 0,
    };
    let mut left = claim.limit;
    let mut waiting = VecDeque::new();
    let mut more = true;
    while left > 0 {
        // Accounts that had no turn yet come before those that had one just now.
        let fresh = if more { candidates.next_account()? } else { None };
        more = fresh.is_some();
        let next = fresh.map(Account::new).or_else(|| waiting.pop_front());
        let Some(mut account) = next else { break };
        if sharing.serve(&mut account, candidates)? {
            left -= 1;
            waiting.push_back(account);
        }
    }
    if left > 0 {
        sharing.serve_last(left);
    }
    Ok(sharing.into_grants())
}

/// An account that takes part.
struct Account {
    id: AccountId,
    /// Jobs that had a turn and have more to give.
    waiting: VecDeque<Candidate>,
    more: bool,
}

impl Account {
    fn new(id: AccountId) -> Self {
        Self { id, waiting: VecDeque::new(), more: true }
    }

    fn next_job<C: Candidates>(&mut self, candidates: &mut C) -> Result<Option<Candidate>, C::Error> {
        if self.more {
            if let Some(job) = candidates.next_job(self.id)? {
                return Ok(Some(job));
            }
            self.more = false;
        }
        Ok(self.waiting.pop_front())
    }
}

struct Sharing {
    held: HashMap<JobId, u32>,
    per_job: u32,
    newcomers_only: bool,
    /// Jobs that have more to give, but of which the claimer has as many as it may.
    full: Vec<(AccountId, Candidate)>,
    /// By job: its account, its tasks, its last turn.
    grants: HashMap<JobId, (AccountId, u32, u64)>,
    turn: u64,
}

impl Sharing {
    /// Gives the account's next job a turn; tells whether there was one.
    fn serve<C: Candidates>(&mut self, account: &mut Account, candidates: &mut C) -> Result<bool, C::Error> {
        while let Some(mut job) = account.next_job(candidates)? {
            if self.newcomers_only && self.held.contains_key(&job.job) {
                continue;
            }
            if self.holds(job.job) >= self.per_job {
                self.full.push((account.id, job));
                continue;
            }
            self.grant(account.id, job.job, 1);
            job.tasks -= 1;
            if job.tasks > 0 {
                account.waiting.push_back(job);
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Gives what is left to a job that has no other beside it.
    fn serve_last(&mut self, left: u32) {
        if let [(account, job)] = self.full[..] {
            self.grant(account, job.job, left.min(job.tasks));
        }
    }

    fn holds(&self, job: JobId) -> u32 {
        let granted = self.grants.get(&job).map_or(0, |grant| grant.1);
        self.held.get(&job).map_or(granted, |held| held.saturating_add(granted))
    }

    fn grant(&mut self, account: AccountId, job: JobId, tasks: u32) {
        self.turn += 1;
        let grant = self.grants.entry(job).or_insert((account, 0, 0));
        grant.1 += tasks;
        grant.2 = self.turn;
    }

    fn into_grants(self) -> Vec<Grant> {
        let mut grants: Vec<_> = self.grants.into_iter().collect();
        grants.sort_by_key(|(_, (_, _, turn))| *turn);
        grants.into_iter().map(|(job, (account, tasks, _))| Grant { account, job, tasks }).collect()
    }
}
