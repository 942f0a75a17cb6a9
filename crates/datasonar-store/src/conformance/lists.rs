//! Checks of lists and their pages.

use jiff::Timestamp;
use uuid::Uuid;

use super::samples::*;
use crate::{DeliveryFilter, DeliveryStatus, FinishTask, JobFilter, JobId, JobKind, JobStatus, NewTest, Page, Scope};

async fn jobs(store: &Tested, scope: Scope, filter: JobFilter, limit: u32, before: Option<JobId>) -> Vec<JobId> {
    let page = Page { limit, before };
    store.jobs(scope, filter, page).await.unwrap().into_iter().map(|job| job.id).collect()
}

/// Jobs are listed newest first, in pages that neither repeat nor miss one.
pub async fn jobs_come_newest_first_in_pages(store: Tested) {
    let scope = scope();
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.insert(0, submit(&store, batch(scope, 1)).await);
        submit(&store, batch(sandbox_of(scope), 1)).await;
        submit(&store, batch(self::scope(), 1)).await;
    }
    let none = JobFilter::default();
    assert_eq!(jobs(&store, scope, none, ALL, None).await, ids);
    assert_eq!(jobs(&store, scope, none, 3, None).await, ids[..3]);
    assert_eq!(jobs(&store, scope, none, 3, Some(ids[2])).await, ids[3..6]);
    assert_eq!(jobs(&store, scope, none, 3, Some(ids[5])).await, ids[6..]);
    assert_eq!(jobs(&store, scope, none, 3, Some(ids[6])).await, []);
    assert_eq!(jobs(&store, scope, none, 0, None).await, []);
}

/// Jobs are listed by where they stand and what they do.
pub async fn jobs_are_filtered(store: Tested) {
    let scope = scope();
    let (ended, _) = ended(&store, scope).await;
    let started = submit(&store, batch(scope, 1)).await;
    assert_eq!(claim(&store, ALL).await.len(), 1);
    let pending = submit(&store, batch(scope, 1)).await;
    let young = submit(&store, scrape(scope)).await;
    let filtered = async |status, kind, before| jobs(&store, scope, JobFilter { status, kind }, ALL, before).await;
    assert_eq!(filtered(Some(JobStatus::Pending), None, None).await, [young, pending]);
    assert_eq!(filtered(Some(JobStatus::Pending), None, Some(young)).await, [pending]);
    assert_eq!(filtered(Some(JobStatus::Started), None, None).await, [started]);
    assert_eq!(filtered(Some(JobStatus::Completed), None, None).await, [ended]);
    assert_eq!(filtered(Some(JobStatus::Failed), None, None).await, []);
    assert_eq!(filtered(None, Some(JobKind::Scrape), None).await, [young, ended]);
    assert_eq!(filtered(None, Some(JobKind::Scrape), Some(young)).await, [ended]);
    assert_eq!(filtered(None, Some(JobKind::Crawl), None).await, []);
    assert_eq!(filtered(Some(JobStatus::Pending), Some(JobKind::Batch), None).await, [pending]);
    assert_eq!(filtered(Some(JobStatus::Pending), Some(JobKind::Scrape), Some(young)).await, []);
}

/// Deliveries are listed newest first, in pages.
pub async fn deliveries_come_newest_first_in_pages(store: Tested) {
    let scope = scope();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, ended(&store, scope).await.1);
        ended(&store, sandbox_of(scope)).await;
    }
    let list = async |limit, before| -> Vec<_> {
        let listed = store.deliveries(scope, DeliveryFilter::default(), Page { limit, before }).await.unwrap();
        listed.into_iter().map(|delivery| delivery.id).collect()
    };
    assert_eq!(list(ALL, None).await, ids);
    assert_eq!(list(2, None).await, ids[..2]);
    assert_eq!(list(2, Some(ids[1])).await, ids[2..4]);
    assert_eq!(list(2, Some(ids[4])).await, []);
}

/// Deliveries are listed by where they stand and by job.
pub async fn deliveries_are_filtered(store: Tested) {
    let scope = scope();
    let (delivered_job, delivered) = ended(&store, scope).await;
    succeed(&store, &claim_delivery(&store, at(10)).await, at(10)).await;
    let (_, failed) = ended(&store, scope).await;
    fail(&store, &claim_delivery(&store, at(10)).await, at(10), DeliveryStatus::Failed, None).await;
    let (pending_job, pending) = ended(&store, scope).await;
    let list = async |scope, status, job| -> Vec<_> {
        let page = Page { limit: ALL, before: None };
        let listed = store.deliveries(scope, DeliveryFilter { status, job }, page).await.unwrap();
        listed.into_iter().map(|delivery| delivery.id).collect()
    };
    assert_eq!(list(scope, None, None).await, [pending, failed, delivered]);
    assert_eq!(list(scope, Some(DeliveryStatus::Pending), None).await, [pending]);
    assert_eq!(list(scope, Some(DeliveryStatus::Failed), None).await, [failed]);
    assert_eq!(list(scope, Some(DeliveryStatus::Delivered), None).await, [delivered]);
    assert_eq!(list(scope, None, Some(delivered_job)).await, [delivered]);
    assert_eq!(list(scope, Some(DeliveryStatus::Pending), Some(pending_job)).await, [pending]);
    assert_eq!(list(scope, Some(DeliveryStatus::Failed), Some(pending_job)).await, []);
    assert_eq!(list(sandbox_of(scope), None, Some(pending_job)).await, []);
    assert_eq!(list(self::scope(), None, None).await, []);
}

/// Jobs that have ended are read in the order of their ends, from a position on.
pub async fn ended_jobs_come_in_the_order_of_their_ends(store: Tested) {
    let scope = scope();
    let mut ends = Vec::new();
    for time in [30, 10, 20, 20, 20] {
        let id = submit(&store, batch(scope, 1)).await;
        let task = claim(&store, 1).await.remove(0);
        store.finish_task(FinishTask { now: at(time), ..outcome(&task) }).await.unwrap();
        ends.push((at(time), id));
    }
    let test = NewTest { now: at(25), ..trial(scope) };
    ends.push((at(25), test.job));
    store.submit_test(test).await.unwrap();
    ended(&store, sandbox_of(scope)).await;
    submit(&store, batch(scope, 1)).await;
    ends.sort();
    let list = async |after, limit| -> Vec<_> {
        let listed = store.ended_jobs(scope, after, limit).await.unwrap();
        listed.into_iter().map(|job| (job.completed_at.unwrap(), job.id)).collect()
    };
    let start = (Timestamp::UNIX_EPOCH, JobId(Uuid::nil()));
    assert_eq!(list(start, ALL).await, ends);
    assert_eq!(list(start, 0).await, []);
    for index in 0..ends.len() {
        assert_eq!(list(ends[index], ALL).await, ends[index + 1..]);
        assert_eq!(list(ends[index], 1).await, ends[index + 1..].iter().take(1).copied().collect::<Vec<_>>());
    }
    assert_eq!(list((at(20), JobId(Uuid::max())), ALL).await, ends[4..]);
    assert_eq!(store.ended_jobs(self::scope(), start, ALL).await.unwrap(), []);
}
