//! XML → a tree of the same kind as a page's: all elements are unknown, names are as written, all of it is below the body.
//!
//! What is not well-formed is read as far as it goes: feeds often are not.

use super::{
    Attr, BODY, Dom, NodeId, OWNED, Span, Tag,
    entities::decode_into,
    tokenizer::{Range, Token, Tokenizer},
};
use crate::{ExtractError, budget::Budget};

/// Elements within each other, at most; deeper ones are flattened.
const MAX_DEPTH: usize = 256;
/// How far up an end tag looks for the element that it ends.
const MAX_LOOK: usize = 16;
/// Attributes of a document, at most.
const MAX_ATTRS: usize = 1_000_000;

/// Reads XML.
pub(crate) fn parse_xml<'s>(source: &'s str, budget: &Budget<'_>) -> Result<Dom<'s>, ExtractError> {
    let mut dom = Dom::new(source, budget)?;
    let mut tokens = Tokenizer::new(source, budget);
    let mut open: Vec<(NodeId, Range)> = vec![(BODY, (0, 0))];
    let mut flattened = 0usize;
    loop {
        let top = open.last().map_or(BODY, |(id, _)| *id);
        let begin = tokens.at();
        let token = tokens.next(true)?;
        dom.make_room((begin, tokens.at()), budget)?;
        match token {
            Token::Text(range) => add_text(&mut dom, top, range, true),
            Token::Verbatim(range) => add_text(&mut dom, top, range, false),
            Token::Start { name, self_closing } => {
                let id = dom.push(Tag::Unknown, span(name));
                add_attrs(&mut dom, id, &tokens.attrs);
                dom.append(top, id);
                if self_closing {
                    continue;
                }
                if open.len() < MAX_DEPTH {
                    open.push((id, name));
                } else {
                    flattened += 1;
                }
            }
            Token::End { .. } if flattened > 0 => flattened -= 1,
            Token::End { name } => {
                let is_same = |(_, begun): &&(NodeId, Range)| source[begun.0..begun.1] == source[name.0..name.1];
                let at = open[1..].iter().rev().take(MAX_LOOK).position(|begun| is_same(&begun));
                if let Some(up) = at {
                    open.truncate(open.len() - up - 1);
                }
            }
            Token::Eof => return Ok(dom),
        }
    }
}

fn span((begin, end): Range) -> Span {
    Span { start: begin as u32, len: (end - begin) as u32 }
}

fn add_text(dom: &mut Dom<'_>, parent: NodeId, range: Range, decode: bool) {
    let data = if decode { decoded(dom, range, false) } else { span(range) };
    if data.len & !OWNED > 0 {
        let id = dom.push(Tag::Text, data);
        dom.append(parent, id);
    }
}

fn add_attrs(dom: &mut Dom<'_>, id: NodeId, attrs: &[(Range, Range)]) {
    let start = dom.attrs.len();
    for &(name, value) in attrs.iter().take(MAX_ATTRS.saturating_sub(start)) {
        let value = decoded(dom, value, true);
        dom.attrs.push(Attr { name: span(name), value });
    }
    let node = &mut dom.nodes[id as usize];
    node.attr_start = start as u32;
    node.attr_len = (dom.attrs.len() - start) as u16;
}

/// A span of the source, or of the buffer if there are references to resolve.
fn decoded(dom: &mut Dom<'_>, range: Range, in_attribute: bool) -> Span {
    let text = &dom.source[range.0..range.1];
    if !text.contains('&') {
        return span(range);
    }
    let begin = dom.owned.len();
    decode_into(text, in_attribute, &mut dom.owned);
    Span { start: begin as u32, len: (dom.owned.len() - begin) as u32 | OWNED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_names_attributes_and_text() {
        let source = "<?xml version='1.0'?><a:b C='&amp;x'>one &lt; <![CDATA[<two>]]><D/><e>three</f></e>four</a:b>";
        let budget = Budget::new(&|| false);
        let dom = parse_xml(source, &budget).unwrap();
        let root = dom.children(BODY).next().unwrap();
        assert_eq!((dom.name(root), dom.attr(root, "C")), ("a:b", Some("&x")));
        assert_eq!(dom.text_content(root, 100), "one < <two>threefour");
        let names: Vec<&str> = dom.children(root).map(|id| dom.name(id)).filter(|name| !name.is_empty()).collect();
        assert_eq!(names, ["D", "e"]);
    }
}
