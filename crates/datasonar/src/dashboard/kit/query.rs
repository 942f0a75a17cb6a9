//! Queries of pages, read leniently: people edit addresses by hand, and an empty field of a filter is no filter.

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::de::DeserializeOwned;

use super::Failure;
use crate::app::App;

/// The query, without the fields that are empty.
pub(in crate::dashboard) struct Queried<T>(pub(in crate::dashboard) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Queried<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.trim().is_empty());
        let kept: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        serde_urlencoded::from_str(&kept)
            .map(Self)
            .map_err(|error| Failure::invalid(format!("the address of this page cannot be read: {error}")))
    }
}
