//! Bounded fuzzing, on any toolchain: documents of our corpus, changed by a generator with a seed, against every target of `fuzzing`; and
//! whatever becomes Markdown reads back as what the other formats say.
//!
//! `FUZZ_SEED` and `FUZZ_ROUNDS` choose others; a failure prints the seed and the target that repeat it, and keeps the input.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

mod fuzzing;
mod pdfs;
mod reread;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    path::Path,
};

use datasonar_extract::{Document, Format, Options, extract};
use url::Url;

/// Rounds over all targets, unless told otherwise.
const ROUNDS: u64 = 150;
/// The longest input, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// A generator of numbers, the same for the same seed (SplitMix64's steps).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }
}

/// Every document to begin with.
fn seeds() -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files: Vec<_> = fs::read_dir(corpus)
        .unwrap()
        .flat_map(|case| fs::read_dir(case.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|file| file.file_stem().is_some_and(|stem| stem == "input"))
        .collect();
    files.sort();
    let mut seeds: Vec<Vec<u8>> = files.into_iter().map(|file| fs::read(file).unwrap()).collect();
    seeds.extend(pdfs::all());
    seeds
}

/// Pieces that mean something to one reader or another.
const PIECES: &[&[u8]] = &[
    b"<table>",
    b"<td rowspan=1000 colspan=20>",
    b"<li>",
    b"</ul>",
    b"<blockquote>",
    b"<b>",
    b"<a href=",
    b"<pre>",
    b"<!--",
    b"-->",
    b"<math>",
    b"<script>",
    b"</p>",
    b"<base href='//x'>",
    b"&#x",
    b"&amp;",
    b"]]>",
    b"<![CDATA[",
    b"\xFF\xFE",
    b"\xEF\xBB\xBF",
    b"\0",
    b"```",
    b"$$",
    b"**",
    b"| - |",
    b"[^1]: ",
    b"\r",
    b"\"",
    b",",
    b"{\"a\":[",
    b"<rss><channel><item>",
    b"<entry><content type='xhtml'>",
    b"stream\n",
    b"endstream",
    b" obj",
    b"<< /Length 99999999999 >>",
    b"/Filter [/FlateDecode /FlateDecode]",
    b"[(",
    b") Tj",
    b"/Type /ObjStm",
    b"9999999999",
    b"-1",
    b"1 0 R",
    b"\xC2\xA0",
    b"\xE2\x80\x8B",
    b"\xF0\x9F\x98\x80",
];

/// A document changed in some places.
fn mutated(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut body = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..1 + numbers.below(12) {
        let at = numbers.below(body.len() + 1);
        let end = (at + numbers.below(64)).min(body.len());
        match numbers.below(7) {
            0 => drop(body.splice(at..at, PIECES[numbers.below(PIECES.len())].iter().copied())),
            1 => drop(body.drain(at..end)),
            2 => {
                let piece = body[at..end].to_vec();
                let times = 1 + numbers.below(200);
                drop(body.splice(at..at, piece.repeat(times)));
            }
            3 => {
                let other = &seeds[numbers.below(seeds.len())];
                let from = numbers.below(other.len() + 1);
                let piece = other[from..(from + numbers.below(2000)).min(other.len())].to_vec();
                drop(body.splice(at..at, piece));
            }
            4 => {
                if let Some(byte) = body.get_mut(at) {
                    *byte = numbers.next() as u8;
                }
            }
            5 => body.truncate(at),
            _ => {
                if let Some(byte) = body.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
        }
    }
    body.truncate(MAX_BYTES);
    body
}

fn setting(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().map_or(or, |value| value.parse().unwrap())
}

/// Runs a check; a failure is told with what repeats it, and with the least of the input that still fails.
fn reported(seed: u64, what: &str, input: Vec<u8>, check: impl Fn(&[u8])) {
    let fails = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| check(input))).is_err();
    if !fails(&input) {
        return;
    }
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let least = least(input, fails);
    set_hook(hook);
    let kept = std::env::temp_dir().join(format!("fuzz-{what}-{seed}"));
    fs::write(&kept, &least).unwrap();
    // It tells what is wrong.
    let _ = fails(&least);
    panic!(
        "{what} fails with FUZZ_SEED={seed}; the least of its input, which {} keeps:\n{}",
        kept.display(),
        String::from_utf8_lossy(&least)
    );
}

/// What is left of an input when nothing more can be taken out of it, in ever smaller pieces, without its passing.
fn least(mut input: Vec<u8>, fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut piece = input.len().next_power_of_two() / 2;
    while piece > 0 {
        let mut at = 0;
        let before = input.len();
        while at < input.len() {
            let mut without = input.clone();
            without.drain(at..(at + piece).min(input.len()));
            if fails(&without) {
                input = without;
            } else {
                at += piece;
            }
        }
        if input.len() == before || piece > 1 {
            piece /= 2;
        }
    }
    input
}

#[test]
fn every_target_holds_for_changed_documents() {
    let seeds = seeds();
    let seed = setting("FUZZ_SEED", 1);
    let mut numbers = Numbers(seed);
    for _ in 0..setting("FUZZ_ROUNDS", ROUNDS) {
        for (name, target) in fuzzing::TARGETS {
            let input = mutated(&seeds, &mut numbers);
            reported(seed, name, input, target);
        }
    }
}

#[test]
fn changed_pages_read_back_as_they_were_meant() {
    let seeds = seeds();
    let url: Url = "https://example.com/a/b?c".parse().unwrap();
    let seed = setting("FUZZ_SEED", 1);
    let mut numbers = Numbers(seed);
    for _ in 0..setting("FUZZ_ROUNDS", ROUNDS) * 4 {
        let input = mutated(&seeds, &mut numbers);
        reported(seed, "reread", input, |input| {
            let document = Document { url: &url, content_type: Some("text/html; charset=utf-8"), body: input };
            let options = Options::new(vec![Format::Text], false, &[], &[]).unwrap();
            if extract(&document, &options, &|| false).is_ok()
                && let Err(difference) = reread::check(&document, false)
            {
                panic!("{difference}");
            }
        });
    }
}
