//! Checks of bulk replays: everything selected once, a window at a time.

use std::collections::HashSet;

use super::samples::*;
use crate::{
    Advance, DeliveryId, DeliveryStatus, NewReplay, Page, Replay, ReplayId, ReplayStatus, Scope, Selection, StoreError,
    Trigger,
};

const WINDOW: u32 = 1000;

fn of(status: DeliveryStatus) -> Selection {
    Selection { status: Some(status), ..Selection::default() }
}

async fn start(store: &Tested, scope: Scope, selection: Selection) -> Replay {
    let id = ReplayId(uuid());
    let replay = store.submit_replay(NewReplay { id, scope, selection, created_at: at(100) }).await.unwrap();
    assert_eq!(store.replay(scope, id).await.unwrap(), replay);
    replay
}

async fn advance(store: &Tested, limit: u32, window: u32) -> (u32, bool) {
    let Advance { replayed, more } = store.advance_replays(at(110), limit, window).await.unwrap();
    (replayed, more)
}

/// Advances until nothing can go on; answers how many were marked.
async fn run(store: &Tested) -> u32 {
    let mut marked = 0;
    loop {
        let (replayed, more) = advance(store, 3, WINDOW).await;
        marked += replayed;
        if !more {
            return marked;
        }
    }
}

/// Deliveries whose first attempt, at their hosts, has failed for good.
async fn dead(store: &Tested, scope: Scope, count: usize) -> Vec<DeliveryId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(owed(store, scope, "example.com", at(10)).await);
    }
    for claimed in claim_due(store, ALL, at(10)).await {
        fail(store, &claimed, at(10), DeliveryStatus::Failed, None).await;
    }
    ids
}

async fn sent(store: &Tested) -> Vec<DeliveryId> {
    let mut sent = Vec::new();
    for claimed in claim_due(store, ALL, at(120)).await {
        assert_eq!(claimed.delivery.next_trigger, Trigger::Replay);
        succeed(store, &claimed, at(120)).await;
        sent.push(claimed.delivery.id);
    }
    sent.sort();
    sent
}

/// What is selected is sent once, a few at a time; then it has ended.
pub async fn a_selection_is_replayed(store: Tested) {
    let scope = scope();
    let ids = dead(&store, scope, 7).await;
    dead(&store, sandbox_of(scope), 2).await;
    assert_eq!(store.count_deliveries(scope, Selection::default()).await.unwrap(), 7);
    let replay = start(&store, scope, of(DeliveryStatus::Failed)).await;
    assert_eq!((replay.matched, replay.replayed, replay.status), (7, 0, ReplayStatus::Started));
    assert_eq!((replay.scope, replay.created_at, replay.completed_at), (scope, at(100), None));
    assert_eq!(replay.selection, of(DeliveryStatus::Failed));
    assert_eq!(due(&store, at(100)).await, 0);
    assert_eq!(advance(&store, 3, WINDOW).await, (3, true));
    assert_eq!(store.replay(scope, replay.id).await.unwrap(), Replay { replayed: 3, ..replay.clone() });
    let first = store.delivery(scope, ids[0]).await.unwrap();
    assert_eq!(
        (first.next_attempt_at, first.next_trigger, first.status),
        (Some(at(110)), Trigger::Replay, DeliveryStatus::Failed)
    );
    assert_eq!(advance(&store, 3, WINDOW).await, (3, true));
    assert_eq!(advance(&store, 3, WINDOW).await, (1, false));
    let ended = Replay { replayed: 7, status: ReplayStatus::Completed, completed_at: Some(at(110)), ..replay.clone() };
    assert_eq!(store.replay(scope, replay.id).await.unwrap(), ended);
    assert_eq!(advance(&store, 3, WINDOW).await, (0, false));
    assert_eq!(sent(&store).await, ids);
    assert_eq!(due(&store, at(1_000_000)).await, 0);
}

/// Deliveries are replayed wherever they stand, one attempt at a time.
pub async fn all_that_stand_anywhere_are_replayed(store: Tested) {
    let scope = scope();
    let delivered = owed(&store, scope, "a", at(10)).await;
    succeed(&store, &claim_delivery(&store, at(10)).await, at(10)).await;
    let failed = dead(&store, scope, 1).await[0];
    let retrying = owed(&store, scope, "b", at(10)).await;
    fail(&store, &claim_delivery(&store, at(10)).await, at(10), DeliveryStatus::Pending, Some(at(5000))).await;
    let leased = owed(&store, scope, "c", at(100)).await;
    let held = claim_delivery(&store, at(100)).await;
    let pending = owed(&store, scope, "d", at(100)).await;
    let replay = start(&store, scope, Selection::default()).await;
    assert_eq!((replay.matched, run(&store).await), (5, 5));
    let mut at_once = vec![delivered, failed, retrying, pending];
    at_once.sort();
    assert_eq!(sent(&store).await, at_once);
    succeed(&store, &held, at(125)).await;
    let follows = claim_delivery(&store, at(125)).await;
    assert_eq!((follows.delivery.id, follows.delivery.next_trigger), (leased, Trigger::Replay));
}

/// Only what fits everything that is given is counted and replayed.
pub async fn selections_select(store: Tested) {
    let scope = scope();
    let mut ids = Vec::new();
    for (host, time) in [("a", 10), ("b", 20), ("a", 30), ("a", 30), ("b", 40)] {
        ids.push(owed(&store, scope, host, at(time)).await);
        let claimed = claim_delivery(&store, at(time)).await;
        if ids.len() % 2 == 0 {
            succeed(&store, &claimed, at(time)).await;
        } else {
            fail(&store, &claimed, at(time), DeliveryStatus::Failed, None).await;
        }
    }
    let all = Selection::default();
    let url = Some("https://a/hook".to_owned());
    for (selection, expected) in [
        (all.clone(), vec![0, 1, 2, 3, 4]),
        (of(DeliveryStatus::Delivered), vec![1, 3]),
        (of(DeliveryStatus::Pending), vec![]),
        (Selection { since: Some(at(20)), until: Some(at(40)), ..all.clone() }, vec![1, 2, 3]),
        (Selection { since: Some(at(30)), ..all.clone() }, vec![2, 3, 4]),
        (Selection { until: Some(at(30)), ..of(DeliveryStatus::Failed) }, vec![0]),
        (Selection { since: Some(at(11)), ..of(DeliveryStatus::Failed) }, vec![2, 4]),
        (Selection { since: Some(at(11)), ..of(DeliveryStatus::Delivered) }, vec![1, 3]),
        (Selection { url: url.clone(), ..all.clone() }, vec![0, 2, 3]),
        (Selection { url: url.clone(), ..of(DeliveryStatus::Failed) }, vec![0, 2]),
        (Selection { since: Some(at(40)), until: Some(at(20)), ..all.clone() }, vec![]),
    ] {
        assert_eq!(store.count_deliveries(scope, selection.clone()).await.unwrap(), expected.len() as u64);
        let counted = store.count_replayable(scope, selection.clone()).await.unwrap();
        assert_eq!((counted.count, counted.is_capped), (expected.len() as u64, false));
        let replay = start(&store, scope, selection.clone()).await;
        assert_eq!(replay.matched, expected.len() as u64, "{selection:?}");
        assert_eq!(run(&store).await, expected.len() as u32, "{selection:?}");
        let mut sent = HashSet::new();
        for claimed in claim_due(&store, ALL, at(120)).await {
            sent.insert(claimed.delivery.id);
            fail(&store, &claimed, at(120), DeliveryStatus::Failed, None).await;
        }
        assert_eq!(sent, expected.into_iter().map(|index| ids[index]).collect(), "{selection:?}");
    }
}

/// What comes after a bulk replay does not belong to it, whatever its id or time.
pub async fn what_comes_later_is_not_replayed(store: Tested) {
    let scope = scope();
    for selection in [Selection::default(), of(DeliveryStatus::Failed)] {
        let early = DeliveryId(uuid());
        let ids = dead(&store, scope, 2).await;
        let replay = start(&store, scope, selection).await;
        assert_eq!(advance(&store, 1, WINDOW).await, (1, true));
        dead(&store, scope, 3).await;
        let test = crate::NewTest { delivery: early, ..trial(scope) };
        store.submit_test(test).await.unwrap();
        store.due_endpoints(at(100), ALL, 0).await.unwrap();
        assert_eq!(store.delivery(scope, early).await.unwrap().status, DeliveryStatus::Failed);
        run(&store).await;
        assert_eq!(store.replay(scope, replay.id).await.unwrap().replayed, replay.matched);
        let sent = sent(&store).await;
        assert!(ids.iter().all(|id| sent.contains(id)) && !sent.contains(&early));
        assert_eq!(sent.len() as u64, replay.matched);
    }
}

/// A delivery that does not fit any more when its turn comes is passed over.
pub async fn what_fits_no_more_is_passed_over(store: Tested) {
    let scope = scope();
    let ids = dead(&store, scope, 4).await;
    let replay = start(&store, scope, of(DeliveryStatus::Failed)).await;
    store.replay_delivery(scope, ids[2], at(101)).await.unwrap();
    succeed(&store, &claim_delivery(&store, at(101)).await, at(101)).await;
    assert_eq!(run(&store).await, 3);
    let ended = store.replay(scope, replay.id).await.unwrap();
    assert_eq!((ended.matched, ended.replayed, ended.status), (4, 3, ReplayStatus::Completed));
    assert_eq!(sent(&store).await, [ids[0], ids[1], ids[3]]);
}

/// What was deleted is neither counted nor replayed, also when it was deleted meanwhile.
pub async fn deleted_results_are_not_replayed(store: Tested) {
    let scope = scope();
    dead(&store, scope, 2).await;
    let late = after(at(11), RETENTION);
    assert_eq!(store.expire_results(late, 1).await.unwrap().len(), 1);
    for selection in [Selection::default(), of(DeliveryStatus::Failed)] {
        assert_eq!(store.count_deliveries(scope, selection.clone()).await.unwrap(), 1);
        assert_eq!(start(&store, scope, selection).await.matched, 1);
    }
    assert_eq!(store.expire_results(late, ALL).await.unwrap().len(), 1);
    assert_eq!(run(&store).await, 0);
    assert_eq!(due(&store, late).await, 0);
}

/// No more of a scope's replays are outstanding than the window has room for, whoever asked for them.
pub async fn the_window_is_kept(store: Tested) {
    let scope = scope();
    let ids = dead(&store, scope, 6).await;
    store.replay_delivery(scope, ids[5], at(100)).await.unwrap();
    let replay = start(&store, scope, of(DeliveryStatus::Failed)).await;
    assert_eq!(advance(&store, 100, 0).await, (0, false));
    assert_eq!(advance(&store, 100, 3).await, (2, false));
    assert_eq!(advance(&store, 100, 3).await, (0, false));
    let held = claim_due(&store, 1, at(110)).await.remove(0);
    assert_eq!(advance(&store, 100, 3).await, (0, false), "one is under way");
    fail(&store, &held, at(111), DeliveryStatus::Failed, Some(at(9000))).await;
    assert_eq!(advance(&store, 100, 3).await, (1, false));
    assert_eq!(sent(&store).await.len(), 3);
    assert_eq!(advance(&store, 1, 3).await, (1, true));
    assert_eq!(advance(&store, 100, 3).await, (2, false));
    assert_eq!(sent(&store).await.len(), 3);
    let ended = store.replay(scope, replay.id).await.unwrap();
    assert_eq!((ended.status, ended.replayed, ended.matched), (ReplayStatus::Completed, 6, 6));
}

/// A replay that waits for an attempt of the schedule counts towards the window.
pub async fn waiting_replays_fill_the_window(store: Tested) {
    let scope = scope();
    for _ in 0..3 {
        owed(&store, scope, "a", at(10)).await;
    }
    let held = claim_due(&store, ALL, at(105)).await;
    start(&store, scope, Selection::default()).await;
    assert_eq!(advance(&store, 100, 2).await, (2, false));
    assert_eq!(advance(&store, 100, 2).await, (0, false));
    for claimed in &held {
        succeed(&store, claimed, at(112)).await;
    }
    assert_eq!(advance(&store, 100, 2).await, (0, false), "they are due now");
    assert_eq!(sent(&store).await.len(), 2);
    assert_eq!(advance(&store, 100, 2).await, (1, false));
}

/// Two bulk replays of the same deliveries send each once while the first is outstanding, and again after that.
pub async fn two_bulk_replays_at_once_send_once(store: Tested) {
    let scope = scope();
    let ids = dead(&store, scope, 5).await;
    let both = [start(&store, scope, Selection::default()).await, start(&store, scope, Selection::default()).await];
    assert_eq!(run(&store).await, 10);
    for replay in both {
        let ended = store.replay(scope, replay.id).await.unwrap();
        assert_eq!((ended.replayed, ended.status), (5, ReplayStatus::Completed));
    }
    assert_eq!(sent(&store).await, ids);
    assert_eq!(due(&store, at(1_000_000)).await, 0);
    start(&store, scope, Selection::default()).await;
    run(&store).await;
    assert_eq!(sent(&store).await, ids);
}

/// Bulk replays take turns; a full window holds up its own scope only.
pub async fn bulk_replays_take_turns(store: Tested) {
    let scopes = [scope(), scope()];
    for scope in scopes {
        dead(&store, scope, 4).await;
    }
    let mut replays = Vec::new();
    for scope in [scopes[0], scopes[0], scopes[1]] {
        replays.push(start(&store, scope, Selection::default()).await);
    }
    let progress = async || {
        let mut progress = Vec::new();
        for replay in &replays {
            progress.push(store.replay(replay.scope, replay.id).await.unwrap().replayed);
        }
        progress
    };
    for _ in 0..4 {
        advance(&store, 1, WINDOW).await;
    }
    assert_eq!(progress().await, [2, 1, 1]);
    assert_eq!(advance(&store, 1, 2).await, (1, false), "the first scope's window is full, and now the second's");
    assert_eq!(progress().await, [2, 1, 2]);
    assert_eq!(advance(&store, 1, 3).await, (1, true));
    assert_eq!(progress().await, [2, 2, 2], "its turn was kept");
}

/// A bulk replay that is stopped marks no more; what it had marked is sent.
pub async fn a_bulk_replay_is_cancelled(store: Tested) {
    let scope = scope();
    let ids = dead(&store, scope, 5).await;
    let replay = start(&store, scope, of(DeliveryStatus::Failed)).await;
    assert_eq!(advance(&store, 2, WINDOW).await, (2, true));
    for other in [sandbox_of(scope), self::scope()] {
        assert!(matches!(store.cancel_replay(other, replay.id, at(111)).await, Err(StoreError::NotFound)));
    }
    store.cancel_replay(scope, replay.id, at(111)).await.unwrap();
    assert!(matches!(store.cancel_replay(scope, replay.id, at(112)).await, Err(StoreError::Conflict(_))));
    assert_eq!(advance(&store, 2, WINDOW).await, (0, false));
    let ended = store.replay(scope, replay.id).await.unwrap();
    let expected =
        Replay { replayed: 2, status: ReplayStatus::Cancelled, completed_at: Some(at(111)), ..replay.clone() };
    assert_eq!(ended, expected);
    assert_eq!(sent(&store).await, ids[..2]);
    let other = start(&store, scope, of(DeliveryStatus::Pending)).await;
    assert_eq!((other.matched, advance(&store, 2, WINDOW).await), (0, (0, false)));
    assert!(matches!(store.cancel_replay(scope, other.id, at(112)).await, Err(StoreError::Conflict(_))));
}

/// Bulk replays are found and listed within their scope only, newest first.
pub async fn bulk_replays_are_listed(store: Tested) {
    let scope = scope();
    let mut replays = Vec::new();
    for status in [DeliveryStatus::Pending, DeliveryStatus::Failed, DeliveryStatus::Delivered] {
        let selection =
            Selection { since: Some(at(1)), until: Some(at(2)), url: Some("https://a/".to_owned()), ..of(status) };
        replays.insert(0, start(&store, scope, selection).await);
        start(&store, sandbox_of(scope), of(status)).await;
    }
    let list = async |scope, limit, before| store.replays(scope, Page { limit, before }).await.unwrap();
    assert_eq!(list(scope, ALL, None).await, replays);
    assert_eq!(list(scope, 1, Some(replays[0].id)).await, replays[1..2]);
    assert_eq!(list(self::scope(), ALL, None).await, []);
    assert!(matches!(store.replay(sandbox_of(scope), replays[0].id).await, Err(StoreError::NotFound)));
    assert!(matches!(store.replay(scope, ReplayId(uuid())).await, Err(StoreError::NotFound)));
    let again = NewReplay { id: replays[0].id, scope, selection: Selection::default(), created_at: at(100) };
    assert!(matches!(store.submit_replay(again).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.replay(scope, replays[0].id).await.unwrap(), replays[0]);
}

/// Bulk replays that have ended go with the logs; those that have not stay.
pub async fn ended_bulk_replays_are_deleted(store: Tested) {
    let scope = scope();
    let ended = start(&store, scope, Selection::default()).await;
    advance(&store, 1, WINDOW).await;
    let cancelled = start(&store, scope, Selection::default()).await;
    store.cancel_replay(scope, cancelled.id, at(120)).await.unwrap();
    let started = start(&store, scope, Selection::default()).await;
    let left = async || -> Vec<_> {
        let listed = store.replays(scope, Page { limit: ALL, before: None }).await.unwrap();
        listed.into_iter().map(|replay| replay.id).collect()
    };
    store.delete_logs(at(110), at(200), ALL).await.unwrap();
    assert_eq!(left().await, [started.id, cancelled.id, ended.id]);
    store.delete_logs(at(111), at(200), ALL).await.unwrap();
    assert_eq!(left().await, [started.id, cancelled.id]);
    store.delete_logs(at(1000), at(1000), ALL).await.unwrap();
    assert_eq!(left().await, [started.id]);
}

/// However many advance at once, each delivery is marked once.
pub async fn parallel_advances_mark_once(store: Tested) {
    let scope = scope();
    let ids = dead(&store, scope, 30).await;
    let replay = start(&store, scope, Selection::default()).await;
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        workers.spawn(async move { run(&store).await });
    }
    assert_eq!(workers.join_all().await.into_iter().sum::<u32>(), 30);
    assert_eq!(store.replay(scope, replay.id).await.unwrap().replayed, 30);
    assert_eq!(sent(&store).await, ids);
}
