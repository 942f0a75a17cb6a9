//! Request bodies: what may be sent, how it is decoded, and how JSON is read.
//!
//! A body is small, and collected, or a batch's, and read as a stream: its `urls` go one by one to where they are kept
//! while the body is still arriving, and its other members are collected. A hash of all bytes is taken on the way, for
//! idempotency. Sizes count after decompression. The rest of a body that is refused is received within bounds, since a client
//! that is cut off sees a broken connection instead of the answer; it is not decoded.

use std::{
    error::Error,
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use async_compression::{
    codecs,
    tokio::bufread::{GzipDecoder, ZstdDecoder},
    zstd::DParameter,
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use datasonar_store::AccountId;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use ring::digest;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{
    batch::{self, Stop},
    problem::Problem,
};
use crate::{
    cpu,
    jobs::{self, Shares, UrlWriter},
};

/// The longest body that is not a batch's.
const SMALL_BYTES: u64 = 1024 * 1024;
/// A batch's body that fits into this is read before anything is done about it.
const HEAD_BYTES: u64 = 256 * 1024;
/// How long a client may send nothing.
const STALL: Duration = Duration::from_secs(30);
/// Time and bytes that the rest of a refused body may take, as it arrives. Whoever goes on for longer is cut off.
const DRAIN: Duration = Duration::from_secs(10);
const DRAIN_BYTES: u64 = 128 * 1024 * 1024;
/// Bytes that a coded body may be longer than what it decodes to may be: coding makes some bodies longer.
const CODED_SLACK_BYTES: u64 = 64 * 1024;
/// The largest window of zstd that is decoded: 8 MiB, as RFC 9659 has it.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Long batches that are read at once. Each holds a thread for as long as its client takes to send it.
static LONG: Shares = Shares::new(32);

/// The bytes of a body as they arrive.
type Raw = StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>;

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

/// Tells whether a body failed because it arrived too slowly.
fn is_slow(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (*error).source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Reads a small JSON object.
pub(super) async fn object(request: Request, max_bytes: u64) -> Result<Fields, Problem> {
    let mut reader = reader(request, SMALL_BYTES.min(max_bytes)).await?;
    let mut bytes = Vec::new();
    if let Err(error) = reader.read_to_end(&mut bytes).await {
        reader.drain().await;
        return Err(unreadable(&error));
    }
    let (members, _) = batch::read(&mut &bytes[..], None).map_err(refuse)?;
    Ok(Fields { members, fingerprint: crate::crypto::sha256(&bytes) })
}

/// Reads a batch's JSON object for an account, whose `urls` go to `urls` as they come. Answers that as the third part if there were any.
pub(super) async fn batch(
    request: Request,
    max_bytes: u64,
    account: AccountId,
    urls: UrlWriter,
) -> Result<(Fields, Option<UrlWriter>), Problem> {
    let mut reader = reader(request, max_bytes).await?;
    let mut head = Vec::new();
    if let Err(error) = (&mut reader).take(HEAD_BYTES).read_to_end(&mut head).await {
        reader.drain().await;
        return Err(unreadable(&error));
    }
    if (head.len() as u64) < HEAD_BYTES {
        let permit = jobs::permit().await;
        return block(io::Cursor::new(head), urls, permit).await.0.map_err(refuse);
    }
    let Some(share) = LONG.take(account) else {
        reader.drain().await;
        return Err(Problem::unavailable("too many large requests are being read at once; try again"));
    };
    let body = SyncIoBridge::new(AsyncReadExt::chain(io::Cursor::new(head), reader));
    let (read, body) = block(body, urls, share).await;
    if let Some(body) = body.filter(|_| read.is_err()) {
        // Without a thread, and without the share.
        body.into_inner().into_inner().1.drain().await;
    }
    read.map_err(refuse)
}

/// Reads a batch on a thread that may block. Returns the body as well, for what is left of it; `permit` is held meanwhile.
async fn block<R: Read + Send + 'static>(
    body: R,
    urls: UrlWriter,
    permit: impl Send + 'static,
) -> (Result<(Fields, Option<UrlWriter>), Stop>, Option<R>) {
    let work = cpu::block(move || {
        let _permit = permit;
        let body = Hashed { inner: body, hash: digest::Context::new(&digest::SHA256) };
        let mut body = io::BufReader::with_capacity(64 * 1024, body);
        let read = batch::read(&mut body, Some(urls));
        let Hashed { inner, hash } = body.into_inner();
        let fingerprint = hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
        (read.map(|(members, urls)| (Fields { members, fingerprint }, urls)), Some(inner))
    });
    work.await.unwrap_or_else(|panic| (Err(Stop::Panicked(cpu::said(&panic))), None))
}

fn refuse(stop: Stop) -> Problem {
    match stop {
        Stop::Unreadable(error) => unreadable(&error),
        Stop::Malformed(why) => Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {why}")),
        Stop::Field(error) => Problem::fields(vec![error]),
        Stop::Jobs(error) => error.into(),
        Stop::Panicked(panic) => Problem::internal(&panic),
    }
}

/// Decodes a request's body, up to `max_bytes`.
async fn reader(request: Request, max_bytes: u64) -> Result<Reader, Problem> {
    let (parts, body) = request.into_parts();
    let coding = match accept(&parts.headers, max_bytes) {
        Ok(coding) => coding,
        Err(problem) => {
            drain(body.into_data_stream().map_err(io::Error::other).boxed()).await;
            return Err(problem);
        }
    };
    let most = if coding == Coding::Identity { u64::MAX } else { max_bytes.saturating_add(CODED_SLACK_BYTES) };
    let raw = StreamReader::new(arriving(body, most, max_bytes));
    let decoded = match coding {
        Coding::Identity => Decoded::Identity(raw),
        Coding::Gzip => {
            let mut decoder = GzipDecoder::new(raw);
            decoder.multiple_members(true);
            Decoded::Gzip(Box::new(decoder))
        }
        Coding::Zstd => {
            let limits = [DParameter::window_log_max(ZSTD_WINDOW_LOG)];
            let mut decoder = ZstdDecoder::with_codec(raw, codecs::ZstdDecoder::new_with_params(&limits));
            decoder.multiple_members(true);
            Decoded::Zstd(Box::new(decoder))
        }
    };
    Ok(Reader { decoded, left: max_bytes, max_bytes })
}

/// The chunks of a body as they arrive: an error when none comes for [`STALL`], or they are more than `most` bytes.
fn arriving(body: Body, most: u64, max_bytes: u64) -> BoxStream<'static, io::Result<Bytes>> {
    let broken = |error: axum::Error| if is_slow(&error) { Fault::Stalled.error() } else { Fault::Broken.error() };
    let chunks = body.into_data_stream().map_err(broken).boxed();
    futures::stream::unfold((chunks, most), move |(mut chunks, left)| async move {
        let next = tokio::time::timeout(STALL, chunks.next()).await;
        let chunk = next.unwrap_or_else(|_| Some(Err(Fault::Stalled.error())))?;
        let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Some(match left.checked_sub(length) {
            Some(left) => (chunk, (chunks, left)),
            None => (Err(Fault::TooLarge(max_bytes).error()), (chunks, 0)),
        })
    })
    // Decoders ask again after the end.
    .fuse()
    .boxed()
}

/// A decoded body, which fails when it is longer than it may be.
struct Reader {
    decoded: Decoded,
    left: u64,
    max_bytes: u64,
}

enum Decoded {
    Identity(Raw),
    Gzip(Box<GzipDecoder<Raw>>),
    Zstd(Box<ZstdDecoder<Raw>>),
}

impl Reader {
    /// Receives what is left of the body, for a while, without decoding it.
    async fn drain(self) {
        let raw = match self.decoded {
            Decoded::Identity(raw) => raw,
            Decoded::Gzip(decoder) => decoder.into_inner(),
            Decoded::Zstd(decoder) => decoder.into_inner(),
        };
        drain(raw.into_inner()).await;
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = match &mut self.decoded {
            Decoded::Identity(raw) => Pin::new(raw).poll_read(context, buffer),
            Decoded::Gzip(decoder) => Pin::new(&mut **decoder).poll_read(context, buffer),
            Decoded::Zstd(decoder) => Pin::new(&mut **decoder).poll_read(context, buffer),
        };
        let read = buffer.filled().len().saturating_sub(before) as u64;
        match self.left.checked_sub(read) {
            Some(left) => self.left = left,
            None => {
                // A read that fails has read nothing.
                buffer.set_filled(before);
                return Poll::Ready(Err(Fault::TooLarge(self.max_bytes).error()));
            }
        }
        polled
    }
}

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// Reads `Content-Encoding`; `None` if it names anything that is not decoded, or more than one coding.
fn coding(headers: &HeaderMap) -> Option<Coding> {
    let mut found = Coding::Identity;
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for name in value.to_str().ok()?.split(',').map(str::trim) {
            let coding = match name.to_ascii_lowercase().as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "zstd" => Coding::Zstd,
                _ => return None,
            };
            if std::mem::replace(&mut found, coding) != Coding::Identity {
                return None;
            }
        }
    }
    Some(found)
}

/// Looks at what a request says of its body. Returns how it is encoded.
fn accept(headers: &HeaderMap, max_bytes: u64) -> Result<Coding, Problem> {
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
    let Some(coding) = coding(headers) else {
        return unsupported("a body may be sent as it is, or with one `Content-Encoding`: `gzip` or `zstd`");
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| {
        length > max_bytes.saturating_add(CODED_SLACK_BYTES * u64::from(coding != Coding::Identity))
    }) {
        return Err(Fault::TooLarge(max_bytes).problem());
    }
    Ok(coding)
}

/// Receives bytes that are not wanted, for a while.
async fn drain(mut chunks: BoxStream<'static, io::Result<Bytes>>) {
    let mut left = DRAIN_BYTES;
    let drain = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len() as u64);
            if left == 0 {
                return;
            }
            // Others have their turn, however quickly the bytes come.
            tokio::task::consume_budget().await;
        }
    };
    let _ = tokio::time::timeout(DRAIN, drain).await;
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
