//! Which tables hold data, and which only arrange the page.

use std::collections::HashMap;

use crate::{
    ExtractError,
    budget::Budget,
    dom::{NodeId, Tag},
    text::is_space,
};

use super::{Page, math::formula};

/// Columns of a table that is written as one, at most.
const MAX_COLUMNS: u32 = 100;
/// Cells that one cell may span, at most.
pub(super) const MAX_SPAN: usize = 20;

/// The tables that hold data, with the number of their columns.
pub(super) struct DataTables(HashMap<NodeId, u32>);

/// Where the cells of a table stand, as HTML places them: a cell that spans rows takes its columns from the rows below.
#[derive(Debug, Default)]
pub(super) struct Grid {
    /// The next cell's column.
    at: u32,
    /// By column: rows that are still taken by a cell above, the current one among them.
    taken: Vec<u32>,
}

impl Grid {
    /// How many places of the row are behind: cells, and what cells above take.
    pub(super) fn at(&self) -> u32 {
        self.at
    }

    /// Passes the next place if a cell above takes it; answers whether one does.
    pub(super) fn skip(&mut self) -> bool {
        let is_taken = self.taken.get(self.at as usize).is_some_and(|rows| *rows > 0);
        self.at += u32::from(is_taken);
        is_taken
    }

    /// Puts a cell into the next place.
    pub(super) fn put(&mut self, columns: u32, rows: u32) {
        let (from, to) = (self.at as usize, (self.at + columns) as usize);
        if rows > 1 && to <= MAX_COLUMNS as usize {
            self.taken.resize(self.taken.len().max(to), 0);
            self.taken[from..to].fill(rows);
        }
        self.at += columns;
    }

    /// Ends the row.
    pub(super) fn end_row(&mut self) {
        self.taken.iter_mut().for_each(|rows| *rows = rows.saturating_sub(1));
        self.at = 0;
    }
}

#[derive(Default)]
struct Seen {
    id: NodeId,
    rows: u32,
    columns: u32,
    grid: Grid,
    arranges: bool,
    /// Whether any cell has words or a formula; pictures alone are arranged.
    has_words: bool,
}

impl DataTables {
    /// Looks at every selected table, once.
    pub(super) fn of(page: &Page<'_>, budget: &Budget<'_>) -> Result<Self, ExtractError> {
        let mut data = HashMap::new();
        let mut open: Vec<Seen> = Vec::new();
        let dom = page.dom;
        for &root in &page.selection.roots {
            let mut next = Some(root);
            while let Some(id) = next {
                budget.spend(0)?;
                let tag = dom.tag(id);
                // What a caption says is in no cell.
                let passed = page.selection.is_removed(id) || tag == Tag::Caption;
                if tag == Tag::Caption {
                    close(dom, &mut open, id, &mut data, budget)?;
                    // One in the middle would cut it in two.
                    if let Some(table) = open.last_mut() {
                        table.arranges |= table.rows > 0;
                    }
                } else if !passed {
                    match tag {
                        Tag::Table => {
                            close(dom, &mut open, id, &mut data, budget)?;
                            if let Some(outer) = open.last_mut() {
                                outer.arranges = true;
                            }
                            let arranges = matches!(dom.attr(id, "role"), Some("presentation" | "none"));
                            open.push(Seen { id, arranges, ..Seen::default() });
                        }
                        Tag::Tr => {
                            close(dom, &mut open, id, &mut data, budget)?;
                            if let Some(table) = open.last_mut() {
                                table.rows += 1;
                                table.grid.end_row();
                            }
                        }
                        Tag::Td | Tag::Th => {
                            if let Some(table) = open.last_mut() {
                                while table.grid.skip() {}
                                table.grid.put(span(dom.attr(id, "colspan")), rows_spanned(dom.attr(id, "rowspan")));
                                table.columns = table.columns.max(table.grid.at());
                            }
                        }
                        Tag::H1 | Tag::H2 | Tag::Pre | Tag::Form | Tag::Article | Tag::Section => {
                            close(dom, &mut open, id, &mut data, budget)?;
                            if let Some(table) = open.last_mut() {
                                table.arranges = true;
                            }
                        }
                        Tag::Text | Tag::Math | Tag::Script | Tag::Img
                            if open.last().is_some_and(|table| !table.has_words)
                                && (!dom.text(id).chars().all(is_space) || formula(page, id, budget)?.is_some()) =>
                        {
                            close(dom, &mut open, id, &mut data, budget)?;
                            if let Some(table) = open.last_mut() {
                                table.has_words = true;
                            }
                        }
                        _ => {}
                    }
                }
                next = dom.following(root, id, passed);
            }
            while let Some(table) = open.pop() {
                finish(table, &mut data, budget)?;
            }
        }
        Ok(Self(data))
    }

    /// The number of columns of a table that holds data.
    pub(super) fn columns(&self, table: NodeId) -> Option<u32> {
        self.0.get(&table).copied()
    }
}

/// Closes the tables that `id` is not in.
fn close(
    dom: &crate::dom::Dom<'_>,
    open: &mut Vec<Seen>,
    id: NodeId,
    data: &mut HashMap<NodeId, u32>,
    budget: &Budget<'_>,
) -> Result<(), ExtractError> {
    while let Some(last) = open.last() {
        if dom.ancestors(id).any(|at| at == last.id) {
            return Ok(());
        }
        if let Some(table) = open.pop() {
            finish(table, data, budget)?;
        }
    }
    Ok(())
}

fn finish(table: Seen, data: &mut HashMap<NodeId, u32>, budget: &Budget<'_>) -> Result<(), ExtractError> {
    if !table.arranges && table.has_words && (2..=MAX_COLUMNS).contains(&table.columns) && table.rows >= 1 {
        budget.reserve_entry(data)?;
        data.insert(table.id, table.columns);
    }
    Ok(())
}

/// How many columns a cell spans.
pub(super) fn span(colspan: Option<&str>) -> u32 {
    colspan.and_then(|span| span.trim().parse().ok()).unwrap_or(1).clamp(1, MAX_SPAN as u32)
}

/// How many rows a cell spans.
pub(super) fn rows_spanned(rowspan: Option<&str>) -> u32 {
    rowspan.and_then(|span| span.trim().parse().ok()).unwrap_or(1).clamp(1, 1000)
}
