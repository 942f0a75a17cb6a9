//! How good and how fast the extraction of main content is, next to others, all in one run.
//!
//! `quality-peers FOLDER`: `FOLDER/html/ID.html.gz` are pages, `FOLDER/truth/ID.json` says of each its `url`, its `page_type`
//! and its `main_content`. Printed are, for each contender, pages per second on the core it runs on (pin it: `taskset -c 0`)
//! and, where it finds main content, word F1 by type of page. Two passes, the faster counts.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    hint::black_box,
    io::Read,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use datasonar_extract::{Content, Document, Format, Options, extract};
use flate2::read::GzDecoder;
use html5ever::{parse_document, tendril::TendrilSink};
use markup5ever_rcdom::RcDom;
use serde_json::Value;
use url::Url;

type Failure = Box<dyn std::error::Error>;

struct Page {
    kind: String,
    url: Url,
    words: HashMap<String, usize>,
    body: Vec<u8>,
    text: String,
}

/// What a contender makes of a page: a text, if it finds one.
type Contender = (&'static str, fn(&Page) -> Option<String>);

const CONTENDERS: [Contender; 9] = [
    ("datasonar, parse + main content + text", |page| ours(page, Format::Text)),
    ("datasonar, parse + main content + markdown", |page| {
        black_box(ours(page, Format::Markdown));
        None
    }),
    ("html5ever, its parse alone", |page| {
        let dom = parse_document(RcDom::default(), Default::default()).from_utf8().one(page.body.as_slice());
        black_box(dom.document.children.borrow().len());
        None
    }),
    ("tl, its parse alone", |page| {
        black_box(tl::parse(&page.text, tl::ParserOptions::default()).map(|dom| dom.nodes().len()).ok());
        None
    }),
    ("lol_html, a bare pass over tokens", |page| {
        let mut rewriter = lol_html::HtmlRewriter::new(lol_html::Settings::new(), |_: &[u8]| {});
        black_box(rewriter.write(&page.body).and_then(|()| rewriter.end()).is_ok());
        None
    }),
    ("htmd, the whole page as markdown", |page| {
        black_box(htmd::convert(&page.text).ok());
        None
    }),
    ("dom_smoothie", |page| {
        let mut readability = dom_smoothie::Readability::new(page.text.as_str(), Some(page.url.as_str()), None).ok()?;
        readability.parse().ok().map(|article| article.text_content.to_string())
    }),
    ("rs-trafilatura", |page| rs_trafilatura::extract(&page.text).ok().map(|found| found.content_text)),
    ("trafilatura", |page| {
        trafilatura::extract(&page.text, &trafilatura::Options::default()).ok().map(|found| found.content_text)
    }),
];

fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).ok_or("usage: quality-peers FOLDER")?;
    let pages = read(Path::new(&folder))?;
    // Some contenders panic on some pages: that page is a miss, and the report is not the place for a trace.
    std::panic::set_hook(Box::new(|_| {}));
    println!("{} pages, {} kB on average", pages.len(), pages.iter().map(|page| page.body.len()).sum::<usize>() / 1000 / pages.len().max(1));
    for (name, contender) in CONTENDERS {
        report(name, contender, &pages);
    }
    Ok(())
}

fn read(folder: &Path) -> Result<Vec<Page>, Failure> {
    let mut names: Vec<_> = fs::read_dir(folder.join("truth"))?.map(|entry| Ok(entry?.path())).collect::<Result<_, Failure>>()?;
    names.sort();
    let page = |path: &std::path::PathBuf| {
        let truth: Value = serde_json::from_slice(&fs::read(path)?)?;
        let id = path.file_stem().ok_or("a file without a name")?.to_string_lossy().into_owned();
        let mut body = Vec::new();
        GzDecoder::new(fs::File::open(folder.join(format!("html/{id}.html.gz")))?).read_to_end(&mut body)?;
        let field = |name: &str| truth[name].as_str().unwrap_or_default().to_owned();
        let url = Url::parse(&field("url")).or_else(|_| Url::parse("https://unknown.example/"))?;
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(Page { kind: field("page_type"), url, words: words(&field("main_content")), body, text })
    };
    names.iter().map(page).collect()
}

fn ours(page: &Page, format: Format) -> Option<String> {
    let options = Options::new(vec![format], true, &[], &[]).ok()?;
    let document = Document { url: &page.url, content_type: Some("text/html"), body: &page.body };
    match extract(&document, &options, &|| false).ok()?.contents.pop()? {
        (_, Content::Text(text)) => Some(text),
        _ => None,
    }
}

fn report(name: &str, contender: fn(&Page) -> Option<String>, pages: &[Page]) {
    let mut least: Vec<Duration> = vec![Duration::MAX; pages.len()];
    let mut kinds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut finds = false;
    for pass in 0..2 {
        for (page, least) in pages.iter().zip(&mut least) {
            let begin = Instant::now();
            let found = catch_unwind(AssertUnwindSafe(|| contender(page))).unwrap_or(None);
            *least = begin.elapsed().min(*least);
            finds |= found.is_some();
            if pass == 0 {
                let score = f1(&words(&found.unwrap_or_default()), &page.words);
                kinds.entry(&page.kind).or_default().push(score);
                kinds.entry("all").or_default().push(score);
            }
        }
    }
    least.sort();
    let whole: f64 = least.iter().map(Duration::as_secs_f64).sum();
    let at = |part: usize| least.get(least.len() * part / 1000).or(least.last()).copied().unwrap_or_default();
    let speed = pages.len() as f64 / whole.max(1e-9);
    println!("{name:44} {speed:6.0} pages/s, p99 {:5.1} ms, most {:5.1} ms", ms(at(990)), ms(at(1000)));
    if finds {
        let mean = |scores: &Vec<f64>| scores.iter().sum::<f64>() / scores.len() as f64;
        let line: Vec<String> = kinds.iter().map(|(kind, scores)| format!("{kind} {:.3}", mean(scores))).collect();
        println!("    F1: {}", line.join(", "));
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn words(text: &str) -> HashMap<String, usize> {
    let mut words = HashMap::new();
    for word in text.split(|next: char| !next.is_alphanumeric() && next != '_').filter(|word| !word.is_empty()) {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
    words
}

fn f1(found: &HashMap<String, usize>, wanted: &HashMap<String, usize>) -> f64 {
    let common: usize = wanted.iter().map(|(word, count)| *count.min(found.get(word).unwrap_or(&0))).sum();
    let all: usize = found.values().sum::<usize>() + wanted.values().sum::<usize>();
    if common == 0 { 0.0 } else { 2.0 * common as f64 / all as f64 }
}
