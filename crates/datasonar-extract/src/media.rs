//! What kind of document it is.

/// How a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTML, or XHTML read as such.
    Html,
    /// Text as it is.
    Text,
    /// Text of a language, named as code blocks name it.
    Code(&'static str),
    /// Markdown.
    Markdown,
    /// Rows of values, parted by a character.
    Delimited(char),
    /// JSON.
    Json,
    /// XML that is not XHTML: feeds, sitemaps.
    Xml,
    /// PDF.
    Pdf,
    /// Not text.
    Unsupported,
}

/// The document's media type, lower-case and without parameters.
pub(crate) fn media_type(content_type: &str) -> Option<String> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    (!kind.is_empty() && !subtype.is_empty()).then_some(essence)
}

/// How to read a document, and the media type it has or seems to have. `path` is its URL's.
pub(crate) fn classify(content_type: Option<&str>, path: &str, body: &[u8]) -> (Kind, String) {
    let given = content_type.and_then(media_type);
    let signature = signature(body);
    let kind = match given.as_deref() {
        None
        | Some(
            "application/octet-stream"
            | "binary/octet-stream"
            | "application/unknown"
            | "unknown/unknown"
            | "text/unknown"
            | "application/force-download"
            | "application/download",
        ) => {
            let (kind, sniffed) = signature.unwrap_or_else(|| sniff(path, body));
            return (kind, sniffed.to_owned());
        }
        // What says so and is none may be a page that explains why.
        Some("application/pdf" | "application/x-pdf" | "application/acrobat" | "text/pdf") => {
            let (kind, sniffed) = signature.unwrap_or_else(|| sniff(path, body));
            return (kind, sniffed.to_owned());
        }
        Some("text/html" | "application/xhtml+xml" | "application/vnd.wap.xhtml+xml") => Kind::Html,
        Some("application/json" | "text/json" | "application/manifest+json") => Kind::Json,
        Some("text/xml" | "application/xml") => Kind::Xml,
        Some("text/markdown" | "text/x-markdown") => Kind::Markdown,
        Some("text/csv" | "application/csv") => Kind::Delimited(','),
        Some("text/tab-separated-values") => Kind::Delimited('\t'),
        Some(media) if media.ends_with("+json") => Kind::Json,
        Some("image/svg+xml") => Kind::Unsupported,
        Some(media) if media.ends_with("+xml") => Kind::Xml,
        Some("text/plain") => by_path(path).unwrap_or(Kind::Text),
        Some(media) => match language_of(media) {
            Some(language) => Kind::Code(language),
            None if media.starts_with("text/") => by_path(path).unwrap_or(Kind::Text),
            None => Kind::Unsupported,
        },
    };
    let given = given.unwrap_or_default();
    match (signature, kind) {
        (Some((known, media)), kind) if kind != Kind::Unsupported => (known, media.to_owned()),
        (_, Kind::Html) if is_feed(body) => (Kind::Xml, given),
        (_, Kind::Xml) if given != "application/rss+xml" && is_xhtml(body) => (Kind::Html, given),
        _ => (kind, given),
    }
}

/// The language of text that people read as it is, by its media type.
fn language_of(media: &str) -> Option<&'static str> {
    Some(match media {
        "application/javascript" | "text/javascript" | "application/x-javascript" | "application/ecmascript" => {
            "javascript"
        }
        "application/typescript" | "text/typescript" => "typescript",
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => "yaml",
        "application/toml" => "toml",
        "application/x-ndjson" | "application/jsonl" | "application/json-lines" => "json",
        "application/x-sh" | "text/x-shellscript" | "text/x-sh" => "sh",
        "application/sql" | "text/x-sql" => "sql",
        "application/x-python" | "text/x-python" => "python",
        "text/css" => "css",
        "text/x-c" | "text/x-csrc" | "text/x-chdr" => "c",
        "text/x-c++" | "text/x-c++src" => "cpp",
        "text/x-java" | "text/x-java-source" => "java",
        "text/x-rust" | "text/rust" => "rust",
        "text/x-go" => "go",
        "text/x-ruby" => "ruby",
        "text/x-diff" | "text/x-patch" => "diff",
        "application/x-tex" | "text/x-tex" => "tex",
        _ => return None,
    })
}

/// How to read text of no particular kind, by the name of its file.
fn by_path(path: &str) -> Option<Kind> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let (_, extension) = name.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "md" | "markdown" => Kind::Markdown,
        "csv" => Kind::Delimited(','),
        "tsv" => Kind::Delimited('\t'),
        "rs" => Kind::Code("rust"),
        "py" => Kind::Code("python"),
        "js" | "mjs" | "cjs" => Kind::Code("javascript"),
        "ts" => Kind::Code("typescript"),
        "c" | "h" => Kind::Code("c"),
        "cc" | "cpp" | "hpp" => Kind::Code("cpp"),
        "go" => Kind::Code("go"),
        "java" => Kind::Code("java"),
        "rb" => Kind::Code("ruby"),
        "php" => Kind::Code("php"),
        "sh" => Kind::Code("sh"),
        "sql" => Kind::Code("sql"),
        "css" => Kind::Code("css"),
        "toml" => Kind::Code("toml"),
        "yml" | "yaml" => Kind::Code("yaml"),
        "diff" | "patch" => Kind::Code("diff"),
        "jsonl" | "ndjson" => Kind::Code("json"),
        "tex" => Kind::Code("tex"),
        _ => return None,
    })
}

/// The beginning of a document, where its first element is.
fn head_of(body: &[u8]) -> &[u8] {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
    &body[..body.len().min(1024)]
}

fn has(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

/// Whether a page is a feed whose server calls it HTML.
fn is_feed(body: &[u8]) -> bool {
    let head = head_of(body);
    let begins = |name: &[u8]| head.starts_with(name);
    begins(b"<rss")
        || begins(b"<feed")
        || begins(b"<?xml") && !has(head, b"<html") && {
            has(head, b"<rss") || has(head, b"<feed ") || has(head, b"<rdf:RDF")
        }
}

/// Whether XML is a page.
fn is_xhtml(body: &[u8]) -> bool {
    let head = head_of(body);
    (head.starts_with(b"<?xml") || head.starts_with(b"<!DOCTYPE html") || head.starts_with(b"<html"))
        && has(head, b"<html")
        && has(head, b"http://www.w3.org/1999/xhtml")
}

/// The kind and media type of a binary format by its first bytes.
fn signature(body: &[u8]) -> Option<(Kind, &'static str)> {
    // Readers look for it in the first kilobyte; what comes before may be anything but markup.
    let head = &body[..body.len().min(1024)];
    if head.starts_with(b"%PDF-") || !head.trim_ascii_start().starts_with(b"<") && has(head, b"%PDF-1.") {
        return Some((Kind::Pdf, "application/pdf"));
    }
    const SIGNATURES: [(&[u8], &str); 13] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"\xFF\xD8\xFF", "image/jpeg"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x1F\x8B\x08", "application/gzip"),
        (b"\x28\xB5\x2F\xFD", "application/zstd"),
        (b"7z\xBC\xAF\x27\x1C", "application/x-7z-compressed"),
        (b"Rar!\x1A\x07", "application/vnd.rar"),
        (b"\x7FELF", "application/x-executable"),
        (b"wOFF", "font/woff"),
        (b"wOF2", "font/woff2"),
        (b"OggS\0", "application/ogg"),
    ];
    let known = SIGNATURES.iter().find(|(bytes, _)| body.starts_with(bytes)).map(|(_, media)| *media);
    let riff = || body.starts_with(b"RIFF") && body.get(8..12) == Some(b"WEBP");
    known
        .or_else(|| riff().then_some("image/webp"))
        .or_else(|| (body.get(4..8) == Some(b"ftyp")).then_some("video/mp4"))
        .map(|media| (Kind::Unsupported, media))
}

/// What a document without a media type looks like.
fn sniff(path: &str, body: &[u8]) -> (Kind, &'static str) {
    let has_mark = body.starts_with(b"\xFF\xFE") || body.starts_with(b"\xFE\xFF") || body.starts_with(b"\xEF\xBB\xBF");
    if has_mark && body[0] != 0xEF {
        return (Kind::Html, "text/html");
    }
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let head = &body[..body.len().min(2048)];
    let controls = head.iter().filter(|byte| matches!(byte, 0..=8 | 0x0E..=0x1A | 0x1C..=0x1F)).count();
    if controls > head.len() / 32 {
        return (Kind::Unsupported, "application/octet-stream");
    }
    let start = head.trim_ascii_start();
    let has = |needle: &[u8]| head.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle));
    let tag = |at: &[u8]| {
        at.first() == Some(&b'<') && at.get(1).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'!')
    };
    match start.first() {
        Some(b'<') if start.starts_with(b"<?xml") || start.starts_with(b"<rss") || start.starts_with(b"<feed") => {
            if has(b"<html") { (Kind::Html, "application/xhtml+xml") } else { (Kind::Xml, "application/xml") }
        }
        Some(b'{' | b'[') if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() => {
            (Kind::Json, "application/json")
        }
        _ => match by_path(path) {
            Some(kind) => (kind, "text/plain"),
            None if (0..start.len()).any(|at| tag(&start[at..])) => (Kind::Html, "text/html"),
            None => (Kind::Text, "text/plain"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_header_and_by_look() {
        for (content_type, body, kind, media) in [
            (Some("Text/HTML; charset=utf-8"), &b""[..], Kind::Html, "text/html"),
            (Some("text/markdown"), b"# a", Kind::Markdown, "text/markdown"),
            (Some("application/ld+json"), b"{}", Kind::Json, "application/ld+json"),
            (Some("application/rss+xml"), b"<rss>", Kind::Xml, "application/rss+xml"),
            (Some("image/png"), b"", Kind::Unsupported, "image/png"),
            (Some("text/html"), b"%PDF-1.7", Kind::Pdf, "application/pdf"),
            (Some("application/octet-stream"), b"\n\n%PDF-1.4", Kind::Pdf, "application/pdf"),
            (Some("application/pdf"), b"<html><p>Log in", Kind::Html, "text/html"),
            (Some("text/html"), b"<?xml version='1.0'?><rss>", Kind::Xml, "text/html"),
            (
                Some("text/xml"),
                b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'>",
                Kind::Html,
                "text/xml",
            ),
            (Some("text/csv"), b"a,b", Kind::Delimited(','), "text/csv"),
            (Some("text/css"), b"a {}", Kind::Code("css"), "text/css"),
            (None, b"", Kind::Text, "text/plain"),
            (None, b"hello", Kind::Text, "text/plain"),
            (Some("nonsense"), b" <p>hello", Kind::Html, "text/html"),
            (None, b"[1, 2]", Kind::Json, "application/json"),
            (None, b"<?xml version='1.0'?><feed>", Kind::Xml, "application/xml"),
            (Some("application/octet-stream"), b"\0\x01\x02\x03", Kind::Unsupported, "application/octet-stream"),
            (Some("application/octet-stream"), b"<html>", Kind::Html, "text/html"),
        ] {
            assert_eq!(classify(content_type, "/", body), (kind, media.to_owned()), "{content_type:?} {body:?}");
        }
    }
}
