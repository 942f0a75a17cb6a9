//! Slots, hosts, browsers and seats belong to tenants: work that does not come on keeps no other tenant waiting.
//!
//! The hostile tenant holds everything that the server has a number of, in each way there is. Meanwhile a neighbour scrapes, and
//! has its answer within its own time limit and a second; where its page is well, it has the page.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use datasonar::cli::demo::site::Site;
use datasonar_net::{Resolve, ResolveError};
use futures::future::join_all;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    time::Instant,
};

use super::server::{Call, Server, Setup, site, until};

/// The fetch slots of these servers.
const SLOTS: usize = 16;
/// The neighbour's time limit, in seconds.
const LIMIT: u64 = 6;

/// What a hostile host does with a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trick {
    /// Accepts, and says nothing.
    Silence,
    /// Sends headers, then a byte a second.
    Drip,
    /// Sends headers and half of a body.
    Stall,
    /// Sends a good part of a body that is large.
    StallLarge,
    /// Answers at once, with a page that is large.
    Large,
    /// Answers 429 and asks for hours.
    Overloaded,
    /// Redirects to the query.
    Redirect,
    /// Answers at once, with a page.
    Page,
}

/// A host at an address of loopback.
pub(super) struct Host {
    address: SocketAddr,
    hits: Arc<AtomicUsize>,
}

impl Host {
    pub(super) async fn start(ip: &str, trick: impl Fn(&str) -> Trick + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let (address, hits) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let counted = hits.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(play(stream, trick.clone(), counted.clone()));
            }
        });
        Self { address, hits }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(super) fn urls(&self, count: usize) -> Vec<String> {
        (0..count).map(|n| self.url(&n.to_string())).collect()
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::Relaxed)
    }
}

/// Serves one connection, until the client goes away.
async fn play(mut stream: TcpStream, trick: impl Fn(&str) -> Trick, hits: Arc<AtomicUsize>) -> io::Result<()> {
    let mut head = Vec::new();
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let text = String::from_utf8_lossy(&std::mem::take(&mut head)).into_owned();
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        hits.fetch_add(1, Ordering::Relaxed);
        let trick = trick(&path);
        let answer = match trick {
            Trick::Silence => String::new(),
            Trick::Drip | Trick::Stall => {
                "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nContent-Type: text/html\r\n\r\n<p>Half.".to_owned()
            }
            Trick::StallLarge => large(3_000_000),
            Trick::Large => large(LARGE),
            Trick::Overloaded => "HTTP/1.1 429 X\r\nRetry-After: 9999\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Trick::Redirect => {
                let to = path.split_once('?').unwrap().1;
                format!("HTTP/1.1 302 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
            }
            Trick::Page => {
                "HTTP/1.1 200 OK\r\nContent-Length: 30\r\nContent-Type: text/html\r\n\r\n<p>A page that is well and so."
                    .to_owned()
            }
        };
        stream.write_all(answer.as_bytes()).await?;
        match trick {
            Trick::Silence | Trick::Stall | Trick::StallLarge => return stream.read_u8().await.map(drop),
            Trick::Drip => loop {
                stream.write_all(b".").await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            },
            _ => {}
        }
    }
}

/// The bytes that are sent of a large body.
const LARGE: usize = 1_500_000;

/// An answer with a body that is said to be so long, as far as it is sent.
fn large(length: usize) -> String {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Type: text/plain\r\n\r\n");
    head + &"A line that is well.\n".repeat(LARGE / 20)[..LARGE]
}

/// Names that are never resolved, beside those of loopback.
struct DeafResolver;

#[async_trait]
impl Resolve for DeafResolver {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if host.ends_with(".deaf.test") {
            std::future::pending::<()>().await;
        }
        Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
    }
}

/// Runs a command of the operator on the server's data, and returns what it prints.
async fn printed(server: &Server, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_datasonar"));
    command.args(args).arg("--data-dir").arg(server.directory().join("data")).kill_on_drop(true);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Makes an account, and returns its production and its sandbox key.
pub(super) async fn account(server: &Server, name: &str) -> [String; 2] {
    let email = format!("{name}@example.com");
    let id = printed(server, &["accounts", "create", "--email", &email, "--plan", "enterprise"]).await;
    let production = printed(server, &["keys", "create", "--account", &id]).await;
    let sandbox = printed(server, &["keys", "create", "--account", &id, "--environment", "sandbox"]).await;
    [production, sandbox]
}

/// Two processors, few slots, and no second tries.
fn setup() -> Setup {
    Setup::new().flag("fetch_concurrency", &SLOTS.to_string()).flag("fetch_retries", "0")
}

/// Queues a batch with a key, and returns its job.
async fn batch(server: &Server, key: &str, body: Value) -> String {
    let answer = server.send(Call::post("/v1/scrape/batch/async", &body).key(key)).await.is(202);
    answer["job_id"].as_str().unwrap().to_owned()
}

/// Cancels a job, so that the server can stop.
async fn cancel(server: &Server, key: &str, job: &str) {
    server.send(Call::new(Method::DELETE, &format!("/v1/jobs/{job}")).key(key)).await;
    until("the job's end", async || {
        let job = server.send(Call::new(Method::GET, &format!("/v1/jobs/{job}")).key(key)).await.is(200);
        matches!(job["status"].as_str(), Some("completed" | "failed" | "cancelled")).then_some(())
    })
    .await;
}

/// Scrapes with the neighbour's key, and checks that the answer is there in time. Returns its status and its page.
async fn scrape(server: &Server, key: &str, body: Value) -> (u16, Value) {
    scrape_within(server, key, body, LIMIT).await
}

/// Does the same with another limit, in seconds.
async fn scrape_within(server: &Server, key: &str, mut body: Value, limit: u64) -> (u16, Value) {
    body["timeout"] = json!(limit);
    let begin = Instant::now();
    let answer = server.send(Call::post("/v1/scrape", &body).key(key)).await;
    assert!(begin.elapsed() <= Duration::from_secs(limit + 1), "{body} took {:?}: {answer:?}", begin.elapsed());
    (answer.status.as_u16(), answer.json())
}

/// Has a tenant fill all slots with these pages, and others scrape beside it, at once and a while later.
async fn starve(server: Server, hostile: Vec<Value>) {
    let pages = site(40).await;
    let [neighbour, sandbox] = account(&server, "neighbour").await;
    let mut jobs = Vec::new();
    for body in hostile {
        jobs.push(batch(&server, &server.production, body).await);
    }
    for round in 0..2 {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let well = join_all((0..4).map(|_| scrape(&server, &neighbour, json!({"url": pages.quick_url()}))));
        for (status, page) in well.await {
            assert_eq!(status, 200, "round {round}: {page}");
        }
        let (status, page) = scrape(&server, &sandbox, json!({"url": pages.quick_url(), "respect_robots": true})).await;
        assert_eq!(status, 200, "round {round}: {page}");
    }
    for job in jobs {
        cancel(&server, &server.production, &job).await;
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_hosts_keep_nobody_waiting() {
    let mut urls = Vec::new();
    for n in 0..10 {
        urls.extend(Host::start(&format!("127.0.1.{n}"), |_| Trick::Silence).await.urls(9));
    }
    starve(setup().start().await, vec![json!({"urls": urls, "timeout": 300})]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dripping_and_stalling_bodies_keep_nobody_waiting() {
    let mut urls = Vec::new();
    for n in 0..6 {
        urls.extend(Host::start(&format!("127.0.2.{n}"), |_| Trick::Drip).await.urls(8));
        urls.extend(Host::start(&format!("127.0.3.{n}"), |_| Trick::Stall).await.urls(8));
    }
    starve(setup().start().await, vec![json!({"urls": urls, "timeout": 300})]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_that_do_not_end_keep_no_other_large_body_waiting() {
    // Bodies of unknown length reserve 10 MiB each.
    let server = setup().flag("fetch_concurrency", "64").flag("extract_memory", "240MiB").start().await;
    let [neighbour, _] = account(&server, "neighbour").await;
    let (mut urls, mut hosts) = (Vec::new(), Vec::new());
    for n in 0..6 {
        let host = Host::start(&format!("127.0.11.{n}"), |_| Trick::StallLarge).await;
        urls.extend(host.urls(8));
        hosts.push(host);
    }
    let well = Host::start("127.0.11.9", |_| Trick::Large).await;
    let job = batch(&server, &server.production, json!({"urls": urls, "timeout": 300})).await;
    until("the bodies", async || (hosts.iter().map(Host::hits).sum::<usize>() >= 48).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (status, page) = scrape(&server, &neighbour, json!({"url": well.url("well"), "format": "text"})).await;
    assert_eq!(status, 200, "{}", page["error"]);
    cancel(&server, &server.production, &job).await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_never_resolved_keep_nobody_waiting() {
    let urls: Vec<String> = (0..90).map(|n| format!("http://h{n}.deaf.test/")).collect();
    let server = setup().network(Arc::new(DeafResolver), Arc::new(datasonar_net::TcpDialer)).start().await;
    starve(server, vec![json!({"urls": urls, "timeout": 300})]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_jobs_of_one_account_keep_nobody_waiting() {
    let mut jobs = Vec::new();
    for n in 0..12 {
        let urls = Host::start(&format!("127.0.4.{n}"), |_| Trick::Silence).await.urls(8);
        jobs.push(json!({"urls": urls, "timeout": 300}));
    }
    starve(setup().start().await, jobs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_one_tenant_waits_at_is_open_to_others() {
    let host = Host::start("127.0.5.1", |path| if path == "/well" { Trick::Page } else { Trick::Silence }).await;
    let server = setup().start().await;
    let [neighbour, _] = account(&server, "neighbour").await;
    let job = batch(&server, &server.production, json!({"urls": host.urls(90), "timeout": 300})).await;
    until("the host to be full", async || (host.hits() >= 8).then_some(())).await;
    let (status, page) = scrape(&server, &neighbour, json!({"url": host.url("well")})).await;
    assert_eq!(status, 200, "{page}");
    cancel(&server, &server.production, &job).await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_tenants_than_slots_take_turns() {
    let server = setup().flag("fetch_concurrency", "4").start().await;
    let pages = site(4).await;
    let mut keys = vec![server.production.clone(), server.sandbox.clone()];
    for n in 0..3 {
        keys.extend(account(&server, &format!("hostile-{n}")).await);
    }
    let [neighbour, _] = account(&server, "neighbour").await;
    let mut jobs = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        let urls = Host::start(&format!("127.0.6.{n}"), |_| Trick::Silence).await.urls(8);
        jobs.push((key, batch(&server, key, json!({"urls": urls, "timeout": 300})).await));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..2 {
        let (status, page) = scrape_within(&server, &neighbour, json!({"url": pages.quick_url()}), 20).await;
        assert_eq!(status, 200, "{page}");
    }
    for (key, job) in jobs {
        cancel(&server, key, &job).await;
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_in_time_whatever_it_waits_for() {
    let server = setup().start().await;
    let [neighbour, _] = account(&server, "neighbour").await;
    // The same tenant fills its own slots, robots.txt never comes, the host is silent, or its name is not known.
    let silent = Host::start("127.0.7.1", |_| Trick::Silence).await;
    let calls = (0..SLOTS + 8).map(|n| {
        let body = json!({"url": silent.url(&n.to_string()), "respect_robots": n % 2 == 0});
        scrape(&server, &neighbour, body)
    });
    for (status, page) in join_all(calls).await {
        assert_eq!((status, &page["error"]["code"]), (504, &json!("timeout")), "{page}");
    }
    let begin = Instant::now();
    let body = json!({"urls": silent.urls(60), "timeout": 3, "concurrency": 25});
    let result = server.send(Call::post("/v1/scrape/batch", &body).key(&neighbour)).await.is(200);
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(result["failed"], 60);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_tenant_is_told_slows_no_other_and_not_the_host_that_redirected() {
    let asked = Arc::new(AtomicUsize::new(0));
    let overloaded = Host::start("127.0.8.1", move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Trick::Overloaded,
        _ => Trick::Page,
    })
    .await;
    let open = Host::start("127.0.8.2", |path| if path.contains('?') { Trick::Redirect } else { Trick::Page }).await;
    let server = setup().start().await;
    let [neighbour, _] = account(&server, "neighbour").await;
    let hostile = server.production.clone();

    let (status, page) = scrape(&server, &hostile, json!({"url": open.url(&format!("?{}", overloaded.url("")))})).await;
    assert_eq!((status, &page["status_code"]), (502, &json!(429)), "{page}");
    // The host that redirected is not the one that asked to be left alone, even for the tenant that was told.
    for key in [&hostile, &neighbour] {
        let begin = Instant::now();
        let (status, page) = scrape(&server, key, json!({"url": open.url("well")})).await;
        assert_eq!(status, 200, "{page}");
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
    // The one that asked is open to others at once; the tenant that was told is told so again, without waiting for long.
    let (status, page) = scrape(&server, &neighbour, json!({"url": overloaded.url("")})).await;
    assert_eq!(status, 200, "{page}");
    let begin = Instant::now();
    let (status, page) = scrape(&server, &hostile, json!({"url": overloaded.url("")})).await;
    assert_eq!((status, &page["error"]["code"]), (504, &json!("timeout")), "{page}");
    assert!(page["error"]["message"].as_str().unwrap().contains("pause"), "{page}");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    server.finish().await;
}

/// How long a neighbour's healthy batch takes.
async fn healthy(server: &Server, key: &str, pages: &Site) -> Duration {
    let begin = Instant::now();
    let urls: Vec<String> = pages.urls().collect();
    let job = batch(server, key, json!({"urls": urls})).await;
    let job = until("the healthy job's end", async || {
        let job = server.send(Call::new(Method::GET, &format!("/v1/jobs/{job}")).key(key)).await.is(200);
        (job["status"] == "completed").then_some(job)
    })
    .await;
    assert_eq!(job["progress"]["succeeded"], urls.len(), "{job}");
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthy_pages_beside_hostile_ones_keep_half_their_rate() {
    let server = setup().start().await;
    let [neighbour, _] = account(&server, "neighbour").await;
    let pages = site(1_000).await;
    let alone = healthy(&server, &neighbour, &pages).await;
    let mut jobs = Vec::new();
    for n in 0..10 {
        let urls = Host::start(&format!("127.0.9.{n}"), |_| Trick::Silence).await.urls(90);
        jobs.push(batch(&server, &server.production, json!({"urls": urls, "timeout": 300})).await);
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let beside = healthy(&server, &neighbour, &pages).await;
    println!("alone {alone:?}, beside hostile pages {beside:?}");
    assert!(beside <= 2 * alone + Duration::from_millis(1_500), "alone {alone:?}, beside hostile pages {beside:?}");
    for job in jobs {
        cancel(&server, &server.production, &job).await;
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seats_of_listeners_belong_to_accounts() {
    let server = setup().start().await;
    let [neighbour, _] = account(&server, "neighbour").await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(server.open("/v1/webhooks/listen").await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    let mut of_neighbour = server.open_with(&neighbour, "/v1/webhooks/listen").await;
    let ready = of_neighbour.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&ready).contains("ready"));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    drop((streams, of_neighbour));
    server.finish().await;
}

/// Whether there is a browser to render with.
fn has_browser() -> bool {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| names.iter().any(|name| folder.join(name).is_file()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renders_that_are_never_ready_keep_nobody_waiting() {
    if !has_browser() {
        eprintln!("skipped: there is no browser");
        return;
    }
    let host = Host::start("127.0.10.1", |_| Trick::Page).await;
    let server = setup().flag("render_concurrency", "2").start().await;
    let [neighbour, _] = account(&server, "neighbour").await;
    let urls = host.urls(20);
    let body = json!({"urls": urls, "render": "always", "wait_for": "#never", "timeout": 300});
    let job = batch(&server, &server.production, body).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    for _ in 0..2 {
        let begin = Instant::now();
        let body = json!({"url": host.url("well"), "render": "always", "timeout": 20});
        let answer = server.send(Call::post("/v1/scrape", &body).key(&neighbour)).await;
        assert!(begin.elapsed() < Duration::from_secs(21), "{:?}", begin.elapsed());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    cancel(&server, &server.production, &job).await;
    server.finish().await;
}
