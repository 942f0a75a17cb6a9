//! A site with pages that are to end whoever asks for them: it tells the test who asks, and answers nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::mpsc};

/// How a page that was given up is told of.
pub(crate) const GIVEN_UP: &str = "the page was given up after it ended two workers";

pub(crate) struct PoisonSite {
    port: u16,
    asking: mpsc::UnboundedReceiver<String>,
    hits: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl PoisonSite {
    /// Starts it. Paths that contain `poison` are.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asks, asking) = mpsc::unbounded_channel();
        let hits: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
        let counted = hits.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asks, counted) = (asks.clone(), counted.clone());
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(|request: Request<Incoming>| {
                        let (asks, counted) = (asks.clone(), counted.clone());
                        async move { Ok::<_, std::convert::Infallible>(answer(&request, &asks, &counted).await) }
                    });
                    let stream = TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
                });
            }
        });
        Self { port, asking, hits }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Waits until somebody asks for poison. Tells who: by the name that its agent goes by.
    pub(crate) async fn next(&mut self) -> String {
        self.asking.recv().await.unwrap()
    }

    pub(crate) fn hits(&self, path: &str) -> u32 {
        self.hits.lock().unwrap().get(path).copied().unwrap_or_default()
    }
}

async fn answer(
    request: &Request<Incoming>,
    asks: &mpsc::UnboundedSender<String>,
    hits: &Mutex<BTreeMap<String, u32>>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path == "/robots.txt" || path.contains("sitemap") {
        return Response::builder().status(404).body(Full::default()).unwrap();
    }
    *hits.lock().unwrap().entry(path.to_owned()).or_default() += 1;
    if path.contains("poison") {
        let agent = request.headers().get(header::USER_AGENT).unwrap().to_str().unwrap().to_owned();
        // The test is over when nobody hears of it.
        asks.send(agent).ok();
        std::future::pending::<()>().await;
    }
    let links: String = (0..12).map(|page| format!(r#"<p><a href="/linked/{page}">page {page}</a></p>"#)).collect();
    let links =
        if path == "/start" { format!(r#"{links}<p><a href="/linked/poison">x</a></p>"#) } else { String::new() };
    let page = format!("<html><title>{path}</title><main><p>This is the healthy page {path}.</p>{links}</main></html>");
    Response::builder().header(header::CONTENT_TYPE, "text/html").body(Full::new(page.into())).unwrap()
}
