//! A web in memory, for tests: every name has an address, and one function answers every request.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use datasonar_net::{AddressPolicy, Client, ClientOptions, Connection, Dial, Resolve, ResolveError};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::fetcher::{FetchSettings, Fetcher};
use crate::clock::{Ids, ManualClock};

/// What a request is answered with; `None` breaks the connection off.
pub(crate) type Answer = Option<(u16, Vec<(&'static str, String)>, Vec<u8>)>;

/// The web, and what was asked of it.
#[derive(Clone)]
pub(crate) struct MemoryNet {
    answer: Arc<dyn Fn(&str) -> Answer + Send + Sync>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl MemoryNet {
    /// `answer` is given `host/path?query`.
    pub(crate) fn new(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), asked: Arc::default() }
    }

    /// What was asked for since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock())
    }

    /// A fetcher that sees no other web, and does not try again.
    pub(crate) fn fetcher(&self) -> Fetcher {
        let mut options = ClientOptions::new(AddressPolicy::unrestricted());
        options.resolver = Arc::new(self.clone());
        options.dialer = Arc::new(self.clone());
        let settings = FetchSettings {
            concurrency: 4,
            per_host_concurrency: 4,
            per_host_delay: Duration::ZERO,
            retries: 0,
            body_memory: 64 * 1024 * 1024,
        };
        let clock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
        Fetcher::new(Client::new(options).unwrap(), settings, Ids::seeded(clock, 1))
    }

    async fn serve(self, mut peer: DuplexStream) {
        let mut read = Vec::new();
        loop {
            while !read.ends_with(b"\r\n\r\n") {
                match peer.read_u8().await {
                    Ok(byte) => read.push(byte),
                    Err(_) => return,
                }
            }
            let head = String::from_utf8(std::mem::take(&mut read)).unwrap();
            let path = head.split(' ').nth(1).unwrap();
            let is_host = |line: &&str| line.to_ascii_lowercase().starts_with("host:");
            let host = head.lines().find(is_host).unwrap()["host:".len()..].trim();
            let target = format!("{host}{path}");
            self.asked.lock().push(target.clone());
            let Some((status, headers, body)) = (self.answer)(&target) else { return };
            let mut answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
            for (name, value) in headers {
                answer.push_str(&format!("{name}: {value}\r\n"));
            }
            let answer = [format!("{answer}\r\n").as_bytes(), &body].concat();
            if peer.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// A page.
pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Answer {
    Some((200, Vec::new(), body.into()))
}

/// A status and nothing more.
pub(crate) fn status(status: u16) -> Answer {
    Some((status, Vec::new(), Vec::new()))
}

/// A redirect.
pub(crate) fn redirect(to: &str) -> Answer {
    Some((302, vec![("Location", to.to_owned())], Vec::new()))
}

#[async_trait]
impl Resolve for MemoryNet {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if host.ends_with(".invalid") {
            return Err(ResolveError::not_found("no such name"));
        }
        Ok(vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))])
    }
}

#[async_trait]
impl Dial for MemoryNet {
    async fn dial(&self, _address: SocketAddr) -> io::Result<Box<dyn Connection>> {
        let (near, far) = duplex(64 * 1024);
        tokio::spawn(self.clone().serve(far));
        Ok(Box::new(near))
    }
}
