//! What is known of pages that end processes, and of pages that are taken for such.

use std::collections::{BTreeMap, BTreeSet};

use datasonar_store::{JobId, KeptPage, KeptResult, PageMark, TaskLease};

use super::{Oracle, Property};

/// How the result of a page that was given up begins its message.
pub(super) const GIVEN_UP: &str = "the page was given up";
/// A page may end so many processes: two until its task is isolated, two until it is given up.
pub(super) const MOST_DEATHS: u64 = 4;
/// More processes than any page may end, in however many jobs.
const FAR_TOO_MANY: u64 = 100;

/// By the epoch of a claim: the process that held the task, and the pages that it had in progress alone.
type Claims = BTreeMap<u32, (String, BTreeSet<u32>)>;

/// Pages by the claims that worked on them.
#[derive(Default)]
pub(super) struct Isolation {
    /// The pages that each claim of a task had in progress alone, with the process.
    alone: BTreeMap<(JobId, u32), Claims>,
    dead: BTreeSet<String>,
    /// How many processes each URL ended.
    ended: BTreeMap<String, u64>,
}

impl Isolation {
    pub(super) fn claimed(&mut self, host: &str, lease: TaskLease) {
        let claims = self.alone.entry((lease.job, lease.seq)).or_default();
        claims.insert(lease.epoch, (host.to_owned(), BTreeSet::new()));
    }

    pub(super) fn finished(&mut self, lease: TaskLease) {
        self.alone.remove(&(lease.job, lease.seq));
    }

    /// The processes that died with a page in progress alone.
    fn died_with(&self, lease: TaskLease, page: u32) -> Vec<&str> {
        let claims = self.alone.get(&(lease.job, lease.seq)).into_iter().flatten();
        let of_page = claims.filter(|(epoch, (_, pages))| **epoch != lease.epoch && pages.contains(&page));
        of_page.map(|(_, (host, _))| host.as_str()).filter(|host| self.dead.contains(*host)).collect()
    }
}

impl Oracle {
    /// A process died.
    pub(crate) fn died(&mut self, host: &str) {
        self.deaths += 1;
        self.isolation.dead.insert(host.to_owned());
    }

    /// A process is ended by a page.
    pub(crate) fn poisoned(&mut self, url: &str) {
        let ended = self.isolation.ended.entry(url.to_owned()).or_default();
        *ended += 1;
        if *ended == FAR_TOO_MANY {
            let what = format!("{url} has ended {FAR_TOO_MANY} processes, and goes on");
            self.broken(Property::PoisonIsContained, what);
        }
    }

    pub(crate) fn released_task(&mut self, lease: TaskLease) {
        if let Some(claims) = self.isolation.alone.get_mut(&(lease.job, lease.seq)) {
            claims.remove(&lease.epoch);
        }
    }

    pub(crate) fn marked_page(&mut self, lease: TaskLease, mark: PageMark) {
        let claims = self.isolation.alone.entry((lease.job, lease.seq)).or_default();
        if let Some((_, pages)) = claims.get_mut(&lease.epoch) {
            if mark.is_alone {
                pages.insert(mark.page);
            } else {
                pages.remove(&mark.page);
            }
        }
    }

    /// A page is done. One that is given up must have been in progress at two deaths.
    pub(crate) fn kept_page(&mut self, host: &str, lease: TaskLease, kept: &KeptPage) {
        let is_given_up = match &kept.result {
            KeptResult::Page { error: Some(error), .. } => error.message.starts_with(GIVEN_UP),
            _ => false,
        };
        if is_given_up {
            let died = self.isolation.died_with(lease, kept.page);
            if died.len() < 2 {
                let what = format!("{host} gave up page {} of {lease:?}, with which died {died:?}", kept.page);
                self.broken(Property::JustlyGivenUp, what);
            }
        }
        if let Some(claims) = self.isolation.alone.get_mut(&(lease.job, lease.seq)) {
            claims.values_mut().for_each(|(_, pages)| {
                pages.remove(&kept.page);
            });
        }
    }

    /// How many processes each URL ended.
    pub(super) fn ended_by(&self) -> &BTreeMap<String, u64> {
        &self.isolation.ended
    }
}
