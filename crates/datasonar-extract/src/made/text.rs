//! Text without markup: paragraphs where it flows, a block where its layout means something.

use crate::{Metadata, render::escaped, render::escaped_value};

use super::Made;

/// Lines longer than this were broken because they were full, not because they ended.
const FULL_LINE: usize = 50;

/// Plain text as markup.
pub(crate) fn plain(source: &str) -> Made {
    Made { markup: paragraphs(source), metadata: Metadata::default() }
}

/// Text of a programming language, or of a format that people read as it is.
pub(crate) fn code(source: &str, language: &str) -> Made {
    let markup = format!("<pre><code class=\"language-{language}\">\n{}</code></pre>", escaped(source));
    Made { markup, metadata: Metadata::default() }
}

/// Text as paragraphs. What is laid out by spaces stays as it is.
pub(super) fn paragraphs(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    let mut block: Vec<&str> = Vec::new();
    let mut laid_out: Vec<&str> = Vec::new();
    for line in text.lines().chain(std::iter::once("")) {
        if !line.trim().is_empty() {
            block.push(line);
            continue;
        }
        if block.is_empty() {
            continue;
        }
        // Blocks that are laid out, one after the other, are one.
        if is_laid_out(&block) {
            if !laid_out.is_empty() {
                laid_out.push("");
            }
            laid_out.append(&mut block);
            continue;
        }
        write_laid_out(&mut laid_out, &mut out);
        write_paragraph(&block, &mut out);
        block.clear();
    }
    write_laid_out(&mut laid_out, &mut out);
    out
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

fn write_laid_out(lines: &mut Vec<&str>, out: &mut String) {
    if !lines.is_empty() {
        out.push_str(&format!("<pre>\n{}</pre>\n", escaped(&lines.join("\n"))));
        lines.clear();
    }
}

fn write_paragraph(lines: &[&str], out: &mut String) {
    let full = lines.iter().rev().skip(1).filter(|line| line.len() > FULL_LINE).count();
    let flows = full * 2 > lines.len().saturating_sub(1);
    out.push_str("<p>");
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            out.push_str(if flows { " " } else { "<br>\n" });
        }
        out.push_str(&linked(line));
    }
    out.push_str("</p>\n");
}

/// Text as HTML, its addresses links.
pub(crate) fn linked(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = next_address(rest) {
        let tail = &rest[at..];
        let is_end =
            |next: char| next.is_whitespace() || matches!(next, '<' | '>' | '"' | '`' | '\u{ff08}' | '\u{3002}');
        let end = tail.find(is_end).unwrap_or(tail.len());
        let mut address = tail[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', ']', '}', '*', '_']);
        if address.ends_with(')') && !address.contains('(') {
            address = address.trim_end_matches([')', '.', ',', ';', ':', '!', '?']);
        }
        out.push_str(&escaped(&rest[..at]));
        if address.len() > 10 && address.len() <= 2048 {
            out.push_str(&format!("<a href=\"{}\">{}</a>", escaped_value(address), escaped(address)));
        } else {
            out.push_str(&escaped(address));
        }
        rest = &tail[address.len()..];
        if address.is_empty() {
            let step = tail.chars().next().map_or(0, char::len_utf8);
            out.push_str(&escaped(&tail[..step]));
            rest = &tail[step..];
        }
    }
    out.push_str(&escaped(rest));
    out
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
        assert_eq!(paragraphs(text), expected);
    }

    #[test]
    fn full_lines_flow() {
        let line = "These words fill a line of some sixty characters, and go on";
        assert_eq!(paragraphs(&format!("{line}\n{line}\nhere")), format!("<p>{line} {line} here</p>\n"));
    }
}
