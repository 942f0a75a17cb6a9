//! What a page says of itself.

use serde::Serialize;
use serde_json::Value;

use crate::{
    ExtractError,
    budget::Budget,
    dates::iso_date,
    dom::{BODY, Dom, HTML, NodeId, Tag},
    links::Base,
    structured::StructuredData,
    text::clean,
};

/// Length of a value that is kept, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// What a page says of itself. Serialises to the contract's keys in the contract's order, `null` when absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// The page's title, without the site's name around it.
    pub title: Option<String>,
    /// A sentence or two about the page.
    pub description: Option<String>,
    /// A BCP 47 tag, as the page gives it.
    pub language: Option<String>,
    /// Who wrote it.
    pub author: Option<String>,
    /// When it was published: an ISO 8601 date or RFC 3339 time.
    pub published_at: Option<String>,
    /// The page's preferred URL, absolute.
    pub canonical_url: Option<String>,
    /// The name of the site.
    pub site_name: Option<String>,
    /// The URL of an image that stands for the page, absolute.
    pub image: Option<String>,
    /// The document's media type, without parameters.
    pub content_type: Option<String>,
}

/// What the head has to say, by key; the first of each wins.
#[derive(Default)]
struct Found<'d> {
    metas: Vec<(String, &'d str)>,
    title: Option<NodeId>,
    heading: Option<NodeId>,
    canonical: Option<&'d str>,
    time: Option<&'d str>,
    author: Option<NodeId>,
}

impl Metadata {
    /// Reads a page's metadata off its tree.
    pub(crate) fn of(
        dom: &Dom<'_>,
        base: &Base,
        structured: &StructuredData,
        budget: &Budget<'_>,
    ) -> Result<Self, ExtractError> {
        let found = Found::of(dom, budget)?;
        let meta = |keys: &[&str]| found.meta(keys);
        let article = structured.article();
        let from_article = |key: &str| article.and_then(|article| text_of(article.get(key)?));
        let site_name = meta(&["og:site_name", "application-name"])
            .or_else(|| article.and_then(|article| text_of(article.get("publisher")?)));
        let heading = found.heading.and_then(|id| clean(&dom.text_content(id, MAX_VALUE_BYTES), MAX_VALUE_BYTES));
        let head_title = found.title.and_then(|id| clean(&dom.text_content(id, MAX_VALUE_BYTES), MAX_VALUE_BYTES));
        let title = meta(&["og:title", "twitter:title", "dc.title"])
            .or_else(|| from_article("headline"))
            .or_else(|| head_title.clone())
            .or_else(|| heading.clone())
            .map(|title| without_site(&title, site_name.as_deref(), heading.as_deref()));
        let language = [(HTML, "lang"), (HTML, "xml:lang"), (BODY, "lang")]
            .into_iter()
            .find_map(|(id, name)| clean(dom.attr(id, name)?, 64))
            .or_else(|| meta(&["content-language", "language", "dc.language"]))
            .or_else(|| meta(&["og:locale"]).map(|locale| locale.replace('_', "-")));
        let author =
            meta(&["author", "article:author", "dc.creator", "parsely-author", "sailthru.author", "twitter:creator"])
                .filter(|author| !author.starts_with("http"))
                .or_else(|| from_article("author"))
                .or_else(|| found.author.and_then(|id| clean(&dom.text_content(id, 512), 128)))
                .map(|author| author.strip_prefix("By ").map(str::to_owned).unwrap_or(author));
        let published = meta(&[
            "article:published_time",
            "og:published_time",
            "datepublished",
            "dc.date.issued",
            "dc.date",
            "parsely-pub-date",
            "sailthru.date",
            "pubdate",
            "date",
        ])
        .or_else(|| from_article("datePublished"))
        .or_else(|| found.time.map(str::to_owned));
        let absolute = |address: String| base.web(&address).map(String::from);
        Ok(Self {
            title,
            description: meta(&["description", "og:description", "twitter:description", "dc.description"])
                .or_else(|| from_article("description")),
            language,
            author,
            published_at: published.and_then(|date| iso_date(&date)),
            canonical_url: found.canonical.map(str::to_owned).or_else(|| meta(&["og:url"])).and_then(absolute),
            site_name,
            image: meta(&["og:image:secure_url", "og:image", "og:image:url", "twitter:image", "twitter:image:src"])
                .or_else(|| from_article("image"))
                .and_then(absolute),
            content_type: None,
        })
    }
}

impl<'d> Found<'d> {
    fn of(dom: &'d Dom<'_>, budget: &Budget<'_>) -> Result<Self, ExtractError> {
        const MAX_METAS: usize = 512;
        let mut found = Self::default();
        for id in dom.descendants(HTML) {
            budget.spend(0)?;
            match dom.tag(id) {
                Tag::Meta if found.metas.len() < MAX_METAS => found.add_meta(dom, id),
                Tag::Title if found.title.is_none() => found.title = Some(id),
                Tag::H1 if found.heading.is_none() => found.heading = Some(id),
                Tag::Link if found.canonical.is_none() && has_word(dom.attr(id, "rel"), "canonical") => {
                    found.canonical = dom.attr(id, "href");
                }
                Tag::Time if found.time.is_none() => {
                    let published =
                        dom.attr(id, "itemprop") == Some("datePublished") || dom.attr(id, "pubdate").is_some();
                    found.time = dom.attr(id, "datetime").filter(|_| published);
                }
                Tag::A | Tag::Span if found.author.is_none() => {
                    let is_author =
                        has_word(dom.attr(id, "rel"), "author") || has_word(dom.attr(id, "itemprop"), "author");
                    found.author = is_author.then_some(id);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn add_meta(&mut self, dom: &'d Dom<'_>, id: NodeId) {
        let Some(content) = dom.attr(id, "content").filter(|content| !content.trim().is_empty()) else { return };
        for name in ["property", "name", "itemprop", "http-equiv"] {
            if let Some(key) = dom.attr(id, name).filter(|key| key.len() <= 64) {
                self.metas.push((key.trim().to_ascii_lowercase(), content));
            }
        }
    }

    /// The value of the first of the keys that is given.
    fn meta(&self, keys: &[&str]) -> Option<String> {
        keys.iter().find_map(|key| {
            self.metas.iter().filter(|(name, _)| name == key).find_map(|(_, value)| clean(value, MAX_VALUE_BYTES))
        })
    }
}

fn has_word(list: Option<&str>, wanted: &str) -> bool {
    list.is_some_and(|list| list.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case(wanted)))
}

/// The text of a JSON-LD value: itself, its name or URL, or those of its first.
fn text_of(value: &Value) -> Option<String> {
    let mut value = value;
    for _ in 0..4 {
        value = match value {
            Value::String(text) => return clean(text, MAX_VALUE_BYTES),
            Value::Array(values) => values.first()?,
            Value::Object(object) => {
                object.get("name").or_else(|| object.get("url")).or_else(|| object.get("@value"))?
            }
            _ => return None,
        };
    }
    None
}

/// The title without the site's name, which stands before or after a separator.
fn without_site(title: &str, site: Option<&str>, heading: Option<&str>) -> String {
    const SEPARATORS: [&str; 7] = [" | ", " - ", " – ", " — ", " · ", " » ", " :: "];
    for separator in SEPARATORS {
        let Some((head, tail)) = title.rsplit_once(separator) else { continue };
        let is = |part: &str, whole: Option<&str>| whole.is_some_and(|whole| whole.eq_ignore_ascii_case(part.trim()));
        if is(tail, site) || is(head, heading) {
            return head.trim().to_owned();
        }
        if let Some((head, tail)) = title.split_once(separator)
            && (is(head, site) || is(tail, heading))
        {
            return tail.trim().to_owned();
        }
    }
    title.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_lose_the_site() {
        assert_eq!(without_site("A - B | Site", Some("site"), None), "A - B");
        assert_eq!(without_site("Site – A", Some("Site"), None), "A");
        assert_eq!(without_site("A | Anything", None, Some("A")), "A");
        assert_eq!(without_site("A | B", Some("C"), None), "A | B");
    }
}
