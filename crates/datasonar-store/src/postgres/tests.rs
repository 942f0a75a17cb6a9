//! The suite on PostgreSQL, and what is PostgreSQL's alone.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::{sync::mpsc, task::JoinSet};

use super::*;
use crate::conformance::{Fixture, samples::*};
use crate::{JobFilter, JobStatus, Page, Store};

/// A URL of the server that `scripts/test` starts.
fn server() -> String {
    std::env::var("TEST_POSTGRES").expect("TEST_POSTGRES names a server: `scripts/postgres start FOLDER` starts one")
}

/// Runs a statement as an administrator.
async fn administer(sql: String) {
    let url = format!("{}/postgres", server());
    let work = move || postgres::Client::connect(&url, postgres::NoTls).unwrap().batch_execute(&sql).unwrap();
    tokio::task::spawn_blocking(work).await.unwrap();
}

/// An empty database: its name, and what connects to it.
async fn database() -> (String, Connector) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    administer(format!("CREATE DATABASE {name}")).await;
    let url = format!("{}/{name}", server());
    (name, Connector::new(&url, None).unwrap())
}

async fn fixture() -> Fixture {
    let (_, connector) = database().await;
    Fixture { store: PostgresStore::open(connector).await.unwrap(), keep: Box::new(()) }
}

mod suite {
    use super::fixture;
    crate::conformance!(fixture);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_make_one_schema() {
    let (_, connector) = database().await;
    let opening = (0..8).map(|_| tokio::spawn(PostgresStore::open(connector.clone()))).collect::<Vec<_>>();
    for opened in opening {
        opened.await.unwrap().unwrap().ping().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_never_share_a_task() {
    let (_, connector) = database().await;
    let mut stores: Vec<Tested> = Vec::new();
    for _ in 0..3 {
        stores.push(PostgresStore::open(connector.clone()).await.unwrap());
    }
    let scope = scope();
    let job = submit(&stores[0], batch(scope, 60)).await;
    let mut workers = JoinSet::new();
    for worker in 0..6 {
        let store = stores[worker % 3].clone();
        workers.spawn(async move {
            let mut seen = Vec::new();
            loop {
                let tasks = claim(&store, 2).await;
                if tasks.is_empty() {
                    return seen;
                }
                for task in tasks {
                    finish(&store, &task).await;
                    seen.push(task.lease.seq);
                }
            }
        });
    }
    let mut seen: Vec<u32> = workers.join_all().await.into_iter().flatten().collect();
    seen.sort();
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    assert_eq!(stores[1].job(scope, job).await.unwrap().status, JobStatus::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_lost_are_made_anew_and_no_step_is_lost_or_doubled() {
    let (name, connector) = database().await;
    let store: Tested = PostgresStore::open(connector).await.unwrap();
    let scope = scope();
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    let mut submitters = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        submitters.spawn(async move {
            for _ in 0..25 {
                submit(&store, batch(scope, 1)).await;
            }
        });
    }
    for _ in 0..10 {
        administer(cut.clone()).await;
    }
    submitters.join_all().await;
    administer(cut).await;
    let page = Page { limit: 500, before: None };
    assert_eq!(store.jobs(scope, JobFilter::default(), page).await.unwrap().len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_are_heard_by_the_others_through_a_cut_and_not_by_oneself() {
    let (name, connector) = database().await;
    let store = PostgresStore::open(connector.clone()).await.unwrap();
    let other = PostgresStore::open(connector).await.unwrap();
    let (hear, mut heard) = mpsc::unbounded_channel::<(&str, String)>();
    let (tell, told) = mpsc::unbounded_channel::<String>();
    let told = Arc::new(tokio::sync::Mutex::new(told));
    let next = move || {
        let told = Arc::clone(&told);
        async move { told.lock().await.recv().await.unwrap() }
    };
    let to = |who: &'static str| {
        let hear = hear.clone();
        move |notice: &str| drop(hear.send((who, notice.to_owned())))
    };
    let teller = tokio::spawn(store.notices().exchange(next, to("teller")));
    let listener = tokio::spawn(other.notices().exchange(std::future::pending, to("listener")));
    // A notice that nobody hears yet is lost, and so is one on a connection that is cut: they are told until one is heard.
    for round in 0..2 {
        let mut number = 0;
        loop {
            number += 1;
            tell.send(format!("{round}-{number}")).unwrap();
            let wait = tokio::time::timeout(std::time::Duration::from_millis(200), heard.recv());
            if let Ok(Some((who, notice))) = wait.await {
                assert_eq!(who, "listener", "{notice} was heard by its teller");
                if notice.starts_with(&round.to_string()) {
                    break;
                }
            }
        }
        administer(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")).await;
    }
    teller.abort();
    listener.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_is_the_servers() {
    let (_, connector) = database().await;
    let store = PostgresStore::open(connector).await.unwrap();
    let before = store.time().await.unwrap();
    assert!(before.as_second() > 1_700_000_000);
    assert!(store.time().await.unwrap() >= before);
}

#[test]
fn what_names_no_database_is_refused_without_telling_the_password() {
    for url in ["", "postgres://", "mysql://a:secret@b/c", "postgres://a:secret@b:port/c", "postgres:///only"] {
        let error = Connector::new(url, None).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
