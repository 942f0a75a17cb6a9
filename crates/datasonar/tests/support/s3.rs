//! An S3 server of somebody else's making, in this process, with a layer in front that can be told to make trouble.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, body::Incoming, service::Service, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use parking_lot::Mutex;
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

pub(crate) const ACCESS_KEY: &str = "AKIATESTTESTTESTTEST";
pub(crate) const SECRET_KEY: &str = "a-secret-that-nobody-may-see";
pub(crate) const BUCKET: &str = "blobs";

type Answer = Result<Response<UnsyncBoxBody<Bytes, s3s::StdError>>, Broken>;

/// What goes wrong with the calls of clients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    Nothing,
    /// So many of a hundred calls fail, in turn: 500, 503, broken before they are done, after they are done, in the middle of the
    /// answer.
    Share(u64),
    /// Every call is refused with 503.
    Down,
    /// Every answer takes so long.
    Slow(Duration),
    /// No call is ever answered.
    Hang,
}

/// A running server with an empty bucket. Dropping it closes it.
pub(crate) struct S3 {
    directory: TempDir,
    address: SocketAddr,
    layer: Arc<Layer>,
    _accepting: JoinSet<()>,
}

struct Layer {
    server: S3Service,
    trouble: Mutex<Trouble>,
    calls: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug, thiserror::Error)]
#[error("the connection is broken on purpose")]
struct Broken;

impl S3 {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(directory.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let layer = Arc::new(Layer {
            server: builder.build(),
            trouble: Mutex::new(Trouble::Nothing),
            calls: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepting = JoinSet::new();
        let accepted = layer.clone();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(accepted.clone().serve(socket));
            }
        });
        Self { directory, address, layer, _accepting: accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a client's environment has.
    pub(crate) fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.url()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", "eu-west-1".to_owned()),
        ]
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        *self.layer.trouble.lock() = trouble;
    }

    /// How many calls there were, and how many of them failed on purpose.
    pub(crate) fn calls(&self) -> (u64, u64) {
        (self.layer.calls.load(Ordering::SeqCst), self.layer.failed.load(Ordering::SeqCst))
    }

    /// The names of the server's files below a folder of the bucket, and of its unfinished uploads.
    pub(crate) fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.directory.path().join(BUCKET).join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    }

    /// How many multipart uploads have parts that were neither completed nor aborted.
    pub(crate) fn unfinished_parts(&self) -> usize {
        let names = std::fs::read_dir(self.directory.path()).unwrap();
        names.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("part-")).count()
    }
}

impl Layer {
    async fn serve(self: Arc<Self>, socket: TcpStream) {
        // What is broken is reset, not merely closed.
        let _ = socket.set_zero_linger();
        let service = service_fn(move |request| self.clone().answer(request));
        let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let trouble = *self.trouble.lock();
        if !request.uri().path().starts_with(&format!("/{BUCKET}")) {
            // The server would make the bucket; no other does.
            return Ok(refusal(StatusCode::NOT_FOUND, "NoSuchBucket"));
        }
        match trouble {
            Trouble::Nothing => {}
            Trouble::Down => return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
            Trouble::Slow(pause) => tokio::time::sleep(pause).await,
            Trouble::Hang => std::future::pending().await,
            // Mixed, so that no pattern of a client's calls stays out of trouble.
            Trouble::Share(percent) if (call.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % 100 < percent => {
                return self.fail(request).await;
            }
            Trouble::Share(_) => {}
        }
        self.pass(request).await
    }

    async fn pass(&self, request: Request<Incoming>) -> Answer {
        let response = Service::call(&self.server, request).await.map_err(|_| Broken)?;
        Ok(response.map(BodyExt::boxed_unsync))
    }

    async fn fail(&self, request: Request<Incoming>) -> Answer {
        match self.failed.fetch_add(1, Ordering::SeqCst) % 5 {
            0 => Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
            1 => Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
            2 => Err(Broken),
            3 => {
                // To the end: an answer may begin before its work is done.
                self.pass(request).await?.into_body().collect().await.map_err(|_| Broken)?;
                Err(Broken)
            }
            _ => self.cut(request).await,
        }
    }

    /// Answers half of the body, then breaks the connection.
    async fn cut(&self, request: Request<Incoming>) -> Answer {
        let (mut head, body) = self.pass(request).await?.into_parts();
        let bytes = body.collect().await.map_err(|_| Broken)?.to_bytes();
        if bytes.is_empty() {
            // Nothing of it can be cut off. Its head may tell the length of what was not asked for.
            return Err(Broken);
        }
        head.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        let half = Ok(Frame::data(bytes.slice(..bytes.len() / 2)));
        let frames = futures::stream::iter([half, Err(s3s::StdError::from(Broken))]);
        Ok(Response::from_parts(head, StreamBody::new(frames).boxed_unsync()))
    }
}

fn refusal(status: StatusCode, code: &str) -> Response<UnsyncBoxBody<Bytes, s3s::StdError>> {
    let body = format!("<Error><Code>{code}</Code><Message>on purpose</Message></Error>");
    let body = Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {});
    Response::builder().status(status).body(body.boxed_unsync()).unwrap()
}
