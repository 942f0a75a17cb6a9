//! For training: what the scorer sees of a page, as JSON; and what comes of scores that were made elsewhere.

use serde_json::{Value, json};
use url::Url;

use super::{
    columns, drop_permalinks,
    features::Features,
    lexicon::class_words,
    page::{self, Type},
    scores,
    segments::{NO, Segments},
    settle, words_of,
};
use crate::{
    ExtractError,
    budget::Budget,
    content::{self, Selection},
    dom::{Dom, Tag},
    structured::StructuredData,
};

/// The selection that follows from scores and types of page that come from outside.
pub(crate) fn judged(
    dom: &Dom<'_>,
    structured: &StructuredData,
    scores: &[f32],
    types: &[f32; Type::ALL.len()],
    budget: &Budget<'_>,
) -> Result<Selection, ExtractError> {
    let mut selection = content::seen(dom, content::Shown::Folded, budget)?;
    drop_permalinks(dom, &mut selection, budget)?;
    let words = words_of(dom, structured, budget)?;
    let segments = Segments::of(dom, &selection, &words, budget)?;
    let features = Features::of(dom, &segments, budget)?;
    settle(dom, &segments, &features, types, scores.to_vec(), &mut selection, budget)?;
    Ok(selection)
}

/// Every segment with its features, its text, the names around it, and the score that it gets.
pub(crate) fn dump(
    dom: &Dom<'_>,
    url: &Url,
    structured: &StructuredData,
    budget: &Budget<'_>,
) -> Result<Value, ExtractError> {
    let mut selection = content::seen(dom, content::Shown::Folded, budget)?;
    drop_permalinks(dom, &mut selection, budget)?;
    let words = words_of(dom, structured, budget)?;
    let segments = Segments::of(dom, &selection, &words, budget)?;
    let features = Features::of(dom, &segments, budget)?;
    let page = page::look(dom, url, structured, &segments, budget)?;
    let scores = scores::scores(&segments, &features, &page::types(&page), budget)?;
    let mut texts = vec![String::new(); segments.list.len()];
    let mut before = NO;
    for id in dom.descendants(crate::dom::BODY) {
        if dom.tag(id) == Tag::Br && before != NO {
            texts[before as usize].push(' ');
        }
        let of = segments.of[id as usize];
        if dom.tag(id) == Tag::Text {
            if of != NO {
                texts[of as usize].push_str(dom.text(id));
                before = of;
            } else if before != NO {
                texts[before as usize].push(' ');
            }
        }
    }
    let columns = columns::NAMES.len();
    let opt = |at: u32| if at == NO { -1 } else { i64::from(at) };
    let elements: Vec<Value> = segments
        .elements
        .iter()
        .map(|element| {
            let class = dom.attr(element.id, "class").unwrap_or_default();
            let id = dom.attr(element.id, "id").unwrap_or_default();
            json!([
                element.parent,
                element.begin,
                element.end,
                dom.name(element.id),
                class_words(dom, element.id),
                format!("{id}.{class}")
            ])
        })
        .collect();
    let list: Vec<Value> = segments
        .list
        .iter()
        .enumerate()
        .map(|(at, segment)| {
            json!({
                "e": segment.element,
                "t": texts[at],
                "w": segment.shape.words,
                "f": features.rows[at * columns..(at + 1) * columns].to_vec(),
                "c": features.containers[at],
                "p": features.paths[at],
                "k": features.kinds[at],
                "h": opt(features.headings[at]),
                "i": opt(features.items[at]),
            })
        })
        .collect();
    Ok(
        json!({"names": columns::NAMES, "page_names": page::NAMES, "page": page, "scores": scores, "elements": elements, "segments": list}),
    )
}
