//! What a crawler wants to know of a page: its links, all of them, and whether it asks that they be left alone.
//!
//! Other than the format `links`, this looks at the whole page, whatever part of it is content, and at every element that
//! leads to another page.

use std::collections::HashMap;

use url::Url;

use crate::{
    ExtractError,
    budget::Budget,
    dom::{Dom, HEAD, HTML, NodeId, Tag},
    links::Base,
};

/// Distinct links that are listed, at most.
pub(crate) const MAX_LINKS: usize = 10_000;
/// Bytes of all links that are listed, at most: with a long base, short links make long addresses.
const MAX_LINK_BYTES: usize = 4 * 1024 * 1024;
/// Links that are looked at, at most: the same one may stand there a million times.
const MAX_LOOKED_AT: u64 = 200_000;

/// What a crawler wants to know of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CrawlFacts {
    /// Where the page leads, in document order, each URL once: at most 10,000, and at most 4 MiB.
    pub links: Vec<PageLink>,
    /// How many links stand on the page beyond those that are listed. They were not looked at: repetitions count.
    pub more_links: u64,
    /// What the page's `<meta name=robots>` ask for, and those that name the crawler.
    pub robots: RobotsDirectives,
    /// The page's `<link rel=canonical>`, absolute. (What metadata calls so may come from other places.)
    pub canonical_url: Option<Url>,
}

/// Where a page leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageLink {
    /// Absolute, `http` or `https`, without a fragment.
    pub url: Url,
    /// Whether every link there says `rel=nofollow`, `ugc` or `sponsored`.
    pub nofollow: bool,
}

/// What a page asks of crawlers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RobotsDirectives {
    /// Not to be listed in an index.
    pub noindex: bool,
    /// That its links not be followed.
    pub nofollow: bool,
}

impl RobotsDirectives {
    /// Adds what a list of directives asks for, such as `noindex, nofollow`. What is not known is passed over.
    pub fn add(&mut self, list: &str) {
        for directive in list.split([',', ';', ' ', '\t']) {
            let is = |name: &str| directive.trim().eq_ignore_ascii_case(name);
            self.noindex |= is("noindex") || is("none");
            self.nofollow |= is("nofollow") || is("none");
        }
    }
}

impl CrawlFacts {
    /// Reads them off a page's tree. `agent` is the product token by which the page may address the crawler.
    pub(crate) fn of(
        dom: &Dom<'_>,
        url: &Url,
        base: &Base,
        agent: &str,
        budget: &Budget<'_>,
    ) -> Result<Self, ExtractError> {
        let mut links = Links::default();
        let mut facts = Self::default();
        for id in dom.descendants(HTML) {
            budget.spend(0)?;
            let link = match dom.tag(id) {
                Tag::A | Tag::Area => dom.attr(id, "href"),
                Tag::Link if has_rel(dom, id, &["next", "prev"]) => dom.attr(id, "href"),
                Tag::Link if facts.canonical_url.is_none() && has_rel(dom, id, &["canonical"]) => {
                    let in_head = dom.ancestors(id).any(|above| above == HEAD);
                    facts.canonical_url = dom.attr(id, "href").filter(|_| in_head).and_then(|href| web(base, href));
                    None
                }
                Tag::Frame | Tag::Iframe => {
                    let src = dom.attr(id, "src");
                    // What is embedded from elsewhere (a map, a player, an advertisement) is no page of the site's.
                    src.filter(|src| base.web(src).is_some_and(|to| to.origin() == url.origin()))
                }
                Tag::Meta => {
                    facts.add_meta(dom, id, agent);
                    refresh_target(dom, id)
                }
                _ => None,
            };
            if let Some(link) = link.map(str::trim).filter(|link| !link.is_empty() && !link.starts_with('#')) {
                budget.spend(512 + link.len())?;
                let before = links.bytes;
                links.add(base, link, has_rel(dom, id, &["nofollow", "ugc", "sponsored"]));
                if links.bytes > before {
                    // In the list and by place, with what they take besides and grow by.
                    budget.allocate((links.bytes - before) * 2 + 512)?;
                }
            }
        }
        facts.links = links.list;
        facts.more_links = links.more;
        Ok(facts)
    }

    fn add_meta(&mut self, dom: &Dom<'_>, id: NodeId, agent: &str) {
        let name = dom.attr(id, "name").map_or("", str::trim);
        let is_meant = name.eq_ignore_ascii_case("robots") || (!agent.is_empty() && name.eq_ignore_ascii_case(agent));
        if is_meant && let Some(content) = dom.attr(id, "content") {
            self.robots.add(content);
        }
    }
}

/// The links found so far.
#[derive(Default)]
struct Links {
    list: Vec<PageLink>,
    places: HashMap<String, usize>,
    bytes: usize,
    looked_at: u64,
    more: u64,
}

impl Links {
    fn add(&mut self, base: &Base, link: &str, nofollow: bool) {
        if self.list.len() >= MAX_LINKS || self.bytes >= MAX_LINK_BYTES || self.looked_at >= MAX_LOOKED_AT {
            self.more += 1;
            return;
        }
        self.looked_at += 1;
        let Some(url) = web(base, link) else { return };
        match self.places.get(url.as_str()) {
            Some(&at) => self.list[at].nofollow &= nofollow,
            None => {
                self.bytes += url.as_str().len();
                self.places.insert(url.as_str().to_owned(), self.list.len());
                self.list.push(PageLink { url, nofollow });
            }
        }
    }
}

/// The absolute form of an address, without its fragment.
fn web(base: &Base, href: &str) -> Option<Url> {
    let mut url = base.web(href)?;
    url.set_fragment(None);
    Some(url)
}

fn has_rel(dom: &Dom<'_>, id: NodeId, wanted: &[&str]) -> bool {
    let is_wanted = |word: &str| wanted.iter().any(|wanted| word.eq_ignore_ascii_case(wanted));
    dom.attr(id, "rel").is_some_and(|rel| rel.split([' ', '\t', '\n', '\r', '\x0C', ',']).any(is_wanted))
}

/// Where a `<meta http-equiv=refresh>` leads: `5; url=/next`, with quotes or without.
fn refresh_target<'d>(dom: &'d Dom<'_>, id: NodeId) -> Option<&'d str> {
    dom.attr(id, "http-equiv").filter(|name| name.trim().eq_ignore_ascii_case("refresh"))?;
    let content = dom.attr(id, "content")?.trim_start();
    let after_time = content.trim_start_matches(|next: char| next.is_ascii_digit() || next == '.');
    let target = after_time.trim_start().strip_prefix([';', ','])?.trim_start();
    let target = match target.get(..3) {
        Some(name) if name.eq_ignore_ascii_case("url") => {
            let value = target[3..].trim_start();
            value.strip_prefix('=').map_or(target, str::trim_start)
        }
        _ => target,
    };
    match target.chars().next() {
        Some(quote @ ('"' | '\'')) => target[1..].split(quote).next(),
        _ => Some(target),
    }
}
