//! What belongs together is kept together: the scores of single segments, made to fit the page's structure.

use std::collections::HashMap;

use super::{
    features::Features,
    lexicon::Plain,
    scores::weight_of,
    segments::{Segments, within},
};
use crate::{
    ExtractError,
    budget::Budget,
    dom::{Dom, Tag},
};

/// What readers say below an article is not the article.
pub(super) fn doubt_comments(features: &Features, scores: &mut [f32]) {
    const DOUBT: f32 = 0.2;
    for (at, score) in scores.iter_mut().enumerate() {
        if features.is_comment(at) {
            *score *= DOUBT;
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
    const AROUND: u32 = within::NAV
        | within::HEADER
        | within::FOOTER
        | within::ASIDE
        | within::HIDDEN
        | within::NOSCRIPT
        | within::DIALOG
        | within::BUTTON;
    let is_inside = |at: usize| segments.elements[segments.list[at].element as usize].within & AROUND == 0;
    let inside = || (0..scores.len()).filter(|at| is_inside(*at));
    let words: u64 = inside().map(|at| u64::from(segments.list[at].shape.words)).sum();
    if (1..=FEW).contains(&words) {
        for at in inside().collect::<Vec<_>>() {
            scores[at] = 1.0;
        }
    }
}
