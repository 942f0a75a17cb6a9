//! What rendering costs: pages per second of batch jobs whose pages are written by script, at two and at four pages at a time, and the
//! memory that the browser's processes take meanwhile.
//!
//! A page is a shell with 60 KB of script, that fetches 20 KB of JSON and makes 200 items of it; all come from this process, as does the load of
//! the server. Needs a Chromium. `cargo bench --bench rendering -- 400` chooses another number of pages.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and ends with what is wrong")]

use std::{fs, path::Path, time::Duration};

use axum::{Router, response::Html, routing::get};
use datasonar::cli::{
    client::{Api, Server},
    demo::child::Child,
};
use http::Method;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};

const PAGES: usize = 120;

#[tokio::main]
async fn main() {
    let pages = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(PAGES);
    let site = site().await;
    for concurrency in [1, 2, 4] {
        let begin = Instant::now();
        let (elapsed, peak, idle) = run(&site, pages, concurrency).await;
        println!(
            "{concurrency} at a time: {pages} pages in {:.1} s, {:.2} pages/s, {:.0} ms of a place for each; browser {idle} MB \
             without pages, {peak} MB at most, {} MB for each page",
            elapsed.as_secs_f64(),
            pages as f64 / elapsed.as_secs_f64(),
            elapsed.as_millis() as f64 * concurrency as f64 / pages as f64,
            peak.saturating_sub(idle) / concurrency as u64,
        );
        assert!(begin.elapsed() < Duration::from_secs(3_600));
    }
}

/// The root of a site of applications.
async fn site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    let items: Vec<Value> = (0..200)
        .map(|n| json!({"name": format!("Item {n}"), "text": format!("Words about item {n}. ").repeat(4)}))
        .collect();
    let items = json!(items).to_string();
    let script = format!(
        "{}\nfetch('/items').then(answer => answer.json()).then(items => {{ root.innerHTML = '<main><h1>Items</h1>' + \
         items.map(item => `<section><h2>${{item.name}}</h2><p>${{item.text}}</p></section>`).join('') + '</main>' }})",
        (0..1_000).map(|n| format!("function unused_{n}(a, b) {{ return a * {n} + b }}\n")).collect::<String>()
    );
    let shell = "<!doctype html><title>Items</title><div id=root></div><script src=/app.js></script>";
    let router = Router::new()
        .route("/items", get(async move || ([("content-type", "application/json")], items)))
        .route("/app.js", get(async move || ([("content-type", "text/javascript")], script)))
        .fallback(async move || Html(shell));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    root
}

/// How long a job took; and in megabytes, what the browser took at most, and when it had no page.
async fn run(site: &str, pages: usize, concurrency: usize) -> (Duration, u64, u64) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let settings = vec![
        ("TMPDIR", directory.path().to_string_lossy().into_owned()),
        ("DATASONAR_RENDER_CONCURRENCY", concurrency.to_string()),
        ("DATASONAR_FETCH_PER_HOST_CONCURRENCY", "64".to_owned()),
        ("RUST_LOG", "warn".to_owned()),
    ];
    let program = Path::new(env!("CARGO_BIN_EXE_datasonar"));
    let mut child = Child::start_program(program, &directory.path().join("data"), &settings).await.unwrap();
    let api = Api::new(Server { server: child.url(), api_key: child.keys.clone().unwrap().0 }).unwrap();
    let first = json!({"url": format!("{site}/first"), "render": "always", "format": "text"});
    let first = api.json(Method::POST, "/v1/scrape", Some(&first)).await.unwrap();
    assert!(first["content"].as_str().unwrap().contains("Words about item 199."));
    let own = child.id().unwrap();
    let idle = taken(own);
    let urls: Vec<String> = (0..pages).map(|page| format!("{site}/page/{page}")).collect();
    let begin = Instant::now();
    let request = json!({"urls": urls, "render": "always"});
    let queued = api.json(Method::POST, "/v1/scrape/batch/async", Some(&request)).await.unwrap();
    let mut peak = 0;
    let watch = async {
        loop {
            peak = peak.max(taken(own));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let job = tokio::select! {
        job = api.wait(queued["job_id"].as_str().unwrap(), async |_| {}) => job.unwrap(),
        () = watch => unreachable!("it watches for ever"),
    };
    let elapsed = begin.elapsed();
    assert_eq!(job["progress"]["succeeded"], pages, "{job}");
    child.stop().await.unwrap();
    (elapsed, peak, idle)
}

/// What the descendants of a process take for themselves, in megabytes.
fn taken(of: u32) -> u64 {
    let all: Vec<(u32, u32, u64)> =
        fs::read_dir("/proc").unwrap().filter_map(|entry| process(&entry.unwrap().path())).collect();
    let mut family = vec![of];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(all.iter().filter(|(_, of, _)| *of == parent).map(|(id, ..)| *id));
        at += 1;
    }
    let bytes: u64 = all.iter().filter(|(id, ..)| *id != of && family.contains(id)).map(|(.., bytes)| bytes).sum();
    bytes >> 20
}

/// Its number, its parent's, and its own memory with what it shares of the browser's.
fn process(path: &Path) -> Option<(u32, u32, u64)> {
    let id = path.file_name()?.to_str()?.parse().ok()?;
    let status = fs::read_to_string(path.join("status")).ok()?;
    let of = |name: &str| -> Option<u64> {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_ascii_whitespace().next()?.parse().ok())
    };
    let bytes = (of("RssAnon").unwrap_or(0) + of("RssShmem").unwrap_or(0)) * 1_024;
    Some((id, u32::try_from(of("PPid")?).ok()?, bytes))
}
