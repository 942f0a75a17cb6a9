//! What machines, disks, databases and people do to servers, done to real processes: killed, stopped, cut off from their database and their
//! storage, out of disk, under a clock that is set. Whatever happens, every job that was accepted is there, with one result for each URL and one
//! delivery, whose bytes are the same at each attempt.
//!
//! The sizes are those of every day; `FAULT_URLS`, `FAULT_OUTAGE` and `FAULT_TROUBLE` (seconds) ask for others: `just faults` runs large ones, ten times in a row.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

mod cluster;
#[path = "../support/poison.rs"]
mod poison;
#[path = "../support/s3.rs"]
#[expect(dead_code, reason = "the tests of blobs use the rest")]
mod s3;

use std::time::Duration;

use cluster::{Cluster, Database, seconds, size, until};
use poison::{GIVEN_UP, PoisonSite};
use s3::{S3, Trouble};

const PACE: Duration = Duration::from_millis(10);
const LARGE: [&str; 7] = ["api", "worker", "worker", "worker", "dispatcher", "dispatcher", "scheduler"];
const SMALL: [&str; 4] = ["api,scheduler", "worker", "worker", "dispatcher"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_process_is_killed_at_any_time() {
    let database = Database::start("killed").await;
    let urls = size("FAULT_URLS", 4_000);
    // So slow that all are killed before it is over: the three workers take half a minute for it, or nearly two for 50,000.
    let pace = if urls < 20_000 { 40 * PACE } else { 10 * PACE };
    let mut cluster = Cluster::start(urls, pace, Some(&database), &LARGE, Vec::new()).await;
    let job = cluster.batch("text").await;
    // The order is as good as any: every process, some of them twice, the one that answers calls among them.
    for (kill, place) in [1, 4, 0, 2, 6, 5, 3, 0, 1, 4].into_iter().enumerate() {
        cluster.progress(&job, 3 + 5 * kill).await;
        cluster.scrape(kill).await;
        eprintln!("kill {kill} at {:?} of {urls}", cluster.done(&job).await);
        cluster.replace(place).await;
    }
    cluster.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_stands_still_for_longer_than_its_leases() {
    let database = Database::start("stopped").await;
    let mut cluster = Cluster::start(2_000, PACE, Some(&database), &SMALL, Vec::new()).await;
    let job = cluster.batch("text").await;
    cluster.progress(&job, 20).await;
    cluster.signal(1, "-STOP").await;
    // The other takes over what it holds, and ends the job.
    cluster.progress(&job, 100).await;
    cluster.signal(1, "-CONT").await;
    // It has lost its leases and works on.
    cluster.processes[2].1.stop().await.unwrap();
    cluster.processes.remove(2);
    let after = cluster.scrape(7).await;
    until("a page from it", async || cluster.done(&after).await.filter(|done| *done == 1)).await;
    cluster.verify().await;
}

/// The processes that a page ends are some of several, whose deaths show by their leases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_ends_one_worker_after_the_other_is_given_up() {
    let database = Database::start("poison").await;
    let mut cluster = Cluster::start(2_000, PACE, Some(&database), &SMALL, Vec::new()).await;
    let mut site = PoisonSite::start().await;
    let urls: Vec<String> = (0..30).map(|page| site.url(&format!("/page/{page}"))).collect();
    let urls = [&urls[..], &[site.url("/poison")]].concat();
    let request = serde_json::json!({"urls": urls, "format": "text"});
    let batch = cluster.api().json(http::Method::POST, "/v1/scrape/batch/async", Some(&request)).await.unwrap();
    let poisoned = batch["job_id"].as_str().unwrap().to_owned();
    let other = cluster.batch("text").await;
    let mut deaths = 0;
    let results = loop {
        tokio::select! {
            agent = site.next() => {
                let place = cluster.agents.iter().position(|known| *known == agent);
                if let Some(place) = place {
                    deaths += 1;
                    eprintln!("death {deaths}, with {:?} of the other job done", cluster.done(&other).await);
                    cluster.replace(place).await;
                }
            }
            _ = until("the job's end", async || cluster.done(&poisoned).await.filter(|done| *done == 31)) => {
                let mut lines = Vec::new();
                let read = |bytes: &[u8]| { lines.extend_from_slice(bytes); Ok(()) };
                cluster.api().results(&poisoned, read).await.unwrap();
                break String::from_utf8(lines).unwrap();
            }
        }
    };
    assert!((2..=4).contains(&deaths), "{deaths} deaths");
    for (line, url) in results.lines().zip(&urls) {
        let result: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(result["url"], **url);
        let is_poison = url.contains("poison");
        assert_eq!(result["status"] == "success", !is_poison, "{result}");
        assert_eq!(result["error"]["message"] == GIVEN_UP, is_poison, "{result}");
    }
    assert!(site.hits("/page/7") <= 4);
    cluster.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_goes_away_and_crashes() {
    let database = Database::start("down").await;
    let mut cluster = Cluster::start(size("FAULT_URLS", 4_000), PACE, Some(&database), &SMALL, Vec::new()).await;
    let job = cluster.batch("text").await;
    cluster.progress(&job, 10).await;
    database.tell("down").await;
    let ready = async |cluster: &Cluster| {
        let api = cluster.api();
        let answer = api.call(http::Method::GET, "/readyz", http::HeaderMap::new(), None).await.ok()?;
        Some(answer.into_parts().0.status.as_u16())
    };
    until("it says that it is not ready", async || ready(&cluster).await.filter(|status| *status == 503)).await;
    tokio::time::sleep(seconds("FAULT_OUTAGE", 5)).await;
    database.tell("up").await;
    until("it is ready again", async || ready(&cluster).await.filter(|status| *status == 200)).await;
    for crash in 1..=3 {
        // While calls are being answered.
        cluster.scrape(crash).await;
        cluster.progress(&job, 10 + 20 * crash).await;
        database.tell("crash").await;
        database.tell("up").await;
        cluster.scrape(100 + crash).await;
    }
    cluster.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_storage_fails_every_other_call() {
    let (database, s3) = (Database::start("storage").await, S3::start().await);
    let mut blobs = vec![("DATASONAR_BLOB_URL", "s3://blobs/faults".to_owned())];
    blobs.extend(s3.variables());
    let mut cluster = Cluster::start(1_500, PACE, Some(&database), &SMALL, blobs).await;
    s3.trouble(Trouble::Share(50));
    let job = cluster.batch("raw_html").await;
    tokio::time::sleep(seconds("FAULT_TROUBLE", 10)).await;
    s3.trouble(Trouble::Nothing);
    let (calls, failed) = s3.calls();
    assert!(failed > 0, "none of {calls} calls failed");
    cluster.progress(&job, 100).await;
    cluster.verify().await;
}

/// A small file system in memory, which only root can make.
struct SmallDisk(String);

impl SmallDisk {
    async fn mount(at: &std::path::Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let at = at.display().to_string();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs", &at]);
        let mounted = tokio::task::spawn_blocking(move || mount.output().unwrap()).await.unwrap();
        mounted.status.success().then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount").args(["--lazy", &self.0]).output().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    let Some(_mounted) = SmallDisk::mount(&disk).await else {
        eprintln!("not tried: only root can make a small file system");
        return;
    };
    let everything = ["api,worker,dispatcher,scheduler"];
    let data = vec![("DATASONAR_DATA_DIR", disk.join("data").display().to_string())];
    let mut cluster = Cluster::start(300, PACE, None, &everything, data).await;
    let job = cluster.batch("raw_html").await;
    cluster.progress(&job, 10).await;
    let ballast = disk.join("ballast");
    let fill = ballast.clone();
    tokio::task::spawn_blocking(move || {
        use std::io::Write;
        let mut file = std::fs::File::create(fill).unwrap();
        while file.write_all(&[0; 64 * 1024]).is_ok() {}
        while file.write_all(&[0; 512]).is_ok() {}
    })
    .await
    .unwrap();
    let ready = async |cluster: &Cluster| {
        let answer = cluster.api().call(http::Method::GET, "/readyz", http::HeaderMap::new(), None).await.ok()?;
        Some(answer.into_parts().0.status.as_u16())
    };
    until("it says that it is not ready", async || ready(&cluster).await.filter(|status| *status == 503)).await;
    std::fs::remove_file(ballast).unwrap();
    until("it is ready again", async || ready(&cluster).await.filter(|status| *status == 200)).await;
    cluster.scrape(5).await;
    cluster.verify().await;
}

/// Debian's library that shows a process another time.
const FAKE_TIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_is_set_an_hour_forward_and_back() {
    if !std::path::Path::new(FAKE_TIME).exists() {
        eprintln!("not tried: Debian's libfaketime is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let shift = folder.path().join("shift");
    let set = |by: &str| std::fs::write(&shift, by).unwrap();
    set("+0");
    let faked = vec![
        ("LD_PRELOAD", FAKE_TIME.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", shift.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let mut cluster = Cluster::start(1_500, PACE, None, &["api,worker,dispatcher,scheduler"], faked).await;
    let job = cluster.batch("text").await;
    for (hundredths, by) in [(20, "+1h"), (50, "-1h"), (80, "+0")] {
        cluster.progress(&job, hundredths).await;
        set(by);
    }
    cluster.progress(&job, 100).await;
    let twice = (0..1_500).filter(|index| cluster.site.hits(*index) > 1).count();
    assert_eq!(twice, 0, "pages were fetched again: leases were taken from the living");
    cluster.variables.retain(|(name, _)| *name != "LD_PRELOAD");
    cluster.verify().await;
}
