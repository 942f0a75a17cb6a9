//! Checks of deliveries: owed once, leased to one, recorded in full.

use super::samples::*;
use crate::{Attempt, AttemptId, DeliveryId, DeliveryLease, DeliveryStatus, JobStatus, StoreError, Trigger, Verdict};

/// A job that ends owes its delivery, at once.
pub async fn an_ended_job_owes_one_delivery(store: Tested) {
    let scope = scope();
    let (job, id) = ended(&store, scope).await;
    let delivery = store.delivery(scope, id).await.unwrap();
    assert_eq!((delivery.id, delivery.job, delivery.scope), (id, job, scope));
    assert_eq!((delivery.url.as_str(), delivery.status), ("https://example.com/hook", DeliveryStatus::Pending));
    assert_eq!((delivery.created_at, delivery.next_attempt_at), (at(10), Some(at(10))));
    assert_eq!((delivery.first_attempt_at, delivery.last_attempt_at, delivery.delivered_at), (None, None, None));
    assert_eq!((delivery.attempts, delivery.automatic_attempts, delivery.next_trigger), (0, 0, Trigger::Automatic));
    assert_eq!(store.attempts(scope, id).await.unwrap(), []);
}

/// A claim brings the delivery, its job and its secrets.
pub async fn a_claim_tells_what_an_attempt_needs(store: Tested) {
    let scope = scope();
    let secrets = [secret(scope, at(0)), secret(scope, at(5))];
    for secret in &secrets {
        store.rotate_secret(secret.clone(), seconds(100)).await.unwrap();
    }
    store.rotate_secret(secret(sandbox_of(scope), at(6)), seconds(100)).await.unwrap();
    let (job, id) = ended(&store, scope).await;
    let claimed = claim_delivery(&store, at(10)).await;
    assert_eq!((claimed.lease.delivery, claimed.delivery.id, claimed.job.id), (id, id, job));
    assert_eq!((claimed.job.status, claimed.job.succeeded), (JobStatus::Completed, 1));
    assert_eq!(claimed.job.delivery, Some((id, DeliveryStatus::Pending)));
    let signing: Vec<_> = claimed.secrets.iter().map(|secret| secret.id).collect();
    assert_eq!(signing, [secrets[1].id, secrets[0].id]);
}

/// A secret that has expired at the claim does not sign.
pub async fn expired_secrets_do_not_sign(store: Tested) {
    let scope = scope();
    for time in [0, 5] {
        store.rotate_secret(secret(scope, at(time)), seconds(100)).await.unwrap();
    }
    ended(&store, scope).await;
    assert_eq!(claim_delivery(&store, at(105)).await.secrets.len(), 1);
}

/// What has been due for longest comes first, and no more than asked for.
pub async fn the_longest_due_comes_first(store: Tested) {
    let scope = scope();
    let mut ids = Vec::new();
    for due in [30, 20, 40] {
        ids.push(ended(&store, scope).await.1);
        fail(&store, &claim_delivery(&store, at(10)).await, at(10), DeliveryStatus::Pending, Some(at(due))).await;
    }
    let claimed = claim_due(&store, 2, at(50)).await;
    let claimed: Vec<_> = claimed.iter().map(|claimed| claimed.delivery.id).collect();
    assert_eq!(claimed, [ids[1], ids[0]]);
    assert_eq!(claim_delivery(&store, at(50)).await.delivery.id, ids[2]);
}

/// What somebody holds is not claimed by another.
pub async fn a_held_delivery_is_not_claimed(store: Tested) {
    ended(&store, scope()).await;
    claim_delivery(&store, at(10)).await;
    assert_eq!(due(&store, at(69)).await, 0);
}

/// What is not due is not claimed.
pub async fn a_delivery_not_due_is_not_claimed(store: Tested) {
    ended(&store, scope()).await;
    assert_eq!(due(&store, at(9)).await, 0);
    assert_eq!(due(&store, at(10)).await, 1);
}

/// A lease that has run out is claimed by another, under a higher epoch.
pub async fn an_expired_delivery_lease_is_claimed_again(store: Tested) {
    ended(&store, scope()).await;
    let held = claim_delivery(&store, at(10)).await;
    let taken = claim_delivery(&store, at(70)).await;
    assert_eq!(taken.lease.delivery, held.lease.delivery);
    assert!(taken.lease.epoch > held.lease.epoch);
    assert_eq!(due(&store, at(71)).await, 0);
}

/// Who lost a lease logs no attempt and changes nothing.
pub async fn a_stale_attempt_changes_nothing(store: Tested) {
    let scope = scope();
    let (_, id) = ended(&store, scope).await;
    let stale = claim_delivery(&store, at(10)).await;
    let taken = claim_delivery(&store, at(70)).await;
    let before = store.delivery(scope, id).await.unwrap();
    let delivered = Verdict { status: DeliveryStatus::Delivered, next_attempt_at: None };
    let finish = async |lease| store.finish_attempt(lease, attempt(&stale, at(71), None), delivered, at(71)).await;
    assert!(matches!(finish(stale.lease).await, Err(StoreError::LeaseLost)));
    assert!(!renew(&store, stale.lease, at(71)).await);
    assert!(matches!(store.release_delivery(stale.lease, at(71)).await, Err(StoreError::LeaseLost)));
    let unknown = DeliveryLease { delivery: DeliveryId(uuid()), epoch: 1 };
    assert!(!renew(&store, unknown, at(71)).await);
    assert_eq!(store.delivery(scope, id).await.unwrap(), before);
    assert_eq!(store.attempts(scope, id).await.unwrap(), []);
    succeed(&store, &taken, at(72)).await;
    assert!(matches!(finish(taken.lease).await, Err(StoreError::LeaseLost)), "an attempt is recorded once");
    assert_eq!(store.attempts(scope, id).await.unwrap().len(), 1);
}

/// A lease holds from its last renewal on.
pub async fn a_delivery_lease_is_renewed(store: Tested) {
    ended(&store, scope()).await;
    let held = claim_delivery(&store, at(10)).await;
    assert!(renew(&store, held.lease, at(60)).await);
    assert_eq!(due(&store, at(119)).await, 0);
    assert_eq!(due(&store, at(120)).await, 1);
}

/// What is given back without an attempt is due when told, and nothing is logged.
pub async fn a_delivery_is_released(store: Tested) {
    let scope = scope();
    let (_, id) = ended(&store, scope).await;
    let held = claim_delivery(&store, at(10)).await;
    store.release_delivery(held.lease, at(30)).await.unwrap();
    assert!(!renew(&store, held.lease, at(11)).await);
    let delivery = store.delivery(scope, id).await.unwrap();
    assert_eq!((delivery.next_attempt_at, delivery.attempts), (Some(at(30)), 0));
    assert_eq!(due(&store, at(29)).await, 0);
    let again = claim_delivery(&store, at(30)).await;
    assert!(again.lease.epoch > held.lease.epoch);
}

/// An attempt comes back as it was logged.
pub async fn attempts_are_logged_in_full(store: Tested) {
    let scope = scope();
    let (_, id) = ended(&store, scope).await;
    let first = claim_delivery(&store, at(10)).await;
    let refused = Attempt {
        request_headers: Vec::new(),
        remote: None,
        response_status: None,
        response_headers: Vec::new(),
        response_body: Vec::new(),
        timings: crate::Timings::default(),
        ..attempt(&first, at(11), Some("connect_error"))
    };
    let verdict = Verdict { status: DeliveryStatus::Pending, next_attempt_at: Some(at(40)) };
    store.finish_attempt(first.lease, refused.clone(), verdict, at(12)).await.unwrap();
    let second = claim_delivery(&store, at(40)).await;
    assert_eq!((second.delivery.attempts, second.delivery.automatic_attempts), (1, 1));
    let accepted = attempt(&second, at(41), None);
    let verdict = Verdict { status: DeliveryStatus::Delivered, next_attempt_at: None };
    store.finish_attempt(second.lease, accepted.clone(), verdict, at(42)).await.unwrap();
    assert_eq!(store.attempts(scope, id).await.unwrap(), [refused, accepted]);
    let delivery = store.delivery(scope, id).await.unwrap();
    assert_eq!((delivery.first_attempt_at, delivery.last_attempt_at), (Some(at(11)), Some(at(42))));
    assert_eq!((delivery.status, delivery.delivered_at), (DeliveryStatus::Delivered, Some(at(42))));
    assert_eq!((delivery.attempts, delivery.automatic_attempts, delivery.next_attempt_at), (2, 2, None));
    let elsewhere = Attempt { delivery: DeliveryId(uuid()), id: AttemptId(uuid()), ..attempt(&second, at(41), None) };
    assert!(store.finish_attempt(second.lease, elsewhere, verdict, at(42)).await.is_err());
}

/// What follows from a failure is what the caller decided; a late attempt may follow a failed one.
pub async fn failures_follow_the_verdict(store: Tested) {
    let scope = scope();
    let (job, id) = ended(&store, scope).await;
    fail(&store, &claim_delivery(&store, at(10)).await, at(10), DeliveryStatus::Failed, Some(at(100))).await;
    let delivery = store.delivery(scope, id).await.unwrap();
    assert_eq!((delivery.status, delivery.next_attempt_at), (DeliveryStatus::Failed, Some(at(100))));
    assert_eq!(store.job(scope, job).await.unwrap().delivery, Some((id, DeliveryStatus::Failed)));
    assert_eq!(due(&store, at(99)).await, 0);
    fail(&store, &claim_delivery(&store, at(100)).await, at(100), DeliveryStatus::Failed, None).await;
    let delivery = store.delivery(scope, id).await.unwrap();
    assert_eq!(
        (delivery.status, delivery.next_attempt_at, delivery.delivered_at),
        (DeliveryStatus::Failed, None, None)
    );
    assert_eq!(due(&store, at(1_000_000)).await, 0);
}

/// Neither a later failure nor a later success takes back that and when it was delivered.
pub async fn what_was_delivered_stays_delivered(store: Tested) {
    let scope = scope();
    let (_, id) = ended(&store, scope).await;
    succeed(&store, &claim_delivery(&store, at(10)).await, at(10)).await;
    for time in [20, 30] {
        store.replay_delivery(scope, id, at(time)).await.unwrap();
        let claimed = claim_delivery(&store, at(time)).await;
        if time == 20 {
            fail(&store, &claimed, at(time), DeliveryStatus::Failed, None).await;
        } else {
            succeed(&store, &claimed, at(time)).await;
        }
        let delivery = store.delivery(scope, id).await.unwrap();
        assert_eq!((delivery.status, delivery.delivered_at), (DeliveryStatus::Delivered, Some(at(10))));
        assert_eq!((delivery.last_attempt_at, delivery.next_attempt_at), (Some(at(time)), None));
    }
}

/// A process that knows it is alone frees deliveries too.
pub async fn freed_deliveries_are_due_again(store: Tested) {
    ended(&store, scope()).await;
    let held = claim_delivery(&store, at(10)).await;
    store.free_leases().await.unwrap();
    assert!(!renew(&store, held.lease, at(11)).await);
    let again = claim_delivery(&store, at(11)).await;
    assert!(again.lease.epoch > held.lease.epoch);
    assert!(claim_shares(&store, Vec::new(), at(100)).await.is_empty(), "its lease has run out");
    store.free_leases().await.unwrap();
    assert!(!renew(&store, again.lease, at(100)).await);
}

/// The time told is that of the earliest delivery that nobody holds.
pub async fn the_next_due_time_is_told(store: Tested) {
    let scope = scope();
    assert_eq!(store.next_delivery_at().await.unwrap(), None);
    ended(&store, scope).await;
    assert_eq!(store.next_delivery_at().await.unwrap(), Some(at(10)));
    let held = claim_delivery(&store, at(10)).await;
    assert_eq!(store.next_delivery_at().await.unwrap(), None);
    ended(&store, scope).await;
    let other = claim_delivery(&store, at(10)).await;
    fail(&store, &held, at(10), DeliveryStatus::Pending, Some(at(500))).await;
    fail(&store, &other, at(10), DeliveryStatus::Pending, Some(at(300))).await;
    assert_eq!(store.next_delivery_at().await.unwrap(), Some(at(300)));
}

/// Another account or environment finds neither a delivery nor its attempts.
pub async fn deliveries_keep_to_their_scope(store: Tested) {
    let scope = scope();
    let (_, id) = ended(&store, scope).await;
    succeed(&store, &claim_delivery(&store, at(10)).await, at(10)).await;
    for other in [sandbox_of(scope), self::scope()] {
        assert!(matches!(store.delivery(other, id).await, Err(StoreError::NotFound)));
        assert!(matches!(store.attempts(other, id).await, Err(StoreError::NotFound)));
    }
    let unknown = DeliveryId(uuid());
    assert!(matches!(store.delivery(scope, unknown).await, Err(StoreError::NotFound)));
    assert!(matches!(store.attempts(scope, unknown).await, Err(StoreError::NotFound)));
}
