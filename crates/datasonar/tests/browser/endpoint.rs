//! Endpoints for callbacks, with a certificate of their own: what one does is its path. Their answers are as hostile as they can be.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode},
    routing::post,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::server::acceptor;

/// What would run if it were not shown as text.
const BODY: &str = "<!doctype html><title>503</title><script>throw new Error('hostile')</script>\n<img src=x onerror=alert(1)>\
    \u{202e}Service Unavailable: upstream connect error or disconnect/reset before headers. reset reason: connection failure";

/// A server of endpoints. Dropping it closes its port.
pub(crate) struct Endpoints {
    port: u16,
    is_mended: Arc<AtomicBool>,
    /// The file with its certificate.
    pub(crate) ca_file: PathBuf,
    _accepting: AbortOnDropHandle<()>,
}

impl Endpoints {
    pub(crate) async fn start(directory: &Path) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let ca_file = directory.join("endpoint.pem");
        fs::write(&ca_file, cert.pem()).unwrap();
        let acceptor = acceptor(&cert, &signing_key);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_mended = Arc::new(AtomicBool::new(false));
        let router = Router::new()
            .route("/works/{*rest}", post(async || StatusCode::NO_CONTENT))
            .route("/hangs/{*rest}", post(std::future::pending::<StatusCode>))
            .route("/gone/{*rest}", post(async || StatusCode::GONE))
            .fallback(broken)
            .with_state(is_mended.clone());
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, acceptor, router)));
        Self { port, is_mended, ca_file, _accepting: accepting }
    }

    /// The endpoint that does what the first part of its path says: `works`, `hangs`, `gone`; any other is broken.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.port)
    }

    /// Broken ones work from now on.
    pub(crate) fn mend(&self) {
        self.is_mended.store(true, Ordering::SeqCst);
    }
}

async fn broken(State(is_mended): State<Arc<AtomicBool>>) -> (StatusCode, HeaderMap, &'static str) {
    if is_mended.load(Ordering::SeqCst) {
        return (StatusCode::OK, HeaderMap::new(), "{\"ok\":true}");
    }
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert("x-hostile", HeaderValue::from_static("\"><script>alert(1)</script>"));
    let long = "policy=".to_owned() + &"0123456789abcdef".repeat(40);
    headers.insert("x-a-header-with-a-rather-long-name-and-a-longer-value", long.parse().unwrap());
    (StatusCode::SERVICE_UNAVAILABLE, headers, BODY)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, router: Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            // Whoever breaks off has nothing to be told.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
