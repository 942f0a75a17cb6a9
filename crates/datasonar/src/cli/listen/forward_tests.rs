//! Forwarding from a server that is made of what a test tells it to say, to a program that keeps what it receives.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::HeaderValue,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use uuid::Uuid;

use super::*;
use crate::cli::client::Server;

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const DELIVERY: &str = "0199e2c6-0000-7000-8000-0000000000dd";

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// What a connection to the feed says. It then stays open, or breaks.
struct Connection {
    lines: Vec<String>,
    breaks: bool,
}

/// A server's three calls.
#[derive(Default)]
struct Calls {
    connections: Mutex<VecDeque<Connection>>,
    /// The queries that the feed was asked with.
    asked: Mutex<Vec<String>>,
    payload_calls: Mutex<u32>,
}

fn job(number: u8) -> Uuid {
    Uuid::from_u128(0x0199_e2c6_0000_7000_8000_0000_0000_0000 + u128::from(number))
}

/// Small but for number 2, which is longer than what is kept between signing and sending.
fn payload(id: Uuid) -> Vec<u8> {
    let filling = if id == job(2) { "x".repeat(3_000_000) } else { "ü".to_owned() };
    format!(r#"{{"job_id":"{id}","status":"completed","result":"{filling}"}}"#).into_bytes()
}

fn ready(cursor: &str) -> String {
    json!({"type": "ready", "cursor": cursor}).to_string()
}

fn ended(number: u8, delivery: Option<&str>) -> String {
    let (id, bytes) = (job(number), payload(job(number)).len());
    json!({"type": "ended", "cursor": format!("c {number}"), "job_id": id, "kind": "batch", "status": "completed",
        "delivery_id": delivery, "bytes": bytes})
    .to_string()
}

async fn listen(State(calls): State<Arc<Calls>>, request: Request) -> Response {
    assert_eq!(request.headers()["authorization"], "Bearer osk_1");
    calls.asked.lock().push(request.uri().query().unwrap_or_default().to_owned());
    let Some(next) = calls.connections.lock().pop_front() else {
        return (StatusCode::FORBIDDEN, r#"{"detail":"That was all."}"#).into_response();
    };
    let text = next.lines.join("\n") + "\n";
    // In pieces that end wherever they do.
    let pieces: Vec<_> =
        text.as_bytes().chunks(100).map(|piece| std::io::Result::Ok(Bytes::copy_from_slice(piece))).collect();
    let end = stream::once(async move {
        if next.breaks {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Err(std::io::Error::other("it breaks"));
        }
        std::future::pending().await
    });
    Body::from_stream(stream::iter(pieces).chain(end)).into_response()
}

async fn start(connections: Vec<Connection>) -> (Arc<Calls>, Api) {
    let calls = Arc::new(Calls { connections: Mutex::new(connections.into()), ..Calls::default() });
    let secrets = async || {
        Json(json!({"data": [
            {"id": "2", "secret": NEW, "created_at": "2026-11-23T12:00:00.000Z", "expires_at": null},
            {"id": "1", "secret": OLD, "created_at": "2026-11-22T12:00:00.000Z", "expires_at": "2999-11-24T12:00:00.000Z"},
            {"id": "0", "secret": "whsec_AAAA", "created_at": "2020-01-01T00:00:00.000Z", "expires_at": "2020-01-02T00:00:00.000Z"},
        ]}))
    };
    let bytes = async |State(calls): State<Arc<Calls>>, Path(id): Path<Uuid>| {
        *calls.payload_calls.lock() += 1;
        match id == job(9) {
            true => (StatusCode::NOT_FOUND, r#"{"detail":"There is no such job."}"#).into_response(),
            false => payload(id).into_response(),
        }
    };
    let router = Router::new()
        .route("/v1/webhooks/listen", get(listen))
        .route("/v1/webhooks/secrets", get(secrets))
        .route("/v1/jobs/{id}/payload", get(bytes))
        .with_state(calls.clone());
    let server = format!("http://{}", serve(router).await).parse().unwrap();
    (calls, Api::new(Server { server, api_key: "osk_1".to_owned() }).unwrap())
}

/// A program under development: its URL, and what it receives.
async fn program(answers: &[u16]) -> (Url, mpsc::UnboundedReceiver<(HeaderMap, Bytes)>) {
    let (sender, received) = mpsc::unbounded_channel();
    let answers = Arc::new(Mutex::new(VecDeque::from_iter(answers.iter().copied())));
    let hook = async move |request: Request| {
        let (head, body) = request.into_parts();
        sender.send((head.headers, body.collect().await.unwrap().to_bytes())).unwrap();
        StatusCode::from_u16(answers.lock().pop_front().unwrap_or(204)).unwrap()
    };
    let address = serve(Router::new().route("/hook", post(hook))).await;
    (format!("http://localhost:{}/hook", address.port()).parse().unwrap(), received)
}

const QUICK: Pace = Pace {
    again: Duration::from_millis(10),
    again_at_most: Duration::from_millis(50),
    silence: Duration::from_secs(20),
    between_tries: Duration::from_millis(10),
};

type Forwarding = JoinHandle<Result<Infallible, ApiError>>;

fn spawn(api: Api, to: Url, pace: Pace) -> (Forwarding, mpsc::Receiver<News>) {
    let (tell, news) = mpsc::channel(64);
    (tokio::spawn(forward(api, to, pace, tell)), news)
}

fn verify(headers: &HeaderMap, body: &[u8]) {
    for secret in [NEW, OLD] {
        standardwebhooks::Webhook::new(secret).unwrap().verify(body, headers).unwrap();
    }
    assert!(standardwebhooks::Webhook::new("whsec_AAAA").unwrap().verify(body, headers).is_err());
    let hex: Vec<String> = [NEW, OLD]
        .map(|secret| {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
            format!("sha256={}", hex::encode(ring::hmac::sign(&key, body)))
        })
        .into();
    assert_eq!(headers["x-datasonar-signature"], hex.join(","));
}

#[tokio::test]
async fn each_ended_job_reaches_the_program_though_the_connection_breaks() {
    let connections = vec![
        Connection {
            lines: vec![ready("c 0"), r#"{"type":"idle"}"#.to_owned(), ended(1, Some(DELIVERY))],
            breaks: true,
        },
        Connection { lines: vec![ready("c 1"), ended(2, None), ended(3, None)], breaks: true },
        Connection { lines: vec![ready("c 3"), r#"{"type":"later"}"#.to_owned()], breaks: true },
    ];
    let (calls, api) = start(connections).await;
    let (url, mut received) = program(&[]).await;
    let (forwarding, mut news) = spawn(api, url, QUICK);

    let mut by_job = std::collections::BTreeMap::new();
    for _ in 0..3 {
        let (headers, body) = received.recv().await.unwrap();
        verify(&headers, &body);
        by_job.insert(headers["x-datasonar-job-id"].to_str().unwrap().to_owned(), (headers, body));
    }
    for number in 1..=3 {
        let id = job(number).to_string();
        let (headers, body) = &by_job[&id];
        assert_eq!(body, &payload(job(number)));
        let webhook_id = if number == 1 { DELIVERY } else { &id };
        for (name, value) in [
            ("content-type", "application/json"),
            ("user-agent", "Datasonar-Webhooks/1"),
            ("x-datasonar-attempt", "1"),
            ("content-length", &body.len().to_string()),
            ("webhook-id", webhook_id),
        ] {
            assert_eq!(headers[name], HeaderValue::from_str(value).unwrap(), "{name}");
        }
        // The key is the server's business, not the program's.
        assert!(!headers.contains_key("authorization"));
    }
    // The fourth connection is refused for good.
    let ended = forwarding.await.unwrap().unwrap_err();
    assert!(ended.to_string().contains("That was all."), "{ended}");
    assert_eq!(*calls.asked.lock(), ["", "after=c+1", "after=c+3", "after=c+3"]);
    // The small ones are read once, the long one twice.
    assert_eq!(*calls.payload_calls.lock(), 4);
    let mut told = [0; 4];
    while let Some(news) = news.recv().await {
        told[match news {
            News::Connected { is_first } => usize::from(!is_first),
            News::Lost { .. } => 2,
            News::Tried(tried) if tried.result.is_ok() => 3,
            _ => continue,
        }] += 1;
    }
    assert_eq!(told, [1, 2, 3, 3]);
}

async fn tries(answers: &[u16], number: u8, to: Option<&str>) -> (Vec<Tried>, Vec<HeaderMap>) {
    let (_, api) = start(vec![Connection { lines: vec![ready("a"), ended(number, None)], breaks: false }]).await;
    let (url, mut received) = program(answers).await;
    let (_forwarding, mut news) = spawn(api, to.map_or(url, |to| to.parse().unwrap()), QUICK);
    let mut tries = Vec::new();
    while tries.last().is_none_or(Tried::is_tried_again) {
        if let News::Tried(tried) = news.recv().await.unwrap() {
            tries.push(*tried);
        }
    }
    let mut all = Vec::new();
    while let Ok((headers, _)) = received.try_recv() {
        all.push(headers);
    }
    (tries, all)
}

#[tokio::test]
async fn a_failure_is_tried_twice_more_and_left() {
    let (tries, received) = tries(&[500, 302, 404], 1, None).await;
    let statuses: Vec<u16> =
        tries.iter().map(|tried| tried.result.as_ref().unwrap_err().status().unwrap().as_u16()).collect();
    assert_eq!(statuses, [500, 302, 404]);
    // As a delivery's attempts: one id, numbers that count, signatures that hold.
    for (number, headers) in (1..).zip(&received) {
        assert_eq!(headers["x-datasonar-attempt"], HeaderValue::from(number));
        assert_eq!(headers["webhook-id"], job(1).to_string());
        verify(headers, &payload(job(1)));
    }
    assert_eq!(received.len(), 3);
}

#[tokio::test]
async fn a_program_that_recovers_gets_it() {
    let (tries, received) = tries(&[503, 200], 1, None).await;
    assert_eq!((tries.len(), received.len()), (2, 2));
    assert_eq!(tries[1].result.as_ref().unwrap(), &StatusCode::OK);
}

#[tokio::test]
async fn every_failure_has_a_hint_that_fits() {
    let to = "http://localhost:9/hook".parse().unwrap();
    for (number, url, reason, hint) in [
        (1, Some("http://127.0.0.1:9/hook"), "", "Is your program running at"),
        (9, None, "There is no such job.", "the server's doing"),
    ] {
        let (tries, _) = tries(&[], number, url).await;
        let failure = tries[2].result.as_ref().unwrap_err();
        assert!(failure.to_string().contains(reason), "{failure}");
        assert!(failure.hint(&to).contains(hint), "{failure:?}: {}", failure.hint(&to));
    }
}

#[tokio::test]
async fn what_cannot_be_followed_at_first_ends_at_once() {
    let (calls, api) = start(Vec::new()).await;
    let (url, _received) = program(&[]).await;
    let (forwarding, _news) = spawn(api, url, QUICK);
    assert!(matches!(forwarding.await.unwrap(), Err(ApiError::Refused { .. })));
    assert_eq!(calls.asked.lock().len(), 1);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_asked_again() {
    let silent = || Connection { lines: vec![ready("a")], breaks: false };
    let (calls, api) = start(vec![silent(), silent()]).await;
    let (url, _received) = program(&[]).await;
    let (forwarding, _news) = spawn(api, url, Pace { silence: Duration::from_millis(50), ..QUICK });
    assert!(forwarding.await.unwrap().is_err());
    assert_eq!(*calls.asked.lock(), ["", "after=a", "after=a"]);
}
