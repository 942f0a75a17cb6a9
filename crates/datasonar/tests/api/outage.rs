//! A day's outage of an endpoint that is owed thousands of deliveries.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use datasonar::clock::Clock;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::server::{Reply, Server, Setup, clock, next, site, until};

const DELIVERIES: usize = 10_000;
/// The offsets of the seed, in seconds: 30 s, 2 min, 10 min, 1 h, 6 h, 24 h.
const OFFSETS: [i64; 6] = [30, 120, 600, 3_600, 21_600, 86_400];
/// The clock is advanced over the time in which attempts may be due in so many steps.
const STEPS: i64 = 3;

/// What stands between the server and an endpoint: while it is closed, connections are broken off.
struct Gate {
    is_open: AtomicBool,
    refused: AtomicUsize,
}

impl Gate {
    /// Begins closed, and leads to the port `to`. Answers its own.
    async fn start(to: u16) -> (Arc<Self>, u16) {
        let gate = Arc::new(Self { is_open: AtomicBool::new(false), refused: AtomicUsize::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = gate.clone();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                if shared.is_open.load(Ordering::Relaxed) {
                    tokio::spawn(async move {
                        let mut to = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                    });
                } else {
                    shared.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        (gate, port)
    }
}

/// The longest jitter after an offset, in seconds: a tenth of it, and no more than a minute.
fn jitter(offset: i64) -> i64 {
    (offset / 10).min(60)
}

/// Waits until all is done that is due.
async fn settled(server: &Server) {
    let app = &server.running.app;
    until("attempts that are due", async || {
        app.store.due_endpoints(app.clock.now(), 10, 0).await.unwrap().is_empty().then_some(())
    })
    .await;
}

/// Waits until every delivery has so many attempts on record.
async fn recorded(server: &Server, attempts: usize) -> BTreeMap<String, Value> {
    settled(server).await;
    until("the attempts' records", async || {
        let all = all(server).await;
        all.values().all(|delivery| delivery["attempts"].as_array().unwrap().len() >= attempts).then_some(all)
    })
    .await
}

/// Every delivery, by id.
async fn all(server: &Server) -> BTreeMap<String, Value> {
    let mut deliveries = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/v1/deliveries?limit=200{cursor}")).await.is(200);
        for delivery in page["data"].as_array().unwrap() {
            deliveries.insert(delivery["id"].as_str().unwrap().to_owned(), delivery.clone());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return deliveries,
        }
    }
}

fn seconds(attempt: &Value) -> i64 {
    attempt["started_at"].as_str().unwrap().parse::<Timestamp>().unwrap().as_second()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_down_with_ten_thousand_owed_loses_none() {
    let (clock, site) = (clock(), site(1).await);
    let (setup, receiver) = Setup::new().clock(&clock).receiver(|_| Reply::Status(200)).await;
    let (gate, port) = Gate::start(receiver.url().parse::<url::Url>().unwrap().port().unwrap()).await;
    let mut server = setup.start().await;
    let endpoint = format!("https://localhost:{port}/hook");
    let request = json!({"url": site.urls().next().unwrap(), "webhook_url": endpoint});
    let jobs: Vec<String> = stream::iter(0..DELIVERIES)
        .map(|_| async { Ok::<_, ()>(server.queue("/v1/scrape/async", &request).await) })
        .buffered(16)
        .try_collect()
        .await
        .unwrap();
    for job in &jobs {
        server.ended(job).await;
    }
    recorded(&server, 1).await;

    let begin = clock.now();
    for (number, offset) in OFFSETS.into_iter().enumerate() {
        if number % 2 == 1 {
            server = server.restart().await;
        }
        for step in 0..=STEPS {
            // What is due by rounding up to a whole second is due by the end of the last step.
            let seconds = offset + jitter(offset) * step / STEPS + i64::from(step == STEPS);
            clock.advance((begin + SignedDuration::from_secs(seconds)).duration_since(clock.now()));
            settled(&server).await;
        }
        recorded(&server, number + 2).await;
    }
    let failed = recorded(&server, 7).await;
    assert_eq!(failed.len(), DELIVERIES);
    assert_eq!(gate.refused.load(Ordering::Relaxed), DELIVERIES * 7, "an attempt is one connection, and none is extra");
    for delivery in failed.values() {
        assert_eq!((&delivery["status"], &delivery["next_attempt_at"]), (&json!("failed"), &Value::Null));
        for (attempt, offset) in delivery["attempts"].as_array().unwrap().iter().zip([0].into_iter().chain(OFFSETS)) {
            let at = seconds(attempt) - begin.as_second();
            let step = jitter(offset) / STEPS + 2;
            assert!((offset..=offset + jitter(offset) + step).contains(&at), "{at} is not {offset}");
            assert_eq!(attempt["trigger"], "automatic");
        }
    }

    gate.is_open.store(true, Ordering::Relaxed);
    let count = server.post("/v1/deliveries/replay", &json!({"dry_run": true})).await.is(200)["count"].clone();
    assert_eq!(count, DELIVERIES);
    server.post("/v1/deliveries/replay", &json!({})).await.is(202);
    let secret = server.secret().await;
    let mut arrived = BTreeSet::new();
    for _ in 0..DELIVERIES {
        let received = next(&receiver).await;
        received.verify(&secret).unwrap();
        assert!(arrived.insert(received.header("webhook-id").to_owned()), "it came twice");
    }
    let delivered = recorded(&server, 8).await;
    assert!(arrived.iter().eq(delivered.keys()));
    assert!(delivered.values().all(|delivery| delivery["status"] == "delivered"));
    assert!(delivered.values().all(|delivery| delivery["attempts"][7]["trigger"] == "replay"));
    assert!(receiver.next_now().await.is_none());
    server.finish().await;
}
