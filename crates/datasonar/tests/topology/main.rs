//! The processes of `deploy/compose.yaml` on this machine: as many of each, with the settings that it gives them, behind the same load
//! balancer, on PostgreSQL and an S3 server. What cannot be the same here is replaced: where these are, and what opens them.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

mod compose;
mod files;
#[path = "../support/s3.rs"]
#[expect(dead_code, reason = "the tests of blobs use the rest")]
mod s3;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::BufReader,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use compose::Compose;
use datasonar::cli::{
    client::{Api, ApiError, Server},
    demo::{
        check::verify_body,
        child::Child,
        receiver::{Answer, Receiver},
        site::{Site, SiteOptions},
    },
};
use futures::future::join_all;
use http::{HeaderMap, Method};
use s3::S3;
use serde_json::{Value, json};
use tokio::{
    process::{Child as Process, Command},
    sync::oneshot,
};
use url::Url;

const PROGRAM: &str = env!("CARGO_BIN_EXE_datasonar");
/// Pages that take so long are not done when a process is told to stop, just after they were queued.
const URLS: usize = 300;
const PACE: Duration = Duration::from_millis(300);
/// How long anything may take.
const WITHIN: Duration = Duration::from_secs(30);

/// An empty database on the server that `scripts/postgres` starts.
async fn database() -> String {
    let server = std::env::var("TEST_POSTGRES")
        .expect("TEST_POSTGRES names a server: `scripts/postgres start FOLDER` starts one, scripts/topology all");
    let name = format!("topology_{}", std::process::id());
    let (admin, create) = (format!("{server}/postgres"), format!("CREATE DATABASE {name}"));
    let work = move || postgres::Client::connect(&admin, postgres::NoTls).unwrap().batch_execute(&create).unwrap();
    tokio::task::spawn_blocking(work).await.unwrap();
    format!("{server}/{name}")
}

/// The services of the file that are processes of Datasonar.
struct Topology<'a> {
    compose: Compose,
    /// What is not the same here.
    here: Vec<(&'static str, String)>,
    directory: &'a Path,
}

impl Topology<'_> {
    fn environment(&self, service: &str) -> BTreeMap<String, String> {
        let mut environment = self.compose.environment(service);
        // Each has a port of its own here.
        assert!(environment.remove("DATASONAR_LISTEN").is_some(), "{service} is to listen where its probe asks");
        let here = self.here.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        environment.extend(here);
        environment
    }

    /// Starts a process, on another's port if it is to be in its place.
    async fn start(&self, name: &str, service: &str, port: Option<u16>) -> Child {
        let environment = self.environment(service);
        let variables: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let own = self.directory.join(name);
        fs::create_dir_all(&own).unwrap();
        // Keys are made by the command line here: whoever starts first shows others, in its log.
        fs::write(own.join("keys-shown"), "").unwrap();
        let program = Path::new(PROGRAM);
        match port {
            Some(port) => Child::start_at(program, &own, port, &variables).await.unwrap(),
            None => Child::start_program(program, &own, &variables).await.unwrap(),
        }
    }

    /// What `docker compose run --rm SERVICE …` would do.
    async fn run(&self, service: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).envs(self.environment(service)).current_dir(self.directory);
        let ran: Output = command.output().await.unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }
}

/// The load balancer, with the file of the topology. Dropping it kills it.
struct Balancer {
    url: Url,
    process: Process,
}

impl Balancer {
    fn start(compose: &Compose, apis: [&Child; 2]) -> Self {
        // Free at this moment; nothing else here takes ports of this kind by number.
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let address = |api: &Child| format!("127.0.0.1:{}", api.url().port().unwrap());
        let ours = BTreeMap::from([
            ("LISTEN".to_owned(), listen.clone()),
            ("API_1".to_owned(), address(apis[0])),
            ("API_2".to_owned(), address(apis[1])),
        ]);
        assert!(compose.environment("balancer").keys().eq(ours.keys()), "the balancer has other settings");
        // Debian keeps it where the path of a user does not lead.
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let program = std::env::split_paths(&path).map(|folder| folder.join("haproxy")).find(|file| file.is_file());
        let program: PathBuf = program.expect("haproxy is missing: scripts/deploy-tools installs it");
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(compose::folder().join("haproxy.cfg")).envs(ours);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        Self { url: format!("http://{listen}/").parse().unwrap(), process }
    }
}

fn client(url: Url, key: &str) -> Api {
    Api::new(Server { server: url, api_key: key.to_owned() }).unwrap()
}

async fn queue(api: &Api, request: &Value) -> String {
    let queued = api.json(Method::POST, "/v1/scrape/batch/async", Some(request)).await.unwrap();
    queued["job_id"].as_str().unwrap().to_owned()
}

/// Waits until a server answers well.
async fn until_ready(api: &Api) {
    let ready = async {
        while api.json(Method::GET, "/v1/me", None).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, ready).await.expect("it is not ready in time");
}

/// Calls again and again until told to stop. Answers how many calls there were, and the errors.
async fn calls(api: Api, mut stop: oneshot::Receiver<()>) -> (usize, Vec<ApiError>) {
    let (mut count, mut errors) = (0, Vec::new());
    while stop.try_recv().is_err() {
        count += 1;
        errors.extend(api.json(Method::GET, "/v1/jobs?limit=1", None).await.err());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (count, errors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_processes_of_the_compose_file_do_a_batch_and_are_replaced_one_by_one_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let options = SiteOptions { urls: URLS, trouble: false, all_sizes: true, pace: PACE };
    let site = Site::start(options).await.unwrap();
    let urls: Vec<String> = site.urls().collect();
    let receiver = Receiver::start(directory.path(), |_| Answer::Status(200)).await.unwrap();
    let s3 = S3::start().await;
    let mut here = vec![
        ("DATASONAR_DATABASE_URL", database().await),
        ("DATASONAR_BLOB_URL", format!("s3://{}/v1", s3::BUCKET)),
        // Nothing can be written there, as on a root that is read-only.
        ("DATASONAR_DATA_DIR", "/proc/datasonar".to_owned()),
        ("DATASONAR_WEBHOOK_CA_FILE", receiver.ca_file().display().to_string()),
    ];
    here.extend(s3.variables());
    let topology = Topology { compose: Compose::read(files::secrets()), here, directory: directory.path() };

    // All at once, on an empty database, as Compose starts them.
    let mut names = Vec::new();
    for service in topology.compose.processes() {
        let count = topology.compose.replicas(&service);
        names.extend((1..=count).map(|number| (format!("{service}.{number}"), service.clone())));
    }
    assert_eq!(names.len(), 8);
    let mut processes = join_all(names.iter().map(|(name, service)| topology.start(name, service, None))).await;
    let place = |service: &str| names.iter().position(|(_, name)| name == service).unwrap();
    let (first, second) = (place("api-1"), place("api-2"));
    let mut balancer = Balancer::start(&topology.compose, [&processes[first], &processes[second]]);
    let key = topology.run("api-1", &["keys", "create", "--environment", "production"]).await;
    let secret = topology.run("api-1", &["secrets", "show"]).await;
    let through = client(balancer.url.clone(), &key);
    until_ready(&through).await;
    let metrics = through.call(Method::GET, "/metrics", HeaderMap::new(), None).await.unwrap();
    assert_eq!(metrics.status(), 404, "metrics are for those inside");
    for (child, (name, service)) in processes.iter().zip(&names) {
        let api = client(child.url(), &key);
        assert_eq!(api.json(Method::GET, "/v1/me", None).await.is_ok(), service.starts_with("api"), "{name}");
    }

    // Queued through one, followed through the other.
    let request = json!({"urls": urls, "format": "text", "webhook_url": receiver.url()});
    let (one, other) = (client(processes[first].url(), &key), client(processes[second].url(), &key));
    let mut jobs = vec![queue(&one, &request).await];
    other.wait(&jobs[0], async |_| {}).await.unwrap();

    // Each is replaced in the middle of a batch, and nobody who calls is any the wiser.
    let (stop, stopped) = oneshot::channel();
    let calling = tokio::spawn(calls(through.clone(), stopped));
    for (child, (name, service)) in processes.iter_mut().zip(&names) {
        jobs.push(queue(&through, &request).await);
        child.stop().await.unwrap_or_else(|error| panic!("{name}: {error:#}"));
        *child = topology.start(name, service, child.url().port()).await;
    }
    stop.send(()).unwrap();
    let (count, errors) = calling.await.unwrap();
    assert!(count > names.len() && errors.is_empty(), "{} of {count} calls failed: {errors:?}", errors.len());

    // One callback for each, with one result for each URL.
    let mut owed: BTreeSet<String> = jobs.iter().cloned().collect();
    for _ in &jobs {
        let received = tokio::time::timeout(WITHIN, receiver.next()).await.expect("a callback is missing").unwrap();
        received.verify(&secret).unwrap();
        let job = received.header("x-datasonar-job-id");
        assert!(owed.remove(job), "{job} is called back twice");
        let body = BufReader::new(File::open(received.body()).unwrap());
        verify_body(body, job, &urls, |index| site.expect(index)).unwrap();
    }
    for job in &jobs {
        let deliveries = other.json(Method::GET, &format!("/v1/deliveries?job_id={job}"), None).await.unwrap();
        assert_eq!(deliveries["data"].as_array().unwrap().len(), 1, "{deliveries}");
    }
    assert!(!s3.files("v1/jobs").is_empty(), "the results of jobs are in the bucket");
    topology.run("scheduler", &["admin", "check", "--deep"]).await;

    // SIGTERM, and 0 from each.
    for (child, (name, _)) in processes.iter_mut().zip(&names) {
        child.stop().await.unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    balancer.process.kill().await.unwrap();
}
