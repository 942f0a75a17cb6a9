//! What is told from how elements stand beside each other, for all writers alike.

use crate::{
    dom::{Dom, NONE, NodeId, Tag},
    text::{collapse, is_space},
};

/// Whether an element within a line stands apart from the one right before it, although no white space parts them: pages part
/// labels and values, or one link and the next, by their styles alone.
pub(super) fn stands_apart(dom: &Dom<'_>, id: NodeId) -> bool {
    let prev = dom.node(id).prev;
    if prev == NONE || !is_part(dom.tag(id)) || !is_part(dom.tag(prev)) {
        return false;
    }
    let both_links = dom.tag(id) == Tag::A && dom.tag(prev) == Tag::A;
    let styled = |id: NodeId| dom.attr(id, "class").or_else(|| dom.attr(id, "style"));
    let looks_other = match (styled(prev), styled(id)) {
        (Some(one), Some(other)) => one != other,
        _ => dom.tag(id) != dom.tag(prev) && (styled(prev).is_some() || styled(id).is_some()),
    };
    if !both_links && !looks_other {
        return false;
    }
    // Single letters are parts of words: initials, indices.
    let is_word = |text: &str| text.chars().filter(|character| character.is_alphanumeric()).nth(1).is_some();
    let (before, after) = (dom.text_content(prev, 256), dom.text_content(id, 16));
    let touches = !before.ends_with(is_space) && !after.starts_with(is_space);
    let ends_word = before.ends_with(|last: char| last.is_alphanumeric() || matches!(last, '.' | ')' | ':' | '!' | '?'));
    touches && ends_word && after.starts_with(char::is_alphanumeric) && is_word(&before) && is_word(&after)
}

fn is_part(tag: Tag) -> bool {
    matches!(tag, Tag::A | Tag::Span | Tag::Strong | Tag::B | Tag::Time | Tag::Label | Tag::Small | Tag::Button)
}

/// The text of a picture that stands for a character.
pub(super) fn emoji(dom: &Dom<'_>, id: NodeId) -> Option<String> {
    let class = dom.attr(id, "class")?;
    let is_emoji = class.split_ascii_whitespace().any(|word| matches!(word, "emoji" | "wp-smiley" | "smiley" | "smilie"));
    let alt = collapse(dom.attr(id, "alt").filter(|_| is_emoji)?);
    (!alt.is_empty() && alt.len() <= 64).then_some(alt)
}

/// Whether a picture only decorates: it is tiny, or an icon that has nothing to say.
pub(super) fn decorates(dom: &Dom<'_>, id: NodeId) -> bool {
    let size = |name| dom.attr(id, name).and_then(|size| size.trim().trim_end_matches("px").parse::<f32>().ok());
    let below = |most: f32| [size("width"), size("height")].into_iter().flatten().any(|size| size <= most);
    if below(2.0) {
        return true;
    }
    let says_nothing = dom.attr(id, "alt").is_none_or(|alt| alt.trim().is_empty());
    let source = dom.attr(id, "src").unwrap_or_default();
    let path = source.split(['?', '#']).next().unwrap_or_default();
    says_nothing && (below(48.0) || path.ends_with(".svg"))
}
