//! Jobs: queued, polled, read, listed, cancelled, asked for twice.

use datasonar::cli::demo::site::Site;
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::server::{Call, Reply, Server, Setup, Silence, clock, next, site, troubled_site, until};

const BATCH: &str = "/v1/scrape/batch/async";

fn urls(site: &Site) -> Vec<String> {
    site.urls().collect()
}

/// RFC 3339, UTC, milliseconds.
fn is_time(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    text.len() == 24 && text.ends_with('Z') && &text[19..20] == "." && text.parse::<jiff::Timestamp>().is_ok()
}

#[tokio::test]
async fn the_request_of_the_front_page_works_as_printed() {
    let site = site(3).await;
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let body = format!(
        "{{\n    \"urls\": {},\n    \"format\": \"markdown\",\n    \"webhook_url\": \"{}\"\n  }}",
        serde_json::to_string(&urls(&site)).unwrap(),
        receiver.url()
    );
    let call = Call::raw(BATCH, body)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("user-agent", "curl/8.5.0")
        .header("accept", "*/*");
    let answer = server.send(call).await;
    let queued = answer.is(202);
    let job = queued["job_id"].as_str().unwrap();
    assert_eq!(answer.body, format!(r#"{{"status":"queued","job_id":"{job}"}}"#));
    assert_eq!(uuid::Uuid::parse_str(job).unwrap().get_version_num(), 7);
    let received = next(&receiver).await;
    assert_eq!(received.header("x-datasonar-job-id"), job);
    server.delivery(job, "delivered", 1).await;
    assert!(receiver.next_now().await.is_none());
    server.finish().await;
}

#[tokio::test]
async fn a_job_tells_all_of_itself() {
    let (server, site) = (Server::start().await, site(3).await);
    let id = server.queue(BATCH, &json!({"urls": urls(&site)})).await;
    let job = server.ended(&id).await;
    let names: Vec<&str> = job.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "job_id",
            "kind",
            "status",
            "environment",
            "created_at",
            "started_at",
            "completed_at",
            "expires_at",
            "progress",
            "webhook_url",
            "delivery",
            "error"
        ]
    );
    assert_eq!((&job["kind"], &job["status"]), (&json!("batch"), &json!("completed")));
    assert_eq!(job["environment"], "production");
    assert_eq!(job["job_id"], id);
    assert_eq!(job["progress"], json!({"total": 3, "succeeded": 3, "failed": 0}));
    assert_eq!((&job["webhook_url"], &job["delivery"], &job["error"]), (&Value::Null, &Value::Null, &Value::Null));
    let times = ["created_at", "started_at", "completed_at", "expires_at"].map(|name| &job[name]);
    assert!(times.into_iter().all(is_time), "{job}");
    assert!(times.is_sorted_by_key(|time| time.as_str().unwrap().to_owned()), "{job}");
    server.finish().await;
}

#[tokio::test]
async fn a_single_scrape_fails_with_its_page() {
    let (server, site) = (Server::start().await, troubled_site(20).await);
    let good = server.queue("/v1/scrape/async", &json!({"url": site.quick_url(), "format": "text"})).await;
    let bad = server.queue("/v1/scrape/async", &json!({"url": urls(&site)[7]})).await;
    let (good, bad) = (server.ended(&good).await, server.ended(&bad).await);
    assert_eq!((&good["status"], &good["kind"]), (&json!("completed"), &json!("scrape")));
    assert_eq!(bad["status"], "failed");
    assert_eq!(bad["error"]["code"], "http_status");
    assert_eq!(bad["progress"], json!({"total": 1, "succeeded": 0, "failed": 1}));
    // The result is what the waiting endpoint would answer: a page.
    let result = |job: &Value| format!("/v1/jobs/{}?include_result=true", job["job_id"].as_str().unwrap());
    let page = server.get(&result(&good)).await.is(200)["result"].clone();
    let waited = server.post("/v1/scrape", &json!({"url": site.quick_url(), "format": "text"})).await.is(200);
    assert_eq!((&page["content"], &page["url"]), (&waited["content"], &waited["url"]));
    assert_eq!(server.get(&result(&bad)).await.is(200)["result"]["status_code"], 404);
    server.finish().await;
}

#[tokio::test]
async fn results_are_read_in_parts_and_as_lines() {
    let (server, site) = (Server::start().await, site(250).await);
    let urls = urls(&site);
    let id = server.queue(BATCH, &json!({"urls": urls, "format": "text"})).await;
    server.ended(&id).await;
    let (mut pages, mut cursor, mut parts) = (Vec::new(), String::new(), 0);
    loop {
        let part = server.get(&format!("/v1/jobs/{id}/results?limit=70{cursor}")).await.is(200);
        let data = part["data"].as_array().unwrap();
        assert!(data.len() <= 70);
        pages.extend(data.iter().cloned());
        parts += 1;
        match part["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(parts, 4);
    assert!(pages.iter().map(|page| page["url"].as_str().unwrap()).eq(urls.iter().map(String::as_str)));
    let first = server.get(&format!("/v1/jobs/{id}/results")).await.is(200);
    assert_eq!(first["data"].as_array().unwrap().len(), 50);

    let path = format!("/v1/jobs/{id}/results");
    let lines = server.send(Call::new(Method::GET, &path).header("accept", "application/x-ndjson")).await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> = lines
        .body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines, pages);
    let whole = server.get(&format!("/v1/jobs/{id}?include_result=true")).await;
    assert_eq!(whole.header("content-length"), whole.body.len().to_string());
    assert_eq!(whole.json()["result"]["results"], json!(pages));
    for wrong in ["limit=0", "limit=1000", "cursor=x", "cursor=-1"] {
        server.get(&format!("/v1/jobs/{id}/results?{wrong}")).await.is(422);
    }
    let beyond = server.get(&format!("/v1/jobs/{id}/results?cursor=10.0")).await.is(200);
    assert_eq!(beyond, json!({"data": [], "next_cursor": null}));
    server.get(&format!("/v1/jobs/{id}?include_result=maybe")).await.is(422);
    server.finish().await;
}

#[tokio::test]
async fn lists_are_filtered_and_come_in_parts() {
    let clock = clock();
    let site = troubled_site(20).await;
    let server = Setup::new().clock(&clock).start().await;
    let mut ids = Vec::new();
    for index in 0..5 {
        clock.advance(SignedDuration::from_millis(10));
        let id = match index % 2 {
            0 => server.queue(BATCH, &json!({"urls": [urls(&site)[1], urls(&site)[7]]})).await,
            _ => server.queue("/v1/scrape/async", &json!({"url": urls(&site)[7]})).await,
        };
        server.ended(&id).await;
        ids.insert(0, id);
    }
    let list = async |query: &str| -> (Vec<String>, Value) {
        let list = server.get(&format!("/v1/jobs{query}")).await.is(200);
        let ids = list["data"].as_array().unwrap().iter().map(|job| job["job_id"].as_str().unwrap().to_owned());
        (ids.collect(), list["next_cursor"].clone())
    };
    assert_eq!(list("").await, (ids.clone(), Value::Null));
    let (first, cursor) = list("?limit=2").await;
    let (second, cursor) = list(&format!("?limit=2&cursor={}", cursor.as_str().unwrap())).await;
    let (third, cursor) = list(&format!("?limit=2&cursor={}", cursor.as_str().unwrap())).await;
    assert_eq!([first, second, third].concat(), ids);
    assert!(cursor.is_null());
    // A batch is complete when each URL has its result; a single page that failed is a failed job.
    let batches = vec![ids[0].clone(), ids[2].clone(), ids[4].clone()];
    let singles = vec![ids[1].clone(), ids[3].clone()];
    assert_eq!(list("?kind=batch").await.0, batches);
    assert_eq!(list("?status=completed").await.0, batches);
    assert_eq!(list("?status=failed&kind=scrape").await.0, singles);
    assert_eq!(list("?status=failed&kind=batch").await.0, Vec::<String>::new());
    assert_eq!(list("?status=pending").await.0, Vec::<String>::new());
    server.finish().await;
}

#[tokio::test]
async fn a_job_that_runs_is_read_and_cancelled() {
    let (site, silence) = (site(100).await, Silence::new());
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    // The first task's pages answer, the second's never do.
    let mut urls = urls(&site);
    urls.extend((0..100).map(|index| format!("{}{index}", silence.url())));
    let body = json!({"urls": urls, "timeout": 300, "webhook_url": receiver.url()});
    let id = server.queue(BATCH, &body).await;
    let path = format!("/v1/jobs/{id}");
    let job = until("the first task", async || {
        let job = server.get(&path).await.is(200);
        (job["progress"]["succeeded"] == 100).then_some(job)
    })
    .await;
    assert_eq!(job["status"], "started");
    assert!(job["completed_at"].is_null() && is_time(&job["started_at"]));
    assert!(server.get(&format!("{path}?include_result=true")).await.is(200).get("result").is_none());
    let part = server.get(&format!("{path}/results?limit=200")).await.is(200);
    assert_eq!(part["data"].as_array().unwrap().len(), 100);
    // There is more to come.
    let cursor = part["next_cursor"].as_str().unwrap().to_owned();

    let cancelled = server.delete(&path).await.is(202);
    assert_eq!(cancelled["job_id"], id);
    let job = server.ended(&id).await;
    assert_eq!(job["status"], "failed");
    assert_eq!(job["error"]["code"], "cancelled");
    assert_eq!(job["progress"], json!({"total": 200, "succeeded": 100, "failed": 100}));
    server.delete(&path).await.is(409);
    let rest = server.get(&format!("{path}/results?limit=200&cursor={cursor}")).await.is(200);
    let rest_data = rest["data"].as_array().unwrap();
    assert_eq!(rest_data.len(), 100);
    assert!(rest_data.iter().all(|page| page["error"]["code"] == "cancelled"));
    assert!(rest["next_cursor"].is_null());

    let received = next(&receiver).await;
    let webhook: Value = serde_json::from_slice(&std::fs::read(received.body()).unwrap()).unwrap();
    assert_eq!(webhook["status"], "failed");
    assert_eq!(webhook["result"]["status"], "error");
    assert_eq!((&webhook["result"]["succeeded"], &webhook["result"]["failed"]), (&json!(100), &json!(100)));
    server.delivery(&id, "delivered", 1).await;
    server.finish().await;
}

#[tokio::test]
async fn a_job_that_has_ended_is_not_cancelled() {
    let (server, site) = (Server::start().await, site(1).await);
    let id = server.queue(BATCH, &json!({"urls": urls(&site)})).await;
    server.ended(&id).await;
    server.delete(&format!("/v1/jobs/{id}")).await.is(409);
    assert_eq!(server.ended(&id).await["status"], "completed");
    server.finish().await;
}

#[tokio::test]
async fn the_same_request_twice_is_one_job() {
    let clock = clock();
    let site = site(4).await;
    let server = Setup::new().clock(&clock).start().await;
    let batch = json!({"urls": urls(&site)});
    let call = |path: &str, body: &Value| Call::post(path, body).header("idempotency-key", "order-7");
    let first = server.send(call(BATCH, &batch)).await;
    let id = first.is(202)["job_id"].as_str().unwrap().to_owned();
    server.ended(&id).await;
    for _ in 0..2 {
        let again = server.send(call(BATCH, &batch)).await;
        assert_eq!(again.status.as_u16(), 202);
        assert_eq!(again.body, first.body);
    }
    server.send(call(BATCH, &json!({"urls": [site.quick_url()]}))).await.is(409);
    server.send(call("/v1/scrape/async", &json!({"url": site.quick_url()}))).await.is(409);
    // A wrong request leaves nothing behind under its key.
    let other = |body: &Value| Call::post(BATCH, body).header("idempotency-key", "order-8");
    server.send(other(&json!({"urls": []}))).await.is(422);
    let id = server.send(other(&batch)).await.is(202)["job_id"].as_str().unwrap().to_owned();
    server.ended(&id).await;
    assert_eq!(server.get("/v1/jobs").await.is(200)["data"].as_array().unwrap().len(), 2);
    for wrong in ["a b", &"k".repeat(256)] {
        server.send(Call::post(BATCH, &batch).header("idempotency-key", wrong)).await.is(422);
    }
    // A day later it is another request.
    clock.advance(SignedDuration::from_hours(25));
    let later = server.send(call(BATCH, &batch)).await.is(202);
    assert_ne!(later["job_id"], first.json()["job_id"]);
    server.ended(later["job_id"].as_str().unwrap()).await;
    assert!((0..4).all(|index| site.hits(index) == 3));
    server.finish().await;
}

#[tokio::test]
async fn the_same_request_at_the_same_time_is_one_job() {
    let (server, site) = (Server::start().await, site(2).await);
    let batch = json!({"urls": urls(&site)});
    let calls = (0..8).map(|_| server.send(Call::post(BATCH, &batch).header("idempotency-key", "at-once")));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| answer.status.as_u16() == 202 && answer.body == answers[0].body));
    server.ended(answers[0].json()["job_id"].as_str().unwrap()).await;
    assert_eq!(server.get("/v1/jobs").await.is(200)["data"].as_array().unwrap().len(), 1);
    server.finish().await;
}
