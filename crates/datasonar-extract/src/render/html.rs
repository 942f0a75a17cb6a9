//! Cleaned HTML: what is selected, without what runs, styles or hides.

use super::{Page, push_escaped, push_value};
use crate::{
    ExtractError,
    budget::Budget,
    dom::{BODY, NONE, NodeId, Tag},
    links::image_source,
};

/// Room for the name of an element and the signs around it, in bytes.
const SLACK: usize = 256;

/// Attributes that say something without doing anything.
const KEPT: [&str; 20] = [
    "abbr", "alt", "class", "colspan", "content", "datetime", "dir", "headers", "height", "id", "itemprop", "lang",
    "name", "reversed", "rowspan", "scope", "span", "start", "title", "width",
];

/// Writes the selected content; `title` heads a whole page.
pub(crate) fn html(page: &Page<'_>, title: Option<&str>, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let mut out = String::new();
    budget.reserve_text(&mut out, SLACK)?;
    let whole = page.selection.roots == [BODY];
    if whole && let Some(title) = title {
        out.push_str("<title>");
        push_escaped(title, &mut out, budget)?;
        out.push_str("</title>\n");
    }
    for &root in &page.selection.roots {
        walk(page, root, budget, &mut out)?;
        budget.push(&mut out, "\n")?;
    }
    let end = out.trim_end().len();
    out.truncate(end);
    budget.shrink(&mut out);
    Ok(out)
}

fn walk(page: &Page<'_>, root: NodeId, budget: &Budget<'_>, out: &mut String) -> Result<(), ExtractError> {
    let dom = page.dom;
    let mut id = root;
    loop {
        let text = dom.text(id);
        budget.spend(64 + text.len())?;
        let kept = !page.selection.is_removed(id);
        if kept {
            budget.reserve_text(out, SLACK)?;
            if dom.tag(id) == Tag::Text {
                push_escaped(text, out, budget)?;
            } else {
                open(page, id, out, budget)?;
            }
        }
        let first = dom.node(id).first;
        if kept && first != NONE {
            id = first;
            continue;
        }
        loop {
            if !page.selection.is_removed(id) {
                budget.reserve_text(out, SLACK)?;
                close(page, id, out);
            }
            if id == root {
                return Ok(());
            }
            let node = dom.node(id);
            if node.next != NONE {
                id = node.next;
                break;
            }
            id = node.parent;
        }
    }
}

/// The name to write an element by; none if it is left out and its content kept.
fn name<'a>(page: &Page<'a>, id: NodeId) -> Option<&'a str> {
    let dom = page.dom;
    match dom.tag(id) {
        Tag::Text | Tag::Document | Tag::Html | Tag::Body | Tag::Font | Tag::Template | Tag::Form | Tag::Script => None,
        Tag::Unknown => {
            let name = dom.name(id);
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            // Within formulas and drawings, elements of HTML are none; read again, they might be.
            let is_foreign = Tag::from_name(name) == Tag::Unknown;
            (name.len() <= 64 && name.bytes().all(fits) && is_foreign).then_some(name)
        }
        tag => Some(tag.name()),
    }
}

fn open(page: &Page<'_>, id: NodeId, out: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
    let Some(name) = name(page, id) else { return Ok(()) };
    out.push('<');
    out.push_str(name);
    let mut written: Vec<&str> = Vec::new();
    for (attribute, value) in page.dom.attrs(id) {
        if written.contains(&attribute) {
            continue;
        }
        let address = match attribute {
            "href" => page.base.safe(value).map(String::from),
            "src" if page.dom.tag(id) == Tag::Img => None,
            "src" | "cite" => page.base.web(value).map(String::from),
            _ => None,
        };
        let value = match &address {
            Some(url) => url.as_str(),
            None if KEPT.contains(&attribute) => value,
            None => continue,
        };
        written.push(attribute);
        attr(attribute, value, out, budget)?;
    }
    if page.dom.tag(id) == Tag::Img
        && let Some(url) = image_source(page.dom, id, page.base)
    {
        attr("src", url.as_str(), out, budget)?;
    }
    out.push('>');
    Ok(())
}

fn attr(name: &str, value: &str, out: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
    budget.reserve_text(out, SLACK)?;
    out.push(' ');
    out.push_str(name);
    out.push_str("=\"");
    push_value(value, out, budget)?;
    budget.push(out, "\"")
}

fn close(page: &Page<'_>, id: NodeId, out: &mut String) {
    if page.dom.tag(id).is_void() {
        return;
    }
    if let Some(name) = name(page, id) {
        out.push_str("</");
        out.push_str(name);
        out.push('>');
    }
}
