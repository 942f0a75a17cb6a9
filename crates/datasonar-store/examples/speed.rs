//! Prints how fast a store coordinates: the embedded one, on a file in the directory given (or a temporary one), or PostgreSQL, in an
//! database whose URL is given, where what is Datasonar's is deleted first.
//! `cargo run --release -p datasonar-store --features conformance --example speed [directory | postgres://…]`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datasonar_store::conformance::samples::*;
use datasonar_store::postgres::{Connector, PostgresStore};
use datasonar_store::sqlite::{SqliteStore, Threading};
use datasonar_store::{
    Attempt, ClaimedDelivery, DeliveryStatus, FinishTask, JobId, Lane, NewJob, NewTask, SegmentData, Verdict,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

const CALLERS: usize = 64;

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("datasonar-speed"), PathBuf::from);
    if !is_url(&folder) {
        std::fs::create_dir_all(&folder).unwrap();
    }
    for kind in ["blob", "inline 8 KiB"] {
        cycles(&folder, kind).await;
    }
    scrapes(&folder).await;
    deliveries(&folder).await;
    crowd(&folder).await;
    if !is_url(&folder) {
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

fn is_url(place: &Path) -> bool {
    place.to_str().is_some_and(|place| place.starts_with("postgres"))
}

async fn fresh(folder: &Path) -> Tested {
    if is_url(folder) {
        let url = folder.to_str().unwrap().to_owned();
        let empty = move || {
            let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
            client.batch_execute("DROP SCHEMA IF EXISTS datasonar CASCADE").unwrap();
        };
        tokio::task::spawn_blocking(empty).await.unwrap();
        return PostgresStore::open(Connector::new(folder.to_str().unwrap(), None).unwrap()).await.unwrap();
    }
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(folder.join(format!("store.db{suffix}"))).ok();
    }
    SqliteStore::open(&folder.join("store.db"), Threading::Pool).await.unwrap()
}

fn large(tasks: u64) -> NewJob {
    let task = |seq: u64| NewTask { input_offset: seq * 2500, input_bytes: 2500, urls: 100 };
    with_tasks(batch(scope(), 0), (0..tasks).map(task))
}

fn report(what: &str, count: usize, elapsed: Duration) {
    println!("{what}: {count} in {elapsed:.2?}, {:.0}/s", count as f64 / elapsed.as_secs_f64());
}

/// A job of 500,000 URLs, its tasks claimed one by one and finished by 64 callers.
async fn cycles(folder: &Path, kind: &'static str) {
    let store = fresh(folder).await;
    let started = Instant::now();
    submit(&store, large(5000)).await;
    println!("submit of 5,000 tasks: {:.1?}", started.elapsed());
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            let mut done = 0;
            while let Some(task) = claim(&store, 1).await.pop() {
                let mut finish = outcome(&task);
                if kind != "blob" {
                    finish.segments[0].data = SegmentData::Inline(vec![7; 8192]);
                }
                store.finish_task(FinishTask { ..finish }).await.unwrap();
                done += 1;
            }
            done
        });
    }
    let done = callers.join_all().await.into_iter().sum();
    report(&format!("claim and finish of tasks of 100 URLs, {CALLERS} callers, {kind}"), done, started.elapsed());
}

/// Whole single scrapes: submit, claim, finish, look at.
async fn scrapes(folder: &Path) {
    let store = fresh(folder).await;
    let scope = scope();
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            for _ in 0..50 {
                let id = submit(&store, scrape(scope)).await;
                let task = claim(&store, 1).await.remove(0);
                finish(&store, &task).await;
                store.job(scope, id).await.unwrap();
            }
            50
        });
    }
    report(
        "whole scrapes (submit, claim, finish, read)",
        callers.join_all().await.into_iter().sum(),
        started.elapsed(),
    );
}

/// Deliveries of single scrapes to one host: claimed by one caller, 64 at a time, their attempts recorded by 64.
async fn deliveries(folder: &Path) {
    const DELIVERIES: usize = 40_000;
    let store = fresh(folder).await;
    let scope = scope();
    store.rotate_secret(secret(scope, at(0)), seconds(0)).await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            for _ in 0..DELIVERIES / CALLERS {
                submit(&store, scrape(scope)).await;
                let task = claim(&store, 1).await.remove(0);
                finish(&store, &task).await;
            }
        });
    }
    callers.join_all().await;
    let started = Instant::now();
    let mut looked = Duration::ZERO;
    for _ in 0..100 {
        let asked = Instant::now();
        assert_eq!(store.due_endpoints(at(20), 64, 0).await.unwrap().len(), 1);
        looked += asked.elapsed();
    }
    report("looks for due hosts beside them", 100, looked);
    let (send, receive) = tokio::sync::mpsc::channel::<ClaimedDelivery>(2 * CALLERS);
    let receive = Arc::new(tokio::sync::Mutex::new(receive));
    let mut finishers = JoinSet::new();
    let begun = started.elapsed();
    for _ in 0..CALLERS {
        let (store, receive) = (Arc::clone(&store), Arc::clone(&receive));
        finishers.spawn(async move {
            let mut done = 0;
            loop {
                let Some(claimed) = receive.lock().await.recv().await else { return done };
                let made = Attempt { response_body: vec![7; 200], ..attempt(&claimed, at(20), None) };
                let verdict = Verdict { status: DeliveryStatus::Delivered, next_attempt_at: None };
                store.finish_attempt(claimed.lease, made, verdict, at(20)).await.unwrap();
                done += 1;
            }
        });
    }
    loop {
        let claimed = claim_shares(&store, vec![share(scope, "example.com", Lane::First, 64)], at(20)).await;
        if claimed.is_empty() {
            break;
        }
        for claimed in claimed {
            send.send(claimed).await.unwrap();
        }
    }
    drop(send);
    let done = finishers.join_all().await.into_iter().sum();
    report("deliveries claimed and recorded", done, started.elapsed() - begun);
    assert_eq!(done, DELIVERIES / CALLERS * CALLERS);
}

/// Claims beside 100,000 open jobs and one of 50,000 tasks.
async fn crowd(folder: &Path) {
    let store = fresh(folder).await;
    let started = Instant::now();
    submit(&store, large(50_000)).await;
    println!("submit of 50,000 tasks: {:.1?}", started.elapsed());
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            for _ in 0..100_000 / CALLERS {
                submit(&store, scrape(scope())).await;
            }
        });
    }
    callers.join_all().await;
    report("open jobs of as many accounts", 100_000, started.elapsed());
    let started = Instant::now();
    let mut jobs: Vec<JobId> = Vec::new();
    for _ in 0..200 {
        jobs.extend(claim(&store, 32).await.iter().map(|task| task.lease.job));
    }
    report("claims of 32 tasks beside them, one caller", 200, started.elapsed());
    assert_eq!(jobs.len(), 6400);
    let started = Instant::now();
    println!("{:?} in {:.1?}", store.totals().await.unwrap(), started.elapsed());
}
