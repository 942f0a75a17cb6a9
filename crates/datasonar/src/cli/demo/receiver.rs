//! An HTTPS endpoint with a certificate authority of its own. What it receives is written to files and hashed on the way,
//! so that a body of any size costs no memory.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use ring::{digest, hmac};
use rustls::{ServerConfig, crypto::ring::default_provider};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// What an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This status.
    Status(u16),
    /// Nothing, for ever.
    Hang,
}

/// A running endpoint. Dropping it stops it.
pub struct Receiver {
    address: SocketAddr,
    ca_file: PathBuf,
    received: Mutex<mpsc::UnboundedReceiver<Received>>,
    accepting: JoinHandle<()>,
}

/// A request that was received.
#[derive(Debug)]
pub struct Received {
    headers: HeaderMap,
    path: PathBuf,
    /// The length of its body.
    pub length: u64,
    /// SHA-256 of its body.
    pub sha256: Vec<u8>,
}

impl Received {
    /// A header's value; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The file that holds its body.
    pub fn body(&self) -> &Path {
        &self.path
    }

    /// Verifies both signatures with a secret, in constant time: any of those listed may be the secret's.
    ///
    /// # Errors
    /// When one of the two is missing or wrong.
    pub fn verify(&self, secret: &str) -> Result<()> {
        let encoded = secret.strip_prefix("whsec_").context("the secret is not one")?;
        let own = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let standard = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(encoded)?);
        let mut own = hmac::Context::with_key(&own);
        let mut signed = hmac::Context::with_key(&standard);
        signed.update(format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp")).as_bytes());
        let mut body = fs::File::open(&self.path)?;
        let mut chunk = vec![0; 256 * 1024];
        loop {
            let read = io::Read::read(&mut body, &mut chunk)?;
            if read == 0 {
                break;
            }
            own.update(&chunk[..read]);
            signed.update(&chunk[..read]);
        }
        let (own, signed) = (own.sign(), signed.sign());
        let is_own = self
            .header("x-datasonar-signature")
            .split(',')
            .filter_map(|one| hex::decode(one.strip_prefix("sha256=")?).ok())
            .any(|tag| is_equal(&tag, own.as_ref()));
        let is_signed = self
            .header("webhook-signature")
            .split(' ')
            .filter_map(|one| BASE64_STANDARD.decode(one.strip_prefix("v1,")?).ok())
            .any(|tag| is_equal(&tag, signed.as_ref()));
        match (is_own, is_signed) {
            (true, true) => Ok(()),
            (false, _) => bail!("X-Datasonar-Signature does not verify"),
            (_, false) => bail!("webhook-signature does not verify"),
        }
    }
}

/// Compares without telling by its time where the difference is: HMACs of both under a key that nobody knows.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let Ok(key) = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new()) else { return false };
    hmac::verify(&key, one, hmac::sign(&key, other).as_ref()).is_ok()
}

impl Receiver {
    /// Starts on a free port of loopback. Its authority's certificate and what it receives are written into `directory`.
    /// `answer` decides about the n-th request, counted from 0.
    ///
    /// # Errors
    /// When there is no port, or the directory cannot be written.
    pub async fn start(directory: &Path, answer: impl Fn(u32) -> Answer + Send + Sync + 'static) -> Result<Self> {
        let directory = directory.join("endpoint");
        fs::create_dir_all(&directory)?;
        let (ca_pem, acceptor) = certificates()?;
        let ca_file = directory.join("ca.pem");
        fs::write(&ca_file, ca_pem)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (sender, received) = mpsc::unbounded_channel();
        let endpoint = Arc::new(Endpoint { directory, sender, answer: Box::new(answer), count: AtomicU32::new(0) });
        let accepting = tokio::spawn(accept(listener, acceptor, endpoint));
        Ok(Self { address, ca_file, received: Mutex::new(received), accepting })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/callback", self.address.port())
    }

    /// The file with its authority's certificate.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Waits for the next request, which has been answered then. `None` when the endpoint has stopped.
    pub async fn next(&self) -> Option<Received> {
        self.received.lock().await.recv().await
    }

    /// The next request, if one is there already.
    pub async fn next_now(&self) -> Option<Received> {
        self.received.lock().await.try_recv().ok()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// An authority, and a certificate of its for `localhost`.
fn certificates() -> Result<(String, TlsAcceptor)> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "Datasonar demo authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &authority)?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    Ok((authority.pem(), TlsAcceptor::from(Arc::new(config))))
}

struct Endpoint {
    directory: PathBuf,
    sender: mpsc::UnboundedSender<Received>,
    answer: Box<dyn Fn(u32) -> Answer + Send + Sync>,
    count: AtomicU32,
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, endpoint: Arc<Endpoint>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, endpoint) = (acceptor.clone(), endpoint.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let endpoint = endpoint.clone();
                async move { endpoint.take(request).await }
            });
            // A client that goes away in the middle of a request will send it again.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Endpoint {
    async fn take(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let (head, mut body) = request.into_parts();
        let path = self.directory.join(format!("body-{number}"));
        let mut file = fs::File::create(&path)?;
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(io::Error::other)?;
            if let Some(bytes) = frame.data_ref() {
                file.write_all(bytes)?;
                hash.update(bytes);
                length += bytes.len() as u64;
            }
        }
        let status = match (self.answer)(number) {
            Answer::Hang => std::future::pending().await,
            Answer::Status(status) => StatusCode::from_u16(status).map_err(io::Error::other)?,
        };
        let received = Received { headers: head.headers, path, length, sha256: hash.finish().as_ref().to_vec() };
        // Nobody waits any more: nothing to tell.
        let _ = self.sender.send(received);
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = status;
        Ok(response)
    }
}
