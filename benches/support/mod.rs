//! What the benchmarks of deliveries share: endpoints on many addresses of loopback, and a store full of ended jobs.
#![allow(dead_code, reason = "each benchmark uses its part")]

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use datasonar::{
    blobs::Blobs,
    cli::demo::child::Child,
    clock::{Clock, Ids, SystemClock},
    crypto::sha256,
    jobs::{JobOptions, endpoint_host, segment::Gathering},
};
use datasonar_store::{
    ClaimTasks, DeliveryId, Discovery, FinishTask, JobId, JobInput, JobKind, NewJob, NewTask, NewWork, ProcessId,
    Store, Webhook,
    sqlite::{SqliteStore, Threading},
};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::{ServerConfig, crypto::ring::default_provider};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_datasonar");

/// Endpoints at `127.1.a.b`, one port and one certificate for all.
pub(crate) struct Endpoints {
    pub(crate) port: u16,
    pub(crate) ca: String,
    pub(crate) inbox: Arc<Inbox>,
}

/// What endpoints received.
#[derive(Default)]
pub(crate) struct Inbox {
    count: AtomicUsize,
    changed: Notify,
    hang: AtomicBool,
    /// How long they take to answer.
    delay: Duration,
    /// By job: when its body had arrived.
    pub(crate) times: Mutex<HashMap<String, Instant>>,
}

/// The n-th host of endpoints.
pub(crate) fn host(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, (n / 250) as u8, (n % 250 + 1) as u8)
}

impl Endpoints {
    /// Starts so many hosts. They answer 204 at once, or never, if they are to hang.
    pub(crate) async fn start(hosts: usize, hang: bool) -> Self {
        Self::with(hosts, Inbox { hang: AtomicBool::new(hang), ..Inbox::default() }).await
    }

    /// Starts so many hosts that answer 204 after so long.
    pub(crate) async fn slow(hosts: usize, delay: Duration) -> Self {
        Self::with(hosts, Inbox { delay, ..Inbox::default() }).await
    }

    async fn with(hosts: usize, inbox: Inbox) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let addresses = (0..hosts).map(|n| SanType::IpAddress(IpAddr::V4(host(n))));
        parameters.subject_alt_names.extend(addresses);
        let certificate = parameters.signed_by(&key, &authority).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inbox = Arc::new(inbox);
        tokio::spawn(accept(listener, acceptor, inbox.clone()));
        Self { port, ca: authority.pem(), inbox }
    }

    /// The URL of the n-th host.
    pub(crate) fn url(&self, n: usize) -> String {
        format!("https://{}:{}/hook", host(n), self.port)
    }
}

impl Inbox {
    /// Waits until so many bodies have arrived in all.
    pub(crate) async fn reach(&self, count: usize) {
        loop {
            let changed = self.changed.notified();
            if self.count.load(Ordering::Relaxed) >= count {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    async fn take(&self, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, hyper::Error> {
        let job = request.headers().get("x-datasonar-job-id").map(|id| id.to_str().unwrap().to_owned());
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        if self.hang.load(Ordering::Relaxed) {
            self.count.fetch_add(1, Ordering::Relaxed);
            self.changed.notify_waiters();
            std::future::pending::<()>().await;
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if let Some(job) = job {
            self.times.lock().unwrap().insert(job, Instant::now());
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
        Ok(Response::builder().status(204).body(Empty::new()).unwrap())
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, inbox: Arc<Inbox>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        tokio::spawn(connection(stream, acceptor.clone(), inbox.clone()));
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, inbox: Arc<Inbox>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request| {
        let inbox = inbox.clone();
        async move { inbox.take(request).await }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Starts the server on a directory with these settings; the endpoints' authority is trusted.
pub(crate) async fn server(data_dir: &Path, ca: &str, settings: &[(&str, &str)]) -> Child {
    std::fs::create_dir_all(data_dir).unwrap();
    let ca_file = data_dir.join("ca.pem");
    std::fs::write(&ca_file, ca).unwrap();
    let mut variables =
        vec![("DATASONAR_WEBHOOK_CA_FILE", ca_file.to_string_lossy().into_owned()), ("RUST_LOG", "warn".to_owned())];
    variables.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Child::start_program(Path::new(PROGRAM), data_dir, &variables).await.unwrap()
}

/// Fills the store of a server that is down with ended jobs, each with a body of some `bytes`, owed to these endpoints.
pub(crate) async fn seed(data_dir: &Path, key: &str, endpoints: impl Iterator<Item = String>, bytes: usize) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = Ids::random(clock.clone());
    let store: Arc<dyn Store> = SqliteStore::open(&data_dir.join("datasonar.db"), Threading::Pool).await.unwrap();
    let blobs = Blobs::local(&data_dir.join("blobs")).unwrap();
    let scope = store.authenticate(sha256(key.as_bytes())).await.unwrap().unwrap().scope;
    let mut submitted = 0;
    let mut submitting = tokio::task::JoinSet::new();
    for url in endpoints {
        let page = b"https://example.com/\n".to_vec();
        let task = NewTask { input_offset: 0, input_bytes: page.len() as u32, urls: 1 };
        let job = NewJob {
            id: JobId(ids.uuid()),
            scope,
            kind: JobKind::Scrape,
            options: serde_json::to_string(&JobOptions::default()).unwrap(),
            webhook: Some(Webhook { host: endpoint_host(&url), url }),
            work: NewWork::Listed { input: JobInput::Inline(page), tasks: vec![task] },
            created_at: clock.now(),
            idempotency: None,
            allowance: None,
        };
        let store = store.clone();
        submitting.spawn(async move { store.submit_job(job).await.unwrap() });
        submitted += 1;
        if submitting.len() > 500 {
            submitting.join_next().await.unwrap().unwrap();
        }
    }
    submitting.join_all().await;

    let owner = ProcessId(ids.uuid());
    let json = Bytes::from(format!(r#"{{"url":"https://example.com/","content":"{}"}}"#, text(bytes, &ids)));
    while submitted > 0 {
        let claim = ClaimTasks {
            owner,
            limit: 200,
            per_job: 200,
            held: Vec::new(),
            newcomers_only: false,
            rooms: Vec::new(),
            isolated: 0,
            isolated_held: Vec::new(),
            now: clock.now(),
            lease: Duration::from_secs(600),
        };
        let mut finishing = tokio::task::JoinSet::new();
        for task in store.claim_tasks(claim).await.unwrap() {
            let (store, blobs, json, clock, ids) =
                (store.clone(), blobs.clone(), json.clone(), clock.clone(), ids.clone());
            submitted -= 1;
            finishing.spawn(async move {
                let mut gathering = Gathering::new(task.first, task.urls);
                gathering.take(0, json);
                let run = gathering.drain().pop().unwrap();
                let finish = FinishTask {
                    lease: task.lease,
                    segments: vec![run.write(&blobs, task.lease).await.unwrap()],
                    succeeded: 1,
                    failed: 0,
                    errors: Vec::new(),
                    time_ms: 0,
                    page_error: None,
                    dropped: Vec::new(),
                    discovery: Discovery::default(),
                    delivery: DeliveryId(ids.uuid()),
                    now: clock.now(),
                    retention: Duration::from_secs(86_400),
                };
                store.finish_task(finish).await.unwrap();
            });
        }
        finishing.join_all().await;
    }
}

/// Words that compress as pages do.
pub(crate) fn text(bytes: usize, ids: &Ids) -> String {
    const WORDS: [&str; 10] =
        ["harbour", "signal", "quarterly", "lantern", "orchard", "measure", "between", "copper", "winter", "of"];
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.push_str(WORDS[(ids.fraction() * WORDS.len() as f64) as usize]);
        text.push(' ');
    }
    text
}

/// The value below which a share of all lies.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}
