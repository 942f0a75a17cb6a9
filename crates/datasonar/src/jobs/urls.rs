//! The URLs of a job, cut into tasks as they arrive and kept apart from the rows.
//!
//! Each task's URLs are one zstd frame holding a JSON array of strings, so that a worker reads just its own range. A few
//! frames stay in the job's row; more are uploaded piece by piece, so that the memory taken does not grow with the job.

use bytes::Bytes;
use datasonar_net::AddressPolicy;
use datasonar_store::{JobId, JobInput, NewTask, NewWork, TaskInput, TaskLease};
use tokio::runtime::Handle;
use url::Url;

use super::{JobsError, URLS_PER_TASK};
use crate::blobs::{Blobs, BlobsError, Upload, input_key};

/// Inputs up to this size stay in the job's row.
const INLINE_BYTES: usize = 16 * 1024;
/// How many bytes are gathered before they are uploaded.
const CHUNK_BYTES: usize = 1024 * 1024;
/// zstd's level for URLs: its fastest common one, because the caller waits.
const LEVEL: i32 = 1;

/// Takes a job's URLs one by one. To be used on a thread that may block; dropping it discards what was written.
pub struct UrlWriter {
    blobs: Blobs,
    job: JobId,
    policy: AddressPolicy,
    runtime: Handle,
    /// The JSON array of the task that is being filled.
    array: Vec<u8>,
    in_array: u32,
    /// Frames not yet uploaded.
    frames: Vec<u8>,
    /// Bytes uploaded before them.
    uploaded: u64,
    upload: Option<Upload>,
    tasks: Vec<NewTask>,
    count: u64,
    has_valid: bool,
}

impl UrlWriter {
    /// Begins. Must be called within a tokio runtime.
    pub(super) fn new(blobs: Blobs, job: JobId, policy: AddressPolicy) -> Self {
        Self {
            blobs,
            job,
            policy,
            runtime: Handle::current(),
            array: Vec::new(),
            in_array: 0,
            frames: Vec::new(),
            uploaded: 0,
            upload: None,
            tasks: Vec::new(),
            count: 0,
            has_valid: false,
        }
    }

    /// Adds a URL, valid or not: a malformed one among others gets a result that says so.
    ///
    /// # Errors
    /// When the blob storage fails.
    pub fn push(&mut self, url: &str) -> Result<(), JobsError> {
        // One valid URL is all that is asked of a job, so that only the first ones need be looked at.
        self.has_valid = self.has_valid || Url::parse(url).is_ok_and(|url| self.policy.check_url(&url).is_ok());
        self.array.push(if self.in_array == 0 { b'[' } else { b',' });
        serde_json::to_writer(&mut self.array, url).expect("a string can be written to memory");
        self.in_array += 1;
        self.count += 1;
        if self.in_array == URLS_PER_TASK {
            self.end_task()?;
        }
        Ok(())
    }

    /// How many URLs were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Tells whether any of them can be fetched, as far as can be seen without DNS.
    pub fn has_valid(&self) -> bool {
        self.has_valid
    }

    /// Makes the URLs durable.
    ///
    /// # Errors
    /// When the blob storage fails.
    pub fn finish(mut self) -> Result<NewWork, JobsError> {
        self.end_task()?;
        let tasks = std::mem::take(&mut self.tasks);
        if self.upload.is_none() && self.frames.len() <= INLINE_BYTES {
            let input = JobInput::Inline(std::mem::take(&mut self.frames));
            return Ok(NewWork::Listed { input, tasks });
        }
        self.flush()?;
        let upload = self.upload.take().expect("flushing began the upload");
        self.runtime.block_on(upload.finish())?;
        Ok(NewWork::Listed { input: JobInput::Blob(input_key(self.job)), tasks })
    }

    fn end_task(&mut self) -> Result<(), JobsError> {
        if self.in_array == 0 {
            return Ok(());
        }
        self.array.push(b']');
        let frame = zstd::bulk::compress(&self.array, LEVEL).expect("zstd compresses what fits in memory");
        self.tasks.push(NewTask {
            input_offset: self.uploaded + self.frames.len() as u64,
            input_bytes: u32::try_from(frame.len()).expect("the request limit keeps a frame below 4 GiB"),
            urls: self.in_array,
        });
        self.frames.extend_from_slice(&frame);
        self.array.clear();
        self.in_array = 0;
        if self.frames.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), JobsError> {
        let runtime = self.runtime.clone();
        runtime.block_on(async {
            if self.upload.is_none() {
                self.upload = Some(self.blobs.upload(&input_key(self.job)));
            }
            let upload = self.upload.as_mut().expect("it was just begun");
            upload.write(&self.frames).await
        })?;
        self.uploaded += self.frames.len() as u64;
        self.frames.clear();
        Ok(())
    }
}

impl Drop for UrlWriter {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            self.runtime.spawn(upload.abort());
        }
    }
}

/// Reads the URLs of a task, as submitted.
///
/// # Errors
/// When they cannot be read; [`BlobsError::Missing`] also when they are damaged.
pub async fn read_urls(
    blobs: &Blobs,
    lease: TaskLease,
    input: &TaskInput,
    count: u32,
) -> Result<Vec<String>, BlobsError> {
    let frame = match input {
        TaskInput::Found(urls) => return Ok(urls.iter().map(|found| found.url.clone()).collect()),
        TaskInput::Range { input: JobInput::Inline(bytes), .. } => Bytes::copy_from_slice(bytes),
        TaskInput::Range { input: JobInput::Blob(key), offset, bytes } => {
            blobs.get_range(key, *offset, (*bytes).into()).await?
        }
    };
    let urls: Option<Vec<String>> =
        zstd::stream::decode_all(&frame[..]).ok().and_then(|array| serde_json::from_slice(&array).ok());
    urls.filter(|urls| urls.len() == count as usize)
        .ok_or_else(|| BlobsError::Missing { key: format!("{} (task {}, damaged)", input_key(lease.job), lease.seq) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;

    async fn write(count: usize) -> (Blobs, JobInput, Vec<NewTask>) {
        let blobs = Blobs::over(Arc::new(object_store::memory::InMemory::new()));
        let mut writer = UrlWriter::new(blobs.clone(), JobId(Uuid::from_u128(1)), AddressPolicy::public_only());
        let urls = tokio::task::spawn_blocking(move || {
            for n in 0..count {
                writer.push(&format!("https://example.com/\"{n}\"\n/{}", n * 7919)).unwrap();
            }
            writer.finish().unwrap()
        });
        let NewWork::Listed { input, tasks } = urls.await.unwrap() else { panic!("it is a list") };
        (blobs, input, tasks)
    }

    #[tokio::test]
    async fn a_short_list_stays_in_the_row() {
        let (_, input, tasks) = write(101).await;
        assert!(matches!(input, JobInput::Inline(_)));
        assert_eq!(tasks.iter().map(|task| task.urls).collect::<Vec<_>>(), [100, 1]);
    }

    #[tokio::test]
    async fn a_long_list_is_uploaded_and_read_back_by_range() {
        let (blobs, input, tasks) = write(250_001).await;
        let JobInput::Blob(key) = &input else { panic!("it is too long for a row") };
        assert_eq!(tasks.len(), 2_501);
        for seq in [0, 1, 1_234, 2_500] {
            let task = tasks[seq];
            let frame = blobs.get_range(key, task.input_offset, task.input_bytes.into()).await.unwrap();
            let read: Vec<String> = serde_json::from_slice(&zstd::stream::decode_all(&frame[..]).unwrap()).unwrap();
            assert_eq!(read.len(), task.urls as usize);
            assert_eq!(read[0], format!("https://example.com/\"{}\"\n/{}", seq * 100, seq * 100 * 7919));
        }
    }

    #[tokio::test]
    async fn one_valid_url_is_enough() {
        let blobs = Blobs::over(Arc::new(object_store::memory::InMemory::new()));
        let mut writer = UrlWriter::new(blobs, JobId(Uuid::nil()), AddressPolicy::public_only());
        for url in ["", "nonsense", "file:///etc/passwd", "http://127.0.0.1/", "http://[::1]:80/"] {
            writer.push(url).unwrap();
            assert!(!writer.has_valid(), "{url}");
        }
        writer.push("http://example.com").unwrap();
        assert!(writer.has_valid());
    }
}
