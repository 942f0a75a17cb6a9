//! What finding pages costs: pages per second of a crawl, from request to end, next to a batch job of the same pages, whose
//! URLs are known from the start. And whether the crawl fetched exactly what it should have, each page once.
//!
//! Every run has a server of its own; the pages come from this process. `cargo bench --bench crawl -- 50000` chooses another
//! number of pages.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and ends with what is wrong")]

#[path = "../crates/datasonar/tests/support/generated.rs"]
mod generated;

use std::{collections::BTreeSet, path::Path};

use datasonar::cli::{
    client::{Api, Server},
    demo::child::Child,
};
use generated::{Generated, Shape};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

const ROUNDS: usize = 3;
const PAGES: usize = 20_000;

#[tokio::main]
async fn main() {
    let pages = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(PAGES);
    let shape = Shape { text: 4_000, ..Shape::plain(pages) };
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let batch = batch(&Generated::start(shape).await).await;
        let (crawl, peak) = crawl(&Generated::start(shape).await).await;
        println!(
            "round {round}: batch {batch:.0} pages/s, crawl {crawl:.0} pages/s, ratio {:.2}, peak memory {peak} MB",
            crawl / batch
        );
        ratios.push(crawl / batch);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio of {ROUNDS} rounds of {pages} pages: {:.2}", ratios[ROUNDS / 2]);
}

/// Pages per second of one job, its server, and the job at its end.
async fn run(directory: &Path, path: &str, request: &Value, pages: usize) -> (f64, Child, Api, Value) {
    // One host: what holds a job up is to be the work, not politeness.
    let settings = vec![("DATASONAR_FETCH_PER_HOST_CONCURRENCY", "256".to_owned()), ("RUST_LOG", "warn".to_owned())];
    let program = Path::new(env!("CARGO_BIN_EXE_datasonar"));
    let child = Child::start_program(program, directory, &settings).await.unwrap();
    let api = Api::new(Server { server: child.url(), api_key: child.keys.clone().unwrap().0 }).unwrap();
    let begin = Instant::now();
    let queued = api.json(Method::POST, path, Some(request)).await.unwrap();
    let job = api.wait(queued["job_id"].as_str().unwrap(), async |_| {}).await.unwrap();
    let elapsed = begin.elapsed().as_secs_f64();
    assert_eq!(job["progress"]["succeeded"], pages, "{job}");
    (pages as f64 / elapsed, child, api, job)
}

async fn batch(site: &Generated) -> f64 {
    let urls: Vec<String> = (0..site.shape.pages).map(|page| site.page_url(page)).collect();
    let directory = tempfile::tempdir().unwrap();
    let request = json!({ "urls": urls });
    let (rate, mut child, ..) = run(directory.path(), "/v1/scrape/batch/async", &request, urls.len()).await;
    child.stop().await.unwrap();
    rate
}

async fn crawl(site: &Generated) -> (f64, u64) {
    let expected: BTreeSet<usize> = site.shape.reachable(true, true, None).into_keys().collect();
    let request = json!({"url": site.url(), "max_pages": 1_000_000});
    let directory = tempfile::tempdir().unwrap();
    let (rate, mut child, api, job) = run(directory.path(), "/v1/crawl", &request, expected.len()).await;
    let mut text = Vec::new();
    let take = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        Ok(())
    };
    api.results(job["job_id"].as_str().unwrap(), take).await.unwrap();
    let fetched: BTreeSet<usize> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).unwrap())
        .map(|result| site.page_of(result["url"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(fetched, expected, "not what should have been fetched");
    assert!(expected.iter().all(|page| site.hits(*page) == 1), "a page was fetched twice");
    let peak = child.peak_memory().unwrap_or(0) / 1_000_000;
    child.stop().await.unwrap();
    (rate, peak)
}
