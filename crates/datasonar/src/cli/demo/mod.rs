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
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use http::Method;
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
    say, say_error,
};
use crate::clock::{Clock, SystemClock};

/// How long the callback may take after the job has ended.
const CALLBACK_WITHIN: Duration = Duration::from_secs(120);

/// Shows the main job on this machine, end to end, and measures it.
#[derive(Args)]
pub struct DemoArgs {
    /// How many URLs to queue
    #[arg(long, default_value_t = 2_000)]
    urls: usize,
    /// Real URLs, one a line, instead of the demo's own site
    #[arg(long, value_name = "FILE", conflicts_with = "urls")]
    input: Option<PathBuf>,
    /// Leave the server running afterwards
    #[arg(long)]
    keep: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the demonstration.
///
/// # Errors
/// When a part does not start, or what was promised does not hold.
pub async fn run(args: DemoArgs) -> Result<ExitCode> {
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
    let mut child = Child::start(
        &directory.path().join("data"),
        &[("DATASONAR_WEBHOOK_CA_FILE", receiver.ca_file().display().to_string())],
    )
    .await?;
    let key = child.keys.as_ref().map(|keys| keys.0.clone()).context("the server showed no keys")?;
    let api = Api::new(Server { server: child.url(), api_key: key.clone() })?;
    if !args.json {
        let what = if site.is_some() { "a local site of 32 hosts" } else { "the list" };
        say(&format!("Queueing {} URLs of {what}; the callback goes to {}.\n", list.len(), receiver.url()));
    }

    let report = tokio::select! {
        report = show(&api, &child, &receiver, site.as_ref(), &list, directory.path()) => report,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    let report = report.with_context(|| format!("the server's last words:\n{}", child.last_words()))?;
    report.print(args.json);
    if args.keep {
        keep(&child, &key).await;
    }
    child.stop().await?;
    Ok(ExitCode::SUCCESS)
}

async fn show(
    api: &Api,
    child: &Child,
    receiver: &Receiver,
    site: Option<&Site>,
    list: &[String],
    directory: &std::path::Path,
) -> Result<Report> {
    let path = directory.join("urls.txt");
    let mut file = BufWriter::new(File::create(&path)?);
    for url in list {
        writeln!(file, "{url}")?;
    }
    file.flush()?;
    let members = Map::from_iter([("webhook_url".to_owned(), json!(receiver.url()))]);

    let begin = Instant::now();
    let job_id = submit_file(api, &path, members, None).await?;
    let accepted = begin.elapsed();

    let mut single = None;
    let job = api
        .wait(&job_id, async |job| {
            let done = job["progress"]["succeeded"].as_u64().unwrap_or(0) as usize;
            if single.is_none() && done >= list.len() / 2 && !job["completed_at"].is_string() {
                single = Some(match site {
                    Some(site) => one_more(api, &site.quick_url()).await.ok(),
                    None => None,
                });
            }
        })
        .await?;
    let total = begin.elapsed();

    let received = tokio::time::timeout(CALLBACK_WITHIN, receiver.next())
        .await
        .map_err(|_| anyhow::anyhow!("no callback came within {CALLBACK_WITHIN:?}"))?
        .context("the endpoint has stopped")?;
    let callback_ms = callback_after(&job);
    let secrets = api.json(Method::GET, "/v1/webhooks/secrets", None).await?;
    let secret = secrets["data"][0]["secret"].as_str().context("there is no webhook secret")?;
    check(&received, secret, &job_id)?;
    let expected = |index: usize| match site {
        Some(site) => site.expect(index),
        None => Expected::Anything,
    };
    let body = BufReader::new(File::open(received.body())?);
    let counted = verify_body(body, &job_id, list, expected)?;
    Ok(Report {
        urls: list.len(),
        accepted,
        total,
        callback_ms,
        single: single.flatten(),
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

/// How long after the job's end its callback had arrived, which is now.
fn callback_after(job: &Value) -> i128 {
    let end = job["completed_at"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    end.map_or(0, |end| SystemClock.now().duration_since(end).as_millis())
}

/// Queues one URL and waits for it.
async fn one_more(api: &Api, url: &str) -> Result<Duration> {
    let begin = Instant::now();
    let queued = api.json(Method::POST, "/v1/scrape/async", Some(&json!({"url": url}))).await?;
    let id = queued["job_id"].as_str().context("there is no job_id")?.to_owned();
    loop {
        let job = api.job(&id).await?;
        if job["completed_at"].is_string() {
            return Ok(begin.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn read_list(path: &std::path::Path) -> Result<Vec<String>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines: std::io::Result<Vec<String>> = BufReader::new(file).lines().collect();
    let urls = lines?.into_iter().map(|line| line.trim().to_owned());
    Ok(urls.filter(|line| !line.is_empty() && !line.starts_with('#')).collect())
}

/// Leaves the server running until Ctrl-C.
async fn keep(child: &Child, key: &str) {
    say(&format!(
        r#"
The server goes on at {url}. Try it:

  curl -X POST {url}v1/scrape \
    -H "Authorization: Bearer {key}" \
    -d '{{"url": "https://example.com/"}}'

Ctrl-C stops it and deletes its data."#,
        url = child.url()
    ));
    if tokio::signal::ctrl_c().await.is_err() {
        say_error("cannot wait for Ctrl-C");
    }
}
