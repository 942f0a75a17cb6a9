//! Pages written for the purpose, and the Markdown that they must become: `corpus/CASE/input.*` and `expected.md`.
//!
//! `case.json` beside them says what is not as usual: `url`, `content_type`, `only_main_content`, `include_selectors`,
//! `exclude_selectors`. `just bless` (`INSTA_UPDATE=always`) writes what is read now; look at it with `git diff`.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, with what differs printed")]

mod reread;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use datasonar_extract::{Content, Document, Format, Options, extract};
use serde_json::Value;
use url::Url;

/// What one case is extracted from, and how.
struct Case {
    name: String,
    folder: PathBuf,
    body: Vec<u8>,
    url: Url,
    content_type: String,
    options: Options,
}

fn cases() -> Vec<Case> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut folders: Vec<PathBuf> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    folders.into_iter().map(load).collect()
}

fn load(folder: PathBuf) -> Case {
    let mut files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let input = files.find(|file| file.file_stem().is_some_and(|stem| stem == "input")).unwrap();
    let said = fs::read(folder.join("case.json")).map_or(Value::Null, |json| serde_json::from_slice(&json).unwrap());
    let list = |key: &str| -> Vec<String> {
        said[key].as_array().into_iter().flatten().map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    let main_content = said["only_main_content"].as_bool().unwrap_or(true);
    let (include, exclude) = (list("include_selectors"), list("exclude_selectors"));
    let options = Options::new(vec![Format::Markdown], main_content, &include, &exclude).unwrap();
    Case {
        name: folder.file_name().unwrap().to_string_lossy().into_owned(),
        body: fs::read(input).unwrap(),
        url: said["url"].as_str().unwrap_or("https://harbour.example/docs/page").parse().unwrap(),
        content_type: said["content_type"].as_str().unwrap_or("text/html").to_owned(),
        options,
        folder,
    }
}

impl Case {
    fn document(&self) -> Document<'_> {
        Document { url: &self.url, content_type: Some(&self.content_type), body: &self.body }
    }

    fn markdown(&self) -> String {
        match extract(&self.document(), &self.options, &|| false).unwrap().contents.pop().unwrap().1 {
            Content::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }
}

/// Lines that differ, with those around them.
fn difference(expected: &str, read: &str) -> String {
    let (expected, read): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), read.lines().collect());
    let same = expected.iter().zip(&read).take_while(|(one, other)| one == other).count();
    let rest = expected.len().min(read.len()) - same;
    let tail = expected.iter().rev().zip(read.iter().rev()).take(rest).take_while(|(one, other)| one == other).count();
    let mut out = String::new();
    for line in &expected[same.saturating_sub(3)..same] {
        let _ = writeln!(out, "    {line}");
    }
    for line in &expected[same..expected.len() - tail] {
        let _ = writeln!(out, "  - {line}");
    }
    for line in &read[same..read.len() - tail] {
        let _ = writeln!(out, "  + {line}");
    }
    for line in expected[expected.len() - tail..].iter().take(3) {
        let _ = writeln!(out, "    {line}");
    }
    out
}

#[test]
fn pages_become_what_is_expected() {
    let bless = std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always");
    let mut wrong = 0;
    for case in cases() {
        let read = case.markdown();
        let file = case.folder.join("expected.md");
        if bless {
            fs::write(&file, &read).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if read != expected {
            wrong += 1;
            eprintln!("corpus/{}:\n{}", case.name, difference(&expected, &read));
        }
    }
    assert_eq!(wrong, 0, "cases differ from what is expected (- expected, + read); `just bless` accepts them");
}

#[test]
fn there_are_enough_and_of_every_type() {
    let names: Vec<String> = cases().into_iter().map(|case| case.name).collect();
    assert!(names.len() >= 40, "{} cases", names.len());
    for kind in ["article", "documentation", "product", "collection", "listing", "forum", "service"] {
        assert!(names.contains(&format!("type-{kind}")), "no page of the type {kind}");
    }
}

#[test]
fn every_format_agrees_and_markdown_reads_back() {
    // Markdown that is kept as it is may be anything.
    for case in cases().into_iter().filter(|case| case.name != "markdown-source" && case.name != "selectors") {
        for main_content in [true, false] {
            if let Err(difference) = reread::check(&case.document(), main_content) {
                panic!("corpus/{}: {difference}", case.name);
            }
        }
    }
}
