//! The memory that a page takes, measured: no kind of page, in no format, takes more than it may.
//!
//! Every allocation of this binary is counted by its allocator, so that its tests run one after the other: they are one.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]
#![expect(clippy::print_stdout, reason = "`MEMORY_LIST` lists what each page took")]

mod hostile;
mod pdfs;

use datasonar_extract::{Document, ExtractError, Format, Options, default_memory, extract, extract_within};
use peak_alloc::PeakAlloc;
use url::Url;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// What a page may take beyond its budget: small values that are not counted one by one.
const SLACK: usize = 3 * 1024 * 1024;

/// Every format by itself, and all together.
fn requests() -> Vec<Vec<Format>> {
    let mut requests: Vec<Vec<Format>> = Format::ALL.into_iter().map(|format| vec![format]).collect();
    requests.push(Format::ALL.to_vec());
    requests
}

/// Extracts a page, and tells what came of it and the most that it took.
fn measured(document: &Document<'_>, options: &Options, memory: usize) -> (Result<(), ExtractError>, usize) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let result = extract_within(document, options, memory, &|| false).map(drop);
    (result, HEAP.peak_usage().saturating_sub(before))
}

fn check(
    name: &str,
    content_type: &str,
    body: &[u8],
    formats: &[Format],
    main_content: bool,
    failed: &mut Vec<String>,
) {
    let url: Url = "https://example.com/a/b?c".parse().unwrap();
    let document = Document { url: &url, content_type: Some(content_type), body };
    let options = Options::new(formats.to_vec(), main_content, &[], &[]).unwrap().with_crawl_facts("Datasonar");
    // A budget as small as this is reached by small pages, too: what holds for it holds for any.
    for memory in [16 << 20, 64 << 20] {
        let (result, peak) = measured(&document, &options, memory);
        if std::env::var("MEMORY_LIST").is_ok() {
            println!("{name:24} {formats:?} {} of {}: {result:?}", peak >> 10, memory >> 10);
        }
        if peak > memory + SLACK {
            failed.push(format!("{name} ({content_type}) as {formats:?}: {peak} bytes of {memory}, {result:?}"));
        }
        if let Err(error) = &result {
            let is_expected = matches!(error.code(), "body_too_large" | "decode_error" | "unsupported_content");
            assert!(is_expected, "{name}: {error}");
        }
    }
}

#[test]
fn no_page_takes_more_than_its_budget() {
    // The first page fills tables that last.
    let url: Url = "https://example.com/".parse().unwrap();
    let document = Document { url: &url, content_type: Some("text/html"), body: b"<p class=post>a" };
    let options = Options::new(Format::ALL.to_vec(), true, &[], &[]).unwrap();
    extract(&document, &options, &|| false).unwrap();

    let mut failed = Vec::new();
    for page in hostile::pages(2 * 1024 * 1024) {
        for formats in requests() {
            check(page.name, page.content_type, &page.body, &formats, false, &mut failed);
        }
        check(page.name, page.content_type, &page.body, &Format::ALL, true, &mut failed);
    }
    for seed in 0..hostile::drawn_count() {
        let page = hostile::drawn(seed);
        check(&format!("seed {seed}"), page.content_type, &page.body, &Format::ALL, seed % 2 == 0, &mut failed);
    }
    for page in pdfs::all() {
        check("pdf", "application/pdf", &page, &Format::ALL, true, &mut failed);
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    named_pages_are_refused();
    ordinary_large_pages_are_read();
}

/// The pages that once took more than a gigabyte.
fn named_pages_are_refused() {
    let url: Url = "https://example.com/".parse().unwrap();
    for (content_type, body) in
        [("text/markdown", ">".repeat(5_000_000)), ("application/json", "[".repeat(120) + &"[0],".repeat(1_000_000))]
    {
        let document = Document { url: &url, content_type: Some(content_type), body: body.as_bytes() };
        let options = Options::new(Format::ALL.to_vec(), true, &[], &[]).unwrap();
        let memory = default_memory(body.len());
        let (result, peak) = measured(&document, &options, memory);
        assert!(peak <= memory + SLACK, "{content_type}: {peak}");
        assert!(result.is_err(), "{content_type}");
    }
    let row = format!("<tr>{}</tr>", "<td>1</td>".repeat(1000));
    let table = format!("<table>{}</table>", row.repeat(1000));
    let document = Document { url: &url, content_type: Some("text/html"), body: table.as_bytes() };
    let options = Options::new(Format::ALL.to_vec(), true, &[], &[]).unwrap();
    let memory = default_memory(table.len());
    let (result, peak) = measured(&document, &options, memory);
    assert!(peak <= memory + SLACK, "{peak}, {result:?}");
}

/// Pages as large as they may be by default, of kinds that are no attack.
fn ordinary_large_pages_are_read() {
    let url: Url = "https://example.com/".parse().unwrap();
    for page in hostile::ordinary(10 * 1024 * 1024) {
        for formats in [vec![Format::Markdown], vec![Format::Text, Format::Links]] {
            let document = Document { url: &url, content_type: Some(page.content_type), body: &page.body };
            let options = Options::new(formats, true, &[], &[]).unwrap();
            let (result, peak) = measured(&document, &options, default_memory(page.body.len()));
            if std::env::var("MEMORY_LIST").is_ok() {
                println!("{:24} {} KiB: {result:?}", page.name, peak >> 10);
            }
            assert_eq!(result, Ok(()), "{}", page.name);
        }
    }
}
