//! What is kept, for how long, and what is deleted then.

use std::{fs, path::Path};

use datasonar::{
    blobs::input_key,
    cli::demo::site::{Site, SiteOptions},
    clock::{Clock, Ids, ManualClock},
};
use datasonar_store::JobId;
use jiff::SignedDuration;
use serde_json::json;

use super::s3::S3;
use super::server::{Reply, Server, Setup, clock, next, site, until};

const BATCH: &str = "/v1/scrape/batch/async";

/// How many files lie below a directory.
fn files(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

async fn status(server: &Server, path: &str) -> u16 {
    server.get(path).await.status.as_u16()
}

#[tokio::test]
async fn results_go_after_a_week_and_logs_after_a_month() {
    let clock = clock();
    let site = Site::start(SiteOptions { urls: 100, trouble: false, ..SiteOptions::default() }).await.unwrap();
    let (setup, receiver) = Setup::new().clock(&clock).receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let urls: Vec<String> = site.urls().collect();
    let request = json!({"urls": urls, "format": "raw_html", "webhook_url": receiver.url()});
    let job = server.queue(BATCH, &request).await;
    next(&receiver).await;
    let delivery = server.delivery(&job, "delivered", 1).await;
    let delivery = format!("/v1/deliveries/{}", delivery["id"].as_str().unwrap());
    let (job, blobs) = (format!("/v1/jobs/{job}"), server.directory().join("data/blobs"));
    assert!(files(&blobs) > 0, "such results are blobs");

    clock.advance(SignedDuration::from_hours(7 * 24 - 1));
    assert_eq!(status(&server, &format!("{delivery}/payload")).await, 200);
    clock.advance(SignedDuration::from_hours(2));
    until("the blobs to go", async || (files(&blobs) == 0).then_some(())).await;
    assert_eq!(status(&server, &format!("{delivery}/payload")).await, 410);
    assert_eq!(status(&server, &job).await, 200);
    assert_eq!(status(&server, &delivery).await, 200);
    assert_eq!(status(&server, &format!("{job}/results")).await, 410);

    clock.advance(SignedDuration::from_hours(23 * 24));
    until("the log to go", async || (status(&server, &delivery).await == 404).then_some(())).await;
    assert_eq!(status(&server, &job).await, 404);
    server.finish().await;
}

#[tokio::test]
async fn what_is_still_owed_keeps_its_result() {
    let (clock, site) = (clock(), site(1).await);
    let is_up = |number| Reply::Status(if number < 6 { 503 } else { 200 });
    let (setup, receiver) = Setup::new().clock(&clock).flag("result_retention", "1h").receiver(is_up).await;
    let server = setup.start().await;
    let urls: Vec<String> = site.urls().collect();
    let job = server.queue(BATCH, &json!({"urls": urls, "webhook_url": receiver.url()})).await;
    for attempt in 1..=6 {
        next(&receiver).await;
        let status = if attempt < 5 { "pending" } else { "failed" };
        let delivery = server.delivery(&job, status, attempt).await;
        let due: jiff::Timestamp = delivery["next_attempt_at"].as_str().unwrap().parse().unwrap();
        clock.advance(due.duration_since(clock.now()));
    }
    next(&receiver).await;
    server.delivery(&job, "delivered", 7).await;
    clock.advance(SignedDuration::from_mins(2));
    let results = format!("/v1/jobs/{job}/results");
    until("the result to go", async || (status(&server, &results).await == 410).then_some(())).await;
    server.finish().await;
}

#[tokio::test]
async fn orphaned_blobs_are_swept_when_they_are_old() {
    let clock = clock();
    let server = Setup::new().clock(&clock).start().await;
    let orphan = |hours: i64| {
        let then = ManualClock::new(clock.now() - SignedDuration::from_hours(hours));
        let id = Ids::random(std::sync::Arc::new(then)).uuid();
        let directory = server.directory().join(format!("data/blobs/jobs/{id}"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("input"), "https://example.com/").unwrap();
        directory
    };
    let (old, young) = (orphan(30), orphan(2));
    clock.advance(SignedDuration::from_mins(61));
    until("the sweep", async || (files(&old) == 0).then_some(())).await;
    assert_eq!(files(&young), 1);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_bucket_results_expire_and_old_orphans_are_swept() {
    let (clock, s3) = (clock(), S3::start().await);
    let site = Site::start(SiteOptions { urls: 100, trouble: false, ..SiteOptions::default() }).await.unwrap();
    let setup = Setup::new().clock(&clock).flag("blob_url", "s3://blobs/production");
    let setup = s3.variables().iter().fold(setup, |setup, (name, value)| setup.variable(name, value));
    let server = setup.start().await;
    assert!(!server.directory().join("data/blobs").exists(), "no directory is made that nobody uses");
    let orphan = |hours: i64| {
        let then = ManualClock::new(clock.now() - SignedDuration::from_hours(hours));
        let job = JobId(Ids::random(std::sync::Arc::new(then)).uuid());
        let blobs = server.running.app.blobs.clone();
        async move { blobs.put(&input_key(job), b"https://example.com/".to_vec()).await.map(|()| job).unwrap() }
    };
    let folder = |job: &dyn std::fmt::Display| format!("production/jobs/{job}");
    let (old, young) = (orphan(30).await, orphan(2).await);
    let request = json!({"urls": site.urls().collect::<Vec<_>>(), "format": "raw_html"});
    let job = server.queue(BATCH, &request).await;
    server.ended(&job).await;
    assert!(!s3.files(&folder(&job)).is_empty(), "such results are blobs");

    clock.advance(SignedDuration::from_mins(61));
    until("the sweep", async || s3.files(&folder(&old)).is_empty().then_some(())).await;
    assert_eq!(s3.files(&folder(&young)).len(), 1);
    assert!(!s3.files(&folder(&job)).is_empty(), "a job's blobs are no orphans");
    assert_eq!(status(&server, &format!("/v1/jobs/{job}/results")).await, 200);
    clock.advance(SignedDuration::from_hours(7 * 24));
    until("the blobs to go", async || s3.files(&folder(&job)).is_empty().then_some(())).await;
    server.finish().await;
}
