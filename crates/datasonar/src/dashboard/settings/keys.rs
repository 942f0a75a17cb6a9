//! Settings → API keys: making one (its text is shown once), and revoking.

use askama::Template;
use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use datasonar_store::{Key, KeyId, NewKey};
use serde::Deserialize;

use super::{Tab, tabs};
use crate::{
    app::App,
    crypto::{api_key_prefix, new_api_key, sha256},
    dashboard::kit::{Chrome, Failure, Form, Viewer, page, redirect_with},
};

/// How long a name may be.
const MAX_NAME: usize = 100;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/settings/keys", get(show).post(create)).route("/settings/keys/revoke", post(revoke))
}

#[derive(Template)]
#[template(path = "settings_keys.html")]
struct KeysPage {
    chrome: Chrome,
    tabs: Vec<Tab>,
    /// Those of the environment.
    keys: Vec<Key>,
    /// The text of the one that was made just now.
    made: Option<String>,
    server: String,
}

async fn show(State(app): State<App>, viewer: Viewer) -> Result<Response, Failure> {
    draw(&app, &viewer, None).await
}

async fn draw(app: &App, viewer: &Viewer, made: Option<String>) -> Result<Response, Failure> {
    let mut keys = app.store.keys(viewer.scope.account).await?;
    keys.retain(|key| key.scope == viewer.scope);
    // Those in use first, each part newest first.
    keys.sort_by_key(|key| key.revoked_at.is_some());
    let (chrome, tabs, server) =
        (super::chrome(viewer, "API keys"), tabs(viewer, "API keys"), app.public_url.to_string());
    page(&KeysPage { chrome, tabs, keys, made, server })
}

#[derive(Deserialize)]
struct Create {
    name: Option<String>,
}

/// Makes a key and shows it: as the answer to the form, so that its text is in no address, no history and no cache.
async fn create(State(app): State<App>, Form { viewer, fields }: Form<Create>) -> Result<Response, Failure> {
    viewer.owner()?;
    let name: String =
        fields.name.unwrap_or_default().trim().chars().filter(|letter| !letter.is_control()).take(MAX_NAME).collect();
    let text = new_api_key(&app.ids, viewer.scope.environment);
    let new = NewKey {
        id: KeyId(app.ids.uuid()),
        scope: viewer.scope,
        name,
        hash: sha256(text.as_bytes()),
        prefix: api_key_prefix(&text),
        created_at: app.clock.now(),
    };
    app.store.create_key(new).await?;
    draw(&app, &viewer, Some(text)).await
}

#[derive(Deserialize)]
struct Revoke {
    id: String,
}

async fn revoke(State(app): State<App>, form: Form<Revoke>) -> Result<Response, Failure> {
    let viewer = form.viewer;
    viewer.owner()?;
    let id: KeyId = form.fields.id.parse().map_err(|_| Failure::NotFound("key"))?;
    let keys = app.store.keys(viewer.scope.account).await?;
    if !keys.iter().any(|key| key.id == id && key.scope == viewer.scope) {
        return Err(Failure::NotFound("key"));
    }
    app.store.revoke_key(viewer.scope.account, id, app.clock.now()).await.map_err(Failure::of("key"))?;
    Ok(redirect_with(&viewer.path("/settings/keys"), "The key is revoked. Whoever used it is refused from now on."))
}
