//! Errors as clients see them: RFC 9457 problem details, with the request's id. Whatever goes wrong inside is logged under
//! that id and told as little more than its status.

use axum::{
    Json,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use datasonar_store::{Limit, LimitReached, StoreError};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::WrongHost;
use crate::{
    clock::whole_seconds,
    jobs::{JobsError, ResultsError},
    scrape::FieldError,
};

tokio::task_local! {
    /// The id of the request that is being answered.
    static REQUEST_ID: Uuid;
}

/// The media type of problem details.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// An error as clients see it (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// A URI that names the kind of problem; `about:blank` where the status says it all.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// The status in words.
    pub(super) title: &'static str,
    /// The HTTP status code.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16)]
    pub(super) status: StatusCode,
    /// What is wrong, and what to do about it.
    pub(super) detail: String,
    /// The request's id, as in `X-Request-Id`.
    pub(super) request_id: String,
    /// The fields that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(super) errors: Vec<FieldError>,
    /// The limit of the account's plan that was reached: `pages_per_month`, `requests_per_minute` or `concurrent_jobs`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_name")]
    #[schema(value_type = Option<String>)]
    pub(super) limit: Option<Limit>,
    /// In seconds.
    #[serde(skip)]
    retry_after: Option<u32>,
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

fn as_name<S: serde::Serializer>(limit: &Option<Limit>, serializer: S) -> Result<S::Ok, S::Error> {
    limit.map(Limit::as_str).serialize(serializer)
}

impl Problem {
    /// A problem of this status.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: detail.into(),
            request_id: REQUEST_ID.try_with(Uuid::to_string).unwrap_or_default(),
            errors: Vec::new(),
            limit: None,
            retry_after: None,
        }
    }

    /// Fields that cannot be followed: 422.
    pub(super) fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match &errors[..] {
            [error] => format!("{}: {}", error.pointer, error.detail),
            errors => format!("{} fields are invalid", errors.len()),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// One field that cannot be followed: 422.
    pub(super) fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::fields(vec![FieldError::new(pointer, detail)])
    }

    /// No such thing within the caller's scope.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }

    /// Too much at once, or the store is away: 503.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// More than the account's plan allows: 429.
    pub(super) fn limited(reached: &LimitReached) -> Self {
        Self {
            limit: Some(reached.limit),
            retry_after: Some(whole_seconds(reached.retry_after)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, reached.to_string())
        }
    }

    /// A failure of ours: 500. The reason goes to the log.
    pub(super) fn internal(reason: &dyn std::fmt::Display) -> Self {
        let problem =
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error; the request id names it in the log");
        tracing::error!(request_id = problem.request_id, %reason, "a request failed");
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, retry_after) = (self.status, self.retry_after);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::not_found("thing"),
            StoreError::Conflict(why) => Self::new(StatusCode::CONFLICT, why),
            StoreError::IdempotencyMismatch => Self::new(
                StatusCode::CONFLICT,
                "this Idempotency-Key was used with another request within the last 24 hours",
            ),
            StoreError::LimitReached(reached) => Self::limited(&reached),
            StoreError::Unavailable(why) => {
                tracing::warn!(why, "the store is unavailable");
                Self::unavailable("the store is unavailable for the moment; try again")
            }
            error @ (StoreError::LeaseLost | StoreError::Corrupt(_)) => Self::internal(&error),
        }
    }
}

impl From<Vec<FieldError>> for Problem {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::fields(errors)
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::fields(vec![error])
    }
}

impl From<JobsError> for Problem {
    fn from(error: JobsError) -> Self {
        match error {
            JobsError::Store(error) => error.into(),
            JobsError::Blobs(error) => {
                tracing::warn!(%error, "a job could not be accepted");
                Self::unavailable("the storage is unavailable for the moment; try again")
            }
            error @ JobsError::Panicked(_) => Self::internal(&error),
        }
    }
}

impl From<ResultsError> for Problem {
    fn from(error: ResultsError) -> Self {
        match error {
            ResultsError::Store(error) => error.into(),
            error @ ResultsError::TooManyReaders => Self::unavailable(error.to_string()),
            error => Self::internal(&error),
        }
    }
}

/// Gives every request an id and every response its header.
pub(super) async fn identify(id: Uuid, request: Request, next: Next) -> Response {
    let wrong_host = request.extensions().get::<WrongHost>().copied();
    let answer = async {
        match wrong_host {
            Some(WrongHost(why)) => {
                Problem::new(StatusCode::BAD_REQUEST, format!("{why}; name the server in one Host header"))
                    .into_response()
            }
            None => next.run(request).await,
        }
    };
    let mut response = REQUEST_ID.scope(id, answer).await;
    let value = HeaderValue::try_from(id.to_string()).expect("a UUID is visible ASCII");
    response.headers_mut().insert("x-request-id", value);
    response
}

/// Answers a route that does not exist.
pub(super) async fn no_route(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}; /openapi.json lists all routes", uri.path()))
}

/// Answers a method that a route does not have.
pub(super) async fn no_method(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

/// Answers for a handler that panicked.
pub(super) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    Problem::internal(&text.unwrap_or("a handler panicked")).into_response()
}
