//! Processes that share a database and a bucket and nothing else, in a place where no directory can be written.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

#[path = "support/s3.rs"]
#[expect(dead_code, reason = "the tests of blobs use the rest")]
mod s3;

use std::{
    fs::File,
    io::BufReader,
    path::Path,
    process::{Command, Output},
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
use s3::{S3, SECRET_KEY, Trouble};
use serde_json::{Value, json};

const URLS: usize = 1_500;
const PROGRAM: &str = env!("CARGO_BIN_EXE_datasonar");
/// No process can make anything there, not even root's.
const NOWHERE: &str = "/proc/datasonar";

/// An empty database on the server that `scripts/test` starts.
async fn database() -> String {
    let server = std::env::var("TEST_POSTGRES")
        .expect("TEST_POSTGRES names a server: `scripts/postgres start FOLDER` starts one");
    let name = format!("shared_blobs_{}", std::process::id());
    let (admin, create) = (format!("{server}/postgres"), format!("CREATE DATABASE {name}"));
    let work = move || postgres::Client::connect(&admin, postgres::NoTls).unwrap().batch_execute(&create).unwrap();
    tokio::task::spawn_blocking(work).await.unwrap();
    format!("{server}/{name}")
}

fn command(arguments: &[&str], variables: &[(&'static str, String)]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).envs(variables.iter().map(|(name, value)| (*name, value))).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// The auditor finds nothing beside running servers, and what was done to blobs behind their backs.
fn check(s3: &S3, job: &str, variables: &[(&'static str, String)]) {
    let check = |flags: &[&str], code: i32| {
        let ran = command(&[&["admin", "check"], flags].concat(), variables);
        assert_eq!(ran.status.code(), Some(code), "{}{}", text(&ran.stdout), text(&ran.stderr));
        ran
    };
    let sound = check(&["--deep", "--json"], 0);
    let told: Value = serde_json::from_slice(&sound.stdout).unwrap();
    let blobs = s3.files("production/jobs").len();
    assert_eq!(told, json!({"jobs": 1, "blobs": blobs, "violations": 0}));
    let migrated = command(&["admin", "migrate", "--json"], variables);
    let versions: Value = serde_json::from_slice(&migrated.stdout).unwrap();
    assert!(migrated.status.success() && versions["from"] == versions["to"], "{migrated:?}");

    let segments = s3.files(&format!("production/jobs/{job}/segments"));
    let original = std::fs::read(&segments[0]).unwrap();
    let mut damaged = original.clone();
    damaged[100] ^= 1;
    std::fs::write(&segments[0], &damaged).unwrap();
    check(&[], 0);
    let found = text(&check(&["--deep"], 1).stdout);
    assert!(found.lines().count() == 1 && found.contains(job) && found.contains("it is damaged"), "{found}");
    std::fs::remove_file(&segments[0]).unwrap();
    let found = text(&check(&[], 1).stdout);
    assert!(found.lines().count() == 1 && found.contains("is missing"), "{found}");
    std::fs::write(&segments[0], &original).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_need_no_directory_beside_a_database_and_a_bucket() {
    let (directory, s3) = (tempfile::tempdir().unwrap(), S3::start().await);
    let options = SiteOptions { urls: URLS, trouble: true, all_sizes: true, pace: Duration::ZERO };
    let site = Site::start(options).await.unwrap();
    let urls: Vec<String> = site.urls().collect();
    let receiver = Receiver::start(directory.path(), |_| Answer::Status(200)).await.unwrap();
    let mut variables = vec![
        ("DATASONAR_DATA_DIR", NOWHERE.to_owned()),
        ("DATASONAR_DATABASE_URL", database().await),
        ("DATASONAR_BLOB_URL", "s3://blobs/production".to_owned()),
        ("DATASONAR_ENCRYPTION_KEY", "5a".repeat(32)),
        ("DATASONAR_WEBHOOK_CA_FILE", receiver.ca_file().display().to_string()),
    ];
    variables.extend(s3.variables());
    let start = async |roles: &str| {
        let own = directory.path().join(roles);
        let roles = [("DATASONAR_ROLES", roles.to_owned())];
        let variables: Vec<_> = variables.iter().cloned().chain(roles).collect();
        Child::start_program(Path::new(PROGRAM), &own, &variables).await.unwrap()
    };
    let mut api = start("api,scheduler").await;
    let key = api.keys.clone().unwrap().0;
    let (mut worker, mut dispatcher) = (start("worker").await, start("dispatcher").await);

    // Every tenth call of the storage fails all along.
    s3.trouble(Trouble::Share(10));
    let client = Api::new(Server { server: api.url(), api_key: key }).unwrap();
    let request = json!({"urls": urls, "format": "raw_html", "webhook_url": receiver.url()});
    let queued = client.json(Method::POST, "/v1/scrape/batch/async", Some(&request)).await.unwrap();
    let job = queued["job_id"].as_str().unwrap().to_owned();
    let received = tokio::time::timeout(Duration::from_secs(120), receiver.next()).await.unwrap().unwrap();
    s3.trouble(Trouble::Nothing);
    let body = BufReader::new(File::open(received.body()).unwrap());
    verify_body(body, &job, &urls, |index| site.expect(index)).unwrap();
    let (_, failed) = s3.calls();
    assert!(failed > 0 && !s3.files(&format!("production/jobs/{job}/segments")).is_empty(), "its results are blobs");

    check(&s3, &job, &variables);
    let shown = command(&["secrets", "show"], &variables);
    assert!(shown.status.success(), "{shown:?}");
    received.verify(&text(&shown.stdout)).unwrap();
    let without_key: Vec<_> = variables.iter().filter(|(name, _)| !name.contains("ENCRYPTION")).cloned().collect();
    let listed = command(&["keys", "list"], &without_key);
    assert!(listed.status.success() && text(&listed.stdout).lines().count() == 2, "{listed:?}");
    let refused = command(&["serve", "--listen", "127.0.0.1:0"], &without_key);
    assert!(!refused.status.success() && text(&refused.stderr).contains("DATASONAR_ENCRYPTION_KEY"), "{refused:?}");

    for child in [&mut api, &mut worker, &mut dispatcher] {
        child.stop().await.unwrap();
        assert!(!child.last_words().contains(SECRET_KEY));
    }
    variables.push(("AWS_SECRET_ACCESS_KEY", "another-secret".to_owned()));
    let refused = command(&["serve", "--listen", "127.0.0.1:0"], &variables);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("Check AWS_ACCESS_KEY_ID"), "{said}");
    assert!(!said.contains("another-secret") && !said.contains(s3::ACCESS_KEY), "{said}");
}
