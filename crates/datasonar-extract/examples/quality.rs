//! How good the main content is, on pages of which it is known: word F1, by type of page.
//!
//! `quality FOLDER [PAGE...]`: `FOLDER/html/ID.html.gz` are pages, `FOLDER/truth/ID.json` says of each its `url`, its `page_type` and its
//! `main_content`. The metric: words (`\w+`, lower case) as multisets; precision and recall against the truth; the mean over
//! pages of F1. Named pages are shown with what is missing and what is too much.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring tool prints, takes the time, and ends with what is wrong"
)]

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use datasonar_extract::{Content, Document, Format, Options, extract};
use flate2::read::GzDecoder;
use serde_json::Value;
use url::Url;

struct Score {
    id: String,
    kind: String,
    f1: f64,
    took: Duration,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("usage: quality FOLDER [PAGE...]");
    let folder = Path::new(&folder);
    let shown: Vec<String> = arguments.collect();
    let mut ids: Vec<String> = fs::read_dir(folder.join("truth"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    ids.sort();
    ids.retain(|id| shown.is_empty() || shown.contains(id));
    let scores: Vec<Score> = ids.into_iter().map(|id| score(folder, id, !shown.is_empty())).collect();
    report(&scores);
}

fn score(folder: &Path, id: String, show: bool) -> Score {
    let truth: Value = serde_json::from_slice(&fs::read(folder.join(format!("truth/{id}.json"))).unwrap()).unwrap();
    let mut body = Vec::new();
    let file = fs::File::open(folder.join(format!("html/{id}.html.gz"))).unwrap();
    GzDecoder::new(file).read_to_end(&mut body).unwrap();
    let text = |field: &str| truth[field].as_str().unwrap_or_default().to_owned();
    let url = Url::parse(&text("url")).unwrap_or_else(|_| "https://unknown.example/".parse().unwrap());
    let options = Options::new(vec![Format::Text], true, &[], &[]).unwrap();
    let document = Document { url: &url, content_type: Some("text/html"), body: &body };
    let begin = Instant::now();
    let extracted = extract(&document, &options, &|| false);
    let took = begin.elapsed();
    let found = match extracted.map(|mut extracted| extracted.contents.pop()) {
        Ok(Some((_, Content::Text(text)))) => text,
        _ => String::new(),
    };
    let (found, wanted) = (words(&found), words(&text("main_content")));
    let common: usize = wanted.iter().map(|(word, count)| *count.min(found.get(word).unwrap_or(&0))).sum();
    let ratio = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let (precision, recall) = (ratio(common, found.values().sum()), ratio(common, wanted.values().sum()));
    let f1 = if common == 0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
    if show {
        println!("{id} {url}\n  precision {precision:.3}, recall {recall:.3}");
        println!("  missing: {}\n  too much: {}", beyond(&wanted, &found), beyond(&found, &wanted));
    }
    Score { id, kind: text("page_type"), f1, took }
}

fn words(text: &str) -> HashMap<String, usize> {
    let mut words = HashMap::new();
    for word in text.split(|next: char| !next.is_alphanumeric() && next != '_').filter(|word| !word.is_empty()) {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
    words
}

/// The words that one has more often than the other.
fn beyond(one: &HashMap<String, usize>, other: &HashMap<String, usize>) -> String {
    let mut words: Vec<(usize, &str)> = one
        .iter()
        .map(|(word, count)| (count.saturating_sub(*other.get(word).unwrap_or(&0)), word.as_str()))
        .filter(|(count, _)| *count > 0)
        .collect();
    words.sort_unstable_by(|a, b| b.cmp(a));
    words.iter().take(60).map(|(count, word)| format!("{word}×{count}")).collect::<Vec<_>>().join(" ")
}

fn report(scores: &[Score]) {
    let mut kinds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for score in scores {
        kinds.entry(&score.kind).or_default().push(score.f1);
        kinds.entry("~ all").or_default().push(score.f1);
    }
    for (kind, of_kind) in kinds {
        println!("{kind:15} {:4} pages, F1 {:.4}", of_kind.len(), of_kind.iter().sum::<f64>() / of_kind.len() as f64);
    }
    let mut took: Vec<Duration> = scores.iter().map(|score| score.took).collect();
    took.sort();
    let whole: f64 = took.iter().map(Duration::as_secs_f64).sum();
    let at = |part: f64| took.get((took.len() as f64 * part) as usize).or(took.last()).copied().unwrap_or_default();
    println!("{:.0} pages/s on one core, p99 {:?}, most {:?}", scores.len() as f64 / whole, at(0.99), at(1.0));
    let mut worst: Vec<&Score> = scores.iter().collect();
    worst.sort_by(|a, b| a.f1.total_cmp(&b.f1));
    for score in worst.iter().take(if scores.len() > 20 { 20 } else { 0 }) {
        println!("  {:.3} {} {}", score.f1, score.kind, score.id);
    }
}
