//! Lists. Pages put more into them than items: lists right in lists, as word processors have it, text between items. Read by a CommonMark
//! parser, these would end the list or be part of the item before, so the first are nested in that item, and the others are items.

use super::{Indented, MAX_INDENTS, Undo, Writer};
use crate::{
    dom::{NONE, NodeId, Tag},
    render::beside::task,
    text::is_space,
};

/// An open list.
#[derive(Clone, Copy)]
pub(super) struct List {
    /// The next item's number; none for bullets.
    pub(super) next: Option<u32>,
    /// Marked by the other sign, to be apart from a list right before.
    pub(super) other: bool,
    /// Items begun.
    pub(super) items: u32,
    /// How far the last item's text is indented.
    pub(super) width: usize,
}

impl Writer<'_> {
    pub(super) fn list(&mut self, id: NodeId, tag: Tag) {
        let is_nested = !self.lists.is_empty() && self.page.dom.tag(self.page.dom.node(id).parent) == Tag::Li;
        let start = self.page.dom.attr(id, "start").and_then(|start| start.trim().parse().ok()).unwrap_or(1);
        let next = (tag == Tag::Ol).then_some(start);
        // A list that begins with another number than one does not end a paragraph (CommonMark 5.3).
        let needs_line = self.markdown && next.is_some_and(|next| next != 1);
        // One that stands between items belongs to the item before it, as word processors have it.
        let between = self.is_between_items();
        let width = self.lists.last().filter(|list| between && list.items > 0).map_or(0, |list| list.width);
        let is_nested = is_nested || width > 0;
        self.block(if is_nested && !needs_line { 1 } else { 2 });
        let other = self.ended.is_some_and(|(ended, written, indent)| {
            let follows = written == self.out.len() && indent == self.prefix.len() && self.bullets.is_empty();
            follows && ended.next.is_some() == next.is_some() && !ended.other
        });
        self.lists.push(List { next, other, items: 0, width: 0 });
        self.undo.push((id, Undo::List));
        if width > 0 {
            self.indent(id, &" ".repeat(width), Indented::Part);
        }
    }

    /// Whether what is written next would stand in a list and in none of its items, and could become one.
    fn is_between_items(&self) -> bool {
        self.single_line == 0
            && self.indents < MAX_INDENTS
            && self.around().is_some_and(|(id, undo)| match undo {
                Undo::List => true,
                Undo::Indent { of: Indented::Part, .. } => self.page.dom.tag(id) != Tag::Li,
                _ => false,
            })
    }

    fn is_in_item(&self) -> bool {
        self.around().is_some_and(|(_, undo)| matches!(undo, Undo::Indent { of: Indented::Item, .. }))
    }

    /// What what is written next stands in, but for paragraphs and marks.
    fn around(&self) -> Option<(NodeId, Undo)> {
        self.undo.iter().rev().find(|(_, undo)| !matches!(undo, Undo::Block(_) | Undo::Mark)).copied()
    }

    /// Begins an item for what stands between items: text, with whatever stands in its line, or a paragraph.
    pub(super) fn stray(&mut self, id: NodeId, tag: Tag) {
        const LOOK: usize = 50;
        let dom = self.page.dom;
        let fits = |id: NodeId| match dom.tag(id) {
            Tag::Li | Tag::Dt | Tag::Dd | Tag::Script | Tag::Br | Tag::Hr => false,
            tag => !tag.is_block() && !dom.descendants(id).take(LOOK).any(|id| dom.tag(id).is_block()),
        };
        let has_words = || dom.descendants(id).take(LOOK).any(|id| !dom.text(id).chars().all(is_space));
        if tag == Tag::Text && !has_words() || !self.is_between_items() {
            return;
        }
        let is_paragraph = matches!(tag, Tag::P | Tag::Div) && dom.children(id).take(LOOK).all(fits);
        if !is_paragraph && !fits(id) {
            let passes = tag.is_list() || matches!(tag, Tag::Li | Tag::Div | Tag::Section | Tag::Nav);
            // What is no item ends the one before.
            if let Some(list) = self.lists.last_mut().filter(|_| tag.is_block() && !passes) {
                list.width = 0;
            }
            return;
        }
        // A picture alone is no item.
        if !has_words() {
            return;
        }
        let mut last = id;
        while !is_paragraph && dom.node(last).next != NONE && fits(dom.node(last).next) {
            last = dom.node(last).next;
        }
        self.item(last);
    }

    pub(super) fn item(&mut self, id: NodeId) {
        if self.single_line > 0 || self.indents >= MAX_INDENTS {
            return self.enter_block(id, 1);
        }
        self.block(1);
        if let Some(list) = self.lists.last_mut() {
            // Items follow each other without an empty line, whatever ends the one before.
            self.breaks = if list.items > 0 { self.breaks.min(1) } else { self.breaks };
            list.items += 1;
        }
        // As with lists: within an item, only the number one ends a paragraph.
        if self.markdown
            && self.lists.last().is_some_and(|list| list.next.is_some_and(|next| next != 1))
            && self.is_in_item()
        {
            self.block(2);
        }
        let marker = match self.lists.last_mut() {
            Some(List { next: Some(number), other, .. }) => {
                let marker = format!("{number}{} ", if *other && self.markdown { ')' } else { '.' });
                *number = number.saturating_add(1).min(999_999_999);
                marker
            }
            Some(List { other: true, .. }) if self.markdown => "* ".to_owned(),
            _ => "- ".to_owned(),
        };
        if let Some(list) = self.lists.last_mut() {
            list.width = marker.len();
        }
        self.indent(id, &" ".repeat(marker.len()), Indented::Item);
        let at = self.prefix.len() - marker.len();
        let done = if self.markdown { task(self.page.dom, id) } else { None };
        let marker = match done {
            Some(true) => marker + "[x] ",
            Some(false) => marker + "[ ] ",
            None => marker,
        };
        self.bullets.push((at, marker));
    }
}
