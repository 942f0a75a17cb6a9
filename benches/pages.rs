//! What the pages of the dashboard cost over a large store: 100,000 jobs, 300,000 deliveries, 1,000,000 attempts.
//!
//! The real server answers on that store, as a process of its own. A browser without scripts signs in and follows every link, one
//! of each kind of page and query; each page is then fetched repeatedly. A page is to be there within 100 ms. Beside the times
//! stands what a page without any question to the store takes: signing in and the cost of HTTP are in all of them.
//!
//! `cargo bench -p datasonar --bench pages`
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and ends with what is wrong")]

#[path = "support/large.rs"]
mod large;
mod support;

use std::collections::{BTreeMap, VecDeque};

use datasonar::clock::{Clock, SystemClock};
use datasonar_net::{AddressPolicy, BodySource, Client, ClientOptions};
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::BodyExt;
use regex::Regex;
use rusqlite::Connection;
use support::{Endpoints, seed, server};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

/// How often each page is fetched.
const TIMES: usize = 30;
/// How many pages of one kind are fetched.
const OF_A_KIND: usize = 2;
const TARGET_MS: f64 = 100.0;

struct Browser {
    client: Client,
    session: HeaderMap,
}

impl Browser {
    async fn send(&self, method: Method, url: Url, body: Option<&str>) -> Response<String> {
        let mut headers = self.session.clone();
        let body = body.map(|text| BodySource::bytes(text.to_owned().into_bytes()));
        if body.is_some() {
            headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        let (head, body) = self.client.send(method, url, headers, body).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut response = Response::new(String::from_utf8_lossy(&body).into_owned());
        (*response.status_mut(), *response.headers_mut()) = (head.status, head.headers);
        response
    }

    async fn get(&self, url: &Url) -> Response<String> {
        self.send(Method::GET, url.clone(), None).await
    }
}

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    // Jobs with results, so that there are previews and payloads to show; then the many.
    let endpoints = Endpoints::start(1, false).await;
    let mut child = server(directory.path(), &endpoints.ca, &[]).await;
    let ((key, _), link) = (child.keys.clone().unwrap(), child.sign_in_link.clone().unwrap());
    child.stop().await.unwrap();
    fill(directory.path());
    seed(directory.path(), &key, (0..20).map(|n| endpoints.url(n % 2)), 100_000).await;

    // The API alone: nothing else is to work on this store meanwhile.
    let mut child = server(directory.path(), &endpoints.ca, &[("DATASONAR_ROLES", "api")]).await;
    let link: Url = link.parse().unwrap();
    let browser = sign_in(&child.url().join(link.path()).unwrap()).await;
    let pages = walk(&browser, child.url().join("/production").unwrap()).await;

    println!("{:<78} {:>9} {:>11} {:>11}", "page", "bytes", "median", "slowest");
    let (mut slowest, count) = (0.0_f64, pages.len());
    for (kind, url) in pages {
        let (bytes, mut times) = measure(&browser, &url).await;
        times.sort_by(f64::total_cmp);
        slowest = slowest.max(times[TIMES - 1]);
        println!("{kind:<78} {bytes:>9} {:>8.1} ms {:>8.1} ms", times[TIMES / 2], times[TIMES - 1]);
    }
    println!("\n{count} pages; the slowest answer took {slowest:.1} ms of the {TARGET_MS:.0} ms that a page may take");
    child.stop().await.unwrap();
}

fn fill(data_dir: &std::path::Path) {
    let path = data_dir.join("datasonar.db");
    let id = Connection::open(&path).unwrap().query_row("SELECT id FROM accounts", [], |row| row.get(0)).unwrap();
    // The last rows are of a minute ago.
    let begin = SystemClock.now().as_second() - 60 - large::DAYS * 86_400;
    large::fill(&path, Uuid::from_bytes(id), begin);
}

async fn sign_in(link: &Url) -> Browser {
    let client = Client::new(ClientOptions::new(AddressPolicy::unrestricted())).unwrap();
    let mut browser = Browser { client, session: HeaderMap::new() };
    let fields = "email=ada%40example.com&password=correct+horse+battery";
    let answer = browser.send(Method::POST, link.clone(), Some(fields)).await;
    let cookies = answer.headers().get_all("set-cookie");
    let cookie = cookies.iter().find(|one| one.to_str().unwrap().starts_with("datasonar_session=")).unwrap();
    browser.session.insert("cookie", cookie.to_str().unwrap().split(';').next().unwrap().parse().unwrap());
    browser
}

/// Every page that links lead to, by its kind: its path without ids, and the names of its queries.
async fn walk(browser: &Browser, from: Url) -> Vec<(String, Url)> {
    let href = Regex::new(r##"href="([^"#]+)"##).unwrap();
    let id = Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}").unwrap();
    let mut kinds: BTreeMap<String, Vec<Url>> = BTreeMap::new();
    let mut open = VecDeque::from([from]);
    while let Some(url) = open.pop_front() {
        let mut kind = id.replace_all(url.path(), "{id}").into_owned();
        for (at, (name, value)) in url.query_pairs().enumerate() {
            // A status or a kind is another question; an id or a text is not.
            let value = if value.len() < 12 && value.chars().all(|c| c.is_ascii_lowercase()) { &value } else { "…" };
            kind += &format!("{}{name}={value}", if at == 0 { '?' } else { '&' });
        }
        let known = kinds.entry(kind).or_default();
        if known.len() >= OF_A_KIND || known.contains(&url) {
            continue;
        }
        known.push(url.clone());
        let answer = browser.get(&url).await;
        let is =
            |part: &str| answer.headers().get("content-type").is_some_and(|of| of.to_str().unwrap().contains(part));
        if !answer.status().is_success() || !is("text/html") {
            assert!(
                !answer.status().is_client_error() && !answer.status().is_server_error(),
                "{url}: {}",
                answer.status()
            );
            known.pop();
            continue;
        }
        for found in href.captures_iter(answer.body()) {
            let found = url.join(&found[1].replace("&amp;", "&")).unwrap();
            if found.origin() == url.origin() && found.path().starts_with("/production") {
                open.push_back(found);
            }
        }
    }
    kinds.into_iter().flat_map(|(kind, urls)| urls.into_iter().map(move |url| (kind.clone(), url))).collect()
}

async fn measure(browser: &Browser, url: &Url) -> (usize, Vec<f64>) {
    let (mut bytes, mut times) = (0, Vec::with_capacity(TIMES));
    for _ in 0..TIMES {
        let begin = Instant::now();
        let answer = browser.get(url).await;
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
        assert!(answer.status().is_success(), "{url}: {}", answer.status());
        bytes = answer.body().len();
    }
    (bytes, times)
}
