//! Putting elements, attributes and text into the tree.

use super::*;

impl Builder<'_, '_> {
    pub(super) fn open_node(&mut self, id: NodeId, tag: Tag) {
        let key = key(tag, self.dom.name(id));
        let foreign = self.stack.last().is_some_and(|top| top.foreign);
        self.stack.push(Open { id, tag, key, foreign });
        self.open[usize::from(key)] += 1;
        self.dom.nodes[id as usize].open = true;
    }

    // Nodes

    pub(super) fn insert_implied(&mut self, tag: Tag) {
        let id = self.dom.push(tag, Span::default());
        self.place(id);
        if self.stack.len() < MAX_DEPTH {
            self.open_node(id, tag);
        }
    }

    /// Inserts the element of the last start tag; `open` says whether it may have children.
    pub(super) fn insert(&mut self, tag: Tag, key: u8, name: Range, open: bool) -> NodeId {
        let data = if tag == Tag::Unknown { self.lower_span(name) } else { Span::default() };
        let id = self.dom.push(tag, data);
        self.add_attrs(id);
        self.place(id);
        if open {
            if self.stack.len() < MAX_DEPTH {
                let foreign = self.top().foreign;
                self.stack.push(Open { id, tag, key, foreign });
                self.open[usize::from(key)] += 1;
                self.dom.nodes[id as usize].open = true;
            } else {
                self.dropped[usize::from(key)] += 1;
            }
        }
        id
    }

    /// Puts a node where the next one belongs.
    pub(super) fn place(&mut self, id: NodeId) {
        let top = self.top();
        let tag = self.dom.tag(id);
        let belongs = tag.is_table_context() && tag != Tag::Table
            || matches!(tag, Tag::Td | Tag::Th | Tag::Caption | Tag::Script | Tag::Style | Tag::Template)
            || tag == Tag::Input && self.dom.attr(id, "type").is_some_and(|kind| kind.eq_ignore_ascii_case("hidden"));
        if top.tag.is_table_context() && !belongs {
            self.foster(id);
        } else {
            self.dom.append(top.id, id);
        }
    }

    /// Puts a node before the table it must not be in.
    pub(super) fn foster(&mut self, id: NodeId) {
        let table = self.stack.iter().rev().find(|open| open.tag == Tag::Table).map(|open| open.id);
        match table {
            Some(table) if self.dom.node(table).parent != NONE => self.dom.insert_before(table, id),
            _ => {
                let parent = self.top().id;
                self.dom.append(parent, id);
            }
        }
    }

    pub(super) fn text(&mut self, range: Range, decode: bool) {
        let mut range = range;
        let skip_newline = std::mem::take(&mut self.skip_newline);
        let Some(text) = self.source.get(range.0..range.1) else { return };
        let is_space = text.bytes().all(|byte| byte.is_ascii_whitespace());
        if !self.in_body && self.stack.len() <= 2 {
            if is_space {
                return;
            }
            self.begin_body();
        }
        if skip_newline && text.starts_with('\n') {
            range.0 += 1;
        }
        let top = self.top();
        if top.tag.is_table_context() {
            if is_space {
                return;
            }
            self.reopen_formatting();
            let id = self.text_node(range, decode);
            self.place(id);
            return;
        }
        self.reopen_formatting();
        let parent = self.top().id;
        self.add_text(parent, range, decode);
    }

    pub(super) fn add_text(&mut self, parent: NodeId, range: Range, decode: bool) {
        if range.0 < range.1 {
            let id = self.text_node(range, decode);
            self.dom.append(parent, id);
        }
    }

    pub(super) fn text_node(&mut self, range: Range, decode: bool) -> NodeId {
        let span = if decode { self.decoded_span(range, false) } else { span(range) };
        self.dom.push(Tag::Text, span)
    }

    pub(super) fn add_attrs(&mut self, id: NodeId) {
        let start = self.dom.attrs.len();
        let room = MAX_TOTAL_ATTRS.saturating_sub(start);
        let attrs = std::mem::take(&mut self.tokens.attrs);
        for &(name, value) in attrs.iter().take(room) {
            let attr = Attr { name: self.lower_span(name), value: self.decoded_span(value, true) };
            self.dom.attrs.push(attr);
        }
        let node = &mut self.dom.nodes[id as usize];
        node.attr_start = start as u32;
        node.attr_len = (self.dom.attrs.len() - start) as u16;
        self.tokens.attrs = attrs;
    }

    /// `html` and `body` may be opened twice: the first to give attributes wins.
    pub(super) fn merge_attrs(&mut self, id: NodeId) {
        if self.dom.node(id).attr_len == 0 {
            self.add_attrs(id);
        }
    }

    /// A span of the source, or of the buffer if the name has capitals.
    pub(super) fn lower_span(&mut self, range: Range) -> Span {
        let Some(text) = self.source.get(range.0..range.1) else { return Span::default() };
        if !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return span(range);
        }
        let begin = self.dom.owned.len();
        self.dom.owned.push_str(text);
        self.dom.owned[begin..].make_ascii_lowercase();
        owned_span(begin, self.dom.owned.len())
    }

    pub(super) fn decoded_span(&mut self, range: Range, in_attribute: bool) -> Span {
        let Some(text) = self.source.get(range.0..range.1) else { return Span::default() };
        if memchr::memchr(b'&', text.as_bytes()).is_none() {
            return span(range);
        }
        let begin = self.dom.owned.len();
        decode_into(text, in_attribute, &mut self.dom.owned);
        owned_span(begin, self.dom.owned.len())
    }
}
