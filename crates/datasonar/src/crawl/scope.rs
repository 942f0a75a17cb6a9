//! Which URLs a crawl may fetch.
//!
//! Scope is decided from the URL alone: scheme, host, path and depth. Regular expressions are those of the crate `regex`,
//! which takes time linear in the path whatever the expression; what they compile to is bounded.

use percent_encoding::percent_decode_str;
use regex::{RegexBuilder, RegexSet, RegexSetBuilder};
use url::Url;

use super::{
    key::{Keys, MAX_URL_BYTES, PageKey, encoding_normalised, host},
    options::{CrawlOptions, OptionError},
};

/// Regular expressions in one list, at most; their length in bytes, and what all of them may compile to: together with the
/// length of a path it bounds the time to match.
const MAX_PATTERNS: usize = 100;
const MAX_PATTERN_BYTES: usize = 1_000;
const MAX_COMPILED_BYTES: usize = 4 * 1024 * 1024;
/// A path with more segments is a trap, and so is one with the same segment more often.
const MAX_SEGMENTS: usize = 40;
const MAX_REPEATS: usize = 5;

/// Why a URL is not fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfScope {
    /// Its scheme is not `http` or `https`.
    Scheme,
    /// It is longer than [`MAX_URL_BYTES`].
    TooLong,
    /// It is on another site.
    Host,
    /// It is more links from the start than asked for.
    Depth,
    /// Its path is not among those asked for.
    Path,
    /// Its path leads ever deeper.
    Trap,
}

/// What a crawl may fetch.
#[derive(Debug)]
pub struct Scope {
    start: PageKey,
    site: Site,
    allow_subdomains: bool,
    allow_external_links: bool,
    max_depth: Option<u32>,
    include: Option<RegexSet>,
    exclude: Option<RegexSet>,
    /// Tells pages apart.
    pub keys: Keys,
}

/// What the hosts of a site have in common.
#[derive(Debug, PartialEq, Eq)]
struct Site {
    /// Without `www.`.
    host: String,
    /// None where the scheme's own is used.
    port: Option<u16>,
    /// The registrable domain (publicsuffix.org), or the host if it has none, as addresses have not.
    domain: String,
}

impl Site {
    fn of(url: &Url) -> Self {
        let full = host(url);
        let domain = url.domain().and_then(|_| psl::domain_str(full)).unwrap_or(full).to_owned();
        let host = full.strip_prefix("www.").filter(|rest| rest.len() >= domain.len()).unwrap_or(full);
        Self { host: host.to_owned(), port: url.port(), domain }
    }
}

impl Scope {
    /// The scope of a crawl that begins at `start`.
    ///
    /// # Errors
    /// Everything that is wrong with the options.
    pub fn new(start: &Url, options: &CrawlOptions) -> Result<Self, Vec<OptionError>> {
        let mut errors = options.errors();
        let include = compile("include_paths", &options.include_paths, &mut errors);
        let exclude = compile("exclude_paths", &options.exclude_paths, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        let keys = Keys { ignore_query: options.ignore_query_parameters };
        Ok(Self {
            start: keys.of(start),
            site: Site::of(start),
            allow_subdomains: options.allow_subdomains,
            allow_external_links: options.allow_external_links,
            max_depth: options.max_depth,
            include,
            exclude,
            keys,
        })
    }

    /// Whether a URL that was found at this depth may be fetched. The start may, whatever else is asked for.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, url: &Url, depth: u32) -> Result<(), OutOfScope> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(OutOfScope::Scheme);
        }
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(OutOfScope::TooLong);
        }
        if self.keys.of(url) == self.start {
            return Ok(());
        }
        if !self.is_on_site(url) {
            return Err(OutOfScope::Host);
        }
        if self.max_depth.is_some_and(|most| depth > most) {
            return Err(OutOfScope::Depth);
        }
        let path = encoding_normalised(url.path());
        if is_trap(&path) {
            return Err(OutOfScope::Trap);
        }
        // Patterns are written as paths are read, or as the address bar has them.
        let decoded = path.contains('%').then(|| percent_decode_str(&path).decode_utf8_lossy());
        let matches = |patterns: &RegexSet| {
            patterns.is_match(&path) || decoded.as_ref().is_some_and(|decoded| patterns.is_match(decoded))
        };
        let is_included = self.include.as_ref().is_none_or(matches);
        if is_included && !self.exclude.as_ref().is_some_and(matches) { Ok(()) } else { Err(OutOfScope::Path) }
    }

    /// Whether a page may say that it is another: a canonical URL is believed when it is on the site, and not the home page,
    /// which misconfigured sites name on all their pages.
    pub fn believes_canonical(&self, page: &Url, canonical: &Url) -> bool {
        let is_home = canonical.path() == "/" && canonical.query().is_none();
        (!is_home || page.path() == "/") && self.check(canonical, 0).is_ok()
    }

    /// Whether a URL is on one of the sites that are crawled.
    pub fn is_on_site(&self, url: &Url) -> bool {
        self.allow_external_links || self.is_own(url)
    }

    /// Whether a URL is on one of the hosts of the site itself, wherever links may lead.
    pub fn is_own(&self, url: &Url) -> bool {
        let site = Site::of(url);
        let is_same = site.host == self.site.host && site.port == self.site.port;
        is_same || (self.allow_subdomains && site.domain == self.site.domain)
    }
}

fn compile(list: &str, patterns: &[String], errors: &mut Vec<OptionError>) -> Option<RegexSet> {
    let mut wrong = |pointer: String, detail: String| errors.push(OptionError::new(pointer, detail));
    if patterns.is_empty() {
        return None;
    }
    if patterns.len() > MAX_PATTERNS {
        wrong(format!("/{list}"), format!("has more than {MAX_PATTERNS} patterns"));
        return None;
    }
    let mut is_sound = true;
    // One by one first, because a set does not say which of its patterns is wrong.
    for (index, pattern) in patterns.iter().enumerate() {
        let refused = if pattern.len() > MAX_PATTERN_BYTES {
            Some(format!("is longer than {MAX_PATTERN_BYTES} bytes"))
        } else {
            RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).build().err().map(|error| reason(&error))
        };
        if let Some(detail) = refused {
            is_sound = false;
            wrong(format!("/{list}/{index}"), detail);
        }
    }
    if !is_sound {
        return None;
    }
    match RegexSetBuilder::new(patterns).size_limit(MAX_COMPILED_BYTES).build() {
        Ok(set) => Some(set),
        Err(error) => {
            wrong(format!("/{list}"), format!("as a whole {}", reason(&error)));
            None
        }
    }
}

fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "is too complex: repeat less, or shorter parts".to_owned(),
        error => {
            // The last line says what is wrong, those before draw where.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            format!("is not a regular expression: {}", last.strip_prefix("error: ").unwrap_or(last))
        }
    }
}

/// Whether a path is as made by a program that adds to its own links.
fn is_trap(path: &str) -> bool {
    let mut segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.len() > MAX_SEGMENTS {
        return true;
    }
    segments.sort_unstable();
    segments.chunk_by(|a, b| a == b).any(|same| same.len() > MAX_REPEATS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(options: CrawlOptions) -> Scope {
        Scope::new(&"https://www.example.co.uk/docs/".parse().unwrap(), &options).unwrap()
    }

    fn check(scope: &Scope, url: &str) -> Result<(), OutOfScope> {
        scope.check(&url.parse().unwrap(), 1)
    }

    #[test]
    fn a_site_is_a_host_with_and_without_www() {
        let scope = scope(CrawlOptions::default());
        for url in ["https://www.example.co.uk/", "http://example.co.uk/a", "https://WWW.example.co.uk./"] {
            assert_eq!(check(&scope, url), Ok(()), "{url}");
        }
        for url in
            ["https://docs.example.co.uk/", "https://example.com/", "https://example.co.uk:8443/", "https://co.uk/"]
        {
            assert_eq!(check(&scope, url), Err(OutOfScope::Host), "{url}");
        }
        assert_eq!(check(&scope, "ftp://example.co.uk/"), Err(OutOfScope::Scheme));
        let suffix = Scope::new(&"https://www.github.io/".parse().unwrap(), &CrawlOptions::default()).unwrap();
        assert_eq!(check(&suffix, "https://github.io/"), Err(OutOfScope::Host), "a registrable domain of its own");
    }

    #[test]
    fn subdomains_end_at_the_registrable_domain() {
        let scope = scope(CrawlOptions { allow_subdomains: true, ..CrawlOptions::default() });
        assert_eq!(check(&scope, "https://a.b.example.co.uk:8443/"), Ok(()));
        assert_eq!(check(&scope, "https://other.co.uk/"), Err(OutOfScope::Host));
        let address = Scope::new(
            &"http://192.0.2.1/".parse().unwrap(),
            &CrawlOptions { allow_subdomains: true, ..CrawlOptions::default() },
        );
        assert_eq!(check(&address.unwrap(), "http://192.0.2.2/"), Err(OutOfScope::Host));
    }

    #[test]
    fn external_links_are_followed_when_asked() {
        let scope = self::scope(CrawlOptions { allow_external_links: true, ..CrawlOptions::default() });
        assert_eq!(check(&scope, "https://anywhere.example/"), Ok(()));
    }

    #[test]
    fn paths_are_matched_without_query_and_whatever_their_encoding() {
        let scope = scope(CrawlOptions {
            include_paths: vec!["^/docs/".to_owned(), "^/blog/".to_owned()],
            exclude_paths: vec!["/private".to_owned()],
            ..CrawlOptions::default()
        });
        assert_eq!(check(&scope, "https://example.co.uk/%64ocs/a?/private"), Ok(()));
        assert_eq!(check(&scope, "https://example.co.uk/blog/a"), Ok(()));
        assert_eq!(check(&scope, "https://example.co.uk/shop?/docs/"), Err(OutOfScope::Path));
        assert_eq!(check(&scope, "https://example.co.uk/docs/private"), Err(OutOfScope::Path));
    }

    #[test]
    fn patterns_are_written_as_paths_are_read() {
        let only =
            |pattern: &str| scope(CrawlOptions { include_paths: vec![pattern.to_owned()], ..CrawlOptions::default() });
        for pattern in ["^/größe/", "^/gr%C3%B6%C3%9Fe/", r"^/\w+/a b$", "^/[^/]+/a%20b"] {
            assert_eq!(check(&only(pattern), "https://example.co.uk/größe/a b"), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn the_start_is_in_scope_whatever_is_asked_for() {
        let scope = scope(CrawlOptions {
            include_paths: vec!["^/blog/".to_owned()],
            max_depth: Some(0),
            ..CrawlOptions::default()
        });
        assert_eq!(check(&scope, "https://www.example.co.uk/docs/#top"), Ok(()));
        assert_eq!(check(&scope, "https://www.example.co.uk/docs/a"), Err(OutOfScope::Depth));
    }

    #[test]
    fn depth_is_bounded() {
        let scope = scope(CrawlOptions { max_depth: Some(2), ..CrawlOptions::default() });
        let url = "https://example.co.uk/".parse().unwrap();
        assert_eq!((scope.check(&url, 2), scope.check(&url, 3)), (Ok(()), Err(OutOfScope::Depth)));
    }

    #[test]
    fn ever_deeper_paths_are_traps() {
        let scope = scope(CrawlOptions::default());
        let deep = |segment: &str, times| format!("https://example.co.uk/{}", format!("{segment}/").repeat(times));
        assert_eq!(check(&scope, &deep("a", 5)), Ok(()));
        assert_eq!(check(&scope, &deep("a", 6)), Err(OutOfScope::Trap));
        let cycle = deep("a/b/c", 6);
        assert_eq!(check(&scope, &cycle), Err(OutOfScope::Trap));
        let long: String = (0..41).map(|n| format!("/{n}")).collect();
        assert_eq!(check(&scope, &format!("https://example.co.uk{long}")), Err(OutOfScope::Trap));
    }

    #[test]
    fn a_canonical_home_page_is_not_believed() {
        let scope = scope(CrawlOptions::default());
        let believes =
            |page: &str, canonical: &str| scope.believes_canonical(&page.parse().unwrap(), &canonical.parse().unwrap());
        assert!(believes("https://example.co.uk/a?b", "https://example.co.uk/a"));
        assert!(!believes("https://example.co.uk/a", "https://example.co.uk/"));
        assert!(believes("https://example.co.uk/?utm=1", "https://example.co.uk/"));
        assert!(!believes("https://example.co.uk/a", "https://elsewhere.example/a"));
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let errors = |options: CrawlOptions| -> Vec<String> {
            let start = "https://example.com/".parse().unwrap();
            Scope::new(&start, &options).unwrap_err().into_iter().map(|error| error.pointer).collect()
        };
        let patterns = |list: &[&str]| list.iter().map(|pattern| (*pattern).to_owned()).collect();
        let options = CrawlOptions {
            max_pages: 0,
            delay_ms: u64::MAX,
            include_paths: patterns(&["fine", "(", "((a{1,100}){1,100}){1,100}"]),
            exclude_paths: vec!["x".repeat(MAX_PATTERN_BYTES + 1)],
            ..CrawlOptions::default()
        };
        assert_eq!(
            errors(options),
            ["/max_pages", "/delay_ms", "/include_paths/1", "/include_paths/2", "/exclude_paths/0"]
        );
        let many = CrawlOptions { exclude_paths: vec![String::new(); 101], ..CrawlOptions::default() };
        assert_eq!(errors(many), ["/exclude_paths"]);
        let large = CrawlOptions { include_paths: vec![r"\w{20}".to_owned(); 100], ..CrawlOptions::default() };
        assert_eq!(errors(large), ["/include_paths"], "each is fine, together they are too much");
    }
}
