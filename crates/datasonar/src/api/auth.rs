//! Who is calling: `Authorization: Bearer osk_…`, looked up by its hash before anything of the body is read. A call that is more than the
//! plan of its account allows goes no further.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, header, request::Parts},
};
use datasonar_store::Scope;

use super::problem::Problem;
use crate::{app::App, crypto::sha256};

/// The caller of a request: what its key opens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) Scope);

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let refused = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, detail);
        let header = parts.headers.get(header::AUTHORIZATION).ok_or_else(|| {
            refused("send your API key as `Authorization: Bearer osk_…`; `datasonar keys create` makes one")
        })?;
        let key = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, key)| key.trim())
            .ok_or_else(|| refused("the Authorization header is not `Bearer osk_…`"))?;
        let caller = app.store.authenticate(sha256(key.as_bytes())).await?;
        let caller = caller.ok_or_else(|| refused("this API key is unknown or was revoked"))?;
        app.key_uses.note(caller.key, app.clock.now());
        app.plans.admit_call(caller.scope).await?;
        Ok(Self(caller.scope))
    }
}
