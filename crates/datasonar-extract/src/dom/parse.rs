//! Tokens → tree.
//!
//! The tree construction rules of the HTML standard, as far as they change what a page says: implied end tags, scopes,
//! formatting elements closed out of order, tables and what does not belong into them, foreign content. What they leave
//! to scripts, frames, quirks and errors is not here. Every rule costs at most one look at the open elements, of which
//! there are never more than [`MAX_DEPTH`].

mod formatting;
mod insert;

use super::{
    Attr, BODY, Dom, HEAD, HTML, NONE, NodeId, OWNED, Span, Tag,
    entities::decode_into,
    tokenizer::{Range, Token, Tokenizer},
};
use crate::{ExtractError, budget::Budget};

/// Open elements, at most: what is deeper is flattened.
pub(crate) const MAX_DEPTH: usize = 512;
/// Nodes of one page, at most; the rest of the page is ignored.
pub(super) const MAX_NODES: usize = 2_000_000;
/// Attributes of one page, at most.
pub(super) const MAX_TOTAL_ATTRS: usize = 2_000_000;
/// Formatting elements that are opened again, at most.
const MAX_ACTIVE: usize = 6;

/// Parses a page. `source` must have neither NULs nor carriage returns for the tree to have none.
pub(crate) fn parse<'s>(source: &'s str, budget: &Budget<'_>) -> Result<Dom<'s>, ExtractError> {
    // Spans have 31 bits; a page that is longer has been refused long before.
    let source = source.get(..OWNED as usize / 4).unwrap_or(source);
    let mut builder = Builder {
        dom: Dom::new(source, budget)?,
        source,
        budget,
        tokens: Tokenizer::new(source, budget),
        max_nodes: MAX_NODES.min(source.len() / 2 + 1024),
        stack: Vec::with_capacity(64),
        open: [0; 256],
        dropped: [0; 256],
        active: Vec::new(),
        in_body: false,
        skip_newline: false,
        scratch: String::new(),
    };
    builder.open_node(HTML, Tag::Html);
    builder.open_node(HEAD, Tag::Head);
    builder.run()?;
    Ok(builder.dom)
}

/// An open element.
#[derive(Debug, Clone, Copy)]
struct Open {
    id: NodeId,
    tag: Tag,
    /// Tells names apart: equal names have equal keys.
    key: u8,
    /// Inside `svg` or `math`.
    foreign: bool,
}

struct Builder<'s, 'b> {
    dom: Dom<'s>,
    source: &'s str,
    budget: &'b Budget<'b>,
    tokens: Tokenizer<'s, 'b>,
    max_nodes: usize,
    stack: Vec<Open>,
    /// How many elements are open, by key.
    open: [u32; 256],
    /// How many start tags were dropped for being too deep, by key: so many end tags are dropped as well.
    dropped: [u32; 256],
    /// The formatting elements to open again; `NONE` is a marker.
    active: Vec<NodeId>,
    in_body: bool,
    /// A newline right after `<pre>` does not count.
    skip_newline: bool,
    scratch: String,
}

/// A key for a name; known tags and unknown names share the keys.
fn key(tag: Tag, name: &str) -> u8 {
    if tag == Tag::Unknown {
        name.bytes().fold(17u8, |key, byte| key.wrapping_mul(31).wrapping_add(byte.to_ascii_lowercase()))
    } else {
        tag as u8
    }
}

impl Builder<'_, '_> {
    fn run(&mut self) -> Result<(), ExtractError> {
        loop {
            let foreign = self.top().foreign;
            let begin = self.tokens.at();
            let token = self.tokens.next(foreign)?;
            self.dom.make_room((begin, self.tokens.at()), self.budget)?;
            match token {
                Token::Eof => return Ok(()),
                _ if self.dom.len() >= self.max_nodes => return Ok(()),
                Token::Text(range) => self.text(range, true),
                Token::Verbatim(range) => self.text(range, false),
                Token::Start { name, self_closing } => self.start(name, self_closing)?,
                Token::End { name } => self.end(name),
            }
        }
    }

    fn top(&self) -> Open {
        self.stack.last().copied().unwrap_or(Open { id: BODY, tag: Tag::Body, key: 0, foreign: false })
    }

    fn tag_of(&mut self, name: Range) -> (Tag, u8) {
        let name = self.source.get(name.0..name.1).unwrap_or_default();
        let tag = if name.len() > 10 {
            Tag::Unknown
        } else if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.scratch.clear();
            self.scratch.push_str(name);
            self.scratch.make_ascii_lowercase();
            Tag::from_name(&self.scratch)
        } else {
            Tag::from_name(name)
        };
        (tag, key(tag, name))
    }

    // Start tags

    fn start(&mut self, name: Range, self_closing: bool) -> Result<(), ExtractError> {
        let (mut tag, key) = self.tag_of(name);
        self.skip_newline = false;
        if self.top().foreign {
            if !tag.leaves_foreign() {
                self.insert(Tag::Unknown, key, name, !self_closing);
                self.enter_html_again(name);
                return Ok(());
            }
            while self.top().foreign {
                self.pop();
            }
        }
        if !self.in_body && self.start_in_head(tag, key, name)? {
            return Ok(());
        }
        match tag {
            Tag::Html => self.merge_attrs(HTML),
            Tag::Body => self.merge_attrs(BODY),
            Tag::Head | Tag::Frameset | Tag::Col | Tag::Colgroup => {}
            // Forms do not nest; one in a table holds nothing.
            Tag::Form if self.open[Tag::Form as usize] > 0 && self.open[Tag::Template as usize] == 0 => {}
            Tag::Form if self.top().tag.is_table_context() => {
                let top = self.top().id;
                let id = self.insert(tag, key, name, false);
                self.dom.detach(id);
                self.dom.append(top, id);
            }
            Tag::Caption | Tag::Tbody | Tag::Thead | Tag::Tfoot | Tag::Tr | Tag::Td | Tag::Th => {
                self.start_table_part(tag, key, name);
            }
            _ => {
                if tag == Tag::Image {
                    tag = Tag::Img;
                }
                self.close_before(tag);
                if !tag.closes_paragraph() && !matches!(tag, Tag::Li | Tag::Dd | Tag::Dt) {
                    self.reopen_formatting();
                }
                if tag == Tag::Table && self.top().tag.is_table_context() {
                    self.pop_until(Tag::Table);
                }
                self.insert_by_kind(tag, key, name, self_closing)?;
            }
        }
        Ok(())
    }

    /// Start tags before the body; answers whether the tag was one of the head's.
    fn start_in_head(&mut self, tag: Tag, key: u8, name: Range) -> Result<bool, ExtractError> {
        if self.stack.len() > 2 {
            return Ok(false);
        }
        match tag {
            Tag::Html => self.merge_attrs(HTML),
            Tag::Head => self.merge_attrs(HEAD),
            Tag::Base | Tag::Basefont | Tag::Bgsound | Tag::Link | Tag::Meta => {
                self.insert(tag, key, name, false);
            }
            Tag::Title | Tag::Style | Tag::Script | Tag::Noframes | Tag::Noscript => {
                self.insert(tag, key, name, false);
                self.raw_content(tag)?;
            }
            Tag::Template => {
                self.insert(tag, key, name, true);
            }
            _ => {
                self.begin_body();
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn begin_body(&mut self) {
        while self.stack.len() > 1 {
            self.pop();
        }
        self.open_node(BODY, Tag::Body);
        self.in_body = true;
    }

    /// Closes what the start tag of `tag` closes.
    fn close_before(&mut self, tag: Tag) {
        match tag {
            Tag::Li => self.close_item(&[Tag::Li]),
            Tag::Dd | Tag::Dt => self.close_item(&[Tag::Dd, Tag::Dt]),
            Tag::A if self.open[Tag::A as usize] > 0 && self.active_position(Tag::A).is_some() => {
                self.end_formatting(Tag::A);
            }
            Tag::Nobr if self.in_scope(|tag| tag == Tag::Nobr, false) => self.end_formatting(Tag::Nobr),
            Tag::Button if self.in_scope(|tag| tag == Tag::Button, false) => self.pop_until(Tag::Button),
            Tag::Option | Tag::Optgroup => {
                if self.top().tag == Tag::Option {
                    self.pop();
                }
                if tag == Tag::Optgroup && self.top().tag == Tag::Optgroup {
                    self.pop();
                }
            }
            Tag::Rb | Tag::Rp | Tag::Rt | Tag::Rtc if self.in_scope(|tag| tag == Tag::Ruby, false) => {
                self.imply_ends(Tag::Unknown);
            }
            _ => {}
        }
        if tag.closes_paragraph() || matches!(tag, Tag::Li | Tag::Dd | Tag::Dt) {
            self.close_paragraph();
            if tag.is_heading() && self.top().tag.is_heading() {
                self.pop();
            }
        }
    }

    /// Closes the item before this one.
    fn close_item(&mut self, items: &[Tag]) {
        if items.iter().all(|tag| self.open[*tag as usize] == 0) {
            return;
        }
        for at in (0..self.stack.len()).rev() {
            let tag = self.stack[at].tag;
            if items.contains(&tag) {
                self.pop_to(at);
                return;
            }
            if tag.is_special() && !matches!(tag, Tag::Address | Tag::Div | Tag::P) {
                return;
            }
        }
    }

    fn close_paragraph(&mut self) {
        if self.open[Tag::P as usize] > 0 && self.in_scope(|tag| tag == Tag::P, true) {
            self.pop_until(Tag::P);
        }
    }

    fn insert_by_kind(&mut self, tag: Tag, key: u8, name: Range, self_closing: bool) -> Result<(), ExtractError> {
        match tag {
            tag if tag.is_void() => {
                self.insert(tag, key, name, false);
            }
            Tag::Title
            | Tag::Textarea
            | Tag::Style
            | Tag::Script
            | Tag::Xmp
            | Tag::Iframe
            | Tag::Noembed
            | Tag::Noframes => {
                self.insert(tag, key, name, false);
                self.raw_content(tag)?;
            }
            Tag::Plaintext => {
                let id = self.insert(tag, key, name, false);
                let range = self.tokens.rest();
                self.dom.make_room(range, self.budget)?;
                self.add_text(id, range, false);
            }
            Tag::Svg | Tag::Math => {
                self.insert(tag, key, name, !self_closing);
                if !self_closing && let Some(open) = self.stack.last_mut().filter(|open| open.tag == tag) {
                    open.foreign = true;
                }
            }
            tag => {
                let id = self.insert(tag, key, name, true);
                self.skip_newline = matches!(tag, Tag::Pre | Tag::Listing);
                if tag.is_formatting() {
                    self.activate(tag, id);
                } else if matches!(tag, Tag::Applet | Tag::Marquee | Tag::Object) {
                    self.active.push(NONE);
                }
            }
        }
        Ok(())
    }

    fn start_table_part(&mut self, tag: Tag, key: u8, name: Range) {
        if self.open[Tag::Table as usize] == 0 {
            return;
        }
        let Some(table) = self.stack.iter().rposition(|open| matches!(open.tag, Tag::Table | Tag::Template)) else {
            return;
        };
        if self.stack[table].tag != Tag::Table {
            return;
        }
        let keep = |open: &Open| match tag {
            Tag::Td | Tag::Th => matches!(open.tag, Tag::Tr | Tag::Tbody | Tag::Thead | Tag::Tfoot),
            Tag::Tr => matches!(open.tag, Tag::Tbody | Tag::Thead | Tag::Tfoot),
            _ => false,
        };
        // The last of the parts that may hold this one, next to the table.
        let kept = self.stack[table + 1..].iter().take_while(|open| keep(open)).count();
        self.pop_to(table + 1 + kept);
        if matches!(tag, Tag::Td | Tag::Th | Tag::Tr) && self.top().tag == Tag::Table {
            self.insert_implied(Tag::Tbody);
        }
        if matches!(tag, Tag::Td | Tag::Th) && self.top().tag != Tag::Tr {
            self.insert_implied(Tag::Tr);
        }
        let depth = self.stack.len();
        self.insert(tag, key, name, true);
        if matches!(tag, Tag::Td | Tag::Th | Tag::Caption) && self.stack.len() > depth {
            self.active.push(NONE);
        }
    }

    /// The text of an element whose content is not markup.
    fn raw_content(&mut self, tag: Tag) -> Result<(), ExtractError> {
        let mut range = self.tokens.raw_text(tag.name())?;
        self.dom.make_room(range, self.budget)?;
        let id = self.dom.len() as NodeId - 1;
        if tag == Tag::Textarea && self.source[range.0..range.1].starts_with('\n') {
            range.0 += 1;
        }
        self.add_text(id, range, matches!(tag, Tag::Title | Tag::Textarea));
        Ok(())
    }

    /// After the start tag of a foreign element in which HTML begins again.
    fn enter_html_again(&mut self, name: Range) {
        const POINTS: [&str; 8] = ["foreignobject", "desc", "title", "mi", "mo", "mn", "ms", "mtext"];
        let name = self.source.get(name.0..name.1).unwrap_or_default();
        if POINTS.iter().any(|point| point.eq_ignore_ascii_case(name))
            && let Some(open) = self.stack.last_mut()
        {
            open.foreign = false;
        }
    }

    // End tags

    fn end(&mut self, name: Range) {
        let (tag, key) = self.tag_of(name);
        self.skip_newline = false;
        if self.dropped[usize::from(key)] > 0 {
            self.dropped[usize::from(key)] -= 1;
            return;
        }
        if !self.in_body && self.stack.len() <= 2 {
            match tag {
                Tag::Body | Tag::Html | Tag::Br => self.begin_body(),
                _ => return,
            }
        }
        match tag {
            Tag::Body | Tag::Html | Tag::Head => {}
            Tag::Br => {
                self.reopen_formatting();
                self.tokens.attrs.clear();
                self.insert(Tag::Br, key, name, false);
            }
            Tag::P => {
                if self.open[Tag::P as usize] == 0 || !self.in_scope(|tag| tag == Tag::P, true) {
                    self.insert_implied(Tag::P);
                }
                self.close_paragraph();
            }
            Tag::Table | Tag::Tbody | Tag::Thead | Tag::Tfoot | Tag::Tr | Tag::Td | Tag::Th | Tag::Caption => {
                self.end_table_part(tag);
            }
            Tag::Form if self.open[Tag::Template as usize] == 0 => self.end_form(),
            tag if tag.is_heading() => {
                if self.in_scope(Tag::is_heading, false) {
                    while !self.top().tag.is_heading() {
                        self.pop();
                    }
                    self.pop();
                }
            }
            tag if tag.is_formatting() => self.end_formatting(tag),
            tag if tag.is_special() && !tag.is_void() => {
                if self.open[usize::from(key)] > 0 && self.in_scope(|open| open == tag, false) {
                    self.pop_until(tag);
                    if matches!(tag, Tag::Applet | Tag::Marquee | Tag::Object) {
                        self.clear_to_marker();
                    }
                }
            }
            tag => self.end_other(tag, key, name),
        }
    }

    /// A form ends where it is told to, and nothing in it does.
    fn end_form(&mut self) {
        if self.open[Tag::Form as usize] == 0 || !self.in_scope(|tag| tag == Tag::Form, false) {
            return;
        }
        self.imply_ends(Tag::Unknown);
        if let Some(at) = self.stack.iter().rposition(|open| open.tag == Tag::Form) {
            let form = self.stack.remove(at);
            self.dom.nodes[form.id as usize].open = false;
            self.open[usize::from(form.key)] -= 1;
        }
    }

    fn end_table_part(&mut self, tag: Tag) {
        if self.open[tag as usize] == 0 {
            return;
        }
        for at in (0..self.stack.len()).rev() {
            let open = self.stack[at].tag;
            if open == tag {
                self.pop_to(at);
                return;
            }
            if matches!(open, Tag::Table | Tag::Template) {
                return;
            }
        }
    }

    /// Any other end tag: closes the nearest element of that name unless a special one is in between.
    fn end_other(&mut self, tag: Tag, key: u8, name: Range) {
        if self.open[usize::from(key)] == 0 {
            return;
        }
        let name = self.source.get(name.0..name.1).unwrap_or_default();
        for at in (0..self.stack.len()).rev() {
            let open = self.stack[at];
            let same = open.key == key
                && (open.tag == tag && tag != Tag::Unknown || self.dom.name(open.id).eq_ignore_ascii_case(name));
            if same {
                self.pop_to(at);
                return;
            }
            if open.tag.is_special() {
                return;
            }
        }
    }

    // Formatting elements

    fn in_scope(&self, wanted: impl Fn(Tag) -> bool, in_button_scope: bool) -> bool {
        for open in self.stack.iter().rev() {
            if wanted(open.tag) {
                return true;
            }
            if open.tag.bounds_scope() || in_button_scope && open.tag == Tag::Button {
                return false;
            }
        }
        false
    }

    /// Closes elements with an implied end, except `except`.
    fn imply_ends(&mut self, except: Tag) {
        while self.top().tag.has_implied_end() && self.top().tag != except {
            self.pop();
        }
    }

    /// Closes the nearest `tag` and what is in it; it must be open.
    fn pop_until(&mut self, tag: Tag) {
        if let Some(at) = self.stack.iter().rposition(|open| open.tag == tag) {
            self.pop_to(at);
        }
    }

    /// Closes everything from that place of the stack on.
    fn pop_to(&mut self, at: usize) {
        while self.stack.len() > at.max(2) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(open) = self.stack.pop() {
            self.dom.nodes[open.id as usize].open = false;
            self.open[usize::from(open.key)] -= 1;
            if matches!(open.tag, Tag::Td | Tag::Th | Tag::Caption) {
                self.clear_to_marker();
            }
        }
    }
}

fn span(range: Range) -> Span {
    Span { start: range.0 as u32, len: (range.1 - range.0) as u32 }
}

fn owned_span(begin: usize, end: usize) -> Span {
    Span { start: begin as u32, len: (end - begin) as u32 | OWNED }
}
