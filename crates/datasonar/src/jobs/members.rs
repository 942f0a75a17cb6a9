//! Reads what was asked from the members of a JSON object. An error names the member's place.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use crate::scrape::FieldError;

/// How many unknown members are told of.
const MAX_ERRORS: usize = 10;

/// Refuses members whose names are not known.
///
/// # Errors
/// The first of them.
pub fn unknown(members: &Map<String, Value>, known: &[&str]) -> Result<(), Vec<FieldError>> {
    let errors: Vec<FieldError> = members
        .keys()
        .filter(|name| !known.contains(&name.as_str()))
        .take(MAX_ERRORS)
        .map(|name| FieldError::new(pointer(name), "unknown field"))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// A member's place (RFC 6901).
pub fn pointer(name: &str) -> String {
    let short: String = name.chars().take(100).collect();
    format!("/{}", short.replace('~', "~0").replace('/', "~1"))
}

/// Reads a type from members.
///
/// # Errors
/// The first that does not fit.
pub fn typed<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(Value::Object(members)).map_err(|error| {
        let mut place = String::new();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => place.push_str(&format!("/{index}")),
                Segment::Map { key } => place.push_str(&pointer(key)),
                _ => {}
            }
        }
        let detail = error.inner().to_string();
        // serde names the object that lacks a member; the batch reader and this name the member.
        match detail.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            Some(name) => FieldError::new(place + &pointer(name), "is missing"),
            None => FieldError::new(place, detail),
        }
    })
}
