//! Markdown and plain text: paragraphs that flow.
//!
//! What separates is written lazily: a block asks for a line break, white space for a space, an element for its marks,
//! and all of it is decided when the next word comes. So nothing is left dangling, and emphasis never spans paragraphs.

mod marks;

use marks::Mark;

use super::{
    Page,
    code::{language, longest_ticks, preformatted},
    escape::{heading_word, markdown_url, markdown_word},
    tables::{DataTables, span},
};
use crate::{
    ExtractError,
    budget::Budget,
    dom::{NodeId, Tag},
    links::image_source,
    text::{collapse, is_space},
};

/// Lists and quotes within each other that are indented, at most.
const MAX_INDENTS: usize = 12;

/// Which of the two is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Markdown,
    Plain,
}

/// Writes the selected content.
pub(crate) fn flow(page: &Page<'_>, style: Style, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let tables = DataTables::of(page, budget)?;
    let mut writer = Writer::new(*page, style, tables);
    for &root in &page.selection.roots {
        writer.block(2);
        writer.walk(root, budget)?;
    }
    writer.close_marks();
    if !writer.out.is_empty() {
        writer.out.push('\n');
    }
    Ok(writer.out)
}

/// What leaving an element undoes.
#[derive(Clone, Copy)]
enum Undo {
    Block(u8),
    Mark,
    Heading,
    Indent { len: usize, item: bool },
    List,
    Table,
    Row,
    Cell { span: u32 },
    Quote,
}

struct Writer<'a> {
    page: Page<'a>,
    markdown: bool,
    tables: DataTables,
    out: String,
    /// Line feeds asked for: one ends the line, two the paragraph.
    breaks: u8,
    /// A `<br>` since the last word.
    line_break: bool,
    space: bool,
    /// A tab between cells of plain text.
    tab: bool,
    line_begun: bool,
    prefix: String,
    indents: usize,
    /// Markers of items without a word yet: where in the prefix, and the marker.
    bullets: Vec<(usize, String)>,
    marks: Vec<Mark>,
    /// The heading's number signs, to be written with its first word.
    heading: u8,
    /// Inside what must stay on one line.
    single_line: u32,
    in_cell: bool,
    /// The next number of each open list; none for bullets.
    lists: Vec<Option<u32>>,
    /// Rows and columns of the open table that holds data.
    table: Option<(u32, u32)>,
    undo: Vec<(NodeId, Undo)>,
}

impl<'a> Writer<'a> {
    fn new(page: Page<'a>, style: Style, tables: DataTables) -> Self {
        Self {
            page,
            markdown: style == Style::Markdown,
            tables,
            out: String::new(),
            breaks: 0,
            line_break: false,
            space: false,
            tab: false,
            line_begun: false,
            prefix: String::new(),
            indents: 0,
            bullets: Vec::new(),
            marks: Vec::new(),
            heading: 0,
            single_line: 0,
            in_cell: false,
            lists: Vec::new(),
            table: None,
            undo: Vec::new(),
        }
    }

    fn walk(&mut self, root: NodeId, budget: &Budget<'_>) -> Result<(), ExtractError> {
        let dom = self.page.dom;
        let mut id = root;
        loop {
            budget.spend(dom.text(id).len())?;
            let descend = !self.page.selection.is_removed(id) && self.enter(id, budget)?;
            let first = dom.node(id).first;
            if descend && first != crate::dom::NONE {
                id = first;
                continue;
            }
            loop {
                self.leave(id);
                if id == root {
                    return Ok(());
                }
                let node = dom.node(id);
                if node.next != crate::dom::NONE {
                    id = node.next;
                    break;
                }
                id = node.parent;
            }
        }
    }

    /// Begins a node; answers whether its children are to be written.
    fn enter(&mut self, id: NodeId, budget: &Budget<'_>) -> Result<bool, ExtractError> {
        let dom = self.page.dom;
        let tag = dom.tag(id);
        match tag {
            Tag::Text => self.text(dom.text(id)),
            Tag::Br => self.br(),
            Tag::Hr => self.rule(),
            Tag::Img => self.image(id),
            Tag::Rp => return Ok(false),
            Tag::Pre | Tag::Listing | Tag::Xmp | Tag::Plaintext if self.single_line == 0 => {
                self.code_block(id, budget)?;
                return Ok(false);
            }
            Tag::Code | Tag::Kbd | Tag::Samp | Tag::Tt if self.markdown => {
                let text = dom.text_content(id, 64 * 1024);
                budget.spend(text.len())?;
                self.code(&text);
                return Ok(false);
            }
            Tag::Strong | Tag::B => self.mark(id, "**"),
            Tag::Em | Tag::I => self.mark(id, "*"),
            Tag::Del | Tag::S | Tag::Strike => self.mark(id, "~~"),
            Tag::A => self.link(id),
            Tag::Q => {
                self.word("\u{201c}");
                self.undo.push((id, Undo::Quote));
            }
            Tag::Ul | Tag::Ol | Tag::Menu | Tag::Dir => self.list(id, tag),
            Tag::Li => self.item(id),
            Tag::Blockquote => self.quote(id),
            Tag::Table | Tag::Tr | Tag::Td | Tag::Th => self.table_part(id, tag),
            // A list of terms that explains none of them is a list.
            Tag::Dl if dom.children(id).all(|child| matches!(dom.tag(child), Tag::Text | Tag::Dt)) => {
                self.list(id, tag);
            }
            Tag::Dt if matches!(self.undo.last(), Some((list, Undo::List)) if *list == dom.node(id).parent) => {
                self.item(id);
            }
            Tag::Dt => {
                self.block(2);
                self.mark(id, "**");
            }
            Tag::Dd => self.enter_block(id, 1),
            Tag::Thead | Tag::Tbody | Tag::Tfoot => self.enter_block(id, 1),
            tag if tag.is_heading() => self.enter_heading(id, tag),
            tag if tag.is_block() => self.enter_block(id, 2),
            _ => {}
        }
        Ok(true)
    }

    fn leave(&mut self, id: NodeId) {
        while let Some(&(at, undo)) = self.undo.last() {
            if at != id {
                return;
            }
            self.undo.pop();
            match undo {
                Undo::Block(breaks) => self.block(breaks),
                Undo::Mark => self.close_mark(),
                Undo::Heading => {
                    self.single_line -= 1;
                    self.heading = 0;
                    self.block(2);
                }
                Undo::Indent { len, item } => {
                    self.prefix.truncate(len);
                    self.indents -= 1;
                    self.bullets.retain(|(at, _)| *at < len);
                    self.block(if item { 1 } else { 2 });
                }
                Undo::List => {
                    self.lists.pop();
                    let breaks = if self.lists.is_empty() { 2 } else { 1 };
                    self.block(breaks);
                }
                Undo::Table => {
                    self.table = None;
                    self.block(2);
                }
                Undo::Row => self.end_row(),
                Undo::Cell { span } => self.end_cell(span),
                Undo::Quote => {
                    self.space = false;
                    self.word("\u{201d}");
                }
            }
        }
    }

    // Blocks

    /// Asks for a line break, or with 2 for an empty line, before the next word.
    fn block(&mut self, breaks: u8) {
        if self.single_line > 0 {
            self.space = true;
        } else if self.bullets.is_empty() {
            self.breaks = self.breaks.max(breaks);
            self.line_break = false;
        }
    }

    fn enter_block(&mut self, id: NodeId, breaks: u8) {
        self.block(breaks);
        self.undo.push((id, Undo::Block(breaks)));
    }

    fn enter_heading(&mut self, id: NodeId, tag: Tag) {
        if self.single_line > 0 {
            return self.enter_block(id, 2);
        }
        self.block(2);
        self.heading = tag.heading_level().unwrap_or(1);
        self.single_line += 1;
        self.undo.push((id, Undo::Heading));
    }

    fn list(&mut self, id: NodeId, tag: Tag) {
        self.block(if self.lists.is_empty() { 2 } else { 1 });
        let start = self.page.dom.attr(id, "start").and_then(|start| start.trim().parse().ok()).unwrap_or(1);
        self.lists.push((tag == Tag::Ol && self.markdown).then_some(start));
        self.undo.push((id, Undo::List));
    }

    fn item(&mut self, id: NodeId) {
        if self.single_line > 0 || self.indents >= MAX_INDENTS {
            return self.enter_block(id, 1);
        }
        self.block(1);
        let marker = match self.lists.last_mut() {
            Some(Some(number)) => {
                let marker = format!("{number}. ");
                *number = number.saturating_add(1).min(999_999_999);
                marker
            }
            _ => "- ".to_owned(),
        };
        self.indent(id, &" ".repeat(marker.len()), true);
        let at = self.prefix.len() - marker.len();
        self.bullets.push((at, marker));
    }

    fn quote(&mut self, id: NodeId) {
        if self.single_line > 0 || self.indents >= MAX_INDENTS || !self.markdown {
            return self.enter_block(id, 2);
        }
        self.block(2);
        self.indent(id, "> ", false);
    }

    fn indent(&mut self, id: NodeId, indent: &str, item: bool) {
        self.undo.push((id, Undo::Indent { len: self.prefix.len(), item }));
        self.prefix.push_str(indent);
        self.indents += 1;
    }

    fn rule(&mut self) {
        if self.single_line > 0 || !self.markdown {
            return self.block(2);
        }
        self.block(2);
        self.begin_word();
        self.out.push_str("---");
        self.block(2);
    }

    fn br(&mut self) {
        if self.single_line > 0 {
            self.space = true;
        } else if self.line_break {
            self.block(2);
        } else if self.line_begun && self.breaks == 0 && self.bullets.is_empty() {
            self.line_break = true;
        }
    }

    fn code_block(&mut self, id: NodeId, budget: &Budget<'_>) -> Result<(), ExtractError> {
        let text = preformatted(&self.page, id, budget)?;
        if text.trim().is_empty() {
            return Ok(());
        }
        self.block(2);
        self.begin_word();
        let fence = "`".repeat(longest_ticks(&text).max(2) + 1);
        if self.markdown {
            self.out.push_str(&fence);
            self.out.push_str(language(&self.page, id).unwrap_or_default());
            self.new_line();
        }
        for (at, line) in text.lines().enumerate() {
            if at > 0 {
                self.new_line();
            }
            budget.spend(line.len())?;
            self.out.push_str(line);
        }
        if self.markdown {
            self.new_line();
            self.out.push_str(&fence);
        }
        self.block(2);
        Ok(())
    }

    fn new_line(&mut self) {
        self.out.push('\n');
        self.out.push_str(&self.prefix);
    }

    // Tables

    fn table_part(&mut self, id: NodeId, tag: Tag) {
        let columns = if tag == Tag::Table && self.single_line == 0 { self.tables.columns(id) } else { None };
        match (tag, self.table) {
            (Tag::Table, _) => {
                self.block(2);
                if let Some(columns) = columns {
                    self.table = Some((0, columns));
                    self.undo.push((id, Undo::Table));
                } else {
                    self.undo.push((id, Undo::Block(2)));
                }
            }
            (Tag::Tr, Some(_)) if self.single_line == 0 => {
                self.block(1);
                self.undo.push((id, Undo::Row));
            }
            (Tag::Td | Tag::Th, Some(_)) if self.single_line == 0 => {
                if self.markdown {
                    if self.breaks > 0 || !self.line_begun {
                        self.begin_word();
                        self.out.push('|');
                    }
                    self.out.push(' ');
                }
                self.space = false;
                self.single_line += 1;
                self.in_cell = true;
                let span = span(self.page.dom.attr(id, "colspan"));
                self.undo.push((id, Undo::Cell { span }));
            }
            _ => self.enter_block(id, 1),
        }
    }

    fn end_cell(&mut self, span: u32) {
        self.single_line -= 1;
        self.in_cell = false;
        self.space = false;
        if self.markdown {
            for _ in 0..span {
                self.out.push_str(if self.out.ends_with(' ') { "|" } else { " |" });
            }
        } else {
            self.tab = true;
        }
    }

    fn end_row(&mut self) {
        self.tab = false;
        if let Some((rows, columns)) = &mut self.table
            && self.markdown
            && self.line_begun
            && self.breaks == 0
        {
            *rows += 1;
            let (rows, columns) = (*rows, *columns);
            if rows == 1 {
                self.new_line();
                self.out.push('|');
                for _ in 0..columns {
                    self.out.push_str(" --- |");
                }
            }
        }
        self.block(1);
    }

    // Words

    fn text(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let word = rest.find(is_space).unwrap_or(rest.len());
            if word > 0 {
                self.word(&rest[..word]);
                rest = &rest[word..];
            }
            let spaces = rest.find(|character| !is_space(character)).unwrap_or(rest.len());
            self.space |= spaces > 0;
            rest = &rest[spaces..];
        }
    }

    fn word(&mut self, word: &str) {
        let first = self.begin_word();
        if self.markdown && self.heading > 0 {
            heading_word(word, &mut self.out);
        } else if self.markdown {
            markdown_word(word, first, self.in_cell, &mut self.out);
        } else {
            self.out.push_str(word);
        }
    }

    /// Writes all that was asked for before a word; answers whether the word is the first of its line.
    fn begin_word(&mut self) -> bool {
        let begins = self.breaks > 0 || !self.line_begun;
        if begins {
            self.begin_line();
        } else if self.line_break {
            if self.markdown {
                self.out.push_str("  ");
            }
            self.new_line();
            self.space = false;
        }
        let first = begins || std::mem::take(&mut self.line_break);
        let separator = if std::mem::take(&mut self.tab) { Some('\t') } else { self.space.then_some(' ') };
        if let Some(separator) = separator
            && !self.out.ends_with([' ', '\n', '\t'])
        {
            self.out.push(separator);
        }
        self.space = false;
        self.open_marks();
        first
    }

    /// Ends the line, or the paragraph, and begins the next with its prefix and markers.
    fn begin_line(&mut self) {
        let continued = self.line_begun;
        if continued {
            self.suspend_marks();
            self.out.push('\n');
            if self.breaks > 1 {
                // The empty line belongs to what the next line is in.
                let prefix = self.bullets.first().map_or(self.prefix.as_str(), |(at, _)| &self.prefix[..*at]);
                self.out.push_str(prefix.trim_end());
                self.out.push('\n');
            }
        }
        let mut from = 0;
        for (at, marker) in std::mem::take(&mut self.bullets) {
            self.out.push_str(self.prefix.get(from..at).unwrap_or_default());
            self.out.push_str(&marker);
            from = at + marker.len();
        }
        self.out.push_str(self.prefix.get(from..).unwrap_or_default());
        if self.heading > 0 && self.markdown {
            for _ in 0..self.heading {
                self.out.push('#');
            }
            self.out.push(' ');
        }
        (self.breaks, self.line_begun, self.space, self.line_break) = (0, true, false, false);
    }

    fn code(&mut self, text: &str) {
        let text = collapse(text);
        if text.is_empty() {
            self.space = true;
            return;
        }
        self.begin_word();
        let ticks = "`".repeat(longest_ticks(&text) + 1);
        let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
        let text = if self.in_cell { text.replace('|', "\\|") } else { text };
        for part in [ticks.as_str(), pad, &text, pad, &ticks] {
            self.out.push_str(part);
        }
    }

    fn image(&mut self, id: NodeId) {
        if !self.markdown {
            return;
        }
        let dom = self.page.dom;
        let tiny = |name| dom.attr(id, name).is_some_and(|size| matches!(size, "0" | "1" | "1px"));
        if tiny("width") || tiny("height") {
            return;
        }
        let Some(url) = image_source(dom, id, self.page.base) else { return };
        let alt = collapse(dom.attr(id, "alt").unwrap_or_default());
        self.begin_word();
        self.out.push_str("![");
        for (at, word) in alt.split(' ').enumerate() {
            if at > 0 {
                self.out.push(' ');
            }
            markdown_word(word, false, self.in_cell, &mut self.out);
        }
        self.out.push_str("](");
        markdown_url(url.as_str(), &mut self.out);
        self.out.push(')');
    }
}
