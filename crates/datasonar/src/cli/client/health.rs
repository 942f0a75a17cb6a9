//! `datasonar health`: what a probe asks, for places that have no other program to ask it with, such as a container.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use http::HeaderMap;

use super::api::{Api, Server};

/// Asks a server whether it can work, in any of its roles. Ends with 0 if it can, and otherwise says why not.
#[derive(Args, Debug)]
pub(in crate::cli) struct HealthArgs {
    /// Ask only whether it lives
    #[arg(long)]
    live: bool,
    /// Seconds that the answer may take
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    within: u64,
    #[command(flatten)]
    server: Server,
}

pub(in crate::cli) async fn run(args: HealthArgs) -> Result<ExitCode> {
    let path = if args.live { "/healthz" } else { "/readyz" };
    let api = Api::new(args.server)?;
    let within = Duration::from_secs(args.within);
    tokio::time::timeout(within, api.open(path, HeaderMap::new()))
        .await
        .with_context(|| format!("{} has not answered within {within:?}", api.server().server))??;
    Ok(ExitCode::SUCCESS)
}
