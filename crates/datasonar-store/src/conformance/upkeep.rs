//! Checks of retention, counts and readiness.

use super::samples::*;
use crate::{DeliveryStatus, JobId, NewJob, StoreError, Submission, Totals};

/// Results go when their time has come; the job stays.
pub async fn results_expire(store: Tested) {
    let scope = scope();
    let id = submit(&store, silent(batch(scope, 2))).await;
    let running = submit(&store, silent(batch(scope, 2))).await;
    for task in claim(&store, ALL).await {
        if task.lease.job == id || task.lease.seq == 0 {
            finish(&store, &task).await;
        }
    }
    let expiry = after(at(10), RETENTION);
    assert_eq!(store.expire_results(after(at(9), RETENTION), ALL).await.unwrap(), []);
    let before = store.job(scope, id).await.unwrap();
    assert_eq!(store.expire_results(expiry, ALL).await.unwrap(), [id]);
    assert_eq!(store.expire_results(expiry, ALL).await.unwrap(), []);
    let job = store.job(scope, id).await.unwrap();
    assert_eq!(job, crate::Job { results_deleted: true, ..before });
    assert_eq!(store.finished_tasks(id, 0, ALL).await.unwrap(), []);
    assert_eq!(store.finished_tasks(running, 0, ALL).await.unwrap().len(), 1);
}

/// Results are kept while an attempt is due or under way.
pub async fn results_that_are_owed_are_kept(store: Tested) {
    let scope = scope();
    let (id, delivery) = ended(&store, scope).await;
    let late = after(at(100), RETENTION);
    assert_eq!(store.expire_results(late, ALL).await.unwrap(), [], "due");
    let claimed = claim_delivery(&store, late).await;
    assert_eq!(store.expire_results(late, ALL).await.unwrap(), [], "under way");
    fail(&store, &claimed, late, DeliveryStatus::Failed, Some(after(late, seconds(60)))).await;
    assert_eq!(store.expire_results(late, ALL).await.unwrap(), [], "a late attempt is due");
    let later = after(late, seconds(60));
    fail(&store, &claim_delivery(&store, later).await, later, DeliveryStatus::Failed, None).await;
    store.replay_delivery(scope, delivery, later).await.unwrap();
    assert_eq!(store.expire_results(later, ALL).await.unwrap(), [], "a replay is due");
    succeed(&store, &claim_delivery(&store, later).await, later).await;
    assert_eq!(store.expire_results(later, ALL).await.unwrap(), [id]);
}

/// No more go at once than asked for.
pub async fn expiry_is_bounded(store: Tested) {
    let scope = scope();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(submit(&store, silent(scrape(scope))).await);
    }
    run_all(&store).await;
    let late = after(at(100), RETENTION);
    let mut expired = Vec::new();
    for expected in [2, 2, 1, 0] {
        let part = store.expire_results(late, 2).await.unwrap();
        assert_eq!(part.len(), expected);
        expired.extend(part);
    }
    expired.sort();
    assert_eq!(expired, ids);
    for expected in [2, 2, 1, 0] {
        assert_eq!(store.delete_logs(late, late, 2).await.unwrap(), expected);
    }
}

/// A job goes with its delivery and attempts once its time has come, and not before its results have gone.
pub async fn logs_are_deleted(store: Tested) {
    let scope = scope();
    let (old, delivery) = ended(&store, scope).await;
    succeed(&store, &claim_delivery(&store, at(10)).await, at(10)).await;
    let late = after(at(100), RETENTION);
    assert_eq!(store.delete_logs(late, late, ALL).await.unwrap(), 0, "its results are kept still");
    store.expire_results(late, ALL).await.unwrap();
    assert_eq!(store.delete_logs(at(10), late, ALL).await.unwrap(), 0, "it did not end before that");
    let (young, young_delivery) = ended(&store, scope).await;
    assert_eq!(store.delete_logs(at(11), late, ALL).await.unwrap(), 1);
    assert!(matches!(store.job(scope, old).await, Err(StoreError::NotFound)));
    assert!(matches!(store.delivery(scope, delivery).await, Err(StoreError::NotFound)));
    assert!(matches!(store.attempts(scope, delivery).await, Err(StoreError::NotFound)));
    store.job(scope, young).await.unwrap();
    store.delivery(scope, young_delivery).await.unwrap();
}

/// Idempotency keys that count no more go; those that count stay.
pub async fn idempotency_keys_are_deleted(store: Tested) {
    const DAY: i64 = 86_400;
    let scope = scope();
    submit(&store, keyed(batch(scope, 1), "old", 1)).await;
    submit(&store, NewJob { created_at: at(10), ..keyed(batch(scope, 1), "young", 1) }).await;
    store.delete_logs(at(0), at(DAY + 5), ALL).await.unwrap();
    // At this time both would count, if they were there.
    assert!(matches!(store.submit_job(keyed(batch(scope, 1), "young", 1)).await, Ok(Submission::Repeated { .. })));
    assert_eq!(store.submit_job(keyed(batch(scope, 1), "old", 2)).await.unwrap(), Submission::Accepted);
}

/// Blobs of jobs that are unknown, or whose results were deleted, are orphans.
pub async fn unknown_jobs_are_told(store: Tested) {
    let scope = scope();
    let expired = submit(&store, silent(scrape(scope))).await;
    run_all(&store).await;
    store.expire_results(after(at(100), RETENTION), ALL).await.unwrap();
    let kept = submit(&store, silent(scrape(scope))).await;
    run_all(&store).await;
    let open = submit(&store, batch(scope, 1)).await;
    let unknown = JobId(uuid());
    let told = store.unknown_jobs(vec![unknown, kept, expired, open]).await.unwrap();
    assert_eq!(told, [unknown, expired]);
    assert_eq!(store.unknown_jobs(Vec::new()).await.unwrap(), []);
}

/// The counts are those of what there is to do.
pub async fn totals_count(store: Tested) {
    assert_eq!(store.totals().await.unwrap(), Totals::default());
    let scope = scope();
    for failing in [true, false] {
        ended(&store, scope).await;
        if failing {
            fail(&store, &claim_delivery(&store, at(10)).await, at(10), DeliveryStatus::Failed, None).await;
        }
    }
    submit(&store, batch(scope, 3)).await;
    submit(&store, batch(scope, 2)).await;
    let tasks = claim(&store, 3).await;
    finish(&store, &tasks[0]).await;
    let expected =
        Totals { jobs_open: 2, tasks_pending: 2, tasks_leased: 2, deliveries_pending: 1, deliveries_failed: 1 };
    assert_eq!(store.totals().await.unwrap(), expected);
}

/// A store in order answers.
pub async fn ping_answers(store: Tested) {
    store.ping().await.unwrap();
    store.ping().await.unwrap();
}
