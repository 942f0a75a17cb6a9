//! Character references: `&amp;`, `&#233;`, `&nbsp`.

use web_atoms::NAMED_ENTITIES;

/// Appends `text` with its character references resolved. In attributes, `&copy=1` is not one.
pub(super) fn decode_into(text: &str, in_attribute: bool, out: &mut String) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let used = match rest.as_bytes().first() {
            Some(b'#') => numeric(rest, out),
            Some(byte) if byte.is_ascii_alphanumeric() => named(rest, in_attribute, out),
            _ => 0,
        };
        if used == 0 {
            out.push('&');
        }
        rest = &rest[used..];
    }
    out.push_str(rest);
}

/// Resolves what follows an ampersand; answers how much of it was used.
fn named(rest: &str, in_attribute: bool, out: &mut String) -> usize {
    const COMMON: [(&str, char); 8] = [
        ("nbsp;", '\u{a0}'),
        ("amp;", '&'),
        ("quot;", '"'),
        ("lt;", '<'),
        ("gt;", '>'),
        ("rsquo;", '\u{2019}'),
        ("mdash;", '\u{2014}'),
        ("apos;", '\''),
    ];
    if let Some((name, character)) = COMMON.iter().find(|(name, _)| rest.starts_with(name)) {
        out.push(*character);
        return name.len();
    }
    let mut best = None;
    for (at, byte) in rest.bytes().enumerate() {
        if !(byte.is_ascii_alphanumeric() || byte == b';') {
            break;
        }
        match NAMED_ENTITIES.get(&rest[..=at]) {
            None => break,
            Some((0, _)) => {}
            Some(&characters) => best = Some((at + 1, characters)),
        }
        if byte == b';' {
            break;
        }
    }
    let Some((len, (first, second))) = best else { return 0 };
    let next = rest.as_bytes().get(len);
    let closed = rest.as_bytes()[len - 1] == b';';
    if in_attribute && !closed && next.is_some_and(|byte| *byte == b'=' || byte.is_ascii_alphanumeric()) {
        return 0;
    }
    out.extend(char::from_u32(first));
    if second != 0 {
        out.extend(char::from_u32(second));
    }
    len
}

fn numeric(rest: &str, out: &mut String) -> usize {
    let (prefix, radix) = match rest.as_bytes().get(1) {
        Some(b'x' | b'X') => (2, 16),
        _ => (1, 10),
    };
    let digits = rest[prefix..].bytes().take_while(|byte| char::from(*byte).is_digit(radix)).count();
    if digits == 0 {
        return 0;
    }
    let value = rest[prefix..prefix + digits].bytes().fold(0u32, |value, byte| {
        value.saturating_mul(radix).saturating_add(char::from(byte).to_digit(radix).unwrap_or(0))
    });
    out.push(character(value));
    let end = prefix + digits;
    end + usize::from(rest.as_bytes().get(end) == Some(&b';'))
}

/// The character of a numeric reference; 0x80 to 0x9F mean windows-1252.
fn character(value: u32) -> char {
    const WINDOWS_1252: [u16; 32] = [
        0x20AC, 0x81, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D,
        0x017D, 0x8F, 0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A,
        0x0153, 0x9D, 0x017E, 0x0178,
    ];
    let value = match value {
        0 => 0xFFFD,
        0x80..=0x9F => u32::from(WINDOWS_1252[(value - 0x80) as usize]),
        value => value,
    };
    char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str, in_attribute: bool) -> String {
        let mut out = String::new();
        decode_into(text, in_attribute, &mut out);
        out
    }

    #[test]
    fn references_are_resolved() {
        for (text, expected) in [
            ("a &amp; b", "a & b"),
            ("&notit; &notin;", "¬it; ∉"),
            ("&#233;&#xE9;&#xe9", "ééé"),
            ("&#150;&#x80;", "–€"),
            ("&#0;&#xD800;&#99999999999;", "\u{fffd}\u{fffd}\u{fffd}"),
            ("AT&T &; &#; &#x; &", "AT&T &; &#; &#x; &"),
            ("&nosuch; &copy 2026", "&nosuch; © 2026"),
            ("&é", "&é"),
        ] {
            assert_eq!(decode(text, false), expected);
        }
    }

    #[test]
    fn attributes_keep_query_parameters() {
        assert_eq!(decode("?a=1&copy=2&amp;b&lt", true), "?a=1&copy=2&b<");
    }
}
