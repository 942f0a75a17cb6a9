//! `datasonar admin` on the embedded store, beside its server.

use std::{path::Path, process::Output};

use datasonar::cli::demo::site::{Site, SiteOptions};
use serde_json::{Value, json};
use tokio::process::Command;

use super::server::{Reply, Setup, next};

async fn admin(args: &[&str], data_dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_datasonar"));
    command.arg("admin").args(args).arg("--data-dir").arg(data_dir).kill_on_drop(true).output().await.unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn the_check_finds_nothing_or_what_is_missing() {
    let site = Site::start(SiteOptions { urls: 300, trouble: true, ..SiteOptions::default() }).await.unwrap();
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let data = server.directory().join("data");
    let urls: Vec<String> = site.urls().collect();
    let request = json!({"urls": urls, "format": "raw_html", "webhook_url": receiver.url()});
    let job = server.queue("/v1/scrape/batch/async", &request).await;
    next(&receiver).await;
    server.delivery(&job, "delivered", 1).await;
    server.queue("/v1/scrape/async", &json!({"url": urls[0]})).await;
    let crawl = server.queue("/v1/crawl", &json!({"url": urls[1], "max_pages": 20})).await;
    server.ended(&crawl).await;

    let sound = admin(&["check", "--json", "--deep"], &data).await;
    assert!(sound.status.success(), "{sound:?}");
    let told = lines(&sound);
    assert!(told.len() == 1 && told[0]["jobs"] == 3 && told[0]["violations"] == 0, "{told:?}");
    assert!(told[0]["blobs"].as_u64() > Some(1), "{told:?}");
    let again = admin(&["migrate", "--json"], &data).await;
    assert_eq!(lines(&again)[0]["from"], lines(&again)[0]["to"]);

    let mut segments = std::fs::read_dir(data.join(format!("blobs/jobs/{job}/segments"))).unwrap();
    std::fs::remove_file(segments.next().unwrap().unwrap().path()).unwrap();
    let found = admin(&["check", "--json"], &data).await;
    assert_eq!(found.status.code(), Some(1));
    let told = lines(&found);
    assert_eq!(told[0]["job_id"], job.as_str());
    assert!(told.len() == 2 && told[0]["violation"].as_str().unwrap().contains("is missing"), "{told:?}");
    assert_eq!(told[1]["violations"], 1);
    server.finish().await;
}

#[tokio::test]
async fn a_store_is_made_by_migrating_and_a_missing_one_is_not_checked() {
    let directory = tempfile::tempdir().unwrap();
    let missing = admin(&["check"], directory.path()).await;
    let told = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && told.contains("there is no store"), "{told}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "looking makes nothing");
    let made = admin(&["migrate", "--json"], directory.path()).await;
    assert!(made.status.success() && lines(&made)[0]["from"] == 0, "{made:?}");
    let empty = admin(&["check", "--json"], directory.path()).await;
    assert_eq!(lines(&empty), [json!({"jobs": 0, "blobs": 0, "violations": 0})]);
}
