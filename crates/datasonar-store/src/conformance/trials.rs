//! Checks of test events: sent at once or never.

use super::samples::*;
use crate::{
    ClaimedDelivery, DeliveryStatus, JobKind, JobStatus, Lane, NewTest, Segment, StoreError, Trigger, Usage, Verdict,
};

async fn held(store: &Tested, test: &NewTest) -> ClaimedDelivery {
    store.submit_test(test.clone()).await.unwrap()
}

/// A test is a job that has ended, with one result, and a delivery that is held.
pub async fn a_test_is_made_ended_and_held(store: Tested) {
    let scope = scope();
    let secret = secret(scope, at(0));
    store.rotate_secret(secret.clone(), seconds(0)).await.unwrap();
    let test = trial(scope);
    let claimed = held(&store, &test).await;
    let job = store.job(scope, test.job).await.unwrap();
    assert_eq!((job.kind, job.status, job.options.as_str()), (JobKind::Test, JobStatus::Completed, "{}"));
    assert_eq!((job.total, job.succeeded, job.failed, job.segments, job.result_bytes), (1, 1, 0, 1, 13));
    assert_eq!((job.created_at, job.started_at, job.completed_at), (at(0), Some(at(0)), Some(at(0))));
    assert_eq!(
        (job.expires_at, job.webhook_url.as_deref()),
        (Some(after(at(0), RETENTION)), Some("https://example.com/hook"))
    );
    assert_eq!(job.delivery, Some((test.delivery, DeliveryStatus::Pending)));
    let tasks = store.finished_tasks(test.job, 0, ALL).await.unwrap();
    assert_eq!(tasks.len(), 1);
    assert_eq!((tasks[0].seq, tasks[0].first, tasks[0].urls), (0, 0, 1));
    assert_eq!(tasks[0].segments.as_slice(), std::slice::from_ref(&test.segment));
    let delivery = store.delivery(scope, test.delivery).await.unwrap();
    assert_eq!((delivery.status, delivery.next_attempt_at), (DeliveryStatus::Pending, None));
    assert_eq!(
        (delivery.next_trigger, delivery.lane, delivery.host.as_str()),
        (Trigger::Test, Lane::First, "example.com")
    );
    assert_eq!((claimed.lease.delivery, claimed.delivery, claimed.job), (test.delivery, delivery, job));
    assert_eq!(claimed.secrets.iter().map(|secret| secret.id).collect::<Vec<_>>(), [secret.id]);
    assert_eq!(due(&store, at(59)).await, 0);
    assert!(claim(&store, ALL).await.is_empty());
    assert_eq!(store.usage(scope, at(0)).await.unwrap(), Usage::default(), "it counts for no usage");
    assert!(matches!(store.submit_test(test.clone()).await, Err(StoreError::Conflict(_))));
    let two = Segment { count: 2, ..test.segment };
    assert!(matches!(store.submit_test(NewTest { segment: two, ..trial(scope) }).await, Err(StoreError::Corrupt(_))));
}

/// Whatever the verdict on a test, nothing is due after it.
pub async fn a_test_is_not_tried_again(store: Tested) {
    let scope = scope();
    for (status, next) in [
        (DeliveryStatus::Delivered, None),
        (DeliveryStatus::Failed, Some(at(30))),
        (DeliveryStatus::Pending, Some(at(30))),
    ] {
        let test = trial(scope);
        let claimed = held(&store, &test).await;
        assert!(renew(&store, claimed.lease, at(1)).await);
        let delivered = status == DeliveryStatus::Delivered;
        let made = attempt(&claimed, at(1), (!delivered).then_some("http_status"));
        let verdict = Verdict { status, next_attempt_at: next };
        store.finish_attempt(claimed.lease, made.clone(), verdict, at(2)).await.unwrap();
        let delivery = store.delivery(scope, test.delivery).await.unwrap();
        let expected = if delivered { DeliveryStatus::Delivered } else { DeliveryStatus::Failed };
        assert_eq!((delivery.status, delivery.next_attempt_at), (expected, None));
        assert_eq!((delivery.attempts, delivery.automatic_attempts), (1, 0));
        assert_eq!(store.attempts(scope, test.delivery).await.unwrap(), [made]);
    }
    assert_eq!(due(&store, at(1_000_000)).await, 0);
}

/// A test whose lease runs out, is given back or is freed has failed, and its holder has lost it.
pub async fn a_test_that_was_not_recorded_has_failed(store: Tested) {
    let scope = scope();
    for how in ["lapsed", "released", "freed"] {
        let test = trial(scope);
        let claimed = held(&store, &test).await;
        match how {
            "released" => store.release_delivery(claimed.lease, at(1)).await.unwrap(),
            "freed" => store.free_leases().await.unwrap(),
            _ => assert_eq!(store.due_endpoints(at(59), ALL, 0).await.unwrap(), []),
        }
        assert_eq!(due(&store, at(60)).await, 0, "{how}");
        let delivery = store.delivery(scope, test.delivery).await.unwrap();
        assert_eq!((delivery.status, delivery.next_attempt_at), (DeliveryStatus::Failed, None), "{how}");
        assert!(!renew(&store, claimed.lease, at(61)).await, "{how}");
        let verdict = Verdict { status: DeliveryStatus::Delivered, next_attempt_at: None };
        let late = store.finish_attempt(claimed.lease, attempt(&claimed, at(61), None), verdict, at(61)).await;
        assert!(matches!(late, Err(StoreError::LeaseLost)), "{how}");
        assert_eq!(store.attempts(scope, test.delivery).await.unwrap(), []);
        let totals = store.totals().await.unwrap();
        assert_eq!((totals.deliveries_pending, totals.jobs_open), (0, 0), "{how}");
    }
}

/// A test is replayed like any other, also when that was asked for while it was under way.
pub async fn a_test_is_replayed(store: Tested) {
    let scope = scope();
    for how in ["after", "recorded", "lapsed", "released", "freed"] {
        let test = trial(scope);
        let claimed = held(&store, &test).await;
        if how != "after" {
            store.replay_delivery(scope, test.delivery, at(5)).await.unwrap();
            assert_eq!(due(&store, at(6)).await, 0, "one attempt at a time");
        }
        match how {
            "after" | "recorded" => fail(&store, &claimed, at(7), DeliveryStatus::Failed, None).await,
            "released" => store.release_delivery(claimed.lease, at(50)).await.unwrap(),
            "freed" => store.free_leases().await.unwrap(),
            _ => {}
        }
        if how == "after" {
            store.replay_delivery(scope, test.delivery, at(8)).await.unwrap();
        }
        let replay = claim_delivery(&store, at(60)).await;
        assert_eq!((replay.delivery.id, replay.delivery.next_trigger), (test.delivery, Trigger::Replay), "{how}");
        fail(&store, &replay, at(61), DeliveryStatus::Pending, Some(at(70))).await;
        succeed(&store, &claim_delivery(&store, at(70)).await, at(71)).await;
        assert_eq!(store.delivery(scope, test.delivery).await.unwrap().status, DeliveryStatus::Delivered, "{how}");
    }
}

/// The results of a test are kept while it is under way, and go as any other's.
pub async fn a_test_expires(store: Tested) {
    let scope = scope();
    let test = NewTest { retention: seconds(10), ..trial(scope) };
    let claimed = held(&store, &test).await;
    assert_eq!(store.expire_results(at(20), ALL).await.unwrap(), [], "it is under way");
    succeed(&store, &claimed, at(20)).await;
    assert_eq!(store.expire_results(at(20), ALL).await.unwrap(), [test.job]);
    assert!(matches!(store.replay_delivery(scope, test.delivery, at(21)).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.delete_logs(at(21), at(21), ALL).await.unwrap(), 1);
    assert!(matches!(store.delivery(scope, test.delivery).await, Err(StoreError::NotFound)));
}
