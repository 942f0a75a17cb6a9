//! Copying blobs from one storage to another, a few at a time and piece by piece, so that neither their number nor their size
//! costs memory.
//!
//! What is there already with the right length is not sent again: a blob appears whole or not at all. What neither side has, or what the
//! source has with another hash than its row says, is told and left out.

use anyhow::{Result, bail};
use datasonar_store::{Movable, NamedBlob};
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use ring::digest;

use crate::blobs::{Blobs, BlobsError};

/// How many blobs are read from the rows at once.
const PAGE: u32 = 500;
/// How many are on their way at once.
const AT_ONCE: usize = 8;
/// How much of each is read at once.
const PIECE_BYTES: u64 = 1024 * 1024;

/// What was copied.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Copied {
    /// How many blobs are there now, and their bytes.
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// How many of them were sent by this run, and their bytes.
    pub(super) sent: u64,
    pub(super) sent_bytes: u64,
    /// How many are missing or damaged at the source.
    pub(super) damaged: u64,
}

/// What became of one.
enum Outcome {
    Sent(u64),
    There(u64),
    /// What is wrong with it at the source.
    Damaged(String),
}

/// Copies all blobs that rows of `rows` name. `tell` hears of each that is missing or damaged.
pub(super) async fn copy(
    rows: &dyn Movable,
    from: &Blobs,
    to: &Blobs,
    bar: &ProgressBar,
    tell: impl Fn(&str),
) -> Result<Copied> {
    let (mut copied, mut after) = (Copied::default(), None);
    loop {
        let page = rows.named_blobs(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(copied) };
        after = Some(last.place);
        let mut outcomes = stream::iter(page).map(|blob| copy_one(blob, from, to)).buffer_unordered(AT_ONCE);
        while let Some(outcome) = outcomes.try_next().await? {
            bar.inc(1);
            match outcome {
                Outcome::Damaged(what) => {
                    copied.damaged += 1;
                    bar.suspend(|| tell(&what));
                    continue;
                }
                Outcome::Sent(bytes) => {
                    copied.sent += 1;
                    copied.sent_bytes += bytes;
                    copied.bytes += bytes;
                }
                Outcome::There(bytes) => copied.bytes += bytes,
            }
            copied.count += 1;
        }
    }
}

async fn copy_one(blob: NamedBlob, from: &Blobs, to: &Blobs) -> Result<Outcome> {
    let NamedBlob { key, sha256, .. } = blob;
    let (here, there) = (length(from, &key).await?, length(to, &key).await?);
    let length = match (here, there) {
        (Some(here), there) if there != Some(here) => here,
        (_, Some(there)) => return Ok(Outcome::There(there)),
        (_, None) => return Ok(Outcome::Damaged(format!("the blob {key} is missing"))),
    };
    let mut upload = to.upload(&key);
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut offset = 0;
    while offset < length {
        let piece = from.get_range(&key, offset, PIECE_BYTES.min(length - offset)).await?;
        hash.update(&piece);
        upload.write(&piece).await?;
        offset += piece.len() as u64;
    }
    if sha256.is_some_and(|expected| hash.finish().as_ref() != expected) {
        upload.abort().await;
        return Ok(Outcome::Damaged(format!("the blob {key} is not what its row says: it is damaged")));
    }
    upload.finish().await?;
    match self::length(to, &key).await? {
        Some(found) if found == length => Ok(Outcome::Sent(length)),
        found => bail!("the blob {key} has {length} bytes, and {} where it was sent", found.unwrap_or(0)),
    }
}

/// How long a blob is; `None` where there is none.
async fn length(blobs: &Blobs, key: &str) -> Result<Option<u64>, BlobsError> {
    match blobs.length(key).await {
        Ok(length) => Ok(Some(length)),
        Err(BlobsError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
