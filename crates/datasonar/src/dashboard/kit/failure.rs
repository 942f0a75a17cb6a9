//! Why a page cannot be shown or a form not be followed, as pages.

use askama::Template;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use datasonar_store::{Environment, LimitReached, StoreError};

use super::{super::assets, Chrome, Section, Viewer, viewer};
use crate::{
    app::App,
    clock::whole_seconds,
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
            AgainError::Gone | AgainError::Open | AgainError::Unreadable(_) => Self::conflict(error.to_string()),
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
        Self::invalid(wrong_fields(&errors))
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

/// What is wrong with a form, field by field.
pub(in crate::dashboard) fn wrong_fields(errors: &[FieldError]) -> String {
    let one = |error: &FieldError| {
        format!("{}: {}", error.pointer.trim_start_matches('/'), error.detail.trim_end_matches('.'))
    };
    format!("{}.", errors.iter().map(one).collect::<Vec<_>>().join("; "))
}

/// What a failure says, beside its answer: [`dress`] makes the page of it, which knows who looks.
#[derive(Clone, Debug)]
struct Told {
    title: &'static str,
    text: String,
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
        let mut response = status.into_response();
        let retry_after = match &self {
            Self::Limited(reached) => Some(whole_seconds(reached.retry_after)),
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(2),
        };
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Told { title, text });
        response
    }
}

#[derive(Template)]
#[template(path = "failure.html")]
struct OutsidePage<'a> {
    style: &'static str,
    icon: &'static str,
    theme: &'static str,
    told: &'a Told,
    back: &'a str,
}

#[derive(Template)]
#[template(path = "failure_inside.html")]
struct InsidePage<'a> {
    chrome: Chrome,
    told: &'a Told,
    back: &'a str,
}

/// Makes pages of failures: within the dashboard for whoever is signed in, and outside for others.
pub(in crate::dashboard) async fn dress(State(app): State<App>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut asked = parts.clone();
    if asked.uri.path().split('/').nth(1) == Some(Environment::Sandbox.as_str()) {
        asked.extensions.insert(Environment::Sandbox);
    }
    let mut response = next.run(Request::from_parts(parts, body)).await;
    let Some(told) = response.extensions_mut().remove::<Told>() else { return response };
    let back = came_from(&asked);
    // Who looks is asked of the store; where that is what fails, there is a page all the same.
    let viewer = match response.status() {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR => None,
        _ => Viewer::of(&asked, &app).await.ok(),
    };
    let page = match viewer {
        Some(viewer) => {
            let path = asked.uri.path();
            let within = path.strip_prefix(&viewer.path("")).unwrap_or_default();
            InsidePage { chrome: Chrome::new(&viewer, Section::of(within), told.title), told: &told, back: &back }
                .render()
        }
        None => {
            let theme = viewer::theme(&asked.headers);
            OutsidePage { style: assets::style(), icon: assets::icon(), theme, told: &told, back: &back }.render()
        }
    };
    let html = page.unwrap_or_else(|_| told.title.to_owned());
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    *response.body_mut() = Body::from(html);
    response
}

/// The page that a form was sent from, if it is one of ours; or else the first.
fn came_from(asked: &Parts) -> String {
    let text = |name| asked.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let page = text(header::REFERER).and_then(|text| url::Url::parse(text).ok());
    let is_ours = |page: &url::Url| {
        let host = page.host_str().unwrap_or_default();
        let named = page.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        text(header::HOST).is_some_and(|own| own.eq_ignore_ascii_case(&named)) && page.path().starts_with('/')
    };
    let page = page.filter(|page| asked.method == Method::POST && is_ours(page) && !page.path().starts_with("//"));
    page.map_or_else(|| "/".to_owned(), |page| page[url::Position::BeforePath..url::Position::AfterQuery].to_owned())
}

/// Begins with a capital and ends with a full stop.
pub(in crate::dashboard) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}
