//! Posting: what counts as a response, what as a failure, and what is never done.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use datasonar_net::{BodySource, PostErrorKind, PostRequest};
use futures::stream;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::world::{World, one_peer, one_site, redirect, reply, url};

/// A post over plain HTTP, which most of the tests here speak.
pub(crate) fn post(to: &str, body: impl Into<Bytes>) -> PostRequest {
    PostRequest { https_only: false, ..PostRequest::new(url(to), HeaderMap::new(), BodySource::bytes(body)) }
}

#[tokio::test]
async fn a_post_arrives_as_it_was_sent() {
    let world = one_site(|request| {
        assert_eq!(request.line, "POST /hook?a=b HTTP/1.1");
        assert_eq!(request.header("host"), Some("site.example"));
        assert_eq!(request.header("content-length"), Some("11"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("user-agent"), Some("Datasonar-Webhooks/1"));
        assert_eq!((request.header("accept-encoding"), request.header("transfer-encoding")), (None, None));
        assert_eq!(request.body, b"{\"id\":\"42\"}");
        reply("201 Created", &["x-request-id: r1"], "thanks")
    });
    let mut request = post("http://site.example/hook?a=b", "{\"id\":\"42\"}");
    request.headers.insert("content-type", HeaderValue::from_static("application/json"));
    request.headers.insert("user-agent", HeaderValue::from_static("Datasonar-Webhooks/1"));
    request.headers.insert("content-length", HeaderValue::from_static("7"));
    let outcome = world.client().post(request).await;
    assert_eq!(outcome.remote, Some("1.1.1.1:80".parse().unwrap()));
    assert!(outcome.timings.dns.is_some() && outcome.timings.connect.is_some() && outcome.timings.first_byte.is_some());
    let response = outcome.result.unwrap();
    assert_eq!((response.status, &response.body[..], response.truncated), (StatusCode::CREATED, &b"thanks"[..], false));
    assert_eq!(response.headers["x-request-id"], "r1");
}

#[tokio::test]
async fn redirects_are_answers() {
    let world = one_site(|_| redirect("307 Temporary", "http://169.254.169.254/"));
    let response = world.client().post(post("http://site.example/", "x")).await.result.unwrap();
    assert_eq!((response.status, world.dials()), (StatusCode::TEMPORARY_REDIRECT, 1));
    assert_eq!(response.headers["location"], "http://169.254.169.254/");
}

#[tokio::test]
async fn what_may_not_be_posted_to_is_not_dialled() {
    let world = World::new();
    world.name("inside.example", &[&["10.0.0.1"]]).name("rebinds.example", &[&["1.1.1.1"], &["::ffff:7f00:1"]]);
    world.http("1.1.1.1:80", |_| reply("200 OK", &["connection: close"], ""));
    let client = world.client();
    client.post(post("http://rebinds.example/", "x")).await.result.unwrap();
    for (to, kind, code) in [
        ("http://127.0.0.1/", PostErrorKind::BlockedAddress, "blocked_address"),
        ("http://localhost/", PostErrorKind::BlockedAddress, "blocked_address"),
        ("http://inside.example/", PostErrorKind::BlockedAddress, "blocked_address"),
        ("http://rebinds.example/", PostErrorKind::BlockedAddress, "blocked_address"),
        ("http://nowhere.example/", PostErrorKind::Dns, "dns_error"),
        ("ftp://site.example/", PostErrorKind::InvalidUrl, "invalid_url"),
    ] {
        let outcome = client.post(post(to, "x")).await;
        let error = outcome.result.unwrap_err();
        assert_eq!((error.kind, error.code(), outcome.remote), (kind, code, None), "{to}");
    }
    let refused = client.post(post("http://1.1.1.1:81/", "x")).await.result.unwrap_err();
    assert_eq!((refused.kind, refused.message.as_str()), (PostErrorKind::Refused, "1.1.1.1:81 refused the connection"));
    let strict = PostRequest { https_only: true, ..post("http://site.example/", "x") };
    assert_eq!(client.post(strict).await.result.unwrap_err().kind, PostErrorKind::NotHttps);
    assert_eq!(world.dials(), 2);
}

#[tokio::test]
async fn the_response_is_read_to_its_limit() {
    for (length, truncated) in [(16 * 1024 - 1, false), (16 * 1024, false), (16 * 1024 + 1, true), (1 << 20, true)] {
        let world = one_site(move |_| reply("200 OK", &[], vec![b'x'; length]));
        let response = world.client().post(post("http://site.example/", "x")).await.result.unwrap();
        assert_eq!((response.body.len(), response.truncated), (length.min(16 * 1024), truncated));
        let world = one_peer(move |mut peer| async move {
            peer.request().await;
            peer.write("HTTP/1.1 200 OK\r\n\r\n").await;
            peer.write(vec![b'x'; length]).await;
        });
        let response = world.client().post(post("http://site.example/", "x")).await.result.unwrap();
        assert_eq!((response.body.len(), response.truncated), (length.min(16 * 1024), truncated));
    }
}

#[tokio::test]
async fn the_status_counts_even_if_the_body_breaks_off() {
    let world = one_peer(|mut peer| async move {
        peer.request().await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    });
    let response = world.client().post(post("http://site.example/", "x")).await.result.unwrap();
    assert_eq!((response.status, &response.body[..], response.truncated), (StatusCode::OK, &b"half"[..], true));
}

#[tokio::test]
async fn informational_responses_are_not_the_answer() {
    let world = one_site(|_| {
        let mut all = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n".to_vec();
        all.extend(reply("202 Accepted", &[], ""));
        all
    });
    let response = world.client().post(post("http://site.example/", "x")).await.result.unwrap();
    assert_eq!(response.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_counts() {
    let world = one_peer(|mut peer| async move {
        peer.head().await;
        peer.write(reply("413 Too Large", &[], "too much")).await;
        std::future::pending::<()>().await;
    });
    let response = world.client().post(post("http://site.example/", vec![0; 10 << 20])).await.result.unwrap();
    assert_eq!((response.status, &response.body[..]), (StatusCode::PAYLOAD_TOO_LARGE, &b"too much"[..]));
    // What was under way is not mistaken for an idle connection.
    let _ = world.client().post(post("http://site.example/", vec![0; 10 << 20])).await.result.unwrap();
    assert_eq!(world.dials(), 2);
}

#[tokio::test]
async fn a_large_body_is_streamed() {
    const CHUNK: usize = 64 * 1024;
    const CHUNKS: usize = 1024;
    let pulled = Arc::new(AtomicUsize::new(0));
    let ahead = Arc::new(AtomicUsize::new(0));
    let world = one_peer({
        let (pulled, ahead) = (Arc::clone(&pulled), Arc::clone(&ahead));
        move |mut peer| {
            let (pulled, ahead) = (Arc::clone(&pulled), Arc::clone(&ahead));
            async move {
                use tokio::io::AsyncReadExt;
                peer.head().await;
                let (mut got, mut buffer) = (0, vec![0; CHUNK]);
                while got < CHUNK * CHUNKS - CHUNK {
                    got += peer.stream.read(&mut buffer).await.unwrap();
                    ahead.fetch_max(pulled.load(Ordering::Relaxed).saturating_sub(got), Ordering::Relaxed);
                }
                peer.write(reply("200 OK", &["connection: close"], "")).await;
            }
        }
    });
    let counter = Arc::clone(&pulled);
    let chunks = stream::iter((0..CHUNKS).map(move |_| {
        counter.fetch_add(CHUNK, Ordering::Relaxed);
        Ok::<_, io::Error>(Bytes::from(vec![7; CHUNK]))
    }));
    let body = BodySource::stream(chunks, (CHUNK * CHUNKS) as u64);
    let request = PostRequest { body, ..post("http://site.example/", "") };
    assert_eq!(world.client().post(request).await.result.unwrap().status, StatusCode::OK);
    let ahead = ahead.load(Ordering::Relaxed);
    assert!(ahead <= 6 * CHUNK, "{ahead} bytes were pulled ahead of the receiver");
}

#[tokio::test]
async fn a_failing_source_is_not_the_receivers_fault() {
    let world = one_peer(|mut peer| async move {
        assert!(peer.request().await.is_none(), "the receiver must see that the body is not whole");
    });
    let chunk = || Ok::<_, io::Error>(Bytes::from_static(b"12345"));
    for (body, message) in [
        (BodySource::stream(stream::iter([chunk()]), 6), "the body ended 1 bytes short of 6"),
        (BodySource::stream(stream::iter([chunk(), chunk()]), 6), "the body is longer than 6 bytes"),
        (BodySource::stream(stream::iter([chunk(), Err(io::Error::other("the blob is gone"))]), 9), "the blob is gone"),
    ] {
        let request = PostRequest { body, ..post("http://site.example/", "") };
        let error = world.client().post(request).await.result.unwrap_err();
        assert_eq!(
            (error.kind, error.code(), error.message.as_str()),
            (PostErrorKind::BodySource, "body_source", message)
        );
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let world = one_site(|_| reply("200 OK", &[], "ok"));
    let client = world.client();
    for _ in 0..5 {
        client.post(post("http://site.example/", "x")).await.result.unwrap();
    }
    client.post(post("http://site.example/", "")).await.result.unwrap();
    assert_eq!(world.dials(), 1);
}

#[tokio::test]
async fn connections_that_will_close_are_not() {
    for header in ["connection: close", "keep-alive: timeout=1, max=100"] {
        let world = one_site(move |_| reply("200 OK", &[header], "ok"));
        let client = world.client();
        for _ in 0..3 {
            client.post(post("http://site.example/", "x")).await.result.unwrap();
        }
        assert_eq!(world.dials(), 3, "{header}");
    }
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let (closed, on_close) = tokio::sync::mpsc::unbounded_channel();
    let world = one_peer(move |mut peer| {
        let closed = closed.clone();
        async move {
            peer.request().await;
            peer.write(reply("200 OK", &[], "ok")).await;
            drop(peer);
            closed.send(()).unwrap();
        }
    });
    let client = world.client();
    let mut on_close = on_close;
    for n in 1..=3 {
        client.post(post("http://site.example/", "x")).await.result.unwrap();
        on_close.recv().await;
        assert_eq!(world.dials(), n);
    }
}

#[tokio::test]
async fn a_post_that_may_have_arrived_is_not_sent_again() {
    let bodies: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let log = Arc::clone(&bodies);
    // Answers the first request of a connection and takes the second without a word.
    let world = one_peer(move |mut peer| {
        let log = Arc::clone(&log);
        async move {
            let first = peer.request().await.unwrap();
            log.lock().unwrap().push(first.body);
            peer.write(reply("200 OK", &[], "ok")).await;
            let second = peer.request().await;
            log.lock().unwrap().extend(second.map(|request| request.body));
        }
    });
    let client = world.client();
    client.post(post("http://site.example/", "one")).await.result.unwrap();
    let error = client.post(post("http://site.example/", "two")).await.result.unwrap_err();
    assert_eq!((error.kind, error.code()), (PostErrorKind::Reset, "connection_reset"), "{error}");
    assert_eq!(*bodies.lock().unwrap(), [b"one", b"two"]);
    assert_eq!(world.dials(), 1);
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_error() {
    let world = one_site(|_| b"+OK POP3 ready\r\n".to_vec());
    let error = world.client().post(post("http://site.example/", "x")).await.result.unwrap_err();
    assert_eq!((error.kind, error.code()), (PostErrorKind::Protocol, "protocol_error"), "{error}");
}
