//! TLS: who is trusted, and which HTTP is spoken.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use datasonar_net::{Client, ClientOptions, FetchErrorKind};
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::post::post;
use crate::world::{World, get};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap().der().clone();
    Authority { issuer: Issuer::new(params, key), root }
}

impl Authority {
    fn acceptor(&self, names: &[&str], expired: bool, alpn: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        if expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)
                .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Puts `site.example` behind TLS. It answers with the version of HTTP it was asked in.
fn site(acceptor: TlsAcceptor) -> Arc<World> {
    let world = World::new();
    world.name("site.example.", &[&["1.1.1.1"]]).name("site.example", &[&["1.1.1.1"]]).at("1.1.1.1:443", move |peer| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(peer.stream).await else { return };
            let answer = service_fn(|request: http::Request<_>| async move {
                let _: &hyper::body::Incoming = request.body();
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("{:?}", request.version())))))
            });
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
        }
    });
    world
}

fn trusting(world: &Arc<World>, authority: &Authority) -> Client {
    Client::new(ClientOptions { extra_roots: vec![authority.root.clone()], ..world.options() }).unwrap()
}

#[tokio::test]
async fn pages_come_over_what_was_negotiated() {
    let authority = authority("ours");
    for (alpn, version) in [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&["http/1.1"], "HTTP/1.1"), (&[], "HTTP/1.1")] {
        let world = site(authority.acceptor(&["site.example"], false, alpn));
        let client = trusting(&world, &authority);
        for _ in 0..3 {
            let fetched = client.fetch(get("https://site.example/x?y")).await.unwrap();
            assert_eq!(fetched.body, version);
        }
        assert_eq!(world.dials(), 1, "{version} connections are used again");
        let fetched = client.fetch(get("https://site.example./")).await.unwrap();
        assert!(fetched.timings.tls.is_some(), "a trailing dot is no part of the certificate's name");
    }
}

#[tokio::test]
async fn many_requests_share_one_http2_connection() {
    let authority = authority("ours");
    let world = site(authority.acceptor(&["site.example"], false, &["h2"]));
    let client = trusting(&world, &authority);
    client.fetch(get("https://site.example/")).await.unwrap();
    let all = (0..50).map(|_| client.fetch(get("https://site.example/")));
    assert!(futures::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(world.dials(), 1);
}

#[tokio::test]
async fn posts_speak_http1() {
    let authority = authority("ours");
    let world = site(authority.acceptor(&["site.example"], false, &["h2", "http/1.1"]));
    let client = trusting(&world, &authority);
    let outcome = client.post(post("https://site.example/", "x")).await;
    assert!(outcome.timings.tls.is_some());
    assert_eq!(outcome.result.unwrap().body, "HTTP/1.1");
}

#[tokio::test]
async fn certificates_are_checked() {
    let ours = authority("ours");
    let stranger = authority("stranger");
    for (acceptor, message, code) in [
        (stranger.acceptor(&["site.example"], false, &[]), "UnknownIssuer", "certificate_untrusted"),
        (
            ours.acceptor(&["other.example"], false, &[]),
            "certificate not valid for name \"site.example\"",
            "certificate_wrong_host",
        ),
        (ours.acceptor(&["site.example"], true, &[]), "certificate expired", "certificate_expired"),
    ] {
        let world = site(acceptor);
        let client = trusting(&world, &ours);
        let error = client.fetch(get("https://site.example/")).await.unwrap_err();
        assert_eq!((error.kind, error.code(), error.is_transient()), (FetchErrorKind::Tls, "tls_error", false));
        assert!(error.message.contains(message), "{error}");
        let error = client.post(post("https://site.example/", "x")).await.result.unwrap_err();
        assert_eq!(error.code(), code);
    }
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls() {
    let world = World::new();
    world.name("site.example", &[&["1.1.1.1"]]).at("1.1.1.1:443", |mut peer| async move {
        peer.write("HTTP/1.1 400 Bad Request\r\n\r\nspeak plainly").await;
        peer.hang().await;
    });
    let error = world.client().fetch(get("https://site.example/")).await.unwrap_err();
    assert_eq!((error.kind, error.is_transient()), (FetchErrorKind::Tls, false), "{error}");
    let closes = World::new();
    closes.name("site.example", &[&["1.1.1.1"]]).at("1.1.1.1:443", |_| async {});
    let error = closes.client().fetch(get("https://site.example/")).await.unwrap_err();
    assert_eq!((error.kind, error.is_transient()), (FetchErrorKind::Tls, true), "{error}");
}

#[test]
fn a_root_that_is_none_is_refused() {
    let extra_roots = vec![CertificateDer::from(vec![1, 2, 3])];
    let made = Client::new(ClientOptions { extra_roots, ..World::new().options() });
    assert!(made.unwrap_err().to_string().starts_with("a certificate authority's certificate is unusable"));
}

#[tokio::test]
async fn a_dead_http2_connection_is_replaced_unnoticed() {
    let authority = authority("ours");
    let acceptor = authority.acceptor(&["site.example"], false, &["h2"]);
    let world = World::new();
    world.name("site.example", &[&["1.1.1.1"]]).at("1.1.1.1:443", move |peer| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(peer.stream).await.unwrap();
            // Answers one request and is gone at the second.
            let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let gone = Arc::new(tokio::sync::Notify::new());
            let signal = Arc::clone(&gone);
            let answer = service_fn(move |_: http::Request<hyper::body::Incoming>| {
                let first = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
                let signal = Arc::clone(&signal);
                async move {
                    if !first {
                        signal.notify_one();
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"page"))))
                }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let serving = builder.serve_connection(TokioIo::new(stream), answer);
            tokio::select! {
                _ = serving => {}
                () = gone.notified() => {}
            }
        }
    });
    let client = trusting(&world, &authority);
    for n in 1..=3 {
        assert_eq!(client.fetch(get("https://site.example/")).await.unwrap().body, "page");
        assert_eq!(world.dials(), n);
    }
}

#[tokio::test]
async fn http2_headers_have_the_same_limit() {
    let authority = authority("ours");
    for (value, count) in [(70_000, 1), (1, 201)] {
        let acceptor = authority.acceptor(&["site.example"], false, &["h2"]);
        let world = World::new();
        world.name("site.example", &[&["1.1.1.1"]]).at("1.1.1.1:443", move |peer| {
            let acceptor = acceptor.clone();
            async move {
                let stream = acceptor.accept(peer.stream).await.unwrap();
                let answer = service_fn(move |_: http::Request<hyper::body::Incoming>| async move {
                    let mut response = Response::new(Full::new(Bytes::new()));
                    for _ in 0..count {
                        let value = http::HeaderValue::try_from("x".repeat(value)).unwrap();
                        response.headers_mut().append("x", value);
                    }
                    Ok::<_, Infallible>(response)
                });
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
            }
        });
        let error = trusting(&world, &authority).fetch(get("https://site.example/")).await.unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::Protocol, "{error}");
    }
}

#[tokio::test]
async fn closing_without_ceremony_ends_a_body_that_has_no_length() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let authority = authority("ours");
    for (head, whole) in [("", true), ("content-length: 100\r\n", false), ("transfer-encoding: chunked\r\n", false)] {
        let acceptor = authority.acceptor(&["site.example"], false, &[]);
        let world = World::new();
        world.name("site.example", &[&["1.1.1.1"]]).at("1.1.1.1:443", move |peer| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(peer.stream).await.unwrap();
                assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n4\r\npage").as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                // Dropped without close_notify.
            }
        });
        let fetched = trusting(&world, &authority).fetch(get("https://site.example/")).await;
        match whole {
            true => assert_eq!(fetched.unwrap().body, "4\r\npage"),
            false => assert_eq!(fetched.unwrap_err().kind, FetchErrorKind::Protocol),
        }
    }
}
