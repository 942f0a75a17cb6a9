//! Pages per second of one batch job with one, two and four worker processes on one PostgreSQL.
//!
//! Once with pages that take a tenth of a second to come, where a worker is limited by how many it fetches at once: more workers are to be
//! that many times as fast. And once with pages that come at once, where the cores are the limit, which pages, workers and database share.
//! Beside the latter stands one process on the embedded store.
//!
//! `cargo bench -p datasonar --bench workers -- postgres://user@host:port`, as somebody who may create databases there.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and ends with what is wrong")]

use std::{path::Path, time::Duration};

use datasonar::cli::{
    client::{Api, Server},
    demo::{
        child::Child,
        site::{Site, SiteOptions},
    },
};
use http::Method;
use serde_json::json;
use tokio::time::Instant;

/// How many pages a worker fetches at once when they are slow, and how slow they are.
const CONCURRENCY: usize = 32;
const SLOW: Duration = Duration::from_millis(100);
/// Pages of a run, for each worker when they are slow.
const SLOW_PAGES: usize = 3_000;
const PAGES: usize = 20_000;

#[tokio::main]
async fn main() {
    let server = std::env::args().skip(1).find(|argument| argument.starts_with("postgres"));
    let server = server.expect("the URL of a PostgreSQL server is given");
    println!("{:>22} {:>8} {:>10} {:>8}", "pages", "workers", "pages/s", "ratio");
    for (name, slow) in [("0.1 s each, 32 at once", true), ("at once", false)] {
        let mut one = None;
        for workers in [1, 2, 4] {
            let (pages, pace) = if slow { (SLOW_PAGES * workers, SLOW) } else { (PAGES, Duration::ZERO) };
            let concurrency = if slow { CONCURRENCY } else { 256 / workers };
            let rate = run(Some(&server), workers, pages, pace, concurrency).await;
            println!("{name:>22} {workers:>8} {rate:>10.0} {:>8.2}", rate / *one.get_or_insert(rate));
        }
    }
    let rate = run(None, 0, PAGES, Duration::ZERO, 256).await;
    println!("{:>22} {:>8} {rate:>10.0}", "at once", "embedded");
}

/// Pages per second of one job, from request to end.
async fn run(server: Option<&str>, workers: usize, pages: usize, pace: Duration, concurrency: usize) -> f64 {
    let options = SiteOptions { urls: pages, trouble: false, all_sizes: false, pace };
    let site = Site::start(options).await.unwrap();
    let urls: Vec<String> = site.urls().collect();
    let directory = tempfile::tempdir().unwrap();
    let mut settings = vec![
        ("DATASONAR_FETCH_PER_HOST_CONCURRENCY", "1024".to_owned()),
        ("DATASONAR_FETCH_CONCURRENCY", concurrency.to_string()),
        ("RUST_LOG", "warn".to_owned()),
    ];
    if let Some(server) = server {
        settings.push(("DATASONAR_DATABASE_URL", database(server).await));
        settings.push(("DATASONAR_BLOB_URL", format!("file://{}", directory.path().join("blobs").display())));
        settings.push(("DATASONAR_ENCRYPTION_KEY", "7a".repeat(32)));
    }
    let start = async |roles: &str| {
        let with = settings.iter().cloned().chain([("DATASONAR_ROLES", roles.to_owned())]).collect::<Vec<_>>();
        let program = Path::new(env!("CARGO_BIN_EXE_datasonar"));
        Child::start_program(program, &directory.path().join("data"), &with).await.unwrap()
    };
    let first = start(if server.is_some() { "api,scheduler" } else { "api,scheduler,worker,dispatcher" }).await;
    let mut children = Vec::new();
    for _ in 0..workers {
        children.push(start("worker").await);
    }
    let api = Api::new(Server { server: first.url(), api_key: first.keys.clone().unwrap().0 }).unwrap();
    let begin = Instant::now();
    let queued =
        api.json(Method::POST, "/v1/scrape/batch/async", Some(&json!({"urls": urls, "format": "text"}))).await.unwrap();
    let job = api.wait(queued["job_id"].as_str().unwrap(), async |_| {}).await.unwrap();
    let elapsed = begin.elapsed().as_secs_f64();
    assert_eq!(job["progress"]["succeeded"], pages, "{job}");
    children.push(first);
    for mut child in children {
        child.stop().await.unwrap();
    }
    pages as f64 / elapsed
}

/// An empty database on the server; its URL.
async fn database(server: &str) -> String {
    let admin = format!("{server}/postgres");
    let work = move || {
        let mut client = postgres::Client::connect(&admin, postgres::NoTls).unwrap();
        client.batch_execute("DROP DATABASE IF EXISTS workers").unwrap();
        client.batch_execute("CREATE DATABASE workers").unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    format!("{server}/workers")
}
