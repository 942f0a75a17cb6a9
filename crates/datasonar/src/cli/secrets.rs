//! `datasonar secrets`: on the store itself, beside a running server or without one.

use std::{process::ExitCode, sync::Arc};

use anyhow::Result;
use clap::{Args, Subcommand};
use datasonar_store::{Environment, NewSecret, Scope, SecretId};

use super::{args::StoreArgs, say, say_error};
use crate::{
    api::OVERLAP,
    clock::{Clock, Ids, SystemClock},
    crypto::{Sealer, new_webhook_secret},
    serve::Rows,
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
    let scope = Scope { account: store.account(None).await?.id, environment: args.environment };
    if rotate {
        let id = SecretId(ids.uuid());
        let sealed = sealer.seal(scope, id, &new_webhook_secret(&ids));
        store.rotate_secret(NewSecret { id, scope, sealed, created_at: clock.now() }, OVERLAP).await?;
    }
    for (index, secret) in store.secrets(scope, clock.now()).await?.into_iter().enumerate() {
        let text = sealer.open(secret.scope, secret.id, &secret.sealed)?;
        match secret.expires_at {
            _ if rotate && index > 0 => break,
            None => say(&text),
            Some(expires_at) => {
                say(&text);
                say_error(&format!("the secret above signs until {expires_at:.0}"));
            }
        }
    }
    rows.close().await;
    Ok(ExitCode::SUCCESS)
}
