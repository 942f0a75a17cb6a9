//! `datasonar crawl`: a whole site, followed until it is done or left to the server.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value, json};

use super::{
    OptionArgs,
    api::{Api, ApiError, Server, accept},
    print,
};
use crate::cli::{say, say_error};

#[derive(Args)]
pub(in crate::cli) struct CrawlArgs {
    /// Where to begin
    url: String,
    #[command(flatten)]
    crawl: CrawlOptionArgs,
    /// Queue it and print the job's id; do not wait for its end
    #[arg(long)]
    no_wait: bool,
    /// Write the page results there, one a line, instead of standard output
    #[arg(long, value_name = "FILE", conflicts_with = "no_wait")]
    output: Option<PathBuf>,
    /// Where the result is to be POSTed
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// The same key and request within 24 hours is one job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Print the answers as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: OptionArgs,
    #[command(flatten)]
    server: Server,
}

/// What may be asked of a crawl.
#[derive(Args, Debug, Default)]
pub(in crate::cli) struct CrawlOptionArgs {
    /// At most so many pages [default: 1000]
    #[arg(long, value_name = "N")]
    max_pages: Option<u64>,
    /// At most so many links away from the start
    #[arg(long, value_name = "N")]
    max_depth: Option<u32>,
    /// Follow only paths that this regular expression matches (may be repeated)
    #[arg(long = "include-path", value_name = "REGEX")]
    include_paths: Vec<String>,
    /// Do not follow paths that this regular expression matches (may be repeated)
    #[arg(long = "exclude-path", value_name = "REGEX")]
    exclude_paths: Vec<String>,
    /// Follow links to other hosts of the same domain
    #[arg(long)]
    allow_subdomains: bool,
    /// Follow links to other sites
    #[arg(long)]
    allow_external_links: bool,
    /// Take URLs that differ only in their query for one page
    #[arg(long)]
    ignore_query_parameters: bool,
    /// What sitemaps are good for: include, skip or only [default: include]
    #[arg(long, value_parser = ["include", "skip", "only"])]
    sitemap: Option<String>,
    /// The least time between two requests to a host
    #[arg(long, value_name = "MS")]
    delay_ms: Option<u64>,
    /// Fetch what robots.txt disallows, too
    #[arg(long, conflicts_with = "respect_robots")]
    ignore_robots: bool,
}

impl CrawlOptionArgs {
    /// The members of a request that say so.
    pub(in crate::cli) fn members(&self) -> Map<String, Value> {
        let flag = |is_set: bool| is_set.then_some(json!(true));
        let list = |items: &[String]| (!items.is_empty()).then(|| json!(items));
        let members = [
            ("max_pages", self.max_pages.map(Value::from)),
            ("max_depth", self.max_depth.map(Value::from)),
            ("include_paths", list(&self.include_paths)),
            ("exclude_paths", list(&self.exclude_paths)),
            ("allow_subdomains", flag(self.allow_subdomains)),
            ("allow_external_links", flag(self.allow_external_links)),
            ("ignore_query_parameters", flag(self.ignore_query_parameters)),
            ("sitemap", self.sitemap.as_deref().map(Value::from)),
            ("delay_ms", self.delay_ms.map(Value::from)),
            ("respect_robots", self.ignore_robots.then_some(json!(false))),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

pub(in crate::cli) async fn run(args: CrawlArgs) -> Result<ExitCode> {
    let api = Api::new(args.server)?;
    let mut request = args.options.members();
    request.extend(args.crawl.members());
    request.insert("url".to_owned(), json!(args.url));
    if let Some(url) = &args.webhook_url {
        request.insert("webhook_url".to_owned(), json!(url));
    }
    let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    if let Some(key) = &args.idempotency_key {
        headers.insert("idempotency-key", HeaderValue::from_str(key).context("--idempotency-key")?);
    }
    let body = datasonar_net::BodySource::bytes(Value::from(request).to_string());
    let answer = accept(api.call(Method::POST, "/v1/crawl", headers, Some(body)).await?).await?;
    let id = answer["job_id"].as_str().ok_or_else(|| ApiError::Unexpected("there is no job_id".to_owned()))?;
    if args.no_wait {
        say(if args.json { answer.to_string() } else { id.to_owned() }.as_str());
        return Ok(ExitCode::SUCCESS);
    }
    say_error(&format!("job {id}"));
    let job = api.wait(id, async |_| {}).await?;
    match &args.output {
        Some(path) => {
            let mut file =
                BufWriter::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?);
            api.results(id, |bytes| file.write_all(bytes)).await?;
            file.flush()?;
        }
        None => api.results(id, print).await?,
    }
    say_error(&summary(&job));
    Ok(if job["status"] == "completed" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of a crawl, in a line or two.
fn summary(job: &Value) -> String {
    let progress = &job["progress"];
    let status = job["status"].as_str().unwrap_or("");
    let mut text = format!("{status}: {} succeeded, {} failed", progress["succeeded"], progress["failed"]);
    let reasons = [
        ("robots", "disallowed by robots.txt"),
        ("out_of_scope", "out of scope"),
        ("duplicate", "duplicates"),
        ("over_limit", "over the limit of pages"),
    ];
    let skipped: Vec<String> = reasons
        .iter()
        .filter_map(|(reason, words)| {
            let count = job["skipped"][reason].as_u64().filter(|count| *count > 0)?;
            Some(format!("{count} {words}"))
        })
        .collect();
    if !skipped.is_empty() {
        text += &format!("\nskipped: {}", skipped.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_is_asked() {
        assert_eq!(Value::from(CrawlOptionArgs::default().members()), json!({}));
        let args = CrawlOptionArgs {
            max_pages: Some(9),
            include_paths: vec!["^/docs/".to_owned()],
            allow_subdomains: true,
            sitemap: Some("skip".to_owned()),
            ignore_robots: true,
            ..CrawlOptionArgs::default()
        };
        let asked = json!({
            "max_pages": 9, "include_paths": ["^/docs/"], "allow_subdomains": true, "sitemap": "skip",
            "respect_robots": false,
        });
        assert_eq!(Value::from(args.members()), asked);
    }

    #[test]
    fn what_was_skipped_is_told() {
        let job = json!({
            "status": "completed", "progress": {"total": 3, "succeeded": 2, "failed": 1},
            "skipped": {"robots": 4, "out_of_scope": 0, "duplicate": 1, "over_limit": 0},
        });
        let told = "completed: 2 succeeded, 1 failed\nskipped: 4 disallowed by robots.txt, 1 duplicates";
        assert_eq!(summary(&job), told);
    }
}
