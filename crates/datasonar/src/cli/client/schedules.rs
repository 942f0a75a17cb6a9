//! `datasonar schedules`.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    OptionArgs,
    api::{Api, ApiError, Server, accept},
    text,
};
use crate::cli::say;

const OVERLAPS: [&str; 3] = ["skip", "queue", "allow"];

#[derive(Subcommand)]
pub(in crate::cli) enum SchedulesCommand {
    /// List schedules, newest first
    List(ListArgs),
    /// Look at a schedule: its next times and its last runs
    Show(ScheduleArgs),
    /// Make a schedule
    Create(Box<CreateArgs>),
    /// Change a schedule; what is not named stays
    Update(UpdateArgs),
    /// Let a schedule rest
    Pause(ScheduleArgs),
    /// Let a schedule go on, at its next time
    Resume(ScheduleArgs),
    /// Run a schedule's job now; its next time stays
    Run(ScheduleArgs),
    /// Delete a schedule; its jobs stay
    Delete(ScheduleArgs),
    /// List what came of a schedule's times, newest first
    Runs(RunsArgs),
}

#[derive(Args)]
pub(in crate::cli) struct ListArgs {
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(in crate::cli) struct ScheduleArgs {
    /// The schedule's id
    id: Uuid,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(in crate::cli) struct RunsArgs {
    /// The schedule's id
    id: Uuid,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// When a schedule runs.
#[derive(Args)]
struct TimesArgs {
    /// On the clocks of which time zone, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// When the job before has not ended: skip this run, queue one, or allow both [default: skip]
    #[arg(long, value_parser = OVERLAPS)]
    overlap: Option<String>,
}

/// What a schedule does.
#[derive(Args)]
#[group(id = "what", multiple = false)]
struct WhatArgs {
    /// Crawl this site
    #[arg(long, value_name = "URL")]
    crawl: Option<String>,
    /// Scrape this page
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Scrape the URLs of a file, one a line; - for standard input
    #[arg(long, value_name = "FILE")]
    urls: Option<PathBuf>,
    /// Do what this JSON says: a `kind`, and the body of its endpoint; - for standard input
    #[arg(long, value_name = "FILE")]
    job: Option<PathBuf>,
}

#[derive(Args)]
pub(in crate::cli) struct CreateArgs {
    /// What to call it
    #[arg(long)]
    name: String,
    /// When it runs: "30 2 * * *" is every day at 02:30; @hourly, @daily and the like
    #[arg(long, value_name = "EXPRESSION")]
    cron: String,
    #[command(flatten)]
    times: TimesArgs,
    /// Let it rest until it is resumed
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    what: WhatArgs,
    /// Where each result is to be POSTed
    #[arg(long, value_name = "URL", conflicts_with = "job")]
    webhook_url: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: OptionArgs,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(in crate::cli) struct UpdateArgs {
    /// The schedule's id
    id: Uuid,
    /// What to call it
    #[arg(long)]
    name: Option<String>,
    /// When it runs
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    #[command(flatten)]
    times: TimesArgs,
    /// Do what this JSON says: a `kind`, and the body of its endpoint; - for standard input
    #[arg(long, value_name = "FILE")]
    job: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(in crate::cli) async fn run(command: SchedulesCommand) -> Result<ExitCode> {
    match command {
        SchedulesCommand::List(args) => list(args).await?,
        SchedulesCommand::Show(args) => {
            let schedule = Api::new(args.server)?.json(Method::GET, &path(args.id), None).await?;
            show(&schedule, args.json)?;
        }
        SchedulesCommand::Create(args) => create(*args).await?,
        SchedulesCommand::Update(args) => update(args).await?,
        SchedulesCommand::Pause(args) => change(args, &json!({"paused": true})).await?,
        SchedulesCommand::Resume(args) => change(args, &json!({"paused": false})).await?,
        SchedulesCommand::Run(args) => {
            let path = format!("{}/run", path(args.id));
            let answer = Api::new(args.server)?.json(Method::POST, &path, Some(&json!({}))).await?;
            say(&if args.json { answer.to_string() } else { text(&answer["job_id"]).to_owned() });
        }
        SchedulesCommand::Delete(args) => delete(args).await?,
        SchedulesCommand::Runs(args) => runs(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: Uuid) -> String {
    format!("/v1/schedules/{id}")
}

async fn create(args: CreateArgs) -> Result<()> {
    let mut members = Map::new();
    members.insert("name".to_owned(), json!(args.name));
    members.insert("cron".to_owned(), json!(args.cron));
    args.times.put(&mut members);
    if args.paused {
        members.insert("paused".to_owned(), json!(true));
    }
    members.insert("job".to_owned(), job(args.what, args.webhook_url, args.options.members())?);
    let body = Value::Object(members);
    let schedule = Api::new(args.server)?.json(Method::POST, "/v1/schedules", Some(&body)).await?;
    show(&schedule, args.json)
}

async fn update(args: UpdateArgs) -> Result<()> {
    let mut members = Map::new();
    for (name, value) in [("name", args.name), ("cron", args.cron)] {
        members.extend(value.map(|value| (name.to_owned(), json!(value))));
    }
    args.times.put(&mut members);
    if let Some(file) = &args.job {
        members.insert("job".to_owned(), read_json(file)?);
    }
    if members.is_empty() {
        bail!("nothing is to be changed: name at least one of --name, --cron, --timezone, --overlap and --job");
    }
    let args_of = ScheduleArgs { id: args.id, json: args.json, server: args.server };
    change(args_of, &Value::Object(members)).await
}

async fn change(args: ScheduleArgs, members: &Value) -> Result<()> {
    let schedule = Api::new(args.server)?.json(Method::PATCH, &path(args.id), Some(members)).await?;
    show(&schedule, args.json)
}

async fn delete(args: ScheduleArgs) -> Result<()> {
    let response = Api::new(args.server)?.call(Method::DELETE, &path(args.id), http::HeaderMap::new(), None).await?;
    if response.status() != StatusCode::NO_CONTENT {
        let answer = accept(response).await?;
        return Err(ApiError::Unexpected(answer.to_string()).into());
    }
    if args.json {
        say(&json!({"id": args.id, "deleted": true}).to_string());
    }
    Ok(())
}

impl TimesArgs {
    fn put(&self, members: &mut Map<String, Value>) {
        for (name, value) in [("timezone", &self.timezone), ("overlap", &self.overlap)] {
            members.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
        }
    }
}

/// What a schedule is to do, as the API takes it.
fn job(what: WhatArgs, webhook_url: Option<String>, options: Map<String, Value>) -> Result<Value> {
    let mut job = Map::new();
    match what {
        WhatArgs { job: Some(file), .. } => {
            if !options.is_empty() {
                bail!("--job is the whole job: say in it what pages are to be like");
            }
            return read_json(&file);
        }
        WhatArgs { crawl: Some(url), .. } => {
            job.insert("kind".to_owned(), json!("crawl"));
            job.insert("url".to_owned(), json!(url));
        }
        WhatArgs { url: Some(url), .. } => {
            job.insert("kind".to_owned(), json!("scrape"));
            job.insert("url".to_owned(), json!(url));
        }
        WhatArgs { urls: Some(file), .. } => {
            let lines = read_file(&file)?;
            let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            job.insert("kind".to_owned(), json!("batch"));
            job.insert("urls".to_owned(), lines.collect());
        }
        _ => bail!("say what is to be done: --crawl, --url, --urls or --job"),
    }
    job.extend(webhook_url.map(|url| ("webhook_url".to_owned(), json!(url))));
    job.extend(options);
    Ok(Value::Object(job))
}

fn read_json(file: &Path) -> Result<Value> {
    serde_json::from_str(&read_file(file)?).with_context(|| format!("{} is not JSON", file.display()))
}

fn read_file(file: &Path) -> Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

async fn list(args: ListArgs) -> Result<()> {
    let path = format!("/v1/schedules?limit={}", args.limit);
    let answer = Api::new(args.server)?.json(Method::GET, &path, None).await?;
    let schedules = items(&answer["data"]);
    if args.json {
        schedules.iter().for_each(|schedule| say(&schedule.to_string()));
        return Ok(());
    }
    if schedules.is_empty() {
        say("No schedules yet. `datasonar schedules create` makes one.");
        return Ok(());
    }
    let row = |columns: [&str; 6]| {
        let [id, kind, cron, next, last, name] = columns;
        say(&format!("{id:<36}  {kind:<6}  {cron:<16}  {next:<29}  {last:<9}  {name}"));
    };
    row(["SCHEDULE", "KIND", "CRON", "NEXT RUN", "LAST", "NAME"]);
    for schedule in schedules {
        let next = schedule["next_run_at"].as_str().map_or("paused".to_owned(), |time| local(time, schedule));
        row([
            text(&schedule["id"]),
            text(&schedule["job"]["kind"]),
            text(&schedule["cron"]),
            &next,
            outcome(&schedule["last_runs"][0]),
            text(&schedule["name"]),
        ]);
    }
    Ok(())
}

/// A time as the schedule's own clocks show it.
fn local(time: &str, schedule: &Value) -> String {
    let zoned = time.parse::<Timestamp>().ok().and_then(|time| time.in_tz(text(&schedule["timezone"])).ok());
    zoned.map_or_else(|| time.to_owned(), |time| time.strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string())
}

/// What came of a run: where its job stands, if it has one.
fn outcome(run: &Value) -> &str {
    run["job_status"].as_str().unwrap_or_else(|| text(&run["outcome"]))
}

fn show(schedule: &Value, json: bool) -> Result<()> {
    if json {
        say(&serde_json::to_string_pretty(schedule)?);
        return Ok(());
    }
    let job = &schedule["job"];
    let what = match job["urls"].as_array() {
        Some(urls) => format!("{} {} URLs", text(&job["kind"]), urls.len()),
        None => format!("{} {}", text(&job["kind"]), text(&job["url"])),
    };
    let rows = [
        ("schedule", text(&schedule["id"]).to_owned()),
        ("name", text(&schedule["name"]).to_owned()),
        ("cron", format!("{} ({})", text(&schedule["cron"]), text(&schedule["timezone"]))),
        ("overlap", text(&schedule["overlap"]).to_owned()),
        ("job", what),
        ("callback", text(&job["webhook_url"]).to_owned()),
        ("created", text(&schedule["created_at"]).to_owned()),
        ("updated", text(&schedule["updated_at"]).to_owned()),
    ];
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        say(&format!("{name:<10} {value}"));
    }
    let mut name = "next";
    for time in items(&schedule["next_runs"]) {
        say(&format!("{name:<10} {}", local(text(time), schedule)));
        name = "";
    }
    if schedule["paused"] == true {
        say(&format!("{name:<10} paused"));
    }
    name = "last";
    for run in items(&schedule["last_runs"]) {
        say(&format!("{name:<10} {}", line(run, &local(text(&run["planned_at"]), schedule))));
        name = "";
    }
    Ok(())
}

fn line(run: &Value, time: &str) -> String {
    let about = run["job_id"].as_str().unwrap_or_else(|| text(&run["reason"]));
    format!("{time:<29}  {:<6}  {:<9}  {about}", text(&run["trigger"]), outcome(run)).trim_end().to_owned()
}

async fn runs(args: RunsArgs) -> Result<()> {
    let path = format!("{}/runs?limit={}", path(args.id), args.limit);
    let answer = Api::new(args.server)?.json(Method::GET, &path, None).await?;
    let runs = items(&answer["data"]);
    if args.json {
        runs.iter().for_each(|run| say(&run.to_string()));
        return Ok(());
    }
    if runs.is_empty() {
        say("It has not run yet.");
        return Ok(());
    }
    say(&format!("{:<29}  {:<6}  {:<9}  JOB", "PLANNED", "BY", "STATUS"));
    runs.iter().for_each(|run| say(&line(run, text(&run["planned_at"]))));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what() -> WhatArgs {
        WhatArgs { crawl: None, url: None, urls: None, job: None }
    }

    #[test]
    fn what_is_said_becomes_a_job() {
        let options = || Map::from_iter([("format".to_owned(), json!("text"))]);
        let crawl = WhatArgs { crawl: Some("https://a.example/".to_owned()), ..what() };
        assert_eq!(
            job(crawl, Some("https://b.example/".to_owned()), options()).unwrap(),
            json!({"kind": "crawl", "url": "https://a.example/", "webhook_url": "https://b.example/", "format": "text"})
        );
        let one = WhatArgs { url: Some("https://a.example/".to_owned()), ..what() };
        assert_eq!(job(one, None, Map::new()).unwrap(), json!({"kind": "scrape", "url": "https://a.example/"}));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("urls.txt");
        fs::write(&file, "# mine\nhttps://a.example/\n\n  https://b.example/  \n").unwrap();
        assert_eq!(
            job(WhatArgs { urls: Some(file.clone()), ..what() }, None, Map::new()).unwrap(),
            json!({"kind": "batch", "urls": ["https://a.example/", "https://b.example/"]})
        );
        job(WhatArgs { job: Some(file.clone()), ..what() }, None, Map::new()).unwrap_err();
        fs::write(&file, r#"{"kind": "scrape", "url": "https://c.example/"}"#).unwrap();
        let raw = job(WhatArgs { job: Some(file.clone()), ..what() }, None, Map::new()).unwrap();
        assert_eq!(raw, json!({"kind": "scrape", "url": "https://c.example/"}));
        job(WhatArgs { job: Some(file), ..what() }, None, options()).unwrap_err();
        job(what(), None, Map::new()).unwrap_err();
    }

    #[test]
    fn times_are_shown_on_the_schedules_clocks() {
        let schedule = json!({"timezone": "Europe/Berlin"});
        assert_eq!(local("2026-07-15T00:30:00.000Z", &schedule), "Wed 2026-07-15 02:30:00 CEST");
        assert_eq!(local("soon", &schedule), "soon");
    }
}
