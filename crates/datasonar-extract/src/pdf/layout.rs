//! Lines → paragraphs, headings, lists, tables and code: what sizes, gaps and indents tell.

use super::lines::{Line, Linked};
use crate::{ExtractError, budget::Budget};

/// Levels of headings that sizes are told apart into, at most.
const MAX_LEVELS: usize = 5;
/// The longest heading, in bytes.
const MAX_HEADING: usize = 240;
/// Columns of a table, at most.
const MAX_COLUMNS: usize = 30;

/// A part of a document.
#[derive(Debug)]
pub(super) enum Block {
    Heading(u8, Linked),
    Paragraph(Linked),
    Item { number: Option<u32>, text: Linked },
    Table(Vec<Vec<Linked>>),
    Code(String),
}

/// Lines that belong together.
struct Group {
    text: Linked,
    size: f32,
    bold: bool,
    lines: usize,
    /// The item's number; `Some(None)` for bullets.
    marker: Option<Option<u32>>,
}

/// Puts the lines of all pages together.
pub(super) fn blocks(lines: &[Line], budget: &Budget<'_>) -> Result<Vec<Block>, ExtractError> {
    let body = body_size(lines);
    let mut parts: Vec<Result<Group, Block>> = Vec::new();
    let mut at = 0;
    let mut last: Option<&Line> = None;
    while at < lines.len() {
        let line = &lines[at];
        budget.spend(line.len() + 64)?;
        // Copied, joined and doubled as it grows; its links, too.
        let links: usize = line.cells.iter().flat_map(|(_, cell)| &cell.links).map(|(_, url)| url.len() + 64).sum();
        budget.allocate(line.len() * 4 + links * 2)?;
        budget.reserve(&mut parts, 1)?;
        let code = lines[at..].iter().take_while(|next| next.mono && next.page == line.page).count();
        if code >= 2 {
            budget.allocate(lines[at..at + code].iter().map(|line| line.len() * 2 + 400).sum())?;
            parts.push(Err(Block::Code(self::code(&lines[at..at + code]))));
            (at, last) = (at + code, None);
            continue;
        }
        let rows = table_rows(&lines[at..]);
        if rows >= 3 {
            budget.spend(rows * 512)?;
            let table_memory = |line: &Line| line.len() * 2 + MAX_COLUMNS * size_of::<Linked>();
            budget.allocate(lines[at..at + rows].iter().map(table_memory).sum())?;
            parts.push(Err(Block::Table(table(&lines[at..at + rows]))));
            (at, last) = (at + rows, None);
            continue;
        }
        let text = line.whole();
        let (marker, text) = marker(text);
        match (parts.last_mut(), last) {
            (Some(Ok(group)), Some(before)) if marker.is_none() && goes_on(group, before, line, &text.text) => {
                join(&mut group.text, &text);
                group.lines += 1;
            }
            _ => parts.push(Ok(Group { text, size: line.size, bold: line.bold, lines: 1, marker })),
        }
        last = Some(line);
        at += 1;
    }
    budget.allocate(parts.len() * size_of::<Block>())?;
    Ok(named(parts, body))
}

/// The size that most of the text has.
fn body_size(lines: &[Line]) -> f32 {
    let mut sizes: Vec<(i32, usize)> = Vec::new();
    for line in lines {
        let size = (line.size * 4.0).round() as i32;
        match sizes.iter().position(|(known, _)| *known == size) {
            Some(at) => sizes[at].1 += line.len(),
            None if sizes.len() < 256 => sizes.push((size, line.len())),
            None => {}
        }
    }
    sizes.into_iter().max_by_key(|(_, count)| *count).map_or(10.0, |(size, _)| size as f32 / 4.0)
}

/// Whether a line goes on with what the line before it belongs to.
fn goes_on(group: &Group, before: &Line, line: &Line, text: &str) -> bool {
    let size = group.size.max(line.size);
    if (group.size - line.size).abs() > 0.06 * size || group.bold != line.bold {
        return false;
    }
    let begins_small = text.starts_with(|first: char| first.is_lowercase() || !first.is_alphanumeric() && first != '•');
    let ends_open = !group.text.text.trim_end().ends_with(['.', '!', '?', ':', '。', '！', '？', '”', '"']);
    let down = before.y - line.y;
    // The next column or page.
    if line.page != before.page || down < -0.2 * size || down > 12.0 * size {
        return begins_small && ends_open;
    }
    let indented = line.x - before.x > 0.9 * size && group.marker.is_none() && group.lines > 1;
    let outdented = before.x - line.x > 0.9 * size && group.marker.is_some() && group.lines > 1;
    if down > 1.75 * size || indented || outdented {
        return down < 2.4 * size && begins_small && ends_open && !indented && !outdented;
    }
    // A line that ends early, with a sentence, ends the paragraph.
    let is_short = before.end < line.end - 4.0 * size;
    !(is_short && !ends_open && !begins_small)
}

/// Adds a line to a paragraph: hyphens go, and words are parted by spaces where the script parts them.
fn join(text: &mut Linked, line: &Linked) {
    let end = text.text.trim_end().len();
    text.text.truncate(end);
    let mut tail = text.text.chars().rev();
    let (last, before) = (tail.next(), tail.next());
    let first = line.text.chars().next();
    let is_hyphen = matches!(last, Some('-' | '\u{ad}' | '\u{2010}'));
    if is_hyphen && before.is_some_and(char::is_lowercase) && first.is_some_and(char::is_lowercase) {
        text.text.pop();
        let len = text.text.len();
        text.links.iter_mut().for_each(|(range, _)| range.end = range.end.min(len));
    } else if !(last.is_some_and(is_wide) && first.is_some_and(is_wide)) {
        text.text.push(' ');
    }
    text.push(line);
}

/// Whether a character stands without spaces around.
fn is_wide(character: char) -> bool {
    matches!(u32::from(character), 0x3000..=0x30FF | 0x3400..=0x9FFF | 0xF900..=0xFAFF | 0xFF00..=0xFFEF)
}

/// The marker of a list's item, and the text without it.
fn marker(mut text: Linked) -> (Option<Option<u32>>, Linked) {
    let trimmed = text.text.trim_start();
    let lead = text.text.len() - trimmed.len();
    let cut = match trimmed.chars().next() {
        Some(sign @ ('•' | '◦' | '▪' | '‣' | '●' | '○' | '■' | '∙' | '\u{f0b7}' | '\u{f0a7}')) => {
            Some((sign.len_utf8(), None))
        }
        Some(sign @ ('-' | '–' | '*' | '·')) if trimmed[sign.len_utf8()..].starts_with(' ') => {
            Some((sign.len_utf8(), None))
        }
        Some('0'..='9') => {
            let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
            let rest = &trimmed[digits..];
            let is_marker = digits <= 3 && (rest.starts_with(". ") || rest.starts_with(") "));
            is_marker.then(|| (digits + 1, trimmed[..digits].parse().ok()))
        }
        _ => None,
    };
    let Some((len, number)) = cut.filter(|(len, _)| trimmed.len() > *len) else { return (None, text) };
    let rest = &text.text[lead + len..];
    let by = lead + len + (rest.len() - rest.trim_start().len());
    text.text.drain(..by);
    text.links.retain(|(range, _)| range.end > by);
    text.links.iter_mut().for_each(|(range, _)| *range = range.start.saturating_sub(by)..range.end - by);
    (Some(number), text)
}

/// How many lines from here on are rows of a table.
fn table_rows(lines: &[Line]) -> usize {
    let Some(first) = lines.first().filter(|line| line.cells.len() >= 2) else { return 0 };
    let starts = |line: &Line| -> Vec<f32> { line.cells.iter().map(|(x, _)| *x).collect() };
    let columns = starts(first);
    let mut rows = 1;
    for (before, line) in lines.iter().zip(&lines[1..]) {
        let down = before.y - line.y;
        let follows = line.page == first.page && down > 0.0 && down < 4.0 * first.size;
        let close = |x: f32| columns.iter().any(|column| (column - x).abs() < 2.5 * first.size);
        let shared = starts(line).into_iter().filter(|x| close(*x)).count();
        if !follows || line.cells.len() < 2 || shared < 2 && shared < line.cells.len() || shared == 0 {
            break;
        }
        rows += 1;
    }
    rows
}

/// The cells of rows, by column: where most cells of the longest row begin.
fn table(lines: &[Line]) -> Vec<Vec<Linked>> {
    let widest = lines.iter().max_by_key(|line| line.cells.len());
    let mut columns: Vec<f32> = widest.map_or(Vec::new(), |line| line.cells.iter().map(|(x, _)| *x).collect());
    columns.truncate(MAX_COLUMNS);
    lines
        .iter()
        .map(|line| {
            let mut row = vec![Linked::default(); columns.len()];
            let mut from = 0;
            for (x, cell) in &line.cells {
                let apart = |at: &usize| (columns[*at] - x).abs();
                let nearest = (from..columns.len()).min_by(|a, b| apart(a).total_cmp(&apart(b)));
                let at = nearest.unwrap_or(columns.len().saturating_sub(1));
                if let Some(place) = row.get_mut(at) {
                    if !place.text.is_empty() {
                        place.text.push(' ');
                    }
                    place.push(cell);
                }
                from = (at + 1).min(columns.len());
            }
            row
        })
        .collect()
}

/// Lines of code, indented as they stand.
fn code(lines: &[Line]) -> String {
    let left = lines.iter().map(|line| line.x).fold(f32::INFINITY, f32::min);
    let mut text = String::new();
    let mut before: Option<&Line> = None;
    for line in lines {
        if before.is_some_and(|before| before.y - line.y > 2.0 * line.size) {
            text.push('\n');
        }
        let width = (line.size * 0.6).max(0.1);
        let mut column = 0;
        for (x, cell) in &line.cells {
            let wanted = (((x - left) / width).round().max(0.0) as usize).min(200);
            text.extend(std::iter::repeat_n(' ', wanted.saturating_sub(column)));
            text.push_str(cell.text.trim_end());
            column = wanted.max(column) + cell.text.trim_end().chars().count();
        }
        text.push('\n');
        before = Some(line);
    }
    text
}

/// Tells headings from paragraphs.
fn named(parts: Vec<Result<Group, Block>>, body: f32) -> Vec<Block> {
    let key = |size: f32| (size * 2.0).round() as i32;
    let is_short = |group: &Group| {
        group.text.text.len() <= MAX_HEADING
            && group.lines <= 4
            && group.text.text.chars().any(char::is_alphabetic)
            && !group.text.text.trim_end().ends_with([',', ';'])
    };
    let mut sizes: Vec<i32> = Vec::new();
    let mut bold = 0;
    let mut all = 0;
    for group in parts.iter().filter_map(|part| part.as_ref().ok()) {
        all += group.text.text.len();
        bold += if group.bold { group.text.text.len() } else { 0 };
        if group.size > 1.13 * body && is_short(group) && !sizes.contains(&key(group.size)) && sizes.len() < 64 {
            sizes.push(key(group.size));
        }
    }
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let bold_tells = bold * 3 < all;
    let level_of = |group: &Group| -> Option<u8> {
        if !is_short(group) {
            return None;
        }
        let text = group.text.text.trim_end();
        if group.size > 1.13 * body {
            let at = sizes.iter().position(|size| *size == key(group.size)).unwrap_or(sizes.len());
            return Some(at.min(MAX_LEVELS - 1) as u8 + 1);
        }
        let stands_out = group.bold && bold_tells && group.lines == 1 && text.len() < 100;
        (stands_out && group.size >= 0.95 * body && !text.ends_with(['.', ':', '?', '!']))
            .then(|| sizes.len().clamp(1, MAX_LEVELS - 1) as u8 + 1)
    };
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Err(block) => blocks.push(block),
            Ok(group) => {
                let level = level_of(&group);
                match (level, group.marker) {
                    (Some(level), None) => blocks.push(Block::Heading(level, group.text)),
                    (Some(level), Some(Some(number))) => {
                        // "1. Introduction" is a heading with its number.
                        let mut text = Linked { text: format!("{number}. "), links: Vec::new() };
                        text.push(&group.text);
                        blocks.push(Block::Heading(level, text));
                    }
                    (_, Some(number)) => blocks.push(Block::Item { number, text: group.text }),
                    (None, None) => blocks.push(Block::Paragraph(group.text)),
                }
            }
        }
    }
    blocks
}
