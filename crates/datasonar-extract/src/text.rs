//! White space.

/// Whether the character parts words, or is nothing to see.
pub(crate) fn is_space(character: char) -> bool {
    character.is_whitespace() || is_unseen(character)
}

/// Whether the character is nothing to see, and parts no words: it only says where a line may be broken.
pub(crate) fn is_unseen(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}')
}

/// The text with each run of white space as one space, none at the ends.
pub(crate) fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut space = false;
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(is_space).unwrap_or(rest.len());
        if word > 0 {
            if space && !out.is_empty() {
                out.push(' ');
            }
            space = false;
            out.push_str(&rest[..word]);
            rest = &rest[word..];
        }
        let spaces = rest.find(|character| !is_space(character)).unwrap_or(rest.len());
        space |= rest[..spaces].chars().any(|character| !is_unseen(character));
        rest = &rest[spaces..];
    }
    out
}

/// Like [`collapse`], `None` if nothing is left, and at most `max` bytes.
pub(crate) fn clean(text: &str, max: usize) -> Option<String> {
    let mut text = collapse(&text[..text.floor_char_boundary(max.saturating_mul(4))]);
    text.truncate(text.floor_char_boundary(max));
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_collapses_and_what_is_unseen_goes() {
        assert_eq!(collapse(" a\u{a0}\u{202f}\n b\u{200b}c\u{ad}d \u{feff}"), "a bcd");
        assert_eq!(clean("\u{200b} \n", 10), None);
        assert_eq!(clean("ab cd", 4).as_deref(), Some("ab c"));
    }
}
