//! Bytes → text: which encoding, by the rules browsers follow.
//!
//! A byte order mark wins, then the `Content-Type` header, then a `<meta>` near the beginning, then what the bytes look
//! like. Broken bytes become U+FFFD.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252, X_USER_DEFINED};

use crate::{ExtractError, budget::Budget};

/// How far a `<meta>` is looked for: more than the standard's 1,024 bytes, because pages have come to need it.
const PRESCAN_BYTES: usize = 4096;
/// The piece of a page that is decoded at a time, in bytes.
const DECODED_BYTES: usize = 16 * 1024;
/// How much of a page is looked at to guess.
const GUESS_BYTES: usize = 256 * 1024;

/// Decodes a document.
pub(crate) fn decode<'a>(
    body: &'a [u8],
    content_type: Option<&str>,
    top_level_domain: Option<&str>,
    budget: &Budget<'_>,
) -> Result<Cow<'a, str>, ExtractError> {
    let encoding = Encoding::for_bom(body)
        .map(|(encoding, _)| encoding)
        .or_else(|| content_type.and_then(charset_parameter).and_then(|label| Encoding::for_label(label.as_bytes())))
        .or_else(|| prescan(&body[..body.len().min(PRESCAN_BYTES)]))
        .unwrap_or_else(|| guess(body, top_level_domain));
    decode_as(encoding, body, budget)
}

/// Decodes piece by piece, so that the text takes the memory that it needs. What is ASCII or UTF-8 already is not copied.
fn decode_as<'a>(
    encoding: &'static Encoding,
    body: &'a [u8],
    budget: &Budget<'_>,
) -> Result<Cow<'a, str>, ExtractError> {
    let body = match Encoding::for_bom(body) {
        Some((_, len)) => &body[len..],
        None => body,
    };
    let is_text = encoding == UTF_8 || encoding.is_ascii_compatible() && body.is_ascii();
    if is_text && let Ok(text) = std::str::from_utf8(body) {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::new();
    budget.reserve_text(&mut text, body.len() + body.len() / 16)?;
    let mut pieces = body.chunks(DECODED_BYTES).peekable();
    while let Some(piece) = pieces.next() {
        budget.spend(piece.len())?;
        // A byte becomes three bytes at most: the replacement character.
        budget.reserve_text(&mut text, piece.len() * 3 + 32)?;
        let _ = decoder.decode_to_string(piece, &mut text, pieces.peek().is_none());
    }
    budget.shrink(&mut text);
    Ok(Cow::Owned(text))
}

/// The `charset` of a `Content-Type`.
pub(crate) fn charset_parameter(content_type: &str) -> Option<&str> {
    let (_, parameters) = content_type.split_once(';')?;
    charset_in(parameters)
}

/// What follows `charset=` in a text, as a `<meta http-equiv>` has it.
fn charset_in(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let at = rest.as_bytes().windows(7).position(|window| window.eq_ignore_ascii_case(b"charset"))?;
        rest = &rest[at + 7..];
        let Some(value) = rest.trim_start().strip_prefix('=') else { continue };
        let value = value.trim_start();
        return match value.chars().next()? {
            quote @ ('"' | '\'') => value[1..].split(quote).next(),
            _ => value.split(|c: char| c.is_ascii_whitespace() || c == ';').next(),
        };
    }
}

/// The encoding a `<meta>` names, as the standard's prescan finds it.
fn prescan(head: &[u8]) -> Option<&'static Encoding> {
    let head: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut rest = head.as_str();
    loop {
        rest = &rest[rest.find('<')?..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = &comment[comment.find("-->").map_or(comment.len(), |at| at + 3)..];
            continue;
        }
        let is_meta = rest.get(1..5).is_some_and(|name| name.eq_ignore_ascii_case("meta"))
            && rest.as_bytes().get(5).is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b'/');
        rest = &rest[1..];
        if is_meta {
            let end = rest.find('>').unwrap_or(rest.len());
            if let Some(encoding) = meta_charset(&rest[..end]) {
                return Some(encoding);
            }
            rest = &rest[end..];
        }
    }
}

/// The encoding of one `<meta …`. Both forms end in `charset=LABEL`, so one search finds either.
fn meta_charset(tag: &str) -> Option<&'static Encoding> {
    let label = charset_in(tag)?.trim_end_matches(['"', '\'', '/']);
    let encoding = Encoding::for_label(label.as_bytes())?;
    // The tag could be read as ASCII, so it is not what these say.
    Some(if encoding == UTF_16LE || encoding == UTF_16BE {
        UTF_8
    } else if encoding == X_USER_DEFINED {
        WINDOWS_1252
    } else {
        encoding
    })
}

fn guess(body: &[u8], top_level_domain: Option<&str>) -> &'static Encoding {
    let sample = &body[..body.len().min(GUESS_BYTES)];
    match std::str::from_utf8(sample) {
        Ok(_) => return UTF_8,
        // Cut in the middle of a character.
        Err(error) if error.error_len().is_none() => return UTF_8,
        Err(_) => {}
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(sample, true);
    let hint = top_level_domain.map(str::to_ascii_lowercase);
    let hint = hint.as_deref().filter(|tld| tld.bytes().all(|byte| byte.is_ascii_lowercase()) && !tld.is_empty());
    detector.guess(hint.map(str::as_bytes), Utf8Detection::Allow)
}

/// The text without NULs, and with line feeds alone at the ends of lines.
pub(crate) fn normalize<'t>(text: &'t str, budget: &Budget<'_>) -> Result<Cow<'t, str>, ExtractError> {
    if memchr::memchr2(0, b'\r', text.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::new();
    budget.reserve_text(&mut out, text.len())?;
    let mut rest = text;
    while let Some(at) = memchr::memchr2(0, b'\r', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        if rest.as_bytes()[at] == b'\r' && rest.as_bytes().get(at + 1) != Some(&b'\n') {
            out.push('\n');
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(body: &[u8], content_type: Option<&str>) -> String {
        let budget = Budget::new(&|| false);
        decode(body, content_type, None, &budget).unwrap().into_owned()
    }

    #[test]
    fn a_byte_order_mark_wins() {
        assert_eq!(decoded(b"\xEF\xBB\xBF\xC3\xA9", Some("text/html; charset=windows-1252")), "é");
        assert_eq!(decoded(b"\xFF\xFEh\0i\0", Some("text/html; charset=utf-8")), "hi");
    }

    #[test]
    fn the_header_wins_over_meta() {
        let body = b"<meta charset=utf-8>\xE9";
        assert!(decoded(body, Some("text/html; Charset=\"ISO-8859-1\"")).ends_with('é'));
    }

    #[test]
    fn meta_in_either_form_is_found() {
        for meta in [
            "<!-- <meta charset=koi8-r> --><META CHARSET='shift_jis'>",
            "<meta http-equiv=content-type content=\"text/html; charset=shift_jis\">",
            "<meta name=a content=b><meta charset = \"Shift_JIS\"/>",
        ] {
            let body = [meta.as_bytes(), b"\x93\xFA\x96\x7B"].concat();
            assert!(decoded(&body, None).ends_with("日本"), "{meta}");
        }
    }

    #[test]
    fn a_label_no_one_knows_is_guessed_past() {
        assert_eq!(
            decoded("<meta charset=klingon>é".as_bytes(), Some("text/html; charset=none")),
            "<meta charset=klingon>é"
        );
    }

    #[test]
    fn unlabelled_bytes_are_guessed() {
        assert_eq!(decoded("naïve".as_bytes(), None), "naïve");
        let body = b"Der Stra\xDFenl\xE4rm in der N\xE4he h\xF6rt nie auf, sagt die K\xF6chin \xFCber das Men\xFC.";
        assert!(decoded(body, None).contains("Straßenlärm"));
    }

    #[test]
    fn broken_bytes_are_replaced() {
        assert_eq!(decoded(b"a\xFFb", Some("text/html; charset=utf-8")), "a\u{fffd}b");
    }

    #[test]
    fn lines_end_in_line_feeds() {
        let budget = Budget::new(&|| false);
        assert_eq!(normalize("a\r\nb\rc\0d\n", &budget).unwrap(), "a\nb\ncd\n");
    }
}
