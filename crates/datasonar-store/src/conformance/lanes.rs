//! Checks of endpoints and lanes: deliveries owed to one endpoint never hold up those of another.

use super::samples::*;
use crate::{DeliveryStatus, DueEndpoint, Lane, Scope, Trigger, Webhook};

fn due_of(scope: Scope, host: &str, lane: Lane, since: i64) -> DueEndpoint {
    DueEndpoint { endpoint: endpoint_key(scope, host), scope, host: host.to_owned(), lane, since: at(since) }
}

/// Each endpoint is returned once, longest due first, and only while something of it is due; other environments' apart.
pub async fn due_endpoints_are_returned_once(store: Tested) {
    let scope = scope();
    let other = sandbox_of(scope);
    assert_eq!(store.due_endpoints(at(100), ALL, 0).await.unwrap(), []);
    for (name, time) in [("b.example", 20), ("a.example:8443", 30), ("b.example", 12), ("c.example", 15)] {
        owed(&store, scope, name, at(time)).await;
    }
    owed(&store, other, "c.example", at(25)).await;
    assert_eq!(store.due_endpoints(at(11), ALL, 0).await.unwrap(), [], "nothing is due yet");
    let all =
        [(scope, "b.example", 12), (scope, "c.example", 15), (other, "c.example", 25), (scope, "a.example:8443", 30)]
            .map(|(scope, name, since)| due_of(scope, name, Lane::First, since));
    assert_eq!(store.due_endpoints(at(15), ALL, 0).await.unwrap(), all[..2]);
    assert_eq!(store.due_endpoints(at(100), ALL, 0).await.unwrap(), all);
    assert_eq!(store.due_endpoints(at(100), 0, 0).await.unwrap(), []);
    claim_shares(&store, vec![share(scope, "b.example", Lane::First, 1)], at(100)).await;
    let rest = store.due_endpoints(at(100), ALL, 0).await.unwrap();
    let expected = [&all[1], &due_of(scope, "b.example", Lane::First, 20), &all[2], &all[3]].map(Clone::clone);
    assert_eq!(rest, expected);
    claim_shares(&store, vec![share(scope, "b.example", Lane::First, 1)], at(100)).await;
    assert_eq!(store.due_endpoints(at(100), ALL, 0).await.unwrap(), all[1..]);
}

/// Paths of one host are endpoints of their own; queries are not.
pub async fn endpoints_are_told_apart_by_path(store: Tested) {
    let scope = scope();
    for (path, time) in [("/a?x=1", 10), ("/b", 11), ("/a?x=2", 12), ("/a#y", 13)] {
        let webhook = Webhook { url: format!("https://hooks.example{path}"), host: "hooks.example".to_owned() };
        owed_to(&store, scope, webhook, at(time)).await;
    }
    let due = store.due_endpoints(at(100), ALL, 0).await.unwrap();
    assert_eq!(due.iter().map(|due| due.since).collect::<Vec<_>>(), [at(10), at(11)]);
    assert!(due.iter().all(|due| due.host == "hooks.example" && due.scope == scope));
    assert_ne!(due[0].endpoint, due[1].endpoint);
    let claimed = claim_shares(&store, shares_of(due[..1].to_vec(), ALL), at(100)).await;
    assert_eq!(claimed.len(), 3);
    assert!(claimed.iter().all(|claimed| claimed.delivery.endpoint == due[0].endpoint));
}

/// A scope with many endpoints has a bounded number of them examined, each in some turn, and hides no other scope's.
pub async fn many_endpoints_of_a_scope_are_reached_in_turns(store: Tested) {
    let (many, few) = (scope(), sandbox_of(scope()));
    for number in 0..40 {
        owed(&store, many, &format!("h{number}.example"), at(10)).await;
    }
    for number in 0..2 {
        owed(&store, few, &format!("h{number}.example"), at(20)).await;
    }
    let mut reached = std::collections::BTreeSet::new();
    for turn in 0..64 {
        let due = store.due_endpoints(at(100), 4, turn).await.unwrap();
        let (of_many, of_few): (Vec<_>, Vec<_>) = due.into_iter().partition(|due| due.scope == many);
        assert!((4..=8).contains(&of_many.len()), "{}", of_many.len());
        assert_eq!(of_few.len(), 2);
        reached.extend(of_many.into_iter().map(|due| due.endpoint));
    }
    assert_eq!(reached.len(), 40);
}

/// A claim takes of each share no more than its limit, longest due first, and nothing else.
pub async fn a_claim_keeps_to_its_shares(store: Tested) {
    let scope = scope();
    let mut ids = Vec::new();
    for (name, time) in [("a.example", 13), ("a.example", 11), ("a.example", 12), ("b.example", 14), ("c.example", 1)] {
        ids.push(owed(&store, scope, name, at(time)).await);
    }
    let shares = vec![
        share(scope, "b.example", Lane::First, 5),
        share(scope, "a.example", Lane::First, 2),
        share(scope, "a.example", Lane::Retry, 5),
        share(scope, "unknown.example", Lane::First, 5),
        share(scope, "c.example", Lane::First, 0),
        share(scope, "A.EXAMPLE", Lane::First, 5),
    ];
    let claimed = claim_shares(&store, shares.clone(), at(20)).await;
    let claimed: Vec<_> = claimed.iter().map(|claimed| (claimed.delivery.id, claimed.delivery.host.clone())).collect();
    let [a, b] = ["a.example".to_owned(), "b.example".to_owned()];
    assert_eq!(claimed, [(ids[3], b), (ids[1], a.clone()), (ids[2], a)]);
    let twice = vec![share(scope, "a.example", Lane::First, 5), share(scope, "a.example", Lane::First, 5)];
    let claimed = claim_shares(&store, twice, at(20)).await;
    assert_eq!(claimed.iter().map(|claimed| claimed.delivery.id).collect::<Vec<_>>(), [ids[0]], "nothing twice");
    assert!(claim_shares(&store, vec![share(scope, "c.example", Lane::First, 5)], at(0)).await.is_empty(), "not due");
}

/// However much is owed to one endpoint, another is returned and claimed beside it.
pub async fn a_dead_host_hides_no_other(store: Tested) {
    let scope = scope();
    for second in 0..100 {
        owed(&store, scope, "dead.example", at(second % 7)).await;
    }
    let lone = owed(&store, scope, "alive.example", at(50)).await;
    let expected = [due_of(scope, "dead.example", Lane::First, 0), due_of(scope, "alive.example", Lane::First, 50)];
    assert_eq!(store.due_endpoints(at(60), ALL, 0).await.unwrap(), expected);
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
    assert_eq!(store.due_endpoints(at(30), ALL, 0).await.unwrap(), [due_of(scope, "a.example", Lane::Retry, 30)]);
    assert!(claim_shares(&store, vec![share(scope, "a.example", Lane::First, 9)], at(30)).await.is_empty());
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
        let hosts = store.due_endpoints(at(100), ALL, 0).await.unwrap();
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
    assert_eq!(store.due_endpoints(at(69), ALL, 0).await.unwrap(), []);
    assert!(renew(&store, held[0].lease, at(60)).await);
    assert_eq!(store.due_endpoints(at(70), ALL, 0).await.unwrap(), [due_of(scope, "b.example", Lane::First, 10)]);
    let both = [due_of(scope, "a.example", Lane::First, 10), due_of(scope, "b.example", Lane::First, 10)];
    assert_eq!(store.due_endpoints(at(120), ALL, 0).await.unwrap(), both);
    assert!(renew(&store, held[1].lease, at(120)).await, "nobody has claimed it since");
    assert_eq!(store.due_endpoints(at(121), ALL, 0).await.unwrap(), both[..1]);
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
