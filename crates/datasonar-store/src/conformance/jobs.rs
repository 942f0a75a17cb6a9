//! Checks of submitting, ending, cancelling and reading jobs.

use super::samples::*;
use crate::{
    DeliveryId, DeliveryStatus, Finish, FinishTask, Job, JobError, JobStatus, NewJob, NewTask, Segment, SegmentData,
    StoreError, Submission,
};

/// What was submitted is what is found.
pub async fn a_job_is_kept_as_submitted(store: Tested) {
    let scope = scope();
    let new = batch(scope, 3);
    let id = submit(&store, new.clone()).await;
    let expected = Job {
        id,
        scope,
        kind: new.kind,
        status: JobStatus::Pending,
        options: new.options,
        webhook_url: new.webhook.map(|webhook| webhook.url),
        created_at: at(0),
        started_at: None,
        completed_at: None,
        expires_at: None,
        cancelled_at: None,
        total: 30,
        succeeded: 0,
        failed: 0,
        skipped: crate::SkipCounts::default(),
        segments: 0,
        result_bytes: 0,
        results_deleted: false,
        error: None,
        delivery: None,
    };
    assert_eq!(store.job(scope, id).await.unwrap(), expected);
    assert_eq!(store.finished_tasks(id, 0, ALL).await.unwrap(), []);
}

/// A job that could never end is a defect of the caller, and leaves nothing behind.
pub async fn a_job_without_tasks_is_refused(store: Tested) {
    let scope = scope();
    let without_tasks = keyed(batch(scope, 0), "k", 1);
    let without_urls = with_tasks(batch(scope, 1), [NewTask { input_offset: 0, input_bytes: 1, urls: 0 }]);
    let beyond_input = with_tasks(scrape(scope), [NewTask { input_offset: 10, input_bytes: 90, urls: 1 }]);
    for job in [without_tasks, without_urls, beyond_input] {
        let id = job.id;
        assert!(matches!(store.submit_job(job).await, Err(StoreError::Corrupt(_))));
        assert!(matches!(store.job(scope, id).await, Err(StoreError::NotFound)));
    }
    submit(&store, keyed(batch(scope, 1), "k", 2)).await;
}

/// An id names one job.
pub async fn the_same_id_is_refused(store: Tested) {
    let scope = scope();
    let job = batch(scope, 2);
    submit(&store, job.clone()).await;
    let again = with_tasks(job.clone(), [NewTask { input_offset: 0, input_bytes: 250, urls: 10 }]);
    assert!(matches!(store.submit_job(again).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.job(scope, job.id).await.unwrap().total, 20);
}

/// Another account or environment neither finds nor cancels a job.
pub async fn jobs_keep_to_their_scope(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 1)).await;
    for other in [sandbox_of(scope), self::scope()] {
        assert!(matches!(store.job(other, id).await, Err(StoreError::NotFound)));
        assert!(matches!(store.cancel_job(other, id, at(1)).await, Err(StoreError::NotFound)));
    }
    let unknown = batch(scope, 1).id;
    assert!(matches!(store.job(scope, unknown).await, Err(StoreError::NotFound)));
    assert!(matches!(store.cancel_job(scope, unknown, at(1)).await, Err(StoreError::NotFound)));
    assert_eq!(store.job(scope, id).await.unwrap().cancelled_at, None);
}

/// The same request under the same key gets the first answer, and makes no job.
pub async fn a_repeated_request_is_answered_again(store: Tested) {
    let scope = scope();
    let first = keyed(batch(scope, 1), "key", 1);
    let again = keyed(batch(scope, 1), "key", 1);
    submit(&store, first.clone()).await;
    let answer = first.idempotency.unwrap().answer;
    let second = again.id;
    assert_eq!(store.submit_job(again).await.unwrap(), Submission::Repeated { answer });
    assert!(matches!(store.job(scope, second).await, Err(StoreError::NotFound)));
    submit(&store, keyed(batch(scope, 1), "another key", 1)).await;
}

/// Another request under the same key is refused.
pub async fn another_request_is_a_mismatch(store: Tested) {
    let scope = scope();
    submit(&store, keyed(batch(scope, 1), "key", 1)).await;
    let other = keyed(batch(scope, 1), "key", 2);
    let id = other.id;
    assert!(matches!(store.submit_job(other).await, Err(StoreError::IdempotencyMismatch)));
    assert!(matches!(store.job(scope, id).await, Err(StoreError::NotFound)));
}

/// A key of another account or environment is another key.
pub async fn idempotency_keys_keep_to_their_scope(store: Tested) {
    let scope = scope();
    for scope in [scope, sandbox_of(scope), self::scope()] {
        submit(&store, keyed(batch(scope, 1), "key", 1)).await;
    }
}

/// A key counts for 24 hours.
pub async fn idempotency_keys_expire_after_a_day(store: Tested) {
    const DAY: i64 = 86_400;
    let scope = scope();
    submit(&store, keyed(batch(scope, 1), "key", 1)).await;
    let at_time = |job, seconds| NewJob { created_at: at(seconds), ..job };
    let within = at_time(keyed(batch(scope, 1), "key", 2), DAY - 1);
    assert!(matches!(store.submit_job(within).await, Err(StoreError::IdempotencyMismatch)));
    submit(&store, at_time(keyed(batch(scope, 1), "key", 2), DAY)).await;
    let repeated = at_time(keyed(batch(scope, 1), "key", 2), DAY + 1);
    assert!(matches!(store.submit_job(repeated).await, Ok(Submission::Repeated { .. })));
}

/// A batch goes from pending over started to completed, and counts on its way.
pub async fn a_batch_completes(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 2)).await;
    let tasks = claim_at(&store, ALL, at(5)).await;
    assert_eq!(store.job(scope, id).await.unwrap().status, JobStatus::Started);
    let some_failed = FinishTask { succeeded: 7, failed: 3, ..outcome(&tasks[1]) };
    assert_eq!(store.finish_task(some_failed).await.unwrap(), Finish::Task);
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.succeeded, job.failed, job.segments, job.result_bytes), (7, 3, 1, 1000));
    assert_eq!((job.status, job.completed_at, job.delivery), (JobStatus::Started, None, None));

    let last = FinishTask { now: at(20), ..outcome(&tasks[0]) };
    let delivery = last.delivery;
    assert_eq!(store.finish_task(last).await.unwrap(), Finish::Job { delivery: Some(delivery) });
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.succeeded, job.failed, job.segments, job.result_bytes), (17, 3, 2, 2000));
    assert_eq!((job.status, job.error), (JobStatus::Completed, None));
    assert_eq!((job.started_at, job.completed_at), (Some(at(5)), Some(at(20))));
    assert_eq!(job.expires_at, Some(after(at(20), RETENTION)));
    assert_eq!(job.delivery, Some((delivery, DeliveryStatus::Pending)));
    let usage = store.usage(scope, at(0)).await.unwrap();
    assert_eq!((usage.pages, usage.succeeded, usage.time_ms), (20, 17, 200));
    assert_eq!(store.usage(sandbox_of(scope), at(0)).await.unwrap().pages, 0);
}

fn page_error() -> Option<JobError> {
    Some(JobError { code: "timeout".to_owned(), message: "no answer within 30 s".to_owned() })
}

/// A scrape whose page failed is failed with the page's error.
pub async fn a_scrape_fails_with_its_page(store: Tested) {
    let scope = scope();
    let id = submit(&store, scrape(scope)).await;
    let task = claim(&store, ALL).await.remove(0);
    let failed = FinishTask { succeeded: 0, failed: 1, page_error: page_error(), ..outcome(&task) };
    store.finish_task(failed).await.unwrap();
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.status, job.error), (JobStatus::Failed, page_error()));
    assert_eq!((job.succeeded, job.failed), (0, 1));
    assert!(job.delivery.is_some(), "a failed job is delivered too");
}

/// A batch is completed whatever its pages are.
pub async fn a_batch_never_fails_with_a_page(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 1)).await;
    let task = claim(&store, ALL).await.remove(0);
    let failed = FinishTask { succeeded: 0, failed: 10, page_error: page_error(), ..outcome(&task) };
    store.finish_task(failed).await.unwrap();
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.status, job.error), (JobStatus::Completed, None));
}

/// Without an endpoint there is no delivery.
pub async fn a_job_without_endpoint_owes_nothing(store: Tested) {
    let scope = scope();
    let id = submit(&store, silent(batch(scope, 1))).await;
    let task = claim(&store, ALL).await.remove(0);
    assert_eq!(finish(&store, &task).await, Finish::Job { delivery: None });
    assert_eq!(store.job(scope, id).await.unwrap().delivery, None);
    assert_eq!(due(&store, at(1000)).await, 0);
}

/// Results are read up to the first task that is not finished.
pub async fn results_are_read_in_order_without_gaps(store: Tested) {
    let id = submit(&store, batch(scope(), 5)).await;
    let tasks = claim(&store, ALL).await;
    let seqs = async |from, limit| -> Vec<u32> {
        store.finished_tasks(id, from, limit).await.unwrap().iter().map(|task| task.seq).collect()
    };
    for seq in [3, 1] {
        finish(&store, &tasks[seq]).await;
    }
    assert!(seqs(0, ALL).await.is_empty());
    assert_eq!(seqs(1, ALL).await, [1]);
    finish(&store, &tasks[0]).await;
    assert_eq!(seqs(0, ALL).await, [0, 1]);
    finish(&store, &tasks[2]).await;
    assert_eq!(seqs(0, ALL).await, [0, 1, 2, 3]);
    assert_eq!(seqs(1, 2).await, [1, 2]);
    assert!(seqs(0, 0).await.is_empty());
    assert!(seqs(5, ALL).await.is_empty());
    let read = store.finished_tasks(id, 2, 1).await.unwrap().remove(0);
    assert_eq!((read.first, read.urls, read.segments), (20, 10, outcome(&tasks[2]).segments));
    assert_eq!(store.finished_tasks(batch(scope(), 1).id, 0, ALL).await.unwrap(), []);
}

fn segment(first: u64, count: u32, data: SegmentData) -> Segment {
    Segment { first, count, raw_bytes: 77, sha256: [count as u8; 32], data }
}

fn inline(first: u64, count: u32) -> Segment {
    segment(first, count, SegmentData::Inline(vec![0, 1, 255]))
}

/// A task's segments come back as they were written, in the row or not.
pub async fn segments_are_kept_in_order(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 2)).await;
    let tasks = claim(&store, ALL).await;
    let segments = vec![
        inline(10, 1),
        segment(11, 6, SegmentData::Blob("results/b".to_owned())),
        segment(17, 2, SegmentData::Inline(vec![7; 40_000])),
        segment(19, 1, SegmentData::Inline(Vec::new())),
    ];
    let finish = FinishTask { segments: segments.clone(), ..outcome(&tasks[1]) };
    store.finish_task(finish).await.unwrap();
    assert_eq!(store.finished_tasks(id, 1, 1).await.unwrap()[0].segments, segments);
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.segments, job.result_bytes), (4, 4 * 77));
}

/// Segments that do not hold exactly the task's URLs are a defect, and change nothing.
pub async fn segments_that_do_not_fit_are_refused(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 2)).await;
    let task = claim(&store, ALL).await.remove(1);
    let before = store.job(scope, id).await.unwrap();
    for segments in [
        vec![],
        vec![inline(10, 9)],
        vec![inline(10, 11)],
        vec![inline(0, 10)],
        vec![inline(10, 4), inline(15, 6)],
        vec![inline(10, 6), inline(15, 5)],
        vec![inline(15, 5), inline(10, 5)],
        vec![inline(10, 10), inline(20, 0)],
    ] {
        let finish = FinishTask { segments, ..outcome(&task) };
        assert!(matches!(store.finish_task(finish).await, Err(StoreError::Corrupt(_))));
    }
    assert_eq!(store.job(scope, id).await.unwrap(), before);
    assert_eq!(store.usage(scope, at(0)).await.unwrap().pages, 0);
    assert_eq!(finish(&store, &task).await, Finish::Task, "the lease still holds");
}

/// So are counts that are not those of the task's URLs.
pub async fn counts_that_do_not_add_up_are_refused(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 1)).await;
    let task = claim(&store, ALL).await.remove(0);
    for (succeeded, failed) in [(9, 0), (10, 1), (0, 0)] {
        let finish = FinishTask { succeeded, failed, ..outcome(&task) };
        assert!(matches!(store.finish_task(finish).await, Err(StoreError::Corrupt(_))));
    }
    assert_eq!(store.job(scope, id).await.unwrap().segments, 0);
}

/// A cancelled job tells its workers, keeps what was finished, and ends as failed with its last task.
pub async fn a_cancelled_job_fails_and_keeps_its_pages(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 3)).await;
    let early = claim(&store, 2).await;
    assert!(early.iter().all(|task| !task.cancelled));
    finish(&store, &early[0]).await;
    store.cancel_job(scope, id, at(3)).await.unwrap();
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.status, job.cancelled_at), (JobStatus::Started, Some(at(3))));
    assert_eq!(store.renew_tasks(vec![early[1].lease], at(4), LEASE).await.unwrap(), [crate::Renewal::Cancelled]);
    let late = claim(&store, ALL).await;
    assert!(late.len() == 1 && late[0].cancelled);
    let none = |task| FinishTask { succeeded: 0, failed: 10, ..outcome(task) };
    assert_eq!(store.finish_task(none(&late[0])).await.unwrap(), Finish::Task);
    assert!(matches!(store.finish_task(none(&early[1])).await.unwrap(), Finish::Job { delivery: Some(_) }));
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.status, job.succeeded, job.failed), (JobStatus::Failed, 10, 20));
    assert_eq!(job.error.unwrap().code, "cancelled");
    assert_eq!(store.finished_tasks(id, 0, ALL).await.unwrap().len(), 3);
}

/// Asking twice is no error, and the first asking counts.
pub async fn cancelling_twice_is_no_error(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 1)).await;
    store.cancel_job(scope, id, at(1)).await.unwrap();
    store.cancel_job(scope, id, at(2)).await.unwrap();
    assert_eq!(store.job(scope, id).await.unwrap().cancelled_at, Some(at(1)));
    assert_eq!(claim(&store, ALL).await.len(), 1);
}

/// What has ended stays as it is.
pub async fn an_ended_job_is_not_cancelled(store: Tested) {
    let scope = scope();
    let (completed, _) = ended(&store, scope).await;
    assert!(matches!(store.cancel_job(scope, completed, at(20)).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.job(scope, completed).await.unwrap().cancelled_at, None);
    let cancelled = submit(&store, batch(scope, 1)).await;
    store.cancel_job(scope, cancelled, at(1)).await.unwrap();
    run_all(&store).await;
    assert!(matches!(store.cancel_job(scope, cancelled, at(20)).await, Err(StoreError::Conflict(_))));
}

/// A job of 500,000 URLs is accepted, claimed from and counted.
pub async fn five_thousand_tasks(store: Tested) {
    let scope = scope();
    let task = |seq: u64| NewTask { input_offset: seq * 2500, input_bytes: 2500, urls: 100 };
    let id = submit(&store, with_tasks(batch(scope, 0), (0..5000).map(task))).await;
    assert_eq!(store.job(scope, id).await.unwrap().total, 500_000);
    let tasks = claim(&store, 3).await;
    assert_eq!(places(&tasks), [(id, 0), (id, 1), (id, 2)]);
    let last = claim(&store, ALL).await.pop().unwrap();
    assert_eq!((last.lease.seq, last.first), (4999, 499_900));
    let delivery = DeliveryId(uuid());
    assert_eq!(store.finish_task(FinishTask { delivery, ..outcome(&last) }).await.unwrap(), Finish::Task);
}
