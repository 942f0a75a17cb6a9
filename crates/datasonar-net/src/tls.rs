//! TLS: which roots are trusted, which protocols offered.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

/// A configuration for other clients than ours, such as a database's: Mozilla's roots, no application protocol.
///
/// # Errors
/// When the cryptography does not offer what TLS needs.
pub fn verifying_tls(extra_roots: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::clone(&Tls::new(extra_roots)?.http1);
    config.alpn_protocols.clear();
    Ok(Arc::new(config))
}

/// The two configurations: with HTTP/2 offered, and without.
pub(crate) struct Tls {
    pub(crate) any: Arc<ClientConfig>,
    pub(crate) http1: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts Mozilla's roots and `extra_roots`; speaks TLS 1.2 and 1.3.
    ///
    /// The cryptography is ring's, named here: the process-wide default belongs to whoever links us.
    pub(crate) fn new(extra_roots: &[CertificateDer<'static>]) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for root in extra_roots {
            roots.add(root.clone())?;
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = Arc::new(config.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { any: Arc::new(config), http1 })
    }
}
