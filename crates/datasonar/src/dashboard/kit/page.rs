//! Answering with a page: what surrounds it, and what it says once after a form was followed.

use askama::Template;
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use datasonar_store::Environment;
use jiff::Timestamp;

use super::{Failure, Viewer, When, viewer};
use crate::dashboard::assets;

/// The places of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dashboard) enum Section {
    Overview,
    Jobs,
    Deliveries,
    DeadLetters,
    Schedules,
    Settings,
}

impl Section {
    const ALL: [Self; 6] =
        [Self::Overview, Self::Jobs, Self::Deliveries, Self::DeadLetters, Self::Schedules, Self::Settings];

    pub(in crate::dashboard) fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Jobs => "Jobs",
            Self::Deliveries => "Deliveries",
            Self::DeadLetters => "Dead letters",
            Self::Schedules => "Schedules",
            Self::Settings => "Settings",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Overview => "",
            Self::Jobs => "/jobs",
            Self::Deliveries => "/deliveries",
            Self::DeadLetters => "/dead-letters",
            Self::Schedules => "/schedules",
            Self::Settings => "/settings/webhooks",
        }
    }

    /// The place that a path within an environment belongs to.
    pub(super) fn of(path: &str) -> Self {
        let first = path.split('/').nth(1).unwrap_or_default();
        let is_of = |section: &Self| section.path().split('/').nth(1) == Some(first);
        Self::ALL.into_iter().find(is_of).unwrap_or(Self::Overview)
    }
}

/// A place of the navigation, as the layout shows it.
pub(in crate::dashboard) struct Place {
    pub(in crate::dashboard) name: &'static str,
    pub(in crate::dashboard) href: String,
    pub(in crate::dashboard) is_here: bool,
}

/// What surrounds a page: the member `chrome` of every template that extends `layout.html`.
pub(in crate::dashboard) struct Chrome {
    pub(in crate::dashboard) title: String,
    pub(in crate::dashboard) viewer: Viewer,
    pub(in crate::dashboard) places: Vec<Place>,
    pub(in crate::dashboard) now: Timestamp,
    section: Section,
}

impl Chrome {
    /// The surroundings of a page of this section.
    pub(in crate::dashboard) fn new(viewer: &Viewer, section: Section, title: impl Into<String>) -> Self {
        let place =
            |place: Section| Place { name: place.name(), href: viewer.path(place.path()), is_here: place == section };
        Self {
            title: title.into(),
            places: Section::ALL.map(place).into(),
            now: viewer.now,
            viewer: viewer.clone(),
            section,
        }
    }

    /// An address of the dashboard within the environment that is looked at. The path begins with a slash; that of the overview is empty.
    pub(in crate::dashboard) fn path(&self, path: &str) -> String {
        self.viewer.path(path)
    }

    /// A time as an element.
    pub(in crate::dashboard) fn when(&self, time: &Timestamp) -> When {
        When::new(*time, self.now)
    }

    /// How long it is until a time, as an element.
    pub(in crate::dashboard) fn until(&self, time: &Timestamp) -> When {
        When::until(*time, self.now)
    }

    /// The time of the page, for browsers.
    pub(in crate::dashboard) fn stamp(&self) -> String {
        format!("{:.3}", self.now)
    }

    /// The same section in the other environment.
    pub(in crate::dashboard) fn elsewhere(&self, environment: &str) -> String {
        format!("/{environment}{}", self.section.path())
    }

    pub(in crate::dashboard) fn is_sandbox(&self) -> bool {
        self.viewer.scope.environment == Environment::Sandbox
    }

    pub(in crate::dashboard) fn style(&self) -> &'static str {
        assets::style()
    }

    pub(in crate::dashboard) fn script(&self) -> &'static str {
        assets::script()
    }

    pub(in crate::dashboard) fn icon(&self) -> &'static str {
        assets::icon()
    }
}

/// Answers with a page.
pub(in crate::dashboard) fn page(template: &impl Template) -> Result<Response, Failure> {
    let html = template.render().map_err(|error| Failure::internal(&error))?;
    let mut response = Html(html).into_response();
    // What was said once is not said again.
    response
        .headers_mut()
        .append(header::SET_COOKIE, HeaderValue::from_static("notice=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"));
    Ok(response)
}

/// Answers with a file to be kept, and never to be shown: what is in it may be anybody's.
pub(in crate::dashboard) fn download(name: &str, media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let disposition = format!("attachment; filename=\"{name}\"");
    let disposition = HeaderValue::try_from(disposition).expect("our files are named by ids");
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    response
}

/// Answers with a scraped page as it looks, to be framed by a page of ours: without scripts, forms and our origin, and without fetching anything.
pub(in crate::dashboard) fn frame_page(html: String) -> Response {
    const POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'";
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    response
}

/// Goes on elsewhere after a form was followed.
pub(in crate::dashboard) fn redirect(to: &str) -> Response {
    Redirect::to(to).into_response()
}

/// The same, and says there what was done.
pub(in crate::dashboard) fn redirect_with(to: &str, notice: &str) -> Response {
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response();
    let text: String = url::form_urlencoded::byte_serialize(notice.as_bytes()).collect();
    let cookie = viewer::cookie("notice", &text, 60, false);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}
