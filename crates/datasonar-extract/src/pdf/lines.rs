//! Pieces of text → lines, and which of those every page repeats.

use std::{collections::HashMap, ops::Range};

use super::show::Piece;
use crate::{ExtractError, budget::Budget};

/// Gaps as wide as this, in parts of the size, part the cells of a line.
const CELL_GAP: f32 = 1.4;
/// Gaps as wide as this, in parts of the size, part words.
const WORD_GAP: f32 = 0.17;
/// Lines at the top and at the bottom of a page that may be repeated on others.
const EDGE_LINES: usize = 3;

/// The most that a piece takes in a line besides its text: the room for four cells.
const PIECE_OF_LINE: usize = 4 * size_of::<(f32, Linked)>();

/// Where a page leads from.
pub(super) struct Area {
    pub(super) left: f32,
    pub(super) bottom: f32,
    pub(super) right: f32,
    pub(super) top: f32,
    pub(super) url: String,
}

/// Text, and what of it leads where.
#[derive(Debug, Clone, Default)]
pub(super) struct Linked {
    pub(super) text: String,
    pub(super) links: Vec<(Range<usize>, String)>,
}

impl Linked {
    pub(super) fn push(&mut self, other: &Self) {
        let by = self.text.len();
        self.text.push_str(&other.text);
        for (range, url) in &other.links {
            let range = range.start + by..range.end + by;
            match self.links.last_mut() {
                // A link that goes on in the next line.
                Some((last, same)) if same == url && range.start <= last.end + 1 => last.end = range.end,
                _ => self.links.push((range, url.clone())),
            }
        }
    }

    fn push_piece(&mut self, piece: &Piece, areas: &[Area], budget: &Budget<'_>) -> Result<(), ExtractError> {
        let near: Vec<&Area> = areas
            .iter()
            .filter(|area| {
                let middle = piece.y + piece.size * 0.3;
                area.bottom <= middle && middle <= area.top && area.left < piece.end && area.right > piece.x
            })
            .collect();
        let begin = self.text.len();
        self.text.push_str(&piece.text);
        if near.is_empty() {
            return Ok(());
        }
        for ((at, character), x) in piece.text.char_indices().zip(&piece.places) {
            let middle = x + piece.size * 0.2;
            let Some(area) = near.iter().find(|area| area.left <= middle && middle <= area.right) else { continue };
            let range = begin + at..begin + at + character.len_utf8();
            match self.links.last_mut() {
                Some((last, url)) if *url == area.url && last.end == range.start => last.end = range.end,
                _ => {
                    budget.reserve(&mut self.links, 1)?;
                    budget.allocate(area.url.len())?;
                    self.links.push((range, area.url.clone()));
                }
            }
        }
        Ok(())
    }
}

/// A line of a page.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) page: usize,
    pub(super) x: f32,
    pub(super) end: f32,
    pub(super) y: f32,
    pub(super) size: f32,
    pub(super) bold: bool,
    pub(super) mono: bool,
    /// What stands apart in it, with where it begins.
    pub(super) cells: Vec<(f32, Linked)>,
}

impl Line {
    /// The whole line, its cells parted by spaces.
    pub(super) fn whole(&self) -> Linked {
        let mut whole = Linked::default();
        for (_, cell) in &self.cells {
            if !whole.text.is_empty() {
                whole.text.push(' ');
            }
            whole.push(cell);
        }
        whole
    }

    pub(super) fn len(&self) -> usize {
        self.cells.iter().map(|(_, cell)| cell.text.len()).sum()
    }
}

/// Puts the pieces of a page into lines, in the order in which they were shown.
pub(super) fn lines(
    page: usize,
    pieces: &[Piece],
    areas: &[Area],
    budget: &Budget<'_>,
) -> Result<Vec<Line>, ExtractError> {
    let mut by_turns = [0; 4];
    for piece in pieces {
        by_turns[usize::from(piece.turns & 3)] += piece.text.len();
    }
    let most = (0..4).rev().max_by_key(|turns| by_turns[*turns]).unwrap_or(0) as u8;
    let areas = if most == 0 { areas } else { &[] };
    let mut lines: Vec<Line> = Vec::new();
    // What the last line's share of characters is of: the size and look of most of it.
    let mut longest = 0;
    for piece in pieces.iter().filter(|piece| piece.turns == most && piece.size > 0.0) {
        budget.spend(piece.text.len() + 64 * areas.len())?;
        budget.allocate(piece.text.len() * 3 + PIECE_OF_LINE)?;
        budget.reserve(&mut lines, 1)?;
        if piece.text.trim().is_empty() {
            continue;
        }
        if let Some(line) = lines.last_mut()
            && joins(line, piece)
        {
            let gap = piece.x - line.end;
            let size = line.size.max(piece.size);
            if gap > CELL_GAP * size {
                line.cells.push((piece.x, Linked::default()));
            }
            if let Some((_, cell)) = line.cells.last_mut() {
                if gap > WORD_GAP * size && !cell.text.is_empty() && !cell.text.ends_with(' ') {
                    cell.text.push(' ');
                }
                cell.push_piece(piece, areas, budget)?;
            }
            line.end = line.end.max(piece.end);
            if piece.text.len() > longest {
                longest = piece.text.len();
                (line.size, line.y) = (piece.size, piece.y);
            }
            line.bold &= piece.bold;
            line.mono &= piece.mono;
            continue;
        }
        longest = piece.text.len();
        let mut first = Linked::default();
        first.push_piece(piece, areas, budget)?;
        lines.push(Line {
            page,
            x: piece.x,
            end: piece.end,
            y: piece.y,
            size: piece.size,
            bold: piece.bold,
            mono: piece.mono,
            cells: vec![(piece.x, first)],
        });
    }
    Ok(lines)
}

/// Whether a piece stands in the line, behind what is there. Raised and lowered characters do.
fn joins(line: &Line, piece: &Piece) -> bool {
    let size = line.size.max(piece.size);
    let apart = (line.y - piece.y).abs();
    let fits = apart < 0.15 * size || apart < 0.55 * size && piece.size < 0.85 * line.size || {
        // A line that begins with what is raised.
        apart < 0.55 * size && line.size < 0.85 * piece.size && line.len() < 8
    };
    fits && piece.x > line.end - 0.6 * size
}

/// Leaves out what pages repeat at their edges, and their numbers.
pub(super) fn without_repeated(pages: &mut [Vec<Line>]) {
    let shape = |line: &Line| {
        let text: String =
            line.whole().text.chars().map(|next| if next.is_ascii_digit() { '#' } else { next }).collect();
        text.replace("##", "#").replace("##", "#")
    };
    let edges = |page: &[Line]| -> Vec<usize> {
        let mut order: Vec<usize> = (0..page.len()).collect();
        order.sort_by(|a, b| page[*b].y.total_cmp(&page[*a].y));
        let bottom = order.len().saturating_sub(EDGE_LINES).max(EDGE_LINES.min(order.len()));
        let mut edges: Vec<usize> = order[..order.len().min(EDGE_LINES)].to_vec();
        edges.extend(&order[bottom..]);
        edges
    };
    let mut counts: HashMap<String, usize> = HashMap::new();
    for page in &*pages {
        let mut shapes: Vec<String> = edges(page).into_iter().map(|at| shape(&page[at])).collect();
        shapes.sort();
        shapes.dedup();
        for shape in shapes {
            *counts.entry(shape).or_default() += 1;
        }
    }
    let many = (pages.len() / 3).max(3);
    for page in pages {
        let drop: Vec<usize> = edges(page)
            .into_iter()
            .filter(|at| {
                let shape = shape(&page[*at]);
                let is_number = matches!(shape.trim(), "#" | "- # -" | "– # –" | "Page #" | "Page # of #" | "# / #");
                is_number || counts.get(&shape).is_some_and(|count| *count >= many)
            })
            .collect();
        let mut at = 0;
        page.retain(|_| {
            at += 1;
            !drop.contains(&(at - 1))
        });
    }
}
