//! What people send back: forms, checked to come from a page of the session before anything is read of them.

use std::error::Error;

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Multipart, Request},
    http::StatusCode,
};
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;

use super::{Failure, Viewer, guard};
use crate::app::App;

/// The longest form that is not an upload.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// A form that was sent from a page of the viewer's session.
pub(in crate::dashboard) struct Form<T> {
    pub(in crate::dashboard) viewer: Viewer,
    pub(in crate::dashboard) fields: T,
}

impl<T: DeserializeOwned> FromRequest<App> for Form<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        if guard::is_foreign(&parts.headers) {
            return Err(Failure::Foreign);
        }
        let viewer = Viewer::from_request_parts(&mut parts, app).await?;
        let bytes = to_bytes(body, MOST_BYTES).await.map_err(|error| unread(&error))?;
        check(&viewer, brought(&bytes).as_deref())?;
        let fields = fields(&bytes)?;
        Ok(Self { viewer, fields })
    }
}

/// The token that a form brings.
fn brought(bytes: &[u8]) -> Option<String> {
    url::form_urlencoded::parse(bytes).find(|(name, _)| name == "csrf").map(|(_, value)| value.into_owned())
}

fn check(viewer: &Viewer, brought: Option<&str>) -> Result<(), Failure> {
    match brought {
        Some(token) if guard::is_token(&viewer.token, token) => Ok(()),
        _ => Err(Failure::Foreign),
    }
}

/// Tells why a form could not be read.
fn unread(error: &(dyn Error + 'static)) -> Failure {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    if causes.any(|cause| cause.is::<LengthLimitError>()) {
        return too_long();
    }
    Failure::Refused(
        StatusCode::REQUEST_TIMEOUT,
        "the form did not arrive in time, or ended early: send it again".to_owned(),
    )
}

fn too_long() -> Failure {
    let told = format!("this form is longer than {} MiB: upload a list as a file instead", MOST_BYTES / 1024 / 1024);
    Failure::Refused(StatusCode::PAYLOAD_TOO_LARGE, told)
}

/// Reads the fields of a form; empty ones are taken for missing.
pub(in crate::dashboard) fn fields<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let pairs = url::form_urlencoded::parse(bytes).filter(|(_, value)| !value.is_empty());
    let kept = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    serde_urlencoded::from_str(&kept).map_err(|error| Failure::invalid(format!("the form cannot be read: {error}")))
}

/// A form with files, part by part. Its first part is the token.
pub(in crate::dashboard) struct Upload {
    pub(in crate::dashboard) viewer: Viewer,
    pub(in crate::dashboard) parts: Multipart,
}

impl FromRequest<App> for Upload {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        if guard::is_foreign(&parts.headers) {
            return Err(Failure::Foreign);
        }
        let viewer = Viewer::from_request_parts(&mut parts, app).await?;
        let unreadable = |_| Failure::invalid("the upload cannot be read");
        let mut parts = Multipart::from_request(Request::from_parts(parts, body), app).await.map_err(unreadable)?;
        let first = parts.next_field().await.map_err(|_| Failure::Foreign)?.ok_or(Failure::Foreign)?;
        let is_token = first.name() == Some("csrf");
        let token = first.text().await.map_err(|_| Failure::Foreign)?;
        check(&viewer, is_token.then_some(&*token))?;
        Ok(Self { viewer, parts })
    }
}
