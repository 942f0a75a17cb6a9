//! The suite on SQLite, and what is SQLite's alone: durability, group commit, speed.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::*;
use crate::Store;
use crate::conformance::{Fixture, samples::*};
use crate::sql::params;
use crate::{ClaimDeliveries, ClaimTasks, JobStatus, Lane, NewJob, NewReplay, NewTask, Selection, StoreError};

async fn on_file(threading: Threading) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store.db"), threading).await.unwrap();
    Fixture { store, keep: Box::new(folder) }
}

async fn pool() -> Fixture {
    on_file(Threading::Pool).await
}

async fn inline() -> Fixture {
    on_file(Threading::Inline).await
}

async fn memory() -> Fixture {
    Fixture { store: SqliteStore::in_memory(Threading::Inline).await.unwrap(), keep: Box::new(()) }
}

mod on_pool {
    use super::pool;
    crate::conformance!(pool);
}

mod on_caller {
    use super::inline;
    crate::conformance!(inline);
}

mod in_memory {
    use super::memory;
    crate::conformance!(memory);
}

async fn open(path: &Path) -> Arc<SqliteStore> {
    SqliteStore::open(path, Threading::Pool).await.unwrap()
}

/// Brings a store to where it has some of everything; answers what was told of it.
async fn fill(store: &Tested) -> (crate::Scope, Vec<String>) {
    let scope = scope();
    store.rotate_secret(secret(scope, at(0)), seconds(10)).await.unwrap();
    ended(store, scope).await;
    fail(store, &claim_delivery(store, at(10)).await, at(10), crate::DeliveryStatus::Pending, Some(at(40))).await;
    submit(store, keyed(batch(scope, 3), "key", 1)).await;
    let tasks = claim(store, 2).await;
    finish(store, &tasks[0]).await;
    (scope, told(store, scope).await)
}

async fn told(store: &Tested, scope: crate::Scope) -> Vec<String> {
    let page = crate::Page { limit: ALL, before: None };
    let jobs = store.jobs(scope, crate::JobFilter::default(), page).await.unwrap();
    let mut told = vec![
        format!("{:?}", store.totals().await.unwrap()),
        format!("{:?}", store.secrets(scope, at(0)).await.unwrap()),
        format!("{:?}", store.usage(scope, at(0)).await.unwrap()),
    ];
    for job in jobs {
        told.push(format!("{job:?}"));
        told.push(format!("{:?}", store.finished_tasks(job.id, 0, ALL).await.unwrap()));
        if let Some((delivery, _)) = job.delivery {
            told.push(format!("{:?}", store.delivery(scope, delivery).await.unwrap()));
            told.push(format!("{:?}", store.attempts(scope, delivery).await.unwrap()));
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_and_opening_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let first = open(&path).await;
    let store: Tested = first.clone();
    let (scope, before) = fill(&store).await;
    first.close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.totals().await, Err(StoreError::Unavailable(_))));
    first.close().await;
    assert!(!folder.path().join("store.db-wal").exists(), "the log is folded in");
    let store: Tested = open(&path).await;
    assert_eq!(told(&store, scope).await, before);
    let repeated = store.submit_job(keyed(batch(scope, 3), "key", 1)).await.unwrap();
    assert!(matches!(repeated, crate::Submission::Repeated { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_in_the_files_before_closing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
    let store: Tested = open(&path).await;
    let (scope, before) = fill(&store).await;
    // What a process killed here leaves behind: the files as they are, without the shared memory.
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(folder.path().join("store.db-wal"), folder.path().join("copy.db-wal")).unwrap();
    let survivor: Tested = open(&copy).await;
    assert_eq!(told(&survivor, scope).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_see_each_others_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (one, other): (Tested, Tested) = (open(&path).await, open(&path).await);
    let scope = scope();
    let mut submitters = JoinSet::new();
    for number in 0..40 {
        let store = if number % 2 == 0 { one.clone() } else { other.clone() };
        submitters.spawn(async move { submit(&store, batch(scope, 2)).await });
    }
    submitters.join_all().await;
    let mut given = places(&claim(&one, 40).await);
    given.extend(places(&claim(&other, ALL).await));
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 80);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_fails_does_not_harm_its_neighbours() {
    for threading in [Threading::Pool, Threading::Inline] {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.db"), threading).await.unwrap();
        let insert = |value: i64| {
            move |c: &sql::Connection| {
                c.prepare("INSERT INTO meta (name, value) VALUES (?, ?)")
                    .execute(params![format!("n{value}"), value])?;
                match value % 3 {
                    1 => Err(StoreError::NotFound),
                    2 if value % 2 == 0 => panic!("a step that panics"),
                    _ => Ok(value),
                }
            }
        };
        // Holds the writer up, so that the others gather behind it into one group.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let mut steps = JoinSet::new();
        let holding = store.clone();
        steps.spawn(async move {
            // It waits for as long as it takes: if it gave up, the others would not gather.
            holding.write(move |_| wait.recv().map(|()| -1).map_err(|_| StoreError::NotFound)).await
        });
        while store.writer.waiting() > 0 || !store.writer.is_led() {
            tokio::task::yield_now().await;
        }
        for value in 0..30 {
            let store = store.clone();
            steps.spawn(async move { store.write(insert(value)).await });
        }
        while store.writer.waiting() < 30 {
            tokio::task::yield_now().await;
        }
        go.send(()).unwrap();
        let mut done: Vec<_> = steps.join_all().await.into_iter().filter_map(Result::ok).collect();
        done.sort();
        let fine: Vec<_> = (0..30).filter(|value| value % 3 == 0 || value % 6 == 5).collect();
        assert_eq!(done[1..], fine);
        let kept = store.read(|c| {
            let select = c.prepare("SELECT value FROM meta WHERE name LIKE 'n%' ORDER BY value");
            Ok(select.query_map(params![], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(kept.await.unwrap(), fine);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_the_step_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store.db")).await;
    let limit = |pages: u32| {
        store.writer.writer().pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    };
    let tested: Tested = store.clone();
    let large = |scope| NewJob { options: "x".repeat(1_000_000), ..batch(scope, 1) };
    let scope = scope();
    let kept = submit(&tested, batch(scope, 1)).await;
    limit(100);
    let mut refused = JoinSet::new();
    for _ in 0..4 {
        let (tested, job) = (tested.clone(), large(scope));
        refused.spawn(async move { tested.submit_job(job).await });
    }
    for result in refused.join_all().await {
        assert!(matches!(&result, Err(error) if error.is_transient()), "{result:?}");
    }
    assert_eq!(tested.job(scope, kept).await.unwrap().status, JobStatus::Pending);
    limit(1_000_000);
    submit(&tested, large(scope)).await;
}

#[tokio::test]
async fn inline_steps_are_done_when_first_asked() {
    let fixture = inline().await;
    let mut steps = std::pin::pin!(fill(&fixture.store));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(steps.as_mut().poll(&mut context).is_ready(), "nothing waits for another thread");
}

/// What a step costs, counted in steps of SQLite's machine and not in time, so that it cannot flicker.
async fn cost<T>(store: &SqliteStore, step: impl Future<Output = crate::Result<T>>) -> u64 {
    let steps = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    let count = move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        false
    };
    store.writer.writer().progress_handler(1, Some(count)).unwrap();
    step.await.unwrap();
    store.writer.writer().progress_handler(1, None::<fn() -> bool>).unwrap();
    steps.load(std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_costs_the_same_beside_many_jobs() {
    let store = SqliteStore::in_memory(Threading::Inline).await.unwrap();
    let tested: Tested = store.clone();
    let cost = async || cost(&store, store.claim_tasks(ClaimTasks { per_job: 4, ..claiming(8) })).await;
    let scope = scope();
    for _ in 0..30 {
        submit(&tested, batch(scope, 10)).await;
    }
    cost().await;
    let few = cost().await;
    let task = |seq: u64| NewTask { input_offset: seq, input_bytes: 1, urls: 10 };
    submit(&tested, with_tasks(batch(self::scope(), 0), (0..5000).map(task))).await;
    for task in claim(&tested, ALL).await {
        if task.lease.seq < 4900 {
            finish(&tested, &task).await;
        } else {
            tested.release_tasks(vec![task.lease]).await.unwrap();
        }
    }
    for _ in 0..2000 {
        submit(&tested, batch(scope, 1)).await;
    }
    let many = cost().await;
    assert!(many < few * 2, "{few} steps beside 30 jobs, {many} beside 2,000 and at the end of 5,000 tasks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dispatching_costs_the_same_beside_many_deliveries() {
    let store = SqliteStore::in_memory(Threading::Inline).await.unwrap();
    let tested: Tested = store.clone();
    let scope = scope();
    for host in ["a", "b", "dead"] {
        for time in 0..4 {
            owed(&tested, scope, host, at(time)).await;
        }
    }
    let costs = async || {
        let shares = || vec![share(scope, "a", Lane::First, 1), share(scope, "dead", Lane::First, 1)];
        let claim = ClaimDeliveries { owner: process(), shares: shares(), now: at(100), lease: LEASE };
        let start = (at(-1), crate::JobId(uuid::Uuid::nil()));
        let other = sandbox_of(scope);
        [
            cost(&store, store.due_endpoints(at(100), 64, 0)).await,
            cost(&store, store.next_delivery_at()).await,
            cost(&store, store.claim_deliveries(claim)).await,
            cost(&store, store.ended_jobs(scope, start, 5)).await,
            cost(&store, store.advance_replays(at(100), 3, 1000)).await,
            cost(&store, store.count_deliveries(other, Selection::default())).await,
        ]
    };
    let replay = |selection| {
        let (id, store) = (crate::ReplayId(uuid()), tested.clone());
        async move { store.submit_replay(NewReplay { id, scope, selection, created_at: at(50) }).await.unwrap() }
    };
    let failed = Selection { status: Some(crate::DeliveryStatus::Failed), ..Selection::default() };
    for selection in [Selection::default(), failed] {
        let replay = replay(selection).await;
        let few = costs().await;
        for _ in 0..3000 {
            owed(&tested, scope, "dead", at(5)).await;
        }
        let many = costs().await;
        let pairs = few.iter().zip(&many);
        assert!(pairs.clone().all(|(few, many)| *many < few * 2 + 100), "{few:?} beside few, {many:?} beside many");
        tested.cancel_replay(scope, replay.id, at(60)).await.ok();
    }
}
