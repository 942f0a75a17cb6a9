//! What stands in for content on a page that shows none: what it says of itself to machines.
//!
//! Pages that are written by scripts come as shells. Without a browser, their description, or the text in their structured
//! data, is all that there is; it is better than nothing, and it is never taken where the page shows something itself.

use serde_json::Value;

use crate::{
    ExtractError,
    budget::Budget,
    content::{self, Selection, Shown},
    dom::{Dom, HEAD, Tag},
    structured::StructuredData,
};

/// A page that shows more words than that speaks for itself.
const MAX_SHOWN: usize = 20;
/// Words that must be said for a shell to be worth replacing.
const MIN_SAID: usize = 8;
/// Bytes that stand in, at most.
const MAX_BYTES: usize = 256 * 1024;

/// A page made of what the page says of itself, if it shows next to nothing.
pub(crate) fn stand_in(
    dom: &Dom<'_>,
    structured: &StructuredData,
    selection: &Selection,
    budget: &Budget<'_>,
) -> Result<Option<String>, ExtractError> {
    if shown_words(dom, selection, budget)? > MAX_SHOWN {
        return Ok(None);
    }
    let scope = budget.scope();
    let shown = shown_words(dom, &content::seen(dom, Shown::Folded, budget)?, budget)?;
    drop(scope);
    budget.allocate(8 * MAX_BYTES)?;
    let said = said(dom, structured, budget)?;
    let words = said.split_whitespace().take(MAX_SHOWN * 2).count();
    if shown > MAX_SHOWN || words < MIN_SAID.max(shown) {
        return Ok(None);
    }
    let mut page = String::with_capacity(said.len() + 64);
    for paragraph in said.lines().map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
        page.push_str("<p>");
        for character in paragraph.chars() {
            match character {
                '<' => page.push_str("&lt;"),
                '&' => page.push_str("&amp;"),
                character => page.push(character),
            }
        }
        page.push_str("</p>");
    }
    Ok(Some(page))
}

/// Words in what is selected, counted until they are more than [`MAX_SHOWN`].
fn shown_words(dom: &Dom<'_>, selection: &Selection, budget: &Budget<'_>) -> Result<usize, ExtractError> {
    let mut words = 0;
    for &root in &selection.roots {
        let mut next = Some(root);
        while let Some(id) = next {
            budget.spend(0)?;
            let removed = selection.is_removed(id);
            if !removed {
                words += dom.text(id).split_whitespace().take(MAX_SHOWN + 1).count();
            }
            if words > MAX_SHOWN {
                return Ok(words);
            }
            next = dom.following(root, id, removed);
        }
    }
    Ok(words)
}

/// The longest of what the page says that it is about.
fn said(dom: &Dom<'_>, structured: &StructuredData, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let mut said = "";
    let article = structured.article();
    for key in ["articleBody", "text", "description"] {
        if let Some(Value::String(text)) = article.and_then(|article| article.get(key)) {
            said = longer(said, text);
        }
    }
    for id in dom.descendants(HEAD).filter(|id| dom.tag(*id) == Tag::Meta) {
        budget.spend(64)?;
        let name = dom.attr(id, "property").or_else(|| dom.attr(id, "name")).unwrap_or_default();
        if ["description", "og:description", "twitter:description"].iter().any(|known| name.eq_ignore_ascii_case(known))
        {
            said = longer(said, dom.attr(id, "content").unwrap_or_default());
        }
    }
    let said = &said[..said.floor_char_boundary(MAX_BYTES)];
    budget.spend(said.len())?;
    // Descriptions are often escaped twice.
    Ok(said.replace("&hellip;", "…").replace("&amp;", "&").replace("&#39;", "'").replace("&quot;", "\""))
}

fn longer<'a>(one: &'a str, other: &'a str) -> &'a str {
    if other.len() > one.len() { other } else { one }
}
