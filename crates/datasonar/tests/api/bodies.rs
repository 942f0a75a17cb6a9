//! What a body may be: its type, its coding, its size.

use std::io::Write;

use bytes::Bytes;
use datasonar::cli::demo::site::Site;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::server::{Call, Server, Setup, exchange, site};

const BATCH: &str = "/v1/scrape/batch/async";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn batch(site: &Site) -> String {
    json!({"urls": site.urls().collect::<Vec<_>>(), "format": "text"}).to_string()
}

/// Queues a body that is right, and waits for the job's three pages.
async fn works(server: &Server, call: Call) -> Value {
    let queued = server.send(call).await.is(202);
    let job = server.ended(queued["job_id"].as_str().unwrap()).await;
    assert_eq!(job["progress"], json!({"total": 3, "succeeded": 3, "failed": 0}));
    job
}

#[tokio::test]
async fn json_is_assumed_and_anything_else_refused() {
    let (server, site) = (Server::start().await, site(3).await);
    for media_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/problem+json",
        // What curl says of `-d`.
        "application/x-www-form-urlencoded",
    ] {
        works(&server, Call::raw(BATCH, batch(&site)).header("content-type", media_type)).await;
    }
    works(&server, Call::raw(BATCH, batch(&site))).await;
    for media_type in ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonp"] {
        for path in [BATCH, "/v1/scrape"] {
            server.send(Call::raw(path, batch(&site)).header("content-type", media_type)).await.is(415);
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn bodies_may_be_compressed() {
    let (server, site) = (Server::start().await, site(3).await);
    let plain = batch(&site);
    let (zipped, tight) = (gzip(plain.as_bytes()), zstd(plain.as_bytes()));
    let members = [gzip(&plain.as_bytes()[..20]), gzip(&plain.as_bytes()[20..])].concat();
    for (coding, body) in [("gzip", &zipped), ("x-gzip", &zipped), ("gzip", &members), ("zstd", &tight)] {
        works(&server, Call::raw(BATCH, body.clone()).header("content-encoding", coding)).await;
    }
    works(&server, Call::raw(BATCH, plain.clone()).header("content-encoding", "identity")).await;
    let one = json!({"url": site.quick_url()}).to_string();
    server.send(Call::raw("/v1/scrape", gzip(one.as_bytes())).header("content-encoding", "gzip")).await.is(200);
    server.send(Call::raw("/v1/scrape", zstd(one.as_bytes())).header("content-encoding", "zstd")).await.is(200);
    for path in [BATCH, "/v1/scrape"] {
        for coding in ["br", "deflate", "gzip, gzip", "nonsense"] {
            server.send(Call::raw(path, zipped.clone()).header("content-encoding", coding)).await.is(415);
        }
        for (coding, body) in [
            ("gzip", plain.as_bytes()),
            ("zstd", plain.as_bytes()),
            ("gzip", &zipped[..zipped.len() / 2]),
            ("zstd", &tight[..tight.len() / 2]),
            ("gzip", &zipped[..5]),
        ] {
            let body = Bytes::copy_from_slice(body);
            server.send(Call::raw(path, body).header("content-encoding", coding)).await.is(400);
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn members_come_in_any_order() {
    let (server, site) = (Server::start().await, site(3).await);
    let urls = serde_json::to_string(&site.urls().collect::<Vec<_>>()).unwrap();
    for body in [
        format!(r#"{{"format":"links","urls":{urls},"timeout":9}}"#),
        format!(r#"{{"urls":{urls},"timeout":9,"format":"links"}}"#),
        format!("\n\t {{ \"timeout\" : 9 , \"format\":\"links\",\"webhook_url\":null,\r\n \"urls\" : {urls} }} \n\n"),
    ] {
        let job = works(&server, Call::raw(BATCH, body)).await;
        let path = format!("/v1/jobs/{}/results", job["job_id"].as_str().unwrap());
        assert!(server.get(&path).await.is(200)["data"][0]["content"].is_array());
    }
    server.finish().await;
}

#[tokio::test]
async fn bodies_have_a_greatest_size() {
    let site = site(3).await;
    let server = Setup::new().flag("max_request_bytes", "100000").start().await;
    let many = json!({"urls": vec![site.quick_url(); 5_000]}).to_string();
    assert!(many.len() > 100_000);
    for path in [BATCH, "/v1/scrape", "/v1/scrape/batch", "/v1/scrape/async"] {
        server.send(Call::raw(path, many.clone())).await.is(413);
        // A bomb is measured as it unfolds.
        server.send(Call::raw(path, gzip(many.as_bytes())).header("content-encoding", "gzip")).await.is(413);
        server.send(Call::raw(path, zstd(many.as_bytes())).header("content-encoding", "zstd")).await.is(413);
        // Without a content-length.
        let answer = exchange(server.running.address, &chunked(&server, path, many.as_bytes())).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
        assert!(answer.contains("application/problem+json"));
    }
    works(&server, Call::raw(BATCH, batch(&site))).await;
    let answer = exchange(
        server.running.address,
        &chunked(&server, "/v1/scrape", json!({"url": site.quick_url()}).to_string().as_bytes()),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.finish().await;
}

/// A request whose body comes in chunks.
fn chunked(server: &Server, path: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        server.production
    )
    .into_bytes();
    for chunk in body.chunks(10_000) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

#[tokio::test]
async fn a_hundred_megabytes_of_garbage_are_answered() {
    let server = Server::start().await;
    let garbage = Bytes::from(vec![b'x'; 100 * 1024 * 1024]);
    let problem = server.send(Call::raw(BATCH, garbage.clone())).await.is(400);
    assert!(problem["detail"].as_str().unwrap().contains("line 1 column 1"));
    // It has no such length elsewhere.
    server.send(Call::raw("/v1/scrape", garbage)).await.is(413);
    // One string without an end.
    let mut long = br#"{"urls": [""#.to_vec();
    long.resize(100 * 1024 * 1024, b'x');
    server.send(Call::raw(BATCH, long)).await.is(422);
    assert_eq!(server.get("/readyz").await.status.as_u16(), 200);
    server.finish().await;
}
