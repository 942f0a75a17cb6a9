//! A server for a test, and how to talk to it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
pub(crate) use datasonar::cli::demo::receiver::Answer as Reply;
use datasonar::{
    cli::demo::{
        receiver::{Received, Receiver},
        site::{Site, SiteOptions},
    },
    clock::{Clock, Ids, ManualClock, SystemClock},
    config::Sources,
    serve::{self, Seams, StartError},
};
use datasonar_net::{AddressPolicy, BodySource, Client, ClientOptions, Dial, Resolve};
use datasonar_store::{
    Audit, AuditedTask, Totals,
    sqlite::{SqliteStore, Threading},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use rcgen::{Certificate, KeyPair};
use rustls::{ServerConfig, crypto::ring::default_provider};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const NAP: Duration = Duration::from_millis(10);

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited for {what} in vain");
        tokio::time::sleep(NAP).await;
    }
}

/// Serves HTTPS with a certificate.
pub(crate) fn acceptor(certificate: &Certificate, key: &KeyPair) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into());
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

/// The next request at an endpoint.
pub(crate) async fn next(receiver: &Receiver) -> Received {
    tokio::time::timeout(PATIENCE, receiver.next()).await.expect("no webhook came").unwrap()
}

/// Sends bytes and reads until the server closes.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.expect("the server does not close").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A site of small pages that all work.
pub(crate) async fn site(urls: usize) -> Site {
    Site::start(SiteOptions { urls, trouble: false, all_sizes: false, ..SiteOptions::default() }).await.unwrap()
}

/// A site of small pages with trouble: 3 redirects, 5 breaks off, 7 is a 404, 9 a 500, 11 fails once, 13 hesitates.
pub(crate) async fn troubled_site(urls: usize) -> Site {
    Site::start(SiteOptions { urls, trouble: true, all_sizes: false, ..SiteOptions::default() }).await.unwrap()
}

/// A page that never answers.
pub(crate) struct Silence {
    listener: std::net::TcpListener,
}

impl Silence {
    pub(crate) fn new() -> Self {
        // The system accepts connections on its behalf, and nobody reads them.
        Self { listener: std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.listener.local_addr().unwrap())
    }
}

/// A clock that stands still, at the present time.
pub(crate) fn clock() -> ManualClock {
    ManualClock::new(SystemClock.now())
}

/// How a server is to be.
pub(crate) struct Setup {
    directory: Arc<TempDir>,
    flags: Vec<(&'static str, String)>,
    variables: Vec<(String, String)>,
    clock: Option<ManualClock>,
    resolver: Option<Arc<dyn Resolve>>,
    dialer: Option<Arc<dyn Dial>>,
}

impl Setup {
    /// Loopback may be fetched from.
    pub(crate) fn new() -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let path = |name| directory.path().join(name).to_string_lossy().into_owned();
        let flags = vec![
            ("data_dir", path("data")),
            ("listen", "127.0.0.1:0".to_owned()),
            ("allow_private_networks", "127.0.0.0/8,::1/128".to_owned()),
            ("fetch_retries", "1".to_owned()),
        ];
        Self { directory, flags, variables: Vec::new(), clock: None, resolver: None, dialer: None }
    }

    /// A file of this test's own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Sets a setting.
    pub(crate) fn flag(mut self, name: &'static str, value: &str) -> Self {
        self.flags.retain(|(other, _)| *other != name);
        self.flags.push((name, value.to_owned()));
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the machine's time.
    pub(crate) fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Replaces the names and the wires.
    pub(crate) fn network(self, resolver: Arc<dyn Resolve>, dialer: Arc<dyn Dial>) -> Self {
        Self { resolver: Some(resolver), dialer: Some(dialer), ..self }
    }

    /// Starts an endpoint that the server will trust.
    pub(crate) async fn receiver(self, answer: impl Fn(u32) -> Reply + Send + Sync + 'static) -> (Self, Receiver) {
        let receiver = Receiver::start(self.directory.path(), answer).await.unwrap();
        let ca_file = receiver.ca_file().to_string_lossy().into_owned();
        (self.flag("webhook_ca_file", &ca_file), receiver)
    }

    /// Starts the server.
    pub(crate) async fn start(self) -> Server {
        let running = self.run().await;
        let keys = running.first_keys.clone().unwrap();
        Server::new(self, running, keys.production, keys.sandbox)
    }

    async fn run(&self) -> serve::Server {
        self.try_run().await.unwrap()
    }

    async fn try_run(&self) -> Result<serve::Server, StartError> {
        let sources = Sources::default().flags(self.flags.clone()).environment(self.variables.clone()).unwrap();
        let settings = sources.settings().unwrap();
        let mut seams = match &self.clock {
            Some(clock) => {
                let clock: Arc<dyn Clock> = Arc::new(clock.clone());
                Seams { ids: Ids::random(clock.clone()), clock, ..Seams::default() }
            }
            None => Seams::default(),
        };
        (seams.resolver, seams.dialer) = (self.resolver.clone(), self.dialer.clone());
        serve::start(settings, seams).await
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) production: String,
    pub(crate) sandbox: String,
    pub(crate) running: serve::Server,
    setup: Setup,
    client: Client,
}

impl Server {
    /// A server like any other.
    pub(crate) async fn start() -> Self {
        Setup::new().start().await
    }

    fn new(setup: Setup, running: serve::Server, production: String, sandbox: String) -> Self {
        let client = Client::new(ClientOptions::new(AddressPolicy::unrestricted())).unwrap();
        let url = format!("http://{}", running.address);
        Self { url, production, sandbox, running, setup, client }
    }

    /// Stops it and starts it again on the same data.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(|setup| setup).await
    }

    /// Stops it and starts it again on the same data, with what `change` does in between.
    pub(crate) async fn restart_with(self, change: impl FnOnce(Setup) -> Setup) -> Self {
        let Self { setup, running, production, sandbox, .. } = self;
        running.stop().await;
        let setup = change(setup);
        let running = setup.run().await;
        assert!(running.first_keys.is_none());
        Self::new(setup, running, production, sandbox)
    }

    /// Stops it and tries to start it again with what `change` does in between; tells why it does not.
    pub(crate) async fn refusal_with(self, change: impl FnOnce(Setup) -> Setup) -> String {
        let Self { setup, running, .. } = self;
        running.stop().await;
        change(setup).try_run().await.err().expect("it starts").to_string()
    }

    /// Stops it. Nothing may be owed any more, and the auditor finds nothing wrong.
    pub(crate) async fn finish(self) {
        let totals = self.running.app.store.totals().await.unwrap();
        let owed = Totals { deliveries_failed: 0, ..totals };
        assert_eq!(owed, Totals::default(), "something is owed");
        self.running.stop().await;
        let file = self.setup.directory.path().join("data/datasonar.db");
        let rows = SqliteStore::open(&file, Threading::Pool).await.unwrap();
        assert_eq!(rows.audited_strays().await.unwrap(), [""; 0]);
        for job in rows.audited_jobs(None, 10_000).await.unwrap() {
            assert_eq!(job.violations(), [""; 0], "{job:?}");
            let tasks = rows.audited_tasks(job.id, 0, 10_000).await.unwrap();
            let violations: Vec<String> = tasks.iter().flat_map(AuditedTask::violations).collect();
            assert_eq!(violations, [""; 0], "{}", job.id);
        }
        rows.close().await;
    }

    /// The files of this test.
    pub(crate) fn directory(&self) -> &Path {
        self.setup.directory.path()
    }

    /// Sends a request with the production key, unless it brings its own.
    pub(crate) async fn send(&self, call: Call) -> Answer {
        let mut headers = HeaderMap::new();
        if !call.headers.iter().any(|(name, _)| *name == "authorization") {
            headers.insert("authorization", format!("Bearer {}", self.production).parse().unwrap());
        }
        for (name, value) in &call.headers {
            if !value.is_empty() {
                headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
            }
        }
        let url = format!("{}{}", self.url, call.path).parse().unwrap();
        let body = call.body.map(BodySource::bytes);
        let exchange = async {
            let response = self.client.send(call.method.clone(), url, headers, body).await.unwrap();
            let (head, body) = response.into_parts();
            Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("no answer came");
        answer.check(&format!("{} {}", call.method, call.path));
        answer
    }

    /// GET with the production key.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Call::new(Method::GET, path)).await
    }

    /// GET with the production key, of a body without an end.
    pub(crate) async fn open(&self, path: &str) -> datasonar_net::ResponseBody {
        self.open_with(&self.production, path).await
    }

    /// The same with another key.
    pub(crate) async fn open_with(&self, key: &str, path: &str) -> datasonar_net::ResponseBody {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
        let url = format!("{}{path}", self.url).parse().unwrap();
        let response = self.client.send(Method::GET, url, headers, None).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body()
    }

    /// POST of JSON with the production key.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Call::post(path, body)).await
    }

    /// DELETE with the production key.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Call::new(Method::DELETE, path)).await
    }

    /// Queues a job and answers its id.
    pub(crate) async fn queue(&self, path: &str, body: &Value) -> String {
        let answer = self.post(path, body).await.is(202);
        assert_eq!(answer["status"], "queued");
        answer["job_id"].as_str().unwrap().to_owned()
    }

    /// Waits for a job to end.
    pub(crate) async fn ended(&self, job: &str) -> Value {
        let path = format!("/v1/jobs/{job}");
        until("the job's end", async || {
            let job = self.get(&path).await.is(200);
            matches!(job["status"].as_str(), Some("completed" | "failed")).then_some(job)
        })
        .await
    }

    /// Waits for a job's delivery to have a status and so many attempts.
    pub(crate) async fn delivery(&self, job: &str, status: &str, attempts: usize) -> Value {
        let path = format!("/v1/deliveries?job_id={job}");
        until("the delivery", async || {
            let list = self.get(&path).await.is(200);
            let delivery = list["data"].get(0)?;
            (delivery["status"] == status && delivery["attempts"].as_array()?.len() == attempts)
                .then(|| delivery.clone())
        })
        .await
    }

    /// The secret that signs now, in the production environment.
    pub(crate) async fn secret(&self) -> String {
        let secrets = self.get("/v1/webhooks/secrets").await.is(200);
        secrets["data"][0]["secret"].as_str().unwrap().to_owned()
    }
}

/// A request.
pub(crate) struct Call {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Bytes>,
}

impl Call {
    pub(crate) fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: None }
    }

    /// POST of JSON.
    pub(crate) fn post(path: &str, body: &Value) -> Self {
        Self::raw(path, body.to_string()).header("content-type", "application/json")
    }

    /// POST of bytes, without a content type.
    pub(crate) fn raw(path: &str, body: impl Into<Bytes>) -> Self {
        Self { body: Some(body.into()), ..Self::new(Method::POST, path) }
    }

    /// Adds a header; an empty authorization is none at all.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Goes elsewhere with what it has.
    pub(crate) fn to(self, method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), ..self }
    }

    /// Uses another key.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// What holds for every answer.
    fn check(&self, call: &str) {
        let id = self.header("x-request-id");
        uuid::Uuid::parse_str(id).unwrap_or_else(|_| panic!("{call}: X-Request-Id is `{id}`"));
        let is_page = self.header("content-type") == "application/json" && self.json()["time_ms"].is_u64();
        if self.status.is_success() || is_page {
            return;
        }
        assert_eq!(self.header("content-type"), "application/problem+json", "{call}: {self:?}");
        let problem = self.json();
        assert_eq!(problem["request_id"], id, "{call}");
        assert_eq!(problem["status"], self.status.as_u16(), "{call}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{call}: {problem}");
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its JSON, if it has this status.
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// It has this status and no body.
    #[track_caller]
    pub(crate) fn is_empty(&self, status: u16) {
        assert_eq!((self.status.as_u16(), self.body.len()), (status, 0), "{}", String::from_utf8_lossy(&self.body));
    }

    /// Its problem is 422, and one of its errors is that of a field. Answers what is wrong with it.
    #[track_caller]
    pub(crate) fn blames(&self, pointer: &str) -> String {
        let problem = self.is(422);
        let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("{problem}"));
        let error = errors.iter().find(|error| error["pointer"] == pointer);
        let error = error.unwrap_or_else(|| panic!("nothing is said of {pointer}: {problem}"));
        error["detail"].as_str().unwrap().to_owned()
    }
}
