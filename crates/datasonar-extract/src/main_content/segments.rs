//! A page cut into segments: runs of text that stand together, the units of which each is content or not.
//!
//! A segment is what one block says before another block begins. Elements that lie side by side without text between
//! them (`<div><a>One</a><a>Two</a></div>`) are parted as well: pages built of spans and custom elements have few others.
//! Segments are numbered in document order, so that what an element holds is a range of them.

use crate::{
    ExtractError,
    budget::Budget,
    content::{Selection, Shown, shown},
    dom::{BODY, Dom, NONE, NodeId, Tag},
    text::is_space,
};

use super::shape::{PageWords, Shape};

/// No segment, element or group.
pub(super) const NO: u32 = u32::MAX;

/// What an element is within, itself included, one bit each.
pub(super) mod within {
    pub(crate) const ARTICLE: u32 = 1;
    pub(crate) const MAIN: u32 = 1 << 1;
    pub(crate) const NAV: u32 = 1 << 2;
    pub(crate) const HEADER: u32 = 1 << 3;
    pub(crate) const FOOTER: u32 = 1 << 4;
    pub(crate) const ASIDE: u32 = 1 << 5;
    pub(crate) const FORM: u32 = 1 << 6;
    pub(crate) const LIST: u32 = 1 << 7;
    pub(crate) const TABLE: u32 = 1 << 8;
    pub(crate) const FIGURE: u32 = 1 << 9;
    pub(crate) const SECTION: u32 = 1 << 10;
    pub(crate) const HIDDEN: u32 = 1 << 11;
    pub(crate) const NOSCRIPT: u32 = 1 << 12;
    pub(crate) const BUTTON: u32 = 1 << 13;
    pub(crate) const DIALOG: u32 = 1 << 14;
    pub(crate) const LINK: u32 = 1 << 15;
    pub(crate) const HEADING: u32 = 1 << 16;
    pub(crate) const TERMS: u32 = 1 << 17;
    pub(crate) const QUOTE: u32 = 1 << 18;
    pub(crate) const ITEM: u32 = 1 << 19;
    pub(crate) const CODE: u32 = 1 << 20;
}

/// An element of the page that may be shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element {
    pub(super) id: NodeId,
    /// Its parent's place in [`Segments::elements`]; its own for the body.
    pub(super) parent: u32,
    pub(super) within: u32,
    pub(super) depth: u16,
    pub(super) lists: u8,
    /// Whether text inside is apart from text outside.
    pub(super) parts: bool,
    /// The segments that it holds, from … up to.
    pub(super) begin: u32,
    pub(super) end: u32,
}

/// A run of text.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// The place of the element that it stands in.
    pub(super) element: u32,
    pub(super) shape: Shape,
}

/// A page, cut.
#[derive(Default)]
pub(super) struct Segments {
    pub(super) list: Vec<Segment>,
    pub(super) elements: Vec<Element>,
    /// By node: the segment of a text, the place of an element, or [`NO`].
    pub(super) of: Vec<u32>,
}

impl Segments {
    /// Cuts what of the body is not left out.
    pub(super) fn of(
        dom: &Dom<'_>,
        selection: &Selection,
        words: &PageWords,
        budget: &Budget<'_>,
    ) -> Result<Self, ExtractError> {
        budget.allocate(dom.len() * size_of::<u32>())?;
        let mut cut = Cut {
            dom,
            words,
            segments: Self { of: vec![NO; dom.len()], ..Self::default() },
            open: false,
            before: Vec::with_capacity(64),
        };
        let mut id = BODY;
        loop {
            budget.spend(dom.text(id).len() * 4)?;
            budget.reserve(&mut cut.segments.elements, 1)?;
            budget.reserve(&mut cut.segments.list, 1)?;
            let descend = !selection.is_removed(id) && cut.enter(id);
            let first = dom.node(id).first;
            if descend && first != NONE {
                id = first;
                continue;
            }
            loop {
                cut.leave(id);
                if id == BODY {
                    for segment in &mut cut.segments.list {
                        segment.shape.finish(words);
                    }
                    return Ok(cut.segments);
                }
                let node = dom.node(id);
                if node.next != NONE {
                    id = node.next;
                    break;
                }
                id = node.parent;
            }
        }
    }

    /// The place of the element that is up from `at`; its own for the body.
    #[inline]
    pub(super) fn parent(&self, at: u32) -> u32 {
        self.elements[at as usize].parent
    }
}

struct Cut<'a> {
    dom: &'a Dom<'a>,
    words: &'a PageWords,
    segments: Segments,
    /// Whether the last segment goes on.
    open: bool,
    /// The places of the open elements.
    before: Vec<u32>,
}

impl Cut<'_> {
    fn enter(&mut self, id: NodeId) -> bool {
        let tag = self.dom.tag(id);
        if tag == Tag::Text {
            self.text(id);
            return true;
        }
        if tag == Tag::Br {
            self.gap();
            return false;
        }
        let parent = self.before.last().copied();
        let above = parent.map(|at| self.segments.elements[at as usize]);
        let place = self.segments.elements.len() as u32;
        let parts = self.parts(id, tag, above.as_ref());
        self.open &= !parts;
        let begin = self.segments.list.len() as u32 - u32::from(self.open);
        self.segments.of[id as usize] = place;
        self.segments.elements.push(Element {
            id,
            parent: parent.unwrap_or(place),
            within: above.map_or(0, |above| above.within) | self.own_bits(id, tag),
            depth: above.map_or(0, |above| above.depth + 1),
            lists: above
                .map_or(0, |above| above.lists)
                .saturating_add(u8::from(matches!(tag, Tag::Ul | Tag::Ol | Tag::Menu))),
            parts,
            begin,
            end: begin,
        });
        self.before.push(place);
        true
    }

    fn leave(&mut self, id: NodeId) {
        let place = self.segments.of[id as usize];
        if self.dom.tag(id) == Tag::Text || place == NO {
            return;
        }
        self.before.pop();
        let end = self.segments.list.len() as u32;
        let element = &mut self.segments.elements[place as usize];
        element.end = end.max(element.begin);
        self.open &= !element.parts;
    }

    /// Whether what is inside an element is apart from what is around it.
    fn parts(&self, id: NodeId, tag: Tag, above: Option<&Element>) -> bool {
        if tag.is_block() || matches!(tag, Tag::Button | Tag::Label | Tag::Summary | Tag::Body) {
            return true;
        }
        let Some(above) = above else { return true };
        let is_of_a_line = matches!(
            self.dom.tag(above.id),
            Tag::P | Tag::Pre | Tag::Code | Tag::A | Tag::Strong | Tag::B | Tag::Em | Tag::I | Tag::Time
        ) || self.dom.tag(above.id).is_heading();
        let may = matches!(tag, Tag::A | Tag::Span | Tag::Unknown | Tag::Time | Tag::Small | Tag::Strong | Tag::Em);
        may && !is_of_a_line && self.stands_alone(id)
    }

    /// Whether there is no text right before or after the element.
    fn stands_alone(&self, id: NodeId) -> bool {
        let node = self.dom.node(id);
        let blank = |at: NodeId| {
            at == NONE
                || match self.dom.tag(at) {
                    Tag::Text => {
                        let text = self.dom.text(at);
                        text.len() <= 256 && text.chars().all(is_space)
                    }
                    tag => {
                        tag.is_block()
                            || matches!(
                                tag,
                                Tag::Span
                                    | Tag::A
                                    | Tag::Unknown
                                    | Tag::Br
                                    | Tag::Img
                                    | Tag::Button
                                    | Tag::Svg
                                    | Tag::Time
                            )
                    }
                }
        };
        blank(node.prev) && blank(node.next)
    }

    fn own_bits(&self, id: NodeId, tag: Tag) -> u32 {
        use within::*;
        let by_tag = match tag {
            Tag::Article => ARTICLE,
            Tag::Main => MAIN,
            Tag::Nav => NAV,
            Tag::Header => HEADER,
            Tag::Footer => FOOTER,
            Tag::Aside => ASIDE,
            Tag::Form | Tag::Fieldset => FORM,
            Tag::Ul | Tag::Ol | Tag::Menu => LIST,
            Tag::Li => ITEM,
            Tag::Table => TABLE,
            Tag::Figure => FIGURE,
            Tag::Section => SECTION,
            Tag::Noscript => NOSCRIPT,
            Tag::Button | Tag::Label => BUTTON,
            Tag::Dialog => DIALOG,
            Tag::A => LINK,
            Tag::Dl => TERMS,
            Tag::Blockquote => QUOTE,
            Tag::Pre | Tag::Code => CODE,
            tag if tag.is_heading() => HEADING,
            _ => 0,
        };
        let by_role = match self.dom.attr(id, "role") {
            Some("navigation" | "menu" | "menubar") => NAV,
            Some("banner") => HEADER,
            Some("contentinfo") => FOOTER,
            Some("complementary") => ASIDE,
            Some("main") => MAIN,
            Some("article") => ARTICLE,
            Some("dialog" | "alertdialog") => DIALOG,
            Some("button" | "tab") => BUTTON,
            Some("heading") => HEADING,
            Some("search" | "form") => FORM,
            _ => 0,
        };
        let hidden = if tag != Tag::Noscript && shown(self.dom, id) == Shown::Folded { HIDDEN } else { 0 };
        by_tag | by_role | hidden
    }

    fn gap(&mut self) {
        if self.open
            && let Some(segment) = self.segments.list.last_mut()
        {
            segment.shape.gap();
        }
    }

    fn text(&mut self, id: NodeId) {
        let text = self.dom.text(id);
        if text.chars().all(is_space) {
            self.gap();
            return;
        }
        let Some(&at) = self.before.last() else { return };
        let within = self.segments.elements[at as usize].within;
        if !self.open {
            // A segment stands in the nearest element that parts it from others.
            let mut element = at;
            while !self.segments.elements[element as usize].parts {
                element = self.segments.parent(element);
            }
            self.segments.list.push(Segment { element, shape: Shape::default() });
            self.open = true;
        }
        self.segments.of[id as usize] = self.segments.list.len() as u32 - 1;
        if let Some(segment) = self.segments.list.last_mut() {
            segment.shape.add(text, within & within::LINK != 0, self.words);
        }
    }
}
