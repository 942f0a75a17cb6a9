//! How long a batch takes to be accepted, and how much memory that takes, by the number of its URLs.
//!
//! Each size has a fresh server that only answers calls. The time is from the first byte of the request to the last of the
//! answer, when the job is on disk; the memory is the server's peak since its start.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and ends with what is wrong")]

use std::{path::Path, time::Duration};

use datasonar::cli::{
    client::{Api, Server},
    demo::child::Child,
};
use datasonar_net::BodySource;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 500_000];
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    println!("{:>8}  {:>8}  {:>12}  {:>12}  {:>12}", "URLs", "body MB", "accepted ms", "idle MB", "peak MB");
    for urls in SIZES {
        let list: Vec<String> =
            (0..urls).map(|n| format!("\"https://shop-{}.example.com/products/item-{n}?ref=feed\"", n % 977)).collect();
        let body = format!(r#"{{"urls":[{}],"format":"markdown"}}"#, list.join(","));
        drop(list);
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            rounds.push(accept(&directory.path().join(format!("{urls}-{round}")), &body).await);
        }
        rounds.sort();
        let (elapsed, idle, peak) = rounds[ROUNDS / 2];
        let megabytes = body.len() as f64 / 1e6;
        println!("{urls:>8}  {megabytes:>8.1}  {:>12}  {:>12}  {:>12}", elapsed.as_millis(), idle >> 20, peak >> 20);
    }
}

async fn accept(data_dir: &Path, body: &str) -> (Duration, u64, u64) {
    let program = Path::new(env!("CARGO_BIN_EXE_datasonar"));
    let mut child = Child::start_program(program, data_dir, &[("DATASONAR_ROLES", "api".to_owned())]).await.unwrap();
    let api = Api::new(Server { server: child.url(), api_key: child.keys.clone().unwrap().0 }).unwrap();
    let idle = child.peak_memory().unwrap_or(0);
    let source = BodySource::bytes(body.to_owned());
    let begin = Instant::now();
    let answer = api.call(Method::POST, "/v1/scrape/batch/async", HeaderMap::new(), Some(source)).await.unwrap();
    let elapsed = begin.elapsed();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let peak = child.peak_memory().unwrap_or(0);
    child.stop().await.unwrap();
    (elapsed, idle, peak)
}
