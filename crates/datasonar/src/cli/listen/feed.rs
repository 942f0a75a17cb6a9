//! Follows a server's jobs: an endless answer of JSON lines, taken up again at its last cursor whenever it breaks.

use std::{convert::Infallible, time::Duration};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::{sync::mpsc, time::timeout};
use url::form_urlencoded::byte_serialize;
use uuid::Uuid;

use super::forward::News;
use crate::cli::client::{Api, ApiError};

/// A line longer than this is none.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Before the first attempt to connect again; doubled with each that fails.
    pub(super) again: Duration,
    /// The most that comes to.
    pub(super) again_at_most: Duration,
    /// A server that says nothing for so long is gone. It says something every 15 seconds.
    pub(super) silence: Duration,
    /// Between two tries to pass a callback on.
    pub(super) between_tries: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            again: Duration::from_millis(500),
            again_at_most: Duration::from_secs(15),
            silence: Duration::from_secs(45),
            between_tries: Duration::from_secs(1),
        }
    }
}

/// A job that has ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Ended {
    cursor: String,
    /// The job.
    pub(super) job_id: Uuid,
    /// `scrape`, `batch` or `crawl`.
    pub(super) kind: String,
    /// `completed` or `failed`.
    pub(super) status: String,
    /// Its delivery, if it has an endpoint.
    pub(super) delivery_id: Option<Uuid>,
    /// How long its payload is.
    pub(super) bytes: u64,
}

/// A line of the feed.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    /// The first: from here on.
    Ready { cursor: String },
    /// A job has ended.
    Ended(Ended),
    /// Nothing has happened.
    Idle,
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

/// Follows for ever. Ended jobs go to `ended`, in their order; what happens to the connection is told to `tell`.
///
/// # Errors
/// When it cannot be followed at all, or no longer, for a reason that does not pass.
pub(super) async fn follow(
    api: &Api,
    pace: Pace,
    ended: &mpsc::Sender<Ended>,
    tell: &mpsc::Sender<News>,
) -> Result<Infallible, ApiError> {
    let mut feed = Feed { api, pace, ended, tell, cursor: None, failures: 0 };
    loop {
        let Err(error) = feed.connection().await;
        let is_passing = error.is_passing() || matches!(error, ApiError::Unexpected(_));
        if feed.cursor.is_none() || !is_passing {
            return Err(error);
        }
        let again_in = pace.again.saturating_mul(1 << feed.failures.min(16)).min(pace.again_at_most);
        feed.failures += 1;
        let reason = match error {
            ApiError::Unreachable { reason, .. } | ApiError::Unexpected(reason) => reason,
            other => other.to_string(),
        };
        // Whoever no longer listens need not be told.
        let _ = tell.send(News::Lost { reason, again_in }).await;
        tokio::time::sleep(again_in).await;
    }
}

struct Feed<'a> {
    api: &'a Api,
    pace: Pace,
    ended: &'a mpsc::Sender<Ended>,
    tell: &'a mpsc::Sender<News>,
    /// Behind the last line that had one.
    cursor: Option<String>,
    /// To connect, since it last succeeded.
    failures: u32,
}

impl Feed<'_> {
    /// Reads one connection to its end, which always comes as an error.
    async fn connection(&mut self) -> Result<Infallible, ApiError> {
        let silence = self.pace.silence;
        let silent = |_| ApiError::Unexpected(format!("the server said nothing for {silence:?}"));
        let path = match &self.cursor {
            Some(cursor) => {
                format!("/v1/webhooks/listen?after={}", byte_serialize(cursor.as_bytes()).collect::<String>())
            }
            None => "/v1/webhooks/listen".to_owned(),
        };
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/x-ndjson"))]);
        let response = timeout(silence, self.api.open(&path, headers)).await;
        let response = response.map_err(silent)??;
        let mut body = response.into_body();
        let mut lines = BytesMut::new();
        loop {
            let frame = timeout(silence, body.frame()).await.map_err(silent)?;
            let broken = |reason: String| ApiError::Unexpected(reason);
            let frame = frame.ok_or_else(|| broken("the server ended the connection".to_owned()))?;
            let frame = frame.map_err(|error| broken(format!("the connection broke: {}", error.message)))?;
            lines.extend_from_slice(frame.data_ref().map_or(&[], |bytes| bytes));
            while let Some(end) = memchr::memchr(b'\n', &lines) {
                self.take(&lines[..end]).await?;
                lines.advance(end + 1);
            }
            if lines.len() > MAX_LINE_BYTES {
                return Err(broken("a line of the feed has no end".to_owned()));
            }
        }
    }

    async fn take(&mut self, line: &[u8]) -> Result<(), ApiError> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let line = serde_json::from_slice(line)
            .map_err(|error| ApiError::Unexpected(format!("a line of the feed is not what it should be: {error}")))?;
        if !matches!(line, Line::Ready { .. }) {
            // A connection that breaks right after its greeting has not succeeded.
            self.failures = 0;
        }
        match line {
            Line::Ready { cursor } => {
                let is_first = self.cursor.is_none();
                self.cursor = Some(cursor);
                let _ = self.tell.send(News::Connected { is_first }).await;
            }
            Line::Ended(ended) => {
                self.cursor = Some(ended.cursor.clone());
                // Waits for room: what cannot be passed on yet stays with the server.
                let _ = self.ended.send(ended).await;
            }
            Line::Idle | Line::Unknown => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn lines_are_read_and_those_of_later_versions_passed_over() {
        assert_eq!(line(r#"{"type":"ready","cursor":"a"}"#).unwrap(), Line::Ready { cursor: "a".to_owned() });
        assert_eq!(line(r#"{"type":"idle"}"#).unwrap(), Line::Idle);
        assert_eq!(line(r#"{"type":"paused","for":3}"#).unwrap(), Line::Unknown);
        let ended = r#"{"type":"ended","cursor":"b","job_id":"0199e2c6-0000-7000-8000-000000000001","kind":"batch","status":"completed","delivery_id":null,"bytes":123,"new":1}"#;
        let Line::Ended(ended) = line(ended).unwrap() else { panic!("it is the end of a job") };
        assert_eq!((ended.delivery_id, ended.bytes, &ended.kind[..]), (None, 123, "batch"));
        // An id that is none would end up in a path and in headers.
        assert!(line(r#"{"type":"ended","cursor":"b","job_id":"../me","kind":"","status":"","bytes":1}"#).is_err());
    }
}
