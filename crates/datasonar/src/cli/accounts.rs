//! `datasonar accounts`: tenants beside the built-in account, each with a plan. On the store itself, beside a running server or without one.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use datasonar_store::{Account, AccountId, Environment, NewAccount, NewSecret, Scope, SecretId, WholeStore};

use super::{
    args::{StoreArgs, find_account},
    say, say_error,
};
use crate::{
    clock::{Clock, Ids, SystemClock},
    config::AccountPlan,
    crypto::{Sealer, new_webhook_secret},
    people::checked_email,
    serve::Rows,
    webhook::secrets::Secrets,
};

/// How many accounts are read at once.
const AT_ONCE: u32 = 500;

#[derive(Subcommand)]
pub(super) enum AccountsCommand {
    /// Make an account and print its id, alone; keys and sign-in links are made with --account
    Create(CreateArgs),
    /// List accounts
    List(ListArgs),
    /// Give an account another plan; what was accepted before stays accepted
    SetPlan(SetPlanArgs),
}

#[derive(Args)]
pub(super) struct CreateArgs {
    /// The address its owner is known by; no other account may have it
    #[arg(long)]
    email: String,
    /// free, starter, pro, business or enterprise: what each allows is a matter of settings
    #[arg(long, default_value = "free")]
    plan: AccountPlan,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args)]
pub(super) struct ListArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args)]
pub(super) struct SetPlanArgs {
    /// The account, by its id or e-mail address
    account: String,
    /// free, starter, pro, business or enterprise
    plan: AccountPlan,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(command: AccountsCommand) -> Result<ExitCode> {
    match command {
        AccountsCommand::Create(args) => create(args).await?,
        AccountsCommand::List(args) => list(args).await?,
        AccountsCommand::SetPlan(args) => {
            let rows = Rows::open_beside(&args.store.settings_without_key()?).await?;
            let account = find_account(&*rows.store(), &args.account).await?;
            rows.store().set_plan(account.id, args.plan.to_string()).await.context("the plan was not changed")?;
            rows.close().await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: CreateArgs) -> Result<()> {
    let settings = args.store.settings()?;
    let email = checked_email(&args.email)?;
    let rows = Rows::open_beside(&settings).await?;
    let clock = Arc::new(SystemClock);
    let ids = Ids::random(clock.clone());
    let sealer = Sealer::new(&settings.encryption_key, ids.clone())?;
    check_key(rows.store(), &sealer, &ids).await?;
    let id = AccountId(ids.uuid());
    let created_at = clock.now();
    let account = Account { id, email, plan: args.plan.to_string(), created_at, is_built_in: false };
    let secrets = [Environment::Production, Environment::Sandbox].map(|environment| {
        let (secret, scope) = (SecretId(ids.uuid()), Scope { account: id, environment });
        NewSecret { id: secret, scope, sealed: sealer.seal(scope, secret, &new_webhook_secret(&ids)), created_at }
    });
    let new = NewAccount { account, secrets: secrets.to_vec() };
    rows.store().create_account(new).await.context("the account was not made")?;
    rows.close().await;
    say(&id.to_string());
    say_error(&format!(
        "`datasonar keys create --account {id}` makes a key for it, `datasonar members link --account {id}` lets its owner in"
    ));
    Ok(())
}

/// What is sealed with another key than the servers have, they could not sign with.
async fn check_key(store: Arc<dyn WholeStore>, sealer: &Sealer, ids: &Ids) -> Result<()> {
    let scope = Scope { account: store.account(None).await?.id, environment: Environment::Production };
    let secrets = Secrets { store, sealer: sealer.clone(), clock: Arc::new(SystemClock), ids: ids.clone() };
    secrets.list(scope).await.context("ENCRYPTION_KEY must be the one that the servers of this store have")?;
    Ok(())
}

async fn list(args: ListArgs) -> Result<()> {
    let rows = Rows::open_beside(&args.store.settings_without_key()?).await?;
    let store = rows.store();
    let mut after = None;
    loop {
        let accounts = store.accounts(after, AT_ONCE).await?;
        after = accounts.last().map(|account| account.id);
        for Account { id, email, plan, created_at, is_built_in } in accounts {
            if args.json {
                let created_at = format!("{created_at:.3}");
                let account = serde_json::json!({
                    "id": id, "email": email, "plan": plan, "built_in": is_built_in, "created_at": created_at,
                });
                say(&account.to_string());
            } else {
                let built_in = if is_built_in { "  built in: no limits" } else { "" };
                say(&format!("{id}  {plan:<11}  {email}  made {created_at:.0}{built_in}"));
            }
        }
        if after.is_none() {
            break;
        }
    }
    rows.close().await;
    Ok(())
}
