//! XML without a tree: the text of each element.

use super::{
    entities::decode_into,
    tokenizer::{Range, Token, Tokenizer},
};
use crate::{ExtractError, budget::Budget};

/// The text between tags, in order, with the name of the element it begins in.
pub(crate) fn xml_text(source: &str, budget: &Budget<'_>) -> Result<Vec<(String, String)>, ExtractError> {
    let mut tokens = Tokenizer::new(source, budget);
    let mut texts = Vec::new();
    let mut name: Range = (0, 0);
    let mut text = String::new();
    loop {
        let token = tokens.next(true)?;
        match token {
            Token::Text(range) => decode_into(&source[range.0..range.1], false, &mut text),
            Token::Verbatim(range) => text.push_str(&source[range.0..range.1]),
            Token::Start { .. } | Token::End { .. } | Token::Eof => {
                if !text.trim().is_empty() {
                    let name = source[name.0..name.1].chars().take(64).collect();
                    texts.push((name, std::mem::take(&mut text)));
                }
                text.clear();
            }
        }
        match token {
            Token::Start { name: begun, .. } => name = begun,
            Token::Eof => return Ok(texts),
            _ => {}
        }
    }
}
