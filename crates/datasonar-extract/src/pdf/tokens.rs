//! The tokens of content streams and of character maps. Nothing here nests: brackets are tokens, too.

/// A piece of a content stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    Number(f32),
    Text(Vec<u8>),
    Name(&'a [u8]),
    /// `[` or `<<`.
    Open,
    /// `]` or `>>`.
    Close,
    Operator(&'a [u8]),
}

/// Reads tokens off a stream that was decoded.
pub(super) struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | b'\x0C' | b'\r' | b' ')
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%')
}

impl<'a> Tokens<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How much was read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            match byte {
                byte if is_space(byte) => self.at += 1,
                b'%' => {
                    let rest = &self.bytes[self.at..];
                    self.at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                }
                _ => break,
            }
        }
        let byte = self.bytes[self.at];
        let next = self.bytes.get(self.at + 1).copied();
        let token = match byte {
            b'(' => Token::Text(self.literal()),
            b'<' if next == Some(b'<') => self.sign(2, Token::Open),
            b'>' if next == Some(b'>') => self.sign(2, Token::Close),
            b'<' => Token::Text(self.hexadecimal()),
            b'[' | b'{' => self.sign(1, Token::Open),
            b']' | b'}' | b'>' | b')' => self.sign(1, Token::Close),
            b'/' => {
                self.at += 1;
                Token::Name(self.word())
            }
            _ => {
                let word = self.word();
                number(word).map_or(Token::Operator(word), Token::Number)
            }
        };
        Some(token)
    }

    /// Skips an image that stands in the stream: its data ends in `EI` between white space.
    pub(super) fn skip_image(&mut self) {
        let rest = &self.bytes[self.at..];
        let ends = |at: &usize| {
            let around = |at: Option<&u8>| at.is_none_or(|byte| is_space(*byte));
            *at > 0 && around(rest.get(at - 1)) && around(rest.get(at + 2))
        };
        let end = memchr::memmem::find_iter(rest, b"EI").find(ends);
        self.at += end.map_or(rest.len(), |at| at + 2);
    }

    fn sign(&mut self, len: usize, token: Token<'a>) -> Token<'a> {
        self.at += len;
        token
    }

    fn word(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|byte| is_space(*byte) || is_delimiter(*byte)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn literal(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut depth = 0u32;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'(' => {
                    depth += 1;
                    if depth == 1 {
                        continue;
                    }
                }
                b')' => {
                    depth -= 1;
                    if depth == 0 {
                        return text;
                    }
                }
                b'\\' => {
                    self.escape(&mut text);
                    continue;
                }
                _ => {}
            }
            text.push(byte);
        }
        text
    }

    /// What follows a backslash.
    fn escape(&mut self, text: &mut Vec<u8>) {
        let Some(&byte) = self.bytes.get(self.at) else { return };
        self.at += 1;
        match byte {
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'b' | b'f' => {}
            b'\r' => self.at += usize::from(self.bytes.get(self.at) == Some(&b'\n')),
            b'\n' => {}
            b'0'..=b'7' => {
                let mut value = u32::from(byte - b'0');
                for _ in 0..2 {
                    match self.bytes.get(self.at) {
                        Some(&digit @ b'0'..=b'7') => {
                            value = value * 8 + u32::from(digit - b'0');
                            self.at += 1;
                        }
                        _ => break,
                    }
                }
                text.push(value as u8);
            }
            byte => text.push(byte),
        }
    }

    fn hexadecimal(&mut self) -> Vec<u8> {
        self.at += 1;
        let rest = &self.bytes[self.at..];
        let len = memchr::memchr(b'>', rest).unwrap_or(rest.len());
        self.at = (self.at + len + 1).min(self.bytes.len());
        let digits: Vec<u8> =
            rest[..len].iter().filter_map(|byte| char::from(*byte).to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)).collect()
    }
}

/// A number, as leniently as readers are.
fn number(word: &[u8]) -> Option<f32> {
    if !word.first().is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.')) {
        return None;
    }
    let text = std::str::from_utf8(word).ok()?;
    let value: f32 = text.parse().or_else(|_| text.trim_start_matches('-').parse().map(|value: f32| -value)).ok()?;
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_become_tokens() {
        let stream = b"BT /F1 12 Tf % note\n(a\\(b\\)\\051(c)\\\n) Tj [<48 6> -250.5 (x)] TJ <</A 1>> --3 ET";
        let mut tokens = Tokens::new(stream);
        let mut found = Vec::new();
        while let Some(token) = tokens.next() {
            found.push(token);
        }
        assert_eq!(
            found,
            [
                Token::Operator(b"BT"),
                Token::Name(b"F1"),
                Token::Number(12.0),
                Token::Operator(b"Tf"),
                Token::Text(b"a(b))(c)".to_vec()),
                Token::Operator(b"Tj"),
                Token::Open,
                Token::Text(b"H\x60".to_vec()),
                Token::Number(-250.5),
                Token::Text(b"x".to_vec()),
                Token::Close,
                Token::Operator(b"TJ"),
                Token::Open,
                Token::Name(b"A"),
                Token::Number(1.0),
                Token::Close,
                Token::Number(-3.0),
                Token::Operator(b"ET"),
            ]
        );
    }

    #[test]
    fn images_are_skipped() {
        let mut tokens = Tokens::new(b"ID \x01EIx EI Q");
        tokens.next();
        tokens.skip_image();
        assert_eq!(tokens.next(), Some(Token::Operator(b"Q")));
    }
}
