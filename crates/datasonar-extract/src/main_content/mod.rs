//! Finding what a page is about, and leaving out what surrounds it.
//!
//! The body is cut into `segments`, each a run of text that is content or not. `page` says what type of page it is by its
//! build and by what it says for machines. `features` describes each segment by its look, its place, its likes and what
//! stands around; `lexicon` knows what words in class names and headings mean. `scores` weighs all of that by tables that were
//! learned from pages (`weights`; how is told in `training/README.md`) and says how likely each segment is content.
//! Here that becomes a choice: what cannot be parted is decided as one, and so many are kept that the expected
//! balance of precision and recall is best.
//!
//! No rule knows a site, and all of it takes time linear in the page.

mod columns;
mod features;
mod lexicon;
mod page;
mod scores;
mod segments;
mod shape;
#[cfg(feature = "training")]
pub(crate) mod training;
mod trees;
mod whole;
mod weights {
    pub(super) mod first;
    pub(super) mod lexicon;
    pub(super) mod second;
    pub(super) mod types;
}

use serde_json::Value;
use url::Url;

use self::{
    features::Features,
    page::Type,
    segments::{NO, Segments, within},
    shape::{IN_DATA, IN_DESCRIPTION, IN_TITLE, PageWords},
};
use crate::{
    ExtractError,
    budget::Budget,
    content::Selection,
    dom::{BODY, Dom, HEAD, NodeId, Tag},
    structured::StructuredData,
};

/// Narrows the selection to the main content.
pub(crate) fn narrow(
    dom: &Dom<'_>,
    url: &Url,
    structured: &StructuredData,
    selection: &mut Selection,
    budget: &Budget<'_>,
) -> Result<(), ExtractError> {
    let _scope = budget.scope();
    drop_permalinks(dom, selection, budget)?;
    let words = words_of(dom, structured, budget)?;
    let segments = Segments::of(dom, selection, &words, budget)?;
    let features = Features::of(dom, &segments, budget)?;
    let types = page::types(&page::look(dom, url, structured, &segments, budget)?);
    // Scores, choices and sums over them.
    budget.allocate(segments.list.len() * 32 + segments.elements.len() * 8)?;
    let scores = scores::scores(&segments, &features, &types, budget)?;
    settle(dom, &segments, &features, &types, scores, selection, budget)
}

/// By type of page, how much a score is doubted: it is raised to this. Scores of what stands together are wrong together, so
/// that to take them for chances that know nothing of each other keeps too much of an article's surroundings, and too
/// little of a list. Found on pages that the scores were not learned from; as in `training/train.py`.
const DOUBT: [f32; Type::ALL.len()] = [1.5, 1.0, 1.0, 1.0, 0.95, 1.0, 0.9];

/// Makes a choice of the scores, and leaves out what is not chosen.
fn settle(
    dom: &Dom<'_>,
    segments: &Segments,
    features: &Features,
    types: &[f32; Type::ALL.len()],
    mut scores: Vec<f32>,
    selection: &mut Selection,
    budget: &Budget<'_>,
) -> Result<(), ExtractError> {
    if types[Type::Article as usize] > 0.6 {
        whole::doubt_comments(features, &mut scores);
    } else {
        whole::bylines(segments, features, &mut scores);
    }
    whole::pass_on(segments, features, &mut scores, budget)?;
    whole::join(dom, segments, &mut scores, budget)?;
    whole::code(dom, segments, &mut scores);
    whole::notes(dom, segments, &mut scores, budget)?;
    whole::head(segments, &mut scores);
    whole::title(dom, segments, &mut scores);
    whole::few(segments, &mut scores);
    let doubt: f32 = types.iter().zip(DOUBT).map(|(chance, doubt)| chance * doubt).sum();
    for score in &mut scores {
        *score = score.powf(doubt);
    }
    let kept = choose(segments, &scores);
    apply(dom, segments, &kept, selection, budget)
}

/// The words that the page says of itself.
fn words_of(dom: &Dom<'_>, structured: &StructuredData, budget: &Budget<'_>) -> Result<PageWords, ExtractError> {
    let mut words = PageWords::default();
    for id in dom.descendants(HEAD) {
        budget.spend(64)?;
        match dom.tag(id) {
            Tag::Title => words.add(&dom.text_content(id, 4096), IN_TITLE, budget)?,
            Tag::Meta => {
                let content = dom.attr(id, "content").unwrap_or_default();
                match dom.attr(id, "name").or_else(|| dom.attr(id, "property")) {
                    Some("og:title") => words.add(content, IN_TITLE, budget)?,
                    Some("description" | "og:description") => words.add(content, IN_DESCRIPTION, budget)?,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    for object in &structured.objects {
        for key in ["description", "articleBody", "text", "name", "headline", "reviewBody"] {
            if let Some(Value::String(text)) = object.get(key) {
                budget.spend(text.len() * 4)?;
                words.add(text, IN_DATA, budget)?;
            }
        }
    }
    Ok(words)
}

/// Leaves out the signs by which headings and terms link to themselves.
fn drop_permalinks(dom: &Dom<'_>, selection: &mut Selection, budget: &Budget<'_>) -> Result<(), ExtractError> {
    let mut next = Some(BODY);
    while let Some(id) = next {
        budget.spend(0)?;
        let removed = selection.is_removed(id);
        if !removed
            && dom.tag(id) == Tag::A
            && is_permalink(dom, id)
            && dom.ancestors(id).take(4).any(|at| titles(dom, at))
        {
            selection.remove(id);
        }
        next = dom.following(BODY, id, removed);
    }
    Ok(())
}

/// Whether an element names what follows.
fn titles(dom: &Dom<'_>, id: NodeId) -> bool {
    let tag = dom.tag(id);
    tag.is_heading() || matches!(tag, Tag::Dt | Tag::Caption | Tag::Figcaption | Tag::Summary)
}

/// Whether a link is to its own place, and says no more than that.
fn is_permalink(dom: &Dom<'_>, id: NodeId) -> bool {
    dom.attr(id, "href").is_some_and(|href| href.contains('#'))
        && matches!(dom.text_content(id, 16).trim(), "\u{b6}" | "\u{a7}" | "#" | "\u{1f517}" | "\u{2693}")
}

/// Keeps so many of the best that the expected F1 is greatest: those whose score is at least half of it.
fn choose(segments: &Segments, scores: &[f32]) -> Vec<bool> {
    const STEPS: usize = 2048;
    let step = |score: f32| ((score * STEPS as f32) as usize).min(STEPS - 1);
    let mut hits = [0.0f64; STEPS];
    let mut found = [0.0f64; STEPS];
    let mut wanted = 0.0;
    for (at, &score) in scores.iter().enumerate() {
        let words = f64::from(segments.list[at].shape.words);
        hits[step(score)] += f64::from(score) * words;
        found[step(score)] += words;
        wanted += f64::from(score) * words;
    }
    let (mut best, mut least) = (-1.0, 0);
    let (mut hit, mut all) = (0.0, 0.0);
    for at in (0..STEPS).rev() {
        if found[at] == 0.0 {
            continue;
        }
        hit += hits[at];
        all += found[at];
        let expected = 2.0 * hit / (all + wanted).max(1.0);
        if expected > best {
            (best, least) = (expected, at);
        }
    }
    scores.iter().map(|score| step(*score) >= least).collect()
}

/// Leaves out what is not kept, and narrows the view to what holds all that is.
fn apply(
    dom: &Dom<'_>,
    segments: &Segments,
    kept: &[bool],
    selection: &mut Selection,
    budget: &Budget<'_>,
) -> Result<(), ExtractError> {
    let mut before = Vec::with_capacity(kept.len() + 1);
    let mut count = 0u32;
    for is_kept in kept {
        before.push(count);
        count += u32::from(*is_kept);
    }
    before.push(count);
    let kept_of = |begin: u32, end: u32| before[end as usize] - before[begin as usize];
    let mut next = Some(BODY);
    while let Some(id) = next {
        budget.spend(64)?;
        let of = segments.of[id as usize];
        let mut removed = selection.is_removed(id);
        if !removed && id != BODY && of != NO {
            removed = if dom.tag(id) == Tag::Text {
                !kept[of as usize]
            } else {
                let element = segments.elements[of as usize];
                let above = segments.elements[element.parent as usize];
                let silent = element.end == element.begin || dom.tag(id) == Tag::Figure;
                let hidden = element.within & (within::HIDDEN | within::NOSCRIPT) != 0;
                let around = kept_of(above.begin, above.end) * 2 >= above.end - above.begin;
                kept_of(element.begin, element.end) == 0 && (!silent || hidden || !around)
            };
            if removed {
                selection.remove(id);
            }
        }
        next = dom.following(BODY, id, removed);
    }
    let first = kept.iter().position(|kept| *kept);
    let last = kept.iter().rposition(|kept| *kept);
    if let (Some(first), Some(last)) = (first, last) {
        let root = root_of(dom, segments, first as u32, last as u32);
        if root != BODY {
            selection.roots = vec![root];
        }
    }
    Ok(())
}

/// The smallest element that stands by itself and holds all segments from `first` to `last`.
fn root_of(dom: &Dom<'_>, segments: &Segments, first: u32, last: u32) -> NodeId {
    let mut place = segments.list[first as usize].element;
    loop {
        let element = segments.elements[place as usize];
        let stands = matches!(
            dom.tag(element.id),
            Tag::Body | Tag::Div | Tag::Section | Tag::Article | Tag::Main | Tag::Center | Tag::Td
        );
        if element.id == BODY || stands && element.begin <= first && element.end > last {
            return element.id;
        }
        place = element.parent;
    }
}
