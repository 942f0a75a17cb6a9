//! Why a page cannot be shown or a form not be followed, as pages.

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use datasonar_store::{LimitReached, StoreError};

use super::super::assets;
use crate::{
    jobs::{AgainError, JobsError, ResultsError},
    schedules::SchedulesError,
    scrape::FieldError,
};

/// Why there is no page.
#[derive(Debug)]
pub(in crate::dashboard) enum Failure {
    /// Nobody is signed in.
    SignIn {
        /// The path to come back to.
        to: String,
    },
    /// There is no such thing within the viewer's environment.
    NotFound(&'static str),
    /// A form that did not come from a page of this session.
    Foreign,
    /// Only an owner may do it.
    OwnersOnly,
    /// It cannot be done; the text says why, for people.
    Refused(StatusCode, String),
    /// It is more than the account's plan allows.
    Limited(LimitReached),
    /// A failure of ours; the reason is in the log.
    Internal,
}

impl Failure {
    /// What cannot be done because of how things are.
    pub(in crate::dashboard) fn conflict(why: impl Into<String>) -> Self {
        Self::Refused(StatusCode::CONFLICT, why.into())
    }

    /// What cannot be followed.
    pub(in crate::dashboard) fn invalid(why: impl Into<String>) -> Self {
        Self::Refused(StatusCode::UNPROCESSABLE_ENTITY, why.into())
    }

    /// A defect, which goes to the log.
    pub(in crate::dashboard) fn internal(reason: &dyn std::fmt::Display) -> Self {
        tracing::error!(%reason, "a page failed");
        Self::Internal
    }

    /// Names what was not found.
    pub(in crate::dashboard) fn of(what: &'static str) -> impl FnOnce(StoreError) -> Self {
        move |error| match error {
            StoreError::NotFound => Self::NotFound(what),
            other => other.into(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound("page"),
            StoreError::Conflict(why) => Self::conflict(why),
            StoreError::LimitReached(reached) => Self::Limited(reached),
            StoreError::Unavailable(why) => {
                tracing::warn!(why, "the store is unavailable");
                let told = "The store is unavailable for the moment. Nothing is lost; try again soon.";
                Self::Refused(StatusCode::SERVICE_UNAVAILABLE, told.to_owned())
            }
            error => Self::internal(&error),
        }
    }
}

impl From<JobsError> for Failure {
    fn from(error: JobsError) -> Self {
        match error {
            JobsError::Store(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

impl From<AgainError> for Failure {
    fn from(error: AgainError) -> Self {
        match error {
            AgainError::Gone | AgainError::Open => Self::conflict(error.to_string()),
            AgainError::Jobs(error) => error.into(),
            AgainError::Results(error) => error.into(),
        }
    }
}

impl From<ResultsError> for Failure {
    fn from(error: ResultsError) -> Self {
        match error {
            ResultsError::Store(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

impl From<Vec<FieldError>> for Failure {
    fn from(errors: Vec<FieldError>) -> Self {
        let all: Vec<String> =
            errors.iter().map(|error| format!("{} {}", error.pointer.trim_start_matches('/'), error.detail)).collect();
        Self::invalid(all.join("; "))
    }
}

impl From<SchedulesError> for Failure {
    fn from(error: SchedulesError) -> Self {
        match error {
            SchedulesError::Fields(errors) => errors.into(),
            SchedulesError::Store(error) => error.into(),
            SchedulesError::Jobs(error) => error.into(),
        }
    }
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage<'a> {
    style: &'static str,
    icon: &'static str,
    title: &'a str,
    text: &'a str,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, title, text) = match &self {
            Self::SignIn { to } => {
                let to: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
                return Redirect::to(&format!("/sign-in?to={to}")).into_response();
            }
            Self::NotFound(what) => (
                StatusCode::NOT_FOUND,
                "Nothing here",
                format!(
                    "There is no such {what} in this environment. It may have been deleted when its retention had passed."
                ),
            ),
            Self::Foreign => {
                let text =
                    "This form is not from a page of your session. Go back, load the page again, and try once more.";
                (StatusCode::FORBIDDEN, "Not accepted", text.to_owned())
            }
            Self::OwnersOnly => {
                (StatusCode::FORBIDDEN, "For owners only", "Ask an owner of this account to do it.".to_owned())
            }
            Self::Refused(status, why) => (*status, "That did not work", sentence(why)),
            Self::Limited(reached) => {
                let text = format!("{} Settings → Usage shows what is left.", sentence(&reached.to_string()));
                (StatusCode::TOO_MANY_REQUESTS, "More than your plan allows", text)
            }
            Self::Internal => {
                let text = "Something of ours broke. The server's log says what; your data is safe.";
                (StatusCode::INTERNAL_SERVER_ERROR, "Our fault", text.to_owned())
            }
        };
        let page = FailurePage { style: assets::style(), icon: assets::icon(), title, text: &text };
        let html = page.render().unwrap_or_else(|_| title.to_owned());
        let mut response = (status, Html(html)).into_response();
        let retry_after = match &self {
            Self::Limited(reached) => Some(reached.retry_after.as_secs().saturating_add(1)),
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(2),
        };
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Begins with a capital and ends with a full stop.
pub(in crate::dashboard) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}
