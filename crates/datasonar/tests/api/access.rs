//! Who may see what, and what is where.

use datasonar::clock::Clock;
use http::Method;
use jiff::SignedDuration;
use serde_json::json;

use super::server::{Call, Reply, Server, Setup, clock, next, site, until};

const NOBODY: &str = "0192f0c1-2345-7abc-8def-0123456789ab";

const KEYED: [(Method, &str); 13] = [
    (Method::POST, "/v1/scrape"),
    (Method::POST, "/v1/scrape/batch"),
    (Method::POST, "/v1/scrape/async"),
    (Method::POST, "/v1/scrape/batch/async"),
    (Method::GET, "/v1/jobs"),
    (Method::GET, "/v1/jobs/0192f0c1-2345-7abc-8def-0123456789ab"),
    (Method::GET, "/v1/jobs/0192f0c1-2345-7abc-8def-0123456789ab/results"),
    (Method::DELETE, "/v1/jobs/0192f0c1-2345-7abc-8def-0123456789ab"),
    (Method::GET, "/v1/deliveries"),
    (Method::POST, "/v1/deliveries/0192f0c1-2345-7abc-8def-0123456789ab/replay"),
    (Method::GET, "/v1/webhooks/secrets"),
    (Method::POST, "/v1/webhooks/secrets/rotate"),
    (Method::GET, "/v1/me"),
];

#[tokio::test]
async fn without_a_key_that_is_known_nothing_is_told() {
    let server = Server::start().await;
    let unknown = format!("Bearer osk_{}", "0".repeat(48));
    let longer = format!("Bearer {}0", server.production);
    let other_scheme = format!("Basic {}", server.production);
    let bare = server.production.clone();
    for (method, path) in KEYED {
        for header in ["", "Bearer", "Bearer ", "Bearer nonsense", &unknown, &longer, &other_scheme, &bare] {
            let answer = server.send(Call::new(method.clone(), path).header("authorization", header)).await;
            answer.is(401);
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{method} {path} {header:?}");
        }
    }
    // The scheme's name has no case.
    let lower = format!("bearer {}", server.production);
    server.send(Call::new(Method::GET, "/v1/me").header("authorization", &lower)).await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn a_revoked_key_opens_nothing() {
    let server = Server::start().await;
    server.send(Call::new(Method::GET, "/v1/me").key(&server.sandbox)).await.is(200);
    let app = &server.running.app;
    let account = app.store.account(None).await.unwrap();
    let keys = app.store.keys(account.id).await.unwrap();
    let key = keys.iter().find(|key| server.sandbox.starts_with(&key.prefix)).unwrap();
    app.store.revoke_key(account.id, key.id, app.clock.now()).await.unwrap();
    for (method, path) in KEYED {
        let answer = server.send(Call::new(method, path).key(&server.sandbox)).await;
        answer.is(401);
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    server.get("/v1/me").await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn a_key_that_is_used_shows_when() {
    let clock = clock();
    let server = Setup::new().clock(&clock).start().await;
    server.send(Call::new(Method::GET, "/v1/me").key(&server.sandbox)).await.is(200);
    server.send(Call::new(Method::GET, "/v1/me").header("authorization", "Bearer osk_unknown")).await.is(401);
    let used_at = clock.now();
    let app = &server.running.app;
    let account = app.store.account(None).await.unwrap();
    let used = until("the use of a key", async || {
        clock.advance(SignedDuration::from_secs(60));
        let keys = app.store.keys(account.id).await.unwrap();
        assert!(keys.iter().all(|key| key.name == "first start"));
        let used: Vec<_> = keys.into_iter().filter_map(|key| Some((key.prefix, key.last_used_at?))).collect();
        (!used.is_empty()).then_some(used)
    });
    let used = used.await;
    assert_eq!(used.len(), 1, "the other was not used");
    assert!(server.sandbox.starts_with(&used[0].0));
    assert_eq!(used[0].1, used_at);
    server.finish().await;
}

#[tokio::test]
async fn environments_do_not_see_each_other() {
    let site = site(2).await;
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let body = json!({"urls": site.urls().collect::<Vec<_>>(), "webhook_url": receiver.url()});
    let job = server.queue("/v1/scrape/batch/async", &body).await;
    next(&receiver).await;
    let delivery = server.delivery(&job, "delivered", 1).await;
    let delivery = delivery["id"].as_str().unwrap();
    let paths = |job: &str, delivery: &str| {
        [
            (Method::GET, format!("/v1/jobs/{job}")),
            (Method::GET, format!("/v1/jobs/{job}?include_result=true")),
            (Method::GET, format!("/v1/jobs/{job}/results")),
            (Method::DELETE, format!("/v1/jobs/{job}")),
            (Method::GET, format!("/v1/deliveries/{delivery}")),
            (Method::GET, format!("/v1/deliveries/{delivery}/payload")),
            (Method::POST, format!("/v1/deliveries/{delivery}/replay")),
        ]
    };
    // Another's is answered as an unknown one is, and as what is no id at all.
    for ((method, others), (_, unknown)) in paths(&job, delivery).into_iter().zip(paths(NOBODY, NOBODY)) {
        let mut others = server.send(Call::new(method.clone(), &others).key(&server.sandbox)).await.is(404);
        let mut unknown = server.send(Call::new(method, &unknown)).await.is(404);
        others.as_object_mut().unwrap().remove("request_id");
        unknown.as_object_mut().unwrap().remove("request_id");
        assert_eq!(others, unknown);
    }
    for malformed in ["1", "nonsense", "..%2f..", "%00", &"9".repeat(5_000), "0192f0c1-2345-7abc-8def-0123456789a"] {
        for (method, path) in paths(malformed, malformed) {
            server.send(Call::new(method, &path)).await.is(404);
        }
    }
    for path in ["/v1/jobs", "/v1/deliveries"] {
        let list = server.send(Call::new(Method::GET, path).key(&server.sandbox)).await.is(200);
        assert_eq!(list, json!({"data": [], "next_cursor": null}));
    }
    let filtered = format!("/v1/deliveries?job_id={job}");
    let list = server.send(Call::new(Method::GET, &filtered).key(&server.sandbox)).await.is(200);
    assert_eq!(list["data"], json!([]));
    let secrets = server.send(Call::new(Method::GET, "/v1/webhooks/secrets").key(&server.sandbox)).await.is(200);
    assert_ne!(secrets["data"][0]["secret"], server.secret().await);

    // The same idempotency key belongs to each environment anew.
    let one = json!({"url": site.quick_url()});
    let call = || Call::post("/v1/scrape/async", &one).header("idempotency-key", "k-1");
    let here = server.send(call()).await.is(202)["job_id"].as_str().unwrap().to_owned();
    let there = server.send(call().key(&server.sandbox)).await.is(202)["job_id"].as_str().unwrap().to_owned();
    assert_ne!(here, there);
    server.ended(&here).await;
    let path = format!("/v1/jobs/{there}");
    let there = super::server::until("the sandbox job", async || {
        let job = server.send(Call::new(Method::GET, &path).key(&server.sandbox)).await.is(200);
        (job["status"] == "completed").then_some(job)
    });
    assert_eq!(there.await["environment"], "sandbox");
    server.finish().await;
}

#[tokio::test]
async fn what_is_nowhere_and_what_is_not_done_are_told_apart() {
    let server = Server::start().await;
    for path in [
        "/v1",
        "/v1/",
        "/v2/scrape",
        "/v1/scrape/",
        "/v1/nothing",
        "/v1/jobs/a/b/c",
        "//v1/jobs",
        "/v1/%252e%252e",
        "/staging",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            server.send(Call::new(method, path)).await.is(404);
        }
        server.send(Call::new(Method::GET, path).header("authorization", "")).await.is(404);
    }
    for (method, path, allowed) in [
        (Method::GET, "/v1/scrape", "POST"),
        (Method::PUT, "/v1/scrape/async", "POST"),
        (Method::DELETE, "/v1/scrape/batch/async", "POST"),
        (Method::POST, "/v1/jobs", "GET"),
        (Method::PATCH, "/v1/jobs/0192f0c1-2345-7abc-8def-0123456789ab", "DELETE"),
        (Method::GET, "/v1/webhooks/secrets/rotate", "POST"),
        (Method::POST, "/", "GET"),
        (Method::POST, "/healthz", "GET"),
        (Method::POST, "/openapi.json", "GET"),
    ] {
        let answer = server.send(Call::new(method.clone(), path)).await;
        answer.is(405);
        let allow = answer.header("allow");
        assert!(allow.split(',').any(|one| one.trim() == allowed), "{method} {path}: Allow is `{allow}`");
    }
    server.finish().await;
}

#[tokio::test]
async fn queries_that_cannot_be_followed_are_refused() {
    let server = Server::start().await;
    for path in [
        "/v1/jobs?limit=0",
        "/v1/jobs?limit=201",
        "/v1/jobs?limit=many",
        "/v1/jobs?limit=-1",
        "/v1/jobs?cursor=nonsense",
        "/v1/jobs?status=done",
        "/v1/jobs?kind=walk",
        "/v1/jobs?limit=1&limit=2",
        "/v1/deliveries?status=lost",
        "/v1/deliveries?job_id=1",
        "/v1/deliveries?limit=1000",
    ] {
        server.get(path).await.is(422);
    }
    server.finish().await;
}

#[tokio::test]
async fn secrets_overlap_when_they_are_rotated() {
    let server = Server::start().await;
    let old = server.secret().await;
    let new = server.send(Call::new(Method::POST, "/v1/webhooks/secrets/rotate")).await.is(201);
    let list = server.get("/v1/webhooks/secrets").await.is(200);
    let list = list["data"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["secret"], new["secret"]);
    assert_eq!(list[1]["secret"], old);
    assert!(list[0]["expires_at"].is_null() && list[1]["expires_at"].is_string());
    // On disk there is neither a key nor a secret to be read.
    let files = walk(server.directory());
    for text in [&server.production, &server.sandbox, &old, new["secret"].as_str().unwrap()] {
        let needle = text.rsplit('_').next().unwrap().as_bytes();
        for (path, bytes) in &files {
            assert!(memchr::memmem::find(bytes, needle).is_none(), "{} has a secret in clear", path.display());
        }
    }
    server.finish().await;
}

fn walk(directory: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path))
        } else {
            files.push((path.clone(), std::fs::read(&path).unwrap()))
        }
    }
    files
}
