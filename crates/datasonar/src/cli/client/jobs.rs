//! `datasonar jobs`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;
use uuid::Uuid;

use super::{
    api::{Api, Server},
    pairs, print, print_list, text,
};
use crate::cli::say;

#[derive(Subcommand)]
pub(in crate::cli) enum JobsCommand {
    /// List jobs, newest first
    List(ListArgs),
    /// Look at a job
    Show(JobArgs),
    /// Print a job's page results, one a line
    Results(JobArgs),
    /// Cancel a job; finished pages are kept
    Cancel(JobArgs),
}

#[derive(Args)]
pub(in crate::cli) struct ListArgs {
    /// Only those with this status
    #[arg(long, value_parser = ["pending", "started", "completed", "failed"])]
    status: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(in crate::cli) struct JobArgs {
    /// The job's id
    id: Uuid,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(in crate::cli) async fn run(command: JobsCommand) -> Result<ExitCode> {
    match command {
        JobsCommand::List(args) => list(args).await?,
        JobsCommand::Show(args) => {
            let job = Api::new(args.server)?.job(&args.id.to_string()).await?;
            show(&job, args.json)?;
        }
        JobsCommand::Results(args) => {
            Api::new(args.server)?.results(&args.id.to_string(), print).await?;
        }
        JobsCommand::Cancel(args) => {
            let job = Api::new(args.server)?.json(Method::DELETE, &format!("/v1/jobs/{}", args.id), None).await?;
            show(&job, args.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> Result<()> {
    let status = args.status.map(|status| format!("&status={status}")).unwrap_or_default();
    let path = format!("/v1/jobs?limit={}{status}", args.limit);
    let answer = Api::new(args.server)?.json(Method::GET, &path, None).await?;
    print_list(&answer, args.json, "No jobs yet. `datasonar batch urls.txt` queues one.", table);
    Ok(())
}

fn table(jobs: &[Value]) -> String {
    let head = format!("{:<36}  {:<6}  {:<9}  {:>17}  {:<24}  CALLBACK", "JOB", "KIND", "STATUS", "PAGES", "CREATED");
    let row = |job: &Value| {
        let progress = &job["progress"];
        let done = progress["succeeded"].as_u64().unwrap_or(0) + progress["failed"].as_u64().unwrap_or(0);
        format!(
            "{:<36}  {:<6}  {:<9}  {:>17}  {:<24}  {}",
            text(&job["job_id"]),
            text(&job["kind"]),
            text(&job["status"]),
            format!("{done}/{}", progress["total"]),
            text(&job["created_at"]),
            text(&job["delivery"]["status"]),
        )
    };
    std::iter::once(head).chain(jobs.iter().map(row)).collect::<Vec<_>>().join("\n")
}

fn show(job: &Value, json: bool) -> Result<()> {
    if json {
        say(&serde_json::to_string_pretty(job)?);
        return Ok(());
    }
    let progress = &job["progress"];
    let rows = pairs([
        ("job", text(&job["job_id"]).to_owned()),
        ("kind", text(&job["kind"]).to_owned()),
        ("status", text(&job["status"]).to_owned()),
        ("error", text(&job["error"]["message"]).to_owned()),
        (
            "pages",
            format!("{} succeeded, {} failed, of {}", progress["succeeded"], progress["failed"], progress["total"]),
        ),
        ("created", text(&job["created_at"]).to_owned()),
        ("started", text(&job["started_at"]).to_owned()),
        ("completed", text(&job["completed_at"]).to_owned()),
        ("expires", text(&job["expires_at"]).to_owned()),
        ("callback", text(&job["webhook_url"]).to_owned()),
        (
            "delivery",
            format!("{} {}", text(&job["delivery"]["status"]), text(&job["delivery"]["id"])).trim().to_owned(),
        ),
    ]);
    say(&rows);
    Ok(())
}
