//! `datasonar admin move`: a store that was used in earnest goes to PostgreSQL and a bucket, with two deaths on the way, and
//! goes on there.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

#[path = "support/generated.rs"]
mod generated;
#[path = "support/s3.rs"]
#[expect(dead_code, reason = "the tests of blobs use the rest")]
mod s3;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use datasonar::cli::{
    client::{Api, Server},
    demo::{
        child::Child,
        receiver::{Answer, Received, Receiver},
        site::{Site, SiteOptions},
    },
};
use generated::{Generated, Shape};
use http::Method;
use s3::{S3, Trouble};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_datasonar");
const JOBS: usize = 100;
type Variables = Vec<(&'static str, String)>;

/// The server that `scripts/test` starts.
fn postgres() -> String {
    std::env::var("TEST_POSTGRES").expect("TEST_POSTGRES names a server: `scripts/postgres start FOLDER` starts one")
}

/// Runs a query of one number; `None` while there is no such table.
async fn ask(url: &str, sql: &'static str) -> Option<i64> {
    let url = url.to_owned();
    let work = move || Some(postgres::Client::connect(&url, postgres::NoTls).unwrap().query_one(sql, &[]).ok()?.get(0));
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// An empty database.
async fn database(name: &str) -> String {
    let name = format!("{name}_{}", std::process::id());
    let (admin, create) = (format!("{}/postgres", postgres()), format!("CREATE DATABASE {name}"));
    let work = move || postgres::Client::connect(&admin, postgres::NoTls).unwrap().batch_execute(&create).unwrap();
    tokio::task::spawn_blocking(work).await.unwrap();
    format!("{}/{name}", postgres())
}

/// Keeps a table from everybody for as long as the sender lives.
async fn hold(url: &str, table: &'static str) -> std::sync::mpsc::Sender<()> {
    let (release, released) = std::sync::mpsc::channel();
    let (held, is_held) = tokio::sync::oneshot::channel();
    let url = url.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        let mut transaction = client.transaction().unwrap();
        transaction.batch_execute(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).unwrap();
        held.send(()).unwrap();
        released.recv().unwrap_err();
    });
    is_held.await.unwrap();
    release
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), looking).await.unwrap_or_else(|_| panic!("{what} does not happen"));
}

fn command(arguments: &[&str], variables: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).envs(variables.iter().map(|(name, value)| (*name, value)));
    command
}

fn ran(arguments: &[&str], variables: &[(&'static str, String)]) -> String {
    let output = command(arguments, variables).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What a command says that must not succeed.
fn refused(arguments: &[&str], variables: &[(&'static str, String)]) -> String {
    let Output { status, stderr, .. } = command(arguments, variables).output().unwrap();
    assert!(!status.success(), "{arguments:?} succeeds");
    text(&stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// What a client sees of jobs that have ended and of deliveries that are over (all but that of `owed`): nothing of it may change.
async fn seen(api: &Api, jobs: &[String], owed: &str) -> BTreeMap<String, Value> {
    let mut seen = BTreeMap::new();
    for id in jobs {
        let mut job = api.job(id).await.unwrap();
        let delivery = job.as_object_mut().unwrap().remove("delivery").unwrap_or_default();
        let mut lines = Vec::new();
        let take = |bytes: &[u8]| {
            lines.extend_from_slice(bytes);
            Ok(())
        };
        api.results(id, take).await.unwrap();
        assert!(!lines.is_empty(), "{id} has no results");
        seen.insert(id.clone(), json!({"job": job, "results": text(&lines)}));
        if id != owed && !delivery["id"].is_null() {
            let path = format!("/v1/deliveries/{}", delivery["id"].as_str().unwrap());
            seen.insert(path.clone(), api.json(Method::GET, &path, None).await.unwrap());
        }
    }
    for path in ["/v1/schedules", "/v1/webhooks/secrets", "/v1/deliveries/replays"] {
        let mut list = api.json(Method::GET, path, None).await.unwrap();
        // Counted from the moment of asking.
        list["data"].as_array_mut().unwrap().iter_mut().for_each(|one| {
            one.as_object_mut().unwrap().remove("upcoming");
        });
        seen.insert(path.to_owned(), list);
    }
    seen
}

/// Says which of them differ, and from where on: whole results would fill screens.
fn assert_same(before: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) {
    let only = |one: &BTreeMap<String, Value>, other: &BTreeMap<String, Value>| -> Vec<String> {
        one.keys().filter(|key| !other.contains_key(*key)).cloned().collect()
    };
    assert_eq!((only(before, now), only(now, before)), (Vec::new(), Vec::new()), "gone, and new");
    for (key, value) in before {
        let (before, now) = (value.to_string(), now[key].to_string());
        let from = before.bytes().zip(now.bytes()).take_while(|(one, other)| one == other).count().saturating_sub(60);
        let part = |text: &str| {
            String::from_utf8_lossy(&text.as_bytes()[from.min(text.len())..]).chars().take(160).collect::<String>()
        };
        assert!(before == now, "{key}: …{}… is now …{}…", part(&before), part(&now));
    }
}

/// Endpoints, sites and the directory of the machine that is left.
struct World {
    directory: tempfile::TempDir,
    site: Site,
    slow: Site,
    generated: Generated,
    good: Receiver,
    gone: Receiver,
    down: Receiver,
    is_up: Arc<AtomicBool>,
    variables: Variables,
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let options = SiteOptions { urls: 600, trouble: false, all_sizes: true, pace: Duration::ZERO };
        let slow = SiteOptions { urls: 400, all_sizes: false, pace: Duration::from_millis(100), ..options };
        let is_up = Arc::new(AtomicBool::new(false));
        let up = is_up.clone();
        let good = Receiver::start(&path("good"), |_| Answer::Status(200)).await.unwrap();
        let gone = Receiver::start(&path("gone"), |_| Answer::Status(410)).await.unwrap();
        let answer = move |_| Answer::Status(if up.load(Ordering::SeqCst) { 200 } else { 503 });
        let down = Receiver::start(&path("down"), answer).await.unwrap();
        let authorities = [&good, &gone, &down].map(|receiver| std::fs::read_to_string(receiver.ca_file()).unwrap());
        std::fs::write(path("ca.pem"), authorities.concat()).unwrap();
        let schedule: Vec<String> = (1..=300).map(|second| format!("{second}s")).collect();
        let variables = vec![
            ("DATASONAR_WEBHOOK_CA_FILE", path("ca.pem").display().to_string()),
            ("DATASONAR_WEBHOOK_RETRY_SCHEDULE", schedule.join(",")),
            ("DATASONAR_WEBHOOK_MAX_ATTEMPTS", "400".to_owned()),
            ("DATASONAR_FETCH_CONCURRENCY", "16".to_owned()),
            ("DATASONAR_PUBLIC_URL", "http://datasonar.example".to_owned()),
        ];
        let (site, slow) = (Site::start(options).await.unwrap(), Site::start(slow).await.unwrap());
        let generated = Generated::start(Shape::mixed(60)).await;
        Self { directory, site, slow, generated, good, gone, down, is_up, variables }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Makes all jobs but the last; answers their ids, and that whose delivery stays owed.
    async fn fill(&self, api: &Api) -> (Vec<String>, String) {
        let urls: Vec<String> = self.site.urls().collect();
        let queue = async |path: &str, request: Value| {
            let queued = api.json(Method::POST, path, Some(&request)).await.unwrap();
            queued["job_id"].as_str().unwrap().to_owned()
        };
        let mut jobs = Vec::new();
        for (number, url) in urls.iter().enumerate().take(60) {
            let mut request = json!({"url": url, "format": "markdown"});
            if number % 3 == 0 {
                request["webhook_url"] = json!(self.good.url());
            }
            jobs.push(queue("/v1/scrape/async", request).await);
        }
        for number in 0..35 {
            let some = &urls[number * 10..number * 10 + 10];
            jobs.push(queue("/v1/scrape/batch/async", json!({"urls": some, "format": "raw_html"})).await);
        }
        jobs.push(queue("/v1/scrape/batch/async", json!({"urls": urls[..350], "webhook_url": self.good.url()})).await);
        jobs.push(queue("/v1/crawl", json!({"url": self.generated.url(), "max_pages": 50, "format": "text"})).await);
        let failed = queue("/v1/scrape/async", json!({"url": urls[0], "webhook_url": self.gone.url()})).await;
        let owed = json!({"urls": urls[..200], "format": "raw_html", "webhook_url": self.down.url()});
        let owed = queue("/v1/scrape/batch/async", owed).await;
        jobs.extend([failed, owed.clone()]);
        let job = json!({"kind": "scrape", "url": urls[1], "format": "text"});
        let schedule = json!({"name": "once a year", "cron": "0 0 1 1 *", "job": job});
        api.json(Method::POST, "/v1/schedules", Some(&schedule)).await.unwrap();
        for job in &jobs {
            api.wait(job, async |_| {}).await.unwrap();
        }
        (jobs, owed)
    }
}

async fn next(receiver: &Receiver) -> Received {
    tokio::time::timeout(Duration::from_secs(60), receiver.next()).await.unwrap().unwrap()
}

fn api(child: &Child, key: &str) -> Api {
    Api::new(Server { server: child.url(), api_key: key.to_owned() }).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_with_a_hundred_jobs_goes_on_where_it_was_moved() {
    let (world, s3, url) = (World::start().await, S3::start().await, database("moved").await);
    let data = world.data();
    let data_dir = data.to_str().unwrap();
    let mut server = Child::start_program(Path::new(PROGRAM), &data, &world.variables).await.unwrap();
    let (key, sandbox) = server.keys.clone().unwrap();
    let (mut jobs, owed) = world.fill(&api(&server, &key)).await;
    ran(&["secrets", "rotate", "--data-dir", data_dir], &[]);
    let made = ran(&["keys", "create", "--data-dir", data_dir], &[]);
    until("a callback to the endpoint that is well", async || {
        let failed =
            api(&server, &key).json(Method::GET, "/v1/deliveries?status=failed&limit=200", None).await.unwrap();
        let pending =
            api(&server, &key).json(Method::GET, "/v1/deliveries?status=pending&limit=200", None).await.unwrap();
        failed["data"].as_array().unwrap().len() == 1 && pending["data"].as_array().unwrap().len() == 1
    })
    .await;
    let first = next(&world.down).await;
    let before = seen(&api(&server, &key), &jobs, &owed).await;
    // The last is under way when the server dies, and its tasks are leased.
    let urls: Vec<String> = world.slow.urls().collect();
    let request = json!({"urls": urls, "format": "text", "webhook_url": world.good.url()});
    let queued = api(&server, &key).json(Method::POST, "/v1/scrape/batch/async", Some(&request)).await.unwrap();
    let last = queued["job_id"].as_str().unwrap().to_owned();
    jobs.push(last.clone());
    assert_eq!(jobs.len(), JOBS);
    until("some pages", async || {
        let job = api(&server, &key).job(&last).await.unwrap();
        job["progress"]["succeeded"].as_u64() > Some(0)
    })
    .await;

    let mut to: Variables = s3.variables().into_iter().collect();
    let moving = ["admin", "move", "--data-dir", data_dir, "--to", &url, "--blobs", "s3://blobs/production", "--json"];
    let told = refused(&moving, &to);
    assert!(told.contains("another datasonar server is using"), "{told}");
    server.kill().await.unwrap();
    assert!(api_error(&server).await, "it is dead");

    die_twice(&moving, &to, &s3, &url).await;
    to.push(("DATASONAR_DATABASE_URL", url.clone()));
    to.push(("DATASONAR_BLOB_URL", "s3://blobs/production".to_owned()));
    to.push((
        "DATASONAR_ENCRYPTION_KEY",
        std::fs::read_to_string(data.join("encryption.key")).unwrap().trim().to_owned(),
    ));
    for arguments in [&["keys", "list"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let told = refused(arguments, &to);
        assert!(told.contains("a move into this database has not ended"), "{told}");
    }
    let told: Value = serde_json::from_str(&ran(&moving, &to)).unwrap();
    println!("{told}");
    let moved = &told["moved"];
    assert_eq!((&told["begin"], &told["violations"]), (&json!("again"), &json!(0)));
    assert_eq!((&moved["jobs"], &moved["deliveries_owed"], &moved["schedules"]), (&json!(JOBS), &json!(1), &json!(1)));
    assert_eq!((&moved["keys"], &moved["secrets"]), (&json!(3), &json!(3)));
    assert_eq!(told["blobs"]["count"], s3.files("production/jobs").len());
    assert!(told["blobs"]["sent"].as_u64() < told["blobs"]["count"].as_u64(), "some were there");

    let told = refused(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir], &[]);
    assert!(
        told.contains("was moved to 127.0.0.1:") && told.contains("--undo") && !told.contains("datasonar@"),
        "{told}"
    );
    let again: Value = serde_json::from_str(&ran(&moving, &to)).unwrap();
    assert_eq!(again["begin"], "ended_before");

    let start = async |roles: &str| {
        let own = world.directory.path().join(roles);
        let roles = [("DATASONAR_ROLES", roles.to_owned())];
        let variables: Vec<_> = world.variables.iter().chain(&to).cloned().chain(roles).collect();
        Child::start_program(Path::new(PROGRAM), &own, &variables).await.unwrap()
    };
    let mut servers = [start("api,scheduler").await, start("worker").await, start("dispatcher").await];
    let client = api(&servers[0], &key);
    assert_same(&before, &seen(&client, &jobs[..JOBS - 1], &owed).await);
    for key in [&sandbox, &made] {
        api(&servers[0], key).json(Method::GET, "/v1/jobs", None).await.unwrap();
    }
    let ended = client.wait(&last, async |_| {}).await.unwrap();
    assert_eq!(ended["progress"]["succeeded"], urls.len());
    while world.down.next_now().await.is_some() {}
    world.is_up.store(true, Ordering::SeqCst);
    let secrets = client.json(Method::GET, "/v1/webhooks/secrets", None).await.unwrap();
    until("the delivery that was owed", async || client.job(&owed).await.unwrap()["delivery"]["status"] == "delivered")
        .await;
    let mut arrived = next(&world.down).await;
    while let Some(more) = world.down.next_now().await {
        arrived = more;
    }
    assert_eq!(arrived.header("webhook-id"), first.header("webhook-id"));
    assert_eq!((arrived.length, &arrived.sha256), (first.length, &first.sha256));
    for secret in secrets["data"].as_array().unwrap() {
        arrived.verify(secret["secret"].as_str().unwrap()).unwrap();
    }
    let mut delivered = BTreeMap::new();
    while let Some(received) = world.good.next_now().await {
        *delivered.entry(received.header("x-datasonar-job-id").to_owned()).or_insert(0) += 1;
    }
    assert_eq!(delivered.len(), 21 + usize::from(delivered.contains_key(&last)));
    assert!(delivered.values().all(|times| *times == 1), "{delivered:?}");
    println!("{}", ran(&["admin", "check", "--deep", "--json"], &to));
    for server in &mut servers {
        server.stop().await.unwrap();
    }
}

async fn api_error(server: &Child) -> bool {
    api(server, "").json(Method::GET, "/v1/jobs", None).await.is_err()
}

/// Runs the move and kills it: once between two blobs, once between two tables.
async fn die_twice(moving: &[&str], variables: &[(&'static str, String)], s3: &S3, url: &str) {
    let spawn = || {
        let mut command = tokio::process::Command::from(command(moving, variables));
        command.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap()
    };
    s3.trouble(Trouble::Slow(Duration::from_millis(100)));
    let mut first = spawn();
    until("a blob is sent", async || s3.files("production/jobs").len() > 2).await;
    assert!(first.try_wait().unwrap().is_none(), "it has ended before it was killed");
    first.kill().await.unwrap();

    let (calls, _) = s3.calls();
    let mut second = spawn();
    // More than it takes to try the bucket: the move has begun again.
    until("blobs are looked for", async || s3.calls().0 > calls + 20).await;
    let held = hold(url, "datasonar.attempts").await;
    s3.trouble(Trouble::Nothing);
    until("rows are written", async || ask(url, "SELECT count(*) FROM datasonar.deliveries").await > Some(0)).await;
    assert!(second.try_wait().unwrap().is_none(), "it has ended before it was killed");
    second.kill().await.unwrap();
    drop(held);
    assert_eq!(ask(url, "SELECT count(*) FROM datasonar.attempts").await, Some(0));
}
