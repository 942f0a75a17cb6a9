//! Processes that share a store, what they are asked for, and what must be true of it in the end.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use datasonar::cli::{
    client::{Api, Server},
    demo::{
        check::verify_body,
        child::Child,
        receiver::{Answer, Received, Receiver},
        site::{Site, SiteOptions},
    },
};
use datasonar_net::BodySource;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_datasonar");
/// How long anything may take, leases and restarts included.
const PATIENCE: Duration = Duration::from_secs(300);

/// A number from the environment, for longer runs than those of every day.
pub(crate) fn size(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

pub(crate) fn seconds(name: &str, usual: usize) -> Duration {
    Duration::from_secs(size(name, usual) as u64)
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            // Between two questions.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("waiting in vain for {what}"))
}

pub(crate) async fn run(program: &str, arguments: &[&str], variables: &[(&'static str, String)]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).envs(variables.iter().map(|(name, value)| (*name, value)));
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (out, error) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{program} {arguments:?}: {out}{error}");
    out.into_owned()
}

/// A PostgreSQL of this test's own, which keeps what it has committed.
pub(crate) struct Database {
    folder: String,
    url: String,
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres");

impl Database {
    pub(crate) async fn start(name: &str) -> Self {
        // Where the server, which runs as another user, gets to.
        let folder = format!("/tmp/datasonar-{name}-{}/postgres", std::process::id());
        std::fs::create_dir_all(&folder).unwrap();
        let url = run(SCRIPT, &["start", &folder], &[("DURABLE", "1".to_owned())]).await;
        Self { folder, url: format!("{}/postgres", url.trim()) }
    }

    pub(crate) async fn tell(&self, verb: &str) {
        run(SCRIPT, &[verb, &self.folder], &[]).await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        Command::new(SCRIPT).args(["stop", &self.folder]).output().ok();
        std::fs::remove_dir(Path::new(&self.folder).parent().unwrap()).ok();
    }
}

/// A job that was accepted: what it is to fetch.
struct Accepted {
    id: String,
    urls: Vec<usize>,
    is_batch: bool,
}

pub(crate) struct Cluster {
    pub(crate) directory: TempDir,
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) site: Site,
    pub(crate) receiver: Receiver,
    pub(crate) processes: Vec<(&'static str, Child)>,
    /// The name that the agent of each process goes by.
    pub(crate) agents: Vec<String>,
    urls: Vec<String>,
    key: String,
    accepted: Vec<Accepted>,
    started: usize,
}

impl Cluster {
    /// Starts processes in these roles, the first of which answers calls. Without a database they are one server on the embedded store in `data`.
    pub(crate) async fn start(
        urls: usize,
        pace: Duration,
        database: Option<&Database>,
        roles: &[&'static str],
        more: Vec<(&'static str, String)>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let site = Site::start(SiteOptions { urls, trouble: false, all_sizes: true, pace }).await.unwrap();
        // The first attempt at anything fails, so that there are attempts after it.
        let answer = |n| Answer::Status(if n == 0 { 500 } else { 200 });
        let receiver = Receiver::start(directory.path(), answer).await.unwrap();
        let mut variables = vec![
            ("DATASONAR_WEBHOOK_CA_FILE", receiver.ca_file().display().to_string()),
            ("DATASONAR_FETCH_CONCURRENCY", "16".to_owned()),
            ("DATASONAR_FETCH_PER_HOST_CONCURRENCY", "64".to_owned()),
            ("DATASONAR_WEBHOOK_RETRY_SCHEDULE", "500ms,1s,2s,4s,8s,16s,32s".to_owned()),
        ];
        if let Some(database) = database {
            variables.push(("DATASONAR_DATABASE_URL", database.url.clone()));
            variables.push(("DATASONAR_ENCRYPTION_KEY", "5d".repeat(32)));
            if !more.iter().any(|(name, _)| *name == "DATASONAR_BLOB_URL") {
                let blobs = directory.path().join("blobs");
                variables.push(("DATASONAR_BLOB_URL", format!("file://{}", blobs.display())));
            }
        }
        variables.extend(more);
        let urls = site.urls().collect();
        let (processes, accepted) = (Vec::new(), Vec::new());
        let mut cluster = Self {
            directory,
            variables,
            site,
            receiver,
            processes,
            agents: Vec::new(),
            urls,
            key: String::new(),
            accepted,
            started: 0,
        };
        for role in roles {
            let child = cluster.child(role).await;
            if let Some(keys) = &child.keys {
                cluster.key = keys.0.clone();
            }
            cluster.processes.push((role, child));
            cluster.agents.push(cluster.agent());
        }
        cluster
    }

    /// Where the data directory of an embedded store is.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    async fn child(&mut self, roles: &str) -> Child {
        self.started += 1;
        let own = self.directory.path().join(format!("process-{}", self.started));
        let is_shared = self.variables.iter().any(|(name, _)| *name == "DATASONAR_DATABASE_URL");
        let data = if is_shared { own } else { self.data() };
        if is_shared && !self.key.is_empty() {
            // Only the first process of a store has keys to show: nobody is to wait for those of another.
            std::fs::create_dir_all(&data).unwrap();
            std::fs::write(data.join("keys-shown"), "").unwrap();
        }
        let roles = [("DATASONAR_ROLES", roles.to_owned()), ("DATASONAR_FETCH_USER_AGENT", self.agent())];
        let variables: Vec<_> = self.variables.iter().cloned().chain(roles).collect();
        Child::start_program(Path::new(PROGRAM), &data, &variables).await.unwrap()
    }

    /// The name that the agent of the last process goes by.
    fn agent(&self) -> String {
        format!("process-{}", self.started)
    }

    /// Kills a process, as `kill -9` does, and starts another in its place.
    pub(crate) async fn replace(&mut self, place: usize) {
        let roles = self.processes[place].0;
        self.processes[place].1.kill().await.unwrap();
        self.processes[place].1 = self.child(roles).await;
        self.agents[place] = self.agent();
    }

    /// Sends a signal to a process.
    pub(crate) async fn signal(&self, place: usize, signal: &str) {
        let id = self.processes[place].1.id().unwrap().to_string();
        run("kill", &[signal, &id], &[]).await;
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(Server { server: self.processes[0].1.url(), api_key: self.key.clone() }).unwrap()
    }

    /// Has all pages fetched as one job; asks until it is accepted.
    pub(crate) async fn batch(&mut self, format: &str) -> String {
        let (urls, hook) = (self.urls.clone(), self.receiver.url());
        let request = json!({"urls": urls, "format": format, "webhook_url": hook});
        let id = self.submit("/v1/scrape/batch/async", &request).await;
        self.accepted.push(Accepted { id: id.clone(), urls: (0..self.urls.len()).collect(), is_batch: true });
        id
    }

    /// Has one page fetched; asks until that is accepted.
    pub(crate) async fn scrape(&mut self, index: usize) -> String {
        let request = json!({"url": self.urls[index], "format": "text", "webhook_url": self.receiver.url()});
        let id = self.submit("/v1/scrape/async", &request).await;
        self.accepted.push(Accepted { id: id.clone(), urls: vec![index], is_batch: false });
        id
    }

    /// With one key for all tries, so that a try whose answer was lost makes no second job.
    async fn submit(&self, path: &str, request: &Value) -> String {
        let key = format!("job-{}", self.accepted.len());
        until("the job is accepted", async || {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", key.parse().unwrap());
            let body = BodySource::bytes(request.to_string());
            let answer = self.api().call(Method::POST, path, headers, Some(body)).await.ok()?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            // What cannot be accepted now is refused with a reason, and nothing else.
            assert!(matches!(head.status.as_u16(), 202 | 503), "{} {}", head.status, String::from_utf8_lossy(&body));
            let answer: Value = serde_json::from_slice(&body).ok()?;
            answer["job_id"].as_str().map(str::to_owned)
        })
        .await
    }

    /// How many pages of a job are done; `None` when nobody can tell.
    pub(crate) async fn done(&self, job: &str) -> Option<u64> {
        let found = self.api().job(job).await.ok()?;
        Some(found["progress"]["succeeded"].as_u64()? + found["progress"]["failed"].as_u64()?)
    }

    /// Waits until so much of the large job is done, in hundredths.
    pub(crate) async fn progress(&self, job: &str, hundredths: usize) {
        let wanted = (self.urls.len() * hundredths / 100) as u64;
        until("progress", async || self.done(job).await.filter(|done| *done >= wanted)).await;
    }

    /// Waits until all that was accepted is delivered, and checks it: every job present and ended, one result for each URL, one delivery each with
    /// one id and the same bytes at each attempt, nothing wrong in the store, and every process stops in order.
    pub(crate) async fn verify(mut self) {
        let mut received: BTreeMap<String, Vec<Received>> = BTreeMap::new();
        for job in &self.accepted {
            let collect = async {
                loop {
                    let next = self.receiver.next().await.unwrap();
                    received.entry(next.header("x-datasonar-job-id").to_owned()).or_default().push(next);
                }
            };
            tokio::select! {
                () = until("a delivery", async || self.is_delivered(&job.id).await) => {}
                () = collect => {}
            }
        }
        while let Some(next) = self.receiver.next_now().await {
            received.entry(next.header("x-datasonar-job-id").to_owned()).or_default().push(next);
        }
        assert_eq!(received.len(), self.accepted.len(), "callbacks of jobs that were not accepted, or none");
        for job in &self.accepted {
            let attempts = &received[&job.id];
            for again in &attempts[1..] {
                assert_eq!(again.header("webhook-id"), attempts[0].header("webhook-id"));
                assert_eq!(again.sha256, attempts[0].sha256, "an attempt had other bytes");
            }
            let found = self.api().job(&job.id).await.unwrap();
            assert_eq!(found["status"], "completed", "{found}");
            assert_eq!(found["progress"]["total"], job.urls.len(), "{found}");
            if job.is_batch {
                let urls: Vec<String> = job.urls.iter().map(|index| self.urls[*index].clone()).collect();
                let body = BufReader::new(File::open(attempts[0].body()).unwrap());
                verify_body(body, &job.id, &urls, |index| self.site.expect(index)).unwrap();
            }
        }
        for (_, child) in &mut self.processes {
            child.stop().await.unwrap();
        }
        let mut variables = self.variables.clone();
        if !variables.iter().any(|(name, _)| *name == "DATASONAR_DATA_DIR") {
            variables.push(("DATASONAR_DATA_DIR", self.data().display().to_string()));
        }
        run(PROGRAM, &["admin", "check", "--deep"], &variables).await;
    }

    async fn is_delivered(&self, job: &str) -> Option<()> {
        let deliveries = self.api().json(Method::GET, &format!("/v1/deliveries?job_id={job}"), None).await.ok()?;
        let deliveries = deliveries["data"].as_array()?.clone();
        assert!(deliveries.len() <= 1, "{job} has {} deliveries", deliveries.len());
        (deliveries.first()?["status"] == "delivered").then_some(())
    }
}
