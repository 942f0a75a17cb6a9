//! Feeds: RSS of every version, Atom, JSON Feed. A heading for the feed, and one with a link for each entry, over what it says.

use serde_json::Value;
use url::Url;

use super::{Made, cleaned, escaped};
use crate::{
    ExtractError, Metadata,
    budget::Budget,
    dates::iso_date,
    dom::{Dom, NodeId, Tag},
    render::{push_escaped, push_value},
    text::clean,
};

/// Part of the version that a JSON feed has.
pub(super) const JSON_FEED: &str = "jsonfeed.org/version/";
/// Entries of a feed that are kept, at most.
const MAX_ENTRIES: usize = 5000;
/// Length of a title or a name, in bytes.
const MAX_NAME: usize = 1024;
/// Bytes of which a name is made.
const NAME_BYTES: usize = 4 * MAX_NAME;
/// Files that go with an entry, at most.
const MAX_FILES: usize = 16;
/// The most that an entry takes besides its content, in bytes.
const ENTRY_BYTES: usize = 512 + (4 + MAX_FILES) * MAX_NAME / 8;
/// Length of an entry's content, in bytes.
const MAX_CONTENT: usize = 4 * 1024 * 1024;

/// What a feed says, whatever its format.
#[derive(Default)]
struct Feed {
    title: Option<String>,
    description: Option<String>,
    language: Option<String>,
    author: Option<String>,
    link: Option<String>,
    image: Option<String>,
    updated: Option<String>,
    entries: Vec<Entry>,
}

#[derive(Default)]
struct Entry {
    title: Option<String>,
    link: Option<String>,
    author: Option<String>,
    date: Option<String>,
    /// HTML, not yet cleaned.
    content: String,
    /// Files that go with it.
    files: Vec<String>,
}

/// Reads a feed, if the document is one.
pub(super) fn of_xml(
    dom: &Dom<'_>,
    root: NodeId,
    url: &Url,
    budget: &Budget<'_>,
) -> Result<Option<Made>, ExtractError> {
    let feed = match local(dom.name(root)) {
        "rss" | "RDF" => match child(dom, root, "channel") {
            Some(channel) => rss(dom, root, channel, budget)?,
            None => return Ok(None),
        },
        "feed" => atom(dom, root, url, budget)?,
        _ => return Ok(None),
    };
    made(feed, url, budget).map(Some)
}

/// Reads a JSON feed, if the value is one.
pub(super) fn of_json(value: &Value, url: &Url, budget: &Budget<'_>) -> Result<Option<Made>, ExtractError> {
    let is_feed = value["version"].as_str().is_some_and(|version| version.contains(JSON_FEED));
    let Some(items) = value["items"].as_array().filter(|_| is_feed) else { return Ok(None) };
    let text = |value: &Value, key: &str| clean(value.get(key)?.as_str()?, MAX_NAME);
    let author = |value: &Value| text(&value["authors"][0], "name").or_else(|| text(&value["author"], "name"));
    let entry = |item: &Value| {
        budget.spend(1024)?;
        let content = match (&item["content_html"], &item["content_text"], &item["summary"]) {
            (Value::String(html), _, _) => {
                budget.allocate(html.len())?;
                html.clone()
            }
            (_, Value::String(text), _) => super::text::paragraphs(text, budget)?,
            (_, _, Value::String(text)) => escaped(text, budget)?,
            _ => String::new(),
        };
        budget.allocate(ENTRY_BYTES)?;
        Ok::<_, ExtractError>(Entry {
            title: text(item, "title"),
            link: text(item, "url").or_else(|| text(item, "external_url")),
            author: author(item),
            date: text(item, "date_published").or_else(|| text(item, "date_modified")),
            content,
            files: item["attachments"]
                .as_array()
                .into_iter()
                .flatten()
                .take(MAX_FILES)
                .filter_map(|file| text(file, "url"))
                .collect(),
        })
    };
    let feed = Feed {
        title: text(value, "title"),
        description: text(value, "description"),
        language: text(value, "language"),
        author: author(value),
        link: text(value, "home_page_url"),
        image: text(value, "icon").or_else(|| text(value, "favicon")),
        updated: None,
        entries: items.iter().take(MAX_ENTRIES).map(entry).collect::<Result<_, _>>()?,
    };
    made(feed, url, budget).map(Some)
}

fn rss(dom: &Dom<'_>, root: NodeId, channel: NodeId, budget: &Budget<'_>) -> Result<Feed, ExtractError> {
    let text = |parent: NodeId, name: &str| child(dom, parent, name).and_then(|id| plain_of(&name_of(dom, id)));
    let mut feed = Feed {
        title: text(channel, "title"),
        description: text(channel, "description"),
        language: text(channel, "language"),
        author: text(channel, "creator")
            .or_else(|| text(channel, "author"))
            .or_else(|| text(channel, "managingEditor")),
        // Atom's links to the feed itself have no text.
        link: text_of(dom, channel, "link"),
        image: child(dom, channel, "image").and_then(|image| text(image, "url")),
        updated: text(channel, "lastBuildDate").or_else(|| text(channel, "pubDate")),
        entries: Vec::new(),
    };
    // In RSS 1.0 the items stand beside the channel.
    let items = dom.children(channel).chain(dom.children(root)).filter(|id| local(dom.name(*id)) == "item");
    for item in items.take(MAX_ENTRIES) {
        budget.spend(1024)?;
        let id = child(dom, item, "guid").filter(|id| dom.attr(*id, "isPermaLink") != Some("false"));
        let permalink = || id.and_then(|id| plain_of(&name_of(dom, id))).filter(|id| id.starts_with("http"));
        let content = child(dom, item, "encoded").or_else(|| child(dom, item, "description"));
        budget.allocate(ENTRY_BYTES)?;
        feed.entries.push(Entry {
            title: text(item, "title"),
            link: text_of(dom, item, "link").or_else(permalink),
            author: text(item, "creator").or_else(|| text(item, "author")),
            date: text(item, "pubDate").or_else(|| text(item, "date")),
            content: content.map(|id| content_of(dom, id, budget)).transpose()?.unwrap_or_default(),
            files: attributes(dom, item, "enclosure", "url"),
        });
    }
    Ok(feed)
}

fn atom(dom: &Dom<'_>, root: NodeId, url: &Url, budget: &Budget<'_>) -> Result<Feed, ExtractError> {
    let text = |parent: NodeId, name: &str| child(dom, parent, name).and_then(|id| plain_of(&atom_name_of(dom, id)));
    let author = |parent: NodeId| child(dom, parent, "author").and_then(|author| text(author, "name"));
    let link = |parent: NodeId, wanted: &str| {
        let fits =
            |id: &NodeId| local(dom.name(*id)) == "link" && dom.attr(*id, "rel").unwrap_or("alternate") == wanted;
        let link = dom.children(parent).find(fits)?;
        let base = dom.ancestors(link).find_map(|id| dom.attr(id, "xml:base")).and_then(|base| url.join(base).ok());
        base.as_ref().unwrap_or(url).join(dom.attr(link, "href")?.trim()).ok().map(String::from)
    };
    let mut feed = Feed {
        title: text(root, "title"),
        description: text(root, "subtitle").or_else(|| text(root, "tagline")),
        language: dom.attr(root, "xml:lang").and_then(|language| clean(language, 64)),
        author: author(root),
        link: link(root, "alternate"),
        image: text(root, "logo").or_else(|| text(root, "icon")),
        updated: text(root, "updated"),
        entries: Vec::new(),
    };
    for entry in dom.children(root).filter(|id| local(dom.name(*id)) == "entry").take(MAX_ENTRIES) {
        budget.spend(1024)?;
        let content = child(dom, entry, "content").or_else(|| child(dom, entry, "summary"));
        let content = content.map(|id| atom_content(dom, id, budget)).transpose()?;
        let content = content.filter(|content| !content.trim().is_empty());
        // A video's description stands in a group of its own.
        let described = || {
            let group = child(dom, entry, "group").unwrap_or(entry);
            child(dom, group, "description").map(|id| paragraphs_of(dom, id, budget)).transpose()
        };
        let content = match content {
            Some(content) => content,
            None => described()?.unwrap_or_default(),
        };
        budget.allocate(ENTRY_BYTES)?;
        feed.entries.push(Entry {
            title: text(entry, "title"),
            link: link(entry, "alternate"),
            author: author(entry),
            date: text(entry, "published").or_else(|| text(entry, "issued")).or_else(|| text(entry, "updated")),
            content,
            files: link(entry, "enclosure").into_iter().collect(),
        });
    }
    Ok(feed)
}

/// A name without its prefix.
pub(super) fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

/// The first child of that name; one without a prefix is preferred.
fn child(dom: &Dom<'_>, parent: NodeId, name: &str) -> Option<NodeId> {
    let named = || dom.children(parent).filter(|id| local(dom.name(*id)) == name);
    named().find(|id| dom.name(*id) == name).or_else(|| named().next())
}

fn text_of(dom: &Dom<'_>, parent: NodeId, name: &str) -> Option<String> {
    let mut named = dom.children(parent).filter(|id| local(dom.name(*id)) == name);
    named.find_map(|id| clean(&dom.text_content(id, MAX_NAME), MAX_NAME))
}

fn attributes(dom: &Dom<'_>, parent: NodeId, name: &str, attribute: &str) -> Vec<String> {
    let named = dom.children(parent).filter(|id| local(dom.name(*id)) == name);
    named.filter_map(|id| clean(dom.attr(id, attribute)?, MAX_NAME)).take(MAX_FILES).collect()
}

/// What an element of RSS holds: HTML, escaped or not.
fn content_of(dom: &Dom<'_>, id: NodeId, budget: &Budget<'_>) -> Result<String, ExtractError> {
    if dom.children(id).any(|child| dom.is_element(child)) {
        inner_markup(dom, id, MAX_CONTENT, budget)
    } else {
        text_below(dom, id, budget)
    }
}

/// What an element of Atom holds, by its type, as HTML.
fn atom_content(dom: &Dom<'_>, id: NodeId, budget: &Budget<'_>) -> Result<String, ExtractError> {
    match dom.attr(id, "type").unwrap_or("text") {
        "xhtml" | "application/xhtml+xml" => inner_markup(dom, id, MAX_CONTENT, budget),
        "html" | "text/html" => text_below(dom, id, budget),
        _ if dom.children(id).any(|child| dom.is_element(child)) => inner_markup(dom, id, MAX_CONTENT, budget),
        _ => paragraphs_of(dom, id, budget),
    }
}

/// The beginning of what an element of RSS holds, for a name.
fn name_of(dom: &Dom<'_>, id: NodeId) -> String {
    if dom.children(id).any(|child| dom.is_element(child)) {
        let never = || false;
        inner_markup(dom, id, NAME_BYTES, &Budget::new(&never)).unwrap_or_default()
    } else {
        dom.text_content(id, NAME_BYTES)
    }
}

/// Likewise of Atom.
fn atom_name_of(dom: &Dom<'_>, id: NodeId) -> String {
    match dom.attr(id, "type").unwrap_or("text") {
        "xhtml" | "application/xhtml+xml" | "html" | "text/html" => name_of(dom, id),
        _ if dom.children(id).any(|child| dom.is_element(child)) => name_of(dom, id),
        _ => {
            let never = || false;
            super::text::paragraphs(&dom.text_content(id, NAME_BYTES), &Budget::new(&never)).unwrap_or_default()
        }
    }
}

/// The text below an element, its memory counted.
fn text_below(dom: &Dom<'_>, id: NodeId, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let mut text = String::new();
    for id in dom.descendants(id) {
        if text.len() >= MAX_CONTENT {
            break;
        }
        let own = dom.text(id);
        budget.spend(own.len())?;
        budget.push(&mut text, &own[..own.floor_char_boundary(MAX_CONTENT)])?;
    }
    Ok(text)
}

/// The text below an element as paragraphs.
fn paragraphs_of(dom: &Dom<'_>, id: NodeId, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let text = text_below(dom, id, budget)?;
    let paragraphs = super::text::paragraphs(&text, budget)?;
    budget.free(text.capacity());
    Ok(paragraphs)
}

/// Returns what is below an element as markup, prefixes left out; not much more than `max` bytes of it.
fn inner_markup(dom: &Dom<'_>, root: NodeId, max: usize, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let mut out = String::new();
    let mut open: Vec<NodeId> = Vec::new();
    for id in dom.descendants(root).skip(1) {
        budget.spend(64)?;
        if out.len() > max {
            break;
        }
        while let Some(last) = open.last().filter(|last| dom.node(id).parent != **last) {
            end_tag(dom, *last, &mut out, budget)?;
            open.pop();
        }
        if dom.tag(id) == Tag::Text {
            let text = dom.text(id);
            push_escaped(&text[..text.floor_char_boundary(max)], &mut out, budget)?;
            continue;
        }
        budget.push(&mut out, "<")?;
        budget.push(&mut out, local(dom.name(id)))?;
        for (name, value) in dom.attrs(id).filter(|(name, _)| !name.contains(':')) {
            budget.push(&mut out, " ")?;
            budget.push(&mut out, name)?;
            budget.push(&mut out, "=\"")?;
            push_value(value, &mut out, budget)?;
            budget.push(&mut out, "\"")?;
        }
        budget.push(&mut out, ">")?;
        if dom.node(id).first != crate::dom::NONE || !Tag::from_name(local(dom.name(id))).is_void() {
            open.push(id);
        }
    }
    while let Some(last) = open.pop() {
        end_tag(dom, last, &mut out, budget)?;
    }
    Ok(out)
}

fn end_tag(dom: &Dom<'_>, id: NodeId, out: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
    budget.push(out, "</")?;
    budget.push(out, local(dom.name(id)))?;
    budget.push(out, ">")
}

/// The text of what may be HTML.
fn plain_of(html: &str) -> Option<String> {
    if !html.contains(['<', '&']) {
        return clean(html, MAX_NAME);
    }
    let html = &html[..html.floor_char_boundary(MAX_NAME * 4)];
    let never = || false;
    let budget = Budget::new(&never);
    let dom = crate::dom::parse(html, &budget).ok()?;
    clean(&dom.text_content(crate::dom::HTML, MAX_NAME * 4), MAX_NAME)
}

fn made(feed: Feed, url: &Url, budget: &Budget<'_>) -> Result<Made, ExtractError> {
    let absolute = |link: &str| url.join(link.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let site = feed.link.as_deref().and_then(absolute);
    let mut out = String::new();
    if let Some(title) = &feed.title {
        element("h1", title, &mut out, budget)?;
    }
    if let Some(description) = &feed.description {
        element("p", description, &mut out, budget)?;
    }
    for entry in &feed.entries {
        budget.spend(entry.content.len() + 1024)?;
        let link = entry.link.as_deref().and_then(absolute);
        let title = entry.title.as_deref().or(link.as_ref().map(Url::as_str));
        budget.push(&mut out, "<article>\n")?;
        match (title, &link) {
            (Some(title), Some(link)) => {
                budget.push(&mut out, "<h2>")?;
                linked(link, title, &mut out, budget)?;
                budget.push(&mut out, "</h2>\n")?;
            }
            (Some(title), None) => element("h2", title, &mut out, budget)?,
            (None, _) => budget.push(&mut out, "<hr>\n")?,
        }
        let date = entry.date.as_deref().map(|date| iso_date(date).unwrap_or_else(|| date.to_owned()));
        let byline: Vec<&str> = [&entry.author, &date].into_iter().flatten().map(String::as_str).collect();
        if !byline.is_empty() {
            element("p", &byline.join(" · "), &mut out, budget)?;
        }
        let base = link.as_ref().or(site.as_ref()).unwrap_or(url);
        let scope = budget.scope();
        let content = cleaned(&entry.content, base, budget)?;
        let before = out.capacity();
        budget.push(&mut out, &content)?;
        let grown = out.capacity() - before;
        scope.keep(grown);
        for file in entry.files.iter().filter_map(|file| absolute(file)) {
            budget.push(&mut out, "<p>")?;
            linked(&file, file.as_str(), &mut out, budget)?;
            budget.push(&mut out, "</p>\n")?;
        }
        budget.push(&mut out, "</article>\n")?;
    }
    let metadata = Metadata {
        title: feed.title,
        description: feed.description,
        language: feed.language,
        author: feed.author,
        published_at: feed.updated.and_then(|date| iso_date(&date)),
        canonical_url: site.map(String::from),
        image: feed.image.as_deref().and_then(absolute).map(String::from),
        ..Metadata::default()
    };
    Ok(Made { markup: out, metadata })
}

fn element(name: &str, text: &str, out: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
    budget.push(out, &format!("<{name}>"))?;
    push_escaped(text, out, budget)?;
    budget.push(out, &format!("</{name}>\n"))
}

fn linked(url: &Url, text: &str, out: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
    budget.push(out, "<a href=\"")?;
    push_value(url.as_str(), out, budget)?;
    budget.push(out, "\">")?;
    push_escaped(text, out, budget)?;
    budget.push(out, "</a>")
}
