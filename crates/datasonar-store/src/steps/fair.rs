//! Who is served when tasks are claimed.
//!
//! Accounts take turns, and within an account its jobs; a turn is one task. Who was served longest ago comes first, who
//! never was before all. A job that has as many of the claimer's tasks as it may is passed over; only when it is the one
//! job left that has a task to give does it get the rest.
//!
//! A claimer that is full may leave room for single accounts, so that one account's tasks keep no other from being served.
//!
//! This decides and does nothing else: it knows neither rows nor leases.

use std::collections::{HashMap, VecDeque};

use crate::{AccountId, AccountRoom, ClaimTasks, JobId};

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
        rooms: claim.rooms.iter().map(|room| (room.account, *room)).collect(),
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
    /// What accounts may still get, where that is limited.
    rooms: HashMap<AccountId, AccountRoom>,
    /// Jobs that have more to give, but of which the claimer has as many as it may.
    full: Vec<(AccountId, Candidate)>,
    /// By job: its account, its tasks, its last turn.
    grants: HashMap<JobId, (AccountId, u32, u64)>,
    turn: u64,
}

impl Sharing {
    /// Gives the account's next job a turn; tells whether there was one.
    fn serve<C: Candidates>(&mut self, account: &mut Account, candidates: &mut C) -> Result<bool, C::Error> {
        let room = self.rooms.get(&account.id).copied();
        let newcomers_only = room.map_or(self.newcomers_only, |room| room.newcomers_only);
        if room.is_some_and(|room| room.limit == 0) {
            return Ok(false);
        }
        while let Some(mut job) = account.next_job(candidates)? {
            if newcomers_only && self.held.contains_key(&job.job) {
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
            let room = self.rooms.get(&account).map_or(u32::MAX, |room| room.limit);
            if room > 0 {
                self.grant(account, job.job, left.min(job.tasks).min(room));
            }
        }
    }

    fn holds(&self, job: JobId) -> u32 {
        let granted = self.grants.get(&job).map_or(0, |grant| grant.1);
        self.held.get(&job).map_or(granted, |held| held.saturating_add(granted))
    }

    fn grant(&mut self, account: AccountId, job: JobId, tasks: u32) {
        self.turn += 1;
        if let Some(room) = self.rooms.get_mut(&account) {
            room.limit = room.limit.saturating_sub(tasks);
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::time::Duration;

    use jiff::Timestamp;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::ProcessId;

    /// Accounts in order, each with its jobs in order; counts what was looked at.
    struct Listed {
        accounts: VecDeque<AccountId>,
        jobs: HashMap<AccountId, VecDeque<Candidate>>,
        looked_at: usize,
    }

    impl Listed {
        /// Jobs are numbered through; each account's are given by their tasks.
        fn new(accounts: &[Vec<u32>]) -> Self {
            let mut number = 0;
            let mut listed = Self { accounts: VecDeque::new(), jobs: HashMap::new(), looked_at: 0 };
            for (index, jobs) in accounts.iter().enumerate() {
                let account = AccountId(Uuid::from_u128(index as u128));
                listed.accounts.push_back(account);
                let candidates = jobs.iter().map(|&tasks| {
                    number += 1;
                    Candidate { job: job(number - 1), tasks }
                });
                listed.jobs.insert(account, candidates.collect());
            }
            listed
        }
    }

    impl Candidates for Listed {
        type Error = Infallible;

        fn next_account(&mut self) -> Result<Option<AccountId>, Infallible> {
            Ok(self.accounts.pop_front())
        }

        fn next_job(&mut self, account: AccountId) -> Result<Option<Candidate>, Infallible> {
            self.looked_at += 1;
            Ok(self.jobs.get_mut(&account).and_then(VecDeque::pop_front))
        }
    }

    fn job(number: u128) -> JobId {
        JobId(Uuid::from_u128(number))
    }

    fn claim(limit: u32, per_job: u32, held: &[(u128, u32)]) -> ClaimTasks {
        ClaimTasks {
            owner: ProcessId(Uuid::nil()),
            limit,
            per_job,
            held: held.iter().map(|&(number, tasks)| (job(number), tasks)).collect(),
            newcomers_only: false,
            rooms: Vec::new(),
            isolated: 0,
            isolated_held: Vec::new(),
            now: Timestamp::UNIX_EPOCH,
            lease: Duration::ZERO,
        }
    }

    /// What each job gets, in the order of the jobs' last turns.
    fn shared(accounts: &[Vec<u32>], claim: &ClaimTasks) -> Vec<(u128, u32)> {
        let Ok(grants) = allocate(claim, &mut Listed::new(accounts));
        grants.into_iter().map(|grant| (grant.job.0.as_u128(), grant.tasks)).collect()
    }

    #[test]
    fn turns_go_round() {
        assert_eq!(shared(&[vec![9], vec![9], vec![9]], &claim(2, 9, &[])), [(0, 1), (1, 1)]);
        assert_eq!(shared(&[vec![9], vec![9], vec![9]], &claim(4, 9, &[])), [(1, 1), (2, 1), (0, 2)]);
        assert_eq!(shared(&[vec![9, 9, 9], vec![9]], &claim(6, 9, &[])), [(0, 1), (1, 1), (2, 1), (3, 3)]);
        assert_eq!(shared(&[vec![1, 1], vec![9]], &claim(6, 9, &[])), [(0, 1), (1, 1), (2, 4)]);
    }

    #[test]
    fn shares_are_kept_while_another_waits() {
        assert_eq!(shared(&[vec![9, 9]], &claim(8, 3, &[])), [(0, 3), (1, 3)]);
        assert_eq!(shared(&[vec![9, 9]], &claim(8, 3, &[(0, 2)])), [(0, 1), (1, 3)]);
        assert_eq!(shared(&[vec![9, 9]], &claim(8, 3, &[(0, 3), (1, 7)])), []);
        assert_eq!(shared(&[vec![9], vec![2]], &claim(8, 3, &[])), [(1, 2), (0, 6)]);
        assert_eq!(shared(&[vec![9]], &claim(8, 3, &[(0, 100)])), [(0, 8)]);
        assert_eq!(shared(&[vec![9, 9]], &claim(8, 0, &[])), [(0, 1), (1, 1)], "no share at all would starve both");
    }

    #[test]
    fn an_account_gets_no_more_than_its_room() {
        let room = |number: u128, limit, newcomers_only| AccountRoom {
            account: AccountId(Uuid::from_u128(number)),
            limit,
            newcomers_only,
        };
        let full = ClaimTasks {
            newcomers_only: true,
            rooms: vec![room(0, 1, true), room(1, 3, false)],
            ..claim(20, 20, &[(0, 60), (2, 2)])
        };
        // The first account has a job that is held and one that is new, the second one that is held, the third is new.
        assert_eq!(shared(&[vec![9, 9], vec![9], vec![9]], &full), [(1, 1), (2, 3), (3, 9)]);
        let none = ClaimTasks { rooms: vec![room(0, 0, false)], ..claim(20, 1, &[(0, 60)]) };
        assert_eq!(shared(&[vec![9]], &none), [], "not even as the last");
    }

    #[test]
    fn no_more_is_looked_at_than_needed() {
        let mut listed = Listed::new(&vec![vec![1; 100]; 100]);
        let held: Vec<_> = (0..3).map(|number| (number, 5)).collect();
        let Ok(grants) = allocate(&claim(8, 5, &held), &mut listed);
        assert_eq!(grants.len(), 8);
        assert_eq!(listed.looked_at, 8 + 3);
    }

    proptest! {
        #[test]
        fn sharing_is_fair(
            accounts in prop::collection::vec(prop::collection::vec(1_u32..12, 1..5), 0..5),
            limit in 0_u32..40,
            per_job in 1_u32..8,
            held in prop::collection::btree_map(0_u128..12, 1_u32..10, 0..4),
            newcomers_only in any::<bool>(),
        ) {
            let held: Vec<_> = held.into_iter().collect();
            let claim = ClaimTasks { newcomers_only, ..claim(limit, per_job, &held) };
            let held: BTreeMap<_, _> = held.into_iter().collect();
            let granted: BTreeMap<_, _> = shared(&accounts, &claim).into_iter().collect();
            let tasks: BTreeMap<u128, u32> = (0..).zip(accounts.iter().flatten().copied()).collect();
            let has = |job: u128| held.get(&job).copied().unwrap_or(0);
            let got = |job: u128| granted.get(&job).copied().unwrap_or(0);
            let served = |job: u128| !(newcomers_only && held.contains_key(&job));
            let waiting: Vec<_> =
                tasks.iter().filter(|(job, tasks)| served(**job) && **tasks > got(**job)).map(|(job, _)| *job).collect();
            let total: u32 = granted.values().sum();

            prop_assert!(total <= limit);
            for (&job, &count) in &granted {
                prop_assert!(served(job) && count > 0 && count <= tasks[&job]);
                if has(job) + count > per_job {
                    prop_assert!(waiting.iter().all(|other| *other == job), "beyond its share while another waits");
                }
            }
            if total < limit {
                prop_assert!(waiting.len() != 1, "a lone job gets the rest");
                prop_assert!(waiting.iter().all(|job| has(*job) + got(*job) >= per_job), "nothing is left for no reason");
            }
            // Of two jobs of one account, none is ahead by more than one turn unless the other could take no more.
            let mut number = 0;
            for jobs in &accounts {
                let range = number..number + jobs.len() as u128;
                number = range.end;
                for one in range.clone().filter(|job| served(*job)) {
                    for other in range.clone().filter(|job| served(*job)) {
                        let stuck = got(other) == tasks[&other] || has(other) + got(other) >= per_job;
                        prop_assert!(stuck || got(one) <= got(other) + 1);
                    }
                }
            }
        }
    }
}
