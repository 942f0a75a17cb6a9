//! Reads the results of a job back: as the body of its webhook, as the `result` of an answer, as lines, or page by page.
//!
//! A body is a pure function of the job's row and its segments: prefix, segments joined, suffix. Its length is known from
//! the row before the first segment is read, and its bytes are the same however often it is read. A few segments at a
//! time are in memory.

use std::sync::Arc;

use bytes::Bytes;
use datasonar_store::{Job, JobId, JobKind, JobStatus, Segment, SegmentData, Store, StoreError};
use futures::{
    FutureExt, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use serde_json::Value;

use super::{
    JobOptions, Payload, URLS_PER_TASK,
    segment::{self, JOINT},
};
use crate::{
    blobs::{Blobs, BlobsError},
    cpu,
};

/// How many tasks' rows are read at once.
const TASKS_AT_ONCE: u32 = 32;
/// How many segments are read ahead.
const SEGMENTS_AHEAD: usize = 3;

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
    /// Fewer segments than the job's row counts.
    #[error("the results of job {job} are incomplete")]
    Incomplete {
        /// The job.
        job: JobId,
    },
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
        self.segments(job.id, 0).map_ok(|raw| lines(&raw)).boxed()
    }

    /// The JSON of up to `limit` page results from the position `from` on, as far as they are finished without a gap.
    ///
    /// # Errors
    /// When rows or segments cannot be read.
    pub async fn page(&self, job: &Job, from: u64, limit: u32) -> Result<Vec<Bytes>, ResultsError> {
        let Ok(seq) = u32::try_from(from / u64::from(URLS_PER_TASK)) else { return Ok(Vec::new()) };
        let mut skip = usize::try_from(from % u64::from(URLS_PER_TASK)).expect("it is small");
        let mut page = Vec::new();
        let mut segments = self.segments(job.id, seq);
        while page.len() < limit as usize {
            let Some(raw) = segments.try_next().await? else { break };
            for line in split(&raw) {
                if skip > 0 {
                    skip -= 1;
                } else if page.len() < limit as usize {
                    page.push(raw.slice_ref(line));
                }
            }
        }
        Ok(page)
    }

    /// All segments of an ended job, joined; an error when there are fewer than its row counts.
    fn joined(&self, job: &Job) -> ByteStream {
        let (id, expected) = (job.id, job.segments);
        let counted = self.segments(job.id, 0).enumerate().map(|(n, raw)| raw.map(|raw| (n, raw)));
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

    /// The raw bytes of a job's segments in order, from the task at `seq` on.
    fn segments(&self, job: JobId, seq: u32) -> ByteStream {
        let store = self.store.clone();
        let rows = stream::try_unfold(Some(seq), move |seq| {
            let store = store.clone();
            async move {
                let Some(seq) = seq else { return Ok::<_, ResultsError>(None) };
                let tasks = store.finished_tasks(job, seq, TASKS_AT_ONCE).await?;
                let next = (tasks.len() == TASKS_AT_ONCE as usize).then_some(seq + TASKS_AT_ONCE);
                let segments: Vec<Result<Segment, ResultsError>> =
                    tasks.into_iter().flat_map(|task| task.segments).map(Ok).collect();
                Ok(Some((stream::iter(segments), next)))
            }
        });
        let blobs = self.blobs.clone();
        rows.try_flatten()
            .map(move |segment| {
                let blobs = blobs.clone();
                async move { read(&blobs, job, segment?).await }
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
