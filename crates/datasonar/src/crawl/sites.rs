//! What is known of sites: their rules, and their sitemaps.

use url::Url;

use super::reader::SitemapReader;
use crate::fetch::{Robots, SiteRules};

/// What is known of sites. Cloning is cheap, and shares what is kept of them.
#[derive(Clone)]
pub struct Sites {
    /// What they allow.
    pub robots: Robots,
    /// Reads what they list.
    pub sitemaps: SitemapReader,
}

impl Sites {
    /// Where the sitemaps of a site are: where its robots.txt says, else in the usual place.
    pub fn sitemaps_of(&self, url: &Url, rules: &SiteRules) -> Vec<Url> {
        let named = rules.sitemaps();
        if named.is_empty() { url.join("/sitemap.xml").into_iter().collect() } else { named.to_vec() }
    }
}
