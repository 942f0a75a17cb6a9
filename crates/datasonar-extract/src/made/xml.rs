//! XML: feeds and sitemaps as what they are; documents as paragraphs; data as a list of names and values.

use url::Url;

use super::{Made, feeds, feeds::local};
use crate::{
    ExtractError, Metadata,
    budget::Budget,
    dom::{self, BODY, Dom, NodeId, Tag},
    render::{push_escaped, push_value},
    text::{clean, collapse},
};

/// Lists within each other that data is written as, at most.
const MAX_LISTS: usize = 10;
/// Attributes of an element that are written, at most.
const MAX_ATTRS: usize = 16;
/// Elements that are looked at to tell documents from data, at most.
const MAX_LOOK: usize = 2000;

/// XML as markup.
pub(crate) fn xml(source: &str, url: &Url, budget: &Budget<'_>) -> Result<Made, ExtractError> {
    let scope = budget.scope();
    let dom = dom::parse_xml(source, budget)?;
    let Some(root) = dom.children(BODY).find(|id| dom.is_element(*id)) else {
        return Ok(Made { markup: super::text::paragraphs(source, budget)?, metadata: Metadata::default() });
    };
    if let Some(feed) = feeds::of_xml(&dom, root, url, budget)? {
        scope.keep(feed.markup.capacity());
        return Ok(feed);
    }
    let title = title_of(&dom, root);
    let markup = if matches!(local(dom.name(root)), "urlset" | "sitemapindex") {
        sitemap(&dom, root, budget)?
    } else if is_document(&dom, root) {
        document(&dom, root, budget)?
    } else {
        data(&dom, root, budget)?
    };
    scope.keep(markup.capacity());
    Ok(Made { markup, metadata: Metadata { title, ..Metadata::default() } })
}

fn title_of(dom: &Dom<'_>, root: NodeId) -> Option<String> {
    let titles = dom.descendants(root).take(MAX_LOOK).filter(|id| local(dom.name(*id)).eq_ignore_ascii_case("title"));
    titles.into_iter().find_map(|id| clean(&dom.text_content(id, 4096), 1024))
}

/// The pages that a sitemap lists.
fn sitemap(dom: &Dom<'_>, root: NodeId, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let mut out = String::from("<ul>\n");
    for page in dom.children(root).filter(|id| dom.is_element(*id)) {
        budget.spend(512)?;
        let text = |name: &str| {
            let found = dom.children(page).find(|id| dom.name(*id) == name)?;
            clean(&dom.text_content(found, 4096), 4096)
        };
        if let Some(address) = text("loc") {
            budget.push(&mut out, "<li><a href=\"")?;
            push_value(&address, &mut out, budget)?;
            budget.push(&mut out, "\">")?;
            push_escaped(&address, &mut out, budget)?;
            budget.push(&mut out, "</a>")?;
            if let Some(date) = text("lastmod") {
                budget.push(&mut out, " · ")?;
                push_escaped(&date, &mut out, budget)?;
            }
            budget.push(&mut out, "</li>\n")?;
        }
    }
    budget.push(&mut out, "</ul>\n")?;
    Ok(out)
}

/// Whether text and elements stand beside each other somewhere, as in a text that is marked up.
fn is_document(dom: &Dom<'_>, root: NodeId) -> bool {
    dom.descendants(root).take(MAX_LOOK).filter(|id| dom.is_element(*id)).any(|id| {
        let has_text = dom.children(id).take(MAX_LOOK).any(|child| !dom.text(child).trim().is_empty());
        has_text && dom.children(id).take(MAX_LOOK).any(|child| dom.is_element(child))
    })
}

/// Whether an element stands within text.
fn is_inline(dom: &Dom<'_>, id: NodeId) -> bool {
    let parent = dom.node(id).parent;
    dom.children(parent).take(64).any(|child| !dom.text(child).trim().is_empty())
}

/// A text: a paragraph for each element that does not stand within one, titles as headings.
fn document(dom: &Dom<'_>, root: NodeId, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let mut out = String::new();
    let mut text = String::new();
    let mut heads = false;
    let mut flush = |text: &mut String, heads: bool| {
        budget.allocate(text.len())?;
        let whole = collapse(text);
        if !whole.is_empty() {
            let (begin, end) = if heads { ("<h2>", "</h2>\n") } else { ("<p>", "</p>\n") };
            budget.push(&mut out, begin)?;
            push_escaped(&whole, &mut out, budget)?;
            budget.push(&mut out, end)?;
        }
        budget.free(text.len());
        text.clear();
        Ok::<_, ExtractError>(())
    };
    let mut next = Some(root);
    while let Some(id) = next {
        budget.spend(dom.text(id).len() + 64)?;
        if dom.tag(id) == Tag::Text {
            budget.reserve_text(&mut text, dom.text(id).len())?;
            text.push_str(dom.text(id));
        } else if !is_inline(dom, id) {
            flush(&mut text, heads)?;
            let name = local(dom.name(id)).to_ascii_lowercase();
            heads = matches!(name.as_str(), "title" | "article-title" | "head" | "heading" | "h1" | "h2");
        }
        let is_leaf = dom.node(id).first == dom::NONE;
        next = dom.following(root, id, false);
        if is_leaf && next.is_some_and(|next| dom.node(next).parent != dom.node(id).parent && !is_inline(dom, next)) {
            flush(&mut text, heads)?;
            heads = false;
        }
    }
    flush(&mut text, heads)?;
    Ok(out)
}

/// Data: a list of names and values.
fn data(dom: &Dom<'_>, root: NodeId, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let mut out = String::from("<ul>\n");
    let mut open: Vec<NodeId> = Vec::new();
    let mut next = Some(root);
    while let Some(id) = next {
        budget.spend(256)?;
        let has_elements = dom.children(id).any(|child| dom.is_element(child));
        if dom.is_element(id) {
            budget.push(&mut out, "<li>")?;
            push_escaped(dom.name(id), &mut out, budget)?;
            for (at, (name, value)) in dom.attrs(id).take(MAX_ATTRS).enumerate() {
                budget.push(&mut out, if at == 0 { " (" } else { ", " })?;
                push_escaped(name, &mut out, budget)?;
                budget.push(&mut out, "=")?;
                push_escaped(value, &mut out, budget)?;
            }
            if dom.attrs(id).next().is_some() {
                budget.push(&mut out, ")")?;
            }
            if has_elements {
                budget.push(&mut out, if open.len() < MAX_LISTS { "<ul>\n" } else { "</li>\n" })?;
                open.push(id);
            } else {
                let value = collapse(&dom.text_content(id, 1024 * 1024));
                budget.spend(value.len())?;
                if !value.is_empty() {
                    budget.push(&mut out, ": ")?;
                    push_escaped(&value, &mut out, budget)?;
                }
                budget.push(&mut out, "</li>\n")?;
            }
        }
        next = dom.following(root, id, !has_elements);
        let parent = next.map_or(BODY, |next| dom.node(next).parent);
        while open.last().is_some_and(|last| *last != parent) {
            open.pop();
            if open.len() < MAX_LISTS {
                budget.push(&mut out, "</ul></li>\n")?;
            }
        }
    }
    budget.push(&mut out, "</ul>\n")?;
    Ok(out)
}
