//! How fast a webhook's body is put together and signed, next to reading the same bytes from a file and signing them.
//!
//! The body is what 20,000 pages of some 16 KB of text come to. Reading the file is the hardware's limit for bytes that
//! are kept as they are; ours are kept compressed, checked and decompressed. Both sides sign with both schemes; the last
//! line is one HMAC alone.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and ends with what is wrong")]

use std::{fs::File, io::Read, sync::Arc, time::Duration};

use bytes::Bytes;
use datasonar::{
    blobs::Blobs,
    clock::{Clock, Ids, SystemClock},
    config::Sources,
    crypto::Sealer,
    jobs::{JobOptions, Jobs, JobsParts, Results, Submit, Terms, segment::Gathering},
    plans::Plans,
    scrape::Limits,
    wake::Wake,
    webhook::{send::sign, sign::Signer},
};
use datasonar_net::AddressPolicy;
use datasonar_store::{
    Account, AccountId, ClaimTasks, DeliveryId, Discovery, Environment, FinishTask, Job, JobKind, ProcessId, Scope,
    Setup, WholeStore,
    sqlite::{SqliteStore, Threading},
};
use futures::TryStreamExt;
use tokio::{io::AsyncWriteExt, time::Instant};

const PAGES: usize = 20_000;
const ROUNDS: usize = 5;
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let (results, job) = make_job(directory.path()).await;
    let path = directory.path().join("body.json");
    let length = write_plain(&results, &job, &path).await;
    let megabytes = length as f64 / 1e6;
    println!("body: {PAGES} pages, {megabytes:.0} MB, {} segments", job.segments);

    let mut rounds: Vec<[f64; 4]> = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let mut body = results.payload(&job).1;
        let mut read = 0;
        while let Some(bytes) = body.try_next().await.unwrap() {
            read += bytes.len() as u64;
        }
        assert_eq!(read, length);
        let assembled = megabytes / begin.elapsed().as_secs_f64();

        let begin = Instant::now();
        let (length, body) = results.payload(&job);
        let ours = sign(signer(), body, length).await.unwrap().0;
        let signed = megabytes / begin.elapsed().as_secs_f64();

        let begin = Instant::now();
        let mut plain = signer();
        each_chunk(&path, |bytes| plain.update(bytes));
        let plain = plain.finish();
        let limit = megabytes / begin.elapsed().as_secs_f64();
        assert_eq!(ours, plain, "the body must be the same however it is read");

        let begin = Instant::now();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
        let mut one = ring::hmac::Context::with_key(&key);
        each_chunk(&path, |bytes| one.update(bytes));
        std::hint::black_box(one.sign());
        let single = megabytes / begin.elapsed().as_secs_f64();
        rounds.push([assembled, signed, limit, single]);
    }
    let median = |index: usize| {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[index]).collect();
        values.sort_by(f64::total_cmp);
        values[ROUNDS / 2]
    };
    println!("assembled                          {:>7.0} MB/s", median(0));
    println!("assembled and signed twice over    {:>7.0} MB/s", median(1));
    println!("plain read, signed twice over      {:>7.0} MB/s", median(2));
    println!("plain read, one HMAC               {:>7.0} MB/s", median(3));
    println!("ratio to a plain read, same HMACs  {:>7.2}", median(1) / median(2));
    println!("ratio to a plain read, one HMAC    {:>7.2}", median(1) / median(3));
}

fn signer() -> Signer {
    Signer::new([SECRET], "msg_1", 1).unwrap()
}

fn each_chunk(path: &std::path::Path, mut take: impl FnMut(&[u8])) {
    let mut file = File::open(path).unwrap();
    let mut chunk = vec![0; 1024 * 1024];
    loop {
        match file.read(&mut chunk).unwrap() {
            0 => return,
            read => take(&chunk[..read]),
        }
    }
}

async fn write_plain(results: &Results, job: &Job, path: &std::path::Path) -> u64 {
    let (length, mut body) = results.payload(job);
    let mut file = tokio::fs::File::create(path).await.unwrap();
    while let Some(bytes) = body.try_next().await.unwrap() {
        file.write_all(&bytes).await.unwrap();
    }
    file.flush().await.unwrap();
    length
}

/// A finished job, made by the engine's own steps.
async fn make_job(directory: &std::path::Path) -> (Results, Job) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = Ids::seeded(clock.clone(), 1);
    let store: Arc<dyn WholeStore> = SqliteStore::open(&directory.join("store.db"), Threading::Pool).await.unwrap();
    let blobs = Blobs::local(&directory.join("blobs")).unwrap();
    let policy = AddressPolicy::public_only();
    let limits = Limits { timeout: Duration::from_secs(30), max_bytes: 10 * 1024 * 1024 };
    let terms = Terms { policy, limits, server: "http://127.0.0.1".into() };
    let settings = Arc::new(Sources::default().settings_without_key().unwrap());
    let plans = Plans::new(store.clone(), settings, clock.clone());
    let jobs = Jobs::new(JobsParts {
        store: store.clone(),
        blobs: blobs.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        sealer: Sealer::new(&"00".repeat(32), ids.clone()).unwrap(),
        terms,
        plans,
        wake: Wake::default(),
    });
    let scope = Scope { account: AccountId(ids.uuid()), environment: Environment::Production };
    let (email, plan) = ("owner@localhost".to_owned(), "self-hosted".to_owned());
    let account = Account { id: scope.account, email, plan, created_at: clock.now(), is_built_in: true };
    store.set_up(Setup { account, keys: Vec::new(), secrets: Vec::new(), links: Vec::new() }).await.unwrap();

    let id = jobs.mint();
    let mut writer = jobs.urls(id);
    let urls = tokio::task::spawn_blocking(move || {
        for page in 0..PAGES {
            writer.push(&format!("https://example.com/{page}")).unwrap();
        }
        writer.finish().unwrap()
    });
    let submit = Submit {
        id,
        scope,
        kind: JobKind::Batch,
        options: JobOptions::default(),
        webhook_url: None,
        work: urls.await.unwrap(),
        idempotency: None,
    };
    jobs.submit(submit).await.unwrap();

    let owner = ProcessId(ids.uuid());
    let words =
        ["harbour", "signal", "quarterly", "lantern", "orchard", "measure", "between", "copper", "winter", "of"];
    loop {
        let claim = ClaimTasks {
            owner,
            limit: 64,
            per_job: 64,
            held: Vec::new(),
            newcomers_only: false,
            rooms: Vec::new(),
            isolated: 0,
            isolated_held: Vec::new(),
            now: clock.now(),
            lease: Duration::from_secs(600),
        };
        let tasks = store.claim_tasks(claim).await.unwrap();
        if tasks.is_empty() {
            break;
        }
        for task in tasks {
            let mut gathering = Gathering::new(task.first, task.urls);
            for index in 0..task.urls as usize {
                let mut text = String::new();
                while text.len() < 16_000 {
                    text.push_str(words[(ids.fraction() * words.len() as f64) as usize]);
                    text.push(' ');
                }
                let json = format!(r#"{{"url":"https://example.com/{index}","content":"{text}"}}"#);
                gathering.take(index, Bytes::from(json));
            }
            let mut segments = Vec::new();
            for run in gathering.drain() {
                segments.push(run.write(&blobs, task.lease).await.unwrap());
            }
            let finish = FinishTask {
                lease: task.lease,
                segments,
                succeeded: task.urls,
                failed: 0,
                errors: Vec::new(),
                time_ms: 0,
                page_error: None,
                dropped: Vec::new(),
                discovery: Discovery::default(),
                delivery: DeliveryId(ids.uuid()),
                now: clock.now(),
                retention: Duration::from_secs(600),
            };
            store.finish_task(finish).await.unwrap();
        }
    }
    let job = store.job(scope, id).await.unwrap();
    (Results::new(store, blobs), job)
}
