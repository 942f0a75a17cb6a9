//! Selectors as text → parts to match.

/// Compounds joined by combinators in one selector, at most: they are bits of a word.
const MAX_PARTS: usize = 64;

/// A selector list: `a, b > c`.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    pub(super) alternatives: Vec<Complex>,
}

/// Compounds and how each relates to the one before.
#[derive(Debug, Clone)]
pub(super) struct Complex {
    pub(super) parts: Vec<(Combinator, Compound)>,
    /// Whether a part asks for an element's number among those of its name.
    pub(super) counts_types: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combinator {
    Start,
    Descendant,
    Child,
    Next,
    Later,
}

/// Conditions on one element.
#[derive(Debug, Clone)]
pub(super) struct Compound {
    pub(super) simple: Vec<Simple>,
}

#[derive(Debug, Clone)]
pub(super) enum Simple {
    Any,
    Name(String),
    Id(String),
    Class(String),
    Attribute { name: String, operator: Operator, value: String, any_case: bool },
    NthChild { step: i32, offset: i32 },
    NthOfType { step: i32, offset: i32 },
    LastChild,
    Empty,
    Root,
    Not(Vec<Compound>),
    Is(Vec<Compound>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Exists,
    Equals,
    Word,
    Dash,
    Begins,
    Ends,
    Contains,
}

/// Reads a selector; the error says what is not understood.
pub(crate) fn parse(text: &str) -> Result<Selector, String> {
    let mut reader = Reader { rest: text };
    let mut alternatives = Vec::new();
    loop {
        alternatives.push(reader.complex()?);
        if !reader.eat(',') {
            break;
        }
    }
    match reader.rest.chars().next() {
        None => Ok(Selector { alternatives }),
        Some(character) => Err(format!("unexpected `{character}`")),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn eat(&mut self, character: char) -> bool {
        let found = self.rest.strip_prefix(character);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn expect(&mut self, character: char) -> Result<(), String> {
        if self.eat(character) { Ok(()) } else { Err(self.expected(&format!("`{character}`"))) }
    }

    fn expected(&self, what: &str) -> String {
        match self.peek() {
            Some(found) => format!("expected {what}, found `{found}`"),
            None => format!("expected {what}, found the end"),
        }
    }

    fn spaces(&mut self) -> bool {
        let trimmed = self.rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0C']);
        let any = trimmed.len() < self.rest.len();
        self.rest = trimmed;
        any
    }

    fn complex(&mut self) -> Result<Complex, String> {
        self.spaces();
        let mut parts = vec![(Combinator::Start, self.compound(true)?)];
        loop {
            let spaced = self.spaces();
            let combinator = match self.peek() {
                None | Some(',') => break,
                Some('>') => Combinator::Child,
                Some('+') => Combinator::Next,
                Some('~') => Combinator::Later,
                Some(_) if spaced => Combinator::Descendant,
                Some(character) => return Err(format!("unexpected `{character}`")),
            };
            if combinator != Combinator::Descendant {
                self.rest = &self.rest[1..];
                self.spaces();
            }
            if parts.len() == MAX_PARTS {
                return Err(format!("more than {MAX_PARTS} parts"));
            }
            parts.push((combinator, self.compound(true)?));
        }
        let counts = |compound: &Compound| {
            compound.simple.iter().any(|simple| match simple {
                Simple::NthOfType { .. } => true,
                Simple::Not(list) | Simple::Is(list) => list
                    .iter()
                    .any(|compound| compound.simple.iter().any(|simple| matches!(simple, Simple::NthOfType { .. }))),
                _ => false,
            })
        };
        let counts_types = parts.iter().any(|(_, compound)| counts(compound));
        Ok(Complex { parts, counts_types })
    }

    /// Conditions on one element; `lists` allows `:not()` and `:is()`.
    fn compound(&mut self, lists: bool) -> Result<Compound, String> {
        let mut simple = Vec::new();
        if self.eat('*') {
            simple.push(Simple::Any);
        } else if self.begins_name() {
            simple.push(Simple::Name(self.name()?.to_ascii_lowercase()));
        }
        loop {
            if self.eat('#') {
                simple.push(Simple::Id(self.name()?));
            } else if self.eat('.') {
                simple.push(Simple::Class(self.name()?));
            } else if self.eat('[') {
                simple.push(self.attribute()?);
            } else if self.eat(':') {
                simple.push(self.pseudo(lists)?);
            } else if simple.is_empty() {
                return Err(self.expected("a selector"));
            } else {
                return Ok(Compound { simple });
            }
        }
    }

    fn begins_name(&self) -> bool {
        self.peek().is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '\\') || !c.is_ascii())
    }

    /// An identifier, with CSS's escapes.
    fn name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        while let Some(character) = self.peek() {
            if character == '\\' {
                self.rest = &self.rest[1..];
                name.push(self.escape()?);
            } else if character.is_ascii_alphanumeric() || matches!(character, '_' | '-') || !character.is_ascii() {
                self.rest = &self.rest[character.len_utf8()..];
                name.push(character);
            } else {
                break;
            }
        }
        if name.is_empty() { Err(self.expected("a name")) } else { Ok(name) }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, String> {
        let digits = self.rest.bytes().take(6).take_while(u8::is_ascii_hexdigit).count();
        if digits == 0 {
            let character = self.peek().ok_or("the selector ends in a backslash")?;
            self.rest = &self.rest[character.len_utf8()..];
            return Ok(character);
        }
        let value = u32::from_str_radix(&self.rest[..digits], 16).unwrap_or(0);
        self.rest = &self.rest[digits..];
        if self.peek().is_some_and(|c| c.is_ascii_whitespace()) {
            self.rest = &self.rest[1..];
        }
        Ok(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn attribute(&mut self) -> Result<Simple, String> {
        self.spaces();
        let name = self.name()?.to_ascii_lowercase();
        self.spaces();
        let mut simple = (Operator::Exists, String::new(), false);
        if !self.eat(']') {
            let operator = match self.peek() {
                Some('=') => Operator::Equals,
                Some('~') => Operator::Word,
                Some('|') => Operator::Dash,
                Some('^') => Operator::Begins,
                Some('$') => Operator::Ends,
                Some('*') => Operator::Contains,
                _ => return Err(self.expected("`]` or an operator")),
            };
            if operator != Operator::Equals {
                self.rest = &self.rest[1..];
            }
            self.expect('=')?;
            self.spaces();
            let value = match self.peek() {
                Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
                _ => self.name_or_number()?,
            };
            self.spaces();
            let any_case = self.eat('i') || self.eat('I');
            if !any_case && !self.eat('s') {
                self.eat('S');
            }
            self.spaces();
            self.expect(']')?;
            simple = (operator, value, any_case);
        }
        Ok(Simple::Attribute { name, operator: simple.0, value: simple.1, any_case: simple.2 })
    }

    /// Unquoted values may begin with a digit here, as people write them.
    fn name_or_number(&mut self) -> Result<String, String> {
        self.name()
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        self.expect(quote)?;
        let mut value = String::new();
        loop {
            let Some(character) = self.peek() else { return Err("a quote is not closed".to_owned()) };
            self.rest = &self.rest[character.len_utf8()..];
            if character == quote {
                return Ok(value);
            }
            value.push(if character == '\\' { self.escape()? } else { character });
        }
    }

    fn pseudo(&mut self, lists: bool) -> Result<Simple, String> {
        let name = self.name()?.to_ascii_lowercase();
        match name.as_str() {
            "first-child" => Ok(Simple::NthChild { step: 0, offset: 1 }),
            "first-of-type" => Ok(Simple::NthOfType { step: 0, offset: 1 }),
            "last-child" => Ok(Simple::LastChild),
            "empty" => Ok(Simple::Empty),
            "root" => Ok(Simple::Root),
            "nth-child" => self.nth().map(|(step, offset)| Simple::NthChild { step, offset }),
            "nth-of-type" => self.nth().map(|(step, offset)| Simple::NthOfType { step, offset }),
            "not" if lists => self.list().map(Simple::Not),
            "is" | "where" if lists => self.list().map(Simple::Is),
            "not" | "is" | "where" => Err(format!("`:{name}` within `:not` or `:is` is not supported")),
            _ => Err(format!("`:{name}` is not supported")),
        }
    }

    fn list(&mut self) -> Result<Vec<Compound>, String> {
        self.expect('(')?;
        let mut list = Vec::new();
        loop {
            self.spaces();
            list.push(self.compound(false)?);
            self.spaces();
            if !self.eat(',') {
                break;
            }
        }
        self.expect(')')?;
        Ok(list)
    }

    /// `(odd)`, `(3)`, `(2n+1)`, `(-n + 3)`.
    fn nth(&mut self) -> Result<(i32, i32), String> {
        self.expect('(')?;
        let (inside, rest) = self.rest.split_once(')').ok_or("a parenthesis is not closed")?;
        self.rest = rest;
        let wrong = || format!("`{inside}` is not of the form `2n+1`");
        let text: String = inside.chars().filter(|c| !c.is_ascii_whitespace()).collect::<String>().to_ascii_lowercase();
        let number = |text: &str| text.strip_prefix('+').unwrap_or(text).parse::<i32>().map_err(|_| wrong());
        match text.as_str() {
            "odd" => return Ok((2, 1)),
            "even" => return Ok((2, 0)),
            _ => {}
        }
        let Some((step, offset)) = text.split_once('n') else { return Ok((0, number(&text)?)) };
        let step = match step {
            "" | "+" => 1,
            "-" => -1,
            step => number(step)?,
        };
        Ok((step, if offset.is_empty() { 0 } else { number(offset)? }))
    }
}
