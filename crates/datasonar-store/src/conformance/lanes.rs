//! Checks of hosts and lanes: what is owed to one host is never in the way of another.

use super::samples::*;
use crate::{DeliveryStatus, DueHost, Lane, Trigger};

fn host(host: &str, lane: Lane, since: i64) -> DueHost {
    DueHost { host: host.to_owned(), lane, since: at(since) }
}

/// Each host is told once, longest due first, and only while something of it is due.
pub async fn due_hosts_are_told_once(store: Tested) {
    let scope = scope();
    assert_eq!(store.due_hosts(at(100), ALL).await.unwrap(), []);
    for (name, time) in [("b.example", 20), ("a.example:8443", 30), ("b.example", 12), ("c.example", 15)] {
        owed(&store, scope, name, at(time)).await;
    }
    owed(&store, sandbox_of(scope), "c.example", at(25)).await;
    assert_eq!(store.due_hosts(at(11), ALL).await.unwrap(), [], "nothing is due yet");
    let all = [("b.example", 12), ("c.example", 15), ("a.example:8443", 30)]
        .map(|(name, since)| host(name, Lane::First, since));
    assert_eq!(store.due_hosts(at(15), ALL).await.unwrap(), all[..2]);
    assert_eq!(store.due_hosts(at(100), ALL).await.unwrap(), all);
    assert_eq!(store.due_hosts(at(100), 2).await.unwrap(), all[..2]);
    assert_eq!(store.due_hosts(at(100), 0).await.unwrap(), []);
    claim_shares(&store, vec![share("b.example", Lane::First, 1)], at(100)).await;
    let rest = store.due_hosts(at(100), ALL).await.unwrap();
    assert_eq!(rest, [all[1].clone(), host("b.example", Lane::First, 20), all[2].clone()]);
    claim_shares(&store, vec![share("b.example", Lane::First, 1)], at(100)).await;
    assert_eq!(store.due_hosts(at(100), ALL).await.unwrap(), all[1..]);
}

/// A claim takes of each share no more than its limit, longest due first, and nothing else.
pub async fn a_claim_keeps_to_its_shares(store: Tested) {
    let scope = scope();
    let mut ids = Vec::new();
    for (name, time) in [("a.example", 13), ("a.example", 11), ("a.example", 12), ("b.example", 14), ("c.example", 1)] {
        ids.push(owed(&store, scope, name, at(time)).await);
    }
    let shares = vec![
        share("b.example", Lane::First, 5),
        share("a.example", Lane::First, 2),
        share("a.example", Lane::Retry, 5),
        share("unknown.example", Lane::First, 5),
        share("c.example", Lane::First, 0),
        share("A.EXAMPLE", Lane::First, 5),
    ];
    let claimed = claim_shares(&store, shares.clone(), at(20)).await;
    let claimed: Vec<_> = claimed.iter().map(|claimed| (claimed.delivery.id, claimed.delivery.host.clone())).collect();
    let [a, b] = ["a.example".to_owned(), "b.example".to_owned()];
    assert_eq!(claimed, [(ids[3], b), (ids[1], a.clone()), (ids[2], a)]);
    let twice = vec![share("a.example", Lane::First, 5), share("a.example", Lane::First, 5)];
    let claimed = claim_shares(&store, twice, at(20)).await;
    assert_eq!(claimed.iter().map(|claimed| claimed.delivery.id).collect::<Vec<_>>(), [ids[0]], "nothing twice");
    assert!(claim_shares(&store, vec![share("c.example", Lane::First, 5)], at(0)).await.is_empty(), "not due");
}

/// However much is owed to one host, another's is told and claimed beside it.
pub async fn a_dead_host_hides_no_other(store: Tested) {
    let scope = scope();
    for second in 0..100 {
        owed(&store, scope, "dead.example", at(second % 7)).await;
    }
    let lone = owed(&store, scope, "alive.example", at(50)).await;
    let expected = [host("dead.example", Lane::First, 0), host("alive.example", Lane::First, 50)];
    assert_eq!(store.due_hosts(at(60), 2).await.unwrap(), expected);
    let claimed = claim_due(&store, 8, at(60)).await;
    assert_eq!(claimed.len(), 9);
    assert_eq!(claimed[8].delivery.id, lone);
}

/// The first attempt is in the lane `first`, those of the schedule after it in `retry`, replays in `first`.
pub async fn lanes_follow_the_attempts(store: Tested) {
    let scope = scope();
    let id = owed(&store, scope, "a.example", at(10)).await;
    let lane = async || store.delivery(scope, id).await.unwrap().lane;
    assert_eq!(lane().await, Lane::First);
    let first = claim_delivery(&store, at(10)).await;
    assert_eq!((first.delivery.lane, first.delivery.host.as_str()), (Lane::First, "a.example"));
    store.release_delivery(first.lease, at(20)).await.unwrap();
    assert_eq!(lane().await, Lane::First, "no attempt was made");
    fail(&store, &claim_delivery(&store, at(20)).await, at(20), DeliveryStatus::Pending, Some(at(30))).await;
    assert_eq!(lane().await, Lane::Retry);
    assert_eq!(store.due_hosts(at(30), ALL).await.unwrap(), [host("a.example", Lane::Retry, 30)]);
    assert!(claim_shares(&store, vec![share("a.example", Lane::First, 9)], at(30)).await.is_empty());
    let retry = claim_delivery(&store, at(30)).await;
    assert_eq!(retry.delivery.lane, Lane::Retry);
    store.release_delivery(retry.lease, at(40)).await.unwrap();
    assert_eq!(lane().await, Lane::Retry);
    store.replay_delivery(scope, id, at(35)).await.unwrap();
    assert_eq!(lane().await, Lane::First);
    let replay = claim_delivery(&store, at(35)).await;
    assert_eq!((replay.delivery.lane, replay.delivery.next_trigger), (Lane::First, Trigger::Replay));
    store.release_delivery(replay.lease, at(36)).await.unwrap();
    assert_eq!(lane().await, Lane::First, "the replay is to be made still");
    fail(&store, &claim_delivery(&store, at(36)).await, at(36), DeliveryStatus::Pending, Some(at(50))).await;
    assert_eq!(lane().await, Lane::Retry, "the schedule goes on");
}

/// A replay that waited for an attempt of the schedule is in the lane `first`, however that attempt ended.
pub async fn a_replay_that_waited_is_first(store: Tested) {
    let scope = scope();
    for how in ["recorded", "released", "lapsed", "freed"] {
        let id = owed(&store, scope, how, at(10)).await;
        fail(&store, &claim_delivery(&store, at(10)).await, at(10), DeliveryStatus::Pending, Some(at(20))).await;
        let retry = claim_delivery(&store, at(20)).await;
        assert_eq!(retry.delivery.lane, Lane::Retry);
        store.replay_delivery(scope, id, at(21)).await.unwrap();
        match how {
            "recorded" => fail(&store, &retry, at(22), DeliveryStatus::Pending, Some(at(90))).await,
            "released" => store.release_delivery(retry.lease, at(90)).await.unwrap(),
            "freed" => store.free_leases().await.unwrap(),
            _ => {}
        }
        let hosts = store.due_hosts(at(100), ALL).await.unwrap();
        assert_eq!(hosts.iter().map(|due| due.lane).collect::<Vec<_>>(), [Lane::First], "{how}");
        let replay = claim_delivery(&store, at(100)).await;
        assert_eq!((replay.delivery.id, replay.delivery.next_trigger), (id, Trigger::Replay), "{how}");
        assert_eq!(replay.delivery.lane, Lane::First, "{how}");
        succeed(&store, &replay, at(101)).await;
    }
}

/// A delivery whose lease has run out is told again without any other step.
pub async fn lapsed_leases_show_by_themselves(store: Tested) {
    let scope = scope();
    for name in ["a.example", "b.example"] {
        owed(&store, scope, name, at(10)).await;
    }
    let held = claim_due(&store, ALL, at(10)).await;
    assert_eq!(store.due_hosts(at(69), ALL).await.unwrap(), []);
    assert!(renew(&store, held[0].lease, at(60)).await);
    assert_eq!(store.due_hosts(at(70), ALL).await.unwrap(), [host("b.example", Lane::First, 10)]);
    let both = [host("a.example", Lane::First, 10), host("b.example", Lane::First, 10)];
    assert_eq!(store.due_hosts(at(120), ALL).await.unwrap(), both);
    assert!(renew(&store, held[1].lease, at(120)).await, "nobody has claimed it since");
    assert_eq!(store.due_hosts(at(121), ALL).await.unwrap(), both[..1]);
}

/// Renewals are answered in the order asked for; a lost lease does not harm the others.
pub async fn delivery_renewals_tell_each_its_fate(store: Tested) {
    let scope = scope();
    for _ in 0..3 {
        owed(&store, scope, "a.example", at(10)).await;
    }
    let held = claim_due(&store, ALL, at(10)).await;
    succeed(&store, &held[1], at(11)).await;
    let mut leases: Vec<_> = held.iter().map(|held| held.lease).collect();
    leases.push(crate::DeliveryLease { epoch: leases[0].epoch + 1, ..leases[0] });
    let renewed = store.renew_deliveries(leases, at(60), LEASE).await.unwrap();
    assert_eq!(renewed, [true, false, true, false]);
    assert!(store.renew_deliveries(Vec::new(), at(60), LEASE).await.unwrap().is_empty());
    assert_eq!(due(&store, at(119)).await, 0);
    assert_eq!(due(&store, at(120)).await, 2);
}
