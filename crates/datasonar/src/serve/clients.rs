//! The clients through which a server reaches out: for browsers, and for webhooks.

use std::path::{Path, PathBuf};

use datasonar_net::{AddressPolicy, Client, ClientOptions};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{Seams, StartError};
use crate::{
    config::Settings,
    render::{RenderSettings, Renderer},
    webhook::send,
};

/// Creates the renderer. Whatever its browsers request leaves through a client of its own.
pub(super) fn renderer(settings: &Settings, policy: &AddressPolicy, seams: &Seams) -> Result<Renderer, StartError> {
    let client = Client::new(client_options(policy, seams))?;
    let settings = RenderSettings {
        concurrency: settings.render_concurrency,
        browser: settings.render_browser.clone(),
        memory: settings.render_memory,
        user: settings.render_user.clone(),
        sandbox: settings.render_sandbox,
        data_dir: settings.data_dir.clone(),
        run_dir: run_dir(),
        user_agent: settings.fetch_user_agent.clone(),
    };
    Ok(Renderer::new(settings, client, seams.ids.clone()))
}

/// The run directory, as systemd gives it; the first, if there are several.
fn run_dir() -> Option<PathBuf> {
    let all = std::env::var("RUNTIME_DIRECTORY").ok()?;
    all.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
}

/// The client that webhooks are sent with.
pub(super) fn webhook_client(settings: &Settings, policy: &AddressPolicy, seams: &Seams) -> Result<Client, StartError> {
    let extra_roots = match &settings.webhook_ca_file {
        Some(path) => certificates(path)?,
        None => Vec::new(),
    };
    let user_agent = send::USER_AGENT.to_owned();
    Ok(Client::new(ClientOptions { user_agent, extra_roots, ..client_options(policy, seams) })?)
}

/// The options that all clients share: the policy, and the network that tests put in place of the real one.
pub(super) fn client_options(policy: &AddressPolicy, seams: &Seams) -> ClientOptions {
    let mut options = ClientOptions::new(policy.clone());
    if let Some(resolver) = &seams.resolver {
        options.resolver = resolver.clone();
    }
    if let Some(dialer) = &seams.dialer {
        options.dialer = dialer.clone();
    }
    options
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let fail = |reason: String| StartError::CaFile { path: path.to_owned(), reason };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| fail(error.to_string()))?;
    if certificates.is_empty() { Err(fail("it has none".to_owned())) } else { Ok(certificates) }
}
