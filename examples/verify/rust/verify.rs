//! Verifies a webhook of Datasonar. Copy the first two functions, and `is_equal`.
//!
//! axum: an `async fn hook(headers: HeaderMap, body: Bytes) -> StatusCode` has what they need; its route wants a
//! `DefaultBodyLimit` above the 2 MB that axum allows.
//!
//! Crates: `hex`, `http`, `ring`, `standardwebhooks`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line")]

use std::{env, error::Error, fs, process::ExitCode};

use http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;
use standardwebhooks::Webhook;

/// Whether one of the signatures in `X-Datasonar-Signature` is that of the body.
fn verify_signature(secret: &str, body: &[u8], headers: &HeaderMap) -> bool {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    let expected = format!("sha256={}", hex::encode(tag));
    let header = headers.get("x-datasonar-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    header.split(',').any(|one| is_equal(one.trim().as_bytes(), expected.as_bytes()))
}

/// Whether `webhook-signature` is that of id, timestamp and body, and the timestamp within 5 minutes of now.
fn verify_standard(secret: &str, body: &[u8], headers: &HeaderMap) -> bool {
    Webhook::new(secret).and_then(|webhook| webhook.verify(body, headers)).is_ok()
}

/// Compares in a time that does not tell where the difference is.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
    one.len() == other.len() && difference == 0
}

/// `verify_standard` at another time than now, which the library does not take. For tests only.
fn verify_standard_at(secret: &str, body: &[u8], headers: &HeaderMap, now: i64) -> Option<bool> {
    let header = |name| headers.get(name)?.to_str().ok();
    let timestamp = header("webhook-timestamp")?.parse().ok()?;
    let expected = Webhook::new(secret).ok()?.sign(header("webhook-id")?, timestamp, body).ok()?;
    let signed = header("webhook-signature")?.split(' ').any(|one| is_equal(one.as_bytes(), expected.as_bytes()));
    Some(signed && now.abs_diff(timestamp) <= 300)
}

fn run(secret: &str, headers_file: &str, body_file: &str, now: Option<&String>) -> Result<ExitCode, Box<dyn Error>> {
    let mut headers = HeaderMap::new();
    for (name, value) in fs::read_to_string(headers_file)?.lines().filter_map(|line| line.split_once(':')) {
        headers.insert(name.trim().parse::<HeaderName>()?, HeaderValue::from_str(value.trim())?);
    }
    let body = fs::read(body_file)?;
    let is_standard = match now {
        None => verify_standard(secret, &body, &headers),
        Some(now) => verify_standard_at(secret, &body, &headers, now.parse()?).unwrap_or(false),
    };
    let verdict = match (verify_signature(secret, &body, &headers), is_standard) {
        (true, true) => "valid",
        (false, _) => "invalid: X-Datasonar-Signature does not verify",
        (true, false) => "invalid: webhook-signature does not verify",
    };
    println!("{verdict}");
    Ok(ExitCode::from(u8::from(verdict != "valid")))
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [secret, headers_file, body_file, now @ ..] if now.len() < 2 => {
            run(secret, headers_file, body_file, now.first())
        }
        _ => {
            eprintln!("usage: verify SECRET HEADERS_FILE BODY_FILE [NOW_SECONDS]");
            Ok(ExitCode::from(2))
        }
    }
}
