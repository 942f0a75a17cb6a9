//! The browser's way out: a proxy on loopback that lets it go where a fetch may go, and nowhere else.
//!
//! The browser resolves no name and opens no connection but to here. Whatever a page asks for, by redirects, frames,
//! workers and sockets too, arrives as a host and a port: `datasonar_net` resolves it, checks the addresses, and dials what it
//! checked. What is encrypted goes through a tunnel (`CONNECT`), what is not is sent on as a request.
//!
//! Each page has a [`Gate`]: the password that lets its browser context in, the bytes that it may still receive, and a record
//! of what was refused. With the gate's end all its connections end. Whoever on this machine finds the port has no password.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use datasonar_net::{BodySource, BoxError, Client, Connection, FetchError, ResponseBody};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Limited, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use url::Url;

use crate::clock::Ids;

/// Connections from browsers at once; more wait.
const MAX_CONNECTIONS: usize = 1_024;
/// The longest body that a page may send.
const MAX_UPLOAD_BYTES: usize = 4 * 1024 * 1024;
/// The bytes that a page and all it asks for may take, as they are sent.
pub(super) const MAX_PAGE_BYTES: u64 = 100 * 1024 * 1024;
/// How long the head of a browser's request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(60);
/// Refusals that are remembered of a page.
const MAX_REFUSALS: usize = 256;
/// Says in an answer that it is the proxy's own, by a secret that no site knows.
pub(super) const MARK: &str = "x-datasonar-gate";
/// The name that passwords go with.
pub(super) const USER: &str = "page";

/// A proxy. Dropped, it ends with all that goes through it.
pub(super) struct Proxy {
    /// Where it listens.
    pub(super) address: SocketAddr,
    gates: Arc<Gates>,
    ids: Ids,
    _accepting: AbortOnDropHandle<()>,
}

struct Gates {
    client: Client,
    open: Mutex<HashMap<String, Arc<Gate>>>,
    ended: CancellationToken,
}

/// What a page may still do, and what was refused to it.
pub(super) struct Gate {
    /// What its browser context says to be let in.
    pub(super) password: String,
    /// The value of [`MARK`] in its answers.
    pub(super) mark: String,
    left: AtomicU64,
    refusals: Mutex<HashMap<String, FetchError>>,
    closed: CancellationToken,
}

/// A gate that is closed when this is dropped.
pub(super) struct OpenGate {
    gate: Arc<Gate>,
    gates: Arc<Gates>,
}

impl std::ops::Deref for OpenGate {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.gate
    }
}

impl Drop for OpenGate {
    fn drop(&mut self) {
        self.gates.open.lock().remove(&self.gate.password);
        self.gate.closed.cancel();
    }
}

impl Proxy {
    /// Listens on loopback, and lets out through a client.
    ///
    /// # Errors
    /// When the machine has no port to give.
    pub(super) async fn start(client: Client, ids: Ids) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let gates = Arc::new(Gates { client, open: Mutex::default(), ended: CancellationToken::new() });
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, gates.clone())));
        Ok(Self { address, gates, ids, _accepting: accepting })
    }

    /// Opens a gate for a page.
    pub(super) fn open(&self) -> OpenGate {
        let secret = || hex::encode(self.ids.bytes::<16>());
        let gate = Arc::new(Gate {
            password: secret(),
            mark: secret(),
            left: AtomicU64::new(MAX_PAGE_BYTES),
            refusals: Mutex::default(),
            closed: self.gates.ended.child_token(),
        });
        self.gates.open.lock().insert(gate.password.clone(), gate.clone());
        OpenGate { gate, gates: self.gates.clone() }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.gates.ended.cancel();
    }
}

impl Gate {
    /// Why a URL's host was not reached, if it was not.
    pub(super) fn refusal(&self, url: &Url) -> Option<FetchError> {
        self.refusals.lock().get(&key(url)?).cloned()
    }

    /// Whether the page has had all the bytes that it gets.
    pub(super) fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn refuse(&self, url: &Url, error: FetchError) {
        let mut refusals = self.refusals.lock();
        if let Some(key) = key(url)
            && (refusals.len() < MAX_REFUSALS || refusals.contains_key(&key))
        {
            refusals.insert(key, error);
        }
    }

    /// Takes bytes off what the page may receive.
    fn receive(&self, bytes: usize) -> io::Result<()> {
        let bytes = bytes as u64;
        let taken =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(bytes)));
        match taken {
            Ok(left) if left >= bytes => Ok(()),
            _ => Err(io::Error::other("the page has received as much as it may")),
        }
    }
}

/// Host and port.
fn key(url: &Url) -> Option<String> {
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

async fn accept(listener: TcpListener, gates: Arc<Gates>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let gates = gates.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    let ended = gates.ended.clone();
                    ended.run_until_cancelled(serve(stream, gates)).await;
                });
            }
            // Out of files, most likely: whoever holds them will close some.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, gates: Arc<Gates>) {
    // A browser waits for small answers.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(|request| {
        let gates = gates.clone();
        async move { Ok::<_, Infallible>(gates.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    // A connection that breaks is the browser's own affair.
    let _ = connection.await;
}

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

fn plain(status: StatusCode) -> Answer {
    let body = Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

impl Gates {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let Some(gate) = self.gate(request.headers()) else {
            let mut answer = plain(StatusCode::PROXY_AUTHENTICATION_REQUIRED);
            answer
                .headers_mut()
                .insert(header::PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"datasonar\""));
            return answer;
        };
        let closed = gate.closed.clone();
        let done = closed.run_until_cancelled(async {
            if request.method() == Method::CONNECT {
                self.tunnel(request, &gate).await
            } else {
                self.pass_on(request, &gate).await
            }
        });
        match done.await {
            Some(Ok(answer)) => answer,
            Some(Err(())) | None => {
                let mut answer = plain(StatusCode::BAD_GATEWAY);
                let mark = HeaderValue::from_str(&gate.mark).expect("hex digits are a header's value");
                answer.headers_mut().insert(HeaderName::from_static(MARK), mark);
                answer
            }
        }
    }

    /// The gate that a request has the password of.
    fn gate(&self, headers: &HeaderMap) -> Option<Arc<Gate>> {
        let given = headers.get(header::PROXY_AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
        let given = String::from_utf8(BASE64_STANDARD.decode(given).ok()?).ok()?;
        let password = given.strip_prefix(USER)?.strip_prefix(':')?;
        self.open.lock().get(password).cloned()
    }

    /// Opens a tunnel, and only then says so.
    async fn tunnel(&self, request: Request<Incoming>, gate: &Arc<Gate>) -> Result<Answer, ()> {
        let authority = request.uri().authority().ok_or(())?.as_str();
        // Which of the two schemes it is makes no difference but for the port, which `CONNECT` always names.
        let url = Url::parse(&format!("https://{authority}/")).map_err(|_| ())?;
        let mut to = self.client.tunnel(&url).await.map_err(|error| gate.refuse(&url, error))?;
        let gate = gate.clone();
        tokio::spawn(async move {
            let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
            let mut from = TokioIo::new(upgraded);
            let mut counted = Counted { stream: &mut to, gate: &gate };
            // Either end may break it off; the browser deals with that.
            gate.closed.run_until_cancelled(copy_bidirectional(&mut from, &mut counted)).await;
            let _ = from.shutdown().await;
        });
        Ok(plain(StatusCode::OK))
    }

    /// Sends a plain request on and answers with what comes back.
    async fn pass_on(&self, request: Request<Incoming>, gate: &Arc<Gate>) -> Result<Answer, ()> {
        let url = Url::parse(&request.uri().to_string()).map_err(|_| ())?;
        if url.scheme() != "http" {
            return Err(());
        }
        let (head, body) = request.into_parts();
        let body = match body.size_hint().exact() {
            Some(0) => None,
            _ => Some(Limited::new(body, MAX_UPLOAD_BYTES).collect().await.map_err(|_| ())?.to_bytes()),
        };
        let headers = end_to_end(head.headers);
        let sent = self.client.send(head.method, url.clone(), headers, body.map(BodySource::bytes)).await;
        let response = sent.map_err(|error| gate.refuse(&url, error))?;
        let (mut head, body) = response.into_parts();
        head.headers = end_to_end(head.headers);
        head.headers.remove(MARK);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(());
        }
        let mut answer = Response::new(Received { body, gate: gate.clone() }.boxed_unsync());
        (*answer.status_mut(), *answer.headers_mut()) = (head.status, head.headers);
        Ok(answer)
    }
}

/// What is meant for the other end of a request, not for this hop (RFC 9110, section 7.6.1).
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ] {
        headers.remove(name);
    }
    headers
}

/// A response's body on its way to the browser.
struct Received {
    body: ResponseBody,
    gate: Arc<Gate>,
}

impl Body for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.gate.closed.is_cancelled() {
            return Poll::Ready(Some(Err("the page has been closed".into())));
        }
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| {
            frame.map(|frame| {
                let frame = frame.map_err(BoxError::from)?;
                self.gate.receive(frame.data_ref().map_or(0, Bytes::len))?;
                Ok(frame)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A tunnel's far end: what comes from it is counted.
struct Counted<'a> {
    stream: &'a mut Box<dyn Connection>,
    gate: &'a Gate,
}

impl AsyncRead for Counted<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *self.stream).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(self.gate.receive(read)),
            other => other,
        }
    }
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use datasonar_net::{AddressPolicy, ClientOptions, FetchErrorKind};
    use tokio::io::{AsyncReadExt, BufReader};

    use super::*;
    use crate::clock::SystemClock;

    async fn proxy(allowed: &str) -> Proxy {
        let policy = AddressPolicy::allowing(vec![allowed.parse().unwrap()]);
        let client = Client::new(ClientOptions::new(policy)).unwrap();
        Proxy::start(client, Ids::random(Arc::new(SystemClock))).await.unwrap()
    }

    /// Says something to the proxy, and reads until it closes.
    async fn say(proxy: &Proxy, request: &str) -> String {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(30), read).await.expect("it closes").unwrap();
        answer
    }

    fn with_password(line: &str, password: &str) -> String {
        let given = BASE64_STANDARD.encode(format!("{USER}:{password}"));
        format!("{line} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic {given}\r\nConnection: close\r\n\r\n")
    }

    /// A site that answers every request with these bytes, and notes what it was asked.
    async fn site(answer: &'static str) -> (SocketAddr, Arc<Mutex<String>>) {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<String>>::default();
        let noted = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                noted.lock().push_str(&String::from_utf8(head).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (address, asked)
    }

    #[tokio::test]
    async fn nobody_is_let_in_without_a_password_that_holds() {
        let proxy = proxy("127.0.0.2/32").await;
        let (site, asked) = site("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        let gate = proxy.open();
        let line = format!("GET http://{site}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(say(&proxy, &line).await.starts_with("HTTP/1.1 407 "));
        let tunnel = format!("CONNECT {site} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(say(&proxy, &tunnel).await.starts_with("HTTP/1.1 407 "));
        let line = format!("GET http://{site}/");
        assert!(say(&proxy, &with_password(&line, "wrong")).await.starts_with("HTTP/1.1 407 "));
        let password = gate.password.clone();
        let answer = say(&proxy, &with_password(&line, &password)).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhi"), "{answer}");
        assert!(!asked.lock().to_lowercase().contains("proxy-"), "the site learns nothing of it: {}", asked.lock());
        drop(gate);
        assert!(say(&proxy, &with_password(&line, &password)).await.starts_with("HTTP/1.1 407 "));
    }

    #[tokio::test]
    async fn what_may_not_be_reached_is_refused_and_noted() {
        let proxy = proxy("127.0.0.2/32").await;
        let gate = proxy.open();
        for (line, url, kind) in [
            ("GET http://127.0.0.1:9/", "http://127.0.0.1:9/", FetchErrorKind::BlockedAddress),
            ("CONNECT 127.0.0.1:443", "https://127.0.0.1/", FetchErrorKind::BlockedAddress),
            ("CONNECT localhost:80", "http://localhost/", FetchErrorKind::BlockedAddress),
            ("CONNECT 169.254.169.254:80", "http://169.254.169.254/", FetchErrorKind::BlockedAddress),
            ("GET http://[::ffff:10.0.0.1]/", "http://[::ffff:10.0.0.1]/", FetchErrorKind::BlockedAddress),
            ("CONNECT 127.0.0.2:1", "http://127.0.0.2:1/", FetchErrorKind::Connect),
        ] {
            let answer = say(&proxy, &with_password(line, &gate.password)).await;
            assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains(&gate.mark), "{line}: {answer}");
            let refusal = gate.refusal(&Url::parse(url).unwrap());
            assert_eq!(refusal.map(|error| error.kind), Some(kind), "{line}");
        }
        for line in ["GET ftp://127.0.0.2/", "GET /", "CONNECT nonsense"] {
            let answer = say(&proxy, &with_password(line, &gate.password)).await;
            assert!(answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 502 "), "{line}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_page_gets_so_many_bytes_and_no_more() {
        let proxy = proxy("127.0.0.2/32").await;
        let (site, _) = site("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly the begin").await;
        let gate = proxy.open();
        gate.receive(usize::try_from(MAX_PAGE_BYTES).unwrap() - 5).unwrap();
        let line = with_password(&format!("GET http://{site}/"), &gate.password);
        let answer = say(&proxy, &line).await;
        assert!(!answer.contains("begin") && gate.is_spent(), "{answer}");
        let other = proxy.open();
        assert!(!other.is_spent(), "each page has its own");
    }
}
