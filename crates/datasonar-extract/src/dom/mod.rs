//! The tree of a page: an arena of small nodes that borrow the source.
//!
//! Nodes are 36 bytes and refer to each other by number, so that a deep tree is dropped and walked without recursion.
//! Text without character references is a span of the source; the rest lies in one buffer of the tree's own.

#[cfg(test)]
mod agreement;
mod entities;
mod parse;
mod tag;
mod tokenizer;
mod xml;

use tokenizer::{MAX_ATTRS, Range};

use crate::{ExtractError, budget::Budget};

pub(crate) use parse::parse;
pub(crate) use tag::Tag;
pub(crate) use xml::parse_xml;

/// Texts are cut to what is asked for, but to no less than this many bytes: what is short is told by its end, too.
const MIN_CUT: usize = 4096;

/// The number of a node in its tree.
pub(crate) type NodeId = u32;
/// No node.
pub(crate) const NONE: NodeId = u32::MAX;
/// The root, which has no element.
pub(crate) const DOCUMENT: NodeId = 0;
/// The `html` element, which is always there.
pub(crate) const HTML: NodeId = 1;
/// The `head` element, which is always there.
pub(crate) const HEAD: NodeId = 2;
/// The `body` element, which is always there.
pub(crate) const BODY: NodeId = 3;

/// A piece of the source, or of the tree's own buffer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    start: u32,
    /// The highest bit tells the buffer from the source.
    len: u32,
}

const OWNED: u32 = 1 << 31;

/// Nodes that one token adds, at most: formatting elements are opened again, tables get the parts that they lack.
const NODES_OF_TOKEN: usize = 32;

/// A node and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) parent: NodeId,
    pub(crate) first: NodeId,
    pub(crate) last: NodeId,
    pub(crate) next: NodeId,
    pub(crate) prev: NodeId,
    pub(crate) tag: Tag,
    /// Whether the parser has the element open.
    open: bool,
    attr_len: u16,
    attr_start: u32,
    /// Text: itself. Unknown elements: the name.
    data: Span,
}

/// Counts the nodes that markup seems to have: start tags, and text between tags.
fn nodes_in(source: &[u8]) -> usize {
    let mut nodes = 0;
    for at in memchr::memchr_iter(b'<', source) {
        let ends_text = at > 0 && source[at - 1] != b'>';
        nodes += usize::from(ends_text) + usize::from(source.get(at + 1).is_some_and(u8::is_ascii_alphabetic));
    }
    (nodes + nodes / 64 + 2 * NODES_OF_TOKEN).min(parse::MAX_NODES + 2 * NODES_OF_TOKEN)
}

/// Counts the attributes that markup seems to have, as far as they have values.
fn attrs_in(source: &[u8]) -> usize {
    memchr::memchr_iter(b'=', source).count().min(source.len() / 8).min(parse::MAX_TOTAL_ATTRS)
}

/// An attribute; names are lower-case.
#[derive(Debug, Clone, Copy)]
struct Attr {
    name: Span,
    value: Span,
}

/// A parsed page.
pub(crate) struct Dom<'s> {
    source: &'s str,
    owned: String,
    nodes: Vec<Node>,
    attrs: Vec<Attr>,
}

impl<'s> Dom<'s> {
    /// An empty page: the document, `html`, `head` and `body`. There is room for the nodes that the source seems to have.
    fn new(source: &'s str, budget: &Budget<'_>) -> Result<Self, ExtractError> {
        let mut dom = Self { source, owned: String::new(), nodes: Vec::new(), attrs: Vec::new() };
        budget.spend(source.len() / 4)?;
        budget.reserve(&mut dom.nodes, nodes_in(source.as_bytes()))?;
        budget.reserve(&mut dom.attrs, attrs_in(source.as_bytes()) + MAX_ATTRS)?;
        for tag in [Tag::Document, Tag::Html, Tag::Head, Tag::Body] {
            dom.push(tag, Span::default());
        }
        dom.append(DOCUMENT, HTML);
        dom.append(HTML, HEAD);
        dom.append(HTML, BODY);
        Ok(dom)
    }

    /// Makes room for what one token of the source adds to the tree.
    #[inline]
    fn make_room(&mut self, token: Range, budget: &Budget<'_>) -> Result<(), ExtractError> {
        budget.reserve(&mut self.nodes, NODES_OF_TOKEN)?;
        budget.reserve(&mut self.attrs, MAX_ATTRS)?;
        let len = token.1 - token.0;
        if self.owned.capacity() - self.owned.len() < len * 2 { self.make_room_for_text(token, budget) } else { Ok(()) }
    }

    /// Makes room for a copy of a token, if it will be copied: for its references to be resolved, its names to be in lower case.
    #[cold]
    fn make_room_for_text(&mut self, token: Range, budget: &Budget<'_>) -> Result<(), ExtractError> {
        let bytes = &self.source.as_bytes()[token.0..token.1];
        let references = memchr::memchr_iter(b'&', bytes).count();
        if references > 0 || bytes.first() == Some(&b'<') && bytes.iter().any(u8::is_ascii_uppercase) {
            // A reference is at most one byte shorter than the characters that it stands for.
            budget.reserve_text(&mut self.owned, bytes.len() + references)?;
        }
        Ok(())
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node of that number.
    #[inline]
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    /// What the node is.
    #[inline]
    pub(crate) fn tag(&self, id: NodeId) -> Tag {
        self.nodes[id as usize].tag
    }

    /// Whether the node is an element.
    #[inline]
    pub(crate) fn is_element(&self, id: NodeId) -> bool {
        !matches!(self.tag(id), Tag::Text | Tag::Document)
    }

    /// A text node's text; nothing for others.
    #[inline]
    pub(crate) fn text(&self, id: NodeId) -> &str {
        let node = self.node(id);
        if node.tag == Tag::Text { self.str(node.data) } else { "" }
    }

    /// An element's name, lower-case.
    pub(crate) fn name(&self, id: NodeId) -> &str {
        let node = self.node(id);
        if node.tag == Tag::Unknown { self.str(node.data) } else { node.tag.name() }
    }

    /// An attribute's value, the first one's if it is given twice.
    pub(crate) fn attr(&self, id: NodeId, name: &str) -> Option<&str> {
        let node = self.node(id);
        let start = node.attr_start as usize;
        let attrs = self.attrs.get(start..start + usize::from(node.attr_len))?;
        attrs.iter().find(|attr| self.str(attr.name) == name).map(|attr| self.str(attr.value))
    }

    /// Every attribute, by name and value, as written.
    pub(crate) fn attrs(&self, id: NodeId) -> impl Iterator<Item = (&str, &str)> {
        let node = self.node(id);
        let start = node.attr_start as usize;
        let attrs = self.attrs.get(start..start + usize::from(node.attr_len)).unwrap_or_default();
        attrs.iter().map(|attr| (self.str(attr.name), self.str(attr.value)))
    }

    /// The node's children, in order.
    pub(crate) fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let mut next = self.node(id).first;
        std::iter::from_fn(move || {
            let id = (next != NONE).then_some(next)?;
            next = self.node(id).next;
            Some(id)
        })
    }

    /// The node's parents, nearest first.
    pub(crate) fn ancestors(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let mut next = self.node(id).parent;
        std::iter::from_fn(move || {
            let id = (next != NONE).then_some(next)?;
            next = self.node(id).parent;
            Some(id)
        })
    }

    /// The node after `id` in document order within `root`, its children left out if `skip`.
    #[inline]
    pub(crate) fn following(&self, root: NodeId, id: NodeId, skip: bool) -> Option<NodeId> {
        let node = self.node(id);
        if !skip && node.first != NONE {
            return Some(node.first);
        }
        let mut id = id;
        while id != root {
            let node = self.node(id);
            if node.next != NONE {
                return Some(node.next);
            }
            id = node.parent;
            if id == NONE {
                return None;
            }
        }
        None
    }

    /// Every node below `root` and itself, in document order.
    pub(crate) fn descendants(&self, root: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let mut next = Some(root);
        std::iter::from_fn(move || {
            let id = next?;
            next = self.following(root, id, false);
            Some(id)
        })
    }

    /// The text below a node as written, at most `max` bytes of it.
    pub(crate) fn text_content(&self, root: NodeId, max: usize) -> String {
        let mut text = String::new();
        for id in self.descendants(root) {
            if text.len() >= max {
                break;
            }
            let own = self.text(id);
            text.push_str(&own[..own.floor_char_boundary(max.max(MIN_CUT))]);
        }
        text
    }

    #[inline]
    fn str(&self, span: Span) -> &str {
        let (text, len) =
            if span.len & OWNED == 0 { (self.source, span.len) } else { (self.owned.as_str(), span.len & !OWNED) };
        text.get(span.start as usize..(span.start + len) as usize).unwrap_or_default()
    }

    fn push(&mut self, tag: Tag, data: Span) -> NodeId {
        let id = self.nodes.len() as NodeId;
        self.nodes.push(Node {
            parent: NONE,
            first: NONE,
            last: NONE,
            next: NONE,
            prev: NONE,
            tag,
            open: false,
            attr_len: 0,
            attr_start: 0,
            data,
        });
        id
    }

    fn append(&mut self, parent: NodeId, child: NodeId) {
        let last = self.nodes[parent as usize].last;
        self.nodes[child as usize].parent = parent;
        self.nodes[child as usize].prev = last;
        self.nodes[child as usize].next = NONE;
        if last == NONE {
            self.nodes[parent as usize].first = child;
        } else {
            self.nodes[last as usize].next = child;
        }
        self.nodes[parent as usize].last = child;
    }

    fn insert_before(&mut self, sibling: NodeId, child: NodeId) {
        let Node { parent, prev, .. } = *self.node(sibling);
        if parent == NONE {
            return;
        }
        self.nodes[child as usize].parent = parent;
        self.nodes[child as usize].prev = prev;
        self.nodes[child as usize].next = sibling;
        self.nodes[sibling as usize].prev = child;
        if prev == NONE {
            self.nodes[parent as usize].first = child;
        } else {
            self.nodes[prev as usize].next = child;
        }
    }

    fn detach(&mut self, id: NodeId) {
        let Node { parent, prev, next, .. } = *self.node(id);
        if parent == NONE {
            return;
        }
        match prev {
            NONE => self.nodes[parent as usize].first = next,
            prev => self.nodes[prev as usize].next = next,
        }
        match next {
            NONE => self.nodes[parent as usize].last = prev,
            next => self.nodes[next as usize].prev = prev,
        }
        let node = &mut self.nodes[id as usize];
        (node.parent, node.prev, node.next) = (NONE, NONE, NONE);
    }

    /// Moves all children of `from` to the end of `to`.
    fn move_children(&mut self, from: NodeId, to: NodeId) {
        let mut child = self.node(from).first;
        (self.nodes[from as usize].first, self.nodes[from as usize].last) = (NONE, NONE);
        while child != NONE {
            let next = self.node(child).next;
            self.append(to, child);
            child = next;
        }
    }
}
