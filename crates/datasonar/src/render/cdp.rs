//! The DevTools protocol over the browser's pipe: commands out, answers and events in.
//!
//! A message is JSON ended by a zero byte. One task writes, so that no command is cut off in the middle; one reads, and hands
//! answers to who asked and events to their session. The reader waits for nobody: a session that does not keep up with its
//! events is given up. Large messages (a page's DOM, its picture) are parsed on a thread of their own.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::cpu;

/// The longest message of a browser.
const MAX_MESSAGE_BYTES: usize = 192 * 1024 * 1024;
/// A message longer than this is not parsed on a reactor thread.
const LARGE_BYTES: usize = 128 * 1024;
/// Commands that wait to be written, and events that wait to be dealt with.
const QUEUED: usize = 2_048;
/// The events that anybody listens to; all others are dropped when they are read.
const HEARD: [&str; 7] = [
    "Fetch.authRequired",
    "Fetch.requestPaused",
    "Inspector.detached",
    "Inspector.targetCrashed",
    "Page.javascriptDialogOpening",
    "Page.lifecycleEvent",
    "Target.targetCreated",
];

/// Why a command was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CdpError {
    /// The browser is gone, or its pipe.
    #[error("the browser has ended")]
    Gone,
    /// It did not answer in time.
    #[error("the browser did not answer {0}")]
    Late(&'static str),
    /// It said no.
    #[error("the browser refused {method}: {message}")]
    Refused {
        /// The command.
        method: &'static str,
        /// What it said.
        message: String,
    },
}

/// Something that happened in a session.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) method: String,
    pub(super) params: Value,
}

/// The events of a session, as they come. They end when it does not keep up, or the browser ends.
pub(super) struct Events {
    receiver: mpsc::Receiver<Event>,
    session: String,
    shared: Arc<Shared>,
}

/// A connection to a browser. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Cdp(Arc<Shared>);

type Asked = oneshot::Sender<Result<Value, String>>;

struct Shared {
    writing: mpsc::Sender<Vec<u8>>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Asked>>,
    /// By id; the browser's own session has none and is the empty text.
    sessions: Mutex<HashMap<String, mpsc::Sender<Event>>>,
    gone: CancellationToken,
}

impl Cdp {
    /// Speaks over a pipe, until it is closed.
    pub(super) fn start(
        from: impl AsyncRead + Send + Unpin + 'static,
        to: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let (writing, queue) = mpsc::channel(QUEUED);
        let shared = Arc::new(Shared {
            writing,
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            sessions: Mutex::default(),
            gone: CancellationToken::new(),
        });
        tokio::spawn(write(queue, to, shared.gone.clone()));
        tokio::spawn(read(BufReader::new(from), shared.clone()));
        Self(shared)
    }

    /// Does a command and waits for its answer, for so long at most. Giving up waiting does not take the command back.
    pub(super) async fn call(
        &self,
        session: &str,
        method: &'static str,
        params: Value,
        within: Duration,
    ) -> Result<Value, CdpError> {
        let (asked, answer) = oneshot::channel();
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.waiting.lock().insert(id, asked);
        let _forgotten = Forgotten { id, shared: &self.0 };
        let talk = async {
            let message = message(id, session, method, &params);
            self.0.writing.send(message).await.map_err(|_| CdpError::Gone)?;
            tokio::select! {
                answer = answer => answer.map_err(|_| CdpError::Gone),
                () = self.0.gone.cancelled() => Err(CdpError::Gone),
            }
        };
        let answer = timeout(within, talk).await.map_err(|_| CdpError::Late(method))??;
        answer.map_err(|message| CdpError::Refused { method, message })
    }

    /// Has a command done without hearing of it. One that the browser has no room for is left out: it hangs, and will be seen to.
    pub(super) fn tell(&self, session: &str, method: &'static str, params: &Value) {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let _ = self.0.writing.try_send(message(id, session, method, params));
    }

    /// Listens to a session; the empty one is the browser's own.
    pub(super) fn listen(&self, session: &str) -> Events {
        let (sender, receiver) = mpsc::channel(QUEUED);
        self.0.sessions.lock().insert(session.to_owned(), sender);
        Events { receiver, session: session.to_owned(), shared: self.0.clone() }
    }

    /// Whether the connection has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.0.gone.is_cancelled()
    }

    /// Waits for the connection's end.
    pub(super) async fn gone(&self) {
        self.0.gone.cancelled().await;
    }
}

impl Events {
    /// The next event; `None` when there will be none.
    pub(super) async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            event = self.receiver.recv() => event,
            () = self.shared.gone.cancelled() => None,
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.sessions.lock().remove(&self.session);
    }
}

/// Takes a question out of the list when nobody waits for its answer any more.
struct Forgotten<'a> {
    id: u64,
    shared: &'a Shared,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.shared.waiting.lock().remove(&self.id);
    }
}

fn message(id: u64, session: &str, method: &str, params: &Value) -> Vec<u8> {
    let mut message = json!({"id": id, "method": method, "params": params});
    if !session.is_empty() {
        message["sessionId"] = session.into();
    }
    let mut bytes = message.to_string().into_bytes();
    bytes.push(0);
    bytes
}

async fn write(mut queue: mpsc::Receiver<Vec<u8>>, mut to: impl AsyncWrite + Unpin, gone: CancellationToken) {
    let all = async {
        while let Some(message) = queue.recv().await {
            if to.write_all(&message).await.is_err() || to.flush().await.is_err() {
                break;
            }
        }
    };
    gone.run_until_cancelled(all).await;
    gone.cancel();
}

async fn read(mut from: impl AsyncBufRead + Unpin, shared: Arc<Shared>) {
    let all = async {
        while let Some(message) = next_message(&mut from).await {
            let message = if message.len() > LARGE_BYTES {
                cpu::run_sound(move || parse(&message)).await
            } else {
                parse(&message)
            };
            let Some(message) = message else { break };
            shared.dispatch(message);
        }
    };
    shared.gone.run_until_cancelled(all).await;
    shared.gone.cancel();
    // Whoever waits for an answer learns that there will be none.
    shared.waiting.lock().clear();
    shared.sessions.lock().clear();
}

fn parse(message: &[u8]) -> Option<Value> {
    serde_json::from_slice(message).ok()
}

/// Reads up to the next zero byte; `None` at the end, or when that takes too many bytes.
async fn next_message(from: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let buffer = from.fill_buf().await.ok()?;
        if buffer.is_empty() {
            return None;
        }
        let end = memchr::memchr(0, buffer);
        let take = end.unwrap_or(buffer.len());
        message.extend_from_slice(&buffer[..take]);
        from.consume(take + usize::from(end.is_some()));
        if end.is_some() {
            return Some(message);
        }
        if message.len() > MAX_MESSAGE_BYTES {
            return None;
        }
    }
}

impl Shared {
    fn dispatch(&self, mut message: Value) {
        if let Some(id) = message["id"].as_u64() {
            let Some(asked) = self.waiting.lock().remove(&id) else { return };
            let error =
                message.get("error").map(|error| error["message"].as_str().unwrap_or("no reason given").to_owned());
            // Whoever asked may have gone away.
            let _ = asked.send(error.map_or_else(|| Ok(message["result"].take()), Err));
            return;
        }
        let Some(method) = message["method"].as_str().filter(|method| HEARD.contains(method)) else { return };
        let event = Event { method: method.to_owned(), params: message["params"].take() };
        let session = message["sessionId"].as_str().unwrap_or_default();
        let mut sessions = self.sessions.lock();
        let overrun = sessions.get(session).is_some_and(|sender| sender.try_send(event).is_err());
        if overrun {
            sessions.remove(session);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A connection, and the two ends that a browser would have.
    fn connect() -> (Cdp, DuplexStream, DuplexStream) {
        let (from, browser_out) = duplex(1 << 20);
        let (to, browser_in) = duplex(1 << 20);
        (Cdp::start(from, to), browser_in, browser_out)
    }

    async fn command(browser_in: &mut DuplexStream) -> Value {
        let mut message = Vec::new();
        loop {
            match browser_in.read_u8().await.unwrap() {
                0 => return parse(&message).unwrap(),
                byte => message.push(byte),
            }
        }
    }

    async fn say(browser_out: &mut DuplexStream, message: Value) {
        browser_out.write_all(message.to_string().as_bytes()).await.unwrap();
        browser_out.write_all(&[0]).await.unwrap();
    }

    #[tokio::test]
    async fn answers_find_who_asked_in_whatever_order_they_come() {
        let (cdp, mut browser_in, mut browser_out) = connect();
        let browser = async {
            let (first, second) = (command(&mut browser_in).await, command(&mut browser_in).await);
            assert_eq!((&first["method"], &second["sessionId"]), (&json!("A.a"), &json!("S")));
            say(&mut browser_out, json!({"id": second["id"], "result": {"n": 2}})).await;
            say(&mut browser_out, json!({"id": 999, "result": {}})).await;
            say(&mut browser_out, json!({"id": first["id"], "error": {"message": "not today"}})).await;
        };
        let first = cdp.call("", "A.a", json!({}), PATIENCE);
        let second = cdp.call("S", "B.b", json!({"x": 1}), PATIENCE);
        let (first, second, ()) = tokio::join!(first, second, browser);
        assert_eq!(first.unwrap_err().to_string(), "the browser refused A.a: not today");
        assert_eq!(second.unwrap(), json!({"n": 2}));
        assert!(cdp.0.waiting.lock().is_empty());
    }

    #[tokio::test]
    async fn a_large_message_comes_whole_and_events_go_to_their_session() {
        let (cdp, _browser_in, mut browser_out) = connect();
        let (mut one, mut other) = (cdp.listen("S"), cdp.listen(""));
        let large = "x".repeat(3 * LARGE_BYTES);
        say(&mut browser_out, json!({"method": "Some.other", "params": {}, "sessionId": "S"})).await;
        say(&mut browser_out, json!({"method": "Fetch.requestPaused", "params": {"large": large}, "sessionId": "S"}))
            .await;
        say(&mut browser_out, json!({"method": "Target.targetCreated", "params": {}})).await;
        assert_eq!(one.next().await.unwrap().params["large"], large);
        assert_eq!(other.next().await.unwrap().method, "Target.targetCreated");
    }

    #[tokio::test]
    async fn a_session_that_does_not_keep_up_is_given_up_and_the_others_go_on() {
        let (cdp, _browser_in, mut browser_out) = connect();
        let (mut slow, mut other) = (cdp.listen("slow"), cdp.listen("other"));
        for _ in 0..=QUEUED {
            say(&mut browser_out, json!({"method": "Page.lifecycleEvent", "params": {}, "sessionId": "slow"})).await;
        }
        say(&mut browser_out, json!({"method": "Page.lifecycleEvent", "params": {}, "sessionId": "other"})).await;
        assert!(other.next().await.is_some());
        for _ in 0..QUEUED {
            assert!(slow.next().await.is_some());
        }
        assert!(slow.next().await.is_none());
    }

    #[tokio::test]
    async fn who_waits_when_the_browser_ends_is_told() {
        let (cdp, browser_in, browser_out) = connect();
        let mut events = cdp.listen("S");
        let call = cdp.call("", "A.a", json!({}), PATIENCE);
        let (answer, ()) = tokio::join!(call, async { drop((browser_in, browser_out)) });
        assert!(matches!(answer, Err(CdpError::Gone)));
        assert!(events.next().await.is_none());
        cdp.gone().await;
        let late = cdp.call("", "B.b", json!({}), PATIENCE).await;
        assert!(matches!(late, Err(CdpError::Gone)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_browser_that_says_nothing_is_not_waited_for() {
        let (cdp, _browser_in, _browser_out) = connect();
        let answer = cdp.call("", "A.a", json!({}), PATIENCE).await;
        assert_eq!(answer.unwrap_err().to_string(), "the browser did not answer A.a");
        assert!(cdp.0.waiting.lock().is_empty());
    }
}
