//! `datasonar secrets`: on the store itself, beside a running server or without one.

use std::{process::ExitCode, sync::Arc};

use anyhow::Result;
use clap::{Args, Subcommand};
use datasonar_store::{Environment, Scope};

use super::{
    args::{AccountArgs, StoreArgs},
    say, say_error,
};
use crate::{
    clock::{Ids, SystemClock},
    crypto::Sealer,
    serve::Rows,
    webhook::secrets::Secrets,
};

#[derive(Subcommand)]
pub(super) enum SecretsCommand {
    /// Print the secret that signs webhooks, and those that still sign beside it
    Show(SecretsArgs),
    /// Make a new secret and print it; the old one goes on signing beside it for 24 hours
    Rotate(SecretsArgs),
}

#[derive(Args)]
pub(super) struct SecretsArgs {
    /// production or sandbox
    #[arg(long, default_value = "production")]
    environment: Environment,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(command: SecretsCommand) -> Result<ExitCode> {
    let (args, rotate) = match command {
        SecretsCommand::Show(args) => (args, false),
        SecretsCommand::Rotate(args) => (args, true),
    };
    let settings = args.store.settings()?;
    let rows = Rows::open_beside(&settings).await?;
    let store = rows.store();
    let clock = Arc::new(SystemClock);
    let ids = Ids::random(clock.clone());
    let sealer = Sealer::new(&settings.encryption_key, ids.clone())?;
    let scope = Scope { account: args.account.find(&*store).await?.id, environment: args.environment };
    let secrets = Secrets { store, sealer, clock, ids };
    let shown = if rotate { vec![secrets.rotate(scope).await?] } else { secrets.list(scope).await? };
    for secret in shown {
        say(&secret.text);
        if let Some(expires_at) = secret.expires_at {
            say_error(&format!("the secret above signs until {expires_at:.0}"));
        }
    }
    rows.close().await;
    Ok(ExitCode::SUCCESS)
}
