//! Sitemaps (sitemaps.org): what one file of them lists.
//!
//! Files are of strangers: broken ones give what was read before the break, and nothing is read beyond the limits that the
//! protocol itself sets. Entities other than XML's own are not expanded.

use std::io::{BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use quick_xml::{Reader, events::Event};
use url::Url;

use super::key::{self, MAX_URL_BYTES};

/// Entries in one file, at most; and bytes, decompressed.
const MAX_ENTRIES: usize = 50_000;
const MAX_BYTES: u64 = 50 * 1024 * 1024;

/// What a file lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sitemap {
    /// Pages.
    pub pages: Vec<Entry>,
    /// Other sitemaps.
    pub sitemaps: Vec<Url>,
    /// Whether it goes on beyond what was read: it is too long, or broken.
    pub is_cut: bool,
}

/// A page of a sitemap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The page.
    pub url: Url,
    /// When it last changed, as the file has it.
    pub lastmod: Option<String>,
}

impl Sitemap {
    /// Reads a file: XML or plain text, compressed with gzip or not, whatever it was called. `url` is its own, after
    /// redirects. Takes a while: for a thread that may be busy.
    pub fn read(url: &Url, body: &[u8]) -> Self {
        if body.starts_with(&[0x1f, 0x8b]) {
            Self::parse(url, BufReader::new(Counted::new(MultiGzDecoder::new(body))))
        } else {
            Self::parse(url, BufReader::new(Counted::new(body)))
        }
    }

    fn parse(url: &Url, mut input: BufReader<Counted<impl Read>>) -> Self {
        let mut sitemap = Self::default();
        let Ok(start) = input.fill_buf() else {
            sitemap.is_cut = true;
            return sitemap;
        };
        let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
        let is_xml = start.trim_ascii_start().starts_with(b"<");
        let mut is_whole = if is_xml { sitemap.xml(url, &mut input) } else { sitemap.text(url, &mut input) };
        is_whole &= !input.get_ref().is_over();
        sitemap.is_cut |= !is_whole;
        sitemap
    }

    /// Reads XML. Tells whether it was whole.
    fn xml(&mut self, base: &Url, input: &mut impl BufRead) -> bool {
        let mut reader = Reader::from_reader(input);
        reader.config_mut().check_end_names = false;
        let mut buffer = Vec::new();
        let mut element = Element::default();
        loop {
            buffer.clear();
            match reader.read_event_into(&mut buffer) {
                Err(_) => return false,
                Ok(Event::Eof) => return true,
                Ok(Event::Start(start)) => element.begin(start.local_name().as_ref()),
                Ok(Event::Text(text)) => element.add(&text),
                Ok(Event::CData(text)) => element.add(&text),
                Ok(Event::GeneralRef(name)) => {
                    let character = name.resolve_char_ref().ok().flatten();
                    match (character, name.as_ref()) {
                        (Some(character), _) => element.add(character.encode_utf8(&mut [0; 4])),
                        (None, name) => element.add(entity(name)),
                    }
                }
                Ok(Event::End(end)) => match end.local_name().as_ref() {
                    "url" => {
                        let (loc, lastmod) = element.end();
                        self.page(base, &loc, lastmod);
                    }
                    "sitemap" => self.sitemap(base, &element.end().0),
                    _ => element.at = At::Elsewhere,
                },
                Ok(_) => {}
            }
            if self.is_full() {
                return false;
            }
        }
    }

    /// Reads lines, each a URL. Tells whether all were.
    fn text(&mut self, base: &Url, input: &mut impl BufRead) -> bool {
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = MAX_URL_BYTES as u64 + 2;
            match input.by_ref().take(limit).read_until(b'\n', &mut line) {
                Err(_) => return false,
                Ok(0) => return true,
                Ok(_) => self.page(base, String::from_utf8_lossy(&line).trim_start_matches('\u{feff}'), None),
            }
            if self.is_full() {
                return false;
            }
        }
    }

    fn page(&mut self, base: &Url, loc: &str, lastmod: Option<String>) {
        if let Some(url) = absolute(base, loc) {
            self.pages.push(Entry { url, lastmod });
        }
    }

    fn sitemap(&mut self, base: &Url, loc: &str) {
        self.sitemaps.extend(absolute(base, loc));
    }

    fn is_full(&self) -> bool {
        self.pages.len() + self.sitemaps.len() >= MAX_ENTRIES
    }
}

/// Entries must be absolute; some are not, and are meant relative to their file.
fn absolute(base: &Url, loc: &str) -> Option<Url> {
    let loc = loc.trim();
    if loc.is_empty() || loc.len() > MAX_URL_BYTES {
        return None;
    }
    key::parse(base.join(loc).ok()?.as_str()).ok()
}

fn entity(name: &str) -> &'static str {
    match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => "",
    }
}

/// Where in an entry the reader is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum At {
    Loc,
    LastMod,
    #[default]
    Elsewhere,
}

/// An entry that is being read.
#[derive(Default)]
struct Element {
    at: At,
    loc: String,
    lastmod: String,
}

impl Element {
    fn begin(&mut self, name: &str) {
        match name {
            "url" | "sitemap" => *self = Self::default(),
            // An image's or a video's `loc` comes after the page's.
            "loc" if self.loc.is_empty() => self.at = At::Loc,
            "lastmod" => self.at = At::LastMod,
            _ => self.at = At::Elsewhere,
        }
    }

    fn add(&mut self, text: &str) {
        let (value, most) = match self.at {
            At::Loc => (&mut self.loc, MAX_URL_BYTES + 1),
            At::LastMod => (&mut self.lastmod, 64),
            At::Elsewhere => return,
        };
        if value.len() + text.len() <= most {
            value.push_str(text);
        }
    }

    fn end(&mut self) -> (String, Option<String>) {
        let Self { loc, lastmod, .. } = std::mem::take(self);
        (loc, Some(lastmod.trim().to_owned()).filter(|lastmod| !lastmod.is_empty()))
    }
}

/// Ends after [`MAX_BYTES`].
struct Counted<R> {
    input: R,
    left: u64,
}

impl<R: Read> Counted<R> {
    fn new(input: R) -> Self {
        Self { input, left: MAX_BYTES }
    }

    fn is_over(&self) -> bool {
        self.left == 0
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.input.read(&mut buffer[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, io::Write as _};

    use proptest::prelude::*;

    use super::*;

    fn read(body: impl AsRef<[u8]>) -> Sitemap {
        Sitemap::read(&"https://a.example/maps/sitemap.xml".parse().unwrap(), body.as_ref())
    }

    fn pages(sitemap: &Sitemap) -> Vec<&str> {
        sitemap.pages.iter().map(|entry| entry.url.as_str()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    const SMALL: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
        <urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:i="http://www.google.com/schemas/sitemap-image/1.1">
        <url><loc> https://a.example/?a=1&amp;b=%20&#x26;c </loc><lastmod>2026-01-02</lastmod><priority>1</priority></url>
        <url><lastmod/><loc><![CDATA[https://a.example/é]]></loc><i:image><i:loc>https://a.example/i.png</i:loc></i:image></url>
        <s:url xmlns:s="x"><s:loc>/relative#part</s:loc></s:url>
        <url><loc>mailto:a@a.example</loc></url><url><loc></loc></url><url/></urlset>"#;

    #[test]
    fn pages_are_listed() {
        let sitemap = read(SMALL);
        assert_eq!(
            pages(&sitemap),
            ["https://a.example/?a=1&b=%20&c", "https://a.example/%C3%A9", "https://a.example/relative"]
        );
        assert_eq!(sitemap.pages[0].lastmod.as_deref(), Some("2026-01-02"));
        assert!(!sitemap.is_cut && sitemap.sitemaps.is_empty());
        assert_eq!(read(gzip(SMALL.as_bytes())), sitemap);
        assert_eq!(read(format!("\u{feff}{SMALL}")), sitemap);
    }

    #[test]
    fn an_index_lists_sitemaps() {
        let index =
            "<sitemapindex><sitemap><loc>https://a.example/1.xml.gz</loc></sitemap><sitemap><loc>2.xml</loc></sitemap>";
        let sitemap = read(index);
        let urls: Vec<&str> = sitemap.sitemaps.iter().map(Url::as_str).collect();
        assert_eq!(urls, ["https://a.example/1.xml.gz", "https://a.example/maps/2.xml"]);
    }

    #[test]
    fn text_lists_one_page_a_line() {
        let sitemap = read("\u{feff}https://a.example/1\r\n\nhttps://a.example/2\nnonsense:\n");
        assert_eq!(pages(&sitemap), ["https://a.example/1", "https://a.example/2"]);
    }

    #[test]
    fn what_comes_before_a_break_counts() {
        let broken =
            SMALL.split("<s:url").next().unwrap().to_owned() + "<url><loc>https://a.example/x</loc></url><a b=";
        let sitemap = read(&broken);
        assert_eq!(sitemap.pages.len(), 3);
        assert!(sitemap.is_cut);
        let mut cut = gzip(SMALL.repeat(100).as_bytes());
        cut.truncate(cut.len() / 2);
        let sitemap = read(cut);
        assert!(sitemap.is_cut);
    }

    #[test]
    fn limits_hold() {
        let mut many = String::from("<urlset>");
        for n in 0..60_000 {
            write!(many, "<url><loc>/{n}</loc></url>").unwrap();
        }
        let sitemap = read(&many);
        assert_eq!((sitemap.pages.len(), sitemap.is_cut), (MAX_ENTRIES, true));
        let bomb = read(gzip(&vec![b' '; 60 << 20]));
        assert!(bomb.pages.is_empty() && bomb.is_cut);
        let long = format!("<urlset><url><loc>/{}</loc></url><url><loc>/b</loc></url>", "a".repeat(1 << 20));
        assert_eq!(pages(&read(long)), ["https://a.example/b"]);
        let laughs =
            r#"<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><urlset><url><loc>/x&b;y</loc></url></urlset>"#;
        assert_eq!(pages(&read(laughs)), ["https://a.example/xy"]);
    }

    proptest! {
        #[test]
        fn anything_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..400), as_xml: bool) {
            let body = if as_xml { [b"<urlset><url><loc>", &bytes[..]].concat() } else { bytes };
            let _ = read(body);
        }
    }
}
