//! Sending again what was sent, one delivery or many; and trying an endpoint.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::server::{Call, Reply, Server, Setup, clock, next, site, until};

const BATCH: &str = "/v1/scrape/batch/async";
const REPLAY: &str = "/v1/deliveries/replay";

/// Deliveries of jobs with one page each, all of which have failed for good: their endpoint is gone.
pub(crate) async fn dead_letters(server: &Server, url: &str, endpoint: &str, count: usize) -> Vec<String> {
    let mut jobs = Vec::new();
    for _ in 0..count {
        jobs.push(server.queue(BATCH, &json!({"urls": [url], "webhook_url": endpoint})).await);
    }
    for job in &jobs {
        server.delivery(job, "failed", 1).await;
    }
    jobs
}

async fn replay_ended(server: &Server, id: &str) -> Value {
    let path = format!("/v1/deliveries/replays/{id}");
    until("the bulk replay", async || {
        let replay = server.get(&path).await.is(200);
        (replay["status"] != "started").then_some(replay)
    })
    .await
}

#[tokio::test]
async fn dead_letters_are_sent_again_in_bulk() {
    let site = site(1).await;
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    let answer = move |_| Reply::Status(if up.load(Ordering::Relaxed) { 200 } else { 410 });
    let (setup, receiver) = Setup::new().receiver(answer).await;
    let server = setup.start().await;
    let url = site.urls().next().unwrap();
    let jobs = dead_letters(&server, &url, &receiver.url(), 20).await;
    let mut bytes = std::collections::BTreeMap::new();
    for _ in &jobs {
        let received = next(&receiver).await;
        bytes.insert(received.header("webhook-id").to_owned(), std::fs::read(received.body()).unwrap());
    }

    let dry = server.post(REPLAY, &json!({"status": "failed", "dry_run": true})).await.is(200);
    assert_eq!((&dry["replayed"], &dry["count"], &dry["replay_id"]), (&json!(20), &json!(20), &Value::Null));
    let elsewhere = json!({"webhook_url": "https://example.com/", "dry_run": true});
    assert_eq!(server.post(REPLAY, &elsewhere).await.is(200)["count"], 0);
    assert!(receiver.next_now().await.is_none(), "a dry run sends nothing");

    is_up.store(true, Ordering::Relaxed);
    let started = server.post(REPLAY, &json!({"webhook_url": receiver.url()})).await.is(202);
    assert_eq!(started["replayed"], 20);
    for _ in &jobs {
        let received = next(&receiver).await;
        assert_eq!(received.header("x-datasonar-attempt"), "2");
        assert_eq!(bytes.remove(received.header("webhook-id")), Some(std::fs::read(received.body()).unwrap()));
    }
    let ended = replay_ended(&server, started["replay_id"].as_str().unwrap()).await;
    assert_eq!((&ended["status"], &ended["progress"]["replayed"]), (&json!("completed"), &json!(20)));
    for job in &jobs {
        let delivery = server.delivery(job, "delivered", 2).await;
        assert_eq!(delivery["attempts"][1]["trigger"], "replay");
    }
    assert_eq!(server.get("/v1/deliveries/replays").await.is(200)["data"][0]["replay_id"], ended["replay_id"]);
    let cancel = Call::new(Method::DELETE, &format!("/v1/deliveries/replays/{}", ended["replay_id"].as_str().unwrap()));
    server.send(cancel).await.is(409);
    server.finish().await;
}

#[tokio::test]
async fn a_bulk_replay_is_of_ones_own_environment_and_of_a_time() {
    let (clock, site) = (clock(), site(1).await);
    let (setup, receiver) = Setup::new().clock(&clock).receiver(|_| Reply::Status(410)).await;
    let server = setup.start().await;
    let url = site.urls().next().unwrap();
    dead_letters(&server, &url, &receiver.url(), 2).await;
    clock.advance(SignedDuration::from_hours(1));
    let middle = jiff::Timestamp::to_string(&datasonar::clock::Clock::now(&clock));
    dead_letters(&server, &url, &receiver.url(), 3).await;
    let count = async |body: Value| server.post(REPLAY, &body).await.is(200)["count"].clone();
    assert_eq!(count(json!({"dry_run": true})).await, 5);
    assert_eq!(count(json!({"dry_run": true, "since": middle})).await, 3);
    assert_eq!(count(json!({"dry_run": true, "until": middle, "status": "any"})).await, 2);
    assert_eq!(count(json!({"dry_run": true, "status": "delivered"})).await, 0);
    let sandbox = Call::post(REPLAY, &json!({"dry_run": true})).key(&server.sandbox);
    assert_eq!(server.send(sandbox).await.is(200)["count"], 0);

    server.post(REPLAY, &json!({"status": "lost"})).await.blames("/status");
    server.post(REPLAY, &json!({"since": "yesterday"})).await.blames("/since");
    server.post(REPLAY, &json!({"state": "failed"})).await.blames("/state");
    server.get("/v1/deliveries/replays/019a0000-0000-7000-8000-000000000000").await.is(404);
    server.finish().await;
}

#[tokio::test]
async fn a_double_click_sends_once() {
    let (clock, site) = (clock(), site(1).await);
    let (setup, receiver) = Setup::new().clock(&clock).receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let urls: Vec<String> = site.urls().collect();
    let job = server.queue(BATCH, &json!({"urls": urls, "webhook_url": receiver.url()})).await;
    next(&receiver).await;
    let delivery = server.delivery(&job, "delivered", 1).await;
    let path = format!("/v1/deliveries/{}/replay", delivery["id"].as_str().unwrap());
    // In one transaction each, before the dispatcher is told.
    let id = delivery["id"].as_str().unwrap().parse().unwrap();
    let app = &server.running.app;
    let scope = app.store.job(scope(&server).await, job.parse().unwrap()).await.unwrap().scope;
    app.store.replay_delivery(scope, id, app.clock.now()).await.unwrap();
    app.store.replay_delivery(scope, id, app.clock.now()).await.unwrap();
    server.send(Call::new(Method::POST, &path)).await.is(202);
    next(&receiver).await;
    let attempts = server.delivery(&job, "delivered", 2).await["attempts"].as_array().unwrap().len();
    assert!(attempts <= 3, "the third click may have come after the second attempt");
    server.finish().await;
}

async fn scope(server: &Server) -> datasonar_store::Scope {
    let hash = datasonar::crypto::sha256(server.production.as_bytes());
    server.running.app.store.authenticate(hash).await.unwrap().unwrap().scope
}

#[tokio::test]
async fn an_endpoint_is_tried_with_a_test_event() {
    let (clock, answers) = (clock(), |number| Reply::Status(if number == 0 { 200 } else { 500 }));
    let (setup, receiver) = Setup::new().clock(&clock).receiver(answers).await;
    let server = setup.start().await;
    let answer = server.post("/v1/webhooks/test", &json!({"webhook_url": receiver.url()})).await.is(200);
    assert_eq!((&answer["trigger"], &answer["response_code"]), (&json!("test"), &json!(200)));
    let received = next(&receiver).await;
    received.verify(&server.secret().await).unwrap();
    assert_eq!(received.header("webhook-id"), answer["delivery_id"].as_str().unwrap());
    assert_eq!(received.header("x-datasonar-job-id"), answer["job_id"].as_str().unwrap());
    let body: Value = serde_json::from_slice(&std::fs::read(received.body()).unwrap()).unwrap();
    assert_eq!((&body["status"], &body["result"]["status"]), (&json!("completed"), &json!("success")));

    let failed = server.post("/v1/webhooks/test", &json!({"webhook_url": receiver.url()})).await.is(200);
    assert_eq!((&failed["response_code"], &failed["error"]["code"]), (&json!(500), &json!("http_status")));
    let path = format!("/v1/deliveries/{}", failed["delivery_id"].as_str().unwrap());
    let logged = server.get(&path).await.is(200);
    assert_eq!((&logged["status"], &logged["attempts"][0]["trigger"]), (&json!("failed"), &json!("test")));
    clock.advance(SignedDuration::from_hours(48));
    let usage = server.get("/v1/me").await.is(200);
    assert_eq!(usage["usage"]["requests_this_month"], 0, "a test is no page");
    assert_eq!(server.get(&path).await.is(200)["attempts"].as_array().unwrap().len(), 1, "it is not repeated");

    server.post("/v1/webhooks/test", &json!({"webhook_url": "http://example.com/"})).await.blames("/webhook_url");
    server.post("/v1/webhooks/test", &json!({"webhook_url": "https://10.0.0.1/"})).await.blames("/webhook_url");
    server.post("/v1/webhooks/test", &json!({})).await.blames("/webhook_url");
    server.finish().await;
}
