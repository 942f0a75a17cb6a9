//! What a webhook carries for receivers that take no large bodies: a reference to the results.

use std::fs;

use serde_json::{Value, json};

use super::server::{Reply, Setup, next, site};

const BATCH: &str = "/v1/scrape/batch/async";

#[tokio::test]
async fn a_reference_says_where_the_results_are() {
    let site = site(3).await;
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let urls: Vec<String> = site.urls().collect();
    let request = json!({"urls": urls, "webhook_url": receiver.url(), "webhook_payload": "reference"});
    let job = server.queue(BATCH, &request).await;
    let received = next(&receiver).await;
    let delivery = server.delivery(&job, "delivered", 1).await;
    received.verify(&server.secret().await).unwrap();

    let sent = fs::read(received.body()).unwrap();
    let body: Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["job_id", "status", "result"]);
    assert_eq!((&body["job_id"], &body["status"]), (&json!(job), &json!("completed")));
    let result = body["result"].as_object().unwrap();
    let names = ["status", "total", "succeeded", "failed", "time_ms", "results_url", "expires_at"];
    assert_eq!(result.keys().collect::<Vec<_>>(), names);
    assert_eq!((&result["status"], &result["total"], &result["succeeded"]), (&json!("success"), &json!(3), &json!(3)));
    let view = server.get(&format!("/v1/jobs/{job}")).await.is(200);
    assert_eq!(result["expires_at"], view["expires_at"]);

    let path = result["results_url"].as_str().unwrap().strip_prefix(&server.url).unwrap();
    let pages = server.get(path).await.is(200);
    assert_eq!(pages["data"].as_array().unwrap().len(), 3);
    let payload = server.get(&format!("/v1/deliveries/{}/payload", delivery["id"].as_str().unwrap())).await;
    assert_eq!(payload.body, sent);
    server.finish().await;
}

#[tokio::test]
async fn a_body_above_the_limit_becomes_a_reference_and_one_below_does_not() {
    let site = site(2).await;
    let (setup, receiver) =
        Setup::new().flag("public_url", "https://scrape.example.com/").receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let urls: Vec<String> = site.urls().collect();
    for (most, is_reference) in [(100, true), (10_000_000, false)] {
        let request = json!({"urls": urls, "webhook_url": receiver.url(), "webhook_max_bytes": most});
        let job = server.queue(BATCH, &request).await;
        let received = next(&receiver).await;
        server.delivery(&job, "delivered", 1).await;
        let body: Value = serde_json::from_slice(&fs::read(received.body()).unwrap()).unwrap();
        let url = format!("https://scrape.example.com/v1/jobs/{job}/results");
        let expected = if is_reference { json!(url) } else { Value::Null };
        assert_eq!(body["result"]["results_url"], expected);
        assert_eq!(body["result"]["results"].is_array(), !is_reference);
    }
    let single = json!({"url": urls[0], "webhook_url": receiver.url(), "webhook_payload": "reference"});
    let job = server.queue("/v1/scrape/async", &single).await;
    let received = next(&receiver).await;
    server.delivery(&job, "delivered", 1).await;
    let body: Value = serde_json::from_slice(&fs::read(received.body()).unwrap()).unwrap();
    assert_eq!((&body["result"]["total"], &body["result"]["status"]), (&json!(1), &json!("success")));
    server.finish().await;
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused() {
    let server = Setup::new().start().await;
    let ask = async |field: &str, value: Value| {
        let request = json!({"urls": ["https://example.com/"], field: value});
        server.post(BATCH, &request).await.blames(&format!("/{field}"))
    };
    assert!(ask("webhook_payload", json!("half")).await.contains("reference"));
    ask("webhook_max_bytes", json!(0)).await;
    ask("webhook_max_bytes", json!("1 MB")).await;
    let waiting = json!({"urls": ["https://example.com/"], "webhook_payload": "reference"});
    server.post("/v1/scrape/batch", &waiting).await.blames("/webhook_payload");
    server.finish().await;
}
