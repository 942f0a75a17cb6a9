//! `datasonar demo`: the main job on one machine, from request to verified callback, with nothing outside.
//!
//! A site ([`site`]) and an HTTPS endpoint ([`receiver`]) run in this process; the server is a child, so that its memory
//! can be told apart. What arrives is checked as a suspicious client would ([`check`]): signatures, order, one result for
//! each URL, and on each page the sentence that only it has. Tests and benchmarks use the same parts.

pub mod check;
pub mod child;
mod pages;
pub mod receiver;
mod report;
pub mod site;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use http::Method;
use indicatif::HumanCount;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use self::{
    check::{Expected, verify_body},
    child::Child,
    receiver::{Answer, Received, Receiver},
    report::Report,
    site::{Site, SiteOptions},
};
use super::{
    client::{Api, Server, submit_file},
    local::Interrupt,
    paint::bar,
    say, say_error,
};
use crate::clock::{Clock, SystemClock};

/// How long the callback may take after the job has ended.
const CALLBACK_WITHIN: Duration = Duration::from_secs(120);
/// How long it may take to be recorded.
const RECORDED_WITHIN: Duration = Duration::from_secs(30);
/// How often something that takes milliseconds is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// Shows the main job on this machine, end to end, and measures it.
#[derive(Args)]
pub struct DemoArgs {
    /// How many URLs to queue
    #[arg(long, default_value_t = 2_000)]
    urls: usize,
    /// Real URLs, one a line, instead of the demo's own site
    #[arg(long, value_name = "FILE", conflicts_with = "urls")]
    input: Option<PathBuf>,
    /// How many pages the server fetches at a time [default: the server's]
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// Keep the server's data there, in a directory that is new or empty [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Leave the server running afterwards
    #[arg(long)]
    keep: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the demonstration. Whatever happens, the server is gone afterwards, and so is all that was temporary.
///
/// # Errors
/// When a part does not start, or what was promised does not hold.
pub async fn run(args: DemoArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::new()?;
    let directory = tempfile::Builder::new().prefix("datasonar-demo-").tempdir()?;
    let (list, site) = match &args.input {
        Some(path) => (read_list(path)?, None),
        None => {
            let site = Site::start(SiteOptions { urls: args.urls, ..SiteOptions::default() }).await?;
            (site.urls().collect(), Some(site))
        }
    };
    if list.is_empty() {
        bail!("there are no URLs to queue");
    }
    let receiver = Receiver::start(directory.path(), |_| Answer::Status(200)).await?;
    let mut child = start_server(&args, directory.path(), &receiver).await?;
    let stage = Stage { child: &child, receiver: &receiver, site: site.as_ref(), list: &list };
    let played = tokio::select! {
        played = play(&args, stage, directory.path()) => played,
        () = interrupt.wait() => Err(anyhow::anyhow!("interrupted")),
    };
    if played.is_ok() && args.keep {
        interrupt.wait().await;
    }
    child.end().await;
    played?;
    Ok(ExitCode::SUCCESS)
}

async fn start_server(args: &DemoArgs, directory: &Path, receiver: &Receiver) -> Result<Child> {
    let data_dir = match &args.data_dir {
        Some(path) if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) => {
            bail!("{} is not empty; --data-dir takes a new directory", path.display());
        }
        Some(path) => path.clone(),
        None => directory.join("data"),
    };
    let mut variables = vec![("DATASONAR_WEBHOOK_CA_FILE", receiver.ca_file().display().to_string())];
    if let Some(concurrency) = args.concurrency {
        variables.push(("DATASONAR_FETCH_CONCURRENCY", concurrency.to_string()));
    }
    Child::start(&data_dir, &variables).await
}

/// All that is there before the first request.
#[derive(Clone, Copy)]
struct Stage<'a> {
    child: &'a Child,
    receiver: &'a Receiver,
    site: Option<&'a Site>,
    list: &'a [String],
}

/// Shows, checks and reports.
async fn play(args: &DemoArgs, stage: Stage<'_>, directory: &Path) -> Result<()> {
    let key = stage.child.keys.as_ref().map(|keys| keys.0.clone()).context("the server showed no keys")?;
    let api = Api::new(Server { server: stage.child.url(), api_key: key.clone() })?;
    if !args.json {
        let what = if stage.site.is_some() { "a local site of 32 hosts" } else { "the list" };
        let (urls, endpoint) = (HumanCount(stage.list.len() as u64), stage.receiver.url());
        say(&format!("Queueing {urls} URLs of {what}; the callback goes to {endpoint}.\n"));
    }
    let report = show(&api, stage, directory).await;
    let report = report.with_context(|| format!("the server's last words:\n{}", stage.child.last_words()))?;
    report.print(args.json);
    if args.keep {
        invite(stage, &key, args.json);
    }
    Ok(())
}

async fn show(api: &Api, stage: Stage<'_>, directory: &Path) -> Result<Report> {
    let Stage { child, receiver, site, list } = stage;
    let path = directory.join("urls.txt");
    write_list(&path, list)?;
    let members = Map::from_iter([("webhook_url".to_owned(), json!(receiver.url()))]);

    let (begin, began) = (Instant::now(), SystemClock.now());
    let job_id = submit_file(api, &path, members, None).await?;
    let accepted = begin.elapsed();

    let mut single = None;
    let job = api
        .wait(&job_id, async |job| {
            let done = job["progress"]["succeeded"].as_u64().unwrap_or(0) as usize;
            let is_middle = done >= list.len() / 2 && !job["completed_at"].is_string();
            if let (None, true, Some(site)) = (&single, is_middle, site) {
                single = Some(one_more(api, &site.quick_url()).await);
            }
        })
        .await?;

    let received = tokio::time::timeout(CALLBACK_WITHIN, receiver.next())
        .await
        .map_err(|_| anyhow::anyhow!("no callback came within {CALLBACK_WITHIN:?}"))?
        .context("the endpoint has stopped")?;
    let secrets = api.json(Method::GET, "/v1/webhooks/secrets", None).await?;
    let secret = secrets["data"][0]["secret"].as_str().context("there is no webhook secret")?;
    check(&received, secret, &job_id)?;
    let expected = |index: usize| match site {
        Some(site) => site.expect(index),
        None => Expected::Anything,
    };
    let bar = bar("  {bar:32.cyan/dim} {bytes} of {total_bytes} checked", received.length);
    let body = BufReader::with_capacity(256 * 1024, bar.wrap_read(File::open(received.body())?));
    let counted = verify_body(body, &job_id, list, expected)?;
    bar.finish_and_clear();
    recorded(api, &job_id).await?;
    if receiver.next_now().await.is_some() {
        bail!("a second callback came");
    }
    let ended = ended(&job)?;
    Ok(Report {
        urls: list.len(),
        accepted,
        total: between(began, ended),
        callback_began: between(ended, received.began),
        callback_ended: between(ended, received.ended),
        single: single.transpose().context("the single scrape in the middle of the batch")?,
        body_bytes: received.length,
        outcomes: counted.outcomes,
        peak_memory: child.peak_memory(),
    })
}

/// Verifies both signatures.
fn check(received: &Received, secret: &str, job_id: &str) -> Result<()> {
    received.verify(secret).context("the callback is not what it claims to be")?;
    let echoed = received.header("x-datasonar-job-id");
    if echoed != job_id {
        bail!("X-Datasonar-Job-Id is {echoed}, not {job_id}");
    }
    Ok(())
}

/// When a job ended, by the server's clock, which is ours.
fn ended(job: &Value) -> Result<Timestamp> {
    let text = job["completed_at"].as_str().context("the job has no end")?;
    text.parse().with_context(|| format!("the job's end is {text}"))
}

/// The time between two moments; none, if a clock was set back in between.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}

/// Waits until a job's one delivery is on record as made.
async fn recorded(api: &Api, id: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        let job = api.job(id).await?;
        match job["delivery"]["status"].as_str() {
            Some("delivered") => return Ok(()),
            other if begin.elapsed() > RECORDED_WITHIN => bail!("the delivery came, but is on record as {other:?}"),
            _ => tokio::time::sleep(GLANCE).await,
        }
    }
}

/// Queues one URL and waits for it.
async fn one_more(api: &Api, url: &str) -> Result<Duration> {
    let begin = Instant::now();
    let queued = api.json(Method::POST, "/v1/scrape/async", Some(&json!({"url": url}))).await?;
    let id = queued["job_id"].as_str().context("there is no job_id")?.to_owned();
    loop {
        let job = api.job(&id).await?;
        match job["status"].as_str() {
            Some("completed") => return Ok(begin.elapsed()),
            Some("failed") => bail!("it failed: {}", job["error"]),
            _ => tokio::time::sleep(GLANCE).await,
        }
    }
}

fn write_list(path: &Path, list: &[String]) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for url in list {
        writeln!(file, "{url}")?;
    }
    Ok(file.flush()?)
}

fn read_list(path: &Path) -> Result<Vec<String>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines: std::io::Result<Vec<String>> = BufReader::new(file).lines().collect();
    let urls = lines?.into_iter().map(|line| line.trim().to_owned());
    Ok(urls.filter(|line| !line.is_empty() && !line.starts_with('#')).collect())
}

/// Says how to go on. For machines, on standard error: standard output is the summary's.
fn invite(stage: Stage<'_>, key: &str, as_json: bool) {
    let page = stage.site.map_or_else(|| stage.list[0].clone(), Site::quick_url);
    let text = format!(
        r#"
The server goes on at {url}. Try it:

  curl -X POST {url}v1/scrape \
    -H "Authorization: Bearer {key}" \
    -d '{{"url": "{page}"}}'

The dashboard lets you in once, at

  {link}

Ctrl-C stops it."#,
        url = stage.child.url(),
        link = stage.child.sign_in_link.as_deref().unwrap_or("(no link was shown)"),
    );
    if as_json { say_error(&text) } else { say(&text) }
}
