//! The client against a server that says what a test tells it to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{body::Body, extract::Request, response::IntoResponse};
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::cli::client::submit_file;

/// A request that was made: its line, its headers, its body.
type Made = (String, HeaderMap, Bytes);

/// A server that answers each request with the next of its answers, and the last for ever.
struct Stub {
    address: std::net::SocketAddr,
    made: Arc<Mutex<Vec<Made>>>,
}

type Answer = (u16, &'static str);

impl Stub {
    async fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let made = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(VecDeque::from_iter(answers.iter().copied())));
        let log = made.clone();
        let router = axum::Router::new().fallback(async move |request: Request| {
            let (head, body) = request.into_parts();
            let line = format!("{} {}", head.method, head.uri);
            let body = body.collect().await.unwrap().to_bytes();
            log.lock().unwrap().push((line, head.headers, body));
            let mut answers = answers.lock().unwrap();
            let (status, text) = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0] };
            let body = match text.strip_suffix("…") {
                // Breaks off after that.
                Some(text) => {
                    let broken = async {
                        // Let what came before be sent.
                        tokio::task::yield_now().await;
                        Err(std::io::Error::other("it breaks off"))
                    };
                    Body::from_stream(stream::iter([Ok(text)]).chain(stream::once(broken)))
                }
                None => Body::from(text),
            };
            (StatusCode::from_u16(status).unwrap(), body).into_response()
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, made }
    }

    fn api(&self, path: &str) -> Api {
        let server = format!("http://{}{path}", self.address).parse().unwrap();
        Api::new(Server { server, api_key: "osk_1\n".to_owned() }).unwrap()
    }

    fn made(&self) -> Vec<Made> {
        std::mem::take(&mut self.made.lock().unwrap())
    }
}

async fn refusal(status: u16, body: &'static str) -> String {
    let stub = Stub::start(&[(status, body)]).await;
    stub.api("/").job("7").await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_call_carries_the_key_and_goes_below_the_servers_path() {
    let stub = Stub::start(&[(200, "{}")]).await;
    for path in ["/", "", "/tools/sonar", "/tools/sonar/"] {
        stub.api(path).job("7").await.unwrap();
    }
    let made = stub.made();
    let lines: Vec<&str> = made.iter().map(|(line, ..)| line.as_str()).collect();
    assert_eq!(lines[..2], ["GET /v1/jobs/7"; 2]);
    assert_eq!(lines[2..], ["GET /tools/sonar/v1/jobs/7"; 2]);
    assert_eq!(made[0].1[header::AUTHORIZATION], "Bearer osk_1");
}

#[tokio::test]
async fn refusals_are_told_as_the_server_told_them() {
    let detail = refusal(404, r#"{"title":"Not Found","status":404,"detail":"There is no such job."}"#).await;
    assert_eq!(detail, "There is no such job. (status 404 Not Found)");
    let two = r#"{"detail":"2 fields are invalid","errors":[{"pointer":"/urls","detail":"is empty"},{"pointer":"/format","detail":"is unknown"}]}"#;
    assert_eq!(
        refusal(422, two).await,
        "2 fields are invalid\n  /urls: is empty\n  /format: is unknown (status 422 Unprocessable Entity)"
    );
    assert_eq!(
        refusal(500, "<h1>oops</h1>").await,
        "the server refused the request (status 500 Internal Server Error)"
    );
    let unexpected = refusal(200, "<h1>hello</h1>").await;
    assert!(unexpected.starts_with("the answer is not what was expected"), "{unexpected}");
}

#[tokio::test]
async fn every_refusal_that_has_a_next_step_names_it() {
    let unauthorized = refusal(401, r#"{"detail":"This key is unknown."}"#).await;
    assert!(unauthorized.starts_with("This key is unknown."), "{unauthorized}");
    assert!(unauthorized.contains("datasonar keys create"), "{unauthorized}");
    // A port that was free a moment ago.
    let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let api = Api::new(Server { server: format!("http://{gone}").parse().unwrap(), api_key: String::new() }).unwrap();
    let unreachable = api.job("7").await.unwrap_err().to_string();
    assert!(unreachable.contains("nothing listens there"), "{unreachable}");
    assert!(unreachable.contains("Is `datasonar serve` running"), "{unreachable}");
}

#[tokio::test]
async fn waiting_outlives_a_server_that_is_away_for_a_moment() {
    let stub = Stub::start(&[
        (503, r#"{"detail":"The server is stopping."}"#),
        (200, r#"{"job_id":"7","completed_at":null,"progress":{"total":2,"succeeded":1,"failed":0}}"#),
        (200, r#"{"job_id":"7","completed_at":"2026-11-23T12:00:00.000Z","progress":{"total":2,"succeeded":1,"failed":1}}"#),
    ])
    .await;
    let mut seen = Vec::new();
    let job = stub.api("/").wait("7", async |job| seen.push(job["progress"]["failed"].clone())).await.unwrap();
    assert_eq!(job["progress"]["failed"], 1);
    assert_eq!(seen, [json!(0), json!(1)]);
}

#[tokio::test]
async fn waiting_ends_when_the_job_is_not_there() {
    let stub = Stub::start(&[(404, r#"{"detail":"There is no such job."}"#)]).await;
    assert!(matches!(stub.api("/").wait("7", async |_| {}).await, Err(ApiError::Refused { .. })));
    assert_eq!(stub.made().len(), 1);
}

#[tokio::test]
async fn results_are_passed_on_as_they_come_and_never_silently_cut() {
    let stub = Stub::start(&[(200, "{\"url\":\"a\"}\n{\"url\":\"b\"}\n"), (200, "{\"url\":\"a\"}\n…")]).await;
    let mut lines = Vec::new();
    let mut take = |bytes: &[u8]| {
        lines.extend_from_slice(bytes);
        Ok(())
    };
    stub.api("/").results("7", &mut take).await.unwrap();
    let cut = stub.api("/").results("7", &mut take).await.unwrap_err().to_string();
    assert!(cut.starts_with("the results broke off"), "{cut}");
    assert_eq!(stub.made()[0].1[header::ACCEPT], "application/x-ndjson");
    assert!(lines.starts_with(b"{\"url\":\"a\"}\n{\"url\":\"b\"}\n"));
}

#[tokio::test]
async fn a_file_is_queued_with_its_length_and_its_key() {
    let stub = Stub::start(&[(202, r#"{"status":"queued","job_id":"7"}"#), (202, "{}")]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("urls.txt");
    std::fs::write(&path, "https://a.example/\n# no\nhttps://b.example/\n").unwrap();
    let members = serde_json::Map::from_iter([("webhook_url".to_owned(), json!("https://c.example/"))]);
    let api = stub.api("/");
    assert_eq!(submit_file(&api, &path, members.clone(), Some("once")).await.unwrap(), "7");
    assert!(submit_file(&api, &path, members, None).await.is_err());
    let (line, headers, body) = stub.made().remove(0);
    assert_eq!(line, "POST /v1/scrape/batch/async");
    assert_eq!(headers["idempotency-key"], "once");
    assert_eq!(headers[header::CONTENT_LENGTH].to_str().unwrap(), body.len().to_string());
    let request: Value = serde_json::from_slice(&body).unwrap();
    let expected = json!({"webhook_url": "https://c.example/", "urls": ["https://a.example/", "https://b.example/"]});
    assert_eq!(request, expected);
}
