//! The code in the guide for receivers (`docs/webhooks.md`) is that of the samples, which are tested.

use std::fs;

use super::{languages::Language, samples};

fn language(fence: &str) -> Option<Language> {
    Some(match fence {
        "python" => Language::Python,
        "js" => Language::Node,
        "go" => Language::Go,
        "ruby" => Language::Ruby,
        "php" => Language::Php,
        "java" => Language::Java,
        "rust" => Language::Rust,
        _ => return None,
    })
}

/// The lines, without the indentation that all share.
fn flush(text: &str, indent: usize) -> String {
    text.lines().map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect()
}

#[test]
fn its_code_is_that_of_the_samples() {
    let guide = fs::read_to_string(samples().join("../../docs/webhooks.md")).unwrap();
    let mut shown = Vec::new();
    // Every other part of the text stands between fences.
    for block in guide.split("```").skip(1).step_by(2) {
        let (fence, code) = block.split_once('\n').unwrap();
        let Some(language) = language(fence) else { continue };
        let sample = fs::read_to_string(samples().join(language.file())).unwrap();
        // A method of Java is shown without the indentation of its class.
        let is_there = [0, 4].into_iter().any(|indent| flush(&sample, indent).contains(code));
        assert!(is_there, "examples/verify/{} does not have this:\n{code}", language.file());
        shown.push(language);
    }
    for language in Language::EACH {
        assert!(shown.contains(&language), "the guide shows nothing in {language:?}");
    }
}
