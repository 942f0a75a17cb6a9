//! Tables for people: columns as wide as what stands in them, colours that do not count as width.

use crate::cli::paint::Paint;

/// What stands in a column of a row, and in which colour.
pub(super) struct Cell {
    text: String,
    paint: fn(Paint, &str) -> String,
}

impl Cell {
    /// In a colour.
    pub(super) fn painted(text: impl Into<String>, paint: fn(Paint, &str) -> String) -> Self {
        Self { text: text.into(), paint }
    }

    /// Outside a table.
    pub(super) fn painted_text(&self, paint: Paint) -> String {
        (self.paint)(paint, &self.text)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(text, Paint::plain)
    }
}

/// The lines of a table: its head, then one for each row.
pub(super) fn lines<const N: usize>(head: [&str; N], rows: Vec<[Cell; N]>, paint: Paint) -> Vec<String> {
    let rows: Vec<[Cell; N]> = std::iter::once(head.map(|name| Cell::painted(name, Paint::dim))).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].text.chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[Cell; N]| {
        let mut line = String::new();
        let mut gap = 0;
        // Spaces come before what follows them: none stand at the end of a line.
        for (cell, width) in row.iter().zip(widths) {
            if !cell.text.is_empty() {
                line.push_str(&" ".repeat(gap));
                line.push_str(&cell.painted_text(paint));
                gap = 0;
            }
            gap += width - cell.text.chars().count() + 2;
        }
        line
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_with_text() {
        let rows = vec![["é".into(), "".into(), "third".into()], ["four".into(), "5".into(), "".into()]];
        assert_eq!(lines(["A", "B", "C"], rows, Paint::none()), ["A     B  C", "é        third", "four  5"]);
    }
}
