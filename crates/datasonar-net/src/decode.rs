//! From a response's body to bytes: content codings undone, within limits.
//!
//! Streams, so that a bomb costs what the limit allows and no more. Charsets are not touched here.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::codecs;
use async_compression::tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, header};
use http_body_util::{BodyDataStream, BodyExt};
use hyper::body::Body;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::io::StreamReader;

use crate::channel::explain;

/// The content codings that are undone, as they are offered.
pub(crate) const ACCEPT_ENCODING: &str = "gzip, deflate, br, zstd";

/// The most a body may expand: decoded to received bytes.
pub(crate) const MAX_RATIO: u64 = 200;

/// Up to here a body may expand as it likes.
pub(crate) const RATIO_FREE_BYTES: u64 = 1024 * 1024;

/// How many bytes more than the decoded limit a coded body may have: coding makes some bodies longer, and empty members can
/// go on for ever without a byte of output.
const CODED_SLACK_BYTES: u64 = 1024 * 1024;

/// The largest zstd window accepted: 8 MiB, as RFC 9659 has it for HTTP.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How much is decoded at a time, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// Why a body could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    Decode(String),
    #[error("{0}")]
    Connection(String),
}

/// A body as it comes from a connection.
pub(crate) trait Incoming: Body<Data = Bytes, Error = hyper::Error> + Send + Unpin + 'static {}

impl<T: Body<Data = Bytes, Error = hyper::Error> + Send + Unpin + 'static> Incoming for T {}

type Reader = Pin<Box<dyn AsyncBufRead + Send>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// A body that was read.
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    /// Whether a coding was undone.
    pub(crate) was_coded: bool,
    /// What a large body holds for as long as it is in memory.
    pub(crate) share: Share,
}

/// Bodies up to this size need no share of the memory for large ones.
const SMALL_BYTES: usize = 256 * 1024;

/// The unit in which the memory for large bodies is counted, in bytes.
const UNIT_BYTES: u64 = 1024;
/// Units of memory, at most: 256 GiB of them.
const MAX_UNITS: u32 = 1 << 28;

/// Decides when a body that outgrows the small ones may be in memory.
#[async_trait]
pub trait LargeBodies: Send + Sync {
    /// Waits until `bytes`, all that a body may become, can be reserved. They are returned when the reservation is dropped.
    async fn reserve(&self, bytes: u64) -> Box<dyn ReservedBytes>;
}

/// Bytes of memory that are reserved for a body until this is dropped.
pub trait ReservedBytes: fmt::Debug + Send + Sync {
    /// Returns all but `bytes`: the body has ended, and did not become longer.
    fn shrink(&self, bytes: u64);
}

/// The memory that bodies over [`SMALL_BYTES`] take together.
#[derive(Clone, Debug)]
pub(crate) struct BodyMemory {
    units: Arc<Semaphore>,
    all: u32,
}

impl BodyMemory {
    pub(crate) fn new(bytes: u64) -> Self {
        let all = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).clamp(1, MAX_UNITS);
        Self { units: Arc::new(Semaphore::new(all as usize)), all }
    }
}

#[async_trait]
impl LargeBodies for BodyMemory {
    async fn reserve(&self, bytes: u64) -> Box<dyn ReservedBytes> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.all);
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await;
        Box::new(Units(Mutex::new(permit.expect("the semaphore is never closed"))))
    }
}

#[derive(Debug)]
struct Units(Mutex<OwnedSemaphorePermit>);

impl ReservedBytes for Units {
    fn shrink(&self, bytes: u64) {
        let mut reserved = self.0.lock().expect("nothing panics while it holds the lock");
        let units = usize::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(usize::MAX);
        let spare = reserved.num_permits().saturating_sub(units);
        drop(reserved.split(spare));
    }
}

/// What a large body reserved of the memory; empty for a small one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Share(Option<Arc<dyn ReservedBytes>>);

impl Share {
    /// Reserves `most`, all that a body may become, once it has outgrown the small ones. Whoever waits holds a small body
    /// only, and whoever has a reservation waits for nothing here, so that all get on.
    async fn grow(&mut self, bytes: usize, most: u64, memory: &dyn LargeBodies) {
        if bytes > SMALL_BYTES && self.0.is_none() {
            self.0 = Some(memory.reserve(most).await.into());
        }
    }

    /// Returns what a body that has ended did not become.
    fn settle(&self, bytes: usize) {
        if let Some(reserved) = &self.0 {
            reserved.shrink(bytes as u64);
        }
    }
}

/// The most of a body that is read, decoded.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    /// So many bytes.
    pub(crate) bytes: u64,
    /// Whether a longer body is cut there, rather than refused.
    pub(crate) cuts: bool,
    /// The length that the response states, if it does.
    pub(crate) announced: Option<u64>,
}

impl Limit {
    /// Cuts a body that is longer.
    ///
    /// # Errors
    /// When it may not be cut.
    fn cut(self, mut out: BytesMut) -> Result<Bytes, BodyError> {
        if !self.cuts {
            return Err(too_large(self.bytes));
        }
        out.truncate(usize::try_from(self.bytes).unwrap_or(usize::MAX));
        Ok(out.freeze())
    }
}

/// Reads a body to its end and undoes its codings. What bodies over 256 KiB take is taken of `memory`.
pub(crate) async fn read(
    body: impl Incoming,
    headers: &HeaderMap,
    limit: Limit,
    memory: &dyn LargeBodies,
) -> Result<Read, BodyError> {
    let mut share = Share::default();
    let coding = coding(headers)?;
    let bytes = match coding {
        None => read_identity(body, limit, &mut share, memory).await?,
        Some(coding) => read_coded(body, coding, limit, &mut share, memory).await?,
    };
    share.settle(bytes.len());
    Ok(Read { bytes, was_coded: coding.is_some(), share })
}

async fn read_identity(
    mut body: impl Incoming,
    limit: Limit,
    share: &mut Share,
    memory: &dyn LargeBodies,
) -> Result<Bytes, BodyError> {
    if limit.announced.is_some_and(|length| length > limit.bytes) && !limit.cuts {
        return Err(too_large(limit.bytes));
    }
    let most = limit.announced.unwrap_or(limit.bytes).min(limit.bytes);
    let expected = usize::try_from(limit.announced.unwrap_or(0)).unwrap_or(SMALL_BYTES);
    let mut out = BytesMut::with_capacity(expected.min(SMALL_BYTES));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Connection(explain(&error)))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if (out.len() + data.len()) as u64 > limit.bytes {
            if limit.cuts {
                out.extend_from_slice(&data);
            }
            return limit.cut(out);
        }
        share.grow(out.len() + data.len(), most, memory).await;
        out.extend_from_slice(&data);
    }
    Ok(out.freeze())
}

async fn read_coded(
    body: impl Incoming,
    coding: Coding,
    limit: Limit,
    share: &mut Share,
    memory: &dyn LargeBodies,
) -> Result<Bytes, BodyError> {
    let max_bytes = limit.bytes;
    let received = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&received);
    let chunks = BodyDataStream::new(body).map(move |chunk| match chunk {
        Ok(chunk) => {
            let before = counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            match before > max_bytes.saturating_add(CODED_SLACK_BYTES) {
                true => Err(io::Error::other(too_large(max_bytes))),
                false => Ok(chunk),
            }
        }
        Err(error) => Err(io::Error::other(BodyError::Connection(explain(&error)))),
    });
    let mut reader: Reader = Box::pin(StreamReader::new(chunks));
    // Some servers label an empty body, and no decoder takes emptiness for a stream.
    if reader.fill_buf().await.map_err(failed)?.is_empty() {
        return Ok(Bytes::new());
    }
    let mut decoder = decoder(coding, reader).await?;
    let mut out = BytesMut::with_capacity(CHUNK_BYTES);
    loop {
        share.grow(out.len() + CHUNK_BYTES, max_bytes, memory).await;
        out.reserve(CHUNK_BYTES);
        let chunk = decoder.read_buf(&mut out).await.map_err(failed)?;
        if chunk == 0 {
            return Ok(out.freeze());
        }
        let decoded = out.len() as u64;
        if decoded > max_bytes {
            return limit.cut(out);
        }
        if decoded > RATIO_FREE_BYTES && decoded / MAX_RATIO > received.load(Ordering::Relaxed) {
            return Err(BodyError::TooLarge(format!("the body expands more than {MAX_RATIO} times")));
        }
    }
}

async fn decoder(coding: Coding, mut from: Reader) -> Result<Pin<Box<dyn AsyncRead + Send>>, BodyError> {
    Ok(match coding {
        Coding::Gzip => {
            let mut decoder = GzipDecoder::new(from);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        Coding::Brotli => Box::pin(BrotliDecoder::new(from)),
        Coding::Zstd => {
            let limits = [DParameter::window_log_max(ZSTD_WINDOW_LOG)];
            let mut decoder = ZstdDecoder::with_codec(from, codecs::ZstdDecoder::new_with_params(&limits));
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        Coding::Deflate => {
            // RFC 9110 means zlib's format; servers that send bare deflate are as old as the confusion.
            let first = from.fill_buf().await.map_err(failed)?.first().copied();
            match first {
                Some(byte) if byte & 0x0f == 8 && byte >> 4 <= 7 => Box::pin(ZlibDecoder::new(from)),
                _ => Box::pin(DeflateDecoder::new(from)),
            }
        }
    })
}

/// Reads `Content-Encoding`. With a coding that nobody knows the body is left as it is, as browsers do (Fetch, "handle
/// content codings"). More than one coding is refused: nobody sends that but to multiply the work of undoing them.
fn coding(headers: &HeaderMap) -> Result<Option<Coding>, BodyError> {
    let mut found = None;
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let Ok(value) = value.to_str() else {
            return Ok(None);
        };
        for name in value.split(',').map(str::trim) {
            let coding = match name.to_ascii_lowercase().as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                "br" => Coding::Brotli,
                "zstd" => Coding::Zstd,
                _ => return Ok(None),
            };
            if found.replace(coding).is_some() {
                return Err(BodyError::Decode("the body is encoded more than once".to_owned()));
            }
        }
    }
    Ok(found)
}

fn too_large(max_bytes: u64) -> BodyError {
    BodyError::TooLarge(format!("the body is larger than {max_bytes} bytes"))
}

fn failed(error: io::Error) -> BodyError {
    // What went wrong before the decoder comes out of it unchanged.
    if let Some(ours) = error.get_ref().and_then(|inner| inner.downcast_ref::<BodyError>()) {
        return ours.clone();
    }
    BodyError::Decode(match error.kind() {
        io::ErrorKind::UnexpectedEof => "the compressed body ends too early".to_owned(),
        _ => format!("the body cannot be decompressed: {error}"),
    })
}
