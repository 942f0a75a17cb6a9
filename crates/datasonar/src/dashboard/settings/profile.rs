//! Settings → Profile: one's own password and sessions.

use std::cmp::Reverse;

use askama::Template;
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use datasonar_store::OpenSession;
use jiff::Timestamp;
use serde::Deserialize;

use super::{Tab, tabs};
use crate::{
    app::App,
    crypto::sha256,
    dashboard::kit::{Chrome, Failure, Form, Viewer, count, page, redirect, redirect_with, sentence, span},
    people::NewPasswordError,
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/settings/profile", get(show).post(change))
        .route("/settings/profile/sign-out-elsewhere", post(sign_out_elsewhere))
        .route("/settings/profile/sign-out-everywhere", post(sign_out_everywhere))
}

#[derive(Template)]
#[template(path = "settings_profile.html")]
struct ProfilePage {
    chrome: Chrome,
    tabs: Vec<Tab>,
    /// This one first, then those that were used last.
    sessions: Vec<SessionRow>,
    wrong: Option<String>,
    lifetime: String,
    idle: String,
}

/// A browser that is signed in.
struct SessionRow {
    is_this: bool,
    created_at: Timestamp,
    seen_at: Timestamp,
    expires_at: Timestamp,
}

async fn show(State(app): State<App>, viewer: Viewer) -> Result<Response, Failure> {
    draw(&app, &viewer, None).await
}

async fn draw(app: &App, viewer: &Viewer, wrong: Option<String>) -> Result<Response, Failure> {
    let own = sha256(viewer.token().as_bytes());
    let row = |session: OpenSession| SessionRow {
        is_this: session.hash == own,
        created_at: session.created_at,
        seen_at: session.seen_at,
        expires_at: session.expires_at,
    };
    let mut sessions: Vec<SessionRow> = app.people.sessions(viewer.session.user).await?.into_iter().map(row).collect();
    sessions.sort_by_key(|session| (!session.is_this, Reverse(session.seen_at)));
    let is_wrong = wrong.is_some();
    let drawn = page(&ProfilePage {
        chrome: super::chrome(viewer, "Profile"),
        tabs: tabs(viewer, "Profile"),
        sessions,
        wrong,
        lifetime: span(app.settings.session_lifetime),
        idle: span(app.settings.session_idle),
    })?;
    Ok(if is_wrong { (StatusCode::UNPROCESSABLE_ENTITY, drawn).into_response() } else { drawn })
}

#[derive(Deserialize)]
struct Change {
    old: Option<String>,
    new: Option<String>,
}

async fn change(State(app): State<App>, Form { viewer, fields }: Form<Change>) -> Result<Response, Failure> {
    let (old, new) = (fields.old.unwrap_or_default(), fields.new.unwrap_or_default());
    match app.people.change_password(&viewer.session, &old, &new).await {
        Ok(()) => {
            let told = "Your password is changed. All your other sessions are closed.";
            Ok(redirect_with(&viewer.path("/settings/profile"), told))
        }
        Err(NewPasswordError::Store(error)) => Err(error.into()),
        Err(error) => draw(&app, &viewer, Some(sentence(&error.to_string()))).await,
    }
}

#[derive(Deserialize)]
struct Nothing {}

async fn sign_out_elsewhere(State(app): State<App>, Form { viewer, .. }: Form<Nothing>) -> Result<Response, Failure> {
    let closed = app.people.sign_out_elsewhere(&viewer.session).await?;
    let told = format!("{} other {} closed.", count(closed), if closed == 1 { "session is" } else { "sessions are" });
    Ok(redirect_with(&viewer.path("/settings/profile"), &told))
}

/// Closes all sessions of the viewer, this one too.
async fn sign_out_everywhere(State(app): State<App>, Form { viewer, .. }: Form<Nothing>) -> Result<Response, Failure> {
    app.people.sign_out_everywhere(&viewer.session).await?;
    Ok(redirect("/sign-in"))
}
