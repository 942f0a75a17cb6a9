//! `datasonar batch`: a file of URLs, whatever its length, without holding it in memory.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Seek, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;
use datasonar_net::BodySource;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};
use tokio_util::io::ReaderStream;

use super::{
    OptionArgs,
    api::{Api, ApiError, Server, accept},
    print,
};
use crate::cli::{say, say_error};

#[derive(Args)]
pub(in crate::cli) struct BatchArgs {
    /// One URL a line; empty lines and lines that begin with # are passed over; - for standard input
    file: PathBuf,
    /// Wait for the end, then print one page result a line
    #[arg(long)]
    wait: bool,
    /// Write the page results there instead of standard output
    #[arg(long, value_name = "FILE", requires = "wait")]
    output: Option<PathBuf>,
    /// Where the result is to be POSTed
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// The same key and list within 24 hours is one job
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

pub(in crate::cli) async fn run(args: BatchArgs) -> Result<ExitCode> {
    let api = Api::new(args.server)?;
    let mut members = args.options.members();
    if let Some(url) = &args.webhook_url {
        members.insert("webhook_url".to_owned(), json!(url));
    }
    let id = submit_file(&api, &args.file, members, args.idempotency_key.as_deref()).await?;
    if !args.wait {
        say(&if args.json { json!({"status": "queued", "job_id": id}).to_string() } else { id.clone() });
        return Ok(ExitCode::SUCCESS);
    }
    say_error(&format!("job {id}"));
    let job = api.wait(&id, async |_| {}).await?;
    match &args.output {
        Some(path) => {
            let mut file =
                BufWriter::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?);
            api.results(&id, |bytes| file.write_all(bytes)).await?;
            file.flush()?;
        }
        None => api.results(&id, print).await?,
    }
    let progress = &job["progress"];
    say_error(&format!(
        "{}: {} succeeded, {} failed",
        job["status"].as_str().unwrap_or(""),
        progress["succeeded"],
        progress["failed"]
    ));
    Ok(if job["status"] == "completed" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Queues the URLs of a file. Answers the job's id.
///
/// # Errors
/// When the file cannot be read, or the server refuses.
pub async fn submit_file(api: &Api, path: &Path, members: Map<String, Value>, key: Option<&str>) -> Result<String> {
    let body = if path == Path::new("-") {
        spool(io::stdin().lock(), &members)?
    } else {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        spool(BufReader::new(file), &members)?
    };
    let length = body.metadata()?.len();
    let chunks = ReaderStream::with_capacity(tokio::fs::File::from_std(body), 256 * 1024);
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        headers.insert("idempotency-key", HeaderValue::from_str(key).context("--idempotency-key")?);
    }
    let source = BodySource::stream(chunks, length);
    let response = api.call(Method::POST, "/v1/scrape/batch/async", headers, Some(source)).await?;
    let answer = accept(response).await?;
    let id = answer["job_id"].as_str().ok_or_else(|| ApiError::Unexpected("there is no job_id".to_owned()))?;
    Ok(id.to_owned())
}

/// Writes the request into a file without a name, so that its length is known before it is sent.
fn spool(lines: impl BufRead, members: &Map<String, Value>) -> Result<File> {
    let mut body = BufWriter::new(tempfile::tempfile()?);
    body.write_all(b"{")?;
    for (name, value) in members {
        write!(body, "{}:{value},", Value::from(name.as_str()))?;
    }
    body.write_all(b"\"urls\":[")?;
    let mut is_first = true;
    for line in lines.lines() {
        let line = line?;
        let url = line.trim();
        if url.is_empty() || url.starts_with('#') {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            body.write_all(b",\n")?;
        }
        serde_json::to_writer(&mut body, url)?;
    }
    body.write_all(b"]}")?;
    let mut file = body.into_inner()?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_file_becomes_a_request() {
        let members = Map::from_iter([("format".to_owned(), json!("text"))]);
        let lines = "# mine\nhttps://a.example/\n\n  https://b.example/?q=\"x\"  \n";
        let mut text = String::new();
        spool(lines.as_bytes(), &members).unwrap().read_to_string(&mut text).unwrap();
        let request: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(request, json!({"format": "text", "urls": ["https://a.example/", "https://b.example/?q=\"x\""]}));
    }
}
