//! Who looks at a page: a session, and the environment of their account that the page's address names.

use axum::{
    extract::{FromRequestParts, OriginalUri},
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use datasonar_store::{Environment, MemberRole, Scope, Session};
use jiff::Timestamp;

use super::{Failure, guard};
use crate::app::App;

/// The cookie of a session.
pub(in crate::dashboard) const SESSION: &str = "datasonar_session";

/// Whoever is signed in, and what they look at.
#[derive(Clone, Debug)]
pub(in crate::dashboard) struct Viewer {
    pub(in crate::dashboard) session: Session,
    pub(in crate::dashboard) role: MemberRole,
    pub(in crate::dashboard) scope: Scope,
    /// The token of the session itself.
    pub(super) token: String,
    /// What forms must bring back.
    pub(in crate::dashboard) csrf: String,
    /// What the page before has done.
    pub(in crate::dashboard) notice: Option<String>,
    /// `light`, `dark`, or nothing for what the system has.
    pub(in crate::dashboard) theme: &'static str,
    pub(in crate::dashboard) now: Timestamp,
}

impl Viewer {
    /// An address of the dashboard within the environment that is looked at. The path begins with a slash; that of the overview is empty.
    pub(in crate::dashboard) fn path(&self, path: &str) -> String {
        format!("/{}{path}", self.scope.environment)
    }

    /// The token of the session itself.
    pub(in crate::dashboard) fn token(&self) -> &str {
        &self.token
    }

    /// The first letter of their e-mail address.
    pub(in crate::dashboard) fn initial(&self) -> String {
        self.session.email.chars().take(1).collect()
    }

    /// Whether they may do what only owners may.
    pub(in crate::dashboard) fn is_owner(&self) -> bool {
        self.role == MemberRole::Owner
    }

    /// Refuses what only owners may do.
    pub(in crate::dashboard) fn owner(&self) -> Result<(), Failure> {
        if self.is_owner() { Ok(()) } else { Err(Failure::OwnersOnly) }
    }

    pub(super) async fn of(parts: &Parts, app: &App) -> Result<Self, Failure> {
        // Of routes that are nested, the other URI lacks the environment.
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |OriginalUri(uri)| uri);
        let here = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let signed_out = || Failure::SignIn { to: here.clone() };
        let token = session_cookie(&parts.headers).ok_or_else(signed_out)?;
        let session = app.people.session(&token).await?;
        let session = session.ok_or_else(signed_out)?;
        let notice = cookie_of(&parts.headers, "notice").and_then(|text| decoded(&text));
        let theme = theme(&parts.headers);
        // Pages of no environment lead to that of production.
        let environment = parts.extensions.get().copied().unwrap_or(Environment::Production);
        let membership = session.memberships.first().cloned().ok_or(Failure::NotFound("account"))?;
        Ok(Self {
            role: membership.role,
            scope: Scope { account: membership.account, environment },
            session,
            csrf: guard::token(&token),
            token,
            notice,
            theme,
            now: app.clock.now(),
        })
    }
}

impl FromRequestParts<App> for Viewer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        Self::of(parts, app).await
    }
}

/// The session that a request names.
pub(in crate::dashboard) fn session_cookie(headers: &HeaderMap) -> Option<String> {
    cookie_of(headers, SESSION)
}

/// The theme that a browser has chosen: `light`, `dark`, or nothing for what its system has.
pub(in crate::dashboard) fn theme(headers: &HeaderMap) -> &'static str {
    match cookie_of(headers, "theme").as_deref() {
        Some("light") => "light",
        Some("dark") => "dark",
        _ => "",
    }
}

/// A cookie that a request brings.
pub(in crate::dashboard) fn cookie_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, value)| *found == name && !value.is_empty()).map(|(_, value)| value.to_owned())
}

/// A text that was percent-encoded for a cookie: of a bounded length, since it is whatever a browser sends.
fn decoded(text: &str) -> Option<String> {
    const MOST: usize = 400;
    let (text, _) = url::form_urlencoded::parse(text.as_bytes()).next()?;
    Some(text.chars().filter(|letter| !letter.is_control()).take(MOST).collect())
}

/// A cookie that no script can read and no other site's form brings along.
pub(in crate::dashboard) fn cookie(name: &str, value: &str, seconds: u64, is_secure: bool) -> HeaderValue {
    let secure = if is_secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).expect("names and values of our cookies are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_among_others() {
        let headers: HeaderMap =
            [(header::COOKIE, HeaderValue::from_static("a=1; datasonar_session=tok; theme="))].into_iter().collect();
        assert_eq!(session_cookie(&headers).as_deref(), Some("tok"));
        assert_eq!(cookie_of(&headers, "theme"), None);
        assert_eq!(cookie_of(&headers, "sonar_session"), None);
    }

    #[test]
    fn notices_are_decoded_and_cut() {
        assert_eq!(decoded("All+is+%22well%22").as_deref(), Some("All is \"well\""));
        assert_eq!(decoded("a%0d%0ab").as_deref(), Some("ab"));
        assert_eq!(decoded(&"a".repeat(1_000)).map(|text| text.len()), Some(400));
    }
}
