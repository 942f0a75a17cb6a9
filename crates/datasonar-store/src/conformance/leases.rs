//! Checks of the leases on tasks: who holds one may write, nobody else.

use super::samples::*;
use crate::{Finish, FinishTask, Renewal, StoreError, TaskLease};

/// A lease that has run out is claimed by another, under a higher epoch; not a moment before.
pub async fn an_expired_lease_is_claimed_again(store: Tested) {
    submit(&store, batch(scope(), 2)).await;
    let held = claim(&store, ALL).await;
    assert!(claim_at(&store, ALL, at(59)).await.is_empty());
    let again = claim_at(&store, ALL, at(60)).await;
    assert_eq!(places(&again), places(&held));
    assert!(again.iter().all(|task| task.lease.epoch > held[0].lease.epoch));
    assert!(claim_at(&store, ALL, at(61)).await.is_empty());
}

/// Who lost a lease changes nothing any more.
pub async fn a_stale_finish_changes_nothing(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 2)).await;
    let stale = claim(&store, 1).await.remove(0);
    let taken = claim_at(&store, 1, at(60)).await.remove(0);
    assert_eq!(stale.lease.seq, taken.lease.seq);
    let before = store.job(scope, id).await.unwrap();
    assert!(matches!(store.finish_task(outcome(&stale)).await, Err(StoreError::LeaseLost)));
    assert_eq!(store.job(scope, id).await.unwrap(), before);
    assert_eq!(store.finished_tasks(id, 0, ALL).await.unwrap(), []);
    assert_eq!(finish(&store, &taken).await, Finish::Task);
    assert!(matches!(store.finish_task(outcome(&stale)).await, Err(StoreError::LeaseLost)));
    assert_eq!(store.job(scope, id).await.unwrap().succeeded, 10);
}

/// A finish that comes after the lease ran out counts if nobody has claimed the task since, and is the only one.
pub async fn a_late_finish_counts_unless_taken(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 2)).await;
    let held = claim(&store, ALL).await;
    assert_eq!(claim_at(&store, 1, at(60)).await[0].lease.seq, 0, "this one is taken, and the other seen to be free");
    let late = FinishTask { now: at(70), ..outcome(&held[1]) };
    assert_eq!(store.finish_task(late).await.unwrap(), Finish::Task);
    assert!(claim_at(&store, ALL, at(100)).await.is_empty(), "what is finished is not claimed");
    let last = claim_at(&store, ALL, at(130)).await;
    assert_eq!(places(&last), [(id, 0)]);
    assert!(matches!(finish(&store, &last[0]).await, Finish::Job { .. }));
    assert_eq!(store.job(scope, id).await.unwrap().succeeded, 20);
}

/// A finished task is not finished again.
pub async fn a_task_is_finished_once(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 2)).await;
    let tasks = claim(&store, ALL).await;
    finish(&store, &tasks[0]).await;
    assert!(matches!(store.finish_task(outcome(&tasks[0])).await, Err(StoreError::LeaseLost)));
    finish(&store, &tasks[1]).await;
    assert!(matches!(store.finish_task(outcome(&tasks[1])).await, Err(StoreError::LeaseLost)));
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.succeeded, job.segments), (20, 2));
}

/// A lease holds from its last renewal on.
pub async fn a_renewed_lease_does_not_expire(store: Tested) {
    submit(&store, batch(scope(), 1)).await;
    let task = claim(&store, ALL).await.remove(0);
    assert_eq!(store.renew_tasks(vec![task.lease], at(50), LEASE).await.unwrap(), [Renewal::Held]);
    assert!(claim_at(&store, ALL, at(109)).await.is_empty());
    assert_eq!(claim_at(&store, ALL, at(110)).await.len(), 1);
}

/// Each lease is told its own fate, in the order asked.
pub async fn renewals_tell_each_lease_its_fate(store: Tested) {
    let scope = scope();
    let cancelled = submit(&store, batch(scope, 1)).await;
    submit(&store, batch(scope, 2)).await;
    let tasks = claim(&store, ALL).await;
    let mine = |seq| tasks.iter().find(|task| task.lease.job != cancelled && task.lease.seq == seq).unwrap();
    let theirs = tasks.iter().find(|task| task.lease.job == cancelled).unwrap();
    store.cancel_job(scope, cancelled, at(1)).await.unwrap();
    finish(&store, mine(0)).await;
    let stale = TaskLease { epoch: 0, ..mine(1).lease };
    let leases = vec![mine(0).lease, theirs.lease, unknown_lease(), mine(1).lease, stale];
    let expected = [Renewal::Lost, Renewal::Cancelled, Renewal::Lost, Renewal::Held, Renewal::Lost];
    assert_eq!(store.renew_tasks(leases, at(1), LEASE).await.unwrap(), expected);
    assert_eq!(store.renew_tasks(Vec::new(), at(1), LEASE).await.unwrap(), []);
}

/// A lease that ran out can be renewed until another claims the task.
pub async fn a_lapsed_lease_can_be_renewed_unless_taken(store: Tested) {
    submit(&store, batch(scope(), 2)).await;
    let held = claim(&store, ALL).await;
    assert_eq!(claim_at(&store, 1, at(60)).await[0].lease.seq, 0);
    let leases = held.iter().map(|task| task.lease).collect();
    assert_eq!(store.renew_tasks(leases, at(60), LEASE).await.unwrap(), [Renewal::Lost, Renewal::Held]);
    assert!(claim_at(&store, ALL, at(61)).await.is_empty());
    assert_eq!(finish(&store, &held[1]).await, Finish::Task);
}

/// What is given back is claimed at once, under a higher epoch.
pub async fn released_tasks_are_claimed_at_once(store: Tested) {
    let id = submit(&store, batch(scope(), 3)).await;
    let held = claim(&store, ALL).await;
    store.release_tasks(vec![held[0].lease, held[2].lease]).await.unwrap();
    let again = claim(&store, ALL).await;
    assert_eq!(places(&again), [(id, 0), (id, 2)]);
    assert!(again.iter().all(|task| task.lease.epoch > held[0].lease.epoch));
}

/// Who gave a lease back cannot use it, even before another has claimed the task.
pub async fn a_released_lease_is_worth_nothing(store: Tested) {
    submit(&store, batch(scope(), 1)).await;
    let task = claim(&store, ALL).await.remove(0);
    store.release_tasks(vec![task.lease]).await.unwrap();
    assert!(matches!(store.finish_task(outcome(&task)).await, Err(StoreError::LeaseLost)));
    assert_eq!(store.renew_tasks(vec![task.lease], at(1), LEASE).await.unwrap(), [Renewal::Lost]);
    assert_eq!(claim(&store, ALL).await.len(), 1);
}

/// A lease that was lost is passed over when it is given back, and the others are not.
pub async fn a_stale_release_changes_nothing(store: Tested) {
    submit(&store, batch(scope(), 2)).await;
    let held = claim(&store, ALL).await;
    let taken = claim_at(&store, 1, at(60)).await.remove(0);
    store.release_tasks(vec![held[0].lease, unknown_lease(), held[1].lease]).await.unwrap();
    let free = claim_at(&store, ALL, at(61)).await;
    assert_eq!(free.len(), 1);
    assert_eq!(free[0].lease.seq, 1);
    assert_eq!(finish(&store, &taken).await, Finish::Task);
    store.release_tasks(vec![taken.lease]).await.unwrap();
    assert!(claim_at(&store, ALL, at(62)).await.is_empty(), "a finished task is not given back");
}

/// A process that knows it is alone frees all leases, and those are worth nothing from then on.
pub async fn freed_leases_are_worth_nothing(store: Tested) {
    submit(&store, batch(scope(), 3)).await;
    let held = claim(&store, 2).await;
    finish(&store, &held[0]).await;
    store.free_leases().await.unwrap();
    assert!(matches!(store.finish_task(outcome(&held[1])).await, Err(StoreError::LeaseLost)));
    assert_eq!(store.renew_tasks(vec![held[1].lease], at(1), LEASE).await.unwrap(), [Renewal::Lost]);
    let seqs: Vec<_> = claim(&store, ALL).await.iter().map(|task| task.lease.seq).collect();
    assert_eq!(seqs, [1, 2]);
}

/// A lease that ran out and was seen to have can be given back and freed like any other: it is worth nothing after.
pub async fn lapsed_leases_are_worth_nothing_once_given_back(store: Tested) {
    submit(&store, batch(scope(), 3)).await;
    let held = claim(&store, ALL).await;
    assert_eq!(claim_at(&store, 1, at(60)).await[0].lease.seq, 0);
    store.release_tasks(vec![held[1].lease]).await.unwrap();
    assert!(matches!(store.finish_task(outcome(&held[1])).await, Err(StoreError::LeaseLost)));
    store.free_leases().await.unwrap();
    assert!(matches!(store.finish_task(outcome(&held[2])).await, Err(StoreError::LeaseLost)));
    assert_eq!(claim_at(&store, ALL, at(61)).await.len(), 3);
}

/// A lease on a task that is not there is lost.
pub async fn unknown_leases_are_lost(store: Tested) {
    submit(&store, batch(scope(), 1)).await;
    let task = claim(&store, ALL).await.remove(0);
    let elsewhere = TaskLease { seq: 7, ..task.lease };
    for lease in [unknown_lease(), elsewhere] {
        let finish = FinishTask { lease, ..outcome(&task) };
        assert!(matches!(store.finish_task(finish).await, Err(StoreError::LeaseLost)));
    }
}
