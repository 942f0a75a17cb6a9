//! White space.

/// Whether HTML collapses the character.
pub(crate) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\n' | '\t' | '\r' | '\x0C' | '\u{a0}' | '\u{200b}' | '\u{feff}')
}

/// The text with each run of white space as one space, none at the ends.
pub(crate) fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Like [`collapse`], `None` if nothing is left, and at most `max` bytes.
pub(crate) fn clean(text: &str, max: usize) -> Option<String> {
    let mut text = collapse(&text[..text.floor_char_boundary(max.saturating_mul(4))]);
    text.truncate(text.floor_char_boundary(max));
    (!text.is_empty()).then_some(text)
}
