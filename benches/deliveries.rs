//! Deliveries per second, and how long after its job's end a delivery arrives, over TLS.
//!
//! Rates: a store full of deliveries is handed to the real server, as a dispatcher. Beside it the ceiling of the machine: a
//! bare HTTPS client that sends the same bytes to the same endpoints with as many requests in flight, and does nothing
//! else. Endpoints are this process in both cases; they answer at once, which none does over a network, and once more after
//! two milliseconds, which is little. Latencies: single scrapes through the whole server, a hundred a second.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and ends with what is wrong")]

mod support;

use std::{io::Read, path::Path, process::Stdio, time::Duration};

use datasonar::{
    cli::client::{Api, Server},
    clock::{Clock, Ids, SystemClock},
    webhook::lanes::PER_ENDPOINT,
};
use datasonar_net::{AddressPolicy, BodySource, Client, ClientOptions, PostRequest};
use futures::{StreamExt, stream};
use http::{HeaderMap, Method};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;
use support::{Endpoints, percentile, seed, server, text};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

/// The length of a body, how many there are, and how many single scrapes are timed.
const SIZES: [(&str, usize, usize, usize); 3] =
    [("1 KB", 1_000, 20_000, 500), ("100 KB", 100_000, 4_000, 300), ("2 MB", 2_000_000, 300, 60)];
/// Between two single scrapes.
const GAP: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some("bare") {
        return bare().await;
    }
    println!(
        "{:>8} {:>10} {:>10} {:>14} {:>14} {:>6}",
        "body", "endpoints", "answer in", "deliveries/s", "bare client/s", "ratio"
    );
    for (name, bytes, count, _) in SIZES {
        for (hosts, delay, count) in [(1, 0, count), (100, 0, count), (1, 2, count / 4)] {
            let delay = Duration::from_millis(delay);
            let ours = dispatch(hosts, delay, count, bytes).await;
            let bare = run_bare(hosts, delay, count, bytes).await;
            println!("{name:>8} {hosts:>10} {delay:>10?} {ours:>14.0} {bare:>14.0} {:>6.2}", ours / bare);
        }
    }
    println!("\n{:>8} {:>24} {:>10}", "body", "job end to receipt: p50", "p99");
    for (name, bytes, _, count) in SIZES {
        let mut times = latencies(count, bytes).await;
        println!("{name:>8} {:>21.1} ms {:>7.1} ms", percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    }
}

/// Deliveries per second of the real dispatcher.
async fn dispatch(hosts: usize, delay: Duration, count: usize, bytes: usize) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let endpoints = Endpoints::slow(hosts, delay).await;
    let mut child = server(directory.path(), &endpoints.ca, &[]).await;
    let key = child.keys.clone().unwrap().0;
    child.stop().await.unwrap();
    seed(directory.path(), &key, (0..count).map(|n| endpoints.url(n % hosts)), bytes).await;
    let mut child = server(directory.path(), &endpoints.ca, &[("DATASONAR_ROLES", "dispatcher")]).await;
    let rate = measure(&endpoints, count).await;
    child.stop().await.unwrap();
    rate
}

/// Bodies per second, between the first tenth and the last.
async fn measure(endpoints: &Endpoints, count: usize) -> f64 {
    let from = count / 10;
    endpoints.inbox.reach(from).await;
    let (begin, from) = (Instant::now(), endpoints.inbox.count());
    endpoints.inbox.reach(count).await;
    (count - from) as f64 / begin.elapsed().as_secs_f64()
}

/// The same bytes, sent by a child that does nothing else.
async fn run_bare(hosts: usize, delay: Duration, count: usize, bytes: usize) -> f64 {
    let endpoints = Endpoints::slow(hosts, delay).await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["bare", &hosts.to_string(), &count.to_string(), &bytes.to_string(), &endpoints.url(0)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(endpoints.ca.as_bytes()).await.unwrap();
    drop(stdin);
    let rate = measure(&endpoints, count).await;
    let mut done = String::new();
    child.stdout.take().unwrap().read_to_string(&mut done).await.unwrap();
    child.wait().await.unwrap();
    rate
}

/// The bare client.
async fn bare() {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [hosts, count, bytes] = [0, 1, 2].map(|n| arguments[n].parse::<usize>().unwrap());
    let port = arguments[3].parse::<url::Url>().unwrap().port().unwrap();
    let mut ca = Vec::new();
    std::io::stdin().read_to_end(&mut ca).unwrap();
    let policy = AddressPolicy::allowing(vec!["127.0.0.0/8".parse().unwrap()]);
    let extra_roots = vec![CertificateDer::from_pem_slice(&ca).unwrap()];
    let client = Client::new(ClientOptions { extra_roots, ..ClientOptions::new(policy) }).unwrap();
    let ids = Ids::random(std::sync::Arc::new(SystemClock));
    // What surrounds the content in a webhook's body is some 250 bytes.
    let body = bytes::Bytes::from(text(bytes + 250, &ids));
    let posts = stream::iter(0..count).map(|n| {
        let url = format!("https://{}:{port}/hook", support::host(n % hosts)).parse().unwrap();
        let request = PostRequest::new(url, HeaderMap::new(), BodySource::bytes(body.clone()));
        let client = client.clone();
        // A task each, as the dispatcher has.
        async move { tokio::spawn(async move { client.post(request).await.result.unwrap() }).await.unwrap() }
    });
    let in_flight = (PER_ENDPOINT as usize * hosts).min(256);
    posts.buffer_unordered(in_flight).for_each(async |_| {}).await;
    println!("done");
}

/// Milliseconds from each job's end to its delivery's receipt.
async fn latencies(count: usize, bytes: usize) -> Vec<f64> {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("page.txt");
    std::fs::write(&page, text(bytes, &Ids::random(std::sync::Arc::new(SystemClock)))).unwrap();
    let site = pages(&page).await;
    let endpoints = Endpoints::start(1, false).await;
    let mut child = server(&directory.path().join("data"), &endpoints.ca, &[]).await;
    let api = Api::new(Server { server: child.url(), api_key: child.keys.clone().unwrap().0 }).unwrap();
    let mut jobs = Vec::new();
    for n in 0..count {
        let request = json!({"url": format!("{site}{n}"), "format": "text", "webhook_url": endpoints.url(0)});
        let queued = api.json(Method::POST, "/v1/scrape/async", Some(&request)).await.unwrap();
        jobs.push(queued["job_id"].as_str().unwrap().to_owned());
        tokio::time::sleep(if bytes > 1_000_000 { GAP * 10 } else { GAP }).await;
    }
    endpoints.inbox.reach(count).await;
    // The clock of receipts is monotonic; the rows have the time of day.
    let (now, today) = (Instant::now(), SystemClock.now());
    let mut times = Vec::new();
    for job in jobs {
        let view = api.json(Method::GET, &format!("/v1/jobs/{job}"), None).await.unwrap();
        assert_eq!(view["status"], "completed", "{view}");
        let ended: jiff::Timestamp = view["completed_at"].as_str().unwrap().parse().unwrap();
        let received = endpoints.inbox.times.lock().unwrap()[&job];
        let age = today.duration_since(ended).as_secs_f64();
        times.push((age - now.duration_since(received).as_secs_f64()) * 1_000.0);
    }
    child.stop().await.unwrap();
    times
}

/// A site whose every page is this file.
async fn pages(file: &Path) -> String {
    let body = bytes::Bytes::from(std::fs::read(file).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let body = body.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(|_| {
                    let answer = http::Response::builder()
                        .header("content-type", "text/plain; charset=utf-8")
                        .body(http_body_util::Full::new(body.clone()));
                    std::future::ready(answer)
                });
                let stream = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
            });
        }
    });
    url
}
