//! A network in memory: names, addresses, and peers that follow a script.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datasonar_net::{AddressPolicy, Client, ClientOptions, Connection, Dial, FetchRequest, Resolve, ResolveError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use url::Url;

/// How many bytes the network holds between two peers.
pub(crate) const IN_FLIGHT: usize = 64 * 1024;

type Script = Arc<dyn Fn(Peer) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

#[derive(Default)]
pub(crate) struct World {
    names: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    sites: Mutex<HashMap<SocketAddr, Script>>,
    pub(crate) dialled: Mutex<Vec<SocketAddr>>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Gives a name its answers, one per lookup; the last is repeated.
    pub(crate) fn name(self: &Arc<Self>, name: &str, answers: &[&[&str]]) -> &Arc<Self> {
        let answers = answers.iter().map(|ips| ips.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
        self.names.lock().unwrap().insert(name.to_owned(), answers);
        self
    }

    /// Puts a peer at an address.
    pub(crate) fn at<F>(self: &Arc<Self>, addr: &str, script: impl Fn(Peer) -> F + Send + Sync + 'static) -> &Arc<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let script: Script = Arc::new(move |peer| Box::pin(script(peer)));
        self.sites.lock().unwrap().insert(addr.parse().unwrap(), script);
        self
    }

    /// Puts a well-behaved HTTP/1.1 server at an address, which answers each request with what `answer` says.
    pub(crate) fn http(
        self: &Arc<Self>,
        addr: &str,
        answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + Clone + 'static,
    ) -> &Arc<Self> {
        self.at(addr, move |mut peer| {
            let answer = answer.clone();
            async move {
                while let Some(request) = peer.request().await {
                    if !peer.write(answer(&request)).await {
                        break;
                    }
                }
            }
        })
    }

    pub(crate) fn options(self: &Arc<Self>) -> ClientOptions {
        ClientOptions {
            resolver: Arc::clone(self) as _,
            dialer: Arc::clone(self) as _,
            ..ClientOptions::new(AddressPolicy::public_only())
        }
    }

    pub(crate) fn client(self: &Arc<Self>) -> Client {
        Client::new(self.options()).unwrap()
    }

    pub(crate) fn dials(&self) -> usize {
        self.dialled.lock().unwrap().len()
    }
}

/// A world with `site.example` at 1.1.1.1, port 80, answering as told.
pub(crate) fn one_site(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + Clone + 'static) -> Arc<World> {
    let world = World::new();
    world.name("site.example", &[&["1.1.1.1"]]).http("1.1.1.1:80", answer);
    world
}

/// A world with `site.example` at 1.1.1.1, port 80, following a script.
pub(crate) fn one_peer<F>(script: impl Fn(Peer) -> F + Send + Sync + 'static) -> Arc<World>
where
    F: Future<Output = ()> + Send + 'static,
{
    let world = World::new();
    world.name("site.example", &[&["1.1.1.1"]]).at("1.1.1.1:80", script);
    world
}

#[async_trait]
impl Resolve for World {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let mut names = self.names.lock().unwrap();
        let answers = names.get_mut(host).ok_or_else(|| ResolveError::not_found(format!("{host} does not exist")))?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

#[async_trait]
impl Dial for World {
    async fn dial(&self, addr: SocketAddr) -> io::Result<Box<dyn Connection>> {
        self.dialled.lock().unwrap().push(addr);
        let script = self.sites.lock().unwrap().get(&addr).cloned();
        let script = script.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = duplex(IN_FLIGHT);
        tokio::spawn(script(Peer { stream: far, buffer: Vec::new() }));
        Ok(Box::new(near))
    }
}

/// The far end of a connection.
pub(crate) struct Peer {
    pub(crate) stream: DuplexStream,
    buffer: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Peer {
    /// Reads the head of a request; `None` at the end of the connection.
    pub(crate) async fn head(&mut self) -> Option<Request> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let headers = lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_lowercase(), v.to_owned()));
        Some(Request { line, headers: headers.collect(), body: Vec::new() })
    }

    /// Reads a whole request.
    pub(crate) async fn request(&mut self) -> Option<Request> {
        let mut request = self.head().await?;
        let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < length {
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
        request.body = self.buffer.drain(..length).collect();
        Some(request)
    }

    /// Writes; says whether the other end is still there.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Keeps the connection open for as long as the other end does.
    pub(crate) async fn hang(&mut self) {
        let mut ignored = [0; 1024];
        while self.stream.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
    }
}

/// A response with a body and its length.
pub(crate) fn reply(status: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut out = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        out.push_str(header);
        out.push_str("\r\n");
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    out
}

pub(crate) fn redirect(status: &str, location: &str) -> Vec<u8> {
    reply(status, &[&format!("location: {location}")], "moved")
}

pub(crate) fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

pub(crate) fn get(text: &str) -> FetchRequest {
    FetchRequest::new(url(text))
}
