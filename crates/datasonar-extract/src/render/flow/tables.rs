//! Tables that hold data: a line per row. What spans rows or columns is written once, and its other places stay empty.

use super::{Undo, Writer};
use crate::{
    dom::{NodeId, Tag},
    render::tables::{Grid, rows_spanned, span},
};

/// The table being written.
#[derive(Default)]
pub(super) struct Open {
    rows: u32,
    columns: u32,
    grid: Grid,
}

impl Writer<'_> {
    pub(super) fn table_part(&mut self, id: NodeId, tag: Tag) {
        match tag {
            Tag::Table => {
                self.block(2);
                let columns = if self.single_line == 0 { self.tables.columns(id) } else { None };
                if let Some(columns) = columns {
                    self.table = Some(Open { columns, ..Open::default() });
                    self.undo.push((id, Undo::Table));
                } else {
                    self.undo.push((id, Undo::Block(2)));
                }
            }
            Tag::Tr if self.table.is_some() && self.single_line == 0 => {
                self.block(1);
                self.undo.push((id, Undo::Row));
            }
            Tag::Td | Tag::Th if self.table.is_some() && self.single_line == 0 => self.cell(id),
            Tag::Caption if self.table.is_some() && self.single_line == 0 => {
                self.block(2);
                self.single_line += 1;
                self.undo.push((id, Undo::Caption));
            }
            // Cells of a table that only arranges are paragraphs.
            Tag::Td | Tag::Th if self.markdown => self.enter_block(id, 2),
            _ => self.enter_block(id, 1),
        }
    }

    fn cell(&mut self, id: NodeId) {
        self.skip_taken();
        self.begin_cell();
        self.single_line += 1;
        self.in_cell = true;
        let dom = self.page.dom;
        let span = span(dom.attr(id, "colspan"));
        let rows = rows_spanned(dom.attr(id, "rowspan"));
        if let Some(table) = &mut self.table {
            table.grid.put(span, rows);
        }
        self.undo.push((id, Undo::Cell { span }));
    }

    fn begin_cell(&mut self) {
        if self.markdown {
            if self.breaks > 0 || !self.line_begun {
                // Emphasis around a table is opened within its cells.
                self.begin_line();
                self.out.push('|');
            }
            self.out.push(' ');
        }
        self.space = false;
    }

    /// Writes the empty places below cells that span rows.
    fn skip_taken(&mut self) {
        while self.table.as_mut().is_some_and(|table| table.grid.skip()) {
            if self.markdown {
                self.begin_cell();
            }
            self.close_cell(1);
        }
    }

    pub(super) fn end_cell(&mut self, span: u32) {
        self.suspend_marks();
        self.single_line -= 1;
        self.in_cell = false;
        self.space = false;
        self.close_cell(span);
    }

    fn close_cell(&mut self, span: u32) {
        if self.markdown {
            for _ in 0..span {
                self.out.push_str(if self.out.ends_with(' ') { "|" } else { " |" });
            }
        } else {
            self.tab = true;
        }
    }

    pub(super) fn end_row(&mut self) {
        if self.line_begun && self.breaks == 0 {
            self.skip_taken();
        }
        self.tab = false;
        if let Some(table) = &mut self.table {
            let at = table.grid.at();
            table.grid.end_row();
            if self.markdown && self.line_begun && self.breaks == 0 {
                table.rows += 1;
                let (rows, columns) = (table.rows, table.columns);
                for _ in at..columns {
                    self.out.push_str(if self.out.ends_with(' ') { "|" } else { " |" });
                }
                if rows == 1 {
                    self.new_line();
                    self.out.push('|');
                    for _ in 0..columns {
                        self.out.push_str(" --- |");
                    }
                }
            }
        }
        self.block(1);
    }
}
