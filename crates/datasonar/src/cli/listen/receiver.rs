//! The local receiver: an HTTPS endpoint that tells what comes, and holds none of it but the beginning.
//!
//! A body is verified, counted and, if wanted, written to a file while it arrives, so that gigabytes cost no memory. It is told
//! of as soon as it is there; the answer follows after the delay.

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File},
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle, time::Instant};

use super::secrets::Secrets;
use crate::{
    cli::local::{Authority, Endpoint, Verdicts, Verifier, serve_https, text},
    clock::{Clock, SystemClock},
};

/// How much of a body is kept to be shown.
pub(super) const SHOW_BYTES: usize = 64 * 1024;
/// How many webhook ids are remembered, to recognise repetitions.
const REMEMBERED: usize = 10_000;
/// How much may be untold before requests wait.
const UNTOLD: usize = 64;

/// How a receiver behaves.
pub(super) struct Options {
    /// What it answers.
    pub(super) status: StatusCode,
    /// How long it waits before that.
    pub(super) delay: Duration,
    /// Where it keeps bodies.
    pub(super) save: Option<PathBuf>,
    /// What it verifies with.
    pub(super) secrets: Option<Secrets>,
}

/// A running receiver. Dropping it closes its port and its connections.
pub(super) struct Receiver {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The certificate of its authority.
    pub(super) ca_pem: String,
    notes: mpsc::Receiver<Note>,
    accepting: JoinHandle<()>,
}

/// What a receiver tells of.
#[derive(Debug)]
pub(super) enum Note {
    /// A request, whole or not.
    Received(Box<Received>),
    /// A connection that ended before it was secure, and why.
    Refused(String),
}

/// A request.
#[derive(Debug)]
pub(super) struct Received {
    /// When its head had arrived.
    pub(super) at: Timestamp,
    pub(super) method: Method,
    /// With its query.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    /// How often a request with this `webhook-id` had arrived before.
    pub(super) before: u32,
    pub(super) verdicts: Verdicts,
    /// Why nothing could be verified.
    pub(super) unverified: Option<String>,
    /// The length of its body.
    pub(super) bytes: u64,
    /// The body's beginning: all of it, if it is no longer than [`SHOW_BYTES`].
    pub(super) beginning: Vec<u8>,
    /// From its head to its last byte.
    pub(super) took: Duration,
    /// Where its body is kept.
    pub(super) saved: Option<PathBuf>,
    /// What is answered, or why it was not taken to its end.
    pub(super) answer: Result<StatusCode, String>,
}

impl Received {
    /// A header's value; empty when it is missing.
    pub(super) fn header(&self, name: &str) -> &str {
        text(&self.headers, name)
    }
}

impl Receiver {
    /// Starts. An authority of its own is made for it.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the directory for bodies not be made.
    pub(super) async fn start(listen: SocketAddr, options: Options) -> Result<Self> {
        if let Some(directory) = &options.save {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}; --listen names another address"))?;
        let address = listener.local_addr()?;
        let authority = Authority::make("Datasonar listen authority", &[[127, 0, 0, 1].into(), address.ip()])?;
        let (tell, notes) = mpsc::channel(UNTOLD);
        let inbox = Arc::new(Inbox { options, tell, seen: Mutex::default(), count: AtomicU64::new(0) });
        let accepting = tokio::spawn(serve_https(listener, authority.acceptor, inbox));
        Ok(Self { address, ca_pem: authority.pem, notes, accepting })
    }

    /// What comes next. `None` when the receiver has stopped.
    pub(super) async fn next(&mut self) -> Option<Note> {
        self.notes.recv().await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Inbox {
    options: Options,
    tell: mpsc::Sender<Note>,
    seen: Mutex<Seen>,
    count: AtomicU64,
}

impl Endpoint for Inbox {
    async fn take(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (at, began) = (SystemClock.now(), Instant::now());
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let (head, body) = request.into_parts();
        let (secrets, unverified) = match &self.options.secrets {
            None => (Arc::default(), None),
            Some(secrets) => match secrets.now().await {
                Ok(secrets) => (secrets, None),
                Err(error) => (Arc::default(), Some(format!("{error:#}"))),
            },
        };
        let path = self.options.save.as_ref().map(|directory| directory.join(file_name(at, number, &head.headers)));
        let mut taken = Taken { verifier: Verifier::new(&secrets, &head.headers), beginning: Vec::new(), bytes: 0 };
        let read = taken.read(body, path.as_deref()).await;
        let answer = read.map(|()| self.options.status).map_err(|error| error.to_string());
        let id = text(&head.headers, "webhook-id");
        let received = Received {
            at,
            before: if answer.is_ok() { self.seen.lock().again(id) } else { 0 },
            method: head.method,
            path: head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string),
            verdicts: taken.verifier.finish(&head.headers),
            headers: head.headers,
            unverified,
            bytes: taken.bytes,
            beginning: taken.beginning,
            took: began.elapsed(),
            saved: path,
            answer: answer.clone(),
        };
        // Whoever no longer listens need not be told.
        let _ = self.tell.send(Note::Received(Box::new(received))).await;
        let status = answer.map_err(io::Error::other)?;
        tokio::time::sleep(self.options.delay).await;
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Ok(response)
    }

    fn refused(&self, error: &io::Error) {
        // One note more or less of a kind that comes in heaps.
        let _ = self.tell.try_send(Note::Refused(error.to_string()));
    }
}

/// What is known of a body that arrives.
struct Taken {
    verifier: Verifier,
    beginning: Vec<u8>,
    bytes: u64,
}

impl Taken {
    async fn read(&mut self, mut body: Incoming, path: Option<&Path>) -> io::Result<()> {
        let cannot_save = |error: io::Error| io::Error::other(format!("the body cannot be saved: {error}"));
        let mut file = path.map(File::create_new).transpose().map_err(cannot_save)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| io::Error::other("the body broke off"))?;
            let Some(bytes) = frame.data_ref() else { continue };
            if let Some(file) = &mut file {
                file.write_all(bytes).map_err(cannot_save)?;
            }
            self.verifier.update(bytes);
            let room = SHOW_BYTES - self.beginning.len();
            self.beginning.extend_from_slice(&bytes[..bytes.len().min(room)]);
            self.bytes += bytes.len() as u64;
        }
        Ok(())
    }
}

/// The file of a body: sorted by time, told apart by number, recognised by its delivery.
fn file_name(at: Timestamp, number: u64, headers: &HeaderMap) -> String {
    let id = text(headers, "webhook-id").chars().filter(|next| next.is_ascii_alphanumeric() || *next == '-').take(64);
    let id: String = id.collect();
    let ending = if text(headers, "content-type").starts_with("application/json") { "json" } else { "body" };
    let separator = if id.is_empty() { "" } else { "-" };
    format!("{}-{number}{separator}{id}.{ending}", at.strftime("%Y%m%dT%H%M%S"))
}

/// Remembers the latest webhook ids, and how often each came.
#[derive(Default)]
struct Seen {
    counts: HashMap<String, u32>,
    order: VecDeque<String>,
}

impl Seen {
    /// How often this id came before. None at all is never the same as another.
    fn again(&mut self, id: &str) -> u32 {
        if id.is_empty() {
            return 0;
        }
        if let Some(count) = self.counts.get_mut(id) {
            *count += 1;
            return *count - 1;
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
        self.counts.insert(id.to_owned(), 1);
        self.order.push_back(id.to_owned());
        0
    }
}

#[cfg(test)]
#[path = "receiver_tests.rs"]
mod tests;
