//! Formulas: the TeX that they were made from, where the page still has it.

use super::Page;
use crate::{
    ExtractError,
    budget::Budget,
    dom::{Dom, NONE, NodeId, Tag},
    text::collapse,
};

/// The longest formula, in bytes.
const MAX_TEX: usize = 16 * 1024;

/// A formula.
pub(super) struct Formula {
    pub(super) tex: String,
    /// Whether it stands by itself.
    pub(super) is_block: bool,
}

/// Whether an element stands for a formula: MathML, a script that MathJax reads, a picture whose text is TeX.
pub(super) fn is_formula(dom: &Dom<'_>, id: NodeId) -> bool {
    match dom.tag(id) {
        Tag::Math => true,
        Tag::Script => dom.attr(id, "type").is_some_and(|kind| kind.starts_with("math/tex")),
        Tag::Img => is_picture(dom, id),
        _ => false,
    }
}

fn is_picture(dom: &Dom<'_>, id: NodeId) -> bool {
    let is_named = |class: &str| {
        class.split_ascii_whitespace().any(|word| {
            matches!(word, "tex" | "latex" | "math" | "mathjax" | "equation_image")
                || word.starts_with("mwe-math-fallback-image")
        })
    };
    dom.attr(id, "class").is_some_and(is_named) && dom.attr(id, "alt").is_some_and(|alt| !alt.trim().is_empty())
}

/// Whether each brace has its other one: without it, nobody reads a formula.
fn is_balanced(tex: &str) -> bool {
    let mut depth = 0_usize;
    let mut escaped = false;
    for byte in tex.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' if depth == 0 => return false,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    depth == 0
}

/// The formula that an element stands for; none if its TeX is not there, or is broken.
pub(super) fn formula(page: &Page<'_>, id: NodeId, budget: &Budget<'_>) -> Result<Option<Formula>, ExtractError> {
    let dom = page.dom;
    if !is_formula(dom, id) {
        return Ok(None);
    }
    let (tex, is_block) = match dom.tag(id) {
        Tag::Script => {
            let kind = dom.attr(id, "type").unwrap_or_default();
            (Some(dom.text_content(id, MAX_TEX)), kind.contains("mode=display"))
        }
        Tag::Img => {
            let is_block = dom.attr(id, "class").is_some_and(|class| class.contains("image-display"));
            (dom.attr(id, "alt").filter(|alt| alt.len() <= MAX_TEX).map(str::to_owned), is_block)
        }
        _ => {
            let is_tex = |id: &NodeId| {
                dom.name(*id) == "annotation"
                    && dom.attr(*id, "encoding").is_some_and(|kind| kind.to_ascii_lowercase().contains("tex"))
            };
            budget.spend(1024)?;
            let annotation = dom.descendants(id).take(MAX_TEX).find(is_tex);
            let tex = annotation.map(|id| dom.text_content(id, MAX_TEX));
            let around = dom.ancestors(id).take(3).filter_map(|id| dom.attr(id, "class"));
            let displayed = around.into_iter().any(|class| class.contains("katex-display"));
            let is_block = dom.attr(id, "display") == Some("block") || displayed;
            let of_attribute = || dom.attr(id, "alttext").filter(|tex| tex.len() <= MAX_TEX).map(str::to_owned);
            (tex.or_else(of_attribute), is_block)
        }
    };
    let Some(tex) = tex.map(|tex| collapse(&tex)).filter(|tex| !tex.is_empty()) else { return Ok(None) };
    budget.spend(tex.len())?;
    // What stands for a formula may have its delimiters within.
    let bare = [("$$", "$$"), ("$", "$"), ("\\[", "\\]"), ("\\(", "\\)")].into_iter().find_map(|(begin, end)| {
        tex.strip_prefix(begin)?.strip_suffix(end).map(str::trim).filter(|bare| !bare.is_empty())
    });
    let bare = bare.unwrap_or(&tex);
    let styled = bare.strip_prefix("{\\displaystyle").and_then(|inner| inner.strip_suffix('}')).map(str::trim);
    let tex = styled.filter(|inner| !inner.is_empty()).unwrap_or(bare);
    // A backtick would begin code to whoever does not know formulas.
    if !is_balanced(tex) || tex.contains('`') {
        return Ok(None);
    }
    // A dollar sign would end it, a backslash at the end would keep it from ending. To whoever does not know formulas it is text: a
    // space, which means nothing in TeX, keeps that from being an element or a link.
    let mut written = String::with_capacity(tex.len());
    for character in tex.chars() {
        let begins_element = |next: char| next.is_ascii_alphabetic() || matches!(next, '/' | '!' | '?');
        let is_markup = written.ends_with('<') && begins_element(character)
            || written.ends_with(']') && matches!(character, '(' | '[' | ':');
        if is_markup {
            written.push(' ');
        }
        if character == '$' && !is_escaped(&written) {
            written.push('\\');
        }
        written.push(character);
    }
    if written.ends_with('\\') {
        written.push(' ');
        written.push('{');
        written.push('}');
    }
    Ok(Some(Formula { tex: written, is_block }))
}

/// Whether what comes next is escaped by a backslash.
fn is_escaped(before: &str) -> bool {
    before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Whether an element is what a script made of a formula that stands beside, or a copy for those who see no pictures.
pub(super) fn is_made_of_formula(dom: &Dom<'_>, id: NodeId) -> bool {
    if !matches!(dom.tag(id), Tag::Span | Tag::Div) {
        return false;
    }
    let Some(class) = dom.attr(id, "class") else { return false };
    let has = |wanted: &[&str]| class.split_ascii_whitespace().any(|word| wanted.contains(&word));
    if has(&["mwe-math-mathml-inline", "mwe-math-mathml-display", "mwe-math-mathml-a11y"]) {
        return dom
            .children(dom.node(id).parent)
            .take(8)
            .any(|beside| dom.tag(beside) == Tag::Img && is_formula(dom, beside));
    }
    let made = ["MathJax", "MathJax_Display", "MathJax_SVG", "MathJax_SVG_Display", "MathJax_CHTML", "MathJax_Preview"];
    if has(&made) {
        // The preview, what is shown and the script follow each other.
        let after = |id: NodeId| Some(dom.node(id).next).filter(|next| *next != NONE);
        return std::iter::successors(after(id), |id| after(*id)).take(4).any(|next| is_formula(dom, next));
    }
    has(&["katex-html"])
}
