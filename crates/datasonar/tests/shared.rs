//! Several processes on one PostgreSQL: each job is done once, by whoever lives.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

use std::{fs::File, io::BufReader, path::Path, time::Duration};

use datasonar::cli::{
    client::{Api, Server},
    demo::{
        check::verify_body,
        child::Child,
        receiver::{Answer, Receiver},
        site::{Site, SiteOptions},
    },
};
use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

/// Processes that share a database and a directory of blobs.
struct Cluster<'a> {
    directory: &'a Path,
    variables: Vec<(&'static str, String)>,
}

impl Cluster<'_> {
    async fn start(&self, roles: &str) -> Child {
        let program = Path::new(env!("CARGO_BIN_EXE_datasonar"));
        let variables: Vec<_> = self.variables.iter().cloned().chain([("DATASONAR_ROLES", roles.to_owned())]).collect();
        Child::start_program(program, &self.directory.join("data"), &variables).await.unwrap()
    }

    async fn kill_and_restart(&self, child: &mut Child, roles: &str) {
        child.kill().await.unwrap();
        *child = self.start(roles).await;
    }
}

/// An empty database on the server that `scripts/test` starts.
async fn database() -> String {
    let server = std::env::var("TEST_POSTGRES")
        .expect("TEST_POSTGRES names a server: `scripts/postgres start FOLDER` starts one");
    let name = format!("shared_{}", std::process::id());
    let (admin, create) = (format!("{server}/postgres"), format!("CREATE DATABASE {name}"));
    let work = move || postgres::Client::connect(&admin, postgres::NoTls).unwrap().batch_execute(&create).unwrap();
    tokio::task::spawn_blocking(work).await.unwrap();
    format!("{server}/{name}")
}

fn done(job: &Value) -> u64 {
    job["progress"]["succeeded"].as_u64().unwrap() + job["progress"]["failed"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_are_killed_leave_one_result_for_each_url_and_one_callback() {
    const URLS: usize = 4_000;
    let directory = tempfile::tempdir().unwrap();
    let options = SiteOptions { urls: URLS, trouble: false, all_sizes: false, pace: Duration::from_millis(10) };
    let site = Site::start(options).await.unwrap();
    let urls: Vec<String> = site.urls().collect();
    // The first two attempts fail, so that the dispatcher is killed between attempts.
    let receiver = Receiver::start(directory.path(), |n| Answer::Status(if n < 2 { 500 } else { 200 })).await.unwrap();
    let cluster = Cluster {
        directory: directory.path(),
        variables: vec![
            ("DATASONAR_DATABASE_URL", database().await),
            ("DATASONAR_ENCRYPTION_KEY", "5a".repeat(32)),
            ("DATASONAR_WEBHOOK_CA_FILE", receiver.ca_file().display().to_string()),
            ("DATASONAR_FETCH_CONCURRENCY", "16".to_owned()),
            ("DATASONAR_WEBHOOK_RETRY_SCHEDULE", "500ms,1s,2s,4s,8s,16s,32s".to_owned()),
        ],
    };
    let mut api = cluster.start("api,scheduler").await;
    let key = api.keys.clone().unwrap().0;
    let client = |child: &Child| Api::new(Server { server: child.url(), api_key: key.clone() }).unwrap();
    let mut dispatcher = cluster.start("dispatcher").await;
    let mut workers = [cluster.start("worker").await, cluster.start("worker").await];

    let request = json!({"urls": urls, "format": "text", "webhook_url": receiver.url()});
    let queued = client(&api).json(Method::POST, "/v1/scrape/batch/async", Some(&request)).await.unwrap();
    let job = queued["job_id"].as_str().unwrap().to_owned();
    let mut seen = 0;
    for kill in 1..=4_u64 {
        loop {
            let found = client(&api).job(&job).await.unwrap();
            assert!(done(&found) >= seen, "a finished page was lost");
            seen = done(&found);
            if seen >= kill * (URLS as u64) / 8 {
                assert!(found["completed_at"].is_null(), "the job is over before the last kill");
                break;
            }
        }
        match kill {
            1 | 3 => cluster.kill_and_restart(&mut workers[0], "worker").await,
            2 => cluster.kill_and_restart(&mut api, "api,scheduler").await,
            _ => cluster.kill_and_restart(&mut workers[1], "worker").await,
        }
    }
    client(&api).wait(&job, async |_| {}).await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(60), receiver.next()).await.unwrap().unwrap();
    cluster.kill_and_restart(&mut dispatcher, "dispatcher").await;
    // The third is answered well. If the dispatcher died before it recorded the first, its lease of a minute runs out before the second.
    let attempts = async { (receiver.next().await.unwrap(), receiver.next().await.unwrap()) };
    let (second, last) = tokio::time::timeout(Duration::from_secs(120), attempts).await.unwrap();
    for again in [&second, &last] {
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
    }
    let body = BufReader::new(File::open(last.body()).unwrap());
    verify_body(body, &job, &urls, |index| site.expect(index)).unwrap();
    let deliveries = client(&api).json(Method::GET, &format!("/v1/deliveries?job_id={job}"), None).await.unwrap();
    assert_eq!(deliveries["data"].as_array().unwrap().len(), 1, "{deliveries}");
    let mut audit = Command::new(env!("CARGO_BIN_EXE_datasonar"));
    audit.args(["admin", "check", "--deep"]).env("DATASONAR_DATA_DIR", directory.path().join("data"));
    let audited = audit.envs(cluster.variables.iter().map(|(name, value)| (*name, value))).output().await.unwrap();
    assert!(audited.status.success(), "{}", String::from_utf8_lossy(&audited.stdout));
    for child in [&mut api, &mut dispatcher].into_iter().chain(&mut workers) {
        child.stop().await.unwrap();
    }
}
