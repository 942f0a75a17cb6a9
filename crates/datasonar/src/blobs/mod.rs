//! Bytes that are written once and read often: the inputs and the segments of jobs.
//!
//! A blob is durable before its key enters a row, so that a row never refers to what is not there; a blob whose row was
//! never written is an orphan and costs nothing but space until the janitor sweeps it. Every key begins with its job's
//! prefix, so that a job's blobs can be deleted without knowing them one by one.
//!
//! They are files of a directory, or objects of a bucket on any S3-compatible storage ([`S3Options`]). What fails for a moment
//! is tried again here, for about a minute; what still fails then is [`BlobsError::Unavailable`].

mod http;
mod list;
mod s3;
mod upload;

use std::{
    fmt,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use datasonar_store::JobId;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path};
use uuid::Uuid;

pub use s3::{Patience, S3Error, S3Options};
pub use upload::Upload;

use list::Listing;

use crate::files::create_private_dir;

/// Why bytes could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobsError {
    /// No such blob, or less of it than was asked for.
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
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    listing: Listing,
    /// What every key begins with in the storage.
    prefix: Path,
}

impl fmt::Debug for Blobs {
    /// Names the place: what is below may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blobs({} {})", self.store, self.prefix)
    }
}

impl Blobs {
    /// Keeps blobs as files below a directory, which is made if need be. Files and their directories are synced to disk
    /// before a write is answered.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn local(directory: &FilePath) -> Result<Self> {
        let fail = |error: std::io::Error| BlobsError::Unavailable(format!("{}: {error}", directory.display()));
        create_private_dir(directory).map_err(fail)?;
        let files = LocalFileSystem::new_with_prefix(directory).map_err(BlobsError::new)?.with_fsync(true);
        let listing = Listing::Directory(PathBuf::from(directory).join("jobs"));
        Ok(Self { store: Arc::new(files.with_automatic_cleanup(true)), listing, prefix: Path::default() })
    }

    /// Keeps blobs in a bucket. Asks nothing of it yet: [`S3Options::check`] does.
    ///
    /// # Errors
    /// When the variables do not say how to reach it.
    pub fn s3(options: &S3Options) -> Result<Self, S3Error> {
        let bucket = Arc::new(options.build(options.patience.retries())?);
        Ok(Self { store: bucket.clone(), listing: Listing::Pages(bucket), prefix: options.prefix() })
    }

    /// Uses any object store: for tests.
    pub fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, listing: Listing::AtOnce, prefix: Path::default() }
    }

    fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(Path::from(key).parts()).collect()
    }

    /// Writes a blob wholly or not at all; it is durable when this answers.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        self.store.put(&self.path(key), bytes.into()).await.map_err(BlobsError::new)?;
        Ok(())
    }

    /// Begins a blob that is written piece by piece. Nothing is sent until there is much of it, or it is finished.
    pub fn upload(&self, key: &str) -> Upload {
        Upload::new(self.store.clone(), self.path(key))
    }

    /// Reads a whole blob.
    ///
    /// # Errors
    /// When it is missing or the storage fails.
    pub async fn get(&self, key: &str) -> Result<Bytes> {
        let blob = self.store.get(&self.path(key)).await.map_err(BlobsError::new)?;
        blob.bytes().await.map_err(BlobsError::new)
    }

    /// Reads a part of a blob.
    ///
    /// # Errors
    /// When it is missing or shorter, or the storage fails.
    pub async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes> {
        let path = self.path(key);
        let missing = || BlobsError::Missing { key: path.to_string() };
        match self.store.get_range(&path, offset..offset + length).await {
            Ok(bytes) if bytes.len() as u64 == length => Ok(bytes),
            Ok(_) => Err(missing()),
            // A bucket says it by itself when a range begins after the end.
            Err(error) if matches!(self.listing, Listing::Pages(_)) => Err(BlobsError::new(error)),
            Err(error) => match self.store.head(&path).await {
                Ok(blob) if blob.size < offset + length => Err(missing()),
                _ => Err(BlobsError::new(error)),
            },
        }
    }

    /// Tells how long a blob is, without reading it.
    ///
    /// # Errors
    /// When it is missing or the storage fails.
    pub async fn length(&self, key: &str) -> Result<u64> {
        Ok(self.store.head(&self.path(key)).await.map_err(BlobsError::new)?.size)
    }

    /// Lists the jobs that have blobs, in no order, a page at a time. A job may be listed that loses its blobs meanwhile.
    pub fn jobs(&self) -> BoxStream<'static, Result<JobId>> {
        list::jobs(self.listing.clone(), self.store.clone(), self.path("jobs"))
    }

    /// Deletes all blobs of a job.
    ///
    /// # Errors
    /// When the storage fails; some may be deleted then.
    pub async fn delete_job(&self, job: JobId) -> Result<()> {
        let prefix = self.path(&format!("jobs/{job}"));
        let keys = self.store.list(Some(&prefix)).map_ok(|blob| blob.location).boxed();
        let mut deleted = self.store.delete_stream(keys);
        loop {
            match deleted.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                // Somebody else was faster.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(BlobsError::new(error)),
            }
        }
    }

    /// Writes a small blob, reads it, lists it and deletes it: whatever a server will do. Answers what could not be done.
    async fn probe(&self, id: Uuid) -> Result<(), (&'static str, object_store::Error)> {
        let (path, bytes) = (self.path(&format!("probe/{id}")), Bytes::from_static(b"datasonar"));
        self.store.put(&path, bytes.clone().into()).await.map_err(|error| ("write", error))?;
        let read = async { self.store.get(&path).await?.bytes().await };
        let read = read.await.map_err(|error| ("read", error))?;
        if read != bytes {
            let source = "it answers other bytes than were written".into();
            return Err(("read", object_store::Error::Generic { store: "S3", source }));
        }
        self.store.list(Some(&self.path("probe"))).try_next().await.map_err(|error| ("list", error))?;
        self.store.delete(&path).await.map_err(|error| ("delete", error))
    }
}

/// The key of a job's input.
pub fn input_key(job: JobId) -> String {
    format!("jobs/{job}/input")
}

/// The key of a segment: the epoch keeps apart what two holders of one task wrote.
pub fn segment_key(job: JobId, seq: u32, epoch: u32, first: u64) -> String {
    format!("jobs/{job}/segments/{seq}-{epoch}-{first}")
}
