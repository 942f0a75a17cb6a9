//! JSON: a feed where it is one, else a block of code, indented.

use serde_json::Value;
use url::Url;

use super::{Made, feeds};
use crate::{ExtractError, Metadata, budget::Budget, render::escaped};

/// JSON as markup, with the value.
pub(crate) fn json(source: &str, url: &Url, budget: &Budget<'_>) -> Result<(Made, Value), ExtractError> {
    // A value may nest; serde_json refuses what is deeper than 128.
    let value: Value = serde_json::from_str(source.trim().trim_start_matches('\u{feff}'))
        .map_err(|error| ExtractError::Decode { reason: format!("not JSON: {error}") })?;
    budget.spend(source.len())?;
    if let Some(feed) = feeds::of_json(&value, url, budget)? {
        return Ok((feed, value));
    }
    let pretty = serde_json::to_string_pretty(&value).unwrap_or_else(|_| source.to_owned());
    budget.spend(pretty.len())?;
    let title = ["title", "name"].into_iter().find_map(|key| crate::text::clean(value.get(key)?.as_str()?, 512));
    let markup = format!("<pre><code class=\"language-json\">{}</code></pre>", escaped(&pretty));
    Ok((Made { markup, metadata: Metadata { title, ..Metadata::default() } }, value))
}
