//! Wrong requests: each is told what is wrong with it, and where.

use serde_json::{Value, json};

use super::server::{Call, Server, Setup, site};

const BATCH: &str = "/v1/scrape/batch/async";
const POSTS: [&str; 4] = ["/v1/scrape", "/v1/scrape/batch", "/v1/scrape/async", BATCH];

#[tokio::test]
async fn what_is_not_json_is_told_its_place() {
    let server = Server::start().await;
    for path in POSTS {
        for (body, place) in [
            ("{\"urls\": [\"http://a.example/\",\n nonsense", "line 2 column"),
            ("{\"urls\": [\"http://a.example/\"]", "line 1 column"),
            ("{\"url\": \"http://a.example/\"} and more", "line 1 column"),
            ("{\"format\": \"text\"}{}", "line 1 column"),
            ("", "line 1 column 0"),
            ("\u{0}\u{1}\u{2}", "line 1 column 1"),
            ("{'url': 1}", "line 1 column 2"),
            ("{\"format\": \"\\ud800\"}", "line 1 column"),
        ] {
            let problem = server.send(Call::raw(path, body)).await.is(400);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(place), "{path} {body:?}: {detail}");
        }
        server.send(Call::raw(path, &b"{\"format\": \"\xff\xfe\"}"[..])).await.is(400);
        server.send(Call::raw(path, "[".repeat(100_000))).await.json();
        for body in ["[]", "7", "\"http://a.example/\"", "null"] {
            assert_eq!(server.send(Call::raw(path, body)).await.status.as_u16(), 422, "{path} {body}");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn what_has_the_wrong_type_is_named() {
    let server = Server::start().await;
    let url = "http://a.example/";
    for (field, value) in [
        ("timeout", json!("soon")),
        ("timeout", json!(0)),
        ("timeout", json!(301)),
        ("timeout", json!(-1)),
        ("timeout", json!(1.5)),
        ("max_bytes", json!(0)),
        ("max_bytes", json!("1MB")),
        ("max_bytes", json!(u64::MAX)),
        ("format", json!("pdf")),
        ("format", json!([])),
        ("format", json!(7)),
        ("only_main_content", json!("yes")),
        ("include_selectors", json!("p")),
        ("headers", json!(["a"])),
        ("render", json!("sometimes")),
        ("wait_for", json!(1)),
        ("respect_robots", json!("no")),
    ] {
        for path in POSTS {
            let is_batch = path.contains("batch");
            let mut body = if is_batch { json!({"urls": [url]}) } else { json!({"url": url}) };
            // A waiting batch has a `timeout` of its own, up to ten minutes.
            let is_fine = path == "/v1/scrape/batch" && field == "timeout" && value == json!(301);
            if !is_fine {
                body[field] = value.clone();
                server.post(path, &body).await.blames(&format!("/{field}"));
            }
        }
    }
    for path in [BATCH, "/v1/scrape/batch"] {
        server.post(path, &json!({"urls": [url, url, url, 3, url]})).await.blames("/urls/3");
        server.post(path, &json!({"urls": [url, null]})).await.blames("/urls/1");
        server.post(path, &json!({"urls": url})).await.blames("/urls");
        server.post(path, &json!({"urls": {"0": url}})).await.blames("/urls");
        server.post(path, &json!({"urls": null})).await.blames("/urls");
    }
    for path in ["/v1/scrape", "/v1/scrape/async"] {
        server.post(path, &json!({"url": 7})).await.blames("/url");
        server.post(path, &json!({"url": [url]})).await.blames("/url");
    }
    server.finish().await;
}

#[tokio::test]
async fn options_that_cannot_be_followed_are_named() {
    let server = Server::start().await;
    let many: serde_json::Map<String, Value> = (0..500).map(|n| (format!("x-{n}"), json!("v"))).collect();
    for (options, pointer) in [
        (json!({"include_selectors": ["p", "a[["]}), "/include_selectors/1"),
        (json!({"exclude_selectors": ["::::"]}), "/exclude_selectors/0"),
        (json!({"exclude_selectors": [""]}), "/exclude_selectors/0"),
        (json!({"headers": {"bad name": "v"}}), "/headers/bad name"),
        (json!({"headers": {"a/b~c": "v"}}), "/headers/a~1b~0c"),
        (json!({"headers": {"x-good": "line\nbreak"}}), "/headers/x-good"),
        (json!({"headers": {"host": "other.example"}}), "/headers"),
        (json!({"headers": {"x-long": "v".repeat(100_000)}}), "/headers"),
        (json!({"headers": many}), "/headers"),
    ] {
        for path in POSTS {
            let mut body = options.clone();
            if path.contains("batch") {
                body["urls"] = json!(["http://a.example/"]);
            } else {
                body["url"] = json!("http://a.example/");
            }
            server.post(path, &body).await.blames(pointer);
        }
    }
    // All that is wrong is told at once.
    let both = json!({"url": "http://a.example/", "timeout": 0, "max_bytes": 0});
    let problem = server.post("/v1/scrape", &both).await.is(422);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2);
    server.finish().await;
}

#[tokio::test]
async fn unknown_and_repeated_and_missing_fields_are_named() {
    let server = Server::start().await;
    for path in POSTS {
        let detail = server.post(path, &json!({"url": "http://a.example/", "fromat": "text"})).await.blames("/fromat");
        assert!(!detail.is_empty());
        server.post(path, &json!({"a/b": 1})).await.blames("/a~1b");
        let twice =
            r#"{"format": "text", "format": "html", "url": "http://a.example/", "urls": ["http://a.example/"]}"#;
        server.send(Call::raw(path, twice)).await.blames("/format");
    }
    let twice = r#"{"urls": ["http://a.example/"], "urls": ["http://b.example/"]}"#;
    server.send(Call::raw(BATCH, twice)).await.blames("/urls");
    server.send(Call::raw("/v1/scrape/batch", twice)).await.blames("/urls");
    server
        .send(Call::raw("/v1/scrape", r#"{"url": "http://a.example/", "url": "http://b.example/"}"#))
        .await
        .blames("/url");
    for (path, pointer) in POSTS.into_iter().zip(["/url", "/urls", "/url", "/urls"]) {
        server.post(path, &json!({})).await.blames(pointer);
    }
    // What belongs to one endpoint is unknown to another.
    server
        .post("/v1/scrape", &json!({"url": "http://a.example/", "webhook_url": "https://a.example/"}))
        .await
        .blames("/webhook_url");
    server.post(BATCH, &json!({"urls": ["http://a.example/"], "concurrency": 3})).await.blames("/concurrency");
    server.finish().await;
}

#[tokio::test]
async fn lists_without_one_url_that_can_be_fetched_are_refused() {
    let server = Server::start().await;
    let many = json!({"urls": vec!["http://a.example/"; 101]});
    server.post("/v1/scrape/batch", &many).await.blames("/urls");
    for path in [BATCH, "/v1/scrape/batch"] {
        server.post(path, &json!({"urls": []})).await.blames("/urls");
        let bad = json!({"urls": ["", "not a URL", "/relative", "ftp://a.example/", "http://", "file:///etc/passwd", "javascript:1"]});
        server.post(path, &bad).await.blames("/urls");
        server
            .post(path, &json!({"urls": ["http://10.0.0.1/", "http://169.254.169.254/latest/meta-data"]}))
            .await
            .blames("/urls");
    }
    for concurrency in [json!(0), json!(26), json!("5"), json!(-1)] {
        let body = json!({"urls": ["http://a.example/"], "concurrency": concurrency});
        server.post("/v1/scrape/batch", &body).await.blames("/concurrency");
    }
    for timeout in [json!(0), json!(601)] {
        let body = json!({"urls": ["http://a.example/"], "timeout": timeout});
        server.post("/v1/scrape/batch", &body).await.blames("/timeout");
    }
    server.finish().await;
}

#[tokio::test]
async fn one_bad_url_among_many_keeps_its_place() {
    let (server, site) = (Server::start().await, site(3).await);
    let mut urls: Vec<String> = site.urls().collect();
    urls.insert(1, "not a URL".to_owned());
    urls.insert(2, "file:///etc/passwd".to_owned());
    urls.insert(4, "http://10.0.0.1/".to_owned());
    urls.push(String::new());
    let expected =
        [None, Some("invalid_url"), Some("invalid_url"), None, Some("blocked_address"), None, Some("invalid_url")];
    let job = server.queue(BATCH, &json!({"urls": urls})).await;
    let job = server.ended(&job).await;
    assert_eq!(job["status"], "completed");
    assert_eq!(job["progress"], json!({"total": 7, "succeeded": 3, "failed": 4}));
    let path = format!("/v1/jobs/{}?include_result=true", job["job_id"].as_str().unwrap());
    let queued = server.get(&path).await.is(200)["result"].clone();
    let waited = server.post("/v1/scrape/batch", &json!({"urls": urls})).await.is(200);
    for result in [queued, waited] {
        assert_eq!((&result["total"], &result["succeeded"], &result["failed"]), (&json!(7), &json!(3), &json!(4)));
        for ((page, url), code) in result["results"].as_array().unwrap().iter().zip(&urls).zip(expected) {
            assert_eq!(page["url"], *url);
            assert_eq!(page["error"]["code"].as_str(), code, "{url}");
            assert_eq!(page["status"], if code.is_none() { "success" } else { "error" });
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn urls_that_must_not_be_fetched_are_not_fetched() {
    // Without an exception for loopback.
    let server = Setup::new().flag("allow_private_networks", "").start().await;
    for (url, code) in [
        ("file:///etc/passwd", "invalid_url"),
        ("ftp://a.example/", "invalid_url"),
        ("nonsense", "invalid_url"),
        ("", "invalid_url"),
        ("http://127.0.0.1/", "blocked_address"),
        ("http://[::1]/", "blocked_address"),
        ("http://[::ffff:10.0.0.1]/", "blocked_address"),
        ("http://2130706433/", "blocked_address"),
        ("http://0x7f.1/", "blocked_address"),
        ("http://169.254.169.254/latest/meta-data", "blocked_address"),
        ("http://localhost:8080/", "blocked_address"),
    ] {
        server.post("/v1/scrape/async", &json!({"url": url})).await.blames("/url");
        let page = server.post("/v1/scrape", &json!({"url": url})).await.is(422);
        assert_eq!(page["url"], url);
        assert_eq!(page["error"]["code"], code, "{url}");
        assert_eq!(page["status"], "error");
        assert!(page.get("content").is_none());
    }
    server.finish().await;
}

#[tokio::test]
async fn endpoints_must_be_public_and_https() {
    let server = Setup::new().flag("allow_private_networks", "").start().await;
    for endpoint in [
        "http://a.example/callback",
        "ftp://a.example/callback",
        "file:///callback",
        "/callback",
        "a.example/callback",
        "",
        "https://",
        "https://127.0.0.1/callback",
        "https://localhost/callback",
        "https://10.1.2.3/callback",
        "https://192.168.0.1/callback",
        "https://169.254.169.254/callback",
        "https://[::1]/callback",
        "https://[fd00::1]/callback",
        "https://0/callback",
        "https://user@a.example/callback",
        "https://user:password@a.example/callback",
        "https://:password@a.example/callback",
        &format!("https://a.example/{}", "a".repeat(2_048)),
    ] {
        let one = json!({"url": "http://a.example/", "webhook_url": endpoint});
        server.post("/v1/scrape/async", &one).await.blames("/webhook_url");
        let many = json!({"urls": ["http://a.example/"], "webhook_url": endpoint});
        server.post(BATCH, &many).await.blames("/webhook_url");
    }
    server.post(BATCH, &json!({"urls": ["http://a.example/"], "webhook_url": 7})).await.blames("/webhook_url");
    server.finish().await;
}
