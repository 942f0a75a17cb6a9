//! Settings → Profile: one's own password and sessions.

use askama::Template;
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;

use super::{Tab, tabs};
use crate::{
    app::App,
    dashboard::kit::{Chrome, Failure, Form, Viewer, count, page, redirect_with, sentence},
    people::NewPasswordError,
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/settings/profile", get(show).post(change))
        .route("/settings/profile/sign-out-elsewhere", post(sign_out_elsewhere))
}

#[derive(Template)]
#[template(path = "settings_profile.html")]
struct ProfilePage {
    chrome: Chrome,
    tabs: Vec<Tab>,
    /// How many other sessions are open.
    others: usize,
    wrong: Option<String>,
    lifetime: String,
    idle: String,
}

async fn show(State(app): State<App>, viewer: Viewer) -> Result<Response, Failure> {
    draw(&app, &viewer, None).await
}

async fn draw(app: &App, viewer: &Viewer, wrong: Option<String>) -> Result<Response, Failure> {
    let others = app.people.sessions(viewer.session.user).await?.len().saturating_sub(1);
    let is_wrong = wrong.is_some();
    let drawn = page(&ProfilePage {
        chrome: super::chrome(viewer, "Profile"),
        tabs: tabs(viewer, "Profile"),
        others,
        wrong,
        lifetime: humantime::format_duration(app.settings.session_lifetime).to_string(),
        idle: humantime::format_duration(app.settings.session_idle).to_string(),
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
