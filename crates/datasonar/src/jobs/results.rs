//! Reads the results of a job back: as the body of its webhook, as the `result` of an answer, as lines, or page by page.
//!
//! A body is a pure function of the job's row and its segments: prefix, segments joined, suffix. Its length is known from
//! the row before the first segment is read, and its bytes are the same however often it is read. A few segments at a
//! time are in memory.

use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;
use datasonar_store::{FinishedTask, Job, JobId, JobKind, JobStatus, Segment, SegmentData, Store, StoreError};
use futures::{
    FutureExt, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use serde_json::Value;

use super::{
    JobOptions, Payload,
    segment::{self, JOINT},
    shares::Shares,
};
use crate::{
    blobs::{Blobs, BlobsError},
    cpu,
};

/// How many tasks' rows are read at once.
const TASKS_AT_ONCE: u32 = 32;
/// How many segments are read ahead.
const SEGMENTS_AHEAD: usize = 2;
/// Results up to this size cost a client's reader little memory.
const SMALL_BYTES: u64 = 1024 * 1024;
/// Clients that read larger results at a time. Each holds a few segments for as long as its client takes to read them.
static READERS: Shares = Shares::new(32);

/// Bytes as they are read.
pub type ByteStream = BoxStream<'static, Result<Bytes, ResultsError>>;

/// Why results could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The rows could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The segments could not be read.
    #[error(transparent)]
    Blobs(#[from] BlobsError),
    /// A segment is not what was written.
    #[error("the results of job {job} from position {first} on are damaged")]
    Damaged {
        /// The job.
        job: JobId,
        /// The position of the segment's first page result.
        first: u64,
    },
    /// As many large results are being read as may be, or as the account may read.
    #[error("too many large results are being read at once; finish reading some, then try again")]
    TooManyReaders,
    /// Fewer segments than the job's row counts.
    #[error("the results of job {job} are incomplete")]
    Incomplete {
        /// The job.
        job: JobId,
    },
}

/// A place between the page results of a job: so many of a task's, and all of the tasks' before it. As text, a cursor.
///
/// The number of a result would not do: tasks of a crawl have as many results as pages turned out to be new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    seq: u32,
    after: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq, self.after)
    }
}

impl FromStr for Position {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (seq, after) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self { seq: seq.parse()?, after: after.parse()? })
    }
}

/// Some page results of a job.
#[derive(Debug)]
pub struct ResultPage {
    /// Each one's JSON.
    pub results: Vec<Bytes>,
    /// The position before each.
    pub positions: Vec<Position>,
    /// Where to go on.
    pub next: Position,
    /// Whether there are more for now.
    pub has_more: bool,
}

/// Reads the results of jobs.
#[derive(Clone)]
pub struct Results {
    store: Arc<dyn Store>,
    blobs: Blobs,
}

impl Results {
    /// Reads from these.
    pub fn new(store: Arc<dyn Store>, blobs: Blobs) -> Self {
        Self { store, blobs }
    }

    /// The webhook body of a job that has ended, and its exact length in bytes: with the whole result or, where its
    /// options say so, with a reference to it.
    pub fn payload(&self, job: &Job) -> (u64, ByteStream) {
        let prefix = format!(r#"{{"job_id":"{}","status":"{}","result":"#, job.id, job.status);
        let (length, result) = self.result(job);
        let (length, body) = wrap(prefix.clone(), length, result, "}");
        // Options are written by this program; ones it cannot read would be of a later version, and the default is safe.
        let options: JobOptions = serde_json::from_str(&job.options).unwrap_or_default();
        if !options.payload.is_reference(length) {
            return (length, body);
        }
        let reference = Bytes::from(prefix + &reference(job, &options.payload) + "}");
        (reference.len() as u64, std::future::ready(Ok(reference)).into_stream().boxed())
    }

    /// The `result` block of a job that has ended, and its exact length in bytes: what the sync endpoint would answer.
    pub fn result(&self, job: &Job) -> (u64, ByteStream) {
        let joints = job.segments.saturating_sub(1) * JOINT.len() as u64;
        let (length, results) = (job.result_bytes + joints, self.joined(job));
        if matches!(job.kind, JobKind::Scrape | JobKind::Test) {
            return (length, results);
        }
        let prefix = counts(job) + r#","results":["#;
        wrap(prefix, length, results, "]}")
    }

    /// The page results of a job that are finished so far, as one gapless run in order, a line each.
    pub fn ndjson(&self, job: &Job) -> ByteStream {
        self.segments(job.id, 0).map_ok(|(_, raw)| lines(&raw)).boxed()
    }

    /// Up to `limit` page results from a position on, as far as they are finished without a gap.
    ///
    /// # Errors
    /// When rows or segments cannot be read.
    pub async fn page(&self, job: &Job, from: Position, limit: u32) -> Result<ResultPage, ResultsError> {
        let mut page = ResultPage { results: Vec::new(), positions: Vec::new(), next: from, has_more: false };
        let mut at = Position { seq: from.seq, after: 0 };
        let mut segments = self.segments(job.id, from.seq);
        while let Some((seq, raw)) = segments.try_next().await? {
            if seq != at.seq {
                at = Position { seq, after: 0 };
            }
            for line in split(&raw) {
                at.after += 1;
                if at.seq == from.seq && at.after <= from.after {
                    continue;
                }
                if page.results.len() == limit as usize {
                    page.has_more = true;
                    return Ok(page);
                }
                page.results.push(raw.slice_ref(line));
                page.positions.push(Position { after: at.after - 1, ..at });
                page.next = at;
            }
        }
        Ok(page)
    }

    /// A body for a client, which may be slow to read it: of large results, no more than its account's share are read at a time.
    ///
    /// # Errors
    /// [`ResultsError::TooManyReaders`].
    pub fn for_client(job: &Job, body: ByteStream) -> Result<ByteStream, ResultsError> {
        if job.result_bytes <= SMALL_BYTES {
            return Ok(body);
        }
        let share = READERS.take(job.scope.account).ok_or(ResultsError::TooManyReaders)?;
        let holding = move |part| {
            let _ = &share;
            part
        };
        Ok(body.map(holding).boxed())
    }

    /// All segments of an ended job, joined; an error when there are fewer than its row counts.
    fn joined(&self, job: &Job) -> ByteStream {
        let (id, expected) = (job.id, job.segments);
        let counted = self.segments(job.id, 0).enumerate().map(|(n, raw)| raw.map(|(_, raw)| (n, raw)));
        let end = stream::once(async move { Ok((usize::MAX, Bytes::new())) });
        let mut seen = 0;
        counted
            .chain(end)
            .map_ok(move |(n, raw)| {
                if n == usize::MAX {
                    let whole =
                        if seen == expected { Ok(Bytes::new()) } else { Err(ResultsError::Incomplete { job: id }) };
                    return stream::iter(vec![whole]);
                }
                seen += 1;
                let joint = if n == 0 { Bytes::new() } else { Bytes::from_static(JOINT) };
                stream::iter(vec![Ok(joint), Ok(raw)])
            })
            .try_flatten()
            .try_filter(|bytes| std::future::ready(!bytes.is_empty()))
            .boxed()
    }

    /// The raw bytes of a job's segments in order, from the task at `seq` on, each with its task's `seq`.
    fn segments(&self, job: JobId, seq: u32) -> BoxStream<'static, Result<(u32, Bytes), ResultsError>> {
        let store = self.store.clone();
        let rows = stream::try_unfold(Some(seq), move |seq| {
            let store = store.clone();
            async move {
                let Some(seq) = seq else { return Ok::<_, ResultsError>(None) };
                let tasks = store.finished_tasks(job, seq, TASKS_AT_ONCE).await?;
                let next = (tasks.len() == TASKS_AT_ONCE as usize).then_some(seq + TASKS_AT_ONCE);
                let of_task = |task: FinishedTask| task.segments.into_iter().map(move |segment| (task.seq, segment));
                let segments: Vec<Result<(u32, Segment), ResultsError>> =
                    tasks.into_iter().flat_map(of_task).map(Ok).collect();
                Ok(Some((stream::iter(segments), next)))
            }
        });
        let blobs = self.blobs.clone();
        rows.try_flatten()
            .map(move |segment| {
                let blobs = blobs.clone();
                async move {
                    let (seq, segment) = segment?;
                    Ok((seq, read(&blobs, job, segment).await?))
                }
            })
            .buffered(SEGMENTS_AHEAD)
            .boxed()
    }
}

/// The beginning of a `result` with counts.
fn counts(job: &Job) -> String {
    let status = if job.status == JobStatus::Completed { "success" } else { "error" };
    let time_ms = job.completed_at.map_or(0, |end| end.duration_since(job.created_at).as_millis());
    let Job { total, succeeded, failed, .. } = job;
    format!(r#"{{"status":"{status}","total":{total},"succeeded":{succeeded},"failed":{failed},"time_ms":{time_ms}"#)
}

/// The `result` that says where to fetch the results.
fn reference(job: &Job, payload: &Payload) -> String {
    let url = Value::from(payload.results_url(job.id));
    let expires_at = job.expires_at.map_or(Value::Null, |time| format!("{time:.3}").into());
    format!(r#"{},"results_url":{url},"expires_at":{expires_at}}}"#, counts(job))
}

fn wrap(prefix: String, length: u64, inner: ByteStream, suffix: &'static str) -> (u64, ByteStream) {
    let length = prefix.len() as u64 + length + suffix.len() as u64;
    let prefix = std::future::ready(Ok(Bytes::from(prefix))).into_stream();
    let suffix = std::future::ready(Ok(Bytes::from_static(suffix.as_bytes()))).into_stream();
    (length, prefix.chain(inner).chain(suffix).boxed())
}

async fn read(blobs: &Blobs, job: JobId, segment: Segment) -> Result<Bytes, ResultsError> {
    let first = segment.first;
    let raw = match &segment.data {
        SegmentData::Inline(stored) => segment::unpack(&segment, stored),
        SegmentData::Blob(key) => {
            let stored = blobs.get(key).await?;
            cpu::run_sound(move || segment::unpack(&segment, &stored)).await
        }
    };
    raw.map(Bytes::from).ok_or(ResultsError::Damaged { job, first })
}

/// Splits raw bytes into page results.
fn split(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b",").unwrap_or(line))
}

/// Turns raw bytes into lines.
fn lines(raw: &[u8]) -> Bytes {
    let mut lines = Vec::with_capacity(raw.len() + 1);
    for line in split(raw) {
        lines.extend_from_slice(line);
        lines.push(b'\n');
    }
    lines.into()
}
