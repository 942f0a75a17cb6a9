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
    let ends_word =
        before.ends_with(|last: char| last.is_alphanumeric() || matches!(last, '.' | ')' | ':' | '!' | '?'));
    touches && ends_word && after.starts_with(char::is_alphanumeric) && is_word(&before) && is_word(&after)
}

fn is_part(tag: Tag) -> bool {
    matches!(tag, Tag::A | Tag::Span | Tag::Strong | Tag::B | Tag::Time | Tag::Label | Tag::Small | Tag::Button)
}

/// The text of a picture that stands for a character.
pub(super) fn emoji(dom: &Dom<'_>, id: NodeId) -> Option<String> {
    let class = dom.attr(id, "class")?;
    let is_emoji =
        class.split_ascii_whitespace().any(|word| matches!(word, "emoji" | "wp-smiley" | "smiley" | "smilie"));
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

/// Whether an element is a remark set apart from the text, as documentation has them: a note, a warning.
pub(super) fn is_remark(dom: &Dom<'_>, id: NodeId) -> bool {
    let is_named = |class: &str| {
        class.split_ascii_whitespace().any(|word| {
            matches!(
                word,
                "admonition"
                    | "admonitionblock"
                    | "alert"
                    | "bd-callout"
                    | "callout"
                    | "custom-block"
                    | "hint"
                    | "markdown-alert"
                    | "notecard"
                    | "theme-admonition"
            )
        })
    };
    matches!(dom.tag(id), Tag::Div | Tag::Aside | Tag::Section) && dom.attr(id, "class").is_some_and(is_named)
}

/// Whether an element is the title of a remark.
pub(super) fn titles_remark(dom: &Dom<'_>, id: NodeId) -> bool {
    matches!(dom.tag(id), Tag::P | Tag::Div) && {
        let is_named = |class: &str| {
            class.split_ascii_whitespace().any(|word| {
                matches!(
                    word,
                    "admonition-title"
                        | "markdown-alert-title"
                        | "callout-title"
                        | "custom-block-title"
                        | "alert-title"
                )
            })
        };
        dom.attr(id, "class").is_some_and(is_named)
    }
}

/// Whether an item of a list is one to be done, and if so, whether it is.
pub(super) fn task(dom: &Dom<'_>, item: NodeId) -> Option<bool> {
    let begins_list = |id: &NodeId| matches!(dom.tag(*id), Tag::Li | Tag::Ul | Tag::Ol | Tag::Table | Tag::Pre);
    let is_blank = |id: &NodeId| dom.text(*id).trim().is_empty() && !begins_list(id);
    let is_box = |id: &NodeId| dom.tag(*id) == Tag::Input && dom.attr(*id, "type") == Some("checkbox");
    let found = dom.descendants(item).skip(1).take(4).take_while(is_blank).find(is_box)?;
    // The box stands before words.
    let behind = dom.node(found).next;
    let is_line = |id: NodeId| !dom.descendants(id).take(16).any(|id| dom.tag(id).is_block());
    let says = behind != NONE && is_line(behind) && !dom.text_content(behind, 64).trim().is_empty();
    if !says {
        return None;
    }
    let is_task = |class: &str| class.contains("task") || class.contains("todo");
    let says = dom.attr(found, "disabled").is_some()
        || [item, dom.node(item).parent, found].into_iter().filter_map(|id| dom.attr(id, "class")).any(is_task);
    says.then(|| dom.attr(found, "checked").is_some())
}

/// Whether an element only numbers the lines of code beside it.
pub(super) fn numbers_lines(dom: &Dom<'_>, id: NodeId) -> bool {
    let is_named = |class: &str| {
        class.split_ascii_whitespace().any(|word| {
            matches!(
                word,
                "gutter"
                    | "lineno"
                    | "linenos"
                    | "linenodiv"
                    | "line-number"
                    | "line-numbers-rows"
                    | "linenumber"
                    | "lnt"
                    | "ln"
                    | "blob-num"
                    | "rouge-gutter"
                    | "hljs-ln-numbers"
                    | "react-syntax-highlighter-line-number"
            )
        })
    };
    dom.attr(id, "class").is_some_and(is_named) && {
        let text = dom.text_content(id, 16);
        text.chars().all(|character| character.is_ascii_digit() || is_space(character))
    }
}

/// What is raised, in characters that are: powers, and notes without a link. Nothing for what reads as well unraised.
pub(super) fn raised(dom: &Dom<'_>, id: NodeId) -> Option<String> {
    if dom.tag(id) != Tag::Sup || dom.node(id).first == NONE {
        return None;
    }
    let is_text = |id: NodeId| dom.tag(id) == Tag::Text;
    if !dom.children(id).all(is_text) {
        return None;
    }
    let text = collapse(&dom.text_content(id, 16));
    let sign = |character: char| {
        Some(match character {
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            '0' | '4'..='9' => char::from_u32(0x2070 + u32::from(character) - u32::from('0'))?,
            '+' => '⁺',
            '-' | '−' | '–' => '⁻',
            'n' => 'ⁿ',
            'i' => 'ⁱ',
            _ => return None,
        })
    };
    if text.chars().count() > 4 {
        None
    } else {
        text.chars().map(sign).collect::<Option<String>>().filter(|text| !text.is_empty())
    }
}
