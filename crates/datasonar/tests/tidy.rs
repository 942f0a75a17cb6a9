//! House rules that the compiler and clippy cannot say.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file longer than this wants a second room.
const MAX_LINES: usize = 600;

/// Which modules of the crate `datasonar` a module may import. A module that is not listed may import none but its own.
const LAYERS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("wake", &[]),
    ("files", &[]),
    ("config", &["files"]),
    ("cpu", &[]),
    ("memory", &[]),
    ("telemetry", &["config"]),
    ("crypto", &["clock"]),
    ("blobs", &["config", "files"]),
    ("fetch", &["clock"]),
    ("render", &["clock", "cpu", "fetch"]),
    ("scrape", &["cpu", "fetch", "clock", "render"]),
    ("crawl", &["clock", "cpu", "fetch"]),
    ("mapper", &["cpu", "crawl", "fetch", "scrape"]),
    ("plans", &["clock", "config"]),
    ("jobs", &["blobs", "clock", "cpu", "crawl", "crypto", "plans", "scrape", "wake"]),
    ("webhook", &["blobs", "clock", "cpu", "crypto", "jobs", "plans", "scrape"]),
    ("people", &["clock", "crypto"]),
    ("schedules", &["clock", "jobs", "scrape", "wake"]),
    ("key_uses", &["clock"]),
    (
        "roles",
        &[
            "blobs",
            "clock",
            "cpu",
            "crawl",
            "crypto",
            "fetch",
            "jobs",
            "people",
            "plans",
            "schedules",
            "scrape",
            "wake",
            "webhook",
        ],
    ),
    (
        "app",
        &[
            "blobs",
            "clock",
            "config",
            "crawl",
            "crypto",
            "jobs",
            "key_uses",
            "mapper",
            "memory",
            "people",
            "plans",
            "schedules",
            "scrape",
            "wake",
            "webhook",
        ],
    ),
    (
        "api",
        &[
            "app",
            "blobs",
            "clock",
            "config",
            "cpu",
            "crawl",
            "crypto",
            "fetch",
            "jobs",
            "key_uses",
            "mapper",
            "memory",
            "plans",
            "schedules",
            "scrape",
            "telemetry",
            "wake",
            "webhook",
        ],
    ),
    (
        "dashboard",
        &["app", "clock", "config", "crypto", "jobs", "people", "plans", "schedules", "scrape", "wake", "webhook"],
    ),
    (
        "serve",
        &[
            "api",
            "app",
            "blobs",
            "clock",
            "config",
            "crawl",
            "crypto",
            "cpu",
            "dashboard",
            "fetch",
            "files",
            "jobs",
            "key_uses",
            "mapper",
            "memory",
            "people",
            "plans",
            "render",
            "roles",
            "schedules",
            "scrape",
            "telemetry",
            "wake",
            "webhook",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file below `crates/*/src` and `sim/src`, with its path from the root and its text.
fn all() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        sources(&entry.unwrap().path().join("src"), &mut found);
    }
    sources(&root().join("sim/src"), &mut found);
    found.retain(|path| !path.ends_with("tests.rs"));
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The part of a file before its unit tests.
fn code(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |tests| &text[..tests])
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    for (name, text) in all() {
        let lines = code(&text).lines().count();
        assert!(lines <= MAX_LINES, "{name} has {lines} lines without its tests; {MAX_LINES} are enough");
        assert!(text.starts_with("//!"), "{name} does not open with what it is for");
    }
}

#[test]
fn imports_point_one_way() {
    let prefix = "crates/datasonar/src/";
    for (name, text) in all() {
        let Some(module) = name.strip_prefix(prefix) else { continue };
        let module = module.split(['/', '.']).next().unwrap();
        if matches!(module, "main" | "lib" | "cli") {
            continue;
        }
        let allowed = LAYERS.iter().find(|(layer, _)| *layer == module).unwrap_or_else(|| {
            panic!("{name}: the module {module} has no place in LAYERS");
        });
        for other in LAYERS.iter().map(|(layer, _)| *layer).chain(["cli"]) {
            let imports = imports(code(&text), other);
            let is_allowed = other == module || allowed.1.contains(&other);
            assert!(is_allowed || !imports, "{name}: {module} must not import {other}");
        }
    }
}

/// Tells whether a file names `crate::module`, alone or within braces.
fn imports(text: &str, module: &str) -> bool {
    let direct = format!("crate::{module}");
    let is_direct = text.match_indices(&direct).any(|(at, found)| {
        !text[at + found.len()..].starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_')
    });
    let in_braces = text.split("use crate::{").skip(1).any(|group| {
        let group = &group[..group.find("};").unwrap_or(group.len())];
        let mut depth = 0;
        let mut item = String::new();
        let mut items = Vec::new();
        for next in group.chars() {
            match next {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => items.push(std::mem::take(&mut item)),
                _ if depth == 0 => item.push(next),
                _ => {}
            }
        }
        items.push(item);
        items.iter().any(|item| item.trim().split("::").next() == Some(module))
    });
    is_direct || in_braces
}

#[test]
fn only_the_net_crate_opens_sockets() {
    let openers = ["TcpStream::connect", "TcpSocket", "UdpSocket", "reqwest::", "ureq::"];
    for (name, text) in all() {
        if name.starts_with("crates/datasonar-net/") {
            continue;
        }
        // The front listens with options that only an unconnected socket has.
        let listens = name == "crates/datasonar/src/serve/http/mod.rs";
        for opener in openers {
            if listens && opener == "TcpSocket" {
                assert!(!code(&text).contains(".connect("), "{name} opens a connection");
                continue;
            }
            assert!(!code(&text).contains(opener), "{name}: {opener} belongs into datasonar-net");
        }
    }
}

#[test]
fn sql_does_not_read_the_clock() {
    let clocks = ["now()", "current_timestamp", "strftime('now'", "datetime('now'", "unixepoch("];
    for (name, text) in all() {
        if !name.starts_with("crates/datasonar-store/src/sqlite/") {
            continue;
        }
        for clock in clocks {
            assert!(!code(&text).to_lowercase().contains(clock), "{name}: the time is passed in, not {clock}");
        }
    }
}
