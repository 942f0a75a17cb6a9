//! The blob storage that the settings name: files in the data directory or elsewhere, or a bucket.

use crate::{
    blobs::{Blobs, BlobsError, Patience, S3Error, S3Options},
    clock::Ids,
    config::{BlobUrl, Settings},
};

/// Why there is no blob storage.
#[derive(Debug, thiserror::Error)]
pub enum BytesError {
    /// The directory cannot be used.
    #[error(transparent)]
    Files(#[from] BlobsError),
    /// The bucket cannot be used.
    #[error(transparent)]
    S3(#[from] S3Error),
}

/// Opens the blob storage, without trying whether it works.
///
/// # Errors
/// When it is not named rightly, or is a directory that cannot be made.
pub fn open_blobs(settings: &Settings) -> Result<Blobs, BytesError> {
    match (&settings.blob_url, s3(settings)) {
        (_, Some(options)) => Ok(Blobs::s3(&options)?),
        (Some(BlobUrl::Directory(directory)), None) => Ok(Blobs::local(directory)?),
        (_, None) => Ok(Blobs::local(&settings.data_dir.join("blobs"))?),
    }
}

/// Opens the blob storage, and tries a bucket before anything is asked of it.
///
/// # Errors
/// When it is not named rightly, or does not do what a server needs.
pub async fn open_checked(settings: &Settings, ids: &Ids) -> Result<Blobs, BytesError> {
    if let Some(options) = s3(settings) {
        options.check(ids.uuid()).await?;
    }
    open_blobs(settings)
}

fn s3(settings: &Settings) -> Option<S3Options> {
    let Some(BlobUrl::S3 { bucket, prefix }) = settings.blob_url.clone() else { return None };
    Some(S3Options { bucket, prefix, variables: settings.aws.clone(), patience: Patience::default() })
}
