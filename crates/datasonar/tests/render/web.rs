//! A web for the browser: pages, traps, names, and a record of who was dialled.

use std::{
    collections::HashMap,
    fs::{self, Permissions},
    io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Body, extract::Request, response::Response, serve::Listener};
use base64::{Engine, prelude::BASE64_STANDARD};
use datasonar_net::{Connection, Dial, Resolve, ResolveError, TcpDialer};
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Notify,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::server::{Server, Setup, acceptor};

/// A server that may fetch from 127.0.0.2, and renders.
pub(crate) fn setup() -> Setup {
    Setup::new().flag("allow_private_networks", "127.0.0.2/32").flag("render_concurrency", "4")
}

/// Scrapes a page, whatever comes of it.
pub(crate) async fn scrape(server: &Server, body: Value) -> Value {
    server.post("/v1/scrape", &body).await.json()
}

/// A page's content, if it gave any.
#[track_caller]
pub(crate) fn content(page: &Value) -> String {
    assert_eq!(page["status"], "success", "{page}");
    page["content"].as_str().unwrap_or_else(|| panic!("{page}")).to_owned()
}

/// What a site answers.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A page.
    Html(String),
    /// Anything.
    Is(u16, Vec<(&'static str, String)>, String),
    /// A page that comes in pieces, without an end.
    Endless,
    /// Nothing until the gate is opened, then this text.
    Held(Arc<Notify>, String),
}

impl Answer {
    pub(crate) fn html(text: impl Into<String>) -> Self {
        Self::Html(text.into())
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::Is(200, vec![("content-type", "text/plain".to_owned())], text.to_owned())
    }

    pub(crate) fn to(url: impl Into<String>) -> Self {
        Self::Is(302, vec![("location", url.into())], String::new())
    }
}

/// A request that a site got.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

/// A site at 127.0.0.2.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pages: Arc<Mutex<HashMap<String, Answer>>>,
    hits: Arc<Mutex<Vec<Hit>>>,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.2").await
    }

    pub(crate) async fn at(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::serve(listener, address)
    }

    /// A site over HTTPS, and what tells its key from all others: `site.test` is its name.
    pub(crate) async fn secure() -> (Self, String) {
        let listener = TcpListener::bind(("127.0.0.2", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["site.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        let pin = digest(&SHA256, &key.subject_public_key_info());
        let listener = Secure { listener, acceptor: acceptor(&certificate, &key) };
        (Self::serve(listener, address), BASE64_STANDARD.encode(pin))
    }

    fn serve(listener: impl Listener<Addr = SocketAddr>, address: SocketAddr) -> Self {
        let (pages, hits) = (Arc::<Mutex<HashMap<String, Answer>>>::default(), Arc::<Mutex<Vec<Hit>>>::default());
        let (of_router, noted) = (pages.clone(), hits.clone());
        let router = Router::new().fallback(move |request: Request| {
            let path = request.uri().path_and_query().unwrap().to_string();
            noted.lock().push(Hit { path: path.clone(), headers: request.headers().clone() });
            let answer = of_router.lock().get(&path).cloned();
            async move { respond(answer).await }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, pages, hits }
    }

    pub(crate) fn page(&self, path: &str, answer: Answer) -> String {
        self.pages.lock().insert(path.to_owned(), answer);
        self.url(path)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn hits(&self, path: &str) -> Vec<Hit> {
        self.hits.lock().iter().filter(|hit| hit.path == path).cloned().collect()
    }
}

/// Connections that are secure from their beginning.
struct Secure {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // Whoever does not trust it goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The browser that is installed, told to trust a key: a program in a directory that anybody may read.
pub(crate) fn trusting_browser(pin: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("browser");
    let text = format!(
        "#!/bin/sh\nfor name in chromium chromium-browser google-chrome google-chrome-stable chrome; do\n    \
         program=$(command -v $name) && exec \"$program\" --ignore-certificate-errors-spki-list={pin} \"$@\"\ndone\n"
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    (directory, program)
}

async fn respond(answer: Option<Answer>) -> Response {
    let plain = |status: u16, headers: Vec<(&'static str, String)>, body: Body| {
        let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
        for (name, value) in headers {
            response = response.header(name, value);
        }
        response.body(body).unwrap()
    };
    let html = vec![(header::CONTENT_TYPE.as_str(), "text/html; charset=utf-8".to_owned())];
    match answer {
        None => plain(404, html, Body::from("<p>not here</p>")),
        Some(Answer::Html(text)) => plain(200, html, Body::from(text)),
        Some(Answer::Is(status, headers, body)) => plain(status, headers, Body::from(body)),
        Some(Answer::Endless) => {
            let pieces = futures::stream::unfold(0_u64, |n| async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Some((Ok::<_, io::Error>(format!("<p>piece {n}</p>")), n + 1))
            });
            plain(200, html, Body::from_stream(pieces))
        }
        Some(Answer::Held(gate, text)) => {
            gate.notified().await;
            gate.notify_one();
            plain(200, vec![("content-type", "text/plain".to_owned())], Body::from(text))
        }
    }
}

/// A place at 127.0.0.1 that nothing may come to.
pub(crate) struct Trap {
    pub(crate) port: u16,
    caught: Arc<Mutex<Vec<String>>>,
}

impl Trap {
    pub(crate) async fn set() -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            // The same port, so that a page need know but one.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let port = tcp.local_addr().unwrap().port();
        let caught = Arc::<Mutex<Vec<String>>>::default();
        let (by_tcp, by_udp) = (caught.clone(), caught.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let by_tcp = by_tcp.clone();
                tokio::spawn(async move {
                    let mut begin = [0; 200];
                    let read = stream.read(&mut begin).await.unwrap_or(0);
                    by_tcp.lock().push(format!("tcp: {}", String::from_utf8_lossy(&begin[..read])));
                    // Whoever came hears that there is nothing to be had.
                    let _ =
                        stream.write_all(b"HTTP/1.1 400 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
                });
            }
        });
        tokio::spawn(async move {
            while let Ok((read, _)) = udp.recv_from(&mut [0; 2_000]).await {
                by_udp.lock().push(format!("udp: {read} bytes"));
            }
        });
        Self { port, caught }
    }

    pub(crate) fn caught(&self) -> Vec<String> {
        self.caught.lock().clone()
    }
}

/// Names, and a record of all addresses that were dialled.
#[derive(Clone, Default)]
pub(crate) struct Wires {
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Wires {
    pub(crate) fn dialled(&self) -> Vec<SocketAddr> {
        self.dialled.lock().clone()
    }
}

#[async_trait]
impl Resolve for Wires {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let address = match host {
            "site.test" | "other.test" => "127.0.0.2",
            "private.test" | "localhost" => "127.0.0.1",
            "metadata.test" => "169.254.169.254",
            "lan.test" => "10.0.0.1",
            _ => return Err(ResolveError::not_found(format!("{host} does not exist"))),
        };
        Ok(vec![address.parse().unwrap()])
    }
}

#[async_trait]
impl Dial for Wires {
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Connection>> {
        self.dialled.lock().push(address);
        TcpDialer.dial(address).await
    }
}

/// The living processes whose command line has a text: their numbers.
pub(crate) fn processes(of: &str) -> Vec<i32> {
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let own = i32::try_from(std::process::id()).unwrap();
    ids.filter(|id| {
        // A zombie has no command line.
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        *id != own && !command.is_empty() && String::from_utf8_lossy(&command).contains(of)
    })
    .collect()
}
