//! `datasonar serve`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{args::SettingsArgs, say};
use crate::{
    people::LINK_HOURS,
    serve::{FirstKeys, Seams, start},
    telemetry,
};

/// Runs the server until it is told to stop. Settings are flags, variables or lines of datasonar.toml, in that order.
#[derive(Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) async fn run(args: ServeArgs) -> Result<ExitCode> {
    let settings = args.settings.settings()?;
    telemetry::start(settings.log_format, &settings.rust_log)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = start(settings, Seams::default()).await?;
    if let Some(keys) = &server.first_keys {
        welcome(keys, &server.app.public_url);
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::select! {
        () = server.stop() => Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

/// Shows the first keys and the sign-in link, once, and what to do with them.
fn welcome(keys: &FirstKeys, url: &str) {
    say(&format!(
        r#"
  Datasonar is running at {url}

  These are your API keys. They are shown this once; `datasonar keys create` makes more.

    production  {}
    sandbox     {}

  The dashboard lets you in by this link. It works once, for {} hours; `datasonar members link` makes another.

    {}

  Try it:

    curl -X POST {url}/v1/scrape \
      -H "Authorization: Bearer {}" \
      -d '{{"url": "https://example.com/"}}'
"#,
        keys.production, keys.sandbox, LINK_HOURS, keys.sign_in_link, keys.production
    ));
}
