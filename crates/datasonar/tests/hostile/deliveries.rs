//! Deliveries are isolated by tenant and endpoint: endpoints that accept connections and never answer delay nobody else's.

use std::{fs, net::SocketAddr, time::Duration};

use http::Method;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

use super::server::{Call, Server, Setup, acceptor, site, until};

/// Addresses of loopback with an endpoint each.
const HOSTS: u8 = 100;
/// The longest that a healthy endpoint may wait. An attempt at one that hangs lasts ten times as long.
const PROMPT: Duration = Duration::from_secs(6);

/// One HTTPS server at all of the addresses. Paths that begin with `/hang` accept the request and never answer.
struct Endpoints {
    port: u16,
    arrivals: mpsc::UnboundedReceiver<String>,
}

impl Endpoints {
    async fn start(setup: Setup) -> (Self, Setup) {
        let names: Vec<String> = (1..=HOSTS).map(|n| format!("127.0.0.{n}")).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let ca_file = setup.file("endpoints.pem");
        fs::write(&ca_file, certificate.pem()).unwrap();
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, arrivals) = mpsc::unbounded_channel();
        let acceptor = acceptor(&certificate, &key);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream, sender.clone()));
            }
        });
        let setup = setup
            .flag("webhook_ca_file", &ca_file.to_string_lossy())
            .flag("webhook_timeout", "60s")
            .flag("fetch_per_host_concurrency", "64")
            .flag("plan_enterprise_requests_per_minute", "unlimited");
        (Self { port, arrivals }, setup)
    }

    fn url(&self, host: u8, path: &str) -> String {
        format!("https://{}/{path}", SocketAddr::from(([127, 0, 0, host], self.port)))
    }

    /// Waits until a request for a path arrives.
    async fn arrival(&mut self, path: &str) {
        while self.arrivals.recv().await.unwrap() != path {}
    }
}

/// Reads one request after the other.
async fn serve(acceptor: TlsAcceptor, stream: TcpStream, arrivals: mpsc::UnboundedSender<String>) -> Option<()> {
    let mut stream = BufReader::new(acceptor.accept(stream).await.ok()?);
    loop {
        let (mut line, mut path, mut length) = (String::new(), None, 0);
        while stream.read_line(&mut line).await.ok()? > 2 {
            let is_length = line.to_ascii_lowercase().starts_with("content-length:");
            path = path.or_else(|| line.split(' ').nth(1).map(str::to_owned));
            length = if is_length { line.trim().split(": ").nth(1)?.parse().ok()? } else { length };
            line.clear();
        }
        let path = path?;
        stream.read_exact(&mut vec![0; length]).await.ok()?;
        arrivals.send(path.clone()).ok()?;
        if path.starts_with("/hang") {
            std::future::pending::<()>().await;
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok()?;
        stream.flush().await.ok()?;
    }
}

/// Creates an account and returns its key.
async fn account(server: &Server, email: &str) -> String {
    let run = async |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_datasonar"));
        command.args(args).arg("--data-dir").arg(server.directory().join("data")).kill_on_drop(true);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    let id = run(&["accounts", "create", "--email", email, "--plan", "enterprise"]).await;
    run(&["keys", "create", "--account", &id]).await
}

async fn queue(server: &Server, key: &str, page: &str, webhook: &str) -> String {
    let body = json!({"url": page, "webhook_url": webhook});
    let call = Call::post("/v1/scrape/async", &body).key(key);
    server.send(call).await.is(202)["job_id"].as_str().unwrap().to_owned()
}

async fn ended(server: &Server, key: &str, job: &str) {
    let path = format!("/v1/jobs/{job}");
    until("the job's end", async || {
        let job: Value = server.send(Call::new(Method::GET, &path).key(key)).await.is(200);
        matches!(job["status"].as_str(), Some("completed" | "failed")).then_some(())
    })
    .await;
}

/// Queues one job with each key for a healthy endpoint and requires its delivery to arrive soon after the job's end.
async fn healthy_is_prompt(server: &Server, endpoints: &mut Endpoints, page: &str, keys: &[&str], host: u8) {
    for (number, key) in keys.iter().enumerate() {
        for round in 0..3 {
            let path = format!("/fine/{number}-{round}");
            let job = queue(server, key, page, &endpoints.url(host, &path[1..])).await;
            ended(server, key, &job).await;
            let ended = Instant::now();
            let arrives = tokio::time::timeout(PROMPT, endpoints.arrival(&path)).await;
            assert!(arrives.is_ok(), "key {number}, round {round}: not within {PROMPT:?}");
            assert!(ended.elapsed() < PROMPT);
        }
    }
}

/// The same account's, its sandbox's and another account's endpoints hang on one host, each with a backlog; healthy paths of
/// that host receive at once, whoever they belong to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_of_a_host_that_hang_delay_no_other_path() {
    let (mut endpoints, setup) = Endpoints::start(Setup::new()).await;
    let server = setup.start().await;
    let pages = site(2).await;
    let page = pages.quick_url();
    let other = account(&server, "eve@example.com").await;
    let keys = [server.production.as_str(), &server.sandbox, &other];
    let mut last = Vec::new();
    for key in keys {
        for number in 0..60 {
            // Some to one path, some to paths of their own.
            let path = format!("hang/{}?job={number}", if number < 20 { 0 } else { number });
            last.push((key, queue(&server, key, &page, &endpoints.url(1, &path)).await));
        }
    }
    for (key, job) in &last {
        ended(&server, key, job).await;
    }
    healthy_is_prompt(&server, &mut endpoints, &page, &keys, 1).await;
}

/// A tenant whose endpoints hang on many hosts takes neither the quick nor the slow slots of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_with_hundreds_that_hang_delays_no_other() {
    let (mut endpoints, setup) = Endpoints::start(Setup::new()).await;
    let server = setup.start().await;
    let pages = site(2).await;
    let page = pages.quick_url();
    let other = account(&server, "eve@example.com").await;
    let mut last = Vec::new();
    for number in 0..400_u16 {
        let host = 1 + (number % u16::from(HOSTS)) as u8;
        last.push(queue(&server, &other, &page, &endpoints.url(host, &format!("hang/{number}"))).await);
    }
    for job in &last {
        ended(&server, &other, job).await;
    }
    let keys = [server.production.clone(), server.sandbox.clone()];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    healthy_is_prompt(&server, &mut endpoints, &page, &keys, HOSTS).await;
}
