//! Keeping text from being taken for markup.

/// Where a word stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// The first of its line.
    pub(super) first: bool,
    /// In a cell of a table.
    pub(super) in_cell: bool,
    /// On a page with formulas, which stand between dollar signs.
    pub(super) math: bool,
}

/// Appends a word of a paragraph.
pub(super) fn markdown_word(word: &str, place: Place, out: &mut String) {
    if place.first && escape_line_start(word, out) {
        return;
    }
    const MARKS: &[u8] = b"\\`*_[]<&~|$";
    if !word.bytes().any(|byte| MARKS.contains(&byte)) {
        out.push_str(word);
        return;
    }
    let bytes = word.as_bytes();
    let mut ampersand_ends = word.rfind(';');
    for (at, character) in word.char_indices() {
        let next = bytes.get(at + 1).copied();
        let escape = match character {
            '\\' => next.is_none_or(|byte| byte.is_ascii_punctuation()),
            '`' | '*' | '[' | ']' => true,
            '_' => {
                // Between letters it is one of them; between anything else it may be a sign.
                let before = word[..at].chars().next_back().is_some_and(char::is_alphanumeric);
                !(before && word[at + 1..].starts_with(char::is_alphanumeric))
            }
            '<' => next.is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'!' | b'?')),
            '&' => {
                ampersand_ends = ampersand_ends.filter(|end| *end > at);
                ampersand_ends.is_some() && next.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'#')
            }
            '~' => true,
            '|' => place.in_cell,
            '$' => place.math,
            _ => false,
        };
        if escape {
            out.push('\\');
        }
        out.push(character);
    }
}

/// Appends a word of a heading, behind its number signs: nothing begins a block there, but number signs at the end are not kept.
pub(super) fn heading_word(word: &str, place: Place, out: &mut String) {
    if word.bytes().all(|byte| byte == b'#') {
        out.push('\\');
    }
    markdown_word(word, Place { first: false, ..place }, out);
}

/// Escapes what is at the end of `out` and would be markup together with a word that comes right behind: elements part words, too.
pub(super) fn glue(word: &str, out: &mut String) {
    const LOOK: usize = 40;
    let from = out.ceil_char_boundary(out.len().saturating_sub(LOOK));
    let tail = &out[from..];
    let start = from + tail.rfind([' ', '\n']).map_or(0, |at| at + 1);
    let tail = &out[start..];
    let begins = |fits: fn(char) -> bool| word.starts_with(fits);
    // An odd number of backslashes: each pair of them is one that means itself.
    let escaped = |at: usize| tail[..at].bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
    let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
    if tail.ends_with('<') && begins(|next| next.is_ascii_alphabetic() || matches!(next, '/' | '!' | '?')) {
        let at = tail.len() - 1;
        if !escaped(at) {
            out.insert(start + at, '\\');
        }
    } else if let Some(at) = tail.rfind('&').filter(|at| !escaped(*at)) {
        let is_name = tail[at + 1..].bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'#');
        if is_name && word.contains(';') {
            out.insert(start + at, '\\');
        }
    } else if (1..=9).contains(&digits) && digits == tail.len() && begins(|next| matches!(next, '.' | ')')) {
        // A number would begin a list, unless there are words before it.
        let line = &out[out[..start].rfind('\n').map_or(0, |at| at + 1)..start];
        if line.bytes().all(|byte| matches!(byte, b' ' | b'>' | b'-' | b'*' | b'.' | b')' | b'0'..=b'9')) {
            out.push('\\');
        }
    }
}

/// Escapes what would begin a block; answers whether it wrote the word.
fn escape_line_start(word: &str, out: &mut String) -> bool {
    let all = |wanted: u8| word.bytes().all(|byte| byte == wanted);
    if all(b'#') && word.len() <= 6 || all(b'-') || all(b'=') || word == "+" {
        out.push('\\');
        out.push_str(word);
        return true;
    }
    // Under a line of text, it would make a table of both.
    if word.len() > 1 && word.contains('-') && word.bytes().all(|byte| matches!(byte, b'|' | b':' | b'-')) {
        out.push('\\');
        out.push_str(word);
        return true;
    }
    if word.starts_with('>') {
        out.push('\\');
        return false;
    }
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    if (1..=9).contains(&digits) && matches!(&word[digits..], "." | ")") {
        out.push_str(&word[..digits]);
        out.push('\\');
        out.push_str(&word[digits..]);
        return true;
    }
    false
}

/// Longer than the name of any character.
const NAME: usize = 40;

/// Appends the destination of a Markdown link.
pub(super) fn markdown_url(url: &str, out: &mut String) {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'#';
    for (at, character) in url.char_indices() {
        match character {
            // With what follows, it would be read as a character's name.
            '&' if url.as_bytes()[at + 1..].iter().take(NAME).find(|byte| !is_name(byte)) == Some(&b';') => {
                out.push_str("&amp;");
            }
            '(' => out.push_str("%28"),
            ')' => out.push_str("%29"),
            '<' => out.push_str("%3C"),
            '>' => out.push_str("%3E"),
            ' ' => out.push_str("%20"),
            '|' => out.push_str("%7C"),
            '\\' => out.push_str("%5C"),
            '[' => out.push_str("%5B"),
            ']' => out.push_str("%5D"),
            '`' => out.push_str("%60"),
            '"' => out.push_str("%22"),
            '^' => out.push_str("%5E"),
            '{' => out.push_str("%7B"),
            '}' => out.push_str("%7D"),
            character => out.push(character),
        }
    }
}

/// Appends text of HTML.
pub(super) fn html_text(text: &str, out: &mut String) {
    escape_html(text, false, out);
}

/// Appends an attribute's value of HTML, to stand in double quotes.
pub(super) fn html_value(value: &str, out: &mut String) {
    escape_html(value, true, out);
}

fn escape_html(text: &str, in_value: bool, out: &mut String) {
    let mut begin = 0;
    for (at, byte) in text.bytes().enumerate() {
        let reference = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' if in_value => "&quot;",
            _ => continue,
        };
        out.push_str(&text[begin..at]);
        out.push_str(reference);
        begin = at + 1;
    }
    out.push_str(&text[begin..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        for (word, first, expected) in [
            ("plain", true, "plain"),
            ("snake_case", false, "snake_case"),
            ("_init_", false, "\\_init\\_"),
            ("2*3", false, "2\\*3"),
            ("[1]", false, "\\[1\\]"),
            ("a<b", false, "a\\<b"),
            ("<3", false, "<3"),
            ("&amp;", false, "\\&amp;"),
            ("R&D", false, "R&D"),
            ("#", true, "\\#"),
            ("#1", true, "#1"),
            ("---", true, "\\---"),
            ("-", false, "-"),
            ("12.", true, "12\\."),
            ("3.5", true, "3.5"),
            (">x", true, "\\>x"),
        ] {
            let mut out = String::new();
            markdown_word(word, Place { first, ..Place::default() }, &mut out);
            assert_eq!(out, expected);
        }
    }
}
