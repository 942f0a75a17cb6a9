//! What the engine, the store and the API cost: pages per second of a batch job, from request to end, next to the same
//! pages fetched and extracted in a plain loop by the same client and extractor, with none of these.
//!
//! Both sides are child processes and take turns on the same machine; the pages come from this process in both cases.
//! `cargo bench --bench overhead -- 20000` chooses another number of pages.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and ends with what is wrong")]

use std::{fs, path::Path, process::Stdio, sync::Arc};

use datasonar::{
    cli::{
        client::{Api, Server},
        demo::{
            child::Child,
            site::{Site, SiteOptions},
        },
    },
    scrape::{PageContent, PageResult, PageStatus},
};
use datasonar_extract::{Document, Format, Options, extract};
use datasonar_net::{AddressPolicy, Client, ClientOptions, FetchRequest};
use futures::{StreamExt, stream};
use http::{Method, header};
use serde_json::json;
use tokio::{process::Command, sync::Semaphore, time::Instant};

const ROUNDS: usize = 3;
const PAGES: usize = 10_000;
const CONCURRENCY: usize = 256;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, list] = &arguments[..]
        && mode == "plain"
    {
        return plain(Path::new(list)).await;
    }
    let pages = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(PAGES);
    let directory = tempfile::tempdir().unwrap();
    let site = Site::start(SiteOptions { urls: pages, trouble: false, ..SiteOptions::default() }).await.unwrap();
    let urls: Vec<String> = site.urls().collect();
    let list = directory.path().join("urls.txt");
    fs::write(&list, urls.join("\n")).unwrap();

    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let plain = run_plain(&list).await;
        let job = run_job(&directory.path().join(format!("data-{round}")), &urls).await;
        let (plain, job) = (pages as f64 / plain, pages as f64 / job);
        println!("round {round}: plain loop {plain:.0} pages/s, batch job {job:.0} pages/s, ratio {:.2}", job / plain);
        ratios.push(job / plain);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio of {ROUNDS} rounds of {pages} pages: {:.2}", ratios[ROUNDS / 2]);
}

/// Seconds that the plain loop takes.
async fn run_plain(list: &Path) -> f64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("plain")
        .arg(list)
        .stderr(Stdio::inherit())
        .output()
        .await
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Seconds from sending the request to the job's end.
async fn run_job(data_dir: &Path, urls: &[String]) -> f64 {
    let program = Path::new(env!("CARGO_BIN_EXE_datasonar"));
    let mut child = Child::start_program(program, data_dir, &[]).await.unwrap();
    let api = Api::new(Server { server: child.url(), api_key: child.keys.clone().unwrap().0 }).unwrap();
    let begin = Instant::now();
    let queued = api.json(Method::POST, "/v1/scrape/batch/async", Some(&json!({ "urls": urls }))).await.unwrap();
    let job = api.wait(queued["job_id"].as_str().unwrap(), async |_| {}).await.unwrap();
    let elapsed = begin.elapsed().as_secs_f64();
    assert_eq!(job["progress"]["succeeded"], urls.len());
    child.stop().await.unwrap();
    elapsed
}

/// Fetches and extracts every URL of a list with nothing around it; prints the seconds it took.
async fn plain(list: &Path) {
    let urls: Vec<String> = fs::read_to_string(list).unwrap().lines().map(str::to_owned).collect();
    let begin = Instant::now();
    let policy = AddressPolicy::allowing(vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    let client = Client::new(ClientOptions::new(policy)).unwrap();
    let options = Arc::new(Options::new(vec![Format::Markdown], true, &[], &[]).unwrap());
    let cpus = Arc::new(Semaphore::new(std::thread::available_parallelism().unwrap().get()));
    let pages = stream::iter(urls).map(|url| {
        let (client, options, cpus) = (client.clone(), options.clone(), cpus.clone());
        async move {
            let fetched = client.fetch(FetchRequest::new(url.parse().unwrap())).await.unwrap();
            let _permit = cpus.acquire().await.unwrap();
            let work = tokio::task::spawn_blocking(move || {
                let content_type = fetched.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let document = Document { url: &fetched.final_url, content_type, body: &fetched.body };
                let mut extracted = extract(&document, &options, &|| false).unwrap();
                let page = PageResult {
                    url,
                    final_url: Some(fetched.final_url.to_string()),
                    status: PageStatus::Success,
                    status_code: Some(200),
                    content: extracted.contents.pop().map(|(_, content)| PageContent::One(content.into())),
                    metadata: Some(extracted.metadata.into()),
                    error: None,
                    time_ms: 0,
                    depth: None,
                    found_on: None,
                };
                page.to_json().len()
            });
            work.await.unwrap()
        }
    });
    let bytes: usize = pages.buffer_unordered(CONCURRENCY).fold(0, |sum, bytes| async move { sum + bytes }).await;
    assert!(bytes > 0);
    println!("{}", begin.elapsed().as_secs_f64());
}
