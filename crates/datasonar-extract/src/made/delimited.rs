//! Comma- and tab-separated values: a table.

use super::Made;
use crate::{ExtractError, Metadata, budget::Budget, render::escaped};

/// Columns of a table, at most.
const MAX_COLUMNS: usize = 100;

/// Values as a table, whose first row heads it.
pub(crate) fn table(source: &str, delimiter: char, budget: &Budget<'_>) -> Result<Made, ExtractError> {
    let mut out = String::from("<table>\n");
    let mut row: Vec<String> = Vec::new();
    let mut cell = String::new();
    let mut quoted = false;
    let mut rows = 0;
    let mut characters = source.chars().peekable();
    loop {
        budget.spend(0)?;
        let next = characters.next();
        match next {
            Some('"') if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            Some('"') if quoted || cell.trim().is_empty() => quoted = !quoted,
            Some(next) if quoted => cell.push(next),
            Some(next) if next == delimiter => row.push(std::mem::take(&mut cell)),
            None | Some('\n') => {
                row.push(std::mem::take(&mut cell));
                if row.iter().any(|cell| !cell.trim().is_empty()) {
                    let name = if rows == 0 { "th" } else { "td" };
                    let cells = row.iter().take(MAX_COLUMNS).map(|cell| format!("<{name}>{}</{name}>", escaped(cell)));
                    out.push_str(&format!("<tr>{}</tr>\n", cells.collect::<String>()));
                    rows += 1;
                }
                row.clear();
                if next.is_none() {
                    break;
                }
            }
            Some(next) => cell.push(next),
        }
    }
    out.push_str("</table>\n");
    Ok(Made { markup: out, metadata: Metadata::default() })
}
