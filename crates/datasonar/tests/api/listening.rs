//! Following the jobs that end, and `datasonar listen` on top of it.

use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::server::{Server, Setup, site};

/// Reads the next line of a stream.
async fn line(body: &mut datasonar_net::ResponseBody) -> Value {
    let frame = tokio::time::timeout(std::time::Duration::from_secs(60), body.frame()).await;
    let data = frame.expect("a line").unwrap().unwrap().into_data().unwrap();
    serde_json::from_slice(&data).unwrap()
}

#[tokio::test]
async fn ended_jobs_are_told_once_each_from_where_one_left_off() {
    let site = site(2).await;
    let server = Server::start().await;
    let urls: Vec<String> = site.urls().collect();
    let before = server.queue("/v1/scrape/batch/async", &json!({"urls": urls})).await;
    server.ended(&before).await;

    let mut stream = server.open("/v1/webhooks/listen").await;
    let ready = line(&mut stream).await;
    assert_eq!(ready["type"], "ready");
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(server.queue("/v1/scrape/batch/async", &json!({"urls": urls})).await);
        let event = line(&mut stream).await;
        assert_eq!(
            (&event["type"], &event["kind"], &event["status"]),
            (&json!("ended"), &json!("batch"), &json!("completed"))
        );
        assert_eq!(event["job_id"], *jobs.last().unwrap());
        let payload = server.get(&format!("/v1/jobs/{}/payload", jobs.last().unwrap())).await;
        assert_eq!(payload.body.len() as u64, event["bytes"].as_u64().unwrap());
    }
    drop(stream);
    let mut again = server.open(&format!("/v1/webhooks/listen?after={}", ready["cursor"].as_str().unwrap())).await;
    assert_eq!(line(&mut again).await["type"], "ready");
    let mut told = Vec::new();
    while told.len() < 3 {
        let data = again.frame().await.unwrap().unwrap().into_data().unwrap();
        let lines = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        told.extend(lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()["job_id"].clone()));
    }
    assert_eq!(json!(told), json!(jobs));
    drop(again);
    server.finish().await;
}

#[tokio::test]
async fn a_payload_is_there_when_the_job_has_ended() {
    let server = Setup::new().start().await;
    let silence = super::server::Silence::new();
    let job = server.queue("/v1/scrape/async", &json!({"url": silence.url(), "timeout": 300})).await;
    server.get(&format!("/v1/jobs/{job}/payload")).await.is(409);
    server.delete(&format!("/v1/jobs/{job}")).await.is(202);
    server.ended(&job).await;
    let payload = server.get(&format!("/v1/jobs/{job}/payload")).await.is(200);
    assert_eq!((&payload["job_id"], &payload["status"]), (&json!(job), &json!("failed")));
    server.get("/v1/webhooks/listen?after=yesterday").await.is(422);
    server.finish().await;
}
