//! The endpoints' certificate, and the authority that the processes are told to trust.
//!
//! Made once for all seeds, by chance: handshakes differ in their bytes from run to run, and neither in their order nor in
//! their lengths (signatures by Ed25519 have one length, and no tickets are given).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ED25519};
use rustls::{ServerConfig, server::NoServerSessionStorage};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

struct Authority {
    acceptor: TlsAcceptor,
    directory: TempDir,
}

fn shared() -> &'static Authority {
    static SHARED: OnceLock<Authority> = OnceLock::new();
    SHARED.get_or_init(|| make().expect("certificates can be made and written"))
}

/// Where the authority's certificate is.
pub(crate) fn authority() -> PathBuf {
    file(shared().directory.path())
}

pub(super) fn acceptor() -> TlsAcceptor {
    shared().acceptor.clone()
}

fn file(directory: &Path) -> PathBuf {
    directory.join("authority.pem")
}

fn make() -> anyhow::Result<Authority> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key)?;
    let issuer = Issuer::from_params(&params, &key);

    let own = KeyPair::generate_for(&PKCS_ED25519)?;
    let leaf = CertificateParams::new(vec!["*.hooks.example".to_owned()])?.signed_by(&own, &issuer)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der())),
        )?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![b"http/1.1".to_vec()];

    let directory = tempfile::tempdir()?;
    std::fs::write(file(directory.path()), root.pem())?;
    Ok(Authority { acceptor: TlsAcceptor::from(Arc::new(config)), directory })
}
