//! What a page says of itself.

use serde::Serialize;
use serde_json::Value;
use url::Url;

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

/// What the tree has to say, by key; the first of each wins.
#[derive(Default)]
struct Found<'d> {
    metas: Vec<(String, &'d str)>,
    title: Option<NodeId>,
    heading: Option<NodeId>,
    canonical: Option<&'d str>,
    image: Option<&'d str>,
    time: Option<String>,
    author: Option<NodeId>,
}

impl Metadata {
    /// Reads a page's metadata off its tree.
    ///
    /// Where several places say the same thing, the one that is made for it and seen most wins: for titles and pictures what is shown
    /// when the page is shared (OpenGraph), for authors JSON-LD, for dates either; then microdata, other `<meta>` elements, and HTML itself.
    pub(crate) fn of(
        dom: &Dom<'_>,
        base: &Base,
        url: &Url,
        structured: &StructuredData,
        budget: &Budget<'_>,
    ) -> Result<Self, ExtractError> {
        let found = Found::of(dom, budget)?;
        let meta = |keys: &[&str]| found.meta(keys);
        let article = structured.article();
        let from_article = |key: &str| article.and_then(|article| text_of(article.get(key)?));
        let element =
            |id: Option<NodeId>| id.and_then(|id| clean(&dom.text_content(id, MAX_VALUE_BYTES), MAX_VALUE_BYTES));
        let site_name = meta(&["og:site_name"])
            .or_else(|| structured.site().and_then(|site| text_of(site.get("name")?)))
            .or_else(|| article.and_then(|article| text_of(article.get("publisher")?)))
            .filter(|name| !name.starts_with("http"))
            .or_else(|| meta(&["application-name", "apple-mobile-web-app-title"]));
        let heading = element(found.heading);
        let title = meta(&["og:title", "twitter:title"])
            .or_else(|| from_article("headline"))
            .or_else(|| meta(&["citation_title", "dc.title", "dcterms.title", "headline"]))
            .or_else(|| element(found.title))
            .or_else(|| heading.clone())
            .map(|title| without_site(&title, site_name.as_deref(), heading.as_deref(), url));
        let language = [(HTML, "lang"), (HTML, "xml:lang"), (BODY, "lang")]
            .into_iter()
            .find_map(|(id, name)| language_tag(dom.attr(id, name)?))
            .or_else(|| {
                meta(&["content-language", "language", "dc.language", "og:locale"]).and_then(|tag| language_tag(&tag))
            })
            .or_else(|| from_article("inLanguage").and_then(|tag| language_tag(&tag)));
        let published = [
            meta(&["article:published_time", "og:published_time"]),
            from_article("datePublished"),
            meta(&[
                "datepublished",
                "citation_publication_date",
                "citation_date",
                "citation_online_date",
                "dcterms.created",
                "dcterms.issued",
                "dc.date.issued",
                "dc.date",
                "parsely-pub-date",
                "sailthru.date",
                "publish-date",
                "publish_date",
                "pubdate",
                "date",
            ]),
            found.time.clone(),
            from_article("uploadDate").or_else(|| from_article("dateCreated")),
            date_of_path(url.path()),
        ];
        let absolute = |address: String| base.web(&address).map(String::from);
        Ok(Self {
            title,
            description: meta(&[
                "description",
                "og:description",
                "twitter:description",
                "dc.description",
                "dcterms.description",
            ])
            .or_else(|| from_article("description")),
            language,
            author: found.author(dom, article),
            published_at: published.into_iter().flatten().find_map(|date| iso_date(&date)),
            canonical_url: found
                .canonical
                .map(str::to_owned)
                .and_then(absolute)
                .or_else(|| meta(&["og:url"]).and_then(absolute)),
            site_name,
            image: meta(&["og:image:secure_url", "og:image", "og:image:url"])
                .or_else(|| meta(&["twitter:image", "twitter:image:src"]))
                .and_then(absolute)
                .or_else(|| article.and_then(|article| image_of(article.get("image")?)).and_then(absolute))
                .or_else(|| found.image.map(str::to_owned).and_then(absolute))
                .or_else(|| meta(&["thumbnail", "msapplication-tileimage"]).and_then(absolute)),
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
                Tag::Text => continue,
                Tag::Meta if found.metas.len() < MAX_METAS => found.add_meta(dom, id),
                // Pictures have titles, too.
                Tag::Title if found.title.is_none() && dom.tag(dom.node(id).parent) != Tag::Svg => {
                    found.title = Some(id)
                }
                Tag::H1 if found.heading.is_none() => found.heading = Some(id),
                Tag::Link if found.canonical.is_none() && has_word(dom.attr(id, "rel"), "canonical") => {
                    found.canonical = dom.attr(id, "href").filter(|href| !href.trim().is_empty());
                }
                Tag::Link if found.image.is_none() && has_word(dom.attr(id, "rel"), "image_src") => {
                    found.image = dom.attr(id, "href");
                }
                Tag::Time if found.time.is_none() && is_of_publication(dom, id) => {
                    found.time =
                        dom.attr(id, "datetime").map(str::to_owned).or_else(|| clean(&dom.text_content(id, 128), 128));
                }
                Tag::Img if found.image.is_none() && has_word(dom.attr(id, "itemprop"), "image") => {
                    found.image = dom.attr(id, "src");
                }
                Tag::A | Tag::Span | Tag::Div | Tag::P => found.add_marked(dom, id),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Microdata and microformats on what is shown.
    fn add_marked(&mut self, dom: &'d Dom<'_>, id: NodeId) {
        if self.author.is_none()
            && (has_word(dom.attr(id, "itemprop"), "author")
                || dom.tag(id) == Tag::A && has_word(dom.attr(id, "rel"), "author")
                || has_word(dom.attr(id, "class"), "p-author"))
        {
            self.author = Some(id);
        }
        if self.time.is_none() && has_word(dom.attr(id, "itemprop"), "datePublished") {
            let said = dom.attr(id, "content").or_else(|| dom.attr(id, "datetime")).map(str::to_owned);
            self.time = said.or_else(|| clean(&dom.text_content(id, 128), 128));
        }
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
        keys.iter()
            .find_map(|key| self.metas.iter().filter(|(name, _)| name == key).find_map(|(_, value)| plain(value)))
    }

    /// Who wrote the page, several parted by commas.
    fn author(&self, dom: &Dom<'_>, article: Option<&Value>) -> Option<String> {
        const MAX_AUTHORS: usize = 20;
        let of_data = article.and_then(|article| article.get("author").or_else(|| article.get("creator")));
        let of_data = of_data.map(|author| match author {
            Value::Array(list) => list.iter().take(MAX_AUTHORS).filter_map(text_of).collect::<Vec<_>>(),
            other => text_of(other).into_iter().collect(),
        });
        let of_metas = |key: &str| {
            let named = self.metas.iter().filter(|(name, _)| name == key);
            named.take(MAX_AUTHORS).filter_map(|(_, value)| plain(value)).collect::<Vec<_>>()
        };
        let keys = [
            "citation_author",
            "author",
            "article:author",
            "dc.creator",
            "dcterms.creator",
            "parsely-author",
            "sailthru.author",
        ];
        let of_element = || {
            let id = self.author?;
            // The name within, where there is one.
            let name = dom.descendants(id).take(64).find(|id| has_word(dom.attr(*id, "itemprop"), "name"));
            let name = name.unwrap_or(id);
            dom.attr(name, "content")
                .and_then(|name| clean(name, 128))
                .or_else(|| clean(&dom.text_content(name, 512), 128))
        };
        let candidates =
            of_data.into_iter().chain(keys.into_iter().map(of_metas)).chain([of_element().into_iter().collect()]);
        candidates.into_iter().find_map(|names| {
            let mut kept: Vec<String> = Vec::new();
            for name in names.into_iter().filter_map(|name| person(&name)) {
                if !kept.contains(&name) {
                    kept.push(name);
                }
            }
            (!kept.is_empty()).then(|| kept.join(", "))
        })
    }
}

/// A name as it is; nothing for an address, and for what is one on another site.
fn person(name: &str) -> Option<String> {
    let lower = name.get(..3).map(str::to_ascii_lowercase);
    let name = if lower.as_deref() == Some("by ") { &name[3..] } else { name };
    let name = name.trim().trim_end_matches([',', '|']).trim();
    let is_name = !name.is_empty() && !name.contains("://") && !name.starts_with('@') && name.len() <= 256;
    is_name.then(|| name.to_owned())
}

/// Whether a time is that of publication.
fn is_of_publication(dom: &Dom<'_>, id: NodeId) -> bool {
    let is_named = |class: &str| {
        class.split_ascii_whitespace().any(|word| {
            matches!(word, "published" | "entry-date" | "post-date" | "dt-published" | "date-published" | "pubdate")
        })
    };
    has_word(dom.attr(id, "itemprop"), "datePublished")
        || dom.attr(id, "pubdate").is_some()
        || dom.attr(id, "class").is_some_and(is_named)
}

/// A value as text: some are escaped twice.
fn plain(value: &str) -> Option<String> {
    let is_escaped = value.split('&').skip(1).any(|rest| {
        let name = rest.split(';').next().unwrap_or_default();
        name.len() < rest.len()
            && (2..=8).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'#')
    });
    if !is_escaped || value.contains('<') {
        return clean(value, MAX_VALUE_BYTES);
    }
    let value = &value[..value.floor_char_boundary(MAX_VALUE_BYTES * 2)];
    let dom = crate::dom::parse(value, &Budget::new(&|| false)).ok()?;
    clean(&dom.text_content(BODY, MAX_VALUE_BYTES * 2), MAX_VALUE_BYTES)
}

fn has_word(list: Option<&str>, wanted: &str) -> bool {
    list.is_some_and(|list| list.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case(wanted)))
}

/// A language tag, if it is one: `en_US` is `en-US`.
fn language_tag(tag: &str) -> Option<String> {
    let tag = tag.split([',', ';']).next().unwrap_or_default().trim().replace('_', "-");
    let mut parts = tag.split('-');
    let first = parts.next().unwrap_or_default();
    let fits = (2..=8).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    (fits && tag.len() <= 35).then_some(tag)
}

/// The day in an address such as `/2026/03/05/title`.
fn date_of_path(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').take(16).collect();
    parts.windows(3).find_map(|window| {
        let digits = |part: &str, len: usize| part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit());
        let fits = digits(window[0], 4)
            && digits(window[1], 2)
            && digits(window[2], 2)
            && ("1990".."2100").contains(&window[0]);
        fits.then(|| window.join("-"))
    })
}

/// The text of a JSON-LD value: itself, its name or URL, or those of its first.
fn text_of(value: &Value) -> Option<String> {
    let mut value = value;
    for _ in 0..4 {
        value = match value {
            Value::String(text) => return plain(text),
            Value::Array(values) => values.first()?,
            Value::Object(object) => {
                object.get("name").or_else(|| object.get("url")).or_else(|| object.get("@value"))?
            }
            _ => return None,
        };
    }
    None
}

/// The address of a JSON-LD picture.
fn image_of(value: &Value) -> Option<String> {
    let mut value = value;
    for _ in 0..4 {
        value = match value {
            Value::String(text) => return clean(text, MAX_VALUE_BYTES),
            Value::Array(values) => values.first()?,
            Value::Object(object) => {
                object.get("url").or_else(|| object.get("contentUrl")).or_else(|| object.get("@id"))?
            }
            _ => return None,
        };
    }
    None
}

/// The title without the site's name, which stands before or after a separator.
fn without_site(title: &str, site: Option<&str>, heading: Option<&str>, url: &Url) -> String {
    const SEPARATORS: [&str; 10] = [" | ", " - ", " – ", " — ", " · ", " • ", " » ", " « ", " :: ", " / "];
    let bare = |text: &str| {
        text.chars().filter(|next| next.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>()
    };
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix("www.").unwrap_or(host);
    let label = host.split('.').rev().nth(1).filter(|label| label.len() > 3).unwrap_or_default();
    let names = [site.map(bare).unwrap_or_default(), bare(host), bare(label)];
    let is_site = |part: &str| {
        let part = bare(part);
        !part.is_empty() && names.contains(&part)
    };
    let is_heading = |part: &str| heading.is_some_and(|heading| bare(heading) == bare(part) && !part.trim().is_empty());
    for separator in SEPARATORS {
        let Some((head, tail)) = title.rsplit_once(separator) else { continue };
        if is_site(tail) || is_heading(head) {
            return head.trim().to_owned();
        }
        if let Some((head, tail)) = title.split_once(separator)
            && (is_site(head) || is_heading(tail))
        {
            return tail.trim().to_owned();
        }
    }
    // Several names in a row: what is before them is the heading.
    SEPARATORS
        .iter()
        .filter_map(|separator| title.split_once(separator))
        .find(|(head, _)| is_heading(head))
        .map_or_else(|| title.to_owned(), |(head, _)| head.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_lose_the_site() {
        let url: Url = "https://www.harbour-times.example/a".parse().unwrap();
        for (title, site, heading, expected) in [
            ("A - B | Site", Some("site"), None, "A - B"),
            ("Site – A", Some("Site"), None, "A"),
            ("A | Anything", None, Some("A"), "A"),
            ("A | Section | Anything", None, Some("A"), "A"),
            ("A | Harbour Times", None, None, "A"),
            ("A | B", Some("C"), None, "A | B"),
            ("Site", Some("Site"), None, "Site"),
        ] {
            assert_eq!(without_site(title, site, heading, &url), expected, "{title}");
        }
    }
}
