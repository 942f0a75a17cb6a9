//! What must be true of the rows, and the reading that it takes to see whether it is.
//!
//! **Role.** [`Audit`] reads everything that an auditor compares, a page at a time; what it must look like is decided here, by pure
//! functions: [`AuditedJob::violations`], [`AuditedTask::violations`]. It is for operators who doubt, and for tests.
//!
//! **Protocol.** All of a job's counts are read at one moment, so that an audit beside a running server sees no half of a step. Finished
//! tasks do not change any more but by being deleted with their job's results: whoever misses one of their blobs reads the job again.
//!
//! **What it does not do.** It changes nothing, and does not look at blobs: this crate knows their keys and nothing else.

use async_trait::async_trait;

use crate::{JobId, JobInput, JobKind, JobStatus, Result, Segment};

/// Reads what an auditor compares. Every store of this crate does.
#[async_trait]
pub trait Audit: Send + Sync {
    /// How many jobs there are.
    async fn audited_count(&self) -> Result<u64>;

    /// Reads jobs in the order of their ids, those after `after` if given, at most `limit`.
    async fn audited_jobs(&self, after: Option<JobId>, limit: u32) -> Result<Vec<AuditedJob>>;

    /// Reads the tasks of a job from `seq` on, finished or not, at most `limit`, each with its segments.
    async fn audited_tasks(&self, job: JobId, seq: u32, limit: u32) -> Result<Vec<AuditedTask>>;

    /// Finds what is no single job's: rows whose job is not there, counts over several jobs. Reads whole tables.
    async fn audited_strays(&self) -> Result<Vec<String>>;
}

/// A job, as its own row counts it and as the rows that belong to it add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedJob {
    /// The job.
    pub id: JobId,
    /// What it is.
    pub kind: JobKind,
    /// Where it stands.
    pub status: JobStatus,
    /// Whether it has the time of its end.
    pub has_end: bool,
    /// Whether it owes a callback when it ends.
    pub has_webhook: bool,
    /// Whether its results have expired and were deleted.
    pub results_deleted: bool,
    /// What its row counts.
    pub counted: Counts,
    /// What its tasks and segments add up to.
    pub found: Counts,
    /// Results that succeeded and failed, by its row.
    pub results: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// How many failed by a code, over all codes.
    pub errors: u64,
    /// Its tasks.
    pub tasks: TaskCounts,
    /// Where its input is, if it has one.
    pub input: Option<AuditedInput>,
    /// Its deliveries.
    pub deliveries: Vec<AuditedDelivery>,
    /// What is known of it as a crawl.
    pub crawl: Option<AuditedCrawl>,
}

/// What is counted in a job's row, and can be counted in the rows of its tasks and segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Page results that there are to be; of the tasks, their URLs.
    pub urls: u64,
    /// Tasks that are not finished.
    pub tasks_left: u64,
    /// Tasks that can be claimed.
    pub tasks_claimable: u64,
    /// Segments.
    pub segments: u64,
    /// The raw bytes of these.
    pub result_bytes: u64,
}

/// What the rows of a job's tasks and segments show beside [`Counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// How many there are.
    pub count: u64,
    /// One more than the last one's number.
    pub end: u64,
    /// How many do not begin where the one before ends.
    pub misplaced: u64,
    /// How many are finished and still held.
    pub finished_and_held: u64,
    /// How many page results the segments hold.
    pub results: u64,
    /// How many URLs lie with the crawl's unfinished tasks.
    pub lists: u64,
}

/// Where a job's input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedInput {
    /// The place.
    pub place: JobInput,
    /// Where the ranges of its tasks end: its length, in bytes.
    pub end: u64,
}

/// A delivery and its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditedDelivery {
    /// How many attempts its row counts.
    pub counted: u64,
    /// How many are logged.
    pub logged: u64,
    /// The least of their numbers; 0 without any.
    pub first: u64,
    /// The greatest of their numbers; 0 without any.
    pub last: u64,
}

/// What the row of a crawl counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditedCrawl {
    /// The most results it may have.
    pub max_pages: u64,
    /// URLs that were given a position.
    pub admitted: u64,
    /// Tasks that were made.
    pub tasks: u64,
}

/// A task with its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedTask {
    /// Its number within the job.
    pub seq: u32,
    /// Whether it is finished.
    pub is_finished: bool,
    /// The position of its first URL.
    pub first: u64,
    /// How many URLs it has.
    pub urls: u32,
    /// Whether it is a crawl's: only those may drop pages.
    pub is_crawl: bool,
    /// Whether its pages are kept one by one before it is finished.
    pub is_isolated: bool,
    /// Its segments, in order.
    pub segments: Vec<Segment>,
}

impl AuditedJob {
    /// What is wrong with it, each in a sentence.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut demand = |is_so: bool, what: &dyn Fn() -> String| {
            if !is_so {
                found.push(what());
            }
        };
        let has_ended = self.status.has_ended();
        demand(has_ended == self.has_end, &|| {
            let or_not = if self.has_end { "has" } else { "has not" };
            format!("it is {} and {or_not} the time of its end", self.status)
        });
        self.check_deliveries(&mut demand);
        if self.results_deleted {
            demand(has_ended, &|| "its results were deleted before it ended".to_owned());
            demand(self.tasks == TaskCounts::default() && self.input.is_none(), &|| {
                "its results were deleted, but not all of their rows".to_owned()
            });
            return found;
        }
        let (row, rows) = (self.counted, self.found);
        for (what, row, rows) in [
            ("unfinished tasks", row.tasks_left, rows.tasks_left),
            ("claimable tasks", row.tasks_claimable, rows.tasks_claimable),
            ("segments", row.segments, rows.segments),
            ("bytes of results", row.result_bytes, rows.result_bytes),
        ] {
            demand(row == rows, &|| format!("its row counts {row} {what}, there are {rows}"));
        }
        demand(has_ended == (rows.tasks_left == 0), &|| {
            format!("it is {} with {} unfinished tasks", self.status, rows.tasks_left)
        });
        demand(self.results == self.tasks.results, &|| {
            format!("its row counts {} results, its segments hold {}", self.results, self.tasks.results)
        });
        demand(self.failed == self.errors, &|| {
            format!("its row counts {} results that failed, {} are told by their codes", self.failed, self.errors)
        });
        demand(!has_ended || self.results == row.urls, &|| {
            format!("it has ended with {} results of {}", self.results, row.urls)
        });
        demand(self.tasks.end == self.tasks.count, &|| {
            format!("its {} tasks are numbered up to {}", self.tasks.count, self.tasks.end)
        });
        demand(self.tasks.misplaced == 0, &|| {
            format!("{} of its tasks do not begin where the one before ends", self.tasks.misplaced)
        });
        demand(self.tasks.finished_and_held == 0, &|| {
            format!("{} of its tasks are finished and still leased", self.tasks.finished_and_held)
        });
        self.check_work(&mut demand);
        found
    }

    fn check_deliveries(&self, demand: &mut impl FnMut(bool, &dyn Fn() -> String)) {
        let owed = usize::from(self.has_webhook && self.status.has_ended());
        demand(self.deliveries.len() == owed, &|| {
            format!("it must have {owed} deliveries and has {}", self.deliveries.len())
        });
        for AuditedDelivery { counted, logged, first, last } in self.deliveries.iter().copied() {
            demand(counted == logged, &|| format!("its delivery counts {counted} attempts, {logged} are logged"));
            demand(logged == 0 || (first == 1 && last == logged), &|| {
                format!("the {logged} attempts of its delivery are numbered from {first} to {last}")
            });
        }
    }

    /// What it is made of: a list, or what a crawl has found.
    fn check_work(&self, demand: &mut impl FnMut(bool, &dyn Fn() -> String)) {
        let urls = self.found.urls;
        let Some(crawl) = self.crawl else {
            demand(self.counted.urls == urls, &|| {
                format!("its row counts {} URLs, its tasks have {urls}", self.counted.urls)
            });
            demand(self.kind != JobKind::Crawl, &|| "it is a crawl without a frontier".to_owned());
            demand(self.input.is_some() || self.kind == JobKind::Test, &|| "its input is missing".to_owned());
            return;
        };
        demand(crawl.admitted == urls, &|| {
            format!("its frontier admitted {} URLs, its tasks have {urls}", crawl.admitted)
        });
        demand(crawl.tasks == self.tasks.count, &|| {
            format!("its frontier made {} tasks, there are {}", crawl.tasks, self.tasks.count)
        });
        demand(self.counted.urls <= crawl.admitted.min(crawl.max_pages), &|| {
            format!(
                "it is to have {} results, of {} admitted and {} allowed",
                self.counted.urls, crawl.admitted, crawl.max_pages
            )
        });
        demand(self.tasks.lists == self.found.tasks_left, &|| {
            format!("{} of its {} unfinished tasks have a list of URLs", self.tasks.lists, self.found.tasks_left)
        });
    }
}

impl AuditedTask {
    /// What is wrong with it, each in a sentence.
    pub fn violations(&self) -> Vec<String> {
        let seq = self.seq;
        if !self.is_finished {
            let places = self.first..self.first + u64::from(self.urls);
            let is_kept = |segment: &Segment| segment.count == 1 && places.contains(&segment.first);
            let is_sound = self.segments.is_empty() || (self.is_isolated && self.segments.iter().all(is_kept));
            return if is_sound { Vec::new() } else { vec![format!("task {seq} is not finished and has segments")] };
        }
        let mut found = Vec::new();
        let (mut next, end) = (self.first, self.first + u64::from(self.urls));
        for segment in &self.segments {
            let first = segment.first;
            if first < next || segment.count == 0 {
                found.push(format!("task {seq}: the segment at {first} overlaps the one before, or is empty"));
            } else if first > next && !self.is_crawl {
                found.push(format!("task {seq}: there are no results from {next} to {first}"));
            }
            next = first + u64::from(segment.count);
        }
        if next > end || (next < end && !self.is_crawl) {
            found.push(format!("task {seq}: its results end at {next}, its URLs at {end}"));
        }
        found
    }
}
