//! Which links of a page are followed.

use datasonar_extract::{CrawlFacts, PageLink, RobotsDirectives};

/// What a page says of its links.
#[derive(Clone, Copy, Debug)]
pub struct LinkSource<'a> {
    /// What it says itself.
    pub page: &'a CrawlFacts,
    /// The values of its `X-Robots-Tag` headers.
    pub robots_tags: &'a [String],
}

/// The links of a page that may be followed; none of those that it asks not to follow, if that binds. `agent` is the
/// crawler's product token. (`noindex` asks nothing of a crawler that keeps no index: such pages are fetched.)
pub fn follow<'a>(source: LinkSource<'a>, agent: &str, binds: bool) -> impl Iterator<Item = &'a PageLink> {
    let mut asks = source.page.robots;
    for tag in source.robots_tags {
        add_tag(&mut asks, tag, agent);
    }
    let is_closed = binds && asks.nofollow;
    source.page.links.iter().filter(move |link| !(is_closed || binds && link.nofollow))
}

/// Adds the directives of one `X-Robots-Tag`, such as `noindex, nofollow` or `otherbot: none`. Those behind a name are for
/// that crawler alone.
fn add_tag(asks: &mut RobotsDirectives, tag: &str, agent: &str) {
    let mut is_meant = true;
    for directive in tag.split(',') {
        let directive = directive.trim();
        // `unavailable_after: date` and its like have a value, not a name.
        let rest = match directive.split_once(':') {
            Some((name, _)) if is_valued(name.trim()) => continue,
            Some((name, rest)) => {
                is_meant = name.trim().eq_ignore_ascii_case(agent);
                rest.trim()
            }
            None => directive,
        };
        if is_meant {
            asks.add(rest);
        }
    }
}

fn is_valued(name: &str) -> bool {
    ["unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"]
        .iter()
        .any(|valued| name.eq_ignore_ascii_case(valued))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(tags: &[&str], nofollow: bool, binds: bool) -> usize {
        let link =
            |path: &str, nofollow| PageLink { url: format!("https://a.example/{path}").parse().unwrap(), nofollow };
        let page = CrawlFacts {
            links: vec![link("a", false), link("b", true)],
            robots: RobotsDirectives { noindex: false, nofollow },
            ..CrawlFacts::default()
        };
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        follow(LinkSource { page: &page, robots_tags: &tags }, "Datasonar", binds).count()
    }

    #[test]
    fn what_a_page_asks_not_to_follow_is_not_followed() {
        assert_eq!(followed(&[], false, true), 1);
        assert_eq!(followed(&[], true, true), 0);
        assert_eq!(followed(&["noindex"], false, true), 1);
        for tag in
            ["nofollow", "NOINDEX, NoFollow", "none", "datasonar: nofollow", "otherbot: noindex, datasonar: none"]
        {
            assert_eq!(followed(&[tag], false, true), 0, "{tag}");
        }
        for tag in ["otherbot: nofollow", "otherbot: noindex, nofollow", "unavailable_after: 2026, noindex", ""] {
            assert_eq!(followed(&[tag], false, true), 1, "{tag}");
        }
        assert_eq!(followed(&["noindex", "unavailable_after: 1 Jan, nofollow"], false, true), 0);
        assert_eq!(followed(&["none"], true, false), 2, "unless that does not bind");
    }
}
