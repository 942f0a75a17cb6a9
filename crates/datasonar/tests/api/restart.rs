//! Stopping and starting again: nothing is lost, nothing is done twice that was done.

use std::time::Duration;

use datasonar::cli::demo::site::{Site, SiteOptions};
use jiff::SignedDuration;
use serde_json::json;
use tokio::net::TcpStream;

use super::server::{Reply, Setup, clock, exchange, next, site, troubled_site, until};

const BATCH: &str = "/v1/scrape/batch/async";

#[tokio::test]
async fn a_job_goes_on_where_it_was() {
    const TASKS: usize = 10;
    let options = SiteOptions { urls: TASKS * 100, trouble: false, all_sizes: false, pace: Duration::from_millis(40) };
    let site = Site::start(options).await.unwrap();
    let (setup, receiver) = Setup::new().flag("fetch_concurrency", "16").receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let urls: Vec<String> = site.urls().collect();
    let body = json!({"urls": urls, "format": "text", "webhook_url": receiver.url()});
    let job = server.queue(BATCH, &body).await;
    let id = job.parse().unwrap();
    let finished = until("some tasks", async || {
        let finished = server.running.app.store.finished_tasks(id, 0, 100).await.unwrap();
        (finished.len() >= 2).then_some(finished)
    })
    .await;
    assert!(finished.len() < TASKS, "the job was over before the server was stopped");
    let server = server.restart().await;
    let ended = server.ended(&job).await;
    assert_eq!(ended["status"], "completed");
    assert_eq!(ended["progress"], json!({"total": 1_000, "succeeded": 1_000, "failed": 0}));
    let received = next(&receiver).await;
    received.verify(&server.secret().await).unwrap();
    let sent = std::fs::File::open(received.body()).unwrap();
    datasonar::cli::demo::check::verify_body(std::io::BufReader::new(sent), &job, &urls, |index| site.expect(index))
        .unwrap();
    server.delivery(&job, "delivered", 1).await;
    assert!(receiver.next_now().await.is_none());
    for task in finished {
        let first = task.seq as usize * 100;
        assert!((first..first + 100).all(|index| site.hits(index) == 1), "task {} was done twice", task.seq);
    }
    assert!((0..1_000).all(|index| (1..=2).contains(&site.hits(index))));
    server.finish().await;
}

#[tokio::test]
async fn a_delivery_is_still_owed_after_a_restart() {
    let (clock, site) = (clock(), site(2).await);
    let answer = |number| Reply::Status(if number == 0 { 500 } else { 200 });
    let (setup, receiver) = Setup::new().clock(&clock).receiver(answer).await;
    let server = setup.start().await;
    let urls: Vec<String> = site.urls().collect();
    let job = server.queue(BATCH, &json!({"urls": urls, "webhook_url": receiver.url()})).await;
    let first = next(&receiver).await;
    let before = server.delivery(&job, "pending", 1).await;
    let server = server.restart().await;
    assert_eq!(server.delivery(&job, "pending", 1).await, before);
    clock.advance(SignedDuration::from_secs(33));
    let second = next(&receiver).await;
    server.delivery(&job, "delivered", 2).await;
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(second.sha256, first.sha256);
    assert_eq!(second.header("x-datasonar-attempt"), "2");
    second.verify(&server.secret().await).unwrap();
    assert_eq!(site.hits(0), 1);
    server.finish().await;
}

#[tokio::test]
async fn requests_under_way_are_answered_and_no_others() {
    let (server, site) = (super::server::Server::start().await, troubled_site(20).await);
    let address = server.running.address;
    // This page hesitates.
    let slow = site.urls().nth(13).unwrap();
    let body = json!({"url": slow}).to_string();
    let request = format!(
        "POST /v1/scrape HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        server.production,
        body.len()
    );
    let waiting = tokio::spawn(async move { exchange(address, request.as_bytes()).await });
    until("the page to be asked for", async || (site.hits(13) == 1).then_some(())).await;
    server.finish().await;
    let answer = waiting.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn a_data_directory_has_one_server() {
    let server = super::server::Server::start().await;
    let flags = [
        ("data_dir", server.directory().join("data").to_string_lossy().into_owned()),
        ("listen", "127.0.0.1:0".to_owned()),
    ];
    let settings = datasonar::config::Sources::default().flags(flags).settings().unwrap();
    let second = datasonar::serve::start(settings, datasonar::serve::Seams::default()).await;
    let Err(error) = second else { panic!("a second server started") };
    assert!(matches!(error, datasonar::serve::StartError::InUse(_)), "{error}");
    server.finish().await;
}

/// With another key it could sign nothing.
#[tokio::test]
async fn a_server_with_another_key_than_its_store_does_not_start() {
    let server = Setup::new().flag("encryption_key", &"ab".repeat(32)).start().await;
    let refusal = server.refusal_with(|setup| setup.flag("encryption_key", &"cd".repeat(32))).await;
    assert!(
        refusal.contains("another ENCRYPTION_KEY") && refusal.contains("the key that its first one had"),
        "{refusal}"
    );
}
