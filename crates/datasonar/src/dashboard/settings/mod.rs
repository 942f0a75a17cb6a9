//! Settings: what an account is set up with. Each page is a tab.

mod keys;
mod members;
mod profile;
mod samples;
mod usage;
mod webhooks;

use axum::Router;

use super::kit::{Chrome, Section, Viewer};
use crate::app::App;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .merge(webhooks::routes())
        .merge(keys::routes())
        .merge(members::routes())
        .merge(profile::routes())
        .merge(usage::routes())
}

/// A page of the settings, as the tabs show it.
pub(super) struct Tab {
    pub(super) name: &'static str,
    pub(super) href: String,
    pub(super) is_here: bool,
}

const TABS: [(&str, &str); 5] = [
    ("Webhooks", "/settings/webhooks"),
    ("API keys", "/settings/keys"),
    ("Members", "/settings/members"),
    ("Usage", "/settings/usage"),
    ("Profile", "/settings/profile"),
];

/// The tabs, with one of them in front.
fn tabs(viewer: &Viewer, here: &str) -> Vec<Tab> {
    TABS.iter().map(|(name, path)| Tab { name, href: viewer.path(path), is_here: *name == here }).collect()
}

fn chrome(viewer: &Viewer, title: &str) -> Chrome {
    Chrome::new(viewer, Section::Settings, title)
}
