//! Calls of the API.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use datasonar_net::{AddressPolicy, BodySource, Client, ClientOptions, FetchErrorKind, ResponseBody};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use indicatif::ProgressBar;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::cli::paint::bar;

/// The longest answer that is read whole.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// How often what is waited for is looked at.
const POLL: Duration = Duration::from_millis(200);
/// How long a server may be away while something is waited for: long enough to be started again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(30);

/// Which server to talk to, and as whom.
#[derive(Args, Clone, Debug)]
pub struct Server {
    /// The server
    #[arg(long, env = "DATASONAR_SERVER", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub server: Url,
    /// An API key
    #[arg(
        long,
        env = "DATASONAR_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        default_value = "",
        hide_default_value = true
    )]
    pub api_key: String,
}

/// Calls a server's API.
#[derive(Clone)]
pub struct Api {
    client: Client,
    server: Server,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server cannot be reached.
    #[error("cannot reach {server}: {reason}\n  Is `datasonar serve` running there? --server names another place.")]
    Unreachable {
        /// The server.
        server: Url,
        /// Why.
        reason: String,
    },
    /// The key is missing or unknown.
    #[error("{0}\n  Set DATASONAR_API_KEY, or pass --api-key. `datasonar keys create` makes a key.")]
    Unauthorized(String),
    /// The server refused the request.
    #[error("{detail} (status {status})")]
    Refused {
        /// The HTTP status code.
        status: StatusCode,
        /// What the server said of it.
        detail: String,
    },
    /// The answer is not what the API's description says.
    #[error("the answer is not what was expected: {0}")]
    Unexpected(String),
}

impl ApiError {
    /// Whether the same call may well succeed a little later.
    pub(in crate::cli) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status.as_u16(), 429 | 502..=504),
            Self::Unauthorized(_) | Self::Unexpected(_) => false,
        }
    }
}

impl Api {
    /// Prepares calls.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(server: Server) -> Result<Self, ApiError> {
        let policy = AddressPolicy::unrestricted();
        let user_agent = concat!("datasonar-cli/", env!("CARGO_PKG_VERSION")).to_owned();
        let client = Client::new(ClientOptions { user_agent, ..ClientOptions::new(policy) })
            .map_err(|error| ApiError::Unexpected(error.to_string()))?;
        Ok(Self { client, server })
    }

    /// Calls, and answers the response whatever its status.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: Option<BodySource>,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let url = self.url(path)?;
        if !self.server.api_key.is_empty() {
            let value = HeaderValue::try_from(format!("Bearer {}", self.server.api_key.trim()))
                .map_err(|_| ApiError::Unauthorized("the API key has characters that no key has".to_owned()))?;
            headers.insert(header::AUTHORIZATION, value);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.client.send(method, url, headers, body).await.map_err(|error| {
            let reason = match error.kind {
                FetchErrorKind::Connect => "nothing listens there".to_owned(),
                _ => error.message,
            };
            ApiError::Unreachable { server: self.server.server.clone(), reason }
        })
    }

    /// Which server is called.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The server may be below a path of another one's: the API is below that, too.
    fn url(&self, path: &str) -> Result<Url, ApiError> {
        let url = format!("{}{path}", self.server.server.as_str().trim_end_matches('/'));
        url.parse().map_err(|error| ApiError::Unexpected(format!("{url}: {error}")))
    }

    /// Calls with JSON and reads JSON.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses, or answers something else.
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let body = body.map(|body| BodySource::bytes(body.to_string()));
        let response = self.call(method, path, HeaderMap::new(), body).await?;
        accept(response).await
    }

    /// Looks at a job.
    ///
    /// # Errors
    /// As [`Api::json`].
    pub async fn job(&self, id: &str) -> Result<Value, ApiError> {
        self.look(&job_path(id)).await
    }

    async fn look(&self, path: &str) -> Result<Value, ApiError> {
        let found = tokio::time::timeout(LOOK_WITHIN, self.json(Method::GET, path, None)).await;
        found.unwrap_or_else(|_| {
            let reason = format!("no answer within {LOOK_WITHIN:?}");
            Err(ApiError::Unreachable { server: self.server.server.clone(), reason })
        })
    }

    /// Waits for a job to end, with a progress bar where there is a terminal. `each` sees the job whenever it is looked at.
    /// A server that is away for a moment is waited for.
    ///
    /// # Errors
    /// As [`Api::json`].
    pub async fn wait(&self, id: &str, mut each: impl AsyncFnMut(&Value)) -> Result<Value, ApiError> {
        let bar = bar("  {bar:32.cyan/dim} {pos}/{len} pages  {per_sec}  {eta} left  {msg}", 0);
        let has_ended = async |job: &Value| {
            let count = |name: &str| job["progress"][name].as_u64().unwrap_or(0);
            bar.set_length(count("total"));
            bar.set_position(count("succeeded") + count("failed"));
            bar.set_message(match count("failed") {
                0 => String::new(),
                failed => format!("{failed} failed"),
            });
            each(job).await;
            job["completed_at"].is_string()
        };
        self.until(&job_path(id), &bar, has_ended).await
    }

    /// Looks at something until that is as it should be; then the bar is cleared. A server that is away for a moment is
    /// waited for.
    ///
    /// # Errors
    /// As [`Api::json`].
    pub(super) async fn until(
        &self,
        path: &str,
        bar: &ProgressBar,
        mut is_it: impl AsyncFnMut(&Value) -> bool,
    ) -> Result<Value, ApiError> {
        let mut seen = Instant::now();
        loop {
            let found = match self.look(path).await {
                Err(error) if error.is_passing() && seen.elapsed() < PATIENCE => {
                    bar.set_message("the server is away");
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                found => found?,
            };
            seen = Instant::now();
            if is_it(&found).await {
                bar.finish_and_clear();
                return Ok(found);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Streams a job's results as JSON lines.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses, or the stream breaks, or `take` fails.
    pub async fn results(&self, id: &str, take: impl FnMut(&[u8]) -> std::io::Result<()>) -> anyhow::Result<()> {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/x-ndjson"))]);
        let response = self.open(&format!("{}/results", job_path(id)), headers).await?;
        pour(response, "the results", take).await
    }

    /// Begins to read an answer that need not be JSON; a refusal becomes an error.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub(in crate::cli) async fn open(
        &self,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let response = self.call(Method::GET, path, headers, None).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        accept(response).await?;
        Err(ApiError::Unexpected("the server has nothing to say".to_owned()))
    }
}

fn job_path(id: &str) -> String {
    format!("/v1/jobs/{id}")
}

/// How long an answer is, if it says so.
pub(in crate::cli) fn length_of(response: &Response<ResponseBody>) -> Option<u64> {
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Passes the bytes of an answer on as they come.
///
/// # Errors
/// When they break off, or `take` fails.
pub(super) async fn pour(
    response: Response<ResponseBody>,
    what: &str,
    mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow::anyhow!("{what} broke off: {}", error.message))?;
        if let Some(bytes) = frame.data_ref() {
            take(bytes)?;
        }
    }
    Ok(())
}

/// Reads an answer that is JSON; a refusal becomes an error.
///
/// # Errors
/// When it is a refusal, or something else.
pub(super) async fn accept(response: Response<ResponseBody>) -> Result<Value, ApiError> {
    let (status, bytes) = read(response).await?;
    let value: Result<Value, _> = serde_json::from_slice(&bytes);
    if status.is_success() {
        return value.map_err(|error| ApiError::Unexpected(error.to_string()));
    }
    let value = value.unwrap_or_default();
    let mut detail = value["detail"].as_str().unwrap_or("the server refused the request").to_owned();
    if let Some(errors) = value["errors"].as_array().filter(|errors| errors.len() > 1) {
        for error in errors {
            detail.push_str(&format!(
                "\n  {}: {}",
                error["pointer"].as_str().unwrap_or(""),
                error["detail"].as_str().unwrap_or("")
            ));
        }
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(ApiError::Unauthorized(detail));
    }
    Err(ApiError::Refused { status, detail })
}

/// Reads an answer whole.
///
/// # Errors
/// When it breaks off or is too long.
pub(super) async fn read(response: Response<ResponseBody>) -> Result<(StatusCode, Bytes), ApiError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let bytes = body.map_err(|error| ApiError::Unexpected(error.to_string()))?.to_bytes();
    Ok((status, bytes))
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
