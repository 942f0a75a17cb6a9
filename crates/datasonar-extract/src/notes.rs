//! Links of footnotes, as they stand on pages: the one that calls a note, and the one that leads back from it.

use crate::dom::{Dom, NodeId, Tag};

/// The name of the footnote that a link calls.
pub(crate) fn called<'d>(dom: &'d Dom<'_>, id: NodeId) -> Option<&'d str> {
    let target = dom.attr(id, "href")?.strip_prefix('#')?;
    let text = dom.text_content(id, 16);
    let says_number =
        text.len() <= 8 && text.trim_matches(['[', ']', '(', ')', ' ']).chars().all(char::is_alphanumeric);
    let raised = dom.tag(dom.node(id).parent) == Tag::Sup
        || dom.children(id).any(|child| dom.tag(child) == Tag::Sup)
        || matches!(dom.attr(id, "role"), Some("doc-noteref"));
    (says_number && raised && !target.is_empty()).then_some(target)
}

/// Whether a link only leads back from a footnote to its call.
pub(crate) fn leads_back(dom: &Dom<'_>, id: NodeId) -> bool {
    let is_local = dom.attr(id, "href").is_some_and(|href| href.starts_with('#'));
    let is_arrow = |text: &str| matches!(text, "\u{21a9}" | "\u{2191}" | "\u{21b5}" | "\u{2b11}" | "^");
    is_local
        && (dom.attr(id, "role") == Some("doc-backlink")
            || is_arrow(dom.text_content(id, 16).trim().trim_end_matches('\u{fe0e}')))
}
