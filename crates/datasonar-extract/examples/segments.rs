//! What the scorer of main content sees of pages, for training it: one line of JSON for each page of a folder.
//!
//! `segments FOLDER`: laid out as for the example `quality`. See `training/README.md`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool prints, and ends with what is wrong")]

use std::{fs, io::Read, path::Path};

use datasonar_extract::{Document, training_view};
use flate2::read::GzDecoder;
use serde_json::Value;
use url::Url;

fn main() {
    let folder = std::env::args().nth(1).expect("usage: segments FOLDER");
    let folder = Path::new(&folder);
    let mut ids: Vec<String> = fs::read_dir(folder.join("truth"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    ids.sort();
    for id in ids {
        let truth: Value = serde_json::from_slice(&fs::read(folder.join(format!("truth/{id}.json"))).unwrap()).unwrap();
        let mut body = Vec::new();
        let file = fs::File::open(folder.join(format!("html/{id}.html.gz"))).unwrap();
        GzDecoder::new(file).read_to_end(&mut body).unwrap();
        let url = truth["url"].as_str().unwrap_or_default();
        let url = Url::parse(url).unwrap_or_else(|_| "https://unknown.example/".parse().unwrap());
        let document = Document { url: &url, content_type: Some("text/html"), body: &body };
        let mut view = training_view(&document).unwrap();
        view["id"] = id.into();
        view["type"] = truth["page_type"].clone();
        view["url"] = url.as_str().into();
        view["truth"] = truth["main_content"].clone();
        println!("{view}");
    }
}
