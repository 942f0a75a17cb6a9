//! What belongs together is kept together: the scores of single segments, made to fit the page's structure.

use std::collections::HashMap;

use super::{
    features::Features,
    lexicon::Plain,
    scores::weight_of,
    segments::{Element, NO, Segments, within},
};
use crate::{
    ExtractError,
    budget::Budget,
    dom::{Dom, Tag},
    notes::called,
};

/// What stands around content by what it says itself.
const ASIDE: u32 = within::NAV | within::HEADER | within::FOOTER | within::ASIDE | within::HIDDEN | within::DIALOG;

/// What readers say below an article is not the article.
pub(super) fn doubt_comments(features: &Features, scores: &mut [f32]) {
    const DOUBT: f32 = 0.2;
    for (at, score) in scores.iter_mut().enumerate() {
        if features.is_comment(at) {
            *score *= DOUBT;
        }
    }
}

/// Who wrote a post, and when, is kept with the post.
pub(super) fn bylines(segments: &Segments, features: &Features, scores: &mut [f32]) {
    // Words of a name and a date, and segments of a post, at most.
    const MAX_WORDS: u32 = 6;
    const MAX_HELD: usize = 200;
    for at in 0..features.items.len().min(scores.len()) {
        let post = features.items[at];
        if post == NO || segments.list[at].shape.words > MAX_WORDS || !features.is_byline_of_post(at) {
            continue;
        }
        let post = segments.elements[post as usize];
        let held = post.begin as usize..(post.end as usize).min(scores.len());
        if held.len() <= MAX_HELD {
            let best = scores[held].iter().copied().fold(0.0, f32::max);
            scores[at] = scores[at].max(best * 0.9);
        }
    }
}

/// Gives segments that were not looked at what those on the same path got.
pub(super) fn pass_on(
    segments: &Segments,
    features: &Features,
    scores: &mut Vec<f32>,
    budget: &Budget<'_>,
) -> Result<(), ExtractError> {
    if scores.len() == segments.list.len() {
        return Ok(());
    }
    let mut means: HashMap<u32, (f32, f32), Plain> = HashMap::default();
    for (path, score) in features.paths.iter().zip(scores.iter()) {
        let mean = means.entry(*path).or_default();
        *mean = (mean.0 + score, mean.1 + 1.0);
    }
    for path in &features.paths[scores.len()..] {
        budget.spend(64)?;
        scores.push(means.get(path).map_or(0.0, |(sum, count)| sum / count));
    }
    Ok(())
}

/// Decides as one what reads as one: tables, lists, code.
pub(super) fn join(
    dom: &Dom<'_>,
    segments: &Segments,
    scores: &mut [f32],
    budget: &Budget<'_>,
) -> Result<(), ExtractError> {
    const MAX_JOINED: u32 = 600;
    let mut at = 0;
    while at < segments.elements.len() {
        budget.spend(64)?;
        let element = segments.elements[at];
        at += 1;
        let held = element.end - element.begin;
        let is_one = matches!(dom.tag(element.id), Tag::Table | Tag::Dl | Tag::Pre | Tag::Ul | Tag::Ol)
            && (2..=MAX_JOINED).contains(&held);
        if !is_one {
            continue;
        }
        // What is within it is not looked at again, so that each segment is joined once.
        while segments.elements.get(at).is_some_and(|next| next.end <= element.end && next.depth > element.depth) {
            at += 1;
        }
        let range = element.begin as usize..element.end as usize;
        let weights = || range.clone().map(|at| weight_of(segments, at) as f32);
        let mean = scores[range.clone()].iter().zip(weights()).map(|(score, weight)| score * weight).sum::<f32>()
            / weights().sum::<f32>();
        // What a sentence announces by its colon belongs to it.
        let announced = match element.begin.checked_sub(1) {
            Some(before) if segments.list[before as usize].shape.last == Some(':') => scores[before as usize] * 0.8,
            _ => 0.0,
        };
        scores[range].fill(mean.max(announced));
    }
    Ok(())
}

/// Code is kept where what it stands beside is: nobody writes code that is not about something.
pub(super) fn code(dom: &Dom<'_>, segments: &Segments, scores: &mut [f32]) {
    for at in 0..scores.len() {
        let element = segments.elements[segments.list[at].element as usize];
        if dom.tag(element.id) != Tag::Pre {
            continue;
        }
        // What holds it alone, to highlight it, say, is not what it stands in.
        let around = first_above(segments, &element, |above| above.begin < element.begin || above.end > element.end);
        scores[at] = scores[at].max(best_beside(scores, &element, &around) * 0.9);
    }
}

/// The call of a footnote is kept where what it stands beside is, and the footnote where it is called.
pub(super) fn notes(
    dom: &Dom<'_>,
    segments: &Segments,
    scores: &mut [f32],
    budget: &Budget<'_>,
) -> Result<(), ExtractError> {
    // A note has this many segments at most.
    const MAX_HELD: u32 = 20;
    let mut calls: HashMap<&str, f32> = HashMap::new();
    for element in segments.elements.iter().filter(|element| dom.tag(element.id) == Tag::A) {
        budget.spend(64)?;
        if let Some(name) = called(dom, element.id) {
            // What parts its text from other text: a paragraph, say.
            let around = first_above(segments, element, |above| above.parts);
            let score = best_beside(scores, element, &around);
            if let Some(held) = scores.get_mut(element.begin as usize..element.end as usize) {
                held.iter_mut().for_each(|own| *own = own.max(score));
            }
            budget.reserve_entry(&mut calls)?;
            let best = calls.entry(name).or_default();
            *best = best.max(score);
        }
    }
    if calls.is_empty() {
        return Ok(());
    }
    for element in segments.elements.iter().filter(|element| dom.tag(element.id) == Tag::Li) {
        budget.spend(64)?;
        let call = dom.attr(element.id, "id").and_then(|name| calls.get(name));
        if let Some(call) = call.filter(|_| element.end - element.begin <= MAX_HELD)
            && let Some(held) = scores.get_mut(element.begin as usize..element.end as usize)
        {
            held.iter_mut().for_each(|own| *own = own.max(call * 0.9));
        }
    }
    Ok(())
}

/// The better score of the two segments beside an element, if they stand in `around` as well; 0 without.
fn best_beside(scores: &[f32], element: &Element, around: &Element) -> f32 {
    let beside = [element.begin.checked_sub(1), Some(element.end)].into_iter().flatten();
    let beside = beside.filter(|at| (around.begin..around.end).contains(at));
    beside.filter_map(|at| scores.get(at as usize)).copied().fold(0.0, f32::max)
}

/// The first of what an element is in that is like this; the body, if none is.
fn first_above(segments: &Segments, element: &Element, is_it: impl Fn(&Element) -> bool) -> Element {
    let mut place = element.parent;
    while !is_it(&segments.elements[place as usize]) && segments.parent(place) != place {
        place = segments.parent(place);
    }
    segments.elements[place as usize]
}

/// The title is kept where what follows it is.
pub(super) fn title(dom: &Dom<'_>, segments: &Segments, scores: &mut [f32]) {
    const MAX_BETWEEN: usize = 2;
    for at in 0..scores.len() {
        let segment = &segments.list[at];
        let element = segments.elements[segment.element as usize];
        let is_title = dom.tag(element.id) == Tag::H1
            && element.within & ASIDE == 0
            && segment.shape.in_title * 2 >= segment.shape.words;
        if is_title {
            let end = scores.len().min(at + 2 + MAX_BETWEEN);
            scores[at] = scores[at..end].iter().copied().fold(0.0, f32::max);
        }
    }
}

/// A heading is kept where what it heads is.
pub(super) fn head(segments: &Segments, scores: &mut [f32]) {
    // Segments between a heading and what it heads, at most: a byline, say.
    const MAX_BETWEEN: usize = 3;
    let mut headed: Option<usize> = None;
    for at in (0..scores.len()).rev() {
        let element = segments.elements[segments.list[at].element as usize];
        if element.within & within::HEADING == 0 {
            headed = Some(at);
        } else if let Some(headed) = headed.filter(|headed| *headed <= at + MAX_BETWEEN) {
            let most = scores[at + 1..=headed].iter().copied().fold(0.0, f32::max);
            scores[at] = scores[at].max(most * 0.9);
        }
    }
}

/// A page of a few words is kept whole, but for what it says itself is around its content: among so few the judge, which has
/// learned from pages of hundreds, cannot tell, and what it leaves out is missed.
pub(super) fn few(segments: &Segments, scores: &mut [f32]) {
    const FEW: u64 = 40;
    const AROUND: u32 = ASIDE | within::NOSCRIPT | within::BUTTON;
    let is_inside = |at: usize| segments.elements[segments.list[at].element as usize].within & AROUND == 0;
    let inside = || (0..scores.len()).filter(|at| is_inside(*at));
    let words: u64 = inside().map(|at| u64::from(segments.list[at].shape.words)).sum();
    if (1..=FEW).contains(&words) {
        for at in inside().collect::<Vec<_>>() {
            scores[at] = 1.0;
        }
    }
}
