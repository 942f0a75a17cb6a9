//! Links and addresses.

use std::collections::HashMap;

use url::Url;

use crate::{
    ExtractError, Link,
    budget::Budget,
    content::Selection,
    dom::{Dom, HEAD, NodeId, Tag},
    text::collapse,
};

/// The longest address that is kept.
const MAX_URL_BYTES: usize = 8192;
/// The longest absolute form of one.
const MAX_ABSOLUTE_BYTES: usize = 2 * MAX_URL_BYTES;
/// Text of one link, at most.
const MAX_TEXT_BYTES: usize = 1024;

/// What relative addresses of a page are relative to.
pub(crate) struct Base(Url);

impl Base {
    /// A URL itself.
    pub(crate) fn new(url: &Url) -> Self {
        Self(url.clone())
    }

    /// The page's `<base href>`, or its own URL.
    pub(crate) fn of(dom: &Dom<'_>, url: &Url) -> Self {
        let base = dom.children(HEAD).filter(|id| dom.tag(*id) == Tag::Base).find_map(|id| dom.attr(id, "href"));
        let base = base
            .filter(|href| href.len() <= MAX_URL_BYTES)
            .and_then(|href| url.join(href.trim()).ok())
            .filter(|base| !base.cannot_be_a_base());
        Self(base.unwrap_or_else(|| url.clone()))
    }

    /// The absolute form of an address, `http` or `https` only.
    pub(crate) fn web(&self, href: &str) -> Option<Url> {
        self.resolve(href).filter(|url| matches!(url.scheme(), "http" | "https"))
    }

    /// The absolute form of an address that is harmless to follow.
    pub(crate) fn safe(&self, href: &str) -> Option<Url> {
        self.resolve(href).filter(|url| matches!(url.scheme(), "http" | "https" | "mailto" | "tel" | "ftp"))
    }

    fn resolve(&self, href: &str) -> Option<Url> {
        let href = href.trim();
        if href.len() > MAX_URL_BYTES {
            return None;
        }
        self.0.join(href).ok().filter(|url| url.as_str().len() <= MAX_ABSOLUTE_BYTES)
    }
}

/// The address of an image: its own, or what a script would load in its place.
pub(crate) fn image_source(dom: &Dom<'_>, id: NodeId, base: &Base) -> Option<Url> {
    let lazy = ["data-src", "data-original", "data-lazy-src"].into_iter().find_map(|name| dom.attr(id, name));
    let plain = dom.attr(id, "src").filter(|src| !src.trim_start().starts_with("data:") && !src.trim().is_empty());
    let from_set = || {
        let set = dom.attr(id, "srcset").or_else(|| dom.attr(id, "data-srcset"))?;
        set.split_ascii_whitespace().next().map(|first| first.trim_end_matches(','))
    };
    lazy.or(plain).or_else(from_set).and_then(|src| base.web(src))
}

/// The links of what is selected, each URL once, in document order, with the first text that says something.
pub(crate) fn links(
    dom: &Dom<'_>,
    selection: &Selection,
    base: &Base,
    budget: &Budget<'_>,
) -> Result<Vec<Link>, ExtractError> {
    let mut links: Vec<Link> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for &root in &selection.roots {
        let mut next = Some(root);
        while let Some(id) = next {
            budget.spend(0)?;
            let removed = selection.is_removed(id);
            if !removed
                && matches!(dom.tag(id), Tag::A | Tag::Area)
                && let Some(href) = dom.attr(id, "href")
            {
                budget.spend(512)?;
                budget.reserve(&mut links, 1)?;
                budget.reserve_entry(&mut places)?;
                let before = links.last().map_or(0, |link| link.url.len() * 2 + link.text.capacity() + 64);
                let count = links.len();
                add(dom, selection, base, id, href, &mut links, &mut places);
                if links.len() > count && count > 0 {
                    budget.allocate(before)?;
                }
            }
            next = dom.following(root, id, removed);
        }
    }
    Ok(links)
}

fn add(
    dom: &Dom<'_>,
    selection: &Selection,
    base: &Base,
    id: NodeId,
    href: &str,
    links: &mut Vec<Link>,
    places: &mut HashMap<String, usize>,
) {
    let href = href.trim();
    if href.is_empty() || href.starts_with('#') {
        return;
    }
    let Some(url) = base.web(href) else { return };
    let url = String::from(url);
    match places.get(&url) {
        Some(&at) => {
            if links[at].text.is_empty() {
                links[at].text = text(dom, selection, id);
            }
        }
        None => {
            places.insert(url.clone(), links.len());
            links.push(Link { text: text(dom, selection, id), url });
        }
    }
}

/// What a link says: its text, else its image's, else its label.
fn text(dom: &Dom<'_>, selection: &Selection, id: NodeId) -> String {
    let mut raw = String::new();
    let mut alt = None;
    let mut next = Some(id);
    // A link holds few nodes; one that was never closed may hold the page.
    for _ in 0..256 {
        let Some(at) = next else { break };
        let removed = selection.is_removed(at);
        if !removed {
            if dom.tag(at).is_block() {
                raw.push(' ');
            }
            raw.push_str(dom.text(at));
            if dom.tag(at) == Tag::Img && alt.is_none() {
                alt = dom.attr(at, "alt");
            }
        }
        if raw.len() > MAX_TEXT_BYTES {
            raw.truncate(raw.floor_char_boundary(MAX_TEXT_BYTES));
            break;
        }
        next = dom.following(id, at, removed);
    }
    let said = collapse(&raw);
    if !said.is_empty() {
        return said;
    }
    let label = dom.attr(id, "aria-label").or(alt).or_else(|| dom.attr(id, "title"));
    collapse(label.unwrap_or_default())
}
