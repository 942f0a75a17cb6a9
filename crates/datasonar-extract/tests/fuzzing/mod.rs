//! What is to hold of any bytes, as functions of bytes. `tests/fuzz.rs` drives them on any toolchain, by a mutator with a seed over
//! our own corpus; `fuzz/` by libFuzzer, for whoever has a nightly compiler.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use datasonar_extract::{Content, Document, ExtractError, Format, Options, extract};
use url::Url;

/// How long after it was told to stop extraction may go on: machines that test are busy.
const GRACE: Duration = Duration::from_secs(2);
/// How many times as large as its document content may be: every link may get a long base, every line a prefix.
const MAX_GROWTH: usize = 512;

/// A target: its name, and what must hold.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const TARGETS: [Target; 11] = [
    ("html", |bytes| holds(bytes, "text/html; charset=utf-8")),
    ("xml", |bytes| holds(bytes, "application/xml")),
    ("json", |bytes| holds(bytes, "application/json")),
    ("text", |bytes| holds(bytes, "text/plain")),
    ("markdown", |bytes| holds(bytes, "text/markdown")),
    ("csv", |bytes| holds(bytes, "text/csv")),
    ("pdf", |bytes| holds(bytes, "application/pdf")),
    ("rss", |bytes| holds(bytes, "application/rss+xml")),
    ("atom", |bytes| holds(bytes, "application/atom+xml")),
    ("json_feed", |bytes| holds(bytes, "application/feed+json")),
    ("sniffed", |bytes| holds(bytes, "application/octet-stream")),
];

/// Extracts every format: no panic, a clear outcome, in time, within bounds.
fn holds(body: &[u8], content_type: &str) {
    let url: Url = "https://example.com/a/b?c".parse().expect("a URL");
    let document = Document { url: &url, content_type: Some(content_type), body };
    for main_content in [true, false] {
        let options = Options::new(Format::ALL.to_vec(), main_content, &[], &["nav".to_owned()]).expect("a selector");
        #[expect(clippy::disallowed_methods, reason = "a deadline is of the machine's time")]
        let begin = Instant::now();
        let stopped = Cell::new(None);
        let stop = || {
            let is_late = begin.elapsed() > Duration::from_secs(5);
            if is_late && stopped.get().is_none() {
                stopped.set(Some(begin.elapsed()));
            }
            is_late
        };
        let outcome = extract(&document, &options, &stop);
        if let Some(at) = stopped.get() {
            assert!(begin.elapsed() < at + GRACE, "went on for {:?} after it was told to stop", begin.elapsed() - at);
        }
        match outcome {
            Ok(extracted) => {
                assert_eq!(extracted.contents.len(), Format::ALL.len());
                for (format, content) in &extracted.contents {
                    let len = match content {
                        Content::Text(text) => text.len(),
                        other => serde_json::to_string(other).expect("JSON").len(),
                    };
                    assert!(len <= body.len() * MAX_GROWTH + 65_536, "{format}: {len} bytes of {}", body.len());
                }
            }
            Err(
                ExtractError::Stopped
                | ExtractError::TooLarge { .. }
                | ExtractError::UnsupportedContent { .. }
                | ExtractError::Decode { .. },
            ) => {}
        }
    }
}
