//! Tells whether a page is nothing without its scripts: the decision of `render: auto`.
//!
//! Looked at is the page as it was sent, in one pass over its bytes: how many letters it shows, how much script it brings,
//! whether it has an empty place for an application, and whether it says that it needs JavaScript. A page that shows text
//! is never rendered, whatever else it has: rendering costs a hundred times what reading does.

/// Text that a person would see, in letters and digits; beyond this a page has content.
const ENOUGH_LETTERS: usize = 600;
/// Fewer than these are a page without content, if it has any script that could bring some.
const FEW_LETTERS: usize = 60;
/// With script but without any other sign, so many bytes of it for each letter make a shell.
const SCRIPT_PER_LETTER: usize = 100;
/// A page is looked at so far.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// What a page shows of itself as it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Letters and digits of its text, outside of scripts, styles and the like.
    pub letters: usize,
    /// Script elements that bring or name script.
    pub scripts: usize,
    /// Bytes of script in the page itself.
    pub script_bytes: usize,
    /// An empty element of the kind that applications are put into.
    pub has_empty_root: bool,
    /// It says that it needs JavaScript.
    pub asks_for_script: bool,
}

/// Decides whether a page is rendered.
pub fn needs_browser(signs: &Signs) -> bool {
    if signs.scripts == 0 || signs.letters >= ENOUGH_LETTERS {
        return false;
    }
    signs.letters < FEW_LETTERS
        || signs.has_empty_root
        || signs.asks_for_script
        || signs.script_bytes > signs.letters * SCRIPT_PER_LETTER
}

/// Looks at a page's bytes. They are read as ASCII with letters beyond it, which all charsets of the web but UTF-16 are.
pub fn look(page: &[u8]) -> Signs {
    let page = &page[..page.len().min(MAX_BYTES)];
    let mut signs = Signs::default();
    let mut at = 0;
    // The element just opened, if it may be an application's place and nothing has come in it yet.
    let mut is_in_root = false;
    while at < page.len() {
        let text_end = memchr::memchr(b'<', &page[at..]).map_or(page.len(), |found| at + found);
        let shown = letters(&page[at..text_end]);
        signs.letters += shown;
        is_in_root &= shown == 0;
        let Some(tag) = Tag::read(page, text_end) else { break };
        at = tag.end;
        if tag.is_comment {
            continue;
        }
        if is_in_root && tag.is_end {
            signs.has_empty_root = true;
        }
        is_in_root = !tag.is_end && tag.is_root();
        if tag.is_end {
            continue;
        }
        // Their text is not the page's.
        if let Some(name) = HIDDEN.iter().find(|name| tag.name.eq_ignore_ascii_case(name)) {
            let end = end_of(page, at, name);
            let inside = &page[at..end];
            match *name {
                b"script" if tag.is_script(inside) => {
                    signs.scripts += 1;
                    signs.script_bytes += inside.len();
                }
                b"noscript" => signs.asks_for_script |= asks_for_script(inside),
                _ => {}
            }
            at = end;
        }
    }
    signs
}

/// Elements whose text is not shown where there is script, or not at all.
const HIDDEN: [&[u8]; 8] = [b"script", b"style", b"noscript", b"template", b"title", b"textarea", b"svg", b"iframe"];

/// Names that frameworks give to the element that they fill.
const ROOTS: [&[u8]; 14] = [
    b"root",
    b"app",
    b"__next",
    b"__nuxt",
    b"___gatsby",
    b"main-app",
    b"app-root",
    b"react-root",
    b"vue-app",
    b"svelte",
    b"ember",
    b"application",
    b"mount",
    b"q-app",
];

struct Tag<'a> {
    name: &'a [u8],
    attributes: &'a [u8],
    is_end: bool,
    is_comment: bool,
    /// Where what follows it begins.
    end: usize,
}

impl<'a> Tag<'a> {
    /// Reads what begins with the `<` at `at`; `None` at the end of the page.
    fn read(page: &'a [u8], at: usize) -> Option<Self> {
        let rest = page.get(at + 1..)?;
        if rest.starts_with(b"!--") {
            let end = memchr::memmem::find(&rest[3..], b"-->").map_or(page.len(), |found| at + 4 + found + 3);
            return Some(Self { name: b"", attributes: b"", is_end: false, is_comment: true, end });
        }
        let is_end = rest.first() == Some(&b'/');
        let named = &rest[usize::from(is_end)..];
        let length =
            named.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-').unwrap_or(named.len());
        let (name, attributes) = named.split_at(length);
        if name.is_empty() {
            // A `<` that begins nothing, or a declaration.
            let is_declaration = matches!(rest.first(), Some(b'!' | b'?'));
            let end = if is_declaration {
                memchr::memchr(b'>', rest).map_or(page.len(), |found| at + 2 + found)
            } else {
                at + 1
            };
            return Some(Self { name, attributes: b"", is_end, is_comment: true, end });
        }
        let close = tag_close(attributes);
        let end = at + 1 + usize::from(is_end) + length + close;
        Some(Self { name, attributes: &attributes[..close], is_end, is_comment: false, end: (end + 1).min(page.len()) })
    }

    /// Whether it is an element of the kind that applications are put into, by its `id`, or its name.
    fn is_root(&self) -> bool {
        if self.name.eq_ignore_ascii_case(b"app-root") {
            return true;
        }
        let is_container = [&b"div"[..], b"main", b"section"].iter().any(|name| self.name.eq_ignore_ascii_case(name));
        is_container && self.attribute(b"id").is_some_and(|id| ROOTS.iter().any(|root| id.eq_ignore_ascii_case(root)))
    }

    /// Whether a script element holds script, and not data.
    fn is_script(&self, inside: &[u8]) -> bool {
        let kind = self.attribute(b"type").unwrap_or_default().to_ascii_lowercase();
        let is_code = kind.is_empty() || kind == b"module" || memchr::memmem::find(&kind, b"javascript").is_some();
        is_code && (self.attribute(b"src").is_some() || !inside.trim_ascii().is_empty())
    }

    /// An attribute's value, by its lower-case name.
    fn attribute(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut rest = self.attributes;
        while let Some(start) = rest.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b'/') {
            rest = &rest[start..];
            let stop = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'=' | b'/');
            // A name may begin with `=`, by the rules of HTML.
            let length = rest.iter().skip(1).position(stop).map_or(rest.len(), |found| found + 1);
            let (found, after) = rest.split_at(length);
            let after = after.trim_ascii_start();
            let (value, after) = match after.strip_prefix(b"=") {
                Some(value) => value_of(value.trim_ascii_start()),
                None => (&b""[..], after),
            };
            if found.eq_ignore_ascii_case(name) {
                return Some(value);
            }
            rest = after;
        }
        None
    }
}

/// A value at the begin of `text`, and what follows it.
fn value_of(text: &[u8]) -> (&[u8], &[u8]) {
    if let Some(quote @ (b'"' | b'\'')) = text.first() {
        let inside = &text[1..];
        let end = memchr::memchr(*quote, inside).unwrap_or(inside.len());
        return (&inside[..end], inside.get(end + 1..).unwrap_or_default());
    }
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    text.split_at(end)
}

/// Where a tag closes: the first `>` outside of quoted values.
fn tag_close(attributes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr3(b'>', b'"', b'\'', &attributes[at..]) {
        let mark = attributes[at + found];
        at += found;
        if mark == b'>' {
            return at;
        }
        // A quote counts where a value begins.
        let opens = attributes[..at].trim_ascii_end().last() == Some(&b'=');
        at += 1;
        if opens {
            match memchr::memchr(mark, &attributes[at..]) {
                Some(end) => at += end + 1,
                None => return attributes.len(),
            }
        }
    }
    attributes.len()
}

/// Where an element's end tag begins; the page's end if it has none.
fn end_of(page: &[u8], from: usize, name: &[u8]) -> usize {
    let mut at = from;
    while let Some(found) = memchr::memmem::find(&page[at..], b"</") {
        at += found + 2;
        let is_it = page[at..].get(..name.len()).is_some_and(|other| other.eq_ignore_ascii_case(name));
        if is_it && !page.get(at + name.len()).is_some_and(u8::is_ascii_alphanumeric) {
            return at - 2;
        }
    }
    page.len()
}

/// Letters and digits; each byte beyond ASCII counts as half of one, and an entity as nothing.
fn letters(text: &[u8]) -> usize {
    let mut is_entity = false;
    let mut halves = 0;
    for byte in text {
        match byte {
            b'&' => is_entity = true,
            b';' => is_entity = false,
            byte if byte.is_ascii_whitespace() => is_entity = false,
            _ if is_entity => {}
            byte if byte.is_ascii_alphanumeric() => halves += 2,
            byte if !byte.is_ascii() => halves += 1,
            _ => {}
        }
    }
    halves / 2
}

/// Whether a `noscript` says that nothing goes without script, rather than showing a picture or counting a visit.
fn asks_for_script(inside: &[u8]) -> bool {
    let said = inside[..inside.len().min(4_096)].to_ascii_lowercase();
    let has = |word: &[u8]| memchr::memmem::find(&said, word).is_some();
    has(b"javascript") || has(b"java script") || has(b"scripting") || has(b"enable js")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn needs(page: &str) -> bool {
        needs_browser(&look(page.as_bytes()))
    }

    #[test]
    fn shells_are_rendered() {
        let shells = [
            "<!doctype html><title>My application</title><div id=root></div><script src=/main.js></script>",
            "<body><div id=\"app\"> <!-- filled later --></div><script type=module src=/assets/index.js></script></body>",
            "<body><noscript>You need to enable JavaScript to run this app.</noscript><div class=x></div><script>go()</script>",
            "<body><app-root></app-root><script src=a.js></script>",
            "<body><p id=out></p><script>out.textContent = 'hello'</script>",
            "<body><div id=x>Loading, please wait until this application has started. It may take some seconds on slow lines, \
             and we are sorry for that.</div><noscript>Please turn on JavaScript.</noscript><script src=a.js></script>",
        ];
        for shell in shells {
            assert!(needs(shell), "{shell}: {:?}", look(shell.as_bytes()));
        }
        let heavy = format!("<p>{}</p><script>{}</script>", "word ".repeat(20), "x".repeat(50_000));
        assert!(needs(&heavy));
    }

    #[test]
    fn pages_with_text_are_not_nor_pages_that_no_script_would_fill() {
        let article =
            format!("<div id=root><h1>News</h1><p>{}</p></div><script src=a.js></script>", "Plain words. ".repeat(100));
        let counted = format!("{article}<noscript>Enable JavaScript for comments</noscript>");
        let japanese = format!("<body>{}<script src=a.js></script>", "日本語の文章です。".repeat(60));
        for page in [
            "",
            "<p>Nothing here.</p>",
            "<div id=root></div>",
            "<p>Short, but all that there is to say of the matter, in some more words than would go into one line.</p>\
             <script src=count.js></script>",
            "<p>Nothing.</p><script type='application/ld+json'>{\"@type\": \"Thing\"}</script>",
            &article,
            &counted,
            &japanese,
        ] {
            assert!(!needs(page), "{page}: {:?}", look(page.as_bytes()));
        }
    }

    #[test]
    fn what_is_not_shown_does_not_count() {
        let page = "<title>Title</title><style>p { color: red }</style><!-- <p>comment</p> --><script>var a = '<p>text</p>';\
                    </script><textarea>typed</textarea><template><p>later</p></template><p title=\"a > b\">Shown&nbsp;4u</p>";
        let signs = look(page.as_bytes());
        assert_eq!((signs.letters, signs.scripts), (7, 1));
        assert_eq!(signs.script_bytes, "var a = '<p>text</p>';".len());
    }

    #[test]
    fn a_root_that_holds_something_is_not_empty() {
        assert!(look(b"<div id='root'></div>").has_empty_root);
        assert!(look(b"<DIV class=a ID=Root >\n</DIV>").has_empty_root);
        assert!(!look(b"<div id=root>text</div>").has_empty_root);
        assert!(!look(b"<div id=root><p>text</p></div>").has_empty_root);
        assert!(!look(b"<div id=other></div>").has_empty_root);
        assert!(!look(b"<div data-id=root></div>").has_empty_root);
    }

    proptest! {
        #[test]
        fn anything_is_looked_at(page in proptest::collection::vec(any::<u8>(), 0..300)) {
            let signs = look(&page);
            prop_assert!(signs.letters <= page.len() && signs.script_bytes <= page.len());
        }

        #[test]
        fn any_soup_of_tags_is_looked_at(parts in proptest::collection::vec(
            prop::sample::select(vec!["<", ">", "</", "script", "<script>", "</script", "<!--", "-->", "id=", "\"", "'", "root", "=", "/", "<div ", "a"]), 0..60,
        )) {
            look(parts.concat().as_bytes());
        }
    }
}
