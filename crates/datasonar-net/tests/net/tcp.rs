//! What only real TCP does: refusals, resets, answers that overtake an upload.

use std::net::SocketAddr;

use datasonar_net::{AddressPolicy, Client, ClientOptions, FetchErrorKind, PostErrorKind};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::post::post;
use crate::world::{get, reply};

fn client() -> Client {
    let policy = AddressPolicy::allowing(vec!["127.0.0.0/8".parse().unwrap()]);
    Client::new(ClientOptions::new(policy)).unwrap()
}

async fn serve<F: Future<Output = ()> + Send + 'static>(
    script: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(stream));
        }
    });
    addr
}

#[tokio::test]
async fn a_page_over_tcp() {
    let addr = serve(|mut stream| async move {
        let mut asked = [0; 4096];
        while stream.read(&mut asked).await.is_ok_and(|read| read > 0) {
            stream.write_all(&reply("200 OK", &[], "page")).await.unwrap();
        }
    })
    .await;
    let client = client();
    for host in [addr.to_string(), format!("localhost:{}", addr.port())] {
        let fetched = client.fetch(get(&format!("http://{host}/"))).await.unwrap();
        assert_eq!((&fetched.body[..], fetched.remote), (&b"page"[..], addr));
    }
    let blocked = Client::new(ClientOptions::new(AddressPolicy::public_only())).unwrap();
    let error = blocked.fetch(get(&format!("http://{addr}/"))).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::BlockedAddress);
}

#[tokio::test]
async fn nobody_listening() {
    let addr = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = client().fetch(get(&format!("http://{addr}/"))).await.unwrap_err();
    assert_eq!((error.kind, error.message), (FetchErrorKind::Connect, format!("{addr} refused the connection")));
    let outcome = client().post(post(&format!("http://{addr}/"), "x")).await;
    assert_eq!(outcome.result.unwrap_err().kind, PostErrorKind::Refused);
}

#[tokio::test]
async fn a_reset_amid_the_body() {
    let addr = serve(|mut stream| async move {
        let mut asked = [0; 4096];
        assert!(stream.read(&mut asked).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
        // Whoever closes with something unread resets.
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = client().fetch(get(&format!("http://{addr}/"))).await.unwrap_err();
    assert_eq!(
        (error.kind, error.code(), error.is_transient()),
        (FetchErrorKind::Protocol, "connect_error", true),
        "{error}"
    );
}

#[tokio::test]
async fn a_reset_before_the_response() {
    let addr = serve(|mut stream| async move {
        let mut asked = [0; 4096];
        assert!(stream.read(&mut asked).await.unwrap() > 0);
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = client().post(post(&format!("http://{addr}/"), "x")).await.result.unwrap_err();
    assert_eq!((error.kind, error.code()), (PostErrorKind::Reset, "connection_reset"), "{error}");
}

#[tokio::test]
async fn an_answer_that_overtakes_the_upload_is_read_though_the_peer_closes() {
    // Closing with the upload unread makes the kernel answer further bytes with a reset, so that our writes fail.
    let addr = serve(|mut stream| async move {
        let mut some = [0; 4096];
        assert!(stream.read(&mut some).await.unwrap() > 0);
        stream.write_all(&reply("413 Too Large", &["connection: close"], "too much")).await.unwrap();
    })
    .await;
    let client = client();
    for _ in 0..20 {
        let outcome = client.post(post(&format!("http://{addr}/"), vec![0; 32 << 20])).await;
        assert_eq!(outcome.result.unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
