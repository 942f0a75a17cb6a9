//! Comma- and tab-separated values: a table.

use super::Made;
use crate::{ExtractError, Metadata, budget::Budget, render::push_escaped};

/// Columns of a table, at most.
const MAX_COLUMNS: usize = 100;

/// Values as a table, whose first row heads it.
pub(crate) fn table(source: &str, delimiter: char, budget: &Budget<'_>) -> Result<Made, ExtractError> {
    let mut table = Table { out: String::from("<table>\n"), rows: 0, row: 0, columns: 0, has_words: false };
    let mut cell = String::new();
    let mut quoted = false;
    let mut characters = source.chars().peekable();
    loop {
        budget.spend(0)?;
        budget.reserve_text(&mut cell, 4)?;
        let next = characters.next();
        match next {
            Some('"') if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            Some('"') if quoted || cell.trim().is_empty() => quoted = !quoted,
            Some(next) if quoted => cell.push(next),
            Some(next) if next == delimiter => table.cell(&mut cell, budget)?,
            None | Some('\n') => {
                table.cell(&mut cell, budget)?;
                table.end_row(budget)?;
                if next.is_none() {
                    break;
                }
            }
            Some(next) => cell.push(next),
        }
    }
    budget.push(&mut table.out, "</table>\n")?;
    budget.free(cell.capacity());
    Ok(Made { markup: table.out, metadata: Metadata::default() })
}

/// The table being written.
struct Table {
    out: String,
    rows: usize,
    /// The start of the row.
    row: usize,
    columns: usize,
    has_words: bool,
}

impl Table {
    /// Writes a cell, and empties it. Those beyond the last column are not written.
    fn cell(&mut self, cell: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
        if self.columns == 0 {
            self.row = self.out.len();
            budget.push(&mut self.out, "<tr>")?;
        }
        self.has_words |= !cell.trim().is_empty();
        self.columns += 1;
        if self.columns <= MAX_COLUMNS {
            budget.push(&mut self.out, if self.rows == 0 { "<th>" } else { "<td>" })?;
            push_escaped(cell, &mut self.out, budget)?;
            budget.push(&mut self.out, if self.rows == 0 { "</th>" } else { "</td>" })?;
        }
        cell.clear();
        Ok(())
    }

    /// Ends a row, and takes it back if it has no words.
    fn end_row(&mut self, budget: &Budget<'_>) -> Result<(), ExtractError> {
        if self.has_words {
            budget.push(&mut self.out, "</tr>\n")?;
            self.rows += 1;
        } else {
            self.out.truncate(self.row);
        }
        (self.columns, self.has_words) = (0, false);
        Ok(())
    }
}
