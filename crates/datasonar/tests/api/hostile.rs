//! Endpoints that misbehave, over real TLS: each way of it is told apart, and costs nothing but its attempt.

use std::{fs, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use datasonar::cli::demo::site::{Site, SiteOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::server::{Server, Setup, acceptor, site};

const BATCH: &str = "/v1/scrape/batch/async";

/// A certificate authority for one test.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// Serves with a certificate for a name.
    pub(super) fn acceptor(&self, name: &str, expired: bool) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            parameters.not_after = date_time_ymd(2020, 1, 1);
        }
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        acceptor(&certificate, &key)
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An endpoint that does what a script says with every connection.
async fn endpoint<F>(acceptor: TlsAcceptor, script: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let accepting = acceptor.accept(stream);
            if let Ok(stream) = accepting.await {
                tokio::spawn(script(stream));
            }
        }
    });
    format!("https://localhost:{}/hook", address.port())
}

/// Reads a request to its end.
async fn request(stream: &mut TlsStream<TcpStream>) {
    let mut read = Vec::new();
    let head = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
    };
    let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
    let (_, length) = text.split_once("content-length: ").unwrap();
    let length: usize = length.split_once("\r\n").unwrap().0.parse().unwrap();
    while read.len() < head + length {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
    }
}

/// An endpoint that reads the request, writes this, and keeps the connection open.
pub(super) async fn answering(acceptor: TlsAcceptor, answer: impl Into<Vec<u8>>) -> String {
    let answer: Arc<[u8]> = answer.into().into();
    endpoint(acceptor, move |mut stream| {
        let answer = answer.clone();
        async move {
            request(&mut stream).await;
            let _ = stream.write_all(&answer).await;
            let _ = stream.flush().await;
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await
}

/// A server that trusts an authority, makes one attempt, and waits a second.
pub(super) async fn server(authority: &Authority) -> Server {
    let setup = Setup::new().flag("webhook_max_attempts", "1").flag("webhook_timeout", "1s");
    let ca_file = setup.file("ca.pem");
    fs::write(&ca_file, authority.0.pem()).unwrap();
    setup.flag("webhook_ca_file", &ca_file.to_string_lossy()).start().await
}

/// Has a page delivered there; answers the one attempt.
async fn attempt(server: &Server, site: &Site, endpoint: &str, status: &str) -> Value {
    let urls: Vec<String> = site.urls().collect();
    let job = server.queue(BATCH, &json!({"urls": urls, "format": "raw_html", "webhook_url": endpoint})).await;
    let delivery = server.delivery(&job, status, 1).await;
    assert!(delivery["next_attempt_at"].is_null());
    delivery["attempts"][0].clone()
}

#[tokio::test]
async fn endpoints_that_cannot_be_reached_are_told_apart() {
    let (site, ours, stranger) = (site(1).await, Authority::new(), Authority::new());
    let server = server(&ours).await;
    let idle = |mut stream: TlsStream<TcpStream>| async move {
        let _ = stream.read(&mut [0]).await;
    };
    let (reset, reset_address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = reset.accept().await {
            let _ = stream.read(&mut [0]).await;
            stream.set_zero_linger().unwrap();
        }
    });
    let (_silent, silent) = listen().await;
    for (endpoint, code, is_dialled) in [
        ("https://nowhere.invalid/hook", "dns_error", false),
        // The discard port: nobody listens there.
        ("https://127.0.0.1:9/hook", "connection_refused", false),
        (&endpoint(ours.acceptor("localhost", true), idle).await, "certificate_expired", true),
        (&endpoint(ours.acceptor("other.example", false), idle).await, "certificate_wrong_host", true),
        (&endpoint(stranger.acceptor("localhost", false), idle).await, "certificate_untrusted", true),
        (&format!("https://localhost:{}/", reset_address.port()), "tls_error", true),
        (&format!("https://localhost:{}/", silent.port()), "connect_timeout", true),
    ] {
        let attempt = attempt(&server, &site, endpoint, "failed").await;
        assert_eq!(attempt["error"]["code"], code, "{endpoint}: {attempt}");
        assert!(attempt["response_code"].is_null());
        assert_eq!(attempt["remote"].is_string(), is_dialled, "{code}: {attempt}");
        assert_eq!(attempt["timings"]["connect_ms"].is_u64(), is_dialled, "{code}: {attempt}");
    }
    server.finish().await;
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart() {
    let (site, authority) = (site(1).await, Authority::new());
    let server = server(&authority).await;
    let acceptor = authority.acceptor("localhost", false);
    let closes = endpoint(acceptor.clone(), |mut stream| async move { request(&mut stream).await }).await;
    let drips = endpoint(acceptor.clone(), |mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x-drip: 1\r\n").await.is_ok() && stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "x-much: more\r\n".repeat(20_000));
    for (endpoint, code, status) in [
        (&closes, "connection_reset", Value::Null),
        (&drips, "headers_timeout", Value::Null),
        (&answering(acceptor.clone(), "").await, "timeout", Value::Null),
        (&answering(acceptor.clone(), "HTTP/1.1 200 OK\r\n").await, "headers_timeout", Value::Null),
        (&answering(acceptor.clone(), "220 smtp.example ESMTP\r\n\r\n").await, "protocol_error", Value::Null),
        (&answering(acceptor.clone(), endless).await, "protocol_error", Value::Null),
        (&answering(acceptor.clone(), "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n").await, "http_status", json!(404)),
        (&answering(acceptor.clone(), "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await, "http_status", json!(503)),
        (
            &answering(
                acceptor.clone(),
                "HTTP/1.1 301 No\r\nlocation: https://b.example/\r\ncontent-length: 0\r\n\r\n",
            )
            .await,
            "redirect",
            json!(301),
        ),
    ] {
        let attempt = attempt(&server, &site, endpoint, "failed").await;
        assert_eq!(attempt["error"]["code"], code, "{attempt}");
        assert_eq!(attempt["response_code"], status, "{code}");
        assert!(attempt["timings"]["tls_ms"].is_u64() && attempt["remote"].is_string(), "{code}");
        if code == "redirect" {
            assert!(attempt["error"]["message"].as_str().unwrap().contains("https://b.example/"));
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn a_2xx_is_a_delivery_whatever_its_body_does() {
    let (site, authority) = (site(1).await, Authority::new());
    let server = server(&authority).await;
    let acceptor = authority.acceptor("localhost", false);
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n{}", "x".repeat(50_000));
    for (answer, kept) in [
        ("HTTP/1.1 204 Fine\r\n\r\n".to_owned(), 0),
        ("HTTP/1.1 202 Fine\r\ncontent-length: 3\r\n\r\nyes".to_owned(), 3),
        (long, 16 * 1024),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned(), 4),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense".to_owned(), 4),
    ] {
        let endpoint = answering(acceptor.clone(), answer.clone()).await;
        let attempt = attempt(&server, &site, &endpoint, "delivered").await;
        assert!(attempt["error"].is_null(), "{attempt}");
        assert_eq!(attempt["response_body"].as_str().unwrap().len(), kept, "{:?}", &answer[..20]);
    }
    server.finish().await;
}

#[tokio::test]
async fn an_upload_that_stands_still_fails() {
    // More than two sockets hold.
    let site = Site::start(SiteOptions { urls: 900, trouble: false, ..SiteOptions::default() }).await.unwrap();
    let authority = Authority::new();
    let server = server(&authority).await;
    let stands_still = endpoint(authority.acceptor("localhost", false), |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let attempt = attempt(&server, &site, &stands_still.await, "failed").await;
    assert_eq!(attempt["error"]["code"], "upload_stalled", "{attempt}");
    server.finish().await;
}
