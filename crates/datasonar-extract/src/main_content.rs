//! Finding what a page is about, and leaving out what surrounds it.
//!
//! Three steps, each linear: what is named as boilerplate goes (navigation, banners, share bars …), unless it holds most
//! of the page; the view narrows to the element that holds most of what is left, by its meaning (`main`, `article`) or by
//! weight; within it, blocks that are mostly links go. Each step that would leave too little is undone.

use crate::{
    ExtractError,
    budget::Budget,
    content::Selection,
    dom::{BODY, Dom, NONE, NodeId, Tag},
    text::is_space,
};

/// A longer paragraph does not announce what follows, in bytes.
const MAX_ANNOUNCEMENT: usize = 2048;

/// Narrows the selection to the main content.
pub(crate) fn narrow(dom: &Dom<'_>, selection: &mut Selection, budget: &Budget<'_>) -> Result<(), ExtractError> {
    let map = Map::of(dom, selection, budget)?;
    drop_boilerplate(dom, &map, selection, budget)?;
    let map = Map::of(dom, selection, budget)?;
    let root = find_root(dom, &map, budget)?;
    let root_id = map.order[root];
    if root_id != BODY {
        selection.roots = vec![root_id];
    }
    drop_link_blocks(dom, &map, root, selection, budget)
}

/// The visible body in document order, and what each element holds.
struct Map {
    order: Vec<NodeId>,
    /// Where each one's parent is in the order; its own place for the body.
    parent: Vec<u32>,
    /// Behind the last of its descendants.
    end: Vec<u32>,
    held: Vec<Held>,
}

/// What an element holds.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// Bytes of text that is not white space.
    text: u32,
    /// Of that, in links.
    linked: u32,
    links: u32,
    /// Text outside links, long runs counting more.
    weight: u32,
    /// Whether it is within a link itself.
    in_link: bool,
}

impl Map {
    fn of(dom: &Dom<'_>, selection: &Selection, budget: &Budget<'_>) -> Result<Self, ExtractError> {
        let mut map = Self { order: Vec::new(), parent: Vec::new(), end: Vec::new(), held: Vec::new() };
        let mut place = vec![0u32; dom.len()];
        let mut next = Some(BODY);
        while let Some(id) = next {
            budget.spend(0)?;
            let removed = selection.is_removed(id);
            if !removed {
                let at = map.order.len() as u32;
                place[id as usize] = at;
                let parent = dom.node(id).parent;
                let parent = if id == BODY || parent == NONE { 0 } else { place[parent as usize] };
                let in_link = dom.tag(id) == Tag::A || at > 0 && map.held[parent as usize].in_link;
                map.order.push(id);
                map.parent.push(parent);
                map.end.push(at + 1);
                map.held.push(Self::own(dom, id, in_link, budget)?);
            }
            next = dom.following(BODY, id, removed);
        }
        for at in (1..map.order.len()).rev() {
            let parent = map.parent[at] as usize;
            map.end[parent] = map.end[parent].max(map.end[at]);
            let child = map.held[at];
            let held = &mut map.held[parent];
            held.text += child.text;
            held.linked += child.linked;
            held.links += child.links;
            held.weight += child.weight;
        }
        Ok(map)
    }

    fn own(dom: &Dom<'_>, id: NodeId, in_link: bool, budget: &Budget<'_>) -> Result<Held, ExtractError> {
        let text = dom.text(id);
        budget.spend(text.len())?;
        let text = text.chars().filter(|character| !is_space(*character)).count() as u32;
        let weight = if in_link {
            0
        } else if text >= 60 {
            text
        } else {
            text / 3
        };
        let links = u32::from(dom.tag(id) == Tag::A);
        Ok(Held { text, linked: if in_link { text } else { 0 }, links, weight, in_link })
    }
}

/// Removes what is boilerplate by its name.
fn drop_boilerplate(
    dom: &Dom<'_>,
    map: &Map,
    selection: &mut Selection,
    budget: &Budget<'_>,
) -> Result<(), ExtractError> {
    let all = map.held[0];
    let mut at = 1;
    let mut dropped: u64 = 0;
    // Behind the heading or term that the walk is in.
    let mut heading_end = 0;
    while at < map.order.len() {
        budget.spend(64)?;
        let id = map.order[at];
        let held = map.held[at];
        if at >= heading_end && is_titling(dom.tag(id)) {
            heading_end = map.end[at] as usize;
        }
        if at < heading_end && is_permalink(dom, id) {
            selection.remove(id);
            at = map.end[at] as usize;
            continue;
        }
        let small = u64::from(held.weight) * 100 <= u64::from(all.weight) * 40;
        let tiny = u64::from(held.weight) * 100 <= u64::from(all.weight) * 25;
        let verdict = if dom.is_element(id) { judge(dom, id) } else { Verdict::Content };
        let drop = match verdict {
            Verdict::Boilerplate => small,
            // Links from a heading back to the table of contents, say, bear its text.
            Verdict::Suspect => tiny && at >= heading_end,
            Verdict::Content => false,
        };
        if drop {
            dropped += u64::from(held.weight);
            if dropped * 100 > u64::from(all.weight) * 85 && all.weight > 0 {
                dropped -= u64::from(held.weight);
                at += 1;
                continue;
            }
            selection.remove(id);
            at = map.end[at] as usize;
        } else {
            at += 1;
        }
    }
    Ok(())
}

/// Whether an element names what follows.
fn is_titling(tag: Tag) -> bool {
    tag.is_heading() || matches!(tag, Tag::Dt | Tag::Caption | Tag::Figcaption | Tag::Summary)
}

/// Whether an element is the sign by which a heading links to itself.
fn is_permalink(dom: &Dom<'_>, id: NodeId) -> bool {
    let is_to_itself = dom.tag(id) == Tag::A && dom.attr(id, "href").is_some_and(|href| href.contains('#'));
    is_to_itself && matches!(dom.text_content(id, 16).trim(), "\u{b6}" | "\u{a7}" | "#" | "\u{1f517}" | "\u{2693}")
}

/// What an element's name says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Content,
    Suspect,
    Boilerplate,
}

fn judge(dom: &Dom<'_>, id: NodeId) -> Verdict {
    let tag = dom.tag(id);
    let by_tag = match tag {
        Tag::Nav | Tag::Footer | Tag::Menu | Tag::Search | Tag::Button | Tag::Label => Verdict::Boilerplate,
        Tag::Aside | Tag::Form | Tag::Fieldset => Verdict::Suspect,
        Tag::Header => {
            let inside = dom.ancestors(id).any(|at| matches!(dom.tag(at), Tag::Article | Tag::Main | Tag::Section));
            if inside { Verdict::Content } else { Verdict::Boilerplate }
        }
        Tag::Html
        | Tag::Body
        | Tag::Main
        | Tag::Article
        | Tag::P
        | Tag::Pre
        | Tag::Code
        | Tag::Td
        | Tag::Tr
        | Tag::Tbody => {
            return Verdict::Content;
        }
        tag if tag.is_heading() => return Verdict::Content,
        _ => Verdict::Content,
    };
    let mut verdict = by_tag;
    for (name, value) in dom.attrs(id) {
        let said = match name {
            "role" => judge_role(value),
            "class" | "id" => judge_words(value),
            "aria-modal" if value == "true" => Verdict::Boilerplate,
            _ => Verdict::Content,
        };
        verdict = verdict.max(said);
    }
    verdict
}

fn judge_role(role: &str) -> Verdict {
    match role {
        "navigation" | "banner" | "contentinfo" | "search" | "dialog" | "alertdialog" | "menu" | "menubar"
        | "toolbar" | "tablist" => Verdict::Boilerplate,
        "complementary" | "form" | "alert" => Verdict::Suspect,
        _ => Verdict::Content,
    }
}

/// Judges a class or id by its words: `siteNav_top` has three.
fn judge_words(value: &str) -> Verdict {
    let mut verdict = Verdict::Content;
    let mut word = [0u8; 16];
    let mut len = 0;
    let mut words = 0;
    let mut previous = 0u8;
    for byte in value.bytes().chain([b' ']).take(512) {
        let ends = !byte.is_ascii_alphabetic() || byte.is_ascii_uppercase() && previous.is_ascii_lowercase();
        if ends && len > 0 {
            words += 1;
            if len <= word.len()
                && let Ok(word) = std::str::from_utf8(&word[..len])
            {
                verdict = verdict.max(judge_word(word));
            }
            len = 0;
        }
        if byte.is_ascii_alphabetic() {
            if len < word.len() {
                word[len] = byte.to_ascii_lowercase();
            }
            len += 1;
        }
        previous = byte;
    }
    // A name of very many words is a list of utilities, not a description.
    if words > 24 { Verdict::Content } else { verdict }
}

fn judge_word(word: &str) -> Verdict {
    match word {
        "nav" | "navbar" | "navheader" | "navfooter" | "navigation" | "subnav" | "topnav" | "sidenav" | "menu"
        | "submenu" | "megamenu" | "breadcrumb" | "breadcrumbs" | "footer" | "sidebar" | "cookie" | "cookies"
        | "consent" | "gdpr" | "onetrust" | "share" | "sharing" | "sharebar" | "addtoany" | "sharedaddy" | "social"
        | "newsletter" | "subscribe" | "subscription" | "advert" | "adverts" | "advertisement" | "advertising"
        | "ads" | "adsbygoogle" | "sponsored" | "popup" | "modal" | "lightbox" | "related" | "recommended"
        | "recommendations" | "pagination" | "pager" | "paginator" | "skip" | "masthead" | "outbrain" | "taboola"
        | "disqus" | "tooltip" | "offcanvas" | "signin" | "login" | "signup" | "jp" | "editsection" | "noprint"
        | "catlinks" | "navbox" | "screenreader" => Verdict::Boilerplate,
        "widget" | "widgets" | "promo" | "promotion" | "banner" | "toolbar" | "comments" | "comment" | "respond"
        | "ad" | "toc" | "tags" | "tagcloud" | "filter" | "filters" | "facets" | "drawer" | "alert"
        | "notification" | "dropdown" | "register" | "upsell" | "carousel" | "trending" | "popular" | "reply" => {
            Verdict::Suspect
        }
        _ => Verdict::Content,
    }
}

/// Whether a block is what the sentence before it speaks of: that ends in a colon.
fn is_announced(dom: &Dom<'_>, id: NodeId) -> bool {
    let mut before = dom.node(id).prev;
    while before != NONE && dom.text(before).chars().all(is_space) && dom.tag(before) == Tag::Text {
        before = dom.node(before).prev;
    }
    before != NONE
        && matches!(dom.tag(before), Tag::P | Tag::Text)
        && dom.text_content(before, MAX_ANNOUNCEMENT).trim_end().ends_with(':')
}

/// The place of the element to narrow to.
fn find_root(dom: &Dom<'_>, map: &Map, budget: &Budget<'_>) -> Result<usize, ExtractError> {
    let mut root = 0;
    if let Some(main) =
        only(dom, map, 0, 30, budget, |dom, id| dom.tag(id) == Tag::Main || dom.attr(id, "role") == Some("main"))?
    {
        root = main;
    }
    if let Some(article) = only(dom, map, root, 55, budget, |dom, id| {
        dom.tag(id) == Tag::Article || dom.attr(id, "itemprop") == Some("articleBody")
    })? {
        root = article;
    }
    // Down, as long as one child holds nearly everything.
    loop {
        budget.spend(0)?;
        let weight = u64::from(map.held[root].weight);
        let mut child = root + 1;
        let mut heir = None;
        while child < map.end[root] as usize {
            if u64::from(map.held[child].weight) * 100 >= weight * 85 {
                heir = Some(child);
                break;
            }
            child = map.end[child] as usize;
        }
        match heir {
            Some(heir)
                if weight > 0
                    && may_be_root(dom.tag(map.order[heir]))
                    && !(is_table(dom.tag(map.order[heir])) && is_titled(dom, map, root, heir, budget)?) =>
            {
                root = heir;
            }
            _ => return Ok(root),
        }
    }
}

fn is_table(tag: Tag) -> bool {
    matches!(tag, Tag::Table | Tag::Tbody | Tag::Tr | Tag::Td)
}

/// Whether a heading stands before the heir of nearly all content, and so is its title.
fn is_titled(dom: &Dom<'_>, map: &Map, root: usize, heir: usize, budget: &Budget<'_>) -> Result<bool, ExtractError> {
    for at in root + 1..heir {
        budget.spend(0)?;
        if matches!(dom.tag(map.order[at]), Tag::H1 | Tag::H2) && map.held[at].text > map.held[at].linked {
            return Ok(true);
        }
    }
    Ok(false)
}

fn may_be_root(tag: Tag) -> bool {
    matches!(tag, Tag::Div | Tag::Section | Tag::Article | Tag::Main | Tag::Center | Tag::Form | Tag::Unknown)
        || is_table(tag)
}

/// The heaviest of the outermost elements that `wanted` wants, if it holds `percent` of what `within` holds.
fn only(
    dom: &Dom<'_>,
    map: &Map,
    within: usize,
    percent: u64,
    budget: &Budget<'_>,
    wanted: impl Fn(&Dom<'_>, NodeId) -> bool,
) -> Result<Option<usize>, ExtractError> {
    let mut best: Option<usize> = None;
    let mut at = within + 1;
    while at < map.end[within] as usize {
        budget.spend(0)?;
        if wanted(dom, map.order[at]) {
            if best.is_none_or(|best| map.held[best].weight < map.held[at].weight) {
                best = Some(at);
            }
            at = map.end[at] as usize;
        } else {
            at += 1;
        }
    }
    let enough = |at: &usize| u64::from(map.held[*at].weight) * 100 >= u64::from(map.held[within].weight) * percent;
    Ok(best.filter(|at| map.held[*at].text > 0).filter(enough))
}

/// Removes blocks that are mostly links, unless the page is made of them.
fn drop_link_blocks(
    dom: &Dom<'_>,
    map: &Map,
    root: usize,
    selection: &mut Selection,
    budget: &Budget<'_>,
) -> Result<(), ExtractError> {
    let mut dropped = Vec::new();
    let mut text: u64 = 0;
    let mut at = root + 1;
    while at < map.end[root] as usize {
        budget.spend(0)?;
        let held = map.held[at];
        let tag = dom.tag(map.order[at]);
        let is_block = matches!(tag, Tag::Ul | Tag::Ol | Tag::Div | Tag::Section | Tag::Table | Tag::Dl | Tag::Aside);
        let dense = u64::from(held.linked) * 100 > u64::from(held.text) * 66;
        if is_block && dense && held.links >= 3 && held.text > 0 && !is_announced(dom, map.order[at]) {
            dropped.push(map.order[at]);
            text += u64::from(held.text);
            at = map.end[at] as usize;
        } else {
            at += 1;
        }
    }
    if text * 100 < u64::from(map.held[root].text) * 50 {
        for id in dropped {
            selection.remove(id);
        }
    }
    Ok(())
}
