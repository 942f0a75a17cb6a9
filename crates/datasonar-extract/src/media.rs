//! What kind of document it is.

/// How a document is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTML, or XHTML read as such.
    Html,
    /// Text as it is.
    Text,
    /// JSON.
    Json,
    /// XML that is not XHTML: feeds, sitemaps.
    Xml,
    /// Not text.
    Unsupported,
}

/// The document's media type, lower-case and without parameters.
pub(crate) fn media_type(content_type: &str) -> Option<String> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    (!kind.is_empty() && !subtype.is_empty()).then_some(essence)
}

/// How to read a document, and the media type it has or seems to have.
pub(crate) fn classify(content_type: Option<&str>, body: &[u8]) -> (Kind, String) {
    let given = content_type.and_then(media_type);
    let signature = signature(body);
    let kind = match given.as_deref() {
        None | Some("application/octet-stream" | "application/unknown" | "unknown/unknown" | "text/unknown") => {
            let (kind, sniffed) = signature.map_or_else(|| sniff(body), |media| (Kind::Unsupported, media));
            return (kind, sniffed.to_owned());
        }
        Some("text/html" | "application/xhtml+xml") => Kind::Html,
        Some("application/json" | "text/json" | "application/manifest+json") => Kind::Json,
        Some("text/xml" | "application/xml") => Kind::Xml,
        Some(media) if media.ends_with("+json") => Kind::Json,
        Some("image/svg+xml") => Kind::Unsupported,
        Some(media) if media.ends_with("+xml") => Kind::Xml,
        Some("application/javascript" | "application/x-ndjson" | "application/yaml" | "application/toml") => Kind::Text,
        Some(media) if media.starts_with("text/") => Kind::Text,
        Some(_) => Kind::Unsupported,
    };
    let given = given.unwrap_or_default();
    match signature {
        Some(media) if kind != Kind::Unsupported => (Kind::Unsupported, media.to_owned()),
        _ => (kind, given),
    }
}

/// The media type of a binary format by its first bytes.
fn signature(body: &[u8]) -> Option<&'static str> {
    const SIGNATURES: [(&[u8], &str); 14] = [
        (b"%PDF-", "application/pdf"),
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
}

/// What a document without a media type looks like.
fn sniff(body: &[u8]) -> (Kind, &'static str) {
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
        _ if (0..start.len()).any(|at| tag(&start[at..])) => (Kind::Html, "text/html"),
        _ => (Kind::Text, "text/plain"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_header_and_by_look() {
        for (content_type, body, kind, media) in [
            (Some("Text/HTML; charset=utf-8"), &b""[..], Kind::Html, "text/html"),
            (Some("text/markdown"), b"# a", Kind::Text, "text/markdown"),
            (Some("application/ld+json"), b"{}", Kind::Json, "application/ld+json"),
            (Some("application/rss+xml"), b"<rss>", Kind::Xml, "application/rss+xml"),
            (Some("image/png"), b"", Kind::Unsupported, "image/png"),
            (Some("text/html"), b"%PDF-1.7", Kind::Unsupported, "application/pdf"),
            (None, b"", Kind::Text, "text/plain"),
            (None, b"hello", Kind::Text, "text/plain"),
            (Some("nonsense"), b" <p>hello", Kind::Html, "text/html"),
            (None, b"[1, 2]", Kind::Json, "application/json"),
            (None, b"<?xml version='1.0'?><feed>", Kind::Xml, "application/xml"),
            (Some("application/octet-stream"), b"\0\x01\x02\x03", Kind::Unsupported, "application/octet-stream"),
            (Some("application/octet-stream"), b"<html>", Kind::Html, "text/html"),
        ] {
            assert_eq!(classify(content_type, body), (kind, media.to_owned()), "{content_type:?} {body:?}");
        }
    }
}
