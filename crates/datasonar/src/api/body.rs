//! Request bodies: what may be sent, how it is decoded, and how JSON is read.
//!
//! A body is small, and collected, or a batch's, and read as a stream: its `urls` go one by one to where they are kept
//! while the body is still arriving, and its other members are collected. A hash of all bytes is taken on the way, for
//! idempotency. Sizes count after decompression. A client that sent something wrong is listened to until it has finished,
//! within bounds, since one that is cut off sees a broken connection instead of the answer.

use std::{
    io::{self, Read},
    pin::Pin,
    time::Duration,
};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use futures::{StreamExt, TryStreamExt};
use ring::digest;
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::Semaphore,
    time::Instant,
};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{
    batch::{self, Stop},
    problem::Problem,
};
use crate::{
    cpu,
    jobs::{self, UrlWriter},
};

/// The longest body that is not a batch's.
const SMALL_BYTES: u64 = 1024 * 1024;
/// A batch's body that fits into this is read before anything is done about it.
const HEAD_BYTES: u64 = 256 * 1024;
/// How long a client may send nothing.
const STALL: Duration = Duration::from_secs(30);
/// How long a client that sent something wrong is listened to.
const DRAIN: Duration = Duration::from_secs(10);
/// How many long batches are read at once. Each holds a thread for as long as its client takes to send it.
static LONG: Semaphore = Semaphore::const_new(16);

/// A decoded body.
type Reader = Pin<Box<dyn AsyncRead + Send>>;

/// What a request said.
pub(super) struct Fields {
    /// The members of its JSON object, without a batch's `urls`.
    pub(super) members: Map<String, Value>,
    /// SHA-256 of the body, decoded.
    pub(super) fingerprint: [u8; 32],
}

/// Why a body could not be read, carried through readers as an `io::Error`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body cannot be read")]
enum Fault {
    TooLarge(u64),
    Stalled,
    Broken,
}

impl Fault {
    fn error(self) -> io::Error {
        io::Error::other(self)
    }

    fn problem(self) -> Problem {
        match self {
            Self::TooLarge(limit) => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {limit} bytes"))
            }
            Self::Stalled => Problem::new(StatusCode::REQUEST_TIMEOUT, "the body stopped arriving"),
            Self::Broken => Problem::new(StatusCode::BAD_REQUEST, "the body ended early"),
        }
    }
}

/// Tells what an error of a reader means for the client.
fn unreadable(error: &io::Error) -> Problem {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Fault>()) {
        Some(fault) => fault.problem(),
        None => Problem::new(StatusCode::BAD_REQUEST, "the body is not what its Content-Encoding says"),
    }
}

/// Reads a small JSON object.
pub(super) async fn object(request: Request, max_bytes: u64) -> Result<Fields, Problem> {
    let mut reader = reader(request, SMALL_BYTES.min(max_bytes)).await?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.map_err(|error| unreadable(&error))?;
    let (members, _) = batch::read(&mut &bytes[..], None).map_err(refuse)?;
    Ok(Fields { members, fingerprint: crate::crypto::sha256(&bytes) })
}

/// Reads a batch's JSON object, whose `urls` go to `urls` as they come. Answers that as the third part if there were any.
pub(super) async fn batch(
    request: Request,
    max_bytes: u64,
    urls: UrlWriter,
) -> Result<(Fields, Option<UrlWriter>), Problem> {
    let mut reader = reader(request, max_bytes).await?;
    let mut head = Vec::new();
    (&mut reader).take(HEAD_BYTES).read_to_end(&mut head).await.map_err(|error| unreadable(&error))?;
    let (permit, body): (_, Box<dyn Read + Send>) = if head.len() as u64 == HEAD_BYTES {
        let busy = |_| Problem::unavailable("too many large requests are being read at once; try again");
        let permit = LONG.try_acquire().map_err(busy)?;
        (permit, Box::new(SyncIoBridge::new(AsyncReadExt::chain(io::Cursor::new(head), reader))))
    } else {
        (jobs::permit().await, Box::new(io::Cursor::new(head)))
    };
    let work = cpu::block(move || {
        let _permit = permit;
        let mut body = Hashed {
            inner: io::BufReader::with_capacity(64 * 1024, body),
            hash: digest::Context::new(&digest::SHA256),
        };
        let read = batch::read(&mut body, Some(urls));
        if read.is_err() {
            drain(&mut body);
        }
        let fingerprint = body.hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
        read.map(|(members, urls)| (Fields { members, fingerprint }, urls))
    });
    match work.await {
        Ok(read) => read.map_err(refuse),
        Err(panic) => Err(Problem::internal(&cpu::said(&panic))),
    }
}

fn refuse(stop: Stop) -> Problem {
    match stop {
        Stop::Unreadable(error) => unreadable(&error),
        Stop::Malformed(why) => Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {why}")),
        Stop::Field(error) => Problem::fields(vec![error]),
        Stop::Jobs(error) => error.into(),
    }
}

/// Decodes a request's body, up to `max_bytes`.
async fn reader(request: Request, max_bytes: u64) -> Result<Reader, Problem> {
    let (parts, body) = request.into_parts();
    if let Err(problem) = accept(&parts.headers, max_bytes) {
        listen(body, max_bytes).await;
        return Err(problem);
    }
    let chunks = body.into_data_stream().map_err(|_| Fault::Broken.error()).boxed();
    let timely = futures::stream::unfold(chunks, |mut chunks| async move {
        let next = tokio::time::timeout(STALL, chunks.next()).await;
        let chunk = next.unwrap_or_else(|_| Some(Err(Fault::Stalled.error())))?;
        Some((chunk, chunks))
    });
    let raw = StreamReader::new(timely.boxed());
    let decoded: Reader = match coding(&parts.headers) {
        Some("gzip" | "x-gzip") => {
            let mut decoder = GzipDecoder::new(raw);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        Some("zstd") => {
            let mut decoder = ZstdDecoder::new(raw);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        _ => Box::pin(raw),
    };
    Ok(Box::pin(StreamReader::new(limit(decoded, max_bytes))))
}

/// Passes on what is read. Once it is more than `max_bytes`, listens to the rest for a while and fails.
fn limit(reader: Reader, max_bytes: u64) -> impl futures::Stream<Item = io::Result<bytes::Bytes>> + Send {
    let chunks = tokio_util::io::ReaderStream::with_capacity(reader, 64 * 1024);
    futures::stream::try_unfold((chunks, 0), move |(mut chunks, before)| async move {
        let Some(chunk) = chunks.try_next().await? else { return Ok(None) };
        let read = before + chunk.len() as u64;
        if read > max_bytes {
            let rest = async { while let Some(Ok(_)) = chunks.next().await {} };
            // Whoever goes on for longer is cut off.
            let _ = tokio::time::timeout(DRAIN, rest).await;
            return Err(Fault::TooLarge(max_bytes).error());
        }
        Ok(Some((chunk, (chunks, read))))
    })
    .boxed()
}

fn coding(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// Looks at what a request says of its body.
fn accept(headers: &HeaderMap, max_bytes: u64) -> Result<(), Problem> {
    let unsupported = |detail: &str| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    let media_type = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence = media_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    // curl labels what follows `-d` as a form; nobody means that here.
    let is_json = essence.is_none_or(|essence| {
        matches!(essence.as_str(), "" | "application/json" | "application/x-www-form-urlencoded")
            || essence.ends_with("+json")
    });
    if !is_json {
        return unsupported("send JSON, with `Content-Type: application/json`");
    }
    if headers.contains_key(header::CONTENT_ENCODING)
        && !matches!(coding(headers), Some("" | "identity" | "gzip" | "x-gzip" | "zstd"))
    {
        return unsupported("a body may be sent as it is, or with `Content-Encoding: gzip` or `zstd`");
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > max_bytes) {
        return Err(Fault::TooLarge(max_bytes).problem());
    }
    Ok(())
}

/// Reads a body that is not wanted, for a while.
async fn listen(body: Body, max_bytes: u64) {
    let mut chunks = body.into_data_stream();
    let mut left = max_bytes.saturating_mul(2);
    let listen = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len() as u64);
            if left == 0 {
                return;
            }
        }
    };
    // Whoever goes on for longer is cut off.
    let _ = tokio::time::timeout(DRAIN, listen).await;
}

/// The same on a thread: the reader has its own bounds of size and stalling.
fn drain(body: &mut impl Read) {
    let begin = Instant::now();
    let mut rest = vec![0; 64 * 1024];
    while begin.elapsed() < DRAIN && body.read(&mut rest).is_ok_and(|read| read > 0) {}
}

/// Hashes what is read.
struct Hashed<R> {
    inner: R,
    hash: digest::Context,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}
