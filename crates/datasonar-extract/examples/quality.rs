//! How good the main content is, on pages of which it is known: word F1, by type of page; and how fast.
//!
//! `quality FOLDER [--half a|b] [--list] [--speed] [--reread] [--judged FILE] [PAGE...]`: `FOLDER/html/ID.html.gz` are pages, `FOLDER/truth/ID.json` says of each
//! its `url`, its `page_type` and its `main_content`. The metric: words (`\w+`, lower case) as multisets; precision and recall
//! against the truth; the mean over pages of F1.
//!
//! `--half` takes one half of the sites, so that rules can be made on one and tried on the other; `--list` prints every page,
//! the worst first; `--speed` measures the way to markdown, with the bare parser of html5ever beside; `--reread` reads
//! each page's markdown with a CommonMark parser and says where it is not what the other formats say; `--judged` (with the
//! feature `training`) takes the scores of segments from a file, made by models that have not seen the page. Named pages are shown line by line: what is
//! missing (`-`) and what is too much (`+`), with the share of each line's words that the truth has.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring tool prints, takes the time, and ends with what is wrong"
)]

#[path = "../tests/reread/mod.rs"]
mod reread;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use datasonar_extract::{Content, Document, Format, Options, extract};
use flate2::read::GzDecoder;
use html5ever::{parse_document, tendril::TendrilSink};
use markup5ever_rcdom::RcDom;
use serde_json::Value;
use url::Url;

#[derive(Default)]
struct Wanted {
    half: Option<String>,
    list: bool,
    speed: bool,
    reread: bool,
    pages: Vec<String>,
    /// By page: scores of its segments and of types, made elsewhere.
    judged: HashMap<String, (Vec<f32>, [f32; 7])>,
}

struct Page {
    id: String,
    kind: String,
    url: Url,
    truth: String,
    body: Vec<u8>,
}

struct Score {
    id: String,
    kind: String,
    url: Url,
    precision: f64,
    recall: f64,
    f1: f64,
    /// Nothing was found, and there are more than 50 words to be found.
    is_empty: bool,
    took: Duration,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("usage: quality FOLDER [--half a|b] [--list] [--speed] [--reread] [PAGE...]");
    let folder = Path::new(&folder);
    let mut wanted = Wanted::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--half" => wanted.half = arguments.next(),
            "--list" => wanted.list = true,
            "--speed" => wanted.speed = true,
            "--reread" => wanted.reread = true,
            "--judged" => wanted.judged = judged(&arguments.next().expect("--judged FILE")),
            _ => wanted.pages.push(argument),
        }
    }
    let mut ids: Vec<String> = fs::read_dir(folder.join("truth"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    ids.sort();
    ids.retain(|id| wanted.pages.is_empty() || wanted.pages.contains(id));
    let mut pages: Vec<Page> = ids.into_iter().map(|id| read(folder, id)).collect();
    pages.retain(|page| wanted.half.as_deref().is_none_or(|half| half == half_of(page)));
    let scores: Vec<Score> = pages.iter().map(|page| score(page, &wanted)).collect();
    report(&scores, wanted.list);
    if wanted.reread {
        reread(&pages);
    }
    if wanted.speed {
        compare(&pages);
    }
}

/// Which pages' markdown, of the main content or of all, does not read back as what it was made from.
fn reread(pages: &[Page]) {
    let mut differ = 0;
    for page in pages {
        for main_content in [true, false] {
            let document = Document { url: &page.url, content_type: Some("text/html"), body: &page.body };
            if let Err(difference) = reread::check(&document, main_content) {
                differ += 1;
                println!("  {} (main content: {main_content}): {difference:.300}", page.id);
            }
        }
    }
    println!("{differ} of {} documents are not read back as they were meant", 2 * pages.len());
}

fn read(folder: &Path, id: String) -> Page {
    let truth: Value = serde_json::from_slice(&fs::read(folder.join(format!("truth/{id}.json"))).unwrap()).unwrap();
    let mut body = Vec::new();
    let file = fs::File::open(folder.join(format!("html/{id}.html.gz"))).unwrap();
    GzDecoder::new(file).read_to_end(&mut body).unwrap();
    let text = |field: &str| truth[field].as_str().unwrap_or_default().to_owned();
    let url = Url::parse(&text("url")).unwrap_or_else(|_| "https://unknown.example/".parse().unwrap());
    Page { id, kind: text("page_type"), url, truth: text("main_content"), body }
}

/// The half that a page is in, by its site.
fn half_of(page: &Page) -> &'static str {
    let site = page.url.host_str().filter(|host| *host != "unknown.example").unwrap_or(&page.id);
    let site = site.rsplit('.').nth(1).unwrap_or(site);
    if site.bytes().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 2 == 0 {
        "a"
    } else {
        "b"
    }
}

fn text_of(page: &Page, only_main_content: bool) -> String {
    content_of(page, Format::Text, only_main_content)
}

fn content_of(page: &Page, format: Format, only_main_content: bool) -> String {
    let options = Options::new(vec![format], only_main_content, &[], &[]).unwrap();
    let document = Document { url: &page.url, content_type: Some("text/html"), body: &page.body };
    match extract(&document, &options, &|| false).map(|mut extracted| extracted.contents.pop()) {
        Ok(Some((_, Content::Text(text)))) => text,
        _ => String::new(),
    }
}

/// What `training/train.py --judged` wrote: for each page, its scores by models that have not seen its site.
fn judged(path: &str) -> HashMap<String, (Vec<f32>, [f32; 7])> {
    let numbers =
        |value: &Value| value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect();
    let page = |line: &str| {
        let view: Value = serde_json::from_str(line).unwrap();
        let types: Vec<f32> = numbers(&view["types"]);
        (view["id"].as_str().unwrap().to_owned(), (numbers(&view["scores"]), types.try_into().unwrap()))
    };
    fs::read_to_string(path).unwrap().lines().map(page).collect()
}

#[cfg(feature = "training")]
fn judged_text(page: &Page, scores: &[f32], types: &[f32; 7]) -> String {
    let document = Document { url: &page.url, content_type: Some("text/html"), body: &page.body };
    datasonar_extract::judged_text(&document, scores, types).unwrap_or_default()
}

#[cfg(not(feature = "training"))]
fn judged_text(_: &Page, _: &[f32], _: &[f32; 7]) -> String {
    panic!("--judged needs the feature `training`")
}

fn score(page: &Page, wanted: &Wanted) -> Score {
    let show = !wanted.pages.is_empty();
    let begin = Instant::now();
    let text = match wanted.judged.get(&page.id) {
        Some((scores, types)) => judged_text(page, scores, types),
        None => text_of(page, true),
    };
    let took = begin.elapsed();
    let (found, truth) = (words(&text), words(&page.truth));
    let common: usize = truth.iter().map(|(word, count)| *count.min(found.get(word).unwrap_or(&0))).sum();
    let ratio = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let (precision, recall) = (ratio(common, found.values().sum()), ratio(common, truth.values().sum()));
    let f1 = if common == 0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
    if show {
        println!("{} {} {}\n  precision {precision:.3}, recall {recall:.3}", page.id, page.kind, page.url);
        show_lines(page, &text, &found, &truth);
    }
    let is_empty = found.is_empty() && truth.values().sum::<usize>() > 50;
    Score { id: page.id.clone(), is_empty, kind: page.kind.clone(), url: page.url.clone(), precision, recall, f1, took }
}

fn words(text: &str) -> HashMap<String, usize> {
    let mut words = HashMap::new();
    for word in text.split(|next: char| !next.is_alphanumeric() && next != '_').filter(|word| !word.is_empty()) {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
    words
}

/// The page's lines that are missing or too much, in the page's order.
fn show_lines(page: &Page, text: &str, found: &HashMap<String, usize>, wanted: &HashMap<String, usize>) {
    let kept: HashSet<&str> = text.lines().collect();
    let phrases: HashSet<Vec<&str>> =
        page.truth.split_whitespace().collect::<Vec<_>>().windows(3).map(<[&str]>::to_vec).collect();
    for line in text_of(page, false).lines().filter(|line| !line.trim().is_empty()) {
        let split: Vec<&str> = line.split_whitespace().collect();
        let known = split.windows(3).filter(|window| phrases.contains(*window)).count();
        let share = known as f64 / split.len().saturating_sub(2).max(1) as f64;
        let is_wanted = if split.len() < 3 { page.truth.contains(line.trim()) } else { share > 0.5 };
        if is_wanted != kept.contains(line) {
            let line: String = line.chars().take(140).collect();
            println!("  {} {share:.2} {line}", if is_wanted { '-' } else { '+' });
        }
    }
    println!("  missing: {}\n  too much: {}", beyond(wanted, found), beyond(found, wanted));
}

/// The words that one has more often than the other.
fn beyond(one: &HashMap<String, usize>, other: &HashMap<String, usize>) -> String {
    let mut words: Vec<(usize, &str)> = one
        .iter()
        .map(|(word, count)| (count.saturating_sub(*other.get(word).unwrap_or(&0)), word.as_str()))
        .filter(|(count, _)| *count > 0)
        .collect();
    words.sort_unstable_by(|a, b| b.cmp(a));
    words.iter().take(40).map(|(count, word)| format!("{word}×{count}")).collect::<Vec<_>>().join(" ")
}

fn report(scores: &[Score], list: bool) {
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
    let empty: Vec<&str> = scores.iter().filter(|score| score.is_empty).map(|score| score.id.as_str()).collect();
    println!("{} pages without content though their truth has more than 50 words: {}", empty.len(), empty.join(" "));
    if list {
        let mut worst: Vec<&Score> = scores.iter().collect();
        worst.sort_by(|a, b| a.f1.total_cmp(&b.f1));
        for Score { id, kind, url, precision, recall, f1, .. } in worst {
            println!("  {f1:.3} (p {precision:.2} r {recall:.2}) {kind:13} {id} {url}");
        }
    }
}

/// html5ever's parser, alone, on the same pages: decoding and a tree, nothing more.
fn compare(pages: &[Page]) {
    let begin = Instant::now();
    let written: usize = pages.iter().map(|page| content_of(page, Format::Markdown, true).len()).sum();
    let ours = begin.elapsed().as_secs_f64();
    println!("{:.0} pages/s to parse, extract and write markdown ({written} bytes)", pages.len() as f64 / ours);
    let begin = Instant::now();
    let mut nodes = 0;
    for page in pages {
        let dom = parse_document(RcDom::default(), Default::default()).from_utf8().one(page.body.as_slice());
        nodes += dom.document.children.borrow().len();
    }
    let took = begin.elapsed().as_secs_f64();
    println!("{:.0} pages/s for html5ever to parse them ({nodes} roots)", pages.len() as f64 / took);
    println!("{:.2} times as fast as that parse alone", took / ours);
}
