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
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use jiff::Timestamp;
use ring::digest;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

use crate::{
    cli::local::{Authority, Endpoint, Signature, Verifier, decode, serve_https, text},
    clock::{Clock, SystemClock},
};

/// What an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This status.
    Status(u16),
    /// Nothing, for ever.
    Hang,
}

/// A running endpoint. Dropping it closes its port and its connections.
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
    /// When its head had arrived.
    pub began: Timestamp,
    /// When its last byte had arrived.
    pub ended: Timestamp,
    /// The length of its body.
    pub length: u64,
    /// SHA-256 of its body.
    pub sha256: Vec<u8>,
}

impl Received {
    /// A header's value; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        text(&self.headers, name)
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
        decode(secret).context("the secret is not one")?;
        let mut verifier = Verifier::new(&[secret.to_owned()], &self.headers);
        let mut body = fs::File::open(&self.path)?;
        let mut chunk = vec![0; 256 * 1024];
        loop {
            let read = io::Read::read(&mut body, &mut chunk)?;
            if read == 0 {
                break;
            }
            verifier.update(&chunk[..read]);
        }
        let verdicts = verifier.finish(&self.headers);
        match (verdicts.own, verdicts.standard) {
            (Signature::Valid, Signature::Valid) => Ok(()),
            (Signature::Valid, _) => bail!("webhook-signature does not verify"),
            (_, _) => bail!("X-Datasonar-Signature does not verify"),
        }
    }
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
        let authority = Authority::make("Datasonar demo authority", &[])?;
        let ca_file = directory.join("ca.pem");
        fs::write(&ca_file, authority.pem)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (sender, received) = mpsc::unbounded_channel();
        let endpoint = Arc::new(Inbox { directory, sender, answer: Box::new(answer), count: AtomicU32::new(0) });
        let accepting = tokio::spawn(serve_https(listener, authority.acceptor, endpoint));
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

    /// Waits for the next request that has arrived whole; its answer follows at once, if there is one. `None` when the endpoint has stopped.
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

struct Inbox {
    directory: PathBuf,
    sender: mpsc::UnboundedSender<Received>,
    answer: Box<dyn Fn(u32) -> Answer + Send + Sync>,
    count: AtomicU32,
}

impl Endpoint for Inbox {
    async fn take(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let began = SystemClock.now();
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
        let sha256 = hash.finish().as_ref().to_vec();
        let received = Received { headers: head.headers, path, began, ended: SystemClock.now(), length, sha256 };
        // Nobody waits any more: nothing to tell.
        let _ = self.sender.send(received);
        let status = match (self.answer)(number) {
            Answer::Hang => std::future::pending().await,
            Answer::Status(status) => StatusCode::from_u16(status).map_err(io::Error::other)?,
        };
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = status;
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use datasonar_net::{AddressPolicy, BodySource, Client, ClientOptions, PostRequest};
    use http::HeaderName;
    use rustls_pki_types::{CertificateDer, pem::PemObject};

    use super::*;

    /// The example that the Standard Webhooks libraries are tested with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &str = r#"{"test": 2432232314}"#;
    const SIGNED: [(&str, &str); 4] = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ("x-datasonar-signature", "sha256=OWN"),
    ];

    /// What `openssl dgst -sha256 -hmac whsec_…` makes of the body.
    const OWN: &str = "80ec8a89ce3cd22133a1066caecb4d04fea7467657c8514d717ec42c38a5c94c";

    fn received(directory: &Path, body: &str, change: impl Fn(&str, String) -> String) -> Received {
        let path = directory.join("body");
        fs::write(&path, body).unwrap();
        let headers = SIGNED.map(|(name, value)| {
            (HeaderName::from_static(name), change(name, value.replace("OWN", OWN)).parse().unwrap())
        });
        let now = SystemClock.now();
        let headers = HeaderMap::from_iter(headers);
        Received { headers, path, began: now, ended: now, length: body.len() as u64, sha256: Vec::new() }
    }

    #[test]
    fn published_signatures_verify() {
        let directory = tempfile::tempdir().unwrap();
        received(directory.path(), BODY, |_, value| value).verify(SECRET).unwrap();
        // While two secrets are active there are two signatures of each kind; one is enough, wherever it stands.
        let two = |name: &str, value: String| match name {
            "webhook-signature" => format!("v1,AAAA {value}"),
            "x-datasonar-signature" => format!("sha256=00,{value}"),
            _ => value,
        };
        received(directory.path(), BODY, two).verify(SECRET).unwrap();
    }

    #[test]
    fn whatever_was_changed_does_not_verify() {
        let directory = tempfile::tempdir().unwrap();
        let sound = received(directory.path(), BODY, |_, value| value);
        assert!(sound.verify("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx").is_err());
        assert!(sound.verify("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_err());
        assert!(received(directory.path(), "{}", |_, value| value).verify(SECRET).is_err());
        for (changed, to) in [
            ("webhook-id", "msg_other"),
            ("webhook-timestamp", "1614265331"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="),
            ("webhook-signature", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            ("webhook-signature", "v1,"),
            ("x-datasonar-signature", ""),
            ("x-datasonar-signature", "sha256="),
            ("x-datasonar-signature", OWN),
        ] {
            let change = |name: &str, value: String| if name == changed { to.to_owned() } else { value };
            assert!(received(directory.path(), BODY, change).verify(SECRET).is_err(), "{changed}: {to}");
        }
    }

    fn client(receiver: &Receiver) -> Client {
        let root = CertificateDer::from_pem_file(receiver.ca_file()).unwrap();
        let options = ClientOptions { extra_roots: vec![root], ..ClientOptions::new(AddressPolicy::unrestricted()) };
        Client::new(options).unwrap()
    }

    fn post(receiver: &Receiver, body: &[u8]) -> PostRequest {
        PostRequest::new(receiver.url().parse().unwrap(), HeaderMap::new(), BodySource::bytes(body.to_vec()))
    }

    #[tokio::test]
    async fn it_answers_as_told_and_keeps_what_it_received() {
        let directory = tempfile::tempdir().unwrap();
        let answer = |n| Answer::Status(if n < 2 { 503 } else { 204 });
        let receiver = Receiver::start(directory.path(), answer).await.unwrap();
        let client = client(&receiver);
        let body: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        for expected in [503, 503, 204] {
            let answer = client.post(post(&receiver, &body)).await.result.unwrap();
            assert_eq!(answer.status, expected);
            let received = receiver.next().await.unwrap();
            assert_eq!(received.length, body.len() as u64);
            assert_eq!(received.sha256, digest::digest(&digest::SHA256, &body).as_ref());
            assert_eq!(fs::read(received.body()).unwrap(), body);
            assert_eq!(received.header("content-length"), "3000000");
            assert!(received.began <= received.ended);
        }
        assert!(receiver.next_now().await.is_none());
    }

    #[tokio::test]
    async fn it_can_hang_and_is_known_only_to_those_who_trust_it() {
        let directory = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(directory.path(), |_| Answer::Hang).await.unwrap();
        let stranger = Client::new(ClientOptions::new(AddressPolicy::unrestricted())).unwrap();
        let refused = stranger.post(post(&receiver, b"{}")).await.result.unwrap_err();
        assert_eq!(refused.code(), "certificate_untrusted");
        let client = client(&receiver);
        let request = post(&receiver, b"{}");
        let hanging = tokio::spawn(async move { client.post(request).await });
        assert_eq!(receiver.next().await.unwrap().length, 2);
        assert!(!hanging.is_finished());
        // The connection goes with the endpoint.
        drop(receiver);
        assert!(hanging.await.unwrap().result.is_err());
    }
}
