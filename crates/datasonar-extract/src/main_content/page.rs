//! What a page is like as a whole, as numbers, and so what type of page it is.
//!
//! Sources: its address, what it says for machines (JSON-LD, microdata, OpenGraph), and the build of its body.

use serde_json::Value;
use url::Url;

use super::segments::{Segments, within};
use super::weights::types as weights;
use crate::{
    ExtractError,
    budget::Budget,
    dom::{Dom, HTML, Tag},
    structured::StructuredData,
};

/// The columns, in order.
pub(super) const NAMES: &[&str] = &[
    "p_chars",
    "p_segments",
    "p_links",
    "p_long_share",
    "p_long",
    "p_prices",
    "p_articles",
    "p_lists",
    "p_cells",
    "p_code",
    "p_headings",
    "p_times",
    "p_forms",
    "p_main",
    "p_stops",
    "p_words_per",
    "p_images",
    "p_items",
    "p_quotes",
    "p_questions",
    "ld_article",
    "ld_product",
    "ld_list",
    "ld_forum",
    "ld_docs",
    "ld_site",
    "ld_local",
    "ld_breadcrumb",
    "ld_offers",
    "og_article",
    "og_product",
    "og_website",
    "u_depth",
    "u_slug",
    "u_digits",
    "u_query",
    "u_root",
    "u_forum",
    "u_product",
    "u_collection",
    "u_docs",
    "u_article",
    "u_service",
    "u_listing",
    "g_forum",
    "g_docs",
    "g_shop",
    "b_forum",
    "b_product",
    "b_collection",
    "b_article",
    "b_docs",
    "b_buy",
];

/// What a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Article,
    Collection,
    Documentation,
    Forum,
    Listing,
    Product,
    Service,
}

impl Type {
    pub(crate) const ALL: [Self; 7] = [
        Self::Article,
        Self::Collection,
        Self::Documentation,
        Self::Forum,
        Self::Listing,
        Self::Product,
        Self::Service,
    ];
}

/// How likely the page is of each type.
pub(super) fn types(look: &[f32]) -> [f32; Type::ALL.len()] {
    let mut said = weights::BIAS;
    for (said, weights) in said.iter_mut().zip(&weights::WEIGHTS) {
        *said += look.iter().zip(weights).map(|(value, weight)| value * weight).sum::<f32>();
    }
    let most = said.iter().copied().fold(f32::MIN, f32::max);
    let said = said.map(|said| (said - most).exp());
    let sum: f32 = said.iter().sum();
    said.map(|said| said / sum)
}

/// Looks at a page as a whole.
pub(super) fn look(
    dom: &Dom<'_>,
    url: &Url,
    structured: &StructuredData,
    segments: &Segments,
    budget: &Budget<'_>,
) -> Result<Vec<f32>, ExtractError> {
    let mut row = Vec::with_capacity(NAMES.len());
    build(dom, segments, budget, &mut row)?;
    let head = Head::of(dom, budget)?;
    machines(structured, &head, &mut row);
    address(url, &mut row);
    row.extend([
        flag(any(
            &head.generator,
            &["discourse", "vbulletin", "phpbb", "xenforo", "flarum", "nodebb", "mybb", "smf", "invision", "vanilla"],
        )),
        flag(any(
            &head.generator,
            &[
                "docusaurus",
                "sphinx",
                "mkdocs",
                "hugo",
                "mediawiki",
                "vuepress",
                "vitepress",
                "gitbook",
                "javadoc",
                "rustdoc",
                "doxygen",
                "mdbook",
            ],
        )),
        flag(any(
            &head.generator,
            &["woocommerce", "shopify", "prestashop", "magento", "opencart", "shopware", "bigcommerce"],
        )),
        flag(any(&head.body, &["forum", "topic", "thread", "question", "discussion"])),
        flag(any(&head.body, &["product", "pdp", "item"])),
        flag(any(&head.body, &["collection", "category", "archive", "catalog", "listing"])),
        flag(any(&head.body, &["single", "post", "article", "blog"])),
        flag(any(&head.body, &["docs", "documentation", "mediawiki", "wiki"])),
        flag(head.buys),
    ]);
    debug_assert_eq!(row.len(), NAMES.len(), "a column per name");
    Ok(row)
}

fn flag(is: bool) -> f32 {
    f32::from(u8::from(is))
}

fn any(text: &str, wanted: &[&str]) -> bool {
    wanted.iter().any(|word| text.contains(word))
}

fn ln(count: u32) -> f32 {
    ((count + 1) as f32).ln()
}

/// The build of the body.
fn build(dom: &Dom<'_>, segments: &Segments, budget: &Budget<'_>, row: &mut Vec<f32>) -> Result<(), ExtractError> {
    let (mut chars, mut linked, mut words, mut stops, mut long_chars, mut long) = (0, 0, 0, 0, 0, 0);
    let (mut prices, mut items, mut cells, mut code, mut headings, mut quotes, mut questions) = (0, 0, 0, 0, 0, 0, 0);
    for segment in &segments.list {
        budget.spend(0)?;
        let bits = segments.elements[segment.element as usize].within;
        if bits & (within::NAV | within::FOOTER) != 0 {
            continue;
        }
        let shape = &segment.shape;
        chars += shape.chars;
        linked += shape.linked;
        words += shape.words;
        stops += shape.stops;
        if shape.words >= 25 && shape.linked * 3 < shape.chars {
            long += 1;
            long_chars += shape.chars;
        }
        let is = |bit: u32| u32::from(bits & bit != 0);
        prices += u32::from(shape.prices > 0 && shape.words <= 12);
        items += is(within::ITEM);
        cells += is(within::TABLE);
        code += is(within::CODE) * shape.chars;
        headings += is(within::HEADING);
        quotes += is(within::QUOTE);
        questions += u32::from(shape.last == Some('?'));
    }
    let (mut articles, mut times, mut forms, mut images, mut main) = (0, 0, 0, 0, false);
    for element in &segments.elements {
        budget.spend(0)?;
        match dom.tag(element.id) {
            Tag::Article => articles += 1,
            Tag::Time => times += 1,
            Tag::Form => forms += 1,
            Tag::Img => images += 1,
            Tag::Main => main = true,
            _ => {}
        }
    }
    let share = |part: u32, whole: u32| if whole == 0 { 0.0 } else { part as f32 / whole as f32 };
    let n = segments.list.len() as u32;
    row.extend([
        ln(chars),
        ln(n),
        share(linked, chars),
        share(long_chars, chars),
        ln(long),
        ln(prices),
        ln(articles),
        ln(items),
        ln(cells),
        share(code, chars),
        ln(headings),
        ln(times),
        ln(forms),
        flag(main),
        share(stops, n),
        share(words, n),
        ln(images),
        share(items, n),
        ln(quotes),
        ln(questions),
    ]);
    Ok(())
}

/// What the head, and the names of the outermost elements, say.
#[derive(Default)]
struct Head {
    og_type: String,
    generator: String,
    body: String,
    microdata: String,
    buys: bool,
}

impl Head {
    fn of(dom: &Dom<'_>, budget: &Budget<'_>) -> Result<Self, ExtractError> {
        const MAX_NAMES: usize = 4096;
        let mut head = Self::default();
        for name in ["class", "id"] {
            for id in [HTML, crate::dom::BODY] {
                let value = dom.attr(id, name).unwrap_or_default();
                head.body.push_str(&value[..value.floor_char_boundary(1024)].to_ascii_lowercase());
                head.body.push(' ');
            }
        }
        for id in dom.descendants(HTML) {
            budget.spend(64)?;
            if dom.tag(id) == Tag::Text {
                continue;
            }
            if dom.tag(id) == Tag::Meta {
                let content = || {
                    let content = dom.attr(id, "content").unwrap_or_default();
                    content[..content.floor_char_boundary(256)].to_ascii_lowercase()
                };
                match dom.attr(id, "property").or_else(|| dom.attr(id, "name")) {
                    Some("og:type") => head.og_type = content(),
                    Some("generator" | "Generator") => head.generator = content(),
                    _ => {}
                }
            }
            if let Some(kind) = dom.attr(id, "itemtype")
                && head.microdata.len() < MAX_NAMES
            {
                let kind = kind.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                head.microdata.push_str(&kind[..kind.floor_char_boundary(64)]);
                head.microdata.push(' ');
            }
            if matches!(dom.tag(id), Tag::Form | Tag::Button) && !head.buys {
                let names = ["action", "class", "name", "id"];
                head.buys = names.iter().filter_map(|name| dom.attr(id, name)).any(|value| {
                    let value = value[..value.floor_char_boundary(256)].to_ascii_lowercase();
                    value.contains("cart") && (value.contains("add") || value.contains("product"))
                });
            }
        }
        Ok(head)
    }
}

/// What a page says for machines.
fn machines(structured: &StructuredData, head: &Head, row: &mut Vec<f32>) {
    let mut kinds = String::new();
    let mut offers = false;
    for object in &structured.objects {
        match object.get("@type") {
            Some(Value::String(kind)) => kinds.push_str(kind),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).for_each(|kind| {
                kinds.push_str(kind);
                kinds.push(' ');
            }),
            _ => {}
        }
        kinds.push(' ');
        offers |= object.get("offers").is_some();
        if let Some(main) = object.get("mainEntity").and_then(|main| main.get("@type")).and_then(Value::as_str) {
            kinds.push_str(main);
            kinds.push(' ');
        }
    }
    kinds.push_str(&head.microdata);
    let says = |wanted: &[&str]| flag(kinds.split(' ').any(|kind| wanted.iter().any(|wanted| kind.ends_with(wanted))));
    row.extend([
        says(&["Article", "BlogPosting", "Report", "Recipe", "Review"]),
        says(&["Product", "ProductGroup", "IndividualProduct"]),
        says(&["ItemList", "CollectionPage", "OfferCatalog", "SearchResultsPage"]),
        says(&["DiscussionForumPosting", "QAPage", "Question", "Comment"]),
        says(&["TechArticle", "APIReference", "HowTo", "SoftwareSourceCode"]),
        says(&["WebSite"]),
        says(&[
            "LocalBusiness",
            "Service",
            "Course",
            "MedicalBusiness",
            "FAQPage",
            "FinancialProduct",
            "SoftwareApplication",
        ]),
        says(&["BreadcrumbList"]),
        flag(offers),
        flag(head.og_type.contains("article")),
        flag(head.og_type.contains("product")),
        flag(head.og_type.contains("website")),
    ]);
}

/// What the address says.
fn address(url: &Url, row: &mut Vec<f32>) {
    let path = url.path();
    let path = path[..path.floor_char_boundary(512)].to_ascii_lowercase();
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let last = parts.last().copied().unwrap_or_default();
    let labels: Vec<&str> = host.split('.').collect();
    let words: Vec<&str> = path.split(|next: char| !next.is_ascii_alphabetic()).chain(labels.iter().copied()).collect();
    let has = |wanted: &[&str]| flag(words.iter().any(|word| wanted.contains(word)));
    let part = |wanted: &[&str]| parts.iter().any(|part| wanted.contains(part));
    row.extend([
        parts.len().min(8) as f32,
        last.matches(['-', '_']).count().min(12) as f32,
        flag(last.bytes().any(|byte| byte.is_ascii_digit())),
        flag(url.query().is_some()),
        flag(parts.is_empty()),
        flag(
            has(&[
                "forum",
                "forums",
                "thread",
                "threads",
                "topic",
                "topics",
                "discussion",
                "discussions",
                "questions",
                "community",
                "viewtopic",
                "showthread",
                "comments",
                "discuss",
                "users",
                "board",
                "boards",
            ]) > 0.0
                || part(&["t", "d"]),
        ),
        flag(
            has(&["product", "products", "item", "dp", "pd", "shop", "store", "buy"]) > 0.0
                || part(&["p", "dp", "ip", "itm"]),
        ),
        flag(
            has(&[
                "collection",
                "collections",
                "category",
                "categories",
                "catalog",
                "department",
                "departments",
                "browse",
                "range",
                "brands",
            ]) > 0.0
                || part(&["c", "w", "b", "cat"]),
        ),
        has(&[
            "docs",
            "doc",
            "documentation",
            "reference",
            "guide",
            "guides",
            "manual",
            "wiki",
            "api",
            "learn",
            "tutorial",
            "handbook",
            "developer",
            "developers",
            "help",
            "support",
            "spec",
        ]),
        flag(
            has(&[
                "blog", "news", "article", "articles", "post", "posts", "story", "stories", "magazine", "insights",
                "review", "reviews",
            ]) > 0.0
                || parts.iter().any(|part| part.len() == 4 && part.starts_with("20")),
        ),
        has(&[
            "service",
            "services",
            "solutions",
            "pricing",
            "features",
            "plans",
            "program",
            "programs",
            "treatment",
            "treatments",
            "about",
            "platform",
            "care",
            "insurance",
        ]),
        has(&[
            "tag",
            "tags",
            "list",
            "archive",
            "search",
            "directory",
            "jobs",
            "page",
            "topics",
            "hub",
            "latest",
            "top",
            "best",
            "index",
        ]),
    ]);
}
