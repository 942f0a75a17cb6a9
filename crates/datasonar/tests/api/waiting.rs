//! Scraping while the client waits.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::server::{Server, Setup, Silence, site, troubled_site};

async fn urls(site: &datasonar::cli::demo::site::Site) -> Vec<String> {
    site.urls().collect()
}

#[tokio::test]
async fn a_page_is_answered_with_its_content() {
    let (server, site) = (Server::start().await, troubled_site(20).await);
    let urls = urls(&site).await;
    let answer = server.post("/v1/scrape", &json!({"url": urls[1]})).await;
    assert_eq!(answer.header("content-type"), "application/json");
    let page = answer.is(200);
    assert_eq!(page["url"], urls[1]);
    assert_eq!(page["final_url"], urls[1]);
    assert_eq!(page["status"], "success");
    assert_eq!(page["status_code"], 200);
    assert!(page["content"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(page["time_ms"].is_u64());
    assert!(page.get("error").is_none());
    let names: Vec<&str> = page["metadata"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "title",
            "description",
            "language",
            "author",
            "published_at",
            "canonical_url",
            "site_name",
            "image",
            "content_type"
        ]
    );
    let order: Vec<&str> = page.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(order, ["url", "final_url", "status", "status_code", "content", "metadata", "time_ms"]);
    // What redirects, hesitates or fails once is a page all the same.
    let moved = server.post("/v1/scrape", &json!({"url": urls[3]})).await.is(200);
    assert!(moved["final_url"].as_str().unwrap().ends_with("/moved/3"), "{moved}");
    assert_eq!(moved["url"], urls[3]);
    server.post("/v1/scrape", &json!({"url": urls[11]})).await.is(200);
    server.post("/v1/scrape", &json!({"url": urls[13]})).await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn a_failure_of_the_target_has_a_status_of_its_own() {
    let (server, site, silence) = (Server::start().await, troubled_site(20).await, Silence::new());
    let urls = urls(&site).await;
    for (url, status, code, status_code) in [
        (urls[7].as_str(), 502, "http_status", json!(404)),
        (&urls[9], 502, "http_status", json!(500)),
        (&urls[5], 502, "connect_error", Value::Null),
        ("http://nowhere.invalid/", 502, "dns_error", Value::Null),
        (&silence.url(), 504, "timeout", Value::Null),
        ("http://10.0.0.1/", 422, "blocked_address", Value::Null),
        ("file:///etc/passwd", 422, "invalid_url", Value::Null),
    ] {
        let page = server.post("/v1/scrape", &json!({"url": url, "timeout": 2})).await.is(status);
        assert_eq!(page["error"]["code"], code, "{url}: {page}");
        assert_eq!(page["status"], "error");
        assert_eq!(page["status_code"], status_code, "{url}: {page}");
        assert_eq!(page["url"], url);
        assert!(page.get("content").is_none());
        assert!(page["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    server.finish().await;
}

#[tokio::test]
async fn options_bind() {
    let server = Setup::new().flag("render_browser", "/no/such/browser").start().await;
    let site = site(2).await;
    let url = site.quick_url();
    let small = server.post("/v1/scrape", &json!({"url": url, "max_bytes": 100})).await.is(502);
    assert_eq!(small["error"]["code"], "body_too_large");
    let rendered = server.post("/v1/scrape", &json!({"url": url, "render": "always"})).await.is(502);
    assert_eq!(rendered["error"]["code"], "render_error");
    for (format, is_right) in [
        ("markdown", Value::is_string as fn(&Value) -> bool),
        ("text", Value::is_string),
        ("html", Value::is_string),
        ("raw_html", Value::is_string),
        ("links", Value::is_array),
        ("json", Value::is_object),
    ] {
        let page = server.post("/v1/scrape", &json!({"url": url, "format": format})).await.is(200);
        assert!(is_right(&page["content"]), "{format}: {page}");
    }
    server.finish().await;
}

#[tokio::test]
async fn several_formats_are_keyed() {
    let (server, site) = (Server::start().await, site(2).await);
    let body = json!({"url": site.quick_url(), "format": ["text", "links", "markdown"]});
    let page = server.post("/v1/scrape", &body).await.is(200);
    let content = page["content"].as_object().unwrap();
    assert_eq!(content.keys().collect::<Vec<_>>(), ["text", "links", "markdown"]);
    assert!(content["text"].is_string() && content["links"].is_array() && content["markdown"].is_string());
    // An array of one is an array.
    let body = json!({"url": site.quick_url(), "format": ["text"]});
    let page = server.post("/v1/scrape", &body).await.is(200);
    assert_eq!(page["content"]["text"], content["text"]);
    server.finish().await;
}

#[tokio::test]
async fn a_batch_keeps_the_order_and_counts() {
    let (server, site) = (Server::start().await, troubled_site(20).await);
    let mut urls = urls(&site).await;
    // Twice the same is two results.
    urls.push(urls[7].clone());
    urls.reverse();
    for concurrency in [1, 25] {
        let body = json!({"urls": urls, "concurrency": concurrency});
        let result = server.post("/v1/scrape/batch", &body).await.is(200);
        let order: Vec<&str> = result.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(order, ["status", "total", "succeeded", "failed", "time_ms", "results"]);
        assert_eq!(result["status"], "success");
        // 7 (twice) and 9 fail, 5 breaks off.
        assert_eq!((&result["total"], &result["succeeded"], &result["failed"]), (&json!(21), &json!(17), &json!(4)));
        let pages = result["results"].as_array().unwrap();
        assert!(pages.iter().map(|page| page["url"].as_str().unwrap()).eq(urls.iter().map(String::as_str)));
    }
    server.finish().await;
}

#[tokio::test]
async fn a_batch_ends_when_its_time_is_over() {
    let (server, site, silence) = (Server::start().await, site(4).await, Silence::new());
    let quick = urls(&site).await;
    let urls = [&quick[0], &silence.url(), &quick[1], &silence.url(), &quick[2], &quick[3]];
    let begin = Instant::now();
    // One at a time: what comes behind a page that hangs is not reached.
    let body = json!({"urls": urls, "concurrency": 1, "timeout": 1});
    let result = server.post("/v1/scrape/batch", &body).await.is(200);
    assert!(begin.elapsed() < Duration::from_secs(10));
    let codes: Vec<Option<&str>> =
        result["results"].as_array().unwrap().iter().map(|page| page["error"]["code"].as_str()).collect();
    let timeout = Some("timeout");
    assert_eq!(codes, [None, timeout, timeout, timeout, timeout, timeout]);
    assert_eq!((&result["succeeded"], &result["failed"]), (&json!(1), &json!(5)));
    assert!(result["results"].as_array().unwrap().iter().zip(urls).all(|(page, url)| page["url"] == *url));
    // With room beside them, only the pages that hang are late.
    let body = json!({"urls": urls, "concurrency": 5, "timeout": 1});
    let result = server.post("/v1/scrape/batch", &body).await.is(200);
    assert_eq!((&result["succeeded"], &result["failed"]), (&json!(4), &json!(2)));
    server.finish().await;
}

#[tokio::test]
async fn usage_is_counted() {
    let (server, site) = (Server::start().await, site(3).await);
    let body = json!({"urls": urls(&site).await});
    server.post("/v1/scrape/batch", &body).await.is(200);
    super::server::until("the usage", async || {
        let me = server.get("/v1/me").await.is(200);
        assert!(me["user"]["email"].is_string() && me["user"]["plan"].is_string());
        (me["usage"]["requests_today"].as_u64() >= Some(1)).then_some(())
    })
    .await;
    server.finish().await;
}
