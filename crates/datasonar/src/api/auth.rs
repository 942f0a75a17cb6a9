//! Who is calling: `Authorization: Bearer osk_…`, looked up by its hash before anything of the body is read. A call that is more than the
//! plan of its account allows goes no further.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, header, request::Parts},
};
use datasonar_store::Scope;

use super::problem::Problem;
use crate::{app::App, crypto::sha256};

/// What is stored of the key of a request, by which a stream that lasts asks whether it was revoked. To be extracted after [`Caller`].
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyHash(pub(super) [u8; 32]);

impl FromRequestParts<App> for KeyHash {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Ok(Self(sha256(bearer(parts)?.as_bytes())))
    }
}

/// The key that a request brings.
fn bearer(parts: &Parts) -> Result<&str, Problem> {
    let header = parts.headers.get(header::AUTHORIZATION).ok_or_else(|| {
        refused("send your API key as `Authorization: Bearer osk_…`; `datasonar keys create` makes one")
    })?;
    header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .ok_or_else(|| refused("the Authorization header is not `Bearer osk_…`"))
}

fn refused(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

/// The caller of a request: what its key opens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) Scope);

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let key = bearer(parts)?;
        let caller = app.store.authenticate(sha256(key.as_bytes())).await?;
        let caller = caller.ok_or_else(|| refused("this API key is unknown or was revoked"))?;
        app.key_uses.note(caller.key, app.clock.now());
        app.plans.admit_call(caller.scope).await?;
        Ok(Self(caller.scope))
    }
}
