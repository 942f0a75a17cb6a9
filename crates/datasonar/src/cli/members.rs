//! `datasonar members`: who may use the dashboard. On the store itself, beside a running server or without one, so that whoever has the machine can
//! always come in.

use std::{process::ExitCode, sync::Arc};

use anyhow::Result;
use clap::{Args, Subcommand};
use datasonar_store::{AccountId, Link, MemberRole};

use super::{
    args::{AccountArgs, StoreArgs},
    say, say_error,
};
use crate::{
    clock::{Ids, SystemClock},
    config::Settings,
    people::{LINK_HOURS, People, PeopleParts},
    serve::Rows,
};

#[derive(Subcommand)]
pub(super) enum MembersCommand {
    /// Make a sign-in link and print it, alone: for a new member, a forgotten password, or a first link that was lost
    Link(LinkArgs),
    /// List members and open sign-in links
    List(ListArgs),
}

#[derive(Args)]
pub(super) struct LinkArgs {
    /// Whom it is for; a member sets a new password with it [default: whoever has it, and is no member yet]
    #[arg(long)]
    email: Option<String>,
    /// owner or member [default: what the member is; owner for others]
    #[arg(long)]
    role: Option<MemberRole>,
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

pub(super) async fn run(command: MembersCommand) -> Result<ExitCode> {
    match command {
        MembersCommand::Link(args) => link(args).await?,
        MembersCommand::List(args) => list(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The store, its people and its account.
async fn open(settings: &Settings, account: &AccountArgs) -> Result<(Rows, People, AccountId)> {
    let rows = Rows::open_beside(settings).await?;
    let clock = Arc::new(SystemClock);
    let people = People::new(PeopleParts {
        rows: rows.store(),
        ids: Ids::random(clock.clone()),
        clock,
        sealer: None,
        session_lifetime: settings.session_lifetime,
        session_idle: settings.session_idle,
    });
    let account = account.find(&*rows.store()).await?.id;
    Ok((rows, people, account))
}

async fn link(args: LinkArgs) -> Result<()> {
    let settings = args.store.settings_without_key()?;
    let (rows, people, account) = open(&settings, &args.account).await?;
    let role = match (args.role, &args.email) {
        (Some(role), _) => role,
        (None, Some(email)) => people.role_of(account, email).await?.unwrap_or(MemberRole::Owner),
        (None, None) => MemberRole::Owner,
    };
    let token = people.invite(account, args.email.as_deref(), role).await?;
    rows.close().await;
    let public_url = settings.public_url.unwrap_or_else(|| format!("http://{}", settings.listen));
    say(&token.link(public_url.trim_end_matches('/')));
    say_error(&format!("it works once, for {LINK_HOURS} hours"));
    Ok(())
}

async fn list(args: ListArgs) -> Result<()> {
    let (rows, people, account) = open(&args.store.settings_without_key()?, &args.account).await?;
    let (members, links) = (people.members(account).await?, people.invitations(account).await?);
    rows.close().await;
    for member in members {
        let (id, email, role) = (member.user, &member.email, member.role);
        if args.json {
            let joined_at = format!("{:.3}", member.joined_at);
            say(&serde_json::json!({"id": id, "email": email, "role": role, "joined_at": joined_at}).to_string());
        } else {
            say(&format!("{id}  {role:<6}  {email}  since {:.0}", member.joined_at));
        }
    }
    for Link { id, email, role, expires_at, .. } in links {
        if args.json {
            let expires_at = format!("{expires_at:.3}");
            let link = serde_json::json!({"link_id": id, "email": email, "role": role, "expires_at": expires_at});
            say(&link.to_string());
        } else {
            let email = email.as_deref().unwrap_or("whoever has it");
            say(&format!("{id}  {role:<6}  {email}  link, until {expires_at:.0}"));
        }
    }
    Ok(())
}
