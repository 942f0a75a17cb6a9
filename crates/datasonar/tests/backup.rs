//! Backups taken in the middle of the work, as docs/operating.md says, and what comes of them when they are restored.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

use std::{
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
        receiver::{Answer, Receiver},
        site::{Site, SiteOptions},
    },
};
use http::Method;
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_datasonar");
const URLS: usize = 1_000;

/// A site, an endpoint, and a batch of whose pages some are done when the backup is taken.
struct Scene {
    directory: tempfile::TempDir,
    site: Site,
    urls: Vec<String>,
    receiver: Receiver,
}

impl Scene {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pace = Duration::from_millis(20);
        let site = Site::start(SiteOptions { urls: URLS, trouble: false, all_sizes: true, pace }).await.unwrap();
        let urls = site.urls().collect();
        let receiver = Receiver::start(directory.path(), |_| Answer::Status(200)).await.unwrap();
        Self { directory, site, urls, receiver }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn start(&self, data_dir: &Path, variables: &[(&'static str, String)]) -> Child {
        let ca = ("DATASONAR_WEBHOOK_CA_FILE", self.receiver.ca_file().display().to_string());
        let slow = ("DATASONAR_FETCH_CONCURRENCY", "8".to_owned());
        let variables: Vec<_> = variables.iter().cloned().chain([ca, slow]).collect();
        Child::start_program(Path::new(PROGRAM), data_dir, &variables).await.unwrap()
    }

    /// Queues the batch and waits until a part of it is done.
    async fn begin(&self, api: &Api) -> String {
        let request = json!({"urls": self.urls, "format": "raw_html", "webhook_url": self.receiver.url()});
        let queued = api.json(Method::POST, "/v1/scrape/batch/async", Some(&request)).await.unwrap();
        let job = queued["job_id"].as_str().unwrap().to_owned();
        loop {
            let progress = &api.job(&job).await.unwrap()["progress"];
            assert_ne!(progress["total"], progress["succeeded"], "the job is over before the backup");
            if progress["succeeded"].as_u64().unwrap() >= URLS as u64 / 5 {
                return job;
            }
        }
    }

    /// The restored store goes on where it was: its one callback comes, with every result.
    async fn ends(&self, api: &Api, job: &str) {
        let received = tokio::time::timeout(Duration::from_secs(120), self.receiver.next()).await.unwrap().unwrap();
        let body = BufReader::new(File::open(received.body()).unwrap());
        verify_body(body, job, &self.urls, |index| self.site.expect(index)).unwrap();
        api.wait(job, async |_| {}).await.unwrap();
    }
}

fn client(child: &Child, key: &str) -> Api {
    Api::new(Server { server: child.url(), api_key: key.to_owned() }).unwrap()
}

fn run(program: &str, arguments: &[&str], variables: &[(&'static str, String)]) -> String {
    let mut command = Command::new(program);
    let ran = command.args(arguments).envs(variables.iter().map(|(name, value)| (*name, value))).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{program} {arguments:?}: {out}{error}");
    out.into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_store_is_restored_from_a_copy_taken_while_it_works() {
    let scene = Scene::new().await;
    let (data, backup) = (scene.path("data"), scene.path("backup"));
    let mut child = scene.start(&data, &[]).await;
    let key = child.keys.clone().unwrap().0;
    let job = scene.begin(&client(&child, &key)).await;
    let (from, to) = (data.to_str().unwrap(), backup.to_str().unwrap());
    let told = run(PROGRAM, &["admin", "backup", to, "--data-dir", from], &[]);
    assert!(told.contains("blobs"), "{told}");
    let again = Command::new(PROGRAM).args(["admin", "backup", to, "--data-dir", from]).output().unwrap();
    assert!(!again.status.success(), "a backup is not written over another");
    child.kill().await.unwrap();
    std::fs::remove_dir_all(&data).unwrap();

    let mut child = scene.start(&backup, &[]).await;
    assert!(child.keys.is_none(), "the keys are those of before");
    scene.ends(&client(&child, &key), &job).await;
    run(PROGRAM, &["admin", "check", "--deep", "--data-dir", to], &[]);
    child.stop().await.unwrap();
}

/// The programs of PostgreSQL.
fn binary(name: &str) -> String {
    let mut folders: Vec<_> =
        std::fs::read_dir("/usr/lib/postgresql").unwrap().map(|one| one.unwrap().path()).collect();
    folders.sort();
    folders.last().unwrap().join("bin").join(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_store_is_restored_from_a_dump_taken_while_it_works() {
    let scene = Scene::new().await;
    let server = std::env::var("TEST_POSTGRES")
        .expect("TEST_POSTGRES names a server: `scripts/postgres start FOLDER` starts one");
    let database = |name: &str| format!("{server}/{name}_{}", std::process::id());
    let create = |url: &str| {
        let name = url.rsplit('/').next().unwrap();
        run(&binary("psql"), &[&format!("{server}/postgres"), "--command", &format!("CREATE DATABASE {name}")], &[]);
    };
    let variables = |database: &str, blobs: &Path| {
        vec![
            ("DATASONAR_DATABASE_URL", database.to_owned()),
            ("DATASONAR_BLOB_URL", format!("file://{}", blobs.display())),
            ("DATASONAR_ENCRYPTION_KEY", "3c".repeat(32)),
        ]
    };
    let (first, second) = (database("backed_up"), database("restored"));
    create(&first);
    create(&second);
    let (blobs, copies) = (scene.path("blobs"), scene.path("copies"));
    let mut child = scene.start(&scene.path("nowhere"), &variables(&first, &blobs)).await;
    let key = child.keys.clone().unwrap().0;
    let job = scene.begin(&client(&child, &key)).await;

    // Rows first, then blobs.
    let dump = scene.path("datasonar.dump").display().to_string();
    run(&binary("pg_dump"), &["--format=custom", "--schema=datasonar", "--file", &dump, &first], &[]);
    run("cp", &["-a", blobs.to_str().unwrap(), copies.to_str().unwrap()], &[]);
    child.kill().await.unwrap();
    std::fs::remove_dir_all(&blobs).unwrap();
    run(&binary("pg_restore"), &["--no-owner", "--dbname", &second, &dump], &[]);

    let restored = variables(&second, &copies);
    let mut child = scene.start(&scene.path("nowhere"), &restored).await;
    scene.ends(&client(&child, &key), &job).await;
    run(PROGRAM, &["admin", "check", "--deep"], &restored);
    child.stop().await.unwrap();
}
