//! The samples for receivers (`examples/verify`), each as its own command, over deliveries that a real server made and
//! over the published vectors.

mod guide;
mod languages;
mod vectors;

use std::{
    fs,
    path::{Path, PathBuf},
};

use axum::{Router, response::Html, routing};
use datasonar::cli::demo::receiver::{Received, Receiver};
use http::Method;
use serde_json::{Value, json};

use super::server::{Call, Reply, Server, Setup, next, site};
use languages::{Language, Sample};

/// The folder of the samples.
fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/verify")
}

#[tokio::test]
async fn python() {
    check(Language::Python).await;
}

#[tokio::test]
async fn node() {
    check(Language::Node).await;
}

#[tokio::test]
async fn go() {
    check(Language::Go).await;
}

#[tokio::test]
async fn ruby() {
    check(Language::Ruby).await;
}

#[tokio::test]
async fn php() {
    check(Language::Php).await;
}

#[tokio::test]
async fn java() {
    check(Language::Java).await;
}

#[tokio::test]
async fn rust() {
    check(Language::Rust).await;
}

async fn check(language: Language) {
    let Some(sample) = language.sample() else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut cases = published(directory.path());
    cases.extend(delivered(directory.path()).await);
    let wrong: Vec<String> = cases.iter().filter_map(|case| case.fault(&sample)).collect();
    assert!(wrong.is_empty(), "{language:?}: {} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// What is wrong with the body's own signature.
const OWN: &str = "invalid: X-Datasonar-Signature does not verify";
/// What is wrong with that of Standard Webhooks.
const STANDARD: &str = "invalid: webhook-signature does not verify";

/// One run of a sample.
struct Case {
    name: String,
    secret: String,
    headers: PathBuf,
    body: PathBuf,
    now: Option<i64>,
    verdict: &'static str,
}

impl Case {
    fn fault(&self, sample: &Sample) -> Option<String> {
        let said = sample.run(&self.secret, &self.headers, &self.body, self.now);
        (said != self.verdict).then(|| format!("  {}: `{said}`, not `{}`", self.name, self.verdict))
    }
}

/// A case for each of the published vectors.
fn published(directory: &Path) -> Vec<Case> {
    let file: Value = serde_json::from_slice(&fs::read(samples().join("vectors.json")).unwrap()).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let cases = vectors.iter().enumerate().map(|(number, vector)| {
        let (headers, body) = (format!("vector-{number}.headers"), format!("vector-{number}.body"));
        let (headers, body) = (directory.join(headers), directory.join(body));
        let lines = vector["headers"].as_object().unwrap().iter();
        let lines: String = lines.map(|(name, value)| format!("{name}: {}\n", value.as_str().unwrap())).collect();
        fs::write(&headers, lines).unwrap();
        fs::write(&body, vector["body"].as_str().unwrap()).unwrap();
        let verdict = match (&vector["x_datasonar_signature"], &vector["standard_webhooks"]) {
            (Value::Bool(true), Value::Bool(true)) => "valid",
            (Value::Bool(true), _) => STANDARD,
            _ => OWN,
        };
        assert_eq!(vector["valid"], verdict == "valid");
        let text = |name: &str| vector[name].as_str().unwrap().to_owned();
        let name = format!("vector `{}`", text("name"));
        Case { name, secret: text("secret"), headers, body, now: vector["now"].as_i64(), verdict }
    });
    cases.collect()
}

/// Cases from what the real dispatcher sent.
async fn delivered(directory: &Path) -> Vec<Case> {
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(204)).await;
    let server = setup.start().await;
    let old = server.secret().await;
    let site = site(3).await;
    let plain: Vec<String> = site.urls().collect();
    let plain = deliver(&server, &receiver, json!({"urls": plain, "format": "text"})).await;
    let page = format!("<html><body><main>{}", "<p>Größe, 東京, Ελλάδα, \u{2028}🦀 “\\\"”\n".repeat(5_000));
    let large = json!({"urls": [host(page).await, "https://"], "format": "raw_html"});
    let large = deliver(&server, &receiver, large).await;
    // Longer than what is kept between signing and sending.
    assert!(large.length > 256 * 1024);
    assert!(!fs::read(large.body()).unwrap().is_ascii());

    server.send(Call::new(Method::POST, "/v1/webhooks/secrets/rotate")).await.is(201);
    let new = server.secret().await;
    assert_ne!(old, new);
    let rotating = deliver(&server, &receiver, json!({"urls": [site.quick_url()]})).await;
    assert_eq!(rotating.header("x-datasonar-signature").split(',').count(), 2);

    let mut cases = Vec::new();
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (name, received) in [("plain", &plain), ("large", &large), ("rotating", &rotating)] {
        let (headers, body) = write(directory, name, received);
        let secret = if name == "rotating" { &new } else { &old };
        let case = |what: &str, secret: &str, verdict| Case {
            name: format!("{name} delivery, {what}"),
            secret: secret.to_owned(),
            headers: headers.clone(),
            body: body.clone(),
            now: None,
            verdict,
        };
        cases.push(case("as received", secret, "valid"));
        let tampered = directory.join(format!("{name}.tampered"));
        fs::write(&tampered, fs::read_to_string(&body).unwrap().replacen("completed", "tampered!", 1)).unwrap();
        assert_ne!(fs::read(&tampered).unwrap(), fs::read(&body).unwrap());
        cases.push(Case { body: tampered, ..case("tampered with", secret, OWN) });
        match name {
            "rotating" => {
                cases.push(case("with the old secret", &old, "valid"));
                cases.push(case("with another's secret", other, OWN));
            }
            "plain" => {
                let sent: i64 = received.header("webhook-timestamp").parse().unwrap();
                cases.push(case("with the secret to come", &new, OWN));
                cases.push(Case { now: Some(sent + 301), ..case("too late", secret, STANDARD) });
                cases.push(Case { now: Some(sent - 301), ..case("too early", secret, STANDARD) });
            }
            _ => {}
        }
    }
    server.finish().await;
    cases
}

/// Queues a batch and waits for its delivery.
async fn deliver(server: &Server, receiver: &Receiver, mut job: Value) -> Received {
    job["webhook_url"] = json!(receiver.url());
    let job = server.queue("/v1/scrape/batch/async", &job).await;
    let received = next(receiver).await;
    server.delivery(&job, "delivered", 1).await;
    received
}

/// Serves one page, for as long as the test runs.
async fn host(page: String) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let routes = Router::new().route("/", routing::get(move || async { Html(page) }));
    tokio::spawn(async { axum::serve(listener, routes).await });
    url
}

/// Writes a request as the samples read it.
fn write(directory: &Path, name: &str, received: &Received) -> (PathBuf, PathBuf) {
    let (headers, body) = (directory.join(format!("{name}.headers")), directory.join(format!("{name}.body")));
    let shown = [
        "Content-Type",
        "User-Agent",
        "X-Datasonar-Job-Id",
        "X-Datasonar-Attempt",
        "X-Datasonar-Signature",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    ];
    let lines: String = shown.iter().map(|name| format!("{name}: {}\n", received.header(name))).collect();
    fs::write(&headers, lines).unwrap();
    fs::copy(received.body(), &body).unwrap();
    (headers, body)
}
