//! A blob that is written piece by piece.
//!
//! What fits into one part is sent as one object when it is finished. More is sent as a multipart upload, two parts at a
//! time, and appears when it is completed. An upload that is broken off is aborted; the parts of one whose process died
//! stay behind, unseen, and are the bucket's to delete (a lifecycle rule) or the directory's (a file with a `#`).

use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart, path::Path};
use tokio::runtime::Handle;

use super::{BlobsError, Result};

/// How much is gathered before a multipart upload is begun: the least that S3 takes as a part.
const PART_BYTES: usize = 5 * 1024 * 1024;
/// How many parts may be on their way at once.
const PARTS: usize = 2;

/// A blob that is being written. Dropping it discards what was written.
pub struct Upload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// What was written before there were parts.
    first: Vec<u8>,
    parts: Option<WriteMultipart>,
    length: u64,
}

impl Upload {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path) -> Self {
        Self { store, path, first: Vec::new(), parts: None, length: 0 }
    }

    /// Adds bytes, waiting while too many are on their way.
    ///
    /// # Errors
    /// When the storage fails: then the upload can only be dropped.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.length += bytes.len() as u64;
        if self.parts.is_none() {
            if self.first.len() + bytes.len() <= PART_BYTES {
                self.first.extend_from_slice(bytes);
                return Ok(());
            }
            let upload = self.store.put_multipart(&self.path).await.map_err(BlobsError::new)?;
            let mut parts = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
            parts.put(std::mem::take(&mut self.first).into());
            self.parts = Some(parts);
        }
        let parts = self.parts.as_mut().expect("they were just begun");
        parts.wait_for_capacity(PARTS).await.map_err(BlobsError::new)?;
        parts.write(bytes);
        Ok(())
    }

    /// Makes the blob appear, durably.
    ///
    /// # Errors
    /// When the storage fails: then it does not appear, or nobody knows of it.
    pub async fn finish(mut self) -> Result<()> {
        let Some(parts) = self.parts.take() else {
            let bytes = std::mem::take(&mut self.first);
            self.store.put(&self.path, bytes.into()).await.map_err(BlobsError::new)?;
            return Ok(());
        };
        match parts.finish().await {
            Ok(_) => Ok(()),
            // A completion whose answer was lost is repeated, and then there is no such upload any more: the blob is there.
            Err(_) if self.store.head(&self.path).await.is_ok_and(|blob| blob.size == self.length) => Ok(()),
            Err(error) => Err(BlobsError::Unavailable(error.to_string())),
        }
    }

    /// Discards what was written.
    pub async fn abort(mut self) {
        if let Some(parts) = self.parts.take() {
            abort(parts).await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(parts), Ok(runtime)) = (self.parts.take(), Handle::try_current()) {
            runtime.spawn(abort(parts));
        }
    }
}

async fn abort(parts: WriteMultipart) {
    if let Err(error) = parts.abort().await {
        tracing::warn!(%error, "an upload that was broken off could not be aborted; its parts are left to the storage's rules");
    }
}
