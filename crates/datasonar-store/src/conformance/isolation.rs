//! Checks of what becomes of tasks whose workers die.

use super::samples::*;
use crate::{
    ClaimTasks, ClaimedTask, Discovery, DroppedPage, Finish, FinishTask, Isolation, JobError, KeptPage, KeptResult,
    PageDeaths, PageMark, Scope, Segment, SegmentData, SkipReason, SkippedUrl, StoreError, TaskLease,
};

/// Lets the task of a job of one die twice, and claims it isolated.
async fn isolated(store: &Tested, scope: Scope) -> ClaimedTask {
    submit(store, batch(scope, 1)).await;
    for time in [0, 60] {
        let claimed = claim_at(store, ALL, at(time)).await;
        assert!(matches!(&claimed[..], [task] if task.isolation.is_none()), "one death isolates nothing: {claimed:?}");
    }
    claim_isolated(store, 120).await
}

async fn claim_isolated(store: &Tested, time: i64) -> ClaimedTask {
    let mut claimed = claim_at(store, ALL, at(time)).await;
    assert_eq!(claimed.len(), 1);
    assert!(claimed[0].isolation.is_some());
    claimed.remove(0)
}

fn result(task: &ClaimedTask, page: u32) -> Segment {
    let data = SegmentData::Inline(format!("page {page} by {}", task.lease.epoch).into_bytes());
    Segment { first: task.first + u64::from(page), count: 1, raw_bytes: 50, sha256: [page as u8; 32], data }
}

fn kept(task: &ClaimedTask, page: u32) -> KeptPage {
    KeptPage { page, result: KeptResult::Page { segment: result(task, page), error: None, time_ms: 7 } }
}

async fn mark(store: &Tested, lease: TaskLease, page: u32, is_alone: bool) {
    store.mark_page(lease, PageMark { page, is_alone }).await.unwrap();
}

/// The second death isolates a task, whether leases ran out or were freed; what was given back was no death.
pub async fn the_second_death_isolates_a_task(store: Tested) {
    let scope = scope();
    let task = isolated(&store, scope).await;
    assert_eq!(task.isolation, Some(Isolation::default()));
    assert_eq!(
        finish(&store, &task).await,
        Finish::Job { delivery: store.job(scope, task.lease.job).await.unwrap().delivery.map(|owed| owed.0) }
    );

    submit(&store, batch(scope, 1)).await;
    for _ in 0..3 {
        let held = claim(&store, ALL).await;
        assert!(held[0].isolation.is_none());
        store.release_tasks(vec![held[0].lease]).await.unwrap();
    }
    for _ in 0..2 {
        assert!(claim(&store, ALL).await[0].isolation.is_none());
        store.free_leases().await.unwrap();
    }
    let held = claim(&store, ALL).await;
    assert!(held[0].isolation.is_some());
    store.release_tasks(vec![held[0].lease]).await.unwrap();
    assert!(claim(&store, ALL).await[0].isolation.is_some(), "it stays isolated when it is given back");
}

/// A process that lets its own leases lapse has not died.
pub async fn a_lapse_of_ones_own_is_no_death(store: Tested) {
    submit(&store, batch(scope(), 1)).await;
    let owner = process();
    for time in 0..5 {
        let claimed = store.claim_tasks(ClaimTasks { owner, now: at(60 * time), ..claiming(ALL) }).await.unwrap();
        assert!(matches!(&claimed[..], [task] if task.isolation.is_none()));
    }
}

/// A holder that comes back after its lease was taken has its death taken back, and no other.
pub async fn a_death_of_one_that_lives_is_taken_back(store: Tested) {
    submit(&store, batch(scope(), 1)).await;
    let first = claim(&store, ALL).await.remove(0);
    let second = claim_at(&store, ALL, at(60)).await.remove(0);
    store.release_tasks(vec![first.lease]).await.unwrap();
    store.release_tasks(vec![first.lease]).await.unwrap();
    let third = claim_at(&store, ALL, at(120)).await.remove(0);
    assert!(third.isolation.is_none(), "the second is the first that died");
    let fourth = claim_at(&store, ALL, at(180)).await.remove(0);
    assert!(fourth.isolation.is_some());
    mark(&store, fourth.lease, 3, true).await;
    let fifth = claim_isolated(&store, 240).await;
    assert_eq!(fifth.isolation.unwrap().deaths, [PageDeaths { page: 3, alone: 1, beside: 0 }]);
    store.release_tasks(vec![second.lease, third.lease, fourth.lease, fifth.lease]).await.unwrap();
    let sixth = claim_isolated(&store, 240).await;
    assert_eq!(sixth.isolation.unwrap().deaths, [], "there is no evidence of a death that was none");
}

/// Isolated tasks take no room of others, and each account has one of them at a time.
pub async fn isolated_tasks_have_a_lane(store: Tested) {
    let (one, other) = (scope(), scope());
    submit(&store, batch(one, 3)).await;
    submit(&store, batch(other, 3)).await;
    for time in [0, 60] {
        assert_eq!(claim_at(&store, ALL, at(time)).await.len(), 6);
    }
    let healthy = submit(&store, batch(one, 2)).await;
    let claim = |isolated, isolated_held| ClaimTasks { isolated, isolated_held, now: at(120), ..claiming(ALL) };
    let claimed = store.claim_tasks(claim(0, Vec::new())).await.unwrap();
    assert_eq!(places(&claimed), [(healthy, 0), (healthy, 1)], "healthy ones come beside those that are not");
    assert_eq!(store.totals().await.unwrap().tasks_pending, 6);
    let claimed = store.claim_tasks(claim(8, vec![one.account])).await.unwrap();
    assert!(matches!(&claimed[..], [task] if task.scope == other && task.isolation.is_some()), "{claimed:?}");
    let claimed = store.claim_tasks(claim(8, Vec::new())).await.unwrap();
    assert_eq!(claimed.len(), 2);
    assert_eq!(store.claim_tasks(claim(1, Vec::new())).await.unwrap().len(), 1);
    let none = ClaimTasks { limit: 0, ..claim(8, Vec::new()) };
    assert_eq!(store.claim_tasks(none).await.unwrap().len(), 2, "the lane needs no other room");
}

/// What was in progress at a death is told, by page; what was kept is not in progress any more.
pub async fn deaths_are_told_by_page(store: Tested) {
    let task = isolated(&store, scope()).await;
    mark(&store, task.lease, 0, true).await;
    store.keep_page(task.lease, kept(&task, 0)).await.unwrap();
    mark(&store, task.lease, 1, true).await;
    mark(&store, task.lease, 2, true).await;
    mark(&store, task.lease, 2, false).await;
    let task = claim_isolated(&store, 180).await;
    let deaths = |page, alone, beside| PageDeaths { page, alone, beside };
    assert_eq!(task.isolation.as_ref().unwrap().deaths, [deaths(1, 1, 0), deaths(2, 0, 1)]);
    mark(&store, task.lease, 1, true).await;
    mark(&store, task.lease, 3, true).await;
    store.release_tasks(vec![task.lease]).await.unwrap();
    let task = claim_isolated(&store, 180).await;
    assert_eq!(task.isolation.as_ref().unwrap().deaths, [deaths(1, 1, 0), deaths(2, 0, 1)], "nobody died");
    mark(&store, task.lease, 1, true).await;
    store.free_leases().await.unwrap();
    let task = claim_isolated(&store, 180).await;
    assert_eq!(task.isolation.unwrap().deaths, [deaths(1, 2, 0), deaths(2, 0, 1)]);
}

/// Pages that are kept outlive their holder, count nowhere, and are part of the task when it is finished.
pub async fn pages_are_kept(store: Tested) {
    let scope = scope();
    let task = isolated(&store, scope).await;
    let error = Some(JobError { code: "internal".to_owned(), message: "it was given up".to_owned() });
    let failed = KeptPage { page: 4, result: KeptResult::Page { segment: result(&task, 4), error, time_ms: 9 } };
    for page in [kept(&task, 1), failed.clone(), kept(&task, 1)] {
        store.keep_page(task.lease, page).await.unwrap();
    }
    let again = claim_isolated(&store, 180).await;
    assert_eq!(again.isolation.as_ref().unwrap().kept, [kept(&task, 1), failed]);
    let before = store.job(scope, task.lease.job).await.unwrap();
    assert_eq!((before.segments, before.result_bytes, before.succeeded, before.failed), (0, 0, 0, 0));
    assert_eq!(store.finished_tasks(task.lease.job, 0, ALL).await.unwrap(), []);
    let segments: Vec<_> = (0..task.urls).map(|page| result(if page == 1 { &task } else { &again }, page)).collect();
    let finish = FinishTask { segments: segments.clone(), ..outcome(&again) };
    store.finish_task(finish).await.unwrap();
    assert_eq!(store.finished_tasks(task.lease.job, 0, ALL).await.unwrap()[0].segments, segments);
    let after = store.job(scope, task.lease.job).await.unwrap();
    assert_eq!((after.segments, after.result_bytes), (10, 500));
}

/// The pages of a crawl that have no result are kept as that.
pub async fn dropped_pages_are_kept(store: Tested) {
    let scope = scope();
    let job = submit(&store, crawl(scope, 50)).await;
    let start = claim(&store, ALL).await.remove(0);
    let discovery = Discovery { found: (1..4).map(|page| found(page, 1)).collect(), skipped: Vec::new() };
    store.finish_task(FinishTask { discovery, ..outcome(&start) }).await.unwrap();
    for time in [0, 60] {
        assert_eq!(claim_at(&store, ALL, at(time)).await.len(), 1);
    }
    let task = claim_isolated(&store, 120).await;
    let dropped = KeptPage { page: 2, result: KeptResult::Dropped(SkipReason::Duplicate) };
    store.keep_page(task.lease, dropped.clone()).await.unwrap();
    let task = claim_isolated(&store, 180).await;
    assert_eq!(task.isolation.as_ref().unwrap().kept, [dropped]);
    let skipped = SkippedUrl { url: found(3, 1), reason: SkipReason::Duplicate };
    let finish = FinishTask {
        segments: vec![result(&task, 0), result(&task, 1)],
        succeeded: 2,
        dropped: vec![DroppedPage { index: 2, skipped }],
        ..outcome(&task)
    };
    store.finish_task(finish).await.unwrap();
    assert_eq!(store.job(scope, job).await.unwrap().total, 3);
}

/// Marks and pages are the holder's to write, of isolated tasks and pages that there are.
pub async fn isolated_pages_are_fenced(store: Tested) {
    let stale = isolated(&store, scope()).await;
    let task = claim_isolated(&store, 180).await;
    let marked = |page| PageMark { page, is_alone: true };
    assert!(matches!(store.mark_page(stale.lease, marked(0)).await, Err(StoreError::LeaseLost)));
    assert!(matches!(store.keep_page(stale.lease, kept(&stale, 0)).await, Err(StoreError::LeaseLost)));
    assert!(matches!(store.mark_page(unknown_lease(), marked(0)).await, Err(StoreError::LeaseLost)));
    assert!(matches!(store.mark_page(task.lease, marked(task.urls)).await, Err(StoreError::Corrupt(_))));
    let elsewhere = KeptPage { page: 1, ..kept(&task, 0) };
    assert!(matches!(store.keep_page(task.lease, elsewhere).await, Err(StoreError::Corrupt(_))));
    submit(&store, batch(scope(), 1)).await;
    let other = claim(&store, ALL).await.remove(0);
    assert!(matches!(store.keep_page(other.lease, kept(&other, 0)).await, Err(StoreError::Corrupt(_))));
    finish(&store, &other).await;
    assert_eq!(claim_isolated(&store, 240).await.isolation.unwrap(), Isolation::default());
}

/// A cancelled job's isolated tasks end it like any other.
pub async fn a_cancelled_job_ends_in_isolation(store: Tested) {
    let scope = scope();
    let task = isolated(&store, scope).await;
    store.cancel_job(scope, task.lease.job, at(130)).await.unwrap();
    let task = claim_isolated(&store, 180).await;
    assert!(task.cancelled);
    assert!(matches!(finish(&store, &task).await, Finish::Job { .. }));
}
