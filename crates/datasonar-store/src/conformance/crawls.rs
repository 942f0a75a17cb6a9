//! Checks of crawls: what is admitted, in which order, and what is skipped.

use super::samples::*;
use crate::{
    ClaimedTask, Discovery, DroppedPage, Finish, FinishTask, FoundUrl, JobError, JobId, JobStatus, NewCrawl, NewJob,
    NewWork, Scope, Segment, SkipCounts, SkipReason, SkippedUrl, StoreError, TaskInput, TaskLease,
};

/// The URLs of a crawl's task.
pub fn urls(task: &ClaimedTask) -> Vec<FoundUrl> {
    match &task.input {
        TaskInput::Found(urls) => urls.clone(),
        TaskInput::Range { .. } => panic!("the task is no crawl's"),
    }
}

/// A task's outcome with these discoveries, and without the pages with these indices.
pub fn with(task: &ClaimedTask, found: Vec<FoundUrl>, dropped: Vec<u32>) -> FinishTask {
    let plain = outcome(task);
    let all = urls(task);
    let kept = task.urls - dropped.len() as u32;
    let first = (0..task.urls).find(|index| !dropped.contains(index)).unwrap_or(0);
    let segment = Segment { first: task.first + u64::from(first), count: kept, ..plain.segments[0].clone() };
    let segments = if kept == 0 { Vec::new() } else { vec![segment] };
    let discovery = Discovery { found, skipped: Vec::new() };
    let page = |index: u32| {
        let skipped = SkippedUrl { url: all[index as usize].clone(), reason: SkipReason::Duplicate };
        DroppedPage { index, skipped }
    };
    let dropped = dropped.into_iter().map(page).collect();
    FinishTask { segments, succeeded: kept, dropped, discovery, ..plain }
}

fn pages(range: std::ops::Range<u32>, depth: u32) -> Vec<FoundUrl> {
    range.map(|page| found(page, depth)).collect()
}

async fn only(store: &Tested) -> ClaimedTask {
    let mut tasks = claim(store, ALL).await;
    assert_eq!(tasks.len(), 1);
    tasks.pop().unwrap()
}

async fn counts(store: &Tested, scope: Scope, job: JobId) -> SkipCounts {
    store.job(scope, job).await.unwrap().skipped
}

/// A crawl has one URL at first, and ends like any job.
pub async fn a_crawl_begins_with_its_start(store: Tested) {
    let scope = scope();
    let id = submit(&store, crawl(scope, 10)).await;
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.total, job.status), (1, JobStatus::Pending));
    let task = only(&store).await;
    assert_eq!((task.lease.seq, task.first, task.urls), (0, 0, 1));
    assert_eq!(urls(&task), [FoundUrl { found_on: None, ..found(0, 0) }]);
    let Finish::Job { delivery } = finish(&store, &task).await else { panic!("it was the only task") };
    assert!(delivery.is_some());
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.status, job.total, job.succeeded), (JobStatus::Completed, 1, 1));
    let nothing = NewCrawl { max_pages: 0, start: found(0, 0) };
    let empty = NewJob { work: NewWork::Crawl(nothing), ..crawl(scope, 1) };
    assert!(matches!(store.submit_job(empty).await, Err(StoreError::Corrupt(_))));
}

/// Tasks of the next depth wait for all of this one, are filled, and have positions in the order found.
pub async fn levels_come_one_after_the_other(store: Tested) {
    let id = submit(&store, crawl(scope(), 10_000)).await;
    let start = only(&store).await;
    store.finish_task(with(&start, pages(1..151, 1), Vec::new())).await.unwrap();
    let level = claim(&store, ALL).await;
    assert_eq!(places(&level), [(id, 1), (id, 2)]);
    assert_eq!((level[0].first, level[0].urls, level[1].first, level[1].urls), (1, 100, 101, 50));
    store.finish_task(with(&level[1], pages(200..230, 2), Vec::new())).await.unwrap();
    assert!(claim(&store, ALL).await.is_empty(), "the level is not done");
    store.finish_task(with(&level[0], pages(300..380, 2), Vec::new())).await.unwrap();
    let next = claim(&store, ALL).await;
    assert_eq!(places(&next), [(id, 3), (id, 4)]);
    let found: Vec<_> = next.iter().flat_map(urls).collect();
    assert_eq!(found, [pages(200..230, 2), pages(300..380, 2)].concat());
    assert_eq!((next[0].urls, next[1].first, next[1].urls), (100, 251, 10));
    finish(&store, &next[0]).await;
    assert!(matches!(finish(&store, &next[1]).await, Finish::Job { .. }));
}

/// A page that is known is not admitted again, whoever finds it.
pub async fn urls_are_admitted_once(store: Tested) {
    let scope = scope();
    let id = submit(&store, crawl(scope, 10_000)).await;
    let start = only(&store).await;
    let again = [pages(0..3, 1), pages(1..4, 1)].concat();
    store.finish_task(with(&start, again, Vec::new())).await.unwrap();
    let task = only(&store).await;
    assert_eq!(urls(&task), pages(1..4, 1));
    store.finish_task(with(&task, pages(0..4, 2), Vec::new())).await.unwrap();
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.status, job.total, job.skipped), (JobStatus::Completed, 4, SkipCounts::default()));
}

/// The limit holds exactly; what is over it is told.
pub async fn no_more_pages_than_asked_for(store: Tested) {
    let scope = scope();
    let id = submit(&store, crawl(scope, 5)).await;
    let start = only(&store).await;
    store.finish_task(with(&start, pages(1..11, 1), Vec::new())).await.unwrap();
    assert_eq!(store.job(scope, id).await.unwrap().total, 5);
    let task = only(&store).await;
    assert_eq!(urls(&task), pages(1..5, 1));
    store.finish_task(with(&task, pages(3..20, 2), Vec::new())).await.unwrap();
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.status, job.total, job.skipped.over_limit), (JobStatus::Completed, 5, 15));
    let one = submit(&store, crawl(scope, 1)).await;
    let start = only(&store).await;
    store.finish_task(with(&start, pages(1..11, 1), Vec::new())).await.unwrap();
    assert_eq!(store.job(scope, one).await.unwrap().total, 1);
}

/// A page without a result counts no more, and the first that was over the limit takes its place.
pub async fn pages_that_are_dropped_make_room(store: Tested) {
    let scope = scope();
    let id = submit(&store, crawl(scope, 5)).await;
    let start = only(&store).await;
    store.finish_task(with(&start, pages(1..11, 1), Vec::new())).await.unwrap();
    let task = only(&store).await;
    let mut finish = with(&task, pages(20..30, 2), vec![1, 3]);
    finish.segments = vec![
        Segment { first: task.first, count: 1, ..finish.segments[0].clone() },
        Segment { first: task.first + 2, count: 1, ..finish.segments[0].clone() },
    ];
    store.finish_task(finish).await.unwrap();
    let task = only(&store).await;
    assert_eq!(urls(&task), pages(5..7, 1));
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.total, job.succeeded), (5, 3));
    assert_eq!(job.skipped, SkipCounts { duplicate: 2, over_limit: 4 + 10, ..SkipCounts::default() });
    store.finish_task(with(&task, Vec::new(), vec![0, 1])).await.unwrap();
    let task = only(&store).await;
    assert_eq!(urls(&task), pages(7..9, 1));
    store.finish_task(with(&task, Vec::new(), Vec::new())).await.unwrap();
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.status, job.total, job.succeeded), (JobStatus::Completed, 5, 5));
    let tasks = store.finished_tasks(id, 0, ALL).await.unwrap();
    let results: u32 = tasks.iter().flat_map(|task| &task.segments).map(|segment| segment.count).sum();
    assert_eq!(results, 5);
}

/// Of two pages that are one, the first has it; and asked again, both hear the same.
pub async fn pages_are_claimed_once(store: Tested) {
    let scope = scope();
    let id = submit(&store, crawl(scope, 5)).await;
    let start = only(&store).await;
    assert!(store.claim_page(start.lease, 0, key(0), vec![key(50)]).await.unwrap());
    store.finish_task(with(&start, [pages(1..4, 1), pages(50..51, 1)].concat(), Vec::new())).await.unwrap();
    let task = only(&store).await;
    assert_eq!(urls(&task), pages(1..4, 1), "50 is the start");
    for _ in 0..2 {
        assert!(!store.claim_page(task.lease, 0, key(1), vec![key(50)]).await.unwrap());
        assert!(!store.claim_page(task.lease, 1, key(2), vec![key(60), key(3)]).await.unwrap(), "3 is to be fetched");
        assert!(store.claim_page(task.lease, 2, key(3), vec![key(70), key(71)]).await.unwrap());
    }
    let again = claim_at(&store, ALL, after(at(0), LEASE)).await.pop().unwrap();
    assert!(matches!(store.claim_page(task.lease, 0, key(1), vec![key(9)]).await, Err(StoreError::LeaseLost)));
    assert!(store.claim_page(again.lease, 2, key(3), vec![key(70)]).await.unwrap());
    assert!(matches!(store.claim_page(again.lease, 3, key(4), vec![key(9)]).await, Err(StoreError::Corrupt(_))));
    let over = [pages(60..61, 2), pages(70..72, 2), pages(80..90, 2)].concat();
    store.discover(again.lease, Discovery { found: over, skipped: Vec::new() }).await.unwrap();
    assert_eq!(counts(&store, scope, id).await.over_limit, 10);
    assert!(store.claim_page(again.lease, 2, key(3), vec![key(85)]).await.unwrap(), "skipped, and fetched after all");
    assert_eq!(counts(&store, scope, id).await.over_limit, 9);
}

/// Two pages that name each other as canonical: one stays.
pub async fn pages_that_name_each_other_do_not_both_give_way(store: Tested) {
    submit(&store, crawl(scope(), 9)).await;
    let start = only(&store).await;
    store.finish_task(with(&start, pages(1..3, 1), Vec::new())).await.unwrap();
    let task = only(&store).await;
    assert!(!store.claim_page(task.lease, 0, key(1), vec![key(2)]).await.unwrap());
    assert!(store.claim_page(task.lease, 1, key(2), vec![key(1)]).await.unwrap());
    assert!(!store.claim_page(task.lease, 0, key(1), vec![key(2)]).await.unwrap());
}

/// What is found may be told while the task goes on, and after a crash again.
pub async fn discoveries_may_come_early_and_twice(store: Tested) {
    let scope = scope();
    let id = submit(&store, crawl(scope, 100)).await;
    let start = only(&store).await;
    let reason = SkipReason::Robots;
    let discovery = Discovery { found: pages(1..40, 1), skipped: vec![SkippedUrl { url: found(90, 1), reason }] };
    for _ in 0..2 {
        store.discover(start.lease, discovery.clone()).await.unwrap();
    }
    assert!(claim(&store, ALL).await.is_empty(), "the level is not done");
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.total, job.skipped.robots), (40, 1));
    let again = claim_at(&store, ALL, after(at(0), LEASE)).await.pop().unwrap();
    store.finish_task(with(&again, pages(30..50, 1), Vec::new())).await.unwrap();
    assert_eq!(urls(&only(&store).await), pages(1..50, 1));
}

/// Who lost the lease changes nothing.
pub async fn a_stale_lease_discovers_nothing(store: Tested) {
    let scope = scope();
    let id = submit(&store, crawl(scope, 100)).await;
    let stale = only(&store).await;
    claim_at(&store, ALL, after(at(0), LEASE)).await;
    let discovery = Discovery { found: pages(1..9, 1), skipped: Vec::new() };
    let lost = store.discover(stale.lease, discovery.clone()).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost)));
    let finish = with(&stale, pages(1..9, 1), Vec::new());
    assert!(matches!(store.finish_task(finish).await, Err(StoreError::LeaseLost)));
    assert!(matches!(store.discover(unknown_lease(), discovery).await, Err(StoreError::LeaseLost)));
    assert_eq!(store.job(scope, id).await.unwrap().total, 1);
}

/// A crawl that is cancelled finds nothing more, and ends when what it has is done.
pub async fn a_cancelled_crawl_ends(store: Tested) {
    let scope = scope();
    let id = submit(&store, crawl(scope, 100)).await;
    let start = only(&store).await;
    store.finish_task(with(&start, pages(1..9, 1), Vec::new())).await.unwrap();
    let task = only(&store).await;
    store.discover(task.lease, Discovery { found: pages(20..30, 2), skipped: Vec::new() }).await.unwrap();
    store.cancel_job(scope, id, at(5)).await.unwrap();
    store.discover(task.lease, Discovery { found: pages(30..40, 2), skipped: Vec::new() }).await.unwrap();
    store.finish_task(with(&task, pages(40..50, 2), Vec::new())).await.unwrap();
    let task = only(&store).await;
    assert!(task.cancelled);
    assert_eq!(urls(&task), pages(20..30, 2));
    assert!(matches!(finish(&store, &task).await, Finish::Job { .. }));
    let job = store.job(scope, id).await.unwrap();
    let error = JobError { code: "cancelled".to_owned(), message: "the job was cancelled".to_owned() };
    assert_eq!((job.status, job.total, job.error), (JobStatus::Failed, 19, Some(error)));
}

/// Each page is skipped once, and listed with its reason, in order, in parts.
pub async fn skipped_urls_are_listed_once(store: Tested) {
    let scope = scope();
    let id = submit(&store, crawl(scope, 3)).await;
    let start = only(&store).await;
    let skip = |page, reason| SkippedUrl { url: found(page, 1), reason };
    let skipped = vec![
        skip(10, SkipReason::Robots),
        skip(11, SkipReason::OutOfScope),
        skip(10, SkipReason::Robots),
        skip(1, SkipReason::Robots),
    ];
    let discovery = Discovery { found: pages(1..5, 1), skipped };
    store.discover(start.lease, discovery.clone()).await.unwrap();
    store.finish_task(FinishTask { discovery, ..with(&start, Vec::new(), Vec::new()) }).await.unwrap();
    let told = SkipCounts { robots: 1, out_of_scope: 1, duplicate: 0, over_limit: 2 };
    assert_eq!(counts(&store, scope, id).await, told);
    let all = store.skipped(scope, id, 0, ALL).await.unwrap();
    let over = |page| SkippedUrl { url: found(page, 1), reason: SkipReason::OverLimit };
    let expected = [over(3), over(4), skip(10, SkipReason::Robots), skip(11, SkipReason::OutOfScope)];
    assert!(all.iter().map(|(_, url)| url).eq(&expected), "{all:?}");
    assert_eq!(store.skipped(scope, id, 0, 2).await.unwrap(), all[..2]);
    assert_eq!(store.skipped(scope, id, all[1].0, 9).await.unwrap(), all[2..]);
    assert!(matches!(store.skipped(self::scope(), id, 0, 9).await, Err(StoreError::NotFound)));
}

fn scope() -> Scope {
    super::samples::scope()
}

/// The list has an end, the counting none.
pub async fn skips_beyond_the_list_are_counted(store: Tested) {
    let scope = scope();
    let id = submit(&store, crawl(scope, 2)).await;
    let start = only(&store).await;
    let most = u32::try_from(crate::SKIPPED_LISTED).unwrap();
    let discovery = Discovery { found: pages(1..most + 100, 1), skipped: Vec::new() };
    store.discover(start.lease, discovery).await.unwrap();
    assert_eq!(counts(&store, scope, id).await.over_limit, u64::from(most) + 98);
    assert_eq!(store.skipped(scope, id, 0, ALL).await.unwrap().len() as u64, crate::SKIPPED_LISTED);
}

/// A crawl's rows go with its results.
pub async fn crawls_expire(store: Tested) {
    let scope = scope();
    let id = submit(&store, silent(crawl(scope, 2))).await;
    let start = only(&store).await;
    store.finish_task(with(&start, pages(1..9, 1), Vec::new())).await.unwrap();
    let task = only(&store).await;
    finish(&store, &task).await;
    assert_eq!(store.expire_results(after(at(10), RETENTION), ALL).await.unwrap(), [id]);
    assert!(store.skipped(scope, id, 0, ALL).await.unwrap().is_empty());
    assert_eq!(counts(&store, scope, id).await.over_limit, 7);
    assert_eq!(store.delete_logs(at(1_000_000_000), at(1_000_000_000), ALL).await.unwrap(), 1);
}

/// What is dropped has no result, and all else has one.
pub async fn results_that_do_not_fit_are_refused(store: Tested) {
    submit(&store, crawl(scope(), 100)).await;
    let start = only(&store).await;
    store.finish_task(with(&start, pages(1..5, 1), Vec::new())).await.unwrap();
    let task = only(&store).await;
    let plain = outcome(&task);
    let skipped = SkippedUrl { url: found(1, 1), reason: SkipReason::Duplicate };
    let page = |index| DroppedPage { index, skipped: skipped.clone() };
    for dropped in [vec![0], vec![4], vec![1, 1], vec![2, 1]] {
        let finish = FinishTask { dropped: dropped.into_iter().map(page).collect(), ..plain.clone() };
        assert!(matches!(store.finish_task(finish).await, Err(StoreError::Corrupt(_))));
    }
    store.finish_task(plain).await.unwrap();
    let batch = submit(&store, batch(scope(), 1)).await;
    let task = only(&store).await;
    let lease = TaskLease { job: batch, ..task.lease };
    let segments = vec![Segment { count: 9, first: 1, ..outcome(&task).segments[0].clone() }];
    let finish = FinishTask { lease, segments, succeeded: 9, dropped: vec![page(0)], ..outcome(&task) };
    assert!(matches!(store.finish_task(finish).await, Err(StoreError::Corrupt(_))));
}
