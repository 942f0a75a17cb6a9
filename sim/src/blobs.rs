//! The blob storage as a process sees it: writes and reads may fail, be done and not answered, or be the last thing it does.

use std::{
    fmt::{self, Display},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

use crate::{host::Host, world::World};

/// The one blob storage, as one process sees it.
pub(crate) struct FaultyBlobs {
    pub(crate) blobs: Arc<InMemory>,
    pub(crate) host: Arc<Host>,
    pub(crate) world: Arc<World>,
}

fn failed(what: &'static str) -> Error {
    Error::Generic { store: "simulation", source: what.into() }
}

impl FaultyBlobs {
    async fn pass<T>(&self, name: &str, of: &(dyn Display + Sync), call: impl Future<Output = Result<T>>) -> Result<T> {
        let Self { host, world, .. } = self;
        host.living().await;
        world.dawdle(host.slow()).await;
        if !host.reaches_store().await {
            return Err(failed("it cannot be reached"));
        }
        host.living().await;
        let weather = &world.weather;
        if world.strikes(weather.dies_before) {
            world.note(&host.name, format_args!("dies before blobs.{name} {of}"));
            host.die().await;
        }
        if world.strikes(weather.blob_fails) {
            world.note(&host.name, format_args!("blobs.{name} {of} fails"));
            return Err(failed("the connection was refused"));
        }
        let result = call.await;
        world.note(&host.name, format_args!("blobs.{name} {of} {}", if result.is_ok() { "" } else { "failed" }));
        if world.strikes(weather.dies_after) {
            world.note(&host.name, format_args!("dies before it hears of blobs.{name}"));
            host.die().await;
        }
        if world.strikes(weather.blob_fails) {
            world.note(&host.name, format_args!("the answer to blobs.{name} {of} is lost"));
            return Err(failed("the connection was lost"));
        }
        result
    }
}

impl Display for FaultyBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty blobs")
    }
}

impl fmt::Debug for FaultyBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyBlobs")
    }
}

#[async_trait]
impl ObjectStore for FaultyBlobs {
    async fn put_opts(&self, at: &Path, bytes: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.pass("put", at, self.blobs.put_opts(at, bytes, options)).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.pass("upload", at, self.blobs.put_multipart_opts(at, options)).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.pass("get", at, self.blobs.get_opts(at, options)).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        self.pass("get", at, self.blobs.get_ranges(at, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.world.strikes(self.world.weather.blob_fails) {
            return futures::stream::once(async { Err(failed("the connection was refused")) }).boxed();
        }
        self.blobs.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.blobs.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.pass("list", &"", self.blobs.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.pass("copy", from, self.blobs.copy_opts(from, to, options)).await
    }
}
