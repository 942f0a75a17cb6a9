//! `datasonar listen`: callbacks on a developer's own machine.
//!
//! Two ways. Without `--forward-to` it is an HTTPS endpoint ([`receiver`]) that shows and verifies what a server delivers to
//! it. With `--forward-to` it opens no port: it follows a server's jobs over the API ([`feed`]) and POSTs to a program under
//! development what a delivery would have brought it ([`forward`]). It never reports anything back: what it passes on is no
//! attempt of a delivery.

mod feed;
mod forward;
mod forward_report;
mod receiver;
mod report;
mod secrets;
mod start;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;
use url::Url;

use super::{args::StoreArgs, client::Server, local::decode};

/// Receives callbacks and shows them, each signature verified. With --forward-to it passes on the callbacks of all jobs
/// that end to a program on this machine, so that no public HTTPS endpoint is needed.
#[derive(Args)]
pub(super) struct ListenArgs {
    /// Receive nothing, but POST the callback of each job that ends there, signed as a real one; needs an API key
    #[arg(long, value_name = "URL", value_parser = http_url)]
    #[arg(conflicts_with_all = ["listen", "secrets", "status", "delay", "save", "ca_file", "data_dir", "config"])]
    forward_to: Option<Url>,
    /// Where to receive; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// A secret to verify with (may be repeated) [default: those of the key's environment, or of the store]
    #[arg(long = "secret", value_name = "SECRET", value_parser = secret)]
    secrets: Vec<String>,
    /// What to answer
    #[arg(long, value_name = "CODE", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    status: u16,
    /// How long to wait before answering, such as 2s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    delay: Duration,
    /// Keep each body in a file there
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Where to write the certificate of the authority that is made at start [default: below the user's cache]
    #[arg(long, value_name = "PATH")]
    ca_file: Option<PathBuf>,
    /// One JSON object for each request
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    store: StoreArgs,
}

/// Listens until it is told to stop.
pub(super) async fn run(args: ListenArgs) -> Result<ExitCode> {
    match args.forward_to.clone() {
        Some(to) => forward_report::run(to, args.server, args.json).await,
        None => start::run(args).await,
    }
}

fn http_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}; a URL is like http://localhost:3000/hook"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err("a URL is like http://localhost:3000/hook".to_owned()),
    }
}

fn secret(text: &str) -> Result<String, String> {
    match decode(text) {
        Some(_) => Ok(text.to_owned()),
        // It may still be most of the right one: it is not repeated.
        None => Err("a secret is whsec_ and Base64, as `datasonar secrets show` prints it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_posted_to_is_http() {
        assert!(http_url("http://localhost:3000/hook").is_ok());
        for wrong in ["localhost:3000", "3000", "ftp://localhost/"] {
            let error = http_url(wrong).unwrap_err();
            assert!(error.contains("http://localhost:3000/hook"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_checked_and_not_repeated() {
        assert!(secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok());
        let error = secret("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap_err();
        assert!(!error.contains("MfKQ"), "{error}");
    }
}
