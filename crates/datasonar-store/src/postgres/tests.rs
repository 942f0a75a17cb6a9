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

/// While processes are upgraded one by one, one of the version before may start again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_is_worked_with_if_it_says_that_this_can_be() {
    let (name, connector) = database().await;
    PostgresStore::open(connector.clone()).await.unwrap().close().await;
    let newer = |readable_by: u32| {
        let (url, sql) = (
            format!("{}/{name}", server()),
            format!(
                "INSERT INTO datasonar.schema_version (version, readable_by) VALUES (9{readable_by}, {readable_by})"
            ),
        );
        tokio::task::spawn_blocking(move || {
            postgres::Client::connect(&url, postgres::NoTls).unwrap().batch_execute(&sql).unwrap()
        })
    };
    newer(PostgresStore::LATEST).await.unwrap();
    PostgresStore::open(connector.clone()).await.unwrap().ping().await.unwrap();
    newer(PostgresStore::LATEST + 1).await.unwrap();
    assert!(matches!(PostgresStore::open(connector).await, Err(crate::StoreError::Conflict(_))));
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

/// The test server gets a certificate for `localhost`; connections that ask for encryption verify it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_encrypted_and_its_server_verified_when_the_url_asks_for_it() {
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut terms = rcgen::CertificateParams::new([]).unwrap();
    terms.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = terms.self_signed(&authority).unwrap();
    let issuer = rcgen::Issuer::from_params(&terms, &authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let terms = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = terms.signed_by(&key, &issuer).unwrap();
    let trusting = |roots: &[rustls::pki_types::CertificateDer<'static>]| {
        let mut store = rustls::RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(store).with_no_client_auth())
    };

    // The server reads the files itself, as whoever it runs as, from its own folder.
    let (name, _) = database().await;
    for (file, pem) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
        let lines = pem.trim().replace('\n', "', '");
        administer(format!("COPY (SELECT unnest(ARRAY['{lines}'])) TO PROGRAM 'umask 077; cat > {file}'")).await;
    }
    administer("ALTER SYSTEM SET ssl = on".to_owned()).await;
    administer("SELECT pg_reload_conf()".to_owned()).await;

    let url = |mode: &str| format!("{}/{name}?sslmode={mode}", server().replace("127.0.0.1", "localhost"));
    let open = |mode, roots: &[_]| PostgresStore::open(Connector::new(&url(mode), Some(trusting(roots))).unwrap());
    let store = open("require", &[root.der().clone()]).await.unwrap();
    let encrypted = "SELECT CAST(ssl AS TEXT) AS ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let read = |c: &Connection| Ok(c.prepare(encrypted).query_row(params![], |row| row.get::<_, String>("ssl"))?);
    assert_eq!(store.read(read).await.unwrap(), "true");
    assert!(matches!(open("require", &[]).await, Err(crate::StoreError::Unavailable(_))), "an unknown authority");
    assert_eq!(open("disable", &[]).await.unwrap().read(read).await.unwrap(), "false");
}

#[test]
fn what_names_no_database_is_refused_without_telling_the_password() {
    for url in ["", "postgres://", "mysql://a:secret@b/c", "postgres://a:secret@b:port/c", "postgres:///only"] {
        let error = Connector::new(url, None).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_has_to_mend_is_told() {
    let (name, _) = database().await;
    administer(format!(
        "DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN; REVOKE CREATE ON DATABASE {name} FROM PUBLIC"
    ))
    .await;
    let (_, host) = server().rsplit_once('@').map(|(user, host)| (user.to_owned(), host.to_owned())).unwrap();
    for (url, told) in [
        (format!("{}/{name}_not", server()), "there is no database of that name"),
        (format!("postgres://nobody@{host}/{name}"), "refuses that user"),
        (format!("postgres://stranger@{host}/{name}"), "it needs CREATE on it once"),
    ] {
        let Err(error) = PostgresStore::open(Connector::new(&url, None).unwrap()).await else { panic!("{url} opens") };
        assert!(error.to_string().contains(told), "{url}: {error}");
    }
}
