//! Random crawls of random graphs, claimed, crashed, discovered, dropped and finished in random order, beside a plain
//! breadth-first walk.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::crawls::{urls, with};
use super::samples::*;
use crate::{ClaimedTask, Discovery, DroppedPage, Finish, JobStatus};

/// What a crawl is like, and what happens to it.
#[derive(Clone, Debug)]
struct Case {
    /// The pages that each page links to.
    links: Vec<Vec<u32>>,
    /// The page that each page redirects to, if any.
    redirects: Vec<Option<u32>>,
    max_pages: u64,
    /// Of the claimed tasks, which goes on; and whether it crashes, discovers early or finishes.
    steps: Vec<(usize, u8)>,
}

fn cases() -> impl Strategy<Value = Case> {
    (2..60_usize).prop_flat_map(|pages| {
        let page = 0..pages as u32;
        let links = proptest::collection::vec(proptest::collection::vec(page.clone(), 0..6), pages);
        let redirects = proptest::collection::vec(proptest::option::weighted(0.15, page), pages);
        let steps = proptest::collection::vec((any::<usize>(), 0..4_u8), 0..40);
        (links, redirects, 1..70_u64, steps).prop_map(|(links, redirects, max_pages, steps)| Case {
            links,
            redirects,
            max_pages,
            steps,
        })
    })
}

impl Case {
    /// Where a page leads in the end; a loop leads to itself.
    fn target(&self, page: u32) -> u32 {
        let mut at = page;
        for _ in 0..self.redirects.len() {
            match self.redirects[at as usize] {
                Some(next) => at = next,
                None => return at,
            }
        }
        page
    }

    /// The pages that a walk without a limit finds: by what they are in the end.
    fn reachable(&self) -> BTreeMap<u32, u32> {
        let mut depths = BTreeMap::from([(0_u32, 0_u32)]);
        let mut queue = std::collections::VecDeque::from([0]);
        while let Some(page) = queue.pop_front() {
            let depth = depths[&page];
            for &to in &self.links[self.target(page) as usize] {
                if let Entry::Vacant(entry) = depths.entry(to) {
                    entry.insert(depth + 1);
                    queue.push_back(to);
                }
            }
        }
        depths
    }
}

struct Run<'a> {
    store: &'a Tested,
    case: &'a Case,
    held: Vec<ClaimedTask>,
    now: i64,
    /// Pages with a result, by what they are in the end; and the depths of all that were claimed.
    results: BTreeSet<u32>,
    depths: BTreeMap<u32, u32>,
    ended: bool,
}

fn number(url: &str) -> u32 {
    url.rsplit('/').next().unwrap().parse().unwrap()
}

impl Run<'_> {
    async fn claim(&mut self) {
        for task in claim_at(self.store, ALL, at(self.now)).await {
            for url in urls(&task) {
                let known = self.depths.insert(number(&url.url), url.depth);
                assert!(known.is_none_or(|depth| depth == url.depth), "a page has two depths");
            }
            self.held.push(task);
        }
    }

    fn discovery(&self, task: &ClaimedTask) -> Discovery {
        let found = urls(task).into_iter().flat_map(|url| {
            let links = &self.case.links[self.case.target(number(&url.url)) as usize];
            links.iter().map(move |to| found(*to, url.depth + 1))
        });
        Discovery { found: found.collect(), skipped: Vec::new() }
    }

    async fn step(&mut self, which: usize, what: u8) {
        if self.held.is_empty() {
            self.claim().await;
        }
        if self.held.is_empty() {
            return;
        }
        let at_index = which % self.held.len();
        match what {
            0 => {
                // Dies: its leases run out, and it is claimed again.
                self.held.remove(at_index);
                self.now += 1_000;
                self.held.clear();
                self.claim().await;
            }
            1 => {
                let task = &self.held[at_index];
                self.store.discover(task.lease, self.discovery(task)).await.unwrap();
            }
            _ => {
                let task = self.held.remove(at_index);
                self.finish(&task).await;
            }
        }
    }

    async fn finish(&mut self, task: &ClaimedTask) {
        let mut dropped = Vec::new();
        for (index, url) in (0..).zip(urls(task)) {
            let page = number(&url.url);
            let target = self.case.target(page);
            let keeps =
                target == page || self.store.claim_page(task.lease, index, url.key, vec![key(target)]).await.unwrap();
            if keeps {
                assert!(self.results.insert(target), "page {target} has two results");
            } else {
                dropped.push(index);
            }
        }
        let mut finish = with(task, self.discovery(task).found, dropped);
        finish.segments = segments(task, &finish.dropped, &finish.segments);
        self.ended = matches!(self.store.finish_task(finish).await.unwrap(), Finish::Job { .. });
    }
}

/// One segment for each result.
fn segments(task: &ClaimedTask, dropped: &[DroppedPage], like: &[crate::Segment]) -> Vec<crate::Segment> {
    let kept = (0..task.urls).filter(|index| dropped.iter().all(|page| page.index != *index));
    kept.filter_map(|index| {
        let first = task.first + u64::from(index);
        Some(crate::Segment { first, count: 1, ..like.first()?.clone() })
    })
    .collect()
}

/// Whatever happens on the way, a crawl has what a plain walk finds, each page once, and ends.
pub async fn random_crawls_keep_to_the_model(store: Tested) {
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let handle = tokio::runtime::Handle::current();
    let run = |case: Case| tokio::task::block_in_place(|| handle.block_on(check(&store, &case)));
    runner
        .run(&cases(), |case| {
            run(case);
            Ok(())
        })
        .unwrap();
}

async fn check(store: &Tested, case: &Case) {
    let scope = scope();
    let id = submit(store, silent(crawl(scope, case.max_pages))).await;
    let mut run =
        Run { store, case, held: Vec::new(), now: 0, results: BTreeSet::new(), depths: BTreeMap::new(), ended: false };
    for &(which, what) in &case.steps {
        run.step(which, what).await;
    }
    for _ in 0..1_000 {
        if run.ended {
            break;
        }
        run.step(0, 3).await;
    }
    assert!(run.ended, "the crawl does not end");
    let job = store.job(scope, id).await.unwrap();
    assert_eq!(job.status, JobStatus::Completed);
    assert_eq!((job.total, job.succeeded), (run.results.len() as u64, run.results.len() as u64));
    let reachable = case.reachable();
    let pages: BTreeSet<u32> = reachable.keys().map(|page| case.target(*page)).collect();
    assert_eq!(run.results.len() as u64, case.max_pages.min(pages.len() as u64), "not as many as there may be");
    assert!(run.results.is_subset(&pages));
    if job.skipped.over_limit == 0 {
        assert_eq!(run.results, pages);
        // A page that another turned out to be need not be fetched by itself.
        assert!(run.depths.iter().all(|(page, depth)| reachable.get(page) == Some(depth)));
    }
    let known = run.depths.len() as u64 + job.skipped.over_limit;
    assert!(known <= reachable.len() as u64 + job.skipped.duplicate);
}
