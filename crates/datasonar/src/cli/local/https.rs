//! HTTPS with a certificate authority of its own, made for one run and forgotten with it.

use std::{future::Future, io, net::IpAddr, sync::Arc};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::ring::default_provider};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::each_connection;

/// An authority that has signed one certificate. Its private key is gone.
pub(in crate::cli) struct Authority {
    /// Its own certificate, for those who are to trust it.
    pub(in crate::cli) pem: String,
    /// Serves with the certificate that it signed.
    pub(in crate::cli) acceptor: TlsAcceptor,
}

impl Authority {
    /// Makes an authority, and a certificate of its for `localhost` and these addresses.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub(in crate::cli) fn make(name: &str, addresses: &[IpAddr]) -> Result<Self> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, name);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names: Vec<String> =
            std::iter::once("localhost".to_owned()).chain(addresses.iter().map(IpAddr::to_string)).collect();
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
        Ok(Self { pem: authority.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

/// Answers the requests that come to an endpoint.
pub(in crate::cli) trait Endpoint: Send + Sync + 'static {
    /// Answers a request. An error closes the connection.
    fn take(&self, request: Request<Incoming>) -> impl Future<Output = io::Result<Response<Full<Bytes>>>> + Send;

    /// Hears of a connection that ended before it was secure.
    fn refused(&self, _error: &io::Error) {}
}

/// Serves HTTPS. Never ends; dropping it ends every connection.
pub(in crate::cli) async fn serve_https(listener: TcpListener, acceptor: TlsAcceptor, endpoint: Arc<impl Endpoint>) {
    each_connection(listener, |stream| {
        let (acceptor, endpoint) = (acceptor.clone(), endpoint.clone());
        async move {
            let stream = match acceptor.accept(stream).await {
                Ok(stream) => stream,
                Err(error) => return endpoint.refused(&error),
            };
            let service = service_fn(move |request| {
                let endpoint = endpoint.clone();
                async move { endpoint.take(request).await }
            });
            // A client that goes away in the middle of a request will send it again.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await;
}
