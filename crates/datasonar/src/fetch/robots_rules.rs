//! What a robots.txt says (RFC 9309), once it has been fetched.
//!
//! Read leniently, as the RFC asks: each line for itself, what cannot be understood passed over. Misspelt names of records
//! that are seen in the wild, and a missing colon, are understood. Everything is bounded, and matching takes time linear in
//! rule and path, whatever the number of wildcards.

use std::{cmp::Reverse, time::Duration};

use memchr::memmem;
use url::Url;

use super::percent::{is_plain, is_unreserved, octet};

/// How much of a robots.txt is read: the least that the RFC (section 2.5) asks for.
pub(super) const MAX_BYTES: usize = 500 * 1024;
/// How much of a line is read.
const MAX_LINE_BYTES: usize = 16 * 1024;
/// Sitemaps that are kept, at most.
const MAX_SITEMAPS: usize = 1_000;
/// The longest delay that is kept to: with more, a crawl would not end.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// What a robots.txt says to one crawler.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RobotsRules {
    /// The most specific first; of equals, those that allow.
    rules: Vec<Rule>,
    crawl_delay: Option<Duration>,
    sitemaps: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    allows: bool,
    /// With its encoding made uniform; each `*` is a wildcard.
    pattern: Vec<u8>,
    /// Whether the path has to end with the pattern.
    is_whole: bool,
}

/// What stands below user-agent lines, gathered from all groups that are meant.
#[derive(Default)]
struct Group {
    rules: Vec<Rule>,
    crawl_delay: Option<Duration>,
}

/// Whom the lines being read are for.
#[derive(Clone, Copy, Default)]
struct Audience {
    us: bool,
    all: bool,
}

impl RobotsRules {
    /// Reads a robots.txt for the crawler whose product token is `agent`, such as `Datasonar`.
    pub fn parse(body: &[u8], agent: &str) -> Self {
        let (mut ours, mut everybodys) = (Group::default(), Group::default());
        let mut is_named = false;
        let mut audience = Audience::default();
        let mut in_agents = false;
        let mut sitemaps = Vec::new();
        for (name, value) in lines(body).filter_map(record) {
            match name {
                Record::UserAgent => {
                    if !in_agents {
                        audience = Audience::default();
                    }
                    in_agents = true;
                    audience.all |= value.split(u8::is_ascii_whitespace).next() == Some(b"*");
                    audience.us |= is_agent(value, agent);
                    is_named |= audience.us;
                }
                Record::Allow | Record::Disallow => {
                    in_agents = false;
                    let rule = || Rule::new(name == Record::Allow, value);
                    if audience.us {
                        ours.rules.extend(rule());
                    }
                    if audience.all {
                        everybodys.rules.extend(rule());
                    }
                }
                // Not the RFC's: it must not end a group (section 2.2.4).
                Record::CrawlDelay => {
                    if audience.us {
                        ours.crawl_delay = ours.crawl_delay.or(delay(value));
                    }
                    if audience.all {
                        everybodys.crawl_delay = everybodys.crawl_delay.or(delay(value));
                    }
                }
                Record::Sitemap => {
                    let sitemap = String::from_utf8_lossy(value).into_owned();
                    if sitemaps.len() < MAX_SITEMAPS && !sitemap.is_empty() && !sitemaps.contains(&sitemap) {
                        sitemaps.push(sitemap);
                    }
                }
            }
        }
        let Group { mut rules, crawl_delay } = if is_named { ours } else { everybodys };
        rules.sort_by_key(|rule| (Reverse(rule.len()), !rule.allows));
        rules.dedup();
        Self { rules, crawl_delay, sitemaps }
    }

    /// Tells whether a URL may be fetched: whether the longest rule that matches its path and query, if any does, allows it.
    pub fn allows(&self, url: &Url) -> bool {
        if self.rules.is_empty() || (url.path() == "/robots.txt" && url.query().is_none()) {
            return true;
        }
        let path = match url.query() {
            None => uniform(url.path().as_bytes(), false),
            Some(query) => uniform(format!("{}?{query}", url.path()).as_bytes(), false),
        };
        self.rules.iter().find(|rule| rule.matches(&path)).is_none_or(|rule| rule.allows)
    }

    /// How far apart the site wants requests to begin, an hour at most. (Not in the RFC, but in use.)
    pub fn crawl_delay(&self) -> Option<Duration> {
        self.crawl_delay
    }

    /// The sitemaps named, as written, each once.
    pub fn sitemaps(&self) -> &[String] {
        &self.sitemaps
    }
}

impl Rule {
    /// A rule that says something; one without a path says nothing.
    fn new(allows: bool, value: &[u8]) -> Option<Self> {
        if value.is_empty() {
            return None;
        }
        let (value, is_whole) = value.strip_suffix(b"$").map_or((value, false), |value| (value, true));
        Some(Self { allows, pattern: uniform(value, true), is_whole })
    }

    /// Its octets, by which rules are compared.
    fn len(&self) -> usize {
        self.pattern.len() + usize::from(self.is_whole)
    }

    fn matches(&self, path: &[u8]) -> bool {
        let mut pieces = self.pattern.split(|byte| *byte == b'*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = path.strip_prefix(first) else { return false };
        let mut pieces = pieces.peekable();
        if pieces.peek().is_none() {
            return rest.is_empty() || !self.is_whole;
        }
        while let Some(piece) = pieces.next() {
            if self.is_whole && pieces.peek().is_none() {
                return rest.ends_with(piece);
            }
            // The leftmost place is as good as any: it leaves the most for what follows.
            let Some(at) = memmem::find(rest, piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        true
    }
}

/// A path as it is compared: unreserved characters plain, all else that is not a delimiter encoded, in upper case. In a path
/// that is no rule, `*` and `$` are characters like others, and encoded, because in rules they are not.
fn uniform(path: &[u8], is_rule: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut in_query = false;
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += 1;
        in_query |= byte == b'?';
        let decoded = if byte == b'%' { octet(path.get(at..at + 2)) } else { None };
        if decoded.is_some() {
            at += 2;
        }
        let is_kept = match decoded {
            // In a query these delimit nothing, and are written either way.
            Some(decoded) => is_unreserved(decoded) || (in_query && b":/?@'".contains(&decoded)),
            None => match byte {
                b'*' => is_rule,
                b'$' | b'%' => false,
                _ => is_plain(byte),
            },
        };
        let byte = decoded.unwrap_or(byte);
        if is_kept {
            out.push(byte);
        } else {
            let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)];
            out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

/// The lines of a file, without its byte order mark. A line that is cut by the end of what is read is left out.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = match body.split_at_checked(MAX_BYTES) {
        Some((head, tail)) if !tail.is_empty() => {
            let whole = head.iter().rposition(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or_default();
            &head[..whole]
        }
        _ => body,
    };
    // It is seen cut short, too.
    let body =
        [&b"\xEF\xBB\xBF"[..], b"\xEF\xBB", b"\xEF"].iter().find_map(|mark| body.strip_prefix(*mark)).unwrap_or(body);
    body.split(|byte| matches!(byte, b'\r' | b'\n')).map(|line| &line[..line.len().min(MAX_LINE_BYTES)])
}

/// The kinds of lines that are understood.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Record {
    UserAgent,
    Allow,
    Disallow,
    CrawlDelay,
    Sitemap,
}

/// What a line says.
fn record(line: &[u8]) -> Option<(Record, &[u8])> {
    let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = match colon {
        Some(colon) => (&line[..colon], &line[colon + 1..]),
        None => {
            // `disallow /`: two words and nothing more.
            let space = line.iter().position(u8::is_ascii_whitespace)?;
            let value = line[space..].trim_ascii();
            if value.iter().any(u8::is_ascii_whitespace) {
                return None;
            }
            (&line[..space], value)
        }
    };
    let name = name.trim_ascii().to_ascii_lowercase();
    let record = match &name[..] {
        b"user-agent" | b"useragent" | b"user agent" => Record::UserAgent,
        b"allow" => Record::Allow,
        b"disallow" | b"dissallow" | b"dissalow" | b"disalow" | b"diasllow" | b"disallaw" => Record::Disallow,
        b"crawl-delay" | b"crawldelay" => Record::CrawlDelay,
        b"sitemap" | b"site-map" => Record::Sitemap,
        _ => return None,
    };
    Some((record, value.trim_ascii()))
}

/// Tells whether a user-agent line names us: by the product token, whatever version or comment follows.
fn is_agent(value: &[u8], agent: &str) -> bool {
    let end = value.iter().position(|byte| !byte.is_ascii_alphabetic() && !matches!(byte, b'-' | b'_'));
    let token = &value[..end.unwrap_or(value.len())];
    !token.is_empty() && token.eq_ignore_ascii_case(agent.as_bytes())
}

fn delay(value: &[u8]) -> Option<Duration> {
    let seconds: f64 = str::from_utf8(value).ok()?.parse().ok()?;
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(MAX_DELAY.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    /// The verdict of a file on the paths of a site.
    fn check(robots: &[u8], agent: &str, verdicts: &[(&str, bool)]) {
        let rules = RobotsRules::parse(robots, agent);
        for (path, expected) in verdicts {
            let url: Url = format!("http://site.example{path}").parse().unwrap();
            assert_eq!(rules.allows(&url), *expected, "{:.200} {agent} {path:.200}", robots.escape_ascii().to_string());
        }
    }

    /// What a group for our agent with these rules says.
    fn ours(rules: &[&str], verdicts: &[(&str, bool)]) {
        check(format!("user-agent: FooBot\n{}\n", rules.join("\n")).as_bytes(), "FooBot", verdicts);
    }

    // The facts below are those that RFC 9309 states in its text and tables, and those that the test-suite of the best
    // known open-source parser establishes, less what that suite itself calls particular to one search engine.

    #[test]
    fn records_have_names_and_values() {
        let path = "/x/y";
        check(b"", "FooBot", &[(path, true)]);
        check(b"user-agent: FooBot\ndisallow: /\n", "FooBot", &[(path, false)]);
        check(b"foo: FooBot\nbar: /\n", "FooBot", &[(path, true)]);
        check(b"user-agent FooBot\ndisallow /\n", "FooBot", &[(path, false)]);
        check(b"user-agent: FooBot\ndisallow / x\n", "FooBot", &[(path, true)]);
        check(b"  user-agent :\tFooBot  \n\t disallow \t: /  # all\n", "FooBot", &[(path, false)]);
    }

    #[test]
    fn groups_end_where_the_next_begins_and_are_merged() {
        let robots =
            b"allow: /foo/bar/\n\nuser-agent: FooBot\ndisallow: /\nallow: /x/\nuser-agent: BarBot\ndisallow: /\n\
            allow: /y/\n\n\nallow: /w/\nuser-agent: BazBot\n\nuser-agent: FooBot\nallow: /z/\ndisallow: /\n";
        let verdict = |x, y, w, z| [("/x/b", x), ("/y/c", y), ("/w/a", w), ("/z/d", z), ("/foo/bar/", false)];
        check(robots, "FooBot", &verdict(true, false, false, true));
        check(robots, "BarBot", &verdict(false, true, true, false));
        check(robots, "BazBot", &verdict(false, false, false, true));
        // The example of the RFC, section 2.2.1.
        let robots =
            b"user-agent: ExampleBot\ndisallow: /foo\ndisallow: /bar\n\nuser-agent: ExampleBot\ndisallow: /baz\n";
        check(robots, "examplebot", &[("/foo", false), ("/bar", false), ("/baz", false), ("/", true)]);
    }

    #[test]
    fn other_records_do_not_end_a_group() {
        for other in ["Sitemap: https://site.example/sitemap", "Unknown-Line: unknown", "Crawl-delay: 5", ""] {
            let robots = format!("User-agent: BarBot\n{other}\nUser-agent: *\nDisallow: /\n");
            check(robots.as_bytes(), "FooBot", &[("/x", false)]);
            check(robots.as_bytes(), "BarBot", &[("/x", false)]);
        }
    }

    #[test]
    fn names_and_agents_are_of_any_case_paths_are_not() {
        for robots in ["USER-AGENT: FOO BAR\nALLOW: /x/\nDISALLOW: /", "uSeR-aGeNt: foo bar\naLlOw: /x/\ndIsAlLoW: /"]
            .map(str::as_bytes)
        {
            check(robots, "Foo", &[("/x/y", true), ("/a/b", false)]);
            check(robots, "foo", &[("/x/y", true), ("/a/b", false)]);
        }
        ours(&["disallow: /x/"], &[("/x/y", false), ("/X/y", true)]);
        ours(&["disallow: /X/"], &[("/x/y", true), ("/X/y", false)]);
    }

    #[test]
    fn agents_are_known_by_their_product_token() {
        for (line, is_us) in [
            ("FooBot", true),
            ("foobot/2.1", true),
            ("FooBot Images", true),
            ("FooBot*", true),
            ("FooBot-News", false),
            ("Foo", false),
            ("FooBots", false),
            ("MyFooBot", false),
            ("", false),
        ] {
            let robots = format!("user-agent: *\ndisallow: /x\nuser-agent: {line}\nallow: /x\n");
            check(robots.as_bytes(), "FooBot", &[("/x", is_us)]);
        }
    }

    #[test]
    fn the_group_for_all_counts_when_there_is_none_for_us() {
        let robots = b"user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /\n";
        check(robots, "FooBot", &[("/x/y", false)]);
        check(robots, "BarBot", &[("/x/y", true)]);
        let robots =
            b"user-agent: FooBot\nallow: /\nuser-agent: BarBot\ndisallow: /\nuser-agent: BazBot\ndisallow: /\n";
        check(robots, "QuxBot", &[("/x/y", true)]);
        let robots = b"User-agent: *\nDisallow: /x/\nUser-agent: FooBot\nDisallow: /y/\n";
        check(robots, "FooBot", &[("/x/page", true), ("/y/page", false)]);
        // A group without rules is ours all the same.
        check(b"user-agent: *\ndisallow: /\nuser-agent: FooBot\n", "FooBot", &[("/x", true)]);
        check(b"user-agent: * # all of you\ndisallow: /\n", "FooBot", &[("/x", false)]);
        check(b"user-agent: *bot\ndisallow: /\n", "FooBot", &[("/x", true)]);
        // The table of the RFC, section 2.2.1.
        let robots = b"user-agent: *\ndisallow: /foo\ndisallow: /bar\n\nuser-agent: BazBot\ndisallow: /baz\n";
        check(robots, "ExampleBot", &[("/foo", false), ("/bar", false), ("/baz", true)]);
    }

    #[test]
    fn the_longest_match_counts_and_of_equals_the_milder() {
        let page = "/x/page.html";
        ours(&["disallow: /x/page.html", "allow: /x/"], &[(page, false)]);
        ours(&["allow: /x/page.html", "disallow: /x/"], &[(page, true), ("/x/", false)]);
        ours(&["disallow: ", "allow: "], &[(page, true)]);
        ours(&["disallow: /", "allow: /"], &[(page, true)]);
        ours(&["disallow: /x", "allow: /x/"], &[("/x", false), ("/x/", true)]);
        ours(&["disallow: /x/page.html", "allow: /x/page.html"], &[(page, true)]);
        ours(&["allow: /page", "disallow: /*.html"], &[("/page.html", false), ("/page", true)]);
        ours(&["allow: /x/page.", "disallow: /*.html"], &[(page, true), ("/x/y.html", false)]);
        ours(&["allow: /p", "disallow: /"], &[("/page", true)]);
        ours(&["allow: /folder", "disallow: /folder"], &[("/folder/page", true)]);
        ours(&["allow: /page", "disallow: /*.htm"], &[("/page.htm", false)]);
        ours(&["allow: /$", "disallow: /"], &[("/", true), ("/page.html", false)]);
    }

    #[test]
    fn encodings_of_one_path_are_one() {
        let only = |rule: &str, verdicts: &[(&str, bool)]| ours(&["disallow: /", &format!("allow: {rule}")], verdicts);
        let query = "/foo/bar?qux=taz&baz=http://foo.bar?tar&par";
        only(query, &[(query, true)]);
        // The table of the RFC, section 2.2.2. In its second row, a query may be written either way.
        only("/foo/bar?baz=quz", &[("/foo/bar?baz=quz", true)]);
        let (plain, encoded) = ("/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar");
        only(plain, &[(plain, true), (encoded, true)]);
        only(encoded, &[(plain, true), (encoded, true)]);
        only("/foo/bar/ツ", &[("/foo/bar/%E3%83%84", true), ("/foo/bar/ツ", true), ("/foo/bar/%e3%83%84", true)]);
        only("/foo/bar/%E3%83%84", &[("/foo/bar/%E3%83%84", true), ("/foo/bar/ツ", true)]);
        only("/foo/bar/%62%61%7A", &[("/foo/bar/baz", true), ("/foo/bar/%62%61%7A", true)]);
        only("/%7ejoe/", &[("/~joe/", true), ("/%7Ejoe/", true)]);
        // An encoded slash is not a slash.
        only("/a%2fb", &[("/a%2Fb", true), ("/a/b", false)]);
        // Nor are encoded wildcards wildcards: the table of section 2.2.3.
        only("/path/file-with-a-%2A.html", &[("/path/file-with-a-*.html", true), ("/path/file-with-a-x.html", false)]);
        only("/path/foo-%24", &[("/path/foo-$", true), ("/path/foo-", false)]);
        only("/a$b", &[("/a$b", true), ("/a", false)]);
        only("/100%", &[("/100%", true), ("/100%25", true)]);
    }

    #[test]
    fn special_characters() {
        let others = |rest: &[(&'static str, bool)]| rest.to_vec();
        ours(
            &["disallow: /foo/bar/quz", "allow: /foo/*/qux"],
            &others(&[("/foo/bar/quz", false), ("/foo/quz", true), ("/foo//quz", true), ("/foo/bax/quz", true)]),
        );
        ours(
            &["disallow: /foo/bar$", "allow: /foo/bar/qux"],
            &[("/foo/bar", false), ("/foo/bar/qux", true), ("/foo/bar/", true), ("/foo/bar/baz", true)],
        );
        ours(&["# disallow: /", "disallow: /foo/quz#qux", "allow: /"], &[("/foo/bar", true), ("/foo/quz", false)]);
        // The example lines of the RFC, section 2.2.3.
        ours(
            &["disallow: /", "allow: /this/path/exactly$"],
            &[("/this/path/exactly", true), ("/this/path/exactly/", false)],
        );
        ours(&["disallow: /", "allow: /this/*/exactly"], &[("/this/or/that/exactly", true), ("/this/exactly", false)]);
    }

    #[test]
    fn matching_by_the_documented_examples() {
        let only = |rule: &str, allowed: &[&str], disallowed: &[&str]| {
            let rules = ["disallow: /", &format!("allow: {rule}")];
            ours(&rules, &allowed.iter().map(|path| (*path, true)).collect::<Vec<_>>());
            ours(&rules, &disallowed.iter().map(|path| (*path, false)).collect::<Vec<_>>());
        };
        for rule in ["/fish", "/fish*"] {
            only(
                rule,
                &[
                    "/fish",
                    "/fish.html",
                    "/fish/salmon.html",
                    "/fishheads",
                    "/fishheads/yummy.html",
                    "/fish.html?id=any",
                ],
                &["/bar", "/Fish.asp", "/catfish", "/?id=fish"],
            );
        }
        only(
            "/fish/",
            &["/fish/", "/fish/salmon", "/fish/?salmon", "/fish/salmon.html", "/fish/?id=anything"],
            &["/bar", "/fish", "/fish.html", "/Fish/Salmon.html"],
        );
        only(
            "/*.php",
            &[
                "/filename.php",
                "/folder/filename.php",
                "/folder/filename.php?parameters",
                "//folder/any.php.file.html",
                "/filename.php/",
                "/index?f=filename.php/",
            ],
            &["/bar", "/php/", "/index?php", "/windows.PHP"],
        );
        only(
            "/*.php$",
            &["/filename.php", "/folder/filename.php"],
            &[
                "/bar",
                "/filename.php?parameters",
                "/filename.php/",
                "/filename.php5",
                "/php/",
                "/filename?php",
                "/aaaphpaaa",
                "//windows.PHP",
            ],
        );
        only("/fish*.php", &["/fish.php", "/fishheads/catfish.php?parameters"], &["/bar", "/Fish.PHP"]);
        only("/a*b*c$", &["/abc", "/a/b/b/c", "/abcbc"], &["/ac", "/abcd", "/acb"]);
        only("*.gif", &["/x.gif"], &["/x.png"]);
        only("fish", &[], &["/fish", "/"]);
        only("/fish**x", &["/fish/x", "/fishx"], &["/fish"]);
    }

    #[test]
    fn long_lines_are_read_to_a_bound() {
        let long = |letter: &str| format!("/x/{}", letter.repeat(MAX_LINE_BYTES - "disallow: /x/".len()));
        let cut = long("a");
        let beyond = format!("{cut}/fux");
        ours(&[&format!("disallow: {cut}/qux")], &[("/fux", true), (&beyond, false)]);
        let allow = |path: &str| format!("allow:    {path}/qux");
        let (a, b) = (long("a"), long("b"));
        let rules = ["disallow: /", &allow(&a), &allow(&b)];
        ours(&rules, &[("/", false), (&format!("{a}/qux"), true), (&format!("{b}/fux"), true)]);
    }

    #[test]
    fn lines_end_in_any_way() {
        for robots in [
            "User-Agent: foo\nAllow: /some/path\nUser-Agent: bar\n\n\nDisallow: /\n",
            "User-Agent: foo\r\nAllow: /some/path\r\nUser-Agent: bar\r\n\r\n\r\nDisallow: /\r\n",
            "User-Agent: foo\rAllow: /some/path\rUser-Agent: bar\r\r\rDisallow: /\r",
            "User-Agent: foo\nAllow: /some/path\nUser-Agent: bar\n\n\nDisallow: /",
            "User-Agent: foo\nAllow: /some/path\r\nUser-Agent: bar\n\r\n\nDisallow: /",
        ] {
            check(robots.as_bytes(), "foo", &[("/", true)]);
            check(robots.as_bytes(), "bar", &[("/", false), ("/some/path", false)]);
        }
    }

    #[test]
    fn byte_order_marks_are_skipped_at_the_beginning_only() {
        let file = |start: &[u8], middle: &[u8]| [start, b"User-Agent: foo\n", middle, b"Disallow: /any\n"].concat();
        for (start, middle, is_allowed) in [
            (&b"\xEF\xBB\xBF"[..], &b""[..], false),
            (b"\xEF\xBB", b"", false),
            (b"\xEF", b"", false),
            (b"\xEF\x11\xBF", b"", true),
            (b"", b"\xEF\xBB\xBF", true),
        ] {
            check(&file(start, middle), "foo", &[("/any", is_allowed)]);
        }
    }

    #[test]
    fn what_is_past_the_bound_is_not_read_nor_is_a_line_it_cuts() {
        let mut robots = "user-agent: *\ndisallow: /early\n".to_owned();
        while robots.len() < MAX_BYTES - 60 {
            robots.push_str("# ..............................\n");
        }
        let filled = "#".repeat(MAX_BYTES - robots.len() - "\nallow: /".len());
        write!(robots, "{filled}\nallow: /early/but\ndisallow: /late\n").unwrap();
        check(robots.as_bytes(), "foo", &[("/early/but", false), ("/late", true)]);
    }

    #[test]
    fn robots_txt_itself_is_allowed() {
        ours(&["disallow: /"], &[("/robots.txt", true), ("/robots.txt?x", false), ("/robots.txtx", false)]);
    }

    #[test]
    fn sitemaps_stand_anywhere_and_delays_in_groups() {
        let robots = b"Sitemap: http://a.example/1.xml\nUser-Agent: foo\nCrawl-Delay: 2.5\nUser-agent: bar\nCrawl-delay: x\n\
            Crawl-delay: 7\nAllow: /\n\nsite-map: /2.xml\nUser-agent: *\nCrawl-delay: 1e99\nSitemap: http://a.example/1.xml\n";
        let of = |agent| RobotsRules::parse(robots, agent);
        assert_eq!(of("foo").sitemaps(), ["http://a.example/1.xml", "/2.xml"]);
        assert_eq!(of("foo").crawl_delay(), Some(Duration::from_millis(2_500)));
        assert_eq!(of("bar").crawl_delay(), Some(Duration::from_secs(7)));
        assert_eq!(of("qux").crawl_delay(), Some(MAX_DELAY));
        for nonsense in ["-1", "NaN", "", "inf", "5s"] {
            let rules = RobotsRules::parse(format!("user-agent: *\ncrawl-delay: {nonsense}").as_bytes(), "foo");
            assert_eq!(rules.crawl_delay(), (nonsense == "inf").then_some(MAX_DELAY), "{nonsense}");
        }
        assert_eq!(RobotsRules::parse(b"disallow: /", "foo"), RobotsRules::default());
    }

    #[test]
    fn wildcards_do_not_multiply() {
        let rule = format!("disallow: /{}b", "*a".repeat(5_000));
        let path = format!("/{}", "a".repeat(8_000));
        ours(&[rule.as_str(); 20], &[(&path, true)]);
        let rules: Vec<String> = (0..50).map(|n| format!("disallow: /{}{n}$", "*a".repeat(2_000))).collect();
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        ours(&rules, &[(&path, true)]);
    }

    /// Matching as defined, by trying everything.
    fn matches_by_definition(pattern: &[u8], is_whole: bool, path: &[u8]) -> bool {
        match pattern.split_first() {
            None => path.is_empty() || !is_whole,
            Some((b'*', rest)) => (0..=path.len()).any(|at| matches_by_definition(rest, is_whole, &path[at..])),
            Some((byte, rest)) => path.first() == Some(byte) && matches_by_definition(rest, is_whole, &path[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_is_as_defined(pattern in "[ab*]{0,8}", is_whole: bool, path in "[ab]{0,10}") {
            let rule = Rule { allows: true, pattern: pattern.clone().into(), is_whole };
            prop_assert_eq!(rule.matches(path.as_bytes()), matches_by_definition(pattern.as_bytes(), is_whole, path.as_bytes()));
        }

        #[test]
        fn anything_can_be_read(body in proptest::collection::vec(any::<u8>(), 0..300), path in "/\\PC{0,20}") {
            let url: Url = format!("http://h.example{path}").parse().unwrap();
            RobotsRules::parse(&body, "FooBot").allows(&url);
        }

        #[test]
        fn a_rule_that_is_a_path_matches_it(path in "/[a-z%0-9?=&$*|\"é/]{0,20}") {
            let url: Url = format!("http://h.example{path}").parse().unwrap();
            let path = path.replace('*', "%2A").replace('$', "%24");
            let is_itself = url.path() == "/robots.txt";
            let rules = RobotsRules::parse(format!("user-agent: *\ndisallow: {path}").as_bytes(), "FooBot");
            prop_assert!(is_itself || !rules.allows(&url));
        }
    }
}
