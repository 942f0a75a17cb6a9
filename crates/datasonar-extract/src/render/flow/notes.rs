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
                                dom.attr(id, "id").filter(|_| stands_by_itself(dom, id) && has_words(page, id))
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

/// Whether an item says anything, apart from where it was called: what calls an empty one is just a link. Items that stand by themselves are in
/// none other, so that each node is looked at once.
fn has_words(page: &Page<'_>, item: NodeId) -> bool {
    let dom = page.dom;
    let mut next = Some(item);
    while let Some(id) = next {
        let passed = page.selection.is_removed(id) || dom.tag(id) == Tag::A && leads_back(dom, id);
        if !passed && !dom.text(id).chars().all(is_space) {
            return true;
        }
        next = dom.following(item, id, passed);
    }
    false
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
