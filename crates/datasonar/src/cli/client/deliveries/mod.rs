//! `datasonar deliveries`: what was sent to endpoints and what came back ([`report`]), the bytes of it ([`payload`]), and
//! sending it again: some by their ids ([`again`]), or all that a filter finds ([`bulk`]).

mod again;
mod bulk;
mod payload;
mod report;
mod table;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    api::{Api, ApiError, Server},
    print_list, text,
};
use crate::{
    cli::{paint::Paint, say, say_error},
    clock::{Clock, SystemClock},
};

#[derive(Subcommand)]
pub(in crate::cli) enum DeliveriesCommand {
    /// List deliveries, newest first
    List(ListArgs),
    /// Look at a delivery and each of its attempts
    Show(ShowArgs),
    /// Print the exact bytes that were or will be sent
    Payload(PayloadArgs),
    /// Send deliveries again, now: the same ids, the same bytes
    Replay(ReplayArgs),
    /// List bulk replays, newest first
    Replays(ReplaysArgs),
    /// Stop a bulk replay; what is about to be sent is sent all the same
    CancelReplay(CancelArgs),
    /// Send an endpoint a signed test event, once, and show what came of it
    Test(TestArgs),
}

/// What nearly all of them take.
#[derive(Args)]
struct Common {
    /// Print the API's JSON, one object a line where there may be several
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(in crate::cli) struct ListArgs {
    /// Only those with this status; failed ones are the dead letters
    #[arg(long, value_parser = ["pending", "delivered", "failed"])]
    status: Option<String>,
    /// Only the delivery of this job
    #[arg(long, value_name = "ID")]
    job: Option<Uuid>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(in crate::cli) struct ShowArgs {
    /// The delivery's id
    id: Uuid,
    /// Show each attempt's headers, the time its parts took and the first bytes of the response, too
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(in crate::cli) struct PayloadArgs {
    /// The delivery's id
    id: Uuid,
    /// Write them there instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(in crate::cli) struct ReplayArgs {
    /// The ids of deliveries, whatever their status
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<Uuid>,
    /// All that fit what follows; without any of it, all dead letters
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: bulk::Filter,
    /// Count them, and send nothing
    #[arg(long, requires = "all")]
    dry_run: bool,
    /// Do not ask; needed where there is no terminal to ask at
    #[arg(long, requires = "all")]
    yes: bool,
    /// Do not wait for what comes of it
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(in crate::cli) struct ReplaysArgs {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(in crate::cli) struct CancelArgs {
    /// The bulk replay's id
    id: Uuid,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(in crate::cli) struct TestArgs {
    /// An https URL
    url: String,
    /// Show headers, the time its parts took and the first bytes of the response, too
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    common: Common,
}

/// How output is to be: for machines or, in colours or not, for people.
#[derive(Clone, Copy)]
struct Style {
    as_json: bool,
    paint: Paint,
}

impl Common {
    fn open(self) -> Result<(Api, Style), ApiError> {
        let style = Style { as_json: self.json, paint: Paint::of_stdout(self.json) };
        Ok((Api::new(self.server)?, style))
    }
}

impl Style {
    /// Prints one thing.
    fn print(self, thing: &Value, for_people: impl FnOnce() -> String) -> Result<()> {
        say(&if self.as_json { serde_json::to_string_pretty(thing)? } else { for_people() });
        Ok(())
    }
}

pub(in crate::cli) async fn run(command: DeliveriesCommand) -> Result<ExitCode> {
    match command {
        DeliveriesCommand::List(args) => list(args).await?,
        DeliveriesCommand::Show(args) => {
            let (api, style) = args.common.open()?;
            let found = api.json(Method::GET, &path(args.id), None).await;
            let delivery = found.map_err(|error| advised(error, Thing::Delivery))?;
            style.print(&delivery, || report::delivery(&delivery, args.verbose, SystemClock.now(), style.paint))?;
        }
        DeliveriesCommand::Payload(args) => {
            payload::run(&Api::new(args.server)?, args.id, args.output.as_deref()).await?;
        }
        DeliveriesCommand::Replay(args) => {
            let (api, style) = args.common.open()?;
            if args.all {
                let how = bulk::How { dry_run: args.dry_run, yes: args.yes, no_wait: args.no_wait };
                return bulk::run(&api, &args.filter, how, style).await;
            }
            return again::run(&api, args.ids, args.no_wait, style).await;
        }
        DeliveriesCommand::Replays(args) => {
            let (api, style) = args.common.open()?;
            let answer = api.json(Method::GET, &format!("/v1/deliveries/replays?limit={}", args.limit), None).await?;
            let none = "No bulk replays yet. `datasonar deliveries replay --all --dry-run` counts what one would send.";
            print_list(&answer, style.as_json, none, |replays| report::replays(replays, style.paint));
        }
        DeliveriesCommand::CancelReplay(args) => {
            let (api, style) = args.common.open()?;
            let cancelled = api.json(Method::DELETE, &bulk::path(&args.id.to_string()), None).await;
            let replay = cancelled.map_err(|error| advised(error, Thing::BulkReplay))?;
            style.print(&replay, || report::replay(&replay))?;
        }
        DeliveriesCommand::Test(args) => return test(args).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> Result<()> {
    let mut path = format!("/v1/deliveries?limit={}", args.limit);
    let mut none = "No deliveries yet. `datasonar batch urls.txt --webhook-url URL` queues a job that makes one.";
    if let Some(status) = &args.status {
        path.push_str(&format!("&status={status}"));
        none = "No delivery has this status.";
    }
    if let Some(job) = args.job {
        path.push_str(&format!("&job_id={job}"));
        none = "There is none: the job has no endpoint, has not ended, or is another's.";
    }
    let (api, style) = args.common.open()?;
    let answer = api.json(Method::GET, &path, None).await?;
    let now = SystemClock.now();
    print_list(&answer, style.as_json, none, |deliveries| report::deliveries(deliveries, now, style.paint));
    Ok(())
}

async fn test(args: TestArgs) -> Result<ExitCode> {
    let (api, style) = args.common.open()?;
    let request = json!({"webhook_url": args.url});
    let attempt = api.json(Method::POST, "/v1/webhooks/test", Some(&request)).await?;
    style.print(&attempt, || report::test(&attempt, args.verbose, style.paint))?;
    if attempt["error"].is_null() {
        return Ok(ExitCode::SUCCESS);
    }
    say_error(&report::failure(&attempt, text(&attempt["delivery_id"])));
    Ok(ExitCode::FAILURE)
}

fn path(id: Uuid) -> String {
    format!("/v1/deliveries/{id}")
}

/// What a call was about.
#[derive(Clone, Copy)]
enum Thing {
    Delivery,
    BulkReplay,
}

/// Says the next step after a refusal that has one.
fn advised(error: ApiError, thing: Thing) -> anyhow::Error {
    let ApiError::Refused { status, .. } = &error else { return error.into() };
    let step = match (thing, *status) {
        (Thing::Delivery, StatusCode::NOT_FOUND) => {
            "`datasonar deliveries list` shows those of the key's account and environment."
        }
        (Thing::BulkReplay, StatusCode::NOT_FOUND) => {
            "`datasonar deliveries replays` shows those of the key's account and environment."
        }
        (Thing::Delivery, StatusCode::CONFLICT | StatusCode::GONE) => {
            "Results are kept for a time only (RESULT_RETENTION): queue the job anew."
        }
        (Thing::BulkReplay, StatusCode::CONFLICT) => "`datasonar deliveries replays` shows how it ended.",
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}\n  {step}")
}
