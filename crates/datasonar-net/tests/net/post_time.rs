//! A post's four clocks: connecting, the upload's progress, the wait for the response, the reading of it.

use std::time::Duration;

use bytes::Bytes;
use datasonar_net::{BodySource, PostErrorKind, PostRequest};
use futures::{StreamExt, stream};
use http::StatusCode;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

use crate::post::post;
use crate::world::{one_peer, reply};

const BODY: usize = 1 << 20;

/// Takes a body of [`BODY`] bytes, a sixteenth of it every `pause`, waits, answers, and dawdles over its own body.
fn receiver(pause: Duration, wait: Duration) -> std::sync::Arc<crate::world::World> {
    one_peer(move |mut peer| async move {
        peer.head().await;
        let (mut got, mut buffer) = (0, vec![0; BODY / 16]);
        while got < BODY {
            sleep(pause).await;
            let read = peer.stream.read_exact(&mut buffer).await;
            got += read.unwrap_or(BODY);
        }
        sleep(wait).await;
        peer.write(reply("200 OK", &[], "done")).await;
    })
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_takes_nothing_stalls_the_upload() {
    let world = receiver(Duration::from_secs(3600), Duration::ZERO);
    let started = Instant::now();
    let outcome = world.client().post(post("http://site.example/", vec![0; BODY])).await;
    let error = outcome.result.unwrap_err();
    assert_eq!((error.kind, error.code()), (PostErrorKind::UploadStalled, "upload_stalled"));
    assert_eq!((started.elapsed(), outcome.timings.total), (Duration::from_secs(30), Duration::from_secs(30)));
    assert_eq!(error.message, "the receiver took no bytes for 30s");
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_is_fine_and_the_response_has_its_own_time() {
    // 16 × 29 s of upload. The head takes part of the first read, so that a little of the body is left in flight.
    let world = receiver(Duration::from_secs(29), Duration::from_secs(29));
    let started = Instant::now();
    let response = world.client().post(post("http://site.example/", vec![0; BODY + 4096])).await.result.unwrap();
    assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"done"[..]));
    assert!(started.elapsed() > Duration::from_secs(29 * 16));
}

#[tokio::test(start_paused = true)]
async fn the_response_must_begin_within_its_time_after_the_last_byte() {
    let world = one_peer(|mut peer| async move {
        peer.request().await;
        sleep(Duration::from_millis(30_001)).await;
        peer.write(reply("200 OK", &[], "late")).await;
    });
    // The last byte leaves after 20 s: the 30 s count from there.
    let chunks = stream::iter([1, 2, 3, 4]).then(|_| async {
        sleep(Duration::from_secs(5)).await;
        Ok::<_, std::io::Error>(Bytes::from_static(b"x"))
    });
    let request = PostRequest { body: BodySource::stream(chunks, 4), ..post("http://site.example/", "") };
    let started = Instant::now();
    let error = world.client().post(request).await.result.unwrap_err();
    assert_eq!((error.kind, started.elapsed()), (PostErrorKind::Timeout, Duration::from_secs(50)));
    assert_eq!(error.message, "no response within 30s of the last byte");
}

#[tokio::test(start_paused = true)]
async fn informational_responses_do_not_stretch_the_time() {
    let world = one_peer(|mut peer| async move {
        peer.request().await;
        while peer.write("HTTP/1.1 102 Processing\r\n\r\n").await {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let started = Instant::now();
    let error = world.client().post(post("http://site.example/", "x")).await.result.unwrap_err();
    assert_eq!((error.kind, started.elapsed()), (PostErrorKind::HeadersTimeout, Duration::from_secs(30)));
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_costs_its_deadline_and_no_more() {
    let world = one_peer(|mut peer| async move {
        peer.request().await;
        peer.write("HTTP/1.1 200 OK\r\n\r\n").await;
        while peer.write("tick\n").await {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let started = Instant::now();
    let outcome = world.client().post(post("http://site.example/", "x")).await;
    let response = outcome.result.unwrap();
    assert_eq!((response.status, response.truncated), (StatusCode::OK, true));
    assert!(response.body.starts_with(b"tick\ntick\n"));
    assert_eq!((started.elapsed(), outcome.timings.first_byte), (Duration::from_secs(10), Some(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_stands_still_is_not_the_receivers_fault() {
    let world = one_peer(|mut peer| async move {
        peer.request().await;
    });
    let chunks = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"x"))]).chain(stream::pending());
    let request = PostRequest { body: BodySource::stream(chunks, 4), ..post("http://site.example/", "") };
    let started = Instant::now();
    let error = world.client().post(request).await.result.unwrap_err();
    assert_eq!((error.kind, started.elapsed()), (PostErrorKind::BodySource, Duration::from_secs(30)));
}

#[tokio::test(start_paused = true)]
async fn the_clocks_of_one_post_do_not_run_on_into_the_next() {
    let world = one_peer(|mut peer| async move {
        while peer.request().await.is_some() {
            sleep(Duration::from_secs(29)).await;
            peer.write(reply("200 OK", &[], "ok")).await;
        }
    });
    let client = world.client();
    for _ in 0..4 {
        client.post(post("http://site.example/", "x")).await.result.unwrap();
        sleep(Duration::from_secs(3)).await;
    }
    assert_eq!(world.dials(), 1);
    sleep(Duration::from_secs(4)).await;
    client.post(post("http://site.example/", "x")).await.result.unwrap();
    assert_eq!(world.dials(), 2, "idle for longer than connections are kept");
}

#[tokio::test(start_paused = true)]
async fn a_post_that_is_given_up_closes_its_connection() {
    let (closed, mut on_close) = tokio::sync::mpsc::unbounded_channel();
    let world = one_peer(move |mut peer| {
        let closed = closed.clone();
        async move {
            peer.request().await;
            peer.hang().await;
            closed.send(Instant::now()).unwrap();
        }
    });
    let client = world.client();
    let started = Instant::now();
    let given_up = tokio::time::timeout(Duration::from_secs(5), client.post(post("http://site.example/", "x"))).await;
    assert!(given_up.is_err());
    assert_eq!(on_close.recv().await.unwrap() - started, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn headers_that_drip_are_not_waited_for() {
    let world = one_peer(|mut peer| async move {
        peer.request().await;
        peer.write("HTTP/1.1 200 OK\r\n").await;
        while peer.write("x-drip: 1\r\n").await {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let started = Instant::now();
    let error = world.client().post(post("http://site.example/", "x")).await.result.unwrap_err();
    assert_eq!((error.code(), started.elapsed()), ("headers_timeout", Duration::from_secs(30)));
}

#[tokio::test(start_paused = true)]
async fn a_status_and_headers_are_an_answer_though_the_body_never_comes() {
    let world = one_peer(|mut peer| async move {
        peer.request().await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await;
        peer.hang().await;
    });
    let started = Instant::now();
    let response = world.client().post(post("http://site.example/", "x")).await.result.unwrap();
    assert_eq!((response.status, response.truncated), (StatusCode::OK, true));
    assert_eq!(started.elapsed(), Duration::from_secs(10));
}
