//! What a page becomes, for reading it; and whether Markdown of a whole corpus reads back.
//!
//! `review [--format NAME] [--whole] [--type MEDIA] FILE...` prints each file's content; `.gz` is undone, and `FOLDER/truth/ID.json`
//! beside `FOLDER/html/ID.html.gz` gives the URL.
//! `review --reread FOLDER` reads the Markdown of every page back with a CommonMark parser and compares text and structure with
//! what was meant; it prints those that differ.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for the eye prints, and ends with what is wrong")]

#[path = "../tests/reread/mod.rs"]
mod reread;

use std::{fs, io::Read, path::Path};

use datasonar_extract::{Content, Document, Format, Options, extract};
use flate2::read::GzDecoder;
use serde_json::Value;
use url::Url;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut format, mut main_content, mut media) = (Format::Markdown, true, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--format" => format = arguments.next().unwrap().parse().unwrap(),
            "--whole" => main_content = false,
            "--type" => media = arguments.next(),
            "--reread" => return reread_all(Path::new(&arguments.next().unwrap()), main_content),
            file => show(Path::new(file), format, main_content, media.as_deref()),
        }
    }
}

/// A file's bytes, and the URL it is known to be of.
fn load(file: &Path) -> (Url, Vec<u8>) {
    let mut body = fs::read(file).unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let mut url = Url::parse(&format!("https://example.com/{name}")).unwrap();
    if let Some(inner) = name.strip_suffix(".gz") {
        let mut inflated = Vec::new();
        GzDecoder::new(body.as_slice()).read_to_end(&mut inflated).unwrap();
        body = inflated;
        let truth = file.with_file_name("../truth").join(inner.replace(".html", ".json"));
        let truth = fs::read(truth).ok().and_then(|truth| serde_json::from_slice::<Value>(&truth).ok());
        url = truth.and_then(|truth| Url::parse(truth["url"].as_str()?).ok()).unwrap_or(url);
    }
    (url, body)
}

fn show(file: &Path, format: Format, main_content: bool, media: Option<&str>) {
    let (url, body) = load(file);
    let options = Options::new(vec![format], main_content, &[], &[]).unwrap();
    let media = media.or_else(|| file.to_string_lossy().ends_with(".html.gz").then_some("text/html"));
    println!("=== {} {url}", file.display());
    match extract(&Document { url: &url, content_type: media, body: &body }, &options, &|| false) {
        Ok(mut extracted) => {
            println!("{}", serde_json::to_string(&extracted.metadata).unwrap());
            match extracted.contents.pop().unwrap().1 {
                Content::Text(text) => println!("{text}"),
                other => println!("{}", serde_json::to_string_pretty(&other).unwrap()),
            }
        }
        Err(error) => println!("{}: {error}", error.code()),
    }
}

fn reread_all(folder: &Path, main_content: bool) {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut wrong = 0;
    for file in &files {
        let (url, body) = load(file);
        let document = Document { url: &url, content_type: Some("text/html"), body: &body };
        if let Err(difference) = reread::check(&document, main_content) {
            wrong += 1;
            println!("{}: {difference}", file.display());
        }
    }
    println!("{} pages, {wrong} read back differently", files.len());
}
