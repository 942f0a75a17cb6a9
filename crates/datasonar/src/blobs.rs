//! Bytes that are written once and read often: the inputs and the segments of jobs.
//!
//! A blob is durable before its key enters a row, so that a row never refers to what is not there; a blob whose row was
//! never written is an orphan and costs nothing but space until the janitor sweeps it. Every key begins with its job's
//! prefix, so that a job's blobs can be deleted without knowing them one by one.

use std::{path::Path as FilePath, sync::Arc};

use bytes::Bytes;
use datasonar_store::JobId;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart, local::LocalFileSystem, path::Path};

/// Why bytes could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobsError {
    /// No such blob.
    #[error("blob {key} is missing")]
    Missing {
        /// Its key.
        key: String,
    },
    /// The storage failed, for now or for good.
    #[error("the blob storage is unavailable: {0}")]
    Unavailable(String),
}

impl BlobsError {
    fn new(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { path, .. } => Self::Missing { key: path },
            other => Self::Unavailable(other.to_string()),
        }
    }
}

type Result<T, E = BlobsError> = std::result::Result<T, E>;

/// The storage of blobs.
#[derive(Clone, Debug)]
pub struct Blobs(Arc<dyn ObjectStore>);

impl Blobs {
    /// Keeps blobs as files below a directory, which is made if need be. Files and their directories are synced to disk
    /// before a write is answered.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn local(directory: &FilePath) -> Result<Self> {
        std::fs::create_dir_all(directory).map_err(|error| BlobsError::Unavailable(error.to_string()))?;
        let files = LocalFileSystem::new_with_prefix(directory).map_err(BlobsError::new)?.with_fsync(true);
        Ok(Self(Arc::new(files.with_automatic_cleanup(true))))
    }

    /// Uses any object store: for tests.
    pub fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self(store)
    }

    /// Writes a blob wholly or not at all; it is durable when this answers.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        self.0.put(&Path::from(key), bytes.into()).await.map_err(BlobsError::new)?;
        Ok(())
    }

    /// Begins a blob that is written piece by piece.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn upload(&self, key: &str) -> Result<Upload> {
        let upload = self.0.put_multipart(&Path::from(key)).await.map_err(BlobsError::new)?;
        Ok(Upload(WriteMultipart::new(upload)))
    }

    /// Reads a whole blob.
    ///
    /// # Errors
    /// When it is missing or the storage fails.
    pub async fn get(&self, key: &str) -> Result<Bytes> {
        let blob = self.0.get(&Path::from(key)).await.map_err(BlobsError::new)?;
        blob.bytes().await.map_err(BlobsError::new)
    }

    /// Reads a part of a blob.
    ///
    /// # Errors
    /// When it is missing or shorter, or the storage fails.
    pub async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes> {
        let bytes = self.0.get_range(&Path::from(key), offset..offset + length).await.map_err(BlobsError::new)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(BlobsError::Missing { key: key.to_owned() }) }
    }

    /// Lists the jobs that have blobs.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn jobs(&self) -> Result<impl Stream<Item = Result<JobId>>> {
        let listed = self.0.list_with_delimiter(Some(&Path::from("jobs"))).await.map_err(BlobsError::new)?;
        let jobs = listed.common_prefixes.into_iter().filter_map(|prefix| prefix.filename()?.parse().ok());
        Ok(stream::iter(jobs.map(Ok)))
    }

    /// Deletes all blobs of a job.
    ///
    /// # Errors
    /// When the storage fails; some may be deleted then.
    pub async fn delete_job(&self, job: JobId) -> Result<()> {
        let keys = self.0.list(Some(&job_prefix(job))).map_ok(|blob| blob.location).boxed();
        self.0.delete_stream(keys).try_for_each(async |_| Ok(())).await.map_err(BlobsError::new)
    }
}

/// A blob that is being written. Dropping it discards what was written.
pub struct Upload(WriteMultipart);

impl Upload {
    /// Adds bytes, waiting while too many are on their way.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.wait_for_capacity(2).await.map_err(BlobsError::new)?;
        self.0.write(bytes);
        Ok(())
    }

    /// Makes the blob appear, durably.
    ///
    /// # Errors
    /// When the storage fails: then it does not appear.
    pub async fn finish(self) -> Result<()> {
        self.0.finish().await.map_err(BlobsError::new)?;
        Ok(())
    }

    /// Discards what was written.
    pub async fn abort(self) {
        if let Err(error) = self.0.abort().await {
            tracing::debug!(%error, "an abandoned upload was left to the sweep");
        }
    }
}

fn job_prefix(job: JobId) -> Path {
    Path::from(format!("jobs/{job}"))
}

/// The key of a job's input.
pub fn input_key(job: JobId) -> String {
    format!("jobs/{job}/input")
}

/// The key of a segment: the epoch keeps apart what two holders of one task wrote.
pub fn segment_key(job: JobId, seq: u32, epoch: u32, first: u64) -> String {
    format!("jobs/{job}/segments/{seq}-{epoch}-{first}")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_back_and_deleted_by_job() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(&directory.path().join("blobs")).unwrap();
        let (job, other) = (JobId(Uuid::from_u128(1)), JobId(Uuid::from_u128(2)));
        blobs.put(&segment_key(job, 0, 1, 0), b"segment".to_vec()).await.unwrap();
        blobs.put(&input_key(other), b"other".to_vec()).await.unwrap();
        let mut upload = blobs.upload(&input_key(job)).await.unwrap();
        for _ in 0..100 {
            upload.write(&[7; 200_000]).await.unwrap();
        }
        upload.finish().await.unwrap();

        assert_eq!(&blobs.get(&segment_key(job, 0, 1, 0)).await.unwrap()[..], b"segment");
        assert_eq!(&blobs.get_range(&input_key(job), 19_999_990, 10).await.unwrap()[..], [7; 10]);
        assert!(blobs.get_range(&input_key(job), 19_999_990, 11).await.is_err());

        blobs.delete_job(job).await.unwrap();
        assert!(matches!(blobs.get(&input_key(job)).await, Err(BlobsError::Missing { .. })));
        assert_eq!(&blobs.get(&input_key(other)).await.unwrap()[..], b"other");
    }
}
