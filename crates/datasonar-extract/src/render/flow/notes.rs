//! Footnotes: a raised link to an item of a list on the page, written as GFM has it, if both are there. And formulas.

use std::collections::HashMap;

use super::{Indented, Writer};
use crate::{
    ExtractError,
    budget::Budget,
    dom::{Dom, NodeId, Tag},
    notes::{called, leads_back},
    render::{
        Page,
        beside::is_remark,
        math::{Formula, formula, is_formula},
    },
    text::is_space,
};

/// Footnotes of one page, at most.
const MAX_NOTES: usize = 10_000;

/// The footnotes of what is selected: links to them, and their items, by node.
#[derive(Default)]
pub(in crate::render) struct Notes {
    labels: HashMap<NodeId, u32>,
    /// Whether there are formulas: then a dollar sign is not just one.
    pub(super) math: bool,
}

impl Notes {
    /// The number of a footnote, by its call or its item.
    pub(in crate::render) fn label(&self, id: NodeId) -> Option<u32> {
        self.labels.get(&id).copied()
    }

    pub(in crate::render) fn of(page: &Page<'_>, budget: &Budget<'_>) -> Result<Self, ExtractError> {
        let dom = page.dom;
        let mut calls: Vec<(NodeId, &str)> = Vec::new();
        let mut items: HashMap<&str, NodeId> = HashMap::new();
        let mut math = false;
        for &root in &page.selection.roots {
            let mut next = Some(root);
            while let Some(id) = next {
                budget.spend(0)?;
                let removed = page.selection.is_removed(id);
                if !removed && calls.len() < MAX_NOTES {
                    match dom.tag(id) {
                        Tag::Math | Tag::Script | Tag::Img => math |= is_formula(dom, id),
                        Tag::A => calls.extend(called(dom, id).map(|target| (id, target))),
                        Tag::Li => {
                            if let Some(name) =
                                dom.attr(id, "id").filter(|_| stands_by_itself(dom, id) && reads_as_note(page, id))
                            {
                                budget.reserve_entry(&mut items)?;
                                items.entry(name).or_insert(id);
                            }
                        }
                        _ => {}
                    }
                }
                next = dom.following(root, id, removed);
            }
        }
        let mut notes = Self { math, ..Self::default() };
        let mut count = 0;
        for (call, target) in calls {
            // A link that its own footnote is in says more than a number.
            if let Some(&item) = items.get(target)
                && !dom.ancestors(item).any(|around| around == call)
            {
                let label = *notes.labels.entry(item).or_insert_with(|| {
                    count += 1;
                    count
                });
                notes.labels.insert(call, label);
            }
        }
        Ok(notes)
    }
}

/// Whether an item is in one list at most, and in no quote or table.
fn stands_by_itself(dom: &Dom<'_>, id: NodeId) -> bool {
    let mut lists = 0;
    !dom.ancestors(id).any(|id| match dom.tag(id) {
        Tag::Li | Tag::Blockquote | Tag::Td | Tag::Th | Tag::Dt | Tag::Pre | Tag::Code => true,
        tag if tag.is_list() => {
            lists += 1;
            lists > 1
        }
        tag => tag.is_heading() || is_remark(dom, id),
    })
}

/// Whether an item says enough to be a footnote: what calls an empty one is just a link. To readers of Markdown that know no footnotes, one
/// of a single word would define a link to that word, so that its line must have two, the second of which begins no title. Items that stand
/// by themselves are in none other, so that each node is looked at once.
fn reads_as_note(page: &Page<'_>, item: NodeId) -> bool {
    const MAX_LINE: usize = 4096;
    let dom = page.dom;
    let mut line = String::new();
    let mut next = Some(item);
    while let Some(id) = next {
        let tag = dom.tag(id);
        let passed = page.selection.is_removed(id) || tag == Tag::A && leads_back(dom, id);
        if !passed {
            let has_words = !line.chars().all(is_space);
            let is_code = matches!(tag, Tag::Pre | Tag::Listing | Tag::Xmp | Tag::Plaintext | Tag::Table);
            if id != item && (is_code || has_words && (tag.is_block() || tag == Tag::Br)) || line.len() > MAX_LINE {
                break;
            }
            let text = dom.text(id);
            line.push_str(&text[..text.floor_char_boundary(MAX_LINE)]);
        }
        next = dom.following(item, id, passed);
    }
    let mut words = line.split(is_space).filter(|word| !word.is_empty());
    let (_, second, last) = (words.next(), words.next(), line.trim_end_matches(is_space).chars().next_back());
    second.is_some_and(|word| !(word.starts_with(['"', '\'', '(']) && matches!(last, Some('"' | '\'' | ')'))))
}

impl Writer<'_> {
    /// Writes a call of a footnote; answers whether the link was one.
    pub(super) fn note_call(&mut self, id: NodeId) -> bool {
        let Some(label) = self.notes.labels.get(&id) else { return false };
        let call = if self.markdown { format!("[^{label}]") } else { format!("[{label}]") };
        self.raw(&call);
        true
    }

    /// Begins a footnote; answers whether the item was one.
    pub(super) fn note(&mut self, id: NodeId) -> bool {
        let is_free = self.single_line == 0 && self.indents == 0;
        let Some(label) = self.notes.labels.get(&id).copied().filter(|_| is_free) else { return false };
        self.block(2);
        self.indent(id, "    ", Indented::Part);
        let marker = if self.markdown { format!("[^{label}]: ") } else { format!("[{label}] ") };
        self.bullets.push((self.prefix.len() - 4, marker));
        true
    }

    /// Takes back footnotes that readers who know none would read as definitions of links: those whose first line is an address, perhaps with
    /// a title.
    pub(super) fn settle_notes(&mut self) {
        for begin in std::mem::take(&mut self.note_starts).into_iter().rev() {
            let Some(note) = self.out.get(begin..) else { continue };
            let line = note.lines().next().unwrap_or_default();
            let mut words = line.split(' ').skip(1).filter(|word| !word.is_empty());
            let (_, second) = (words.next(), words.next());
            if second.is_none_or(|word| word.starts_with(['"', '\'', '('])) {
                self.out.insert(begin, '\\');
            }
        }
    }

    /// Writes a formula; answers whether the element was one.
    pub(super) fn formula(&mut self, id: NodeId, budget: &Budget<'_>) -> Result<bool, ExtractError> {
        let Some(Formula { tex, is_block }) = formula(&self.page, id, budget)? else { return Ok(false) };
        let stands = is_block && self.single_line == 0;
        let signs = match (self.markdown, stands) {
            (true, true) => "$$",
            (true, false) => "$",
            (false, _) => "",
        };
        if stands {
            self.block(2);
        }
        self.raw(&format!("{signs}{tex}{signs}"));
        if stands {
            self.block(2);
        }
        Ok(true)
    }

    /// Writes a word that is markup itself.
    pub(super) fn raw(&mut self, word: &str) {
        self.begin_word();
        if self.in_cell {
            self.out.push_str(&word.replace('|', "\\|"));
        } else {
            self.out.push_str(word);
        }
    }
}
