//! What words say: weights of the words in class names, in short texts and in headings, as learned from pages.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::LazyLock,
};

use super::weights::lexicon as tables;
use crate::dom::{Dom, NodeId, Tag};

/// Bytes of an attribute that are read for words, at most.
const MAX_ATTRIBUTE: usize = 320;

/// A word's number (FNV-1a over its lower-case bytes).
#[derive(Debug, Clone, Copy)]
pub(super) struct Hash(u32);

impl Default for Hash {
    fn default() -> Self {
        Self(0x811C_9DC5)
    }
}

impl Hash {
    /// The number of a word.
    pub(super) fn of(word: &str) -> Self {
        let mut hash = Self::default();
        for character in word.chars() {
            if character.is_ascii() {
                hash.add(character.to_ascii_lowercase() as u8);
            } else {
                hash.add_char(character);
            }
        }
        hash
    }

    #[inline]
    pub(super) fn add(&mut self, byte: u8) {
        self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }

    pub(super) fn add_char(&mut self, character: char) {
        let mut bytes = [0; 4];
        for lower in character.to_lowercase() {
            for byte in lower.encode_utf8(&mut bytes).bytes() {
                self.add(byte);
            }
        }
    }

    /// Goes on with another word's number.
    pub(super) fn join(&mut self, word: u32) {
        for byte in word.to_le_bytes() {
            self.add(byte);
        }
    }

    #[inline]
    pub(super) fn value(self) -> u32 {
        self.0
    }
}

/// Numbers of words are well mixed: they are taken as they are.
#[derive(Default)]
pub(super) struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // The table looks at the highest bits and at the lowest. The lowest of a product know nothing of the number's
        // highest, so that keys that differ in those alone would all meet in one place.
        let mixed = (number ^ number >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ mixed >> 32;
    }
}

pub(super) type Plain = BuildHasherDefault<Itself>;
type Table = HashMap<u32, f32, Plain>;

/// Which words.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lexicon {
    /// Of class names and the like; two that follow each other are joined by `-`.
    Class,
    /// Of texts.
    Text,
    /// Short texts as a whole.
    Phrase,
    /// Of the heading before.
    Heading,
}

impl Lexicon {
    /// What the word says for content (positive) or against.
    #[inline]
    pub(super) fn weight(self, word: u32) -> f32 {
        static CLASS: LazyLock<Table> = LazyLock::new(|| read(tables::CLASS, Hash::of));
        static TEXT: LazyLock<Table> = LazyLock::new(|| read(tables::TEXT, Hash::of));
        static PHRASE: LazyLock<Table> = LazyLock::new(|| read(tables::PHRASE, phrase));
        static HEADING: LazyLock<Table> = LazyLock::new(|| read(tables::HEADING, Hash::of));
        let table = match self {
            Self::Class => &CLASS,
            Self::Text => &TEXT,
            Self::Phrase => &PHRASE,
            Self::Heading => &HEADING,
        };
        table.get(&word).copied().unwrap_or(0.0)
    }
}

fn read(table: &[(&str, i16)], hash: impl Fn(&str) -> Hash) -> Table {
    table.iter().map(|(word, weight)| (hash(word).value(), f32::from(*weight) / 100.0)).collect()
}

fn phrase(text: &str) -> Hash {
    let mut hash = Hash::default();
    for word in text.split(' ') {
        hash.add(b' ');
        hash.join(Hash::of(word).value());
    }
    hash
}

/// What an element is by its names, one bit each: words that mean the same wherever they stand.
pub(super) const ROLES: [(&str, &[&str]); 24] = [
    ("r_comment", &["comment", "comments", "commentlist", "reply", "replies", "respond", "disqus", "responses"]),
    ("r_review", &["review", "reviews", "rating", "ratings", "testimonial", "testimonials", "stars", "ugc"]),
    (
        "r_related",
        &[
            "related",
            "recommend",
            "recommended",
            "recommendation",
            "recommendations",
            "similar",
            "upsell",
            "crosssell",
            "suggested",
            "trending",
            "popular",
            "more",
            "readnext",
            "also",
        ],
    ),
    ("r_sidebar", &["sidebar", "aside", "rail", "secondary", "widget", "widgets", "complementary"]),
    ("r_filter", &["filter", "filters", "facet", "facets", "refine", "refinement", "refinements", "sort", "sorting"]),
    ("r_breadcrumb", &["breadcrumb", "breadcrumbs", "crumb", "crumbs"]),
    ("r_byline", &["author", "byline", "meta", "date", "timestamp", "published", "avatar", "username", "userinfo"]),
    ("r_share", &["share", "sharing", "social", "follow", "sharedaddy", "addtoany"]),
    ("r_price", &["price", "prices", "pricing", "sale", "discount", "cost"]),
    ("r_title", &["title", "headline", "heading", "subtitle", "name"]),
    ("r_tabs", &["tab", "tabs", "tabpanel", "accordion", "collapse", "collapsible", "panel", "toggle", "faq"]),
    (
        "r_detail",
        &[
            "description",
            "desc",
            "detail",
            "details",
            "spec",
            "specs",
            "specification",
            "specifications",
            "attributes",
            "features",
            "overview",
            "summary",
            "info",
            "information",
        ],
    ),
    (
        "r_card",
        &["card", "cards", "tile", "tiles", "item", "items", "grid", "teaser", "listing", "list", "results", "result"],
    ),
    (
        "r_content",
        &["content", "entry", "body", "article", "story", "prose", "markdown", "richtext", "text", "rte", "copy"],
    ),
    (
        "r_post",
        &["post", "posts", "message", "messages", "thread", "topic", "question", "answer", "cooked", "bbwrapper"],
    ),
    ("r_slider", &["carousel", "slider", "slide", "slick", "swiper", "gallery", "slideshow"]),
    (
        "r_modal",
        &["modal", "popup", "dialog", "overlay", "drawer", "lightbox", "tooltip", "offcanvas", "flyout", "dropdown"],
    ),
    ("r_consent", &["cookie", "cookies", "consent", "gdpr", "onetrust", "privacy"]),
    (
        "r_buy",
        &[
            "cart", "buy", "checkout", "quantity", "qty", "variant", "variants", "swatch", "swatches", "option",
            "options", "shipping", "delivery",
        ],
    ),
    (
        "r_menu",
        &["nav", "menu", "navbar", "navigation", "submenu", "megamenu", "topbar", "toolbar", "footer", "header"],
    ),
    ("r_pages", &["pagination", "pager", "paging", "page", "next", "prev", "previous", "loadmore"]),
    ("r_tags", &["tag", "tags", "category", "categories", "label", "labels", "badge", "badges", "topics"]),
    (
        "r_signup",
        &[
            "newsletter",
            "subscribe",
            "subscription",
            "signup",
            "login",
            "signin",
            "register",
            "account",
            "form",
            "email",
        ],
    ),
    (
        "r_promo",
        &[
            "promo",
            "promotion",
            "banner",
            "ad",
            "ads",
            "advert",
            "advertisement",
            "sponsored",
            "cta",
            "announcement",
            "alert",
        ],
    ),
];

/// What the names of an element say: the lexicon's opinion, and the roles.
pub(super) fn class_score(dom: &Dom<'_>, id: NodeId) -> (f32, u32) {
    static BITS: LazyLock<HashMap<u32, u32, Plain>> = LazyLock::new(|| {
        let mut bits: HashMap<u32, u32, Plain> = HashMap::default();
        for (at, (_, words)) in ROLES.iter().enumerate() {
            for word in *words {
                *bits.entry(Hash::of(word).value()).or_default() |= 1 << at;
            }
        }
        bits
    });
    let (mut score, mut roles) = (0.0, 0);
    each_class_word(dom, id, &mut |word, pair| {
        score += Lexicon::Class.weight(word.value()) + pair.map_or(0.0, |pair| Lexicon::Class.weight(pair.value()));
        roles |= BITS.get(&word.value()).copied().unwrap_or(0);
    });
    (score, roles)
}

/// The words that [`class_score`] looks at, as text.
#[cfg(feature = "training")]
pub(super) fn class_words(dom: &Dom<'_>, id: NodeId) -> Vec<String> {
    let mut words = Vec::new();
    each_value(dom, id, &mut |value| {
        let mut before: Option<String> = None;
        split(value, &mut |word, follows| {
            let word = String::from_utf8_lossy(word).to_ascii_lowercase();
            if let Some(before) = before.take().filter(|_| follows) {
                words.push(format!("{before}-{word}"));
            }
            words.push(word.clone());
            before = Some(word);
        });
    });
    words
}

fn each_class_word(dom: &Dom<'_>, id: NodeId, each: &mut impl FnMut(Hash, Option<Hash>)) {
    each_value(dom, id, &mut |value| {
        let mut before: Option<Hash> = None;
        split(value, &mut |word, follows| {
            let mut hash = Hash::default();
            let mut pair = before.filter(|_| follows);
            if let Some(pair) = &mut pair {
                pair.add(b'-');
            }
            for byte in word {
                let byte = byte.to_ascii_lowercase();
                hash.add(byte);
                if let Some(pair) = &mut pair {
                    pair.add(byte);
                }
            }
            each(hash, pair);
            before = Some(hash);
        });
    });
}

fn each_value(dom: &Dom<'_>, id: NodeId, each: &mut impl FnMut(&str)) {
    if dom.tag(id) == Tag::Unknown {
        each(dom.name(id));
    }
    for (name, value) in dom.attrs(id) {
        let speaks = match name {
            "class" | "id" | "role" | "itemprop" | "aria-label" => true,
            _ => matches!(
                name,
                "data-testid"
                    | "data-test-id"
                    | "data-test"
                    | "data-qa"
                    | "data-hook"
                    | "data-component"
                    | "data-type"
                    | "data-module"
                    | "data-section-type"
                    | "itemtype"
                    | "property"
            ),
        };
        if speaks {
            each(&value[..value.floor_char_boundary(MAX_ATTRIBUTE)]);
        }
    }
}

/// Cuts names into words: `siteNav_top` has three. Each comes with whether it is of one name with the word before.
fn split(value: &str, each: &mut impl FnMut(&[u8], bool)) {
    let bytes = value.as_bytes();
    let mut begin = 0;
    let mut follows = false;
    let mut end_word = |from: usize, to: usize, follows: &mut bool| {
        if (2..=20).contains(&(to - from)) {
            each(&bytes[from..to], *follows);
            *follows = true;
        } else if to > from {
            *follows = false;
        }
    };
    for at in 0..bytes.len() {
        let byte = bytes[at];
        if !byte.is_ascii_alphabetic() {
            end_word(begin, at, &mut follows);
            begin = at + 1;
            follows &= !byte.is_ascii_whitespace();
        } else if byte.is_ascii_uppercase() && at > begin && bytes[at - 1].is_ascii_lowercase() {
            end_word(begin, at, &mut follows);
            begin = at;
        }
    }
    end_word(begin, bytes.len(), &mut follows);
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher};

    use super::Plain;

    #[test]
    fn keys_that_differ_anywhere_part_in_the_bits_that_a_table_looks_at() {
        for shift in [0, 7, 16, 32, 48] {
            let places: HashSet<u64> =
                (0..1024_u64).map(|number| Plain::default().hash_one((number << shift) + 5) & 0x3FF).collect();
            assert!(places.len() > 500, "shifted by {shift}: {} places", places.len());
        }
    }
}
