//! `datasonar keys`: on the store itself, beside a running server or without one.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use datasonar_store::{Environment, KeyId, NewKey, Scope};

use super::{
    args::{AccountArgs, StoreArgs},
    say,
};
use crate::{
    clock::{Clock, Ids, SystemClock},
    crypto::{api_key_prefix, new_api_key, sha256},
    serve::Rows,
};

/// How long the name of a key may be.
const MAX_NAME_CHARS: usize = 100;

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key and print it, alone
    Create(CreateArgs),
    /// List keys
    List(ListArgs),
    /// Revoke a key, for good
    Revoke(RevokeArgs),
}

#[derive(Args)]
pub(super) struct CreateArgs {
    /// production or sandbox
    #[arg(long, default_value = "production")]
    environment: Environment,
    /// What to call it, for you to know it by
    #[arg(long, default_value = "", value_parser = parse_name)]
    name: String,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args)]
pub(super) struct ListArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args)]
pub(super) struct RevokeArgs {
    /// The key's id, as listed
    id: KeyId,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    store: StoreArgs,
}

fn parse_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(format!("a name has at most {MAX_NAME_CHARS} characters, none of them a control character"));
    }
    Ok(name.to_owned())
}

pub(super) async fn run(command: KeysCommand) -> Result<ExitCode> {
    match command {
        KeysCommand::Create(args) => create(args).await?,
        KeysCommand::List(args) => list(args).await?,
        KeysCommand::Revoke(args) => {
            let rows = Rows::open_beside(&args.store.settings_without_key()?).await?;
            let store = rows.store();
            let account = args.account.find(&*store).await?;
            store.revoke_key(account.id, args.id, SystemClock.now()).await.context("the key was not revoked")?;
            rows.close().await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: CreateArgs) -> Result<()> {
    let rows = Rows::open_beside(&args.store.settings_without_key()?).await?;
    let store = rows.store();
    let account = args.account.find(&*store).await?;
    let clock = Arc::new(SystemClock);
    let ids = Ids::random(clock.clone());
    let key = new_api_key(&ids, args.environment);
    let new = NewKey {
        id: KeyId(ids.uuid()),
        scope: Scope { account: account.id, environment: args.environment },
        hash: sha256(key.as_bytes()),
        prefix: api_key_prefix(&key),
        name: args.name,
        created_at: clock.now(),
    };
    store.create_key(new).await?;
    rows.close().await;
    say(&key);
    Ok(())
}

async fn list(args: ListArgs) -> Result<()> {
    let rows = Rows::open_beside(&args.store.settings_without_key()?).await?;
    let store = rows.store();
    let account = args.account.find(&*store).await?;
    let keys = store.keys(account.id).await?;
    rows.close().await;
    for key in keys {
        let (id, environment, prefix) = (key.id, key.scope.environment, &key.prefix);
        if args.json {
            let exact = |time: Option<jiff::Timestamp>| time.map(|time| format!("{time:.3}"));
            say(&serde_json::json!({
                "id": id, "environment": environment, "prefix": prefix, "name": key.name,
                "created_at": format!("{:.3}", key.created_at), "last_used_at": exact(key.last_used_at),
                "revoked_at": exact(key.revoked_at),
            })
            .to_string());
        } else {
            let state = key.revoked_at.map_or("active".to_owned(), |time| format!("revoked {time:.0}"));
            let used = key.last_used_at.map_or("not used yet".to_owned(), |time| format!("used {time:.0}"));
            let name = if key.name.is_empty() { String::new() } else { format!("  {}", key.name) };
            say(&format!("{id}  {environment:<10}  {prefix}…  made {:.0}  {used}  {state}{name}", key.created_at));
        }
    }
    Ok(())
}
