//! The stylesheet and the script: part of the program, named by their content, so that browsers may keep them for ever.

use std::sync::LazyLock;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{app::App, crypto::sha256};

struct Asset {
    /// Its path, with a hash of its content.
    path: String,
    media_type: &'static str,
    content: &'static str,
}

const STYLE: &str = include_str!("../../assets/dashboard.css");
const SCRIPT: &str = include_str!("../../assets/dashboard.js");
const ICON: &str = include_str!("../../assets/icon.svg");

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        ("css", "text/css; charset=utf-8", STYLE),
        ("js", "text/javascript; charset=utf-8", SCRIPT),
        ("svg", "image/svg+xml", ICON),
    ]
    .map(|(ending, media_type, content)| {
        let hash = hex::encode(&sha256(content.as_bytes())[..6]);
        Asset { path: format!("/assets/{hash}.{ending}"), media_type, content }
    })
});

/// Where the stylesheet is.
pub(super) fn style() -> &'static str {
    &ASSETS[0].path
}

/// Where the script is.
pub(super) fn script() -> &'static str {
    &ASSETS[1].path
}

/// Where the icon is.
pub(super) fn icon() -> &'static str {
    &ASSETS[2].path
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/assets/{name}", get(asset))
}

async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.path.ends_with(&name) && !name.is_empty()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    (headers, asset.content).into_response()
}
