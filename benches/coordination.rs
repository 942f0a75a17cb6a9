//! The ceiling of coordination: tasks and URLs a second when fetching costs nothing.
//!
//! A batch's tasks are claimed and finished as workers do it, with nothing between. First on the embedded store; then, when the URL of
//! a PostgreSQL server is given, by one, two and four processes' stores on one database, with the bytes of write-ahead log that each
//! million URLs cost; and once more while another session holds a snapshot open, which keeps the server from clearing away what was
//! replaced. Beside each figure stands what the disk allows: durable commits of one small row, by the same number of connections.
//!
//! `cargo bench -p datasonar-store --features conformance --bench coordination -- [postgres://user@host:port]`, as somebody who may
//! create databases there.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use datasonar_store::{
    ClaimTasks, NewJob, NewTask,
    conformance::samples::{Tested, at, batch, claiming, outcome, process, scope, submit, with_tasks},
    postgres::{Connector, PostgresStore},
    sqlite::{SqliteStore, Threading},
};
use futures::future::join_all;
use postgres::{Client, NoTls};
use tokio::{task::JoinSet, time::Instant};

/// Tasks of a run, each of 100 URLs.
const TASKS: u64 = 10_000;
/// Tasks to work on beside a snapshot: more than can be done.
const MANY_TASKS: u64 = 600_000;
/// How many tasks a process claims at once, and how many such batches it has open.
const CLAIMED: u32 = 16;
const OPEN: usize = 4;
/// How long the other session holds its snapshot.
const HELD: Duration = Duration::from_secs(60);
/// The slices in which the rate beside a snapshot is told.
const SLICE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    let server = std::env::args().skip(1).find(|arg| arg.starts_with("postgres"));
    println!("{:>24} {:>10} {:>10} {:>12} {:>16}", "store", "tasks/s", "URLs/s", "commits/s", "WAL per million");
    embedded().await;
    let Some(server) = server else { return };
    for processes in [1, 2, 4] {
        shared(&server, processes).await;
    }
    for jobs in [1, 20] {
        snapshot(&server, jobs).await;
    }
}

fn job(tasks: u64) -> NewJob {
    let task = |seq: u64| NewTask { input_offset: seq * 2500, input_bytes: 2500, urls: 100 };
    with_tasks(batch(scope(), 0), (0..tasks).map(task))
}

/// Works until nothing is left or it is told to stop; counts.
async fn work(store: Tested, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let owner = process();
    let begin = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let claimed =
            store.claim_tasks(ClaimTasks { owner, now: at(0) + begin.elapsed(), ..claiming(CLAIMED) }).await.unwrap();
        if claimed.is_empty() {
            return;
        }
        let finishes = claimed.iter().map(|task| store.finish_task(outcome(task)));
        for finished in join_all(finishes).await {
            finished.unwrap();
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Has each store worked on as by a process.
fn start(stores: &[Tested], done: &Arc<AtomicU64>, stop: &Arc<AtomicBool>) -> JoinSet<()> {
    let each = stores.iter().flat_map(|store| std::iter::repeat_n(store, OPEN));
    each.map(|store| work(Arc::clone(store), Arc::clone(done), Arc::clone(stop))).collect()
}

async fn run(stores: &[Tested]) -> f64 {
    let (done, stop) = (Arc::default(), Arc::default());
    let begin = Instant::now();
    start(stores, &done, &stop).join_all().await;
    assert_eq!(done.load(Ordering::Relaxed), TASKS);
    TASKS as f64 / begin.elapsed().as_secs_f64()
}

fn report(store: &str, tasks: f64, commits: f64, log: &str) {
    println!("{store:>24} {tasks:>10.0} {:>10.0} {commits:>12.0} {log:>16}", tasks * 100.0);
}

async fn embedded() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("store.db"), Threading::Pool).await.unwrap();
    submit(&(store.clone() as Tested), job(TASKS)).await;
    let rate = run(&[store.clone() as Tested]).await;
    store.close().await;
    report("SQLite", rate, syncs(directory.path()), "");
}

/// Small writes a second that are synced, one after another, in this directory.
fn syncs(directory: &Path) -> f64 {
    use std::io::Write;
    const WRITES: u32 = 500;
    let mut file = std::fs::File::create(directory.join("synced")).unwrap();
    let begin = Instant::now();
    for _ in 0..WRITES {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
    }
    f64::from(WRITES) / begin.elapsed().as_secs_f64()
}

/// An empty database on the server; its URL.
async fn database(server: &str) -> String {
    let (admin, create) =
        (format!("{server}/postgres"), "DROP DATABASE IF EXISTS coordination; CREATE DATABASE coordination");
    ask(&admin, move |client| create.split(';').for_each(|one| client.batch_execute(one).unwrap())).await;
    format!("{server}/coordination")
}

async fn ask<T: Send + 'static>(url: &str, question: impl FnOnce(&mut Client) -> T + Send + 'static) -> T {
    let url = url.to_owned();
    let work = move || question(&mut Client::connect(&url, NoTls).unwrap());
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn open(url: &str, processes: usize) -> Vec<Tested> {
    let mut stores: Vec<Tested> = Vec::new();
    for _ in 0..processes {
        stores.push(PostgresStore::open(Connector::new(url, None).unwrap()).await.unwrap());
    }
    stores
}

/// Where the write-ahead log ends, in bytes.
async fn logged(url: &str) -> i64 {
    let question = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
    ask(url, move |client| client.query_one(question, &[]).unwrap().get(0)).await
}

async fn shared(server: &str, processes: usize) {
    let url = database(server).await;
    let stores = open(&url, processes).await;
    let before = logged(&url).await;
    submit(&stores[0], job(TASKS)).await;
    let rate = run(&stores).await;
    let bytes = logged(&url).await - before;
    let commits = commits(&url, processes).await;
    let log = format!("{:.1} MB", bytes as f64 / (TASKS as f64 * 100.0));
    report(&format!("PostgreSQL, {processes} process(es)"), rate, commits, &log);
}

/// Durable commits a second of one small row each, by so many connections.
async fn commits(url: &str, connections: usize) -> f64 {
    const COMMITS: usize = 500;
    ask(url, |client| client.batch_execute("CREATE TABLE commits (n BIGINT)").unwrap()).await;
    let begin = Instant::now();
    let insert = |client: &mut Client| {
        let statement = client.prepare("INSERT INTO commits VALUES (1)").unwrap();
        for _ in 0..COMMITS {
            client.execute(&statement, &[]).unwrap();
        }
    };
    join_all((0..connections).map(|_| ask(url, insert))).await;
    (COMMITS * connections) as f64 / begin.elapsed().as_secs_f64()
}

/// The rate while another session holds a snapshot, in slices.
async fn snapshot(server: &str, jobs: u64) {
    let url = database(server).await;
    let stores = open(&url, 2).await;
    let (done, stop): (Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
    for _ in 0..jobs {
        submit(&stores[0], job(MANY_TASKS / jobs)).await;
    }
    let mut workers = start(&stores, &done, &stop);
    let slice = async || {
        let before = done.load(Ordering::Relaxed);
        let begin = Instant::now();
        tokio::time::sleep(SLICE).await;
        (done.load(Ordering::Relaxed) - before) as f64 / begin.elapsed().as_secs_f64()
    };
    let free = slice().await;
    println!("\n{jobs} job(s), before a snapshot: {free:.0} tasks/s, {:.0} URLs/s", free * 100.0);
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let holder = tokio::spawn({
        let url = url.clone();
        async move {
            ask(&url, move |client| {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM datasonar.jobs";
                client.batch_execute(begin).unwrap();
                held.recv().ok();
            })
            .await;
        }
    });
    let slices = HELD.as_secs() / SLICE.as_secs();
    for number in 1..=slices {
        let rate = slice().await;
        println!(
            "beside a snapshot, until {:>2} s: {rate:.0} tasks/s, {:.0} URLs/s, ratio {:.2}",
            number * SLICE.as_secs(),
            rate * 100.0,
            rate / free
        );
    }
    drop(let_go);
    holder.await.unwrap();
    let after = slice().await;
    println!("after it: {after:.0} tasks/s, {:.0} URLs/s", after * 100.0);
    stop.store(true, Ordering::Relaxed);
    while workers.join_next().await.is_some() {}
}
