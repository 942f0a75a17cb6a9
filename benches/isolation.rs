//! Whether endpoints that hang delay one that does not: thousands of deliveries are owed to the former, and every 100 ms a
//! job ends whose delivery is owed to the latter. Printed is how long each of these took from its job's end to receipt,
//! next to the same without any other.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and ends with what is wrong")]

mod support;

use std::time::Duration;

use datasonar::{
    cli::{
        client::{Api, Server},
        demo::site::{Site, SiteOptions},
    },
    clock::{Clock, SystemClock},
};
use http::Method;
use serde_json::json;
use support::{Endpoints, percentile, seed, server};
use tokio::time::Instant;

const OWED: usize = 10_000;
const HEALTHY: usize = 300;
const GAP: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() {
    let site = Site::start(SiteOptions { urls: HEALTHY, trouble: false, all_sizes: false, ..SiteOptions::default() })
        .await
        .unwrap();
    println!("{:>16} {:>10} {:>10} {:>10} {:>16}", "hanging hosts", "p50 ms", "p99 ms", "most ms", "hanging so far");
    for hosts in [0, 1, 250, 2_000] {
        let (mut times, hanging) = run(&site, hosts).await;
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| percentile(&mut times, share));
        println!("{hosts:>16} {p50:>10.0} {p99:>10.0} {most:>10.0} {hanging:>16}");
    }
}

async fn run(site: &Site, hosts: usize) -> (Vec<f64>, usize) {
    let directory = tempfile::tempdir().unwrap();
    let healthy = Endpoints::start(1, false).await;
    let hanging = Endpoints::start(hosts, true).await;
    let both = format!("{}\n{}", healthy.ca, hanging.ca);
    let mut child = server(directory.path(), &both, &[]).await;
    let key = child.keys.clone().unwrap().0;
    child.stop().await.unwrap();
    if hosts > 0 {
        seed(directory.path(), &key, (0..OWED).map(|n| hanging.url(n % hosts)), 1_000).await;
    }
    let mut child = server(directory.path(), &both, &[]).await;
    let api = Api::new(Server { server: child.url(), api_key: key }).unwrap();
    let mut jobs = Vec::new();
    for url in site.urls() {
        let request = json!({"url": url, "webhook_url": healthy.url(0)});
        let queued = api.json(Method::POST, "/v1/scrape/async", Some(&request)).await.unwrap();
        jobs.push(queued["job_id"].as_str().unwrap().to_owned());
        tokio::time::sleep(GAP).await;
    }
    healthy.inbox.reach(jobs.len()).await;
    let (now, today) = (Instant::now(), SystemClock.now());
    let mut times = Vec::new();
    for job in jobs {
        let view = api.json(Method::GET, &format!("/v1/jobs/{job}"), None).await.unwrap();
        let ended: jiff::Timestamp = view["completed_at"].as_str().unwrap().parse().unwrap();
        let received = healthy.inbox.times.lock().unwrap()[&job];
        times.push((today.duration_since(ended).as_secs_f64() - now.duration_since(received).as_secs_f64()) * 1_000.0);
    }
    child.kill().await.unwrap();
    (times, hanging.inbox.count())
}
