//! Webhooks: what is sent, how it is signed, when it is sent again, and what is kept of it.

use std::fs;

use datasonar::{
    cli::demo::{
        receiver::{Received, Receiver},
        site::Site,
    },
    clock::ManualClock,
};
use http::{HeaderMap, HeaderName, Method};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::server::{Call, Reply, Server, Setup, clock, next, site};

const BATCH: &str = "/v1/scrape/batch/async";

fn body(received: &Received) -> Vec<u8> {
    fs::read(received.body()).unwrap()
}

/// Queues the site's pages for an endpoint.
async fn queue(server: &Server, site: &Site, endpoint: &str) -> String {
    let urls: Vec<String> = site.urls().collect();
    server.queue(BATCH, &json!({"urls": urls, "format": "text", "webhook_url": endpoint})).await
}

fn id(delivery: &Value) -> String {
    delivery["id"].as_str().unwrap().to_owned()
}

/// Verifies as a user of the Standard Webhooks library would.
fn verify_standard(received: &Received, secret: &str) {
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(HeaderName::from_static(name), received.header(name).parse().unwrap());
    }
    standardwebhooks::Webhook::new(secret).unwrap().verify(&body(received), &headers).unwrap();
}

#[tokio::test]
async fn a_webhook_is_signed_and_carries_the_result() {
    let site = site(3).await;
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(204)).await;
    let server = setup.start().await;
    let job = queue(&server, &site, &receiver.url()).await;
    let received = next(&receiver).await;
    let delivery = server.delivery(&job, "delivered", 1).await;

    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("user-agent"), "Datasonar-Webhooks/1");
    assert_eq!(received.header("x-datasonar-job-id"), job);
    assert_eq!(received.header("x-datasonar-attempt"), "1");
    assert_eq!(received.header("content-length"), received.length.to_string());
    assert_eq!(received.header("webhook-id"), id(&delivery));
    received.header("webhook-timestamp").parse::<i64>().unwrap();
    let secret = server.secret().await;
    received.verify(&secret).unwrap();
    verify_standard(&received, &secret);
    received.verify("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap_err();

    // The keys in their order, and the result byte for byte that of the poll and of the payload.
    let bytes = body(&received);
    let head = format!(r#"{{"job_id":"{job}","status":"completed","result":"#);
    assert!(bytes.starts_with(head.as_bytes()));
    let result = &bytes[head.len()..bytes.len() - 1];
    let poll = server.get(&format!("/v1/jobs/{job}?include_result=true")).await;
    let tail = [&br#","result":"#[..], result, b"}"].concat();
    assert!(poll.body.ends_with(&tail));
    let payload = server.get(&format!("/v1/deliveries/{}/payload", id(&delivery))).await;
    assert_eq!(payload.header("content-type"), "application/json");
    assert_eq!(payload.body, bytes);
    // The shape is that of the waiting endpoint.
    let urls: Vec<String> = site.urls().collect();
    let waited = server.post("/v1/scrape/batch", &json!({"urls": urls, "format": "text"})).await.is(200);
    let sent: Value = serde_json::from_slice(result).unwrap();
    assert_eq!(
        sent.as_object().unwrap().keys().collect::<Vec<_>>(),
        waited.as_object().unwrap().keys().collect::<Vec<_>>()
    );
    for (sent, waited) in sent["results"].as_array().unwrap().iter().zip(waited["results"].as_array().unwrap()) {
        assert_eq!((&sent["url"], &sent["content"]), (&waited["url"], &waited["content"]));
    }

    let job = poll.json();
    assert_eq!(job["delivery"], json!({"id": id(&delivery), "status": "delivered"}));
    assert_eq!(job["webhook_url"], receiver.url());
    server.finish().await;
}

#[tokio::test]
async fn an_attempt_is_logged() {
    let site = site(1).await;
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let job = queue(&server, &site, &receiver.url()).await;
    let received = next(&receiver).await;
    let delivery = server.delivery(&job, "delivered", 1).await;
    assert_eq!((&delivery["job_id"], &delivery["webhook_url"]), (&json!(job), &json!(receiver.url())));
    assert!(delivery["next_attempt_at"].is_null() && delivery["delivered_at"].is_string());
    let attempt = &delivery["attempts"][0];
    assert_eq!((&attempt["number"], &attempt["trigger"]), (&json!(1), &json!("automatic")));
    assert_eq!((&attempt["response_code"], &attempt["error"]), (&json!(200), &Value::Null));
    assert_eq!(attempt["request_bytes"], received.length);
    assert!(attempt["latency_ms"].is_u64() && attempt["timings"]["total_ms"].is_u64());
    assert!(attempt["remote"].as_str().unwrap().starts_with("127.0.0.1:"));
    for header in attempt["request_headers"].as_array().unwrap() {
        let name = header[0].as_str().unwrap();
        assert_eq!(received.header(name), header[1].as_str().unwrap(), "{name}");
    }
    let one = server.get(&format!("/v1/deliveries/{}", id(&delivery))).await.is(200);
    assert_eq!(one, delivery);
    for (query, count) in [("?status=delivered", 1), ("?status=pending", 0), ("?status=failed", 0), ("", 1)] {
        let list = server.get(&format!("/v1/deliveries{query}")).await.is(200);
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{query}");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_single_scrape_is_delivered_as_a_page() {
    let site = site(2).await;
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    for (url, status) in [(site.quick_url(), "completed"), (format!("{}0", site.quick_url()), "failed")] {
        let job = server.queue("/v1/scrape/async", &json!({"url": url, "webhook_url": receiver.url()})).await;
        let received = next(&receiver).await;
        received.verify(&server.secret().await).unwrap();
        let sent: Value = serde_json::from_slice(&body(&received)).unwrap();
        assert_eq!(
            (&sent["job_id"], &sent["status"], &sent["result"]["url"]),
            (&json!(job), &json!(status), &json!(url))
        );
        server.delivery(&job, "delivered", 1).await;
    }
    server.finish().await;
}

#[tokio::test]
async fn a_failed_attempt_is_made_again_after_thirty_seconds() {
    let (clock, site) = (clock(), site(3).await);
    let answer = |number| Reply::Status(if number == 0 { 500 } else { 200 });
    let (setup, receiver) = Setup::new().clock(&clock).receiver(answer).await;
    let server = setup.start().await;
    let job = queue(&server, &site, &receiver.url()).await;
    let first = next(&receiver).await;
    let delivery = server.delivery(&job, "pending", 1).await;
    let begun: Timestamp = delivery["attempts"][0]["started_at"].as_str().unwrap().parse().unwrap();
    let due: Timestamp = delivery["next_attempt_at"].as_str().unwrap().parse().unwrap();
    let wait = due.duration_since(begun);
    assert!(wait >= SignedDuration::from_secs(30) && wait <= SignedDuration::from_secs(33), "{wait:?}");
    // Not a millisecond before.
    clock.advance(wait - SignedDuration::from_millis(1));
    assert_eq!(server.delivery(&job, "pending", 1).await, delivery);
    assert!(receiver.next_now().await.is_none());
    clock.advance(SignedDuration::from_millis(1));
    let second = next(&receiver).await;
    let delivery = server.delivery(&job, "delivered", 2).await;
    let attempts = &delivery["attempts"];
    assert_eq!(attempts[1]["started_at"].as_str().unwrap().parse::<Timestamp>().unwrap(), due);
    assert_eq!((&attempts[0]["response_code"], &attempts[1]["response_code"]), (&json!(500), &json!(200)));
    assert_eq!((&attempts[0]["number"], &attempts[1]["number"]), (&json!(1), &json!(2)));
    assert_eq!((first.header("x-datasonar-attempt"), second.header("x-datasonar-attempt")), ("1", "2"));
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!((&first.sha256, first.length), (&second.sha256, second.length));
    assert_ne!(first.header("webhook-timestamp"), second.header("webhook-timestamp"));
    let secret = server.secret().await;
    first.verify(&secret).unwrap();
    second.verify(&secret).unwrap();
    assert_eq!(site.hits(0), 1);
    server.finish().await;
}

/// Moves the clock to the delivery's next attempt, and answers what was received then and what is recorded of it.
async fn again(
    server: &Server,
    receiver: &Receiver,
    clock: &ManualClock,
    delivery: &Value,
    status: &str,
) -> (Received, Value) {
    use datasonar::clock::Clock;
    let due: Timestamp = delivery["next_attempt_at"].as_str().unwrap().parse().unwrap();
    assert!(due > clock.now(), "{delivery:#}");
    clock.advance(due.duration_since(clock.now()));
    let received = next(receiver).await;
    let made = delivery["attempts"].as_array().unwrap().len();
    (received, server.delivery(delivery["job_id"].as_str().unwrap(), status, made + 1).await)
}

#[tokio::test]
async fn an_endpoint_that_never_works_becomes_a_dead_letter() {
    let (clock, site) = (clock(), site(1).await);
    let (setup, receiver) = Setup::new().clock(&clock).receiver(|_| Reply::Status(503)).await;
    let server = setup.start().await;
    let job = queue(&server, &site, &receiver.url()).await;
    let first = next(&receiver).await;
    let mut delivery = server.delivery(&job, "pending", 1).await;
    let start: Timestamp = delivery["attempts"][0]["started_at"].as_str().unwrap().parse().unwrap();
    for (number, offset) in [30, 120, 600, 3_600, 21_600, 86_400].into_iter().enumerate() {
        let due: Timestamp = delivery["next_attempt_at"].as_str().unwrap().parse().unwrap();
        let waited = due.duration_since(start).as_millis();
        let jitter = (offset * 100).min(60_000);
        assert!((offset * 1_000..=offset * 1_000 + jitter).contains(&waited), "{offset} s: {waited} ms");
        // The fifth failure makes it a dead letter; what is still due is done all the same.
        let status = if number + 2 >= 5 { "failed" } else { "pending" };
        let (received, now) = again(&server, &receiver, &clock, &delivery, status).await;
        assert_eq!(received.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(received.sha256, first.sha256);
        assert_eq!(received.header("x-datasonar-attempt"), (number + 2).to_string());
        delivery = now;
    }
    assert!(delivery["next_attempt_at"].is_null());
    let dead = server.get("/v1/deliveries?status=failed").await.is(200);
    assert_eq!(dead["data"][0]["id"], delivery["id"]);
    assert_eq!(server.ended(&job).await["delivery"]["status"], "failed");
    server.finish().await;
}

#[tokio::test]
async fn a_late_success_raises_a_dead_letter() {
    let (clock, site) = (clock(), site(1).await);
    let answer = |number| Reply::Status(if number < 5 { 500 } else { 200 });
    let (setup, receiver) = Setup::new().clock(&clock).receiver(answer).await;
    let server = setup.start().await;
    let job = queue(&server, &site, &receiver.url()).await;
    next(&receiver).await;
    let mut delivery = server.delivery(&job, "pending", 1).await;
    for status in ["pending", "pending", "pending", "failed", "delivered"] {
        delivery = again(&server, &receiver, &clock, &delivery, status).await.1;
    }
    assert!(delivery["next_attempt_at"].is_null() && delivery["delivered_at"].is_string());
    server.finish().await;
}

#[tokio::test]
async fn anything_but_a_2xx_is_a_failed_attempt() {
    let site = site(1).await;
    for status in [301, 302, 307, 400, 404, 429, 500] {
        let answer = move |number| Reply::Status(if number == 0 { status } else { 200 });
        let clock = clock();
        let (setup, receiver) = Setup::new().clock(&clock).receiver(answer).await;
        let server = setup.start().await;
        let job = queue(&server, &site, &receiver.url()).await;
        next(&receiver).await;
        let delivery = server.delivery(&job, "pending", 1).await;
        assert_eq!(delivery["attempts"][0]["response_code"], status);
        again(&server, &receiver, &clock, &delivery, "delivered").await;
        server.finish().await;
    }
}

#[tokio::test]
async fn gone_ends_it_and_a_replay_begins_again() {
    let (clock, site) = (clock(), site(1).await);
    let answer = |number| Reply::Status(if number == 0 { 410 } else { 200 });
    let (setup, receiver) = Setup::new().clock(&clock).receiver(answer).await;
    let server = setup.start().await;
    let job = queue(&server, &site, &receiver.url()).await;
    next(&receiver).await;
    let delivery = server.delivery(&job, "failed", 1).await;
    assert!(delivery["next_attempt_at"].is_null());
    server.send(Call::new(Method::POST, &format!("/v1/deliveries/{}/replay", id(&delivery)))).await.is(202);
    next(&receiver).await;
    let delivery = server.delivery(&job, "delivered", 2).await;
    assert_eq!(delivery["attempts"][1]["trigger"], "replay");
    server.finish().await;
}

#[tokio::test]
async fn what_was_delivered_is_replayed_byte_for_byte() {
    let (clock, site) = (clock(), site(3).await);
    let (setup, receiver) = Setup::new().clock(&clock).receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let job = queue(&server, &site, &receiver.url()).await;
    let first = next(&receiver).await;
    let delivery = server.delivery(&job, "delivered", 1).await;
    let path = format!("/v1/deliveries/{}/replay", id(&delivery));
    for number in 2..4 {
        clock.advance(SignedDuration::from_secs(90));
        server.send(Call::new(Method::POST, &path)).await.is(202);
        let replayed = next(&receiver).await;
        assert_eq!(replayed.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(body(&replayed), body(&first));
        assert_ne!(replayed.header("webhook-timestamp"), first.header("webhook-timestamp"));
        assert_eq!(replayed.header("x-datasonar-attempt"), number.to_string());
        replayed.verify(&server.secret().await).unwrap();
        let delivery = server.delivery(&job, "delivered", number).await;
        assert_eq!(delivery["attempts"][number - 1]["trigger"], "replay");
    }
    assert_eq!(site.hits(0), 1);
    server.finish().await;
}

#[tokio::test]
async fn both_secrets_sign_for_a_day() {
    let (clock, site) = (clock(), site(1).await);
    let (setup, receiver) = Setup::new().clock(&clock).receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let old = server.secret().await;
    clock.advance(SignedDuration::from_secs(1));
    server.send(Call::new(Method::POST, "/v1/webhooks/secrets/rotate")).await.is(201);
    let new = server.secret().await;
    assert_ne!(old, new);
    let job = queue(&server, &site, &receiver.url()).await;
    let received = next(&receiver).await;
    assert_eq!(received.header("x-datasonar-signature").split(',').count(), 2);
    assert_eq!(received.header("webhook-signature").split(' ').count(), 2);
    for secret in [&old, &new] {
        received.verify(secret).unwrap();
        verify_standard(&received, secret);
    }
    let delivery = server.delivery(&job, "delivered", 1).await;
    clock.advance(SignedDuration::from_hours(25));
    server.send(Call::new(Method::POST, &format!("/v1/deliveries/{}/replay", id(&delivery)))).await.is(202);
    let received = next(&receiver).await;
    received.verify(&new).unwrap();
    received.verify(&old).unwrap_err();
    assert_eq!(received.header("x-datasonar-signature").split(',').count(), 1);
    server.delivery(&job, "delivered", 2).await;
    server.finish().await;
}
