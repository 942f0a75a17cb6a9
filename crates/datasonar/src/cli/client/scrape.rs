//! `datasonar scrape`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use datasonar_net::BodySource;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::{
    OptionArgs,
    api::{Api, ApiError, Server, read},
    for_terminal,
};
use crate::cli::{say, say_error};

#[derive(Args)]
pub(in crate::cli) struct ScrapeArgs {
    /// The URL
    url: String,
    /// Print the whole page result
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: OptionArgs,
    #[command(flatten)]
    server: Server,
}

pub(in crate::cli) async fn run(args: ScrapeArgs) -> Result<ExitCode> {
    let api = Api::new(args.server)?;
    let mut request = args.options.members();
    request.insert("url".to_owned(), json!(args.url));
    let body = BodySource::bytes(Value::Object(request).to_string());
    let response = api.call(Method::POST, "/v1/scrape", HeaderMap::new(), Some(body)).await?;
    let (status, bytes) = read(response).await?;
    let page: Value = serde_json::from_slice(&bytes).map_err(|error| ApiError::Unexpected(error.to_string()))?;
    if let Some(detail) = page["detail"].as_str() {
        // A problem, not a page.
        let detail = detail.to_owned();
        return Err(match status.as_u16() {
            401 => ApiError::Unauthorized(detail),
            _ => ApiError::Refused { status, detail },
        }
        .into());
    }
    if args.json {
        say(&serde_json::to_string_pretty(&page)?);
    } else if let Some(text) = page["content"].as_str() {
        say(&for_terminal(text));
    } else if !page["content"].is_null() {
        say(&serde_json::to_string_pretty(&page["content"])?);
    }
    if page["status"] == "success" {
        return Ok(ExitCode::SUCCESS);
    }
    let error = &page["error"];
    say_error(&format!("{}: {}", error["code"].as_str().unwrap_or("error"), error["message"].as_str().unwrap_or("")));
    Ok(ExitCode::FAILURE)
}
