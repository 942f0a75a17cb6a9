//! Code blocks and code in a line.

use std::borrow::Cow;

use crate::{
    ExtractError,
    budget::Budget,
    dom::{NONE, NodeId, Tag},
    notes::leads_back,
};

use super::{
    Page,
    beside::{numbers_lines, stands_apart},
    flow::notes::Notes,
    math::is_made_of_formula,
};

/// Code in a line that is longer than this is none, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// The text below a `pre` as it stands, `<br>` being a line feed.
pub(super) fn preformatted<'a>(
    page: &Page<'a>,
    root: NodeId,
    budget: &Budget<'_>,
) -> Result<Cow<'a, str>, ExtractError> {
    if let Some(text) = only_text(page, root) {
        return Ok(Cow::Borrowed(text.trim_end().trim_start_matches('\n')));
    }
    let mut text = String::new();
    let mut next = Some(root);
    while let Some(id) = next {
        let removed = page.selection.is_removed(id)
            || page.dom.tag(id) == Tag::Button
            || page.dom.tag(id) == Tag::Span && numbers_lines(page.dom, id);
        if !removed {
            let own = page.dom.text(id);
            budget.spend(own.len())?;
            budget.reserve_text(&mut text, own.len() + 1)?;
            text.push_str(own);
            let tag = page.dom.tag(id);
            if tag == Tag::Br || tag.is_block() && id != root && !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
        }
        next = page.dom.following(root, id, removed);
    }
    text.truncate(text.trim_end().len());
    let begin = text.len() - text.trim_start_matches('\n').len();
    text.drain(..begin);
    Ok(Cow::Owned(text))
}

/// The text of an element that holds one text, perhaps within others, and nothing else: most blocks of code do, and large ones need no copy.
fn only_text<'a>(page: &Page<'a>, root: NodeId) -> Option<&'a str> {
    let dom = page.dom;
    let mut id = root;
    loop {
        let is_passed = page.selection.is_removed(id) || dom.tag(id) == Tag::Button || numbers_lines(dom, id);
        let is_line = id == root || !dom.tag(id).is_block();
        if is_passed || !is_line || id != root && dom.node(id).next != NONE {
            return None;
        }
        if dom.tag(id) == Tag::Text {
            return Some(dom.text(id));
        }
        if dom.node(id).first == NONE || dom.tag(id) == Tag::Br {
            return None;
        }
        id = dom.node(id).first;
    }
}

/// The text of code that stands in a line; none if there is more in it than text.
pub(super) fn code_in_line(
    page: &Page<'_>,
    notes: &Notes,
    root: NodeId,
    budget: &Budget<'_>,
) -> Result<Option<String>, ExtractError> {
    let dom = page.dom;
    let mut text = String::new();
    let mut next = Some(root);
    while let Some(id) = next {
        budget.spend(dom.text(id).len())?;
        let removed = page.selection.is_removed(id);
        if !removed {
            let tag = dom.tag(id);
            let is_more = match tag {
                Tag::Img | Tag::Math | Tag::Script | Tag::Rt | Tag::Rp | Tag::Q | Tag::Sup => true,
                Tag::A => leads_back(dom, id) || notes.label(id).is_some(),
                Tag::Span => numbers_lines(dom, id) || is_made_of_formula(dom, id),
                tag => tag.is_block(),
            };
            if is_more || text.len() > MAX_LINE {
                budget.free(text.capacity());
                return Ok(None);
            }
            if stands_apart(dom, id) || tag == Tag::Br {
                text.push(' ');
            }
            budget.reserve_text(&mut text, dom.text(id).len() + 1)?;
            text.push_str(dom.text(id));
        }
        next = dom.following(root, id, removed);
    }
    Ok(Some(text))
}

/// The language of a code block, as its classes have it.
pub(super) fn language<'a>(page: &'a Page<'_>, pre: NodeId) -> Option<&'a str> {
    let dom = page.dom;
    let code = dom.children(pre).find(|id| dom.tag(*id) == Tag::Code);
    let around = dom.ancestors(pre).take(3);
    code.into_iter().chain([pre]).chain(around).find_map(|id| {
        let by_attribute = dom.attr(id, "data-lang").or_else(|| dom.attr(id, "data-language"));
        by_attribute.or_else(|| dom.attr(id, "class").and_then(language_of_class)).filter(|name| is_language(name))
    })
}

fn language_of_class(class: &str) -> Option<&str> {
    let mut classes = class.split_ascii_whitespace();
    classes
        .clone()
        .find_map(|class| {
            ["language-", "lang-", "highlight-source-", "highlight-text-", "highlight-", "brush:"]
                .iter()
                .find_map(|prefix| class.strip_prefix(prefix))
        })
        .or_else(|| classes.clone().find(|class| KNOWN.contains(class)))
        .or_else(|| classes.find(|class| *class == "sourceCode").and_then(|_| classes.next()))
}

/// Languages whose name alone, as a class, says what the code is.
const KNOWN: [&str; 44] = [
    "bash",
    "c",
    "clojure",
    "cpp",
    "csharp",
    "css",
    "dart",
    "diff",
    "dockerfile",
    "elixir",
    "erlang",
    "fsharp",
    "go",
    "graphql",
    "haskell",
    "html",
    "ini",
    "java",
    "javascript",
    "js",
    "json",
    "jsx",
    "julia",
    "kotlin",
    "lua",
    "makefile",
    "perl",
    "php",
    "powershell",
    "python",
    "r",
    "ruby",
    "rust",
    "scala",
    "scss",
    "sh",
    "shell",
    "sql",
    "swift",
    "toml",
    "tsx",
    "typescript",
    "xml",
    "yaml",
];

fn is_language(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'#' | b'-' | b'_' | b'.');
    (1..=24).contains(&name.len())
        && name.bytes().all(fits)
        && !matches!(name, "none" | "default" | "text" | "plaintext" | "box" | "wrapper")
}

/// The longest run of backticks in a text.
pub(crate) fn longest_ticks(text: &str) -> usize {
    let mut longest = 0;
    let mut run = 0;
    for byte in text.bytes() {
        run = if byte == b'`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}
