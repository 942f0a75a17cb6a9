//! Text without markup: paragraphs where it flows, a block where its layout means something.

use crate::{
    ExtractError, Metadata,
    budget::Budget,
    render::{push_escaped, push_value},
};

use super::Made;

/// Lines longer than this were broken because they were full, not because they ended.
const FULL_LINE: usize = 50;

/// Plain text as markup.
pub(crate) fn plain(source: &str, budget: &Budget<'_>) -> Result<Made, ExtractError> {
    Ok(Made { markup: paragraphs(source, budget)?, metadata: Metadata::default() })
}

/// Text of a programming language, or of a format that people read as it is.
pub(crate) fn code(source: &str, language: &str, budget: &Budget<'_>) -> Result<Made, ExtractError> {
    let mut markup = String::new();
    budget.reserve_text(&mut markup, source.len() + source.len() / 16 + 128)?;
    markup.push_str("<pre><code class=\"language-");
    markup.push_str(language);
    markup.push_str("\">\n");
    push_escaped(source, &mut markup, budget)?;
    budget.push(&mut markup, "</code></pre>")?;
    Ok(Made { markup, metadata: Metadata::default() })
}

/// Text as paragraphs. What is laid out by spaces stays as it is.
pub(super) fn paragraphs(text: &str, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let mut out = String::new();
    budget.reserve_text(&mut out, text.len() + text.len() / 16)?;
    let mut block: Vec<&str> = Vec::new();
    let mut laid_out: Vec<&str> = Vec::new();
    for line in text.lines().chain(std::iter::once("")) {
        budget.spend(line.len())?;
        budget.reserve(&mut block, 1)?;
        if !line.trim().is_empty() {
            block.push(line);
            continue;
        }
        if block.is_empty() {
            continue;
        }
        // Blocks that are laid out, one after the other, are one.
        if is_laid_out(&block) {
            budget.reserve(&mut laid_out, block.len() + 1)?;
            if !laid_out.is_empty() {
                laid_out.push("");
            }
            laid_out.append(&mut block);
            continue;
        }
        write_laid_out(&mut laid_out, &mut out, budget)?;
        write_paragraph(&block, &mut out, budget)?;
        block.clear();
    }
    write_laid_out(&mut laid_out, &mut out, budget)?;
    budget.free((block.capacity() + laid_out.capacity()) * size_of::<&str>());
    Ok(out)
}

fn is_laid_out(block: &[&str]) -> bool {
    let looks = |line: &&&str| {
        let indented = line.starts_with("  ") || line.starts_with('\t');
        let inner = line.trim();
        indented || inner.contains("   ") || inner.contains('\t')
    };
    let odd = block.iter().filter(looks).count();
    odd * 2 > block.len() || block.len() > 2 && odd * 4 > block.len()
}

fn write_laid_out(lines: &mut Vec<&str>, out: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
    if lines.is_empty() {
        return Ok(());
    }
    budget.push(out, "<pre>\n")?;
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            budget.push(out, "\n")?;
        }
        push_escaped(line, out, budget)?;
    }
    lines.clear();
    budget.push(out, "</pre>\n")
}

fn write_paragraph(lines: &[&str], out: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
    let full = lines.iter().rev().skip(1).filter(|line| line.len() > FULL_LINE).count();
    let flows = full * 2 > lines.len().saturating_sub(1);
    budget.push(out, "<p>")?;
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            budget.push(out, if flows { " " } else { "<br>\n" })?;
        }
        push_linked(line, out, budget)?;
    }
    budget.push(out, "</p>\n")
}

/// Appends text as HTML, its addresses links.
pub(crate) fn push_linked(text: &str, out: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
    let mut rest = text;
    while let Some(at) = next_address(rest) {
        budget.spend(at)?;
        let tail = &rest[at..];
        let is_end =
            |next: char| next.is_whitespace() || matches!(next, '<' | '>' | '"' | '`' | '\u{ff08}' | '\u{3002}');
        let end = tail.find(is_end).unwrap_or(tail.len());
        let mut address = tail[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', ']', '}', '*', '_']);
        if address.ends_with(')') && !address.contains('(') {
            address = address.trim_end_matches([')', '.', ',', ';', ':', '!', '?']);
        }
        push_escaped(&rest[..at], out, budget)?;
        if address.len() > 10 && address.len() <= 2048 {
            budget.push(out, "<a href=\"")?;
            push_value(address, out, budget)?;
            budget.push(out, "\">")?;
            push_escaped(address, out, budget)?;
            budget.push(out, "</a>")?;
        } else {
            push_escaped(address, out, budget)?;
        }
        rest = &tail[address.len()..];
        if address.is_empty() {
            let step = tail.chars().next().map_or(0, char::len_utf8);
            push_escaped(&tail[..step], out, budget)?;
            rest = &tail[step..];
        }
    }
    push_escaped(rest, out, budget)
}

/// Where the next address begins.
fn next_address(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find("http").map(|at| from + at) {
        let rest = &text[at..];
        let begins_word = !text[..at].ends_with(|before: char| before.is_alphanumeric());
        if begins_word && (rest.starts_with("http://") || rest.starts_with("https://")) {
            return Some(at);
        }
        from = at + 4;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_kept_where_there_is_one() {
        let text =
            "A heading\nof two lines\n\nname    size\nsmall   2\n\n  and so\n  on\n\nEnd, see https://e.org/x(y).";
        let expected = "<p>A heading<br>\nof two lines</p>\n<pre>\nname    size\nsmall   2\n\n  and so\n  on</pre>\n\
            <p>End, see <a href=\"https://e.org/x(y)\">https://e.org/x(y)</a>.</p>\n";
        let budget = Budget::new(&|| false);
        assert_eq!(paragraphs(text, &budget).unwrap(), expected);
    }

    #[test]
    fn full_lines_flow() {
        let line = "These words fill a line of some sixty characters, and go on";
        let budget = Budget::new(&|| false);
        let text = format!("{line}\n{line}\nhere");
        assert_eq!(paragraphs(&text, &budget).unwrap(), format!("<p>{line} {line} here</p>\n"));
    }
}
