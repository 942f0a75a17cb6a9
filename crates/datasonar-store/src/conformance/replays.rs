//! Checks of replays: asked for by a person, never lost, never doubled.

use super::samples::*;
use crate::{DeliveryId, DeliveryStatus, StoreError, Trigger};

async fn dead(store: &Tested, scope: crate::Scope) -> DeliveryId {
    let (_, id) = ended(store, scope).await;
    fail(store, &claim_delivery(store, at(10)).await, at(10), DeliveryStatus::Failed, None).await;
    id
}

/// A replay of a dead letter is due at once, and its verdict counts.
pub async fn a_failed_delivery_is_replayed(store: Tested) {
    let scope = scope();
    let id = dead(&store, scope).await;
    store.replay_delivery(scope, id, at(50)).await.unwrap();
    let delivery = store.delivery(scope, id).await.unwrap();
    assert_eq!((delivery.next_attempt_at, delivery.next_trigger), (Some(at(50)), Trigger::Replay));
    let claimed = claim_delivery(&store, at(50)).await;
    assert_eq!(claimed.delivery.next_trigger, Trigger::Replay);
    fail(&store, &claimed, at(50), DeliveryStatus::Failed, Some(at(90))).await;
    let delivery = store.delivery(scope, id).await.unwrap();
    assert_eq!((delivery.next_attempt_at, delivery.next_trigger), (Some(at(90)), Trigger::Automatic));
    store.replay_delivery(scope, id, at(60)).await.unwrap();
    succeed(&store, &claim_delivery(&store, at(60)).await, at(60)).await;
    let delivery = store.delivery(scope, id).await.unwrap();
    assert_eq!((delivery.status, delivery.next_attempt_at), (DeliveryStatus::Delivered, None));
    let triggers: Vec<_> = store.attempts(scope, id).await.unwrap().iter().map(|attempt| attempt.trigger).collect();
    assert_eq!(triggers, [Trigger::Automatic, Trigger::Replay, Trigger::Replay]);
}

/// Asking twice sends once.
pub async fn a_double_click_sends_once(store: Tested) {
    let scope = scope();
    let id = dead(&store, scope).await;
    store.replay_delivery(scope, id, at(50)).await.unwrap();
    store.replay_delivery(scope, id, at(51)).await.unwrap();
    assert_eq!(store.delivery(scope, id).await.unwrap().next_attempt_at, Some(at(50)));
    succeed(&store, &claim_delivery(&store, at(52)).await, at(52)).await;
    assert_eq!(due(&store, at(1_000_000)).await, 0);
}

/// What was delivered can be sent again.
pub async fn a_delivered_one_is_sent_again(store: Tested) {
    let scope = scope();
    let (_, id) = ended(&store, scope).await;
    succeed(&store, &claim_delivery(&store, at(10)).await, at(10)).await;
    store.replay_delivery(scope, id, at(20)).await.unwrap();
    assert_eq!(store.delivery(scope, id).await.unwrap().status, DeliveryStatus::Delivered);
    assert_eq!(claim_delivery(&store, at(20)).await.delivery.next_trigger, Trigger::Replay);
}

/// A replay asked for while an attempt of the schedule is under way is sent after it, whatever that brought.
pub async fn a_replay_asked_for_during_an_automatic_attempt_follows_it(store: Tested) {
    let scope = scope();
    for delivered in [true, false] {
        let (_, id) = ended(&store, scope).await;
        let automatic = claim_delivery(&store, at(10)).await;
        store.replay_delivery(scope, id, at(12)).await.unwrap();
        store.replay_delivery(scope, id, at(13)).await.unwrap();
        assert_eq!(due(&store, at(13)).await, 0, "one attempt at a time");
        if delivered {
            succeed(&store, &automatic, at(15)).await;
        } else {
            fail(&store, &automatic, at(15), DeliveryStatus::Pending, Some(at(500))).await;
        }
        let replay = claim_delivery(&store, at(15)).await;
        assert_eq!((replay.delivery.id, replay.delivery.next_trigger), (id, Trigger::Replay));
        succeed(&store, &replay, at(16)).await;
        assert_eq!(due(&store, at(1000)).await, 0, "asked for twice, sent once");
    }
}

/// A replay asked for while one is under way is that one.
pub async fn a_replay_asked_for_during_a_replay_changes_nothing(store: Tested) {
    let scope = scope();
    let id = dead(&store, scope).await;
    store.replay_delivery(scope, id, at(50)).await.unwrap();
    let replay = claim_delivery(&store, at(50)).await;
    store.replay_delivery(scope, id, at(51)).await.unwrap();
    succeed(&store, &replay, at(52)).await;
    assert_eq!(due(&store, at(1000)).await, 0);
}

/// A replay is not lost with the process that was to make it.
pub async fn a_replay_survives_a_lapsed_lease(store: Tested) {
    let scope = scope();
    let (_, id) = ended(&store, scope).await;
    claim_delivery(&store, at(10)).await;
    store.replay_delivery(scope, id, at(12)).await.unwrap();
    let again = claim_delivery(&store, at(70)).await;
    assert_eq!(again.delivery.next_trigger, Trigger::Replay, "asked for during the attempt that was lost");
    let third = claim_delivery(&store, at(130)).await;
    assert_eq!(third.delivery.next_trigger, Trigger::Replay, "its own attempt was lost");
    succeed(&store, &third, at(131)).await;
    assert_eq!(due(&store, at(1000)).await, 0);
    store.replay_delivery(scope, id, at(2000)).await.unwrap();
    claim_delivery(&store, at(2000)).await;
    store.free_leases().await.unwrap();
    assert_eq!(claim_delivery(&store, at(2001)).await.delivery.next_trigger, Trigger::Replay);
}

/// A replay is not lost when its attempt, or the one before it, is given back.
pub async fn a_replay_survives_a_release(store: Tested) {
    let scope = scope();
    let (_, id) = ended(&store, scope).await;
    let automatic = claim_delivery(&store, at(10)).await;
    store.replay_delivery(scope, id, at(12)).await.unwrap();
    store.release_delivery(automatic.lease, at(500)).await.unwrap();
    let replay = claim_delivery(&store, at(13)).await;
    assert_eq!(replay.delivery.next_trigger, Trigger::Replay);
    store.release_delivery(replay.lease, at(20)).await.unwrap();
    assert_eq!(due(&store, at(19)).await, 0);
    assert_eq!(claim_delivery(&store, at(20)).await.delivery.next_trigger, Trigger::Replay);
}

/// A replay asked for after the lease ran out is sent although its holder records its attempt after all.
pub async fn a_replay_outlives_the_one_who_held_before(store: Tested) {
    let scope = scope();
    let (_, first) = ended(&store, scope).await;
    let held = claim_delivery(&store, at(10)).await;
    let (_, second) = ended(&store, scope).await;
    // Takes one and sees that the other's lease has run out as well.
    let claimed = claim_shares(&store, Vec::new(), at(100)).await;
    assert!(claimed.is_empty());
    store.replay_delivery(scope, first, at(101)).await.unwrap();
    succeed(&store, &held, at(102)).await;
    let claimed = claim_due(&store, ALL, at(103)).await;
    let due: Vec<_> = claimed.iter().map(|claimed| (claimed.delivery.id, claimed.delivery.next_trigger)).collect();
    assert_eq!(due, [(second, Trigger::Automatic), (first, Trigger::Replay)]);
}

/// Only the schedule's own attempts count as automatic.
pub async fn replays_do_not_count_as_automatic(store: Tested) {
    let scope = scope();
    let id = dead(&store, scope).await;
    store.replay_delivery(scope, id, at(50)).await.unwrap();
    fail(&store, &claim_delivery(&store, at(50)).await, at(50), DeliveryStatus::Failed, None).await;
    let delivery = store.delivery(scope, id).await.unwrap();
    assert_eq!((delivery.attempts, delivery.automatic_attempts), (2, 1));
    assert_eq!((delivery.first_attempt_at, delivery.last_attempt_at), (Some(at(10)), Some(at(50))));
}

/// What was deleted cannot be sent.
pub async fn an_expired_result_is_not_replayed(store: Tested) {
    let scope = scope();
    let id = dead(&store, scope).await;
    let late = after(at(11), RETENTION);
    assert_eq!(store.expire_results(late, ALL).await.unwrap().len(), 1);
    assert!(matches!(store.replay_delivery(scope, id, late).await, Err(StoreError::Conflict(_))));
    assert_eq!(due(&store, late).await, 0);
}

/// Nobody replays another's delivery.
pub async fn replays_keep_to_their_scope(store: Tested) {
    let scope = scope();
    let id = dead(&store, scope).await;
    for other in [sandbox_of(scope), self::scope()] {
        assert!(matches!(store.replay_delivery(other, id, at(50)).await, Err(StoreError::NotFound)));
    }
    assert!(matches!(store.replay_delivery(scope, DeliveryId(uuid()), at(50)).await, Err(StoreError::NotFound)));
    assert_eq!(due(&store, at(50)).await, 0);
}
