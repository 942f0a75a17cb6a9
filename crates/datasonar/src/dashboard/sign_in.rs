//! Signing in and out, and what belongs to a browser rather than to an account: the theme.

use std::net::IpAddr;

use askama::Template;
use axum::{
    Extension, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use datasonar_store::MemberRole;
use serde::Deserialize;

use super::{
    assets,
    kit::{self, Failure, Form, SESSION, cookie, cookie_of, guard, redirect, sentence, session_cookie},
};
use crate::{
    app::App,
    clock::whole_seconds,
    people::{AcceptError, SignInError, Token},
};

/// The address that a request came from: that of the proxy, behind one.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The cookie of a browser that somebody has signed in with. It stays when they sign out.
const DEVICE: &str = "datasonar_device";

/// How long a browser keeps its choice of a theme, and is known.
const YEAR: u64 = 365 * 24 * 60 * 60;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/sign-in", get(show).post(sign_in))
        .route("/sign-in/link/{token}", get(show_link).post(accept_link))
        .route("/sign-out", post(sign_out))
        .route("/theme", post(theme))
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    style: &'static str,
    icon: &'static str,
    theme: &'static str,
    to: &'a str,
    email: &'a str,
    wrong: Option<String>,
}

#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage<'a> {
    style: &'static str,
    icon: &'static str,
    theme: &'static str,
    role: MemberRole,
    email: &'a str,
    /// Whether the link is for this e-mail and no other.
    is_bound: bool,
    /// Whether somebody signs in with it already.
    is_known: bool,
    wrong: Option<String>,
}

/// The stylesheet, the icon and the theme of a page.
fn look(headers: &HeaderMap) -> (&'static str, &'static str, &'static str) {
    (assets::style(), assets::icon(), kit::theme(headers))
}

fn outside(status: StatusCode, template: &impl Template) -> Result<Response, Failure> {
    let html = template.render().map_err(|error| Failure::internal(&error))?;
    Ok((status, Html(html)).into_response())
}

#[derive(Default, Deserialize)]
struct To {
    #[serde(default)]
    to: String,
}

/// Where to go after signing in: a path of ours, never another site.
fn back(to: &str) -> &str {
    let is_ours = to.starts_with('/') && !to.starts_with("//");
    let is_plain = to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_ours && is_plain { to } else { "/" }
}

async fn show(State(app): State<App>, Query(To { to }): Query<To>, headers: HeaderMap) -> Result<Response, Failure> {
    if let Some(token) = session_cookie(&headers) {
        let session = app.people.session(&token).await?;
        if session.is_some() {
            return Ok(redirect(back(&to)));
        }
    }
    let (style, icon, theme) = look(&headers);
    let page = SignInPage { style, icon, theme, to: back(&to), email: "", wrong: None };
    outside(StatusCode::OK, &page)
}

#[derive(Deserialize)]
struct SignIn {
    email: Option<String>,
    password: Option<String>,
    to: Option<String>,
}

async fn sign_in(
    State(app): State<App>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    if guard::is_foreign(&headers) {
        return Err(Failure::Foreign);
    }
    let SignIn { email, password, to } = super::kit::fields(&body)?;
    let (email, password, to) = (email.unwrap_or_default(), password.unwrap_or_default(), to.unwrap_or_default());
    let address = peer.map(|Extension(Peer(address))| address);
    let device = cookie_of(&headers, DEVICE);
    match app.people.sign_in_with(device.as_deref(), &email, &password, address).await {
        Ok(token) => Ok(signed_in(&app, &token, &email, back(&to))),
        Err(SignInError::Store(error)) => Err(error.into()),
        Err(error) => {
            let (status, wait) = match &error {
                SignInError::TooMany { retry_after } => {
                    (StatusCode::TOO_MANY_REQUESTS, Some(whole_seconds(*retry_after)))
                }
                _ => (StatusCode::UNPROCESSABLE_ENTITY, None),
            };
            let wrong = Some(sentence(&error.to_string()));
            let (style, icon, theme) = look(&headers);
            let page = SignInPage { style, icon, theme, to: back(&to), email: &email, wrong };
            let mut response = outside(status, &page)?;
            if let Some(seconds) = wait {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Ok(response)
        }
    }
}

/// Goes on with a session. The browser is known from now on.
fn signed_in(app: &App, token: &Token, email: &str, to: &str) -> Response {
    let mut response = redirect(to);
    response.headers_mut().append(
        header::SET_COOKIE,
        cookie(SESSION, token.as_str(), app.settings.session_lifetime.as_secs(), is_secure(app)),
    );
    if let Some(device) = app.people.device(email) {
        response.headers_mut().append(header::SET_COOKIE, cookie(DEVICE, &device, YEAR, is_secure(app)));
    }
    response
}

/// Whether browsers reach this server by https only.
fn is_secure(app: &App) -> bool {
    app.public_url.starts_with("https://")
}

async fn show_link(State(app): State<App>, Path(token): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    link_page(&app, &headers, &token, "", None).await
}

async fn link_page(
    app: &App,
    headers: &HeaderMap,
    token: &str,
    typed: &str,
    wrong: Option<String>,
) -> Result<Response, Failure> {
    let link = app.people.link(token).await?;
    let Some(link) = link else {
        let told = "this link was used before, or has expired; on the server, the command “datasonar members link” prints another";
        return Err(Failure::Refused(StatusCode::GONE, told.to_owned()));
    };
    let is_known = match &link.email {
        Some(email) => app.people.role_of(link.account, email).await?.is_some(),
        None => false,
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let (style, icon, theme) = look(headers);
    let page = LinkPage {
        style,
        icon,
        theme,
        role: link.role,
        email: link.email.as_deref().unwrap_or(typed),
        is_bound: link.email.is_some(),
        is_known,
        wrong,
    };
    outside(status, &page)
}

async fn accept_link(
    State(app): State<App>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    if guard::is_foreign(&headers) {
        return Err(Failure::Foreign);
    }
    let SignIn { email, password, .. } = super::kit::fields(&body)?;
    let (email, password) = (email.unwrap_or_default(), password.unwrap_or_default());
    match app.people.accept(&token, &email, &password).await {
        Ok(session) => Ok(signed_in(&app, &session, &email, "/")),
        Err(AcceptError::Store(error)) => Err(error.into()),
        Err(error) => link_page(&app, &headers, &token, &email, Some(sentence(&error.to_string()))).await,
    }
}

#[derive(Deserialize)]
struct Nothing {}

async fn sign_out(State(app): State<App>, Form { viewer, .. }: Form<Nothing>) -> Result<Response, Failure> {
    app.people.sign_out(viewer.token()).await?;
    let mut response = redirect("/sign-in");
    response.headers_mut().append(header::SET_COOKIE, cookie(SESSION, "", 0, is_secure(&app)));
    Ok(response)
}

#[derive(Deserialize)]
struct Theme {
    theme: String,
}

async fn theme(State(app): State<App>, headers: HeaderMap, form: Form<Theme>) -> Result<Response, Failure> {
    let theme = match &*form.fields.theme {
        theme @ ("light" | "dark") => theme,
        _ => "",
    };
    let from =
        headers.get(header::REFERER).and_then(|value| value.to_str().ok()).and_then(|text| url::Url::parse(text).ok());
    let mut response = redirect(back(from.as_ref().map_or("/", |url| url.path())));
    response.headers_mut().append(header::SET_COOKIE, cookie("theme", theme, YEAR, is_secure(&app)));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::back;

    #[test]
    fn one_comes_back_to_ourselves_only() {
        for (to, goes) in [
            ("/production/jobs?status=failed", "/production/jobs?status=failed"),
            ("", "/"),
            ("https://evil.example/", "/"),
            ("//evil.example/", "/"),
            ("/\\evil.example", "/"),
            ("/a\r\nset-cookie: b", "/"),
            ("/\u{202e}", "/"),
        ] {
            assert_eq!(back(to), goes, "{to}");
        }
    }
}
