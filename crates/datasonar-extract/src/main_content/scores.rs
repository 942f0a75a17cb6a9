//! Segments → how likely each is content: two steps, the second of which sees what the first says of the surroundings.

use std::collections::HashMap;

use super::{
    columns,
    features::{Features, LEVELS},
    lexicon::Plain,
    page::Type,
    segments::{NO, Segments},
    trees::{CHUNK, Columns, score},
    weights::{first, second},
};
use crate::{ExtractError, budget::Budget};

/// The columns that the second step has besides.
pub(super) const AROUND: [&str; 27] = [
    "s_own",
    "s_prev",
    "s_next",
    "s_prev2",
    "s_next2",
    "s_around",
    "s_far",
    "s_c0",
    "s_c1",
    "s_c2",
    "s_c3",
    "s_c4",
    "s_m0",
    "s_m1",
    "s_m2",
    "s_m3",
    "s_m4",
    "s_path",
    "s_kind",
    "s_page",
    "s_heading",
    "s_item",
    "s_items",
    "s_best",
    "s_before",
    "s_after",
    "s_run",
];

/// Scores the first segments of a page; those beyond `features` get what their like got.
pub(super) fn scores(
    segments: &Segments,
    features: &Features,
    types: &[f32; Type::ALL.len()],
    budget: &Budget<'_>,
) -> Result<Vec<f32>, ExtractError> {
    let base = columns::NAMES.len();
    let n = features.containers.len();
    let mut columns = Columns::new(base + types.len() + AROUND.len());
    let mut before = Vec::with_capacity(n);
    each_chunk(n, features, types, &mut columns, budget, |columns, _| {
        score(&first::TREES, first::BIAS, columns, &mut before);
    })?;
    let around = Around::of(segments, features, &before, budget)?;
    let mut scores = Vec::with_capacity(n);
    each_chunk(n, features, types, &mut columns, budget, |columns, begin| {
        for row in 0..columns.rows {
            for (at, value) in around.row(begin + row).into_iter().enumerate() {
                columns.set(base + types.len() + at, row, value);
            }
        }
        score(&second::TREES, second::BIAS, columns, &mut scores);
    })?;
    Ok(scores)
}

fn each_chunk(
    n: usize,
    features: &Features,
    types: &[f32],
    columns: &mut Columns,
    budget: &Budget<'_>,
    mut each: impl FnMut(&mut Columns, usize),
) -> Result<(), ExtractError> {
    let base = columns::NAMES.len();
    for begin in (0..n).step_by(CHUNK) {
        columns.rows = CHUNK.min(n - begin);
        budget.spend(columns.rows * 4096)?;
        for row in 0..columns.rows {
            let values = &features.rows[(begin + row) * base..(begin + row + 1) * base];
            for (at, value) in values.iter().chain(types).enumerate() {
                columns.set(at, row, *value);
            }
        }
        each(columns, begin);
    }
    Ok(())
}

/// The first step's scores, summed in the ways that the second asks for.
struct Around<'a> {
    segments: &'a Segments,
    features: &'a Features,
    scores: &'a [f32],
    /// Over the segments before: score times weight, and weight.
    mass: Vec<f64>,
    weight: Vec<f64>,
    paths: Means,
    kinds: Means,
    /// By element: the best score in it.
    best: Vec<f32>,
    run: Vec<u32>,
}

type Means = HashMap<u32, (f64, f64), Plain>;

impl<'a> Around<'a> {
    fn of(
        segments: &'a Segments,
        features: &'a Features,
        scores: &'a [f32],
        budget: &Budget<'_>,
    ) -> Result<Self, ExtractError> {
        let n = scores.len();
        let mut around = Self {
            segments,
            features,
            scores,
            mass: Vec::with_capacity(n + 1),
            weight: Vec::with_capacity(n + 1),
            paths: Means::default(),
            kinds: Means::default(),
            best: vec![0.0; segments.elements.len()],
            run: Vec::with_capacity(n),
        };
        let (mut mass, mut weight, mut run) = (0.0, 0.0, 0);
        for (at, &score) in scores.iter().enumerate() {
            budget.spend(256)?;
            around.mass.push(mass);
            around.weight.push(weight);
            around.run.push(run);
            run = if score > 0.5 { run + 1 } else { 0 };
            let own = weight_of(segments, at);
            for (means, key) in [(&mut around.paths, features.paths[at]), (&mut around.kinds, features.kinds[at])] {
                let mean = means.entry(key).or_default();
                mean.0 += f64::from(score) * own;
                mean.1 += own;
            }
            let best = &mut around.best[segments.list[at].element as usize];
            *best = best.max(score);
            mass += f64::from(score) * own;
            weight += own;
        }
        around.mass.push(mass);
        around.weight.push(weight);
        // What holds others comes before them.
        for (at, element) in segments.elements.iter().enumerate().rev() {
            budget.spend(0)?;
            let best = around.best[at];
            let above = &mut around.best[element.parent as usize];
            *above = above.max(best);
        }
        Ok(around)
    }

    fn mean(&self, begin: usize, end: usize) -> f32 {
        let n = self.scores.len();
        let (begin, end) = (begin.min(n), end.min(n));
        ((self.mass[end] - self.mass[begin]) / (self.weight[end] - self.weight[begin]).max(1e-9)) as f32
    }

    fn of_element(&self, place: u32) -> (usize, usize) {
        let element = self.segments.elements[place as usize];
        (element.begin as usize, element.end as usize)
    }

    fn row(&self, at: usize) -> [f32; AROUND.len()] {
        let n = self.scores.len();
        let near =
            |offset: isize| at.checked_add_signed(offset).and_then(|at| self.scores.get(at)).copied().unwrap_or(0.0);
        let whole = self.mass[n].max(1e-9);
        let own = self.scores[at];
        let mut row = [0.0; AROUND.len()];
        row[..5].copy_from_slice(&[own, near(-1), near(1), near(-2), near(2)]);
        row[5] = self.mean(at.saturating_sub(4), at + 5);
        row[6] = self.mean(at.saturating_sub(15), at + 16);
        for (level, &place) in self.features.containers[at].iter().enumerate() {
            let (begin, end) = self.of_element(place);
            row[7 + level] = self.mean(begin, end);
            row[7 + LEVELS + level] = ((self.mass[end.min(n)] - self.mass[begin.min(n)]) / whole) as f32;
        }
        let mean = |means: &Means, key: u32| means.get(&key).map_or(0.0, |(mass, weight)| (mass / weight) as f32);
        row[17] = mean(&self.paths, self.features.paths[at]);
        row[18] = mean(&self.kinds, self.features.kinds[at]);
        row[19] = (whole / self.weight[n]) as f32;
        row[20] = self.scores.get(self.features.headings[at] as usize).copied().unwrap_or(0.5);
        let item = self.features.items[at];
        let of = |place: u32| {
            let (begin, end) = self.of_element(place);
            self.mean(begin, end)
        };
        row[21] = if item == NO { own } else { of(item) };
        row[22] = if item == NO { own } else { of(self.segments.parent(item)) };
        row[23] = self.best[self.features.containers[at][1] as usize];
        row[24] = (self.mass[at] / whole) as f32;
        row[25] = (self.mass[n] - self.mass[at + 1]).ln_1p() as f32;
        row[26] = (self.run[at] as f32).ln_1p();
        row
    }
}

/// How much a segment counts: by its words.
pub(super) fn weight_of(segments: &Segments, at: usize) -> f64 {
    f64::from(segments.list[at].shape.words) + 0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        content::{self, Shown},
        dom,
        main_content::shape::PageWords,
    };

    #[test]
    fn what_stands_around_is_what_the_container_holds_also_deep_within() {
        let html = "<body><div><h1>One</h1><p>two</p><div><p>three</p><div><p>four</p><p>five</p></div></div><p>six</p></div>\
                    <ul><li>seven<li>eight<li>nine</ul><p>ten</p>";
        let budget = Budget::new(&|| false);
        let dom = dom::parse(html, &budget).unwrap();
        let selection = content::seen(&dom, Shown::Folded, &budget).unwrap();
        let segments = Segments::of(&dom, &selection, &PageWords::default(), &budget).unwrap();
        let features = Features::of(&dom, &segments, &budget).unwrap();
        let n = segments.list.len();
        assert_eq!(n, 10);
        let scores: Vec<f32> = (0..n).map(|at| ((at * 7 + 3) % 10) as f32 / 10.0).collect();
        let around = Around::of(&segments, &features, &scores, &budget).unwrap();
        for at in 0..n {
            let row = around.row(at);
            for (level, place) in features.containers[at].into_iter().enumerate() {
                let element = segments.elements[place as usize];
                let held = &scores[element.begin as usize..element.end as usize];
                let mean = held.iter().sum::<f32>() / held.len() as f32;
                assert!(
                    (row[7 + level] - mean).abs() < 1e-6,
                    "the mean of container {level} of {at}: each has one word"
                );
                if level == 1 {
                    assert_eq!(row[23], held.iter().copied().fold(0.0, f32::max), "the best of container 1 of {at}");
                }
            }
        }
    }
}
