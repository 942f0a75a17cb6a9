//! Which jobs have blobs: read page by page, so that there may be any number of them.

use std::{io, path::PathBuf, sync::Arc};

use datasonar_store::JobId;
use futures::{FutureExt, StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    ObjectStore,
    list::{PaginatedListOptions, PaginatedListStore},
    path::Path,
};

use super::{BlobsError, Result};

/// How the jobs of a storage are listed.
#[derive(Clone)]
pub(super) enum Listing {
    /// By pages of at most a thousand.
    Pages(Arc<dyn PaginatedListStore>),
    /// By the entries of a directory.
    Directory(PathBuf),
    /// All at once: in memory they are anyway.
    AtOnce,
}

/// Lists the jobs below `jobs`. What is no job's is passed over.
pub(super) fn jobs(listing: Listing, store: Arc<dyn ObjectStore>, jobs: Path) -> BoxStream<'static, Result<JobId>> {
    match listing {
        Listing::Pages(pages) => of_pages(pages, format!("{jobs}/")),
        Listing::Directory(directory) => of_directory(directory),
        Listing::AtOnce => {
            let listed = async move { store.list_with_delimiter(Some(&jobs)).await };
            let listed = listed.map(|listed| listed.map(|found| ids(found.common_prefixes)).map_err(BlobsError::new));
            listed.into_stream().try_flatten().boxed()
        }
    }
}

fn of_pages(pages: Arc<dyn PaginatedListStore>, prefix: String) -> BoxStream<'static, Result<JobId>> {
    let first = Some(None);
    let all = stream::try_unfold(first, move |at: Option<Option<String>>| {
        let (pages, prefix) = (pages.clone(), prefix.clone());
        async move {
            let Some(page_token) = at else { return Ok(None) };
            let options = PaginatedListOptions { delimiter: Some("/".into()), page_token, ..Default::default() };
            let page = pages.list_paginated(Some(&prefix), options).await.map_err(BlobsError::new)?;
            Ok(Some((ids(page.result.common_prefixes), page.page_token.map(Some))))
        }
    });
    all.try_flatten().boxed()
}

fn of_directory(directory: PathBuf) -> BoxStream<'static, Result<JobId>> {
    let fail = |error: io::Error| BlobsError::Unavailable(error.to_string());
    let entries = async move {
        match tokio::fs::read_dir(directory).await {
            Ok(entries) => Ok(Some(entries)),
            // Made with the first blob.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fail(error)),
        }
    };
    let names = entries.into_stream().map_ok(move |entries| {
        stream::try_unfold(entries, move |entries| async move {
            let Some(mut entries) = entries else { return Ok(None) };
            let next = entries.next_entry().await.map_err(fail)?;
            Ok(next.map(|entry| (entry.file_name(), Some(entries))))
        })
    });
    names.try_flatten().try_filter_map(async |name| Ok(name.to_str().and_then(|name| name.parse().ok()))).boxed()
}

fn ids(prefixes: Vec<Path>) -> impl futures::Stream<Item = Result<JobId>> {
    let jobs = prefixes.into_iter().filter_map(|prefix| prefix.filename()?.parse().ok());
    stream::iter(jobs.map(Ok))
}
