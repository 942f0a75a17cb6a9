//! The caller's headers stay with the origins that the caller named: on the wire, in the rows, and in what is shown.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    dashboard::Browser,
    server::{Server, Setup, until},
};

/// What no other origin, file or page may contain.
const SECRETS: [&str; 3] = ["hush-authorization", "hush-cookie", "hush-key"];
const MASK: &str = "••••••••";

fn headers() -> Value {
    json!({"Authorization": SECRETS[0], "Cookie": SECRETS[1], "X-Api-Key": SECRETS[2], "Accept-Language": "de"})
}

/// A site that remembers what it was asked, and by which headers.
pub(super) struct Host {
    pub(super) url: String,
    pub(super) asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Host {
    pub(super) async fn start(pages: BTreeMap<&'static str, String>) -> Self {
        Self::start_with(|_| pages).await
    }

    /// One whose pages know where it is.
    pub(super) async fn start_with(pages: impl FnOnce(&str) -> BTreeMap<&'static str, String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let pages = pages(&url);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0 {}
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let answer = match pages.get(path.as_str()) {
                    Some(to) if to.starts_with("http://") => {
                        format!(
                            "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                        )
                    }
                    Some(body) => format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    ),
                    None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
                };
                log.lock().unwrap().push((path, head));
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, asked }
    }

    /// How many of the secrets each path was asked with, the most of all requests.
    fn secrets(&self) -> BTreeMap<String, usize> {
        let mut told = BTreeMap::new();
        for (path, head) in self.asked.lock().unwrap().iter() {
            let count = SECRETS.iter().filter(|secret| head.contains(**secret)).count();
            let most: &mut usize = told.entry(path.clone()).or_default();
            *most = count.max(*most);
        }
        told
    }
}

pub(super) fn page(links: &[String]) -> String {
    let links: String = links.iter().map(|to| format!("<p>Some text before <a href=\"{to}\">a link</a></p>")).collect();
    format!("<html><head><title>A page</title></head><body><main><h1>Title</h1>{links}</main></body></html>")
}

/// A site and one that it leads to in every way there is.
async fn two() -> (Host, Host) {
    let other = Host::start(BTreeMap::from([
        ("/page", page(&["/deeper".to_owned()])),
        ("/deeper", page(&[])),
        ("/landed", page(&[])),
        ("/map.xml", "<urlset><url><loc>/mapped</loc></url></urlset>".to_owned()),
        ("/mapped", page(&[])),
    ]))
    .await;
    let to = &other.url;
    let home = Host::start(BTreeMap::from([
        ("/", page(&[format!("{to}/page"), "/own".to_owned(), "/away".to_owned()])),
        ("/own", page(&[])),
        ("/away", format!("{to}/landed")),
        ("/robots.txt", format!("sitemap: {to}/map.xml\nuser-agent: *\nallow: /\n")),
    ]))
    .await;
    (home, other)
}

async fn crawl(server: &Server, home: &Host, more: Value) -> Value {
    let mut request = json!({"url": format!("{}/", home.url), "headers": headers(), "allow_external_links": true});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let job = server.queue("/v1/crawl", &request).await;
    server.ended(&job).await
}

#[tokio::test]
async fn a_crawl_sends_the_callers_headers_to_its_own_origin_alone() {
    let server = Server::start().await;
    let (home, other) = two().await;
    let job = crawl(&server, &home, json!({})).await;
    assert_eq!(job["status"], "completed", "{job}");
    let (own, foreign) = (home.secrets(), other.secrets());
    for path in ["/", "/own", "/away"] {
        assert_eq!(own[path], 3, "{path}: {own:?}");
    }
    assert_eq!(own["/robots.txt"], 0, "its rules are kept for everybody");
    for path in ["/page", "/deeper", "/landed"] {
        assert_eq!(foreign[path], 0, "{path}: {foreign:?}");
    }
    assert!(foreign.values().all(|count| *count == 0), "{foreign:?}");
    assert!(other.asked.lock().unwrap().iter().any(|(path, head)| path == "/page" && head.contains("de")));
    server.finish().await;
}

#[tokio::test]
async fn further_origins_receive_headers_where_they_are_named() {
    let server = Server::start().await;
    let (home, other) = two().await;
    crawl(&server, &home, json!({"headers_origins": [other.url]})).await;
    let foreign = other.secrets();
    for path in ["/page", "/deeper", "/landed"] {
        assert_eq!(foreign[path], 3, "{path}: {foreign:?}");
    }
    let (home, other) = two().await;
    let away = format!("{}/away", home.url);
    server.post("/v1/scrape", &json!({"url": away, "headers": headers()})).await.is(200);
    assert_eq!((home.secrets()["/away"], other.secrets()["/landed"]), (3, 0));
    let named = json!({"url": away, "headers": headers(), "headers_origins": [other.url]});
    server.post("/v1/scrape", &named).await.is(200);
    assert_eq!(other.secrets()["/landed"], 3);
    let both = json!({"urls": [format!("{}/own", home.url), format!("{}/mapped", other.url)], "headers": headers()});
    server.post("/v1/scrape/batch", &both).await.is(200);
    assert_eq!((home.secrets()["/own"], other.secrets()["/mapped"]), (3, 3), "the caller named both");
    server.finish().await;
}

#[tokio::test]
async fn what_is_no_origin_is_named() {
    let server = Server::start().await;
    let ask = |origins: Value| json!({"url": "https://a.example/", "headers_origins": origins});
    for path in ["/v1/scrape", "/v1/scrape/async", "/v1/crawl"] {
        for bad in ["https://b.example/path", "b.example", "ftp://b.example", "https://me@b.example", "*", ""] {
            let answer = server.post(path, &ask(json!(["https://ok.example", bad]))).await;
            answer.blames("/headers_origins/1");
        }
        server.post(path, &ask(json!(vec!["https://b.example"; 21]))).await.blames("/headers_origins");
        server.post(path, &ask(json!("https://b.example"))).await.blames("/headers_origins");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_starts_user_name_and_password_are_headers_like_others() {
    let server = Server::start().await;
    let (home, other) = two().await;
    let start = home.url.replace("http://", "http://ada:hush-password@");
    let job = server.queue("/v1/crawl", &json!({"url": format!("{start}/"), "allow_external_links": true})).await;
    server.ended(&job).await;
    let is_known = |host: &Host, path: &str| {
        let asked = host.asked.lock().unwrap();
        asked.iter().any(|(of, head)| of == path && head.contains("Basic YWRhOmh1c2gtcGFzc3dvcmQ="))
    };
    assert!(is_known(&home, "/") && is_known(&home, "/own"));
    assert!(!is_known(&other, "/page") && !is_known(&other, "/landed"));
    let results = server.get(&format!("/v1/jobs/{job}/results")).await.is(200).to_string();
    assert!(!results.contains("hush-password"));
    none_in_files(&server.directory().join("data"), &["hush-password", "YWRhOmh1c2gtcGFzc3dvcmQ="]);
    server.finish().await;
}

/// Looks through every file of a folder.
fn none_in_files(folder: &Path, secrets: &[&str]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            none_in_files(&path, secrets);
            continue;
        }
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} contains {secret}", path.display());
        }
    }
}

#[tokio::test]
async fn headers_are_encrypted_at_rest_and_masked_where_they_are_shown() {
    let server = Server::start().await;
    let (home, _other) = two().await;
    let url = format!("{}/own", home.url);
    let asked = json!({"url": url, "headers": headers()});
    let scrape = server.queue("/v1/scrape/async", &asked).await;
    assert_eq!(server.ended(&scrape).await["status"], "completed");
    assert_eq!(home.secrets()["/own"], 3, "they are sent");
    let job = json!({"kind": "scrape", "url": url, "headers": headers()});
    let wanted = json!({"name": "nightly", "cron": "0 0 1 1 *", "job": job});
    let made = server.post("/v1/schedules", &wanted).await.is(201);
    assert_eq!(made["job"]["headers"]["Authorization"], MASK);
    none_in_files(&server.directory().join("data"), &SECRETS);

    let browser = Browser::signed_in(&server).await;
    let id = made["id"].as_str().unwrap();
    for path in [
        format!("/production/jobs/{scrape}"),
        format!("/production/schedules/{id}"),
        "/production/schedules".to_owned(),
        "/production/jobs".to_owned(),
    ] {
        let html = browser.get(&path).await.is(200).html();
        assert!(SECRETS.iter().all(|secret| !html.contains(secret)), "{path}");
        let is_detail = path.ends_with(id) || path.ends_with(&scrape);
        assert!(!is_detail || (html.contains("X-Api-Key") && html.contains(MASK)), "names stay: {path}\n{html}");
    }
    let again = browser.post(&format!("/production/jobs/{scrape}/again"), &[]).await.is(303);
    let again = again.header("location").rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    home.asked.lock().unwrap().clear();
    server.ended(&again).await;
    assert_eq!(home.secrets()["/own"], 3, "they are sent again");
    server.finish().await;
}

#[tokio::test]
async fn a_schedule_that_is_edited_keeps_its_masked_values() {
    let server = Setup::new().start().await;
    let (home, other) = two().await;
    let url = format!("{}/own", home.url);
    let job = json!({"kind": "scrape", "url": url, "headers": {"X-Api-Key": SECRETS[2]}});
    let wanted = json!({"name": "nightly", "cron": "0 0 1 1 *", "job": job});
    let made = server.post("/v1/schedules", &wanted).await.is(201);
    let path = format!("/v1/schedules/{}", made["id"].as_str().unwrap());
    let change =
        async |body: Value| server.send(super::server::Call::post("", &body).to(http::Method::PATCH, &path)).await;
    let sent = async || {
        home.asked.lock().unwrap().clear();
        let run = server.post(&format!("{path}/run"), &json!({})).await.is(202);
        server.ended(run["job_id"].as_str().unwrap()).await;
        home.secrets().get("/own").copied().unwrap_or_default()
    };
    assert_eq!(sent().await, 1);
    // A change of the name alone, one that brings the job back as it was shown, and the dashboard's forms.
    change(json!({"name": "weekly"})).await.is(200);
    assert_eq!(sent().await, 1);
    let mut shown = server.get(&path).await.is(200)["job"].clone();
    shown["format"] = json!("text");
    assert_eq!(change(json!({"job": shown})).await.is(200)["job"]["headers"]["X-Api-Key"], MASK);
    assert_eq!(sent().await, 1);
    let browser = Browser::signed_in(&server).await;
    let page = path.replace("/v1", "/production");
    let text = shown.to_string();
    let fields = [("name", "daily"), ("cron", "0 0 1 1 *"), ("timezone", "UTC"), ("job", text.as_str())];
    browser.post(&page, &fields).await.is(303);
    browser.post(&format!("{page}/pause"), &[("paused", "1")]).await.is(303);
    assert_eq!(sent().await, 1);
    // A value that cannot be seen cannot be sent elsewhere either.
    let mut stolen = shown.clone();
    stolen["url"] = json!(format!("{}/page", other.url));
    let told = change(json!({"job": stolen})).await.blames("/job/headers/X-Api-Key");
    assert!(told.contains("masked"), "{told}");
    let mut stolen = shown.clone();
    stolen["headers_origins"] = json!([other.url]);
    change(json!({"job": stolen})).await.blames("/job/headers/X-Api-Key");
    let mut unknown = shown.clone();
    unknown["headers"]["Cookie"] = json!(MASK);
    change(json!({"job": unknown})).await.blames("/job/headers/Cookie");
    server.post("/v1/scrape", &json!({"url": url, "headers": {"cookie": MASK}})).await.blames("/headers/cookie");
    let mut new = shown.clone();
    new["headers"]["X-Api-Key"] = json!("another");
    change(json!({"job": new})).await.is(200);
    assert_eq!(sent().await, 0, "another value");
    until("the jobs to end", async || Some(())).await;
    server.finish().await;
}
