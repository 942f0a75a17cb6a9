//! `datasonar admin migrate`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::{
    cli::{args::StoreArgs, say},
    serve::Rows,
};

/// Servers do the same when they start; this is for those who want it done before, and by somebody else.
#[derive(Args)]
pub(in crate::cli) struct MigrateArgs {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(args: MigrateArgs) -> Result<ExitCode> {
    let settings = args.store.settings_without_key()?;
    let from = Rows::version(&settings).await?.found;
    Rows::open(&settings).await?.close().await;
    let to = Rows::version(&settings).await?.found;
    if args.json {
        say(&json!({"from": from, "to": to}).to_string());
    } else {
        say(&match from {
            0 => format!("the store was made, with version {to} of its schema"),
            _ if from == to => format!("the store has version {to} of its schema already, the newest"),
            _ => format!("the store's schema was brought from version {from} to {to}"),
        });
    }
    Ok(ExitCode::SUCCESS)
}
