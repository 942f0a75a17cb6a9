//! Markdown and plain text: paragraphs that flow.
//!
//! What separates is written lazily: a block asks for a line break, white space for a space, an element for its marks,
//! and all of it is decided when the next word comes. So nothing is left dangling, and emphasis never spans paragraphs.

mod lists;
mod literal;
mod marks;
pub(super) mod notes;
mod tables;

use marks::Mark;
use notes::Notes;

use super::{
    Page,
    beside::{emoji, is_remark, numbers_lines, raised, stands_apart, titles_remark},
    code::code_in_line,
    escape::{Place, glue, heading_word, markdown_word},
    math::is_made_of_formula,
    tables::DataTables,
};
use crate::{
    ExtractError,
    budget::Budget,
    dom::{NONE, NodeId, Tag},
    notes::leads_back,
    text::{is_space, is_unseen},
};

/// Lists and quotes within each other that are indented, at most.
const MAX_INDENTS: usize = 12;

/// Room for what stands around a word, in bytes: the ends of marks, an address among them, and the beginning of a line.
const SLACK: usize = 64 * 1024;

/// Which of the two is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Markdown,
    Plain,
}

/// Writes the selected content.
pub(crate) fn flow(page: &Page<'_>, style: Style, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let tables = DataTables::of(page, budget)?;
    let mut writer = Writer::new(*page, style, tables, Notes::of(page, budget)?);
    budget.reserve_text(&mut writer.out, SLACK)?;
    for &root in &page.selection.roots {
        writer.block(2);
        writer.walk(root, budget)?;
    }
    writer.close_marks();
    if writer.ruled_at == writer.out.len() {
        // A rule parts nothing from the end.
        writer.out.truncate(writer.ruled_from);
    }
    writer.settle_notes();
    if !writer.out.is_empty() {
        writer.out.push('\n');
    }
    budget.shrink(&mut writer.out);
    Ok(writer.out)
}

/// What leaving an element undoes.
#[derive(Clone, Copy)]
enum Undo {
    Block(u8),
    Mark,
    Heading,
    Indent { len: usize, of: Indented },
    List,
    Table,
    Row,
    Cell { span: u32 },
    Caption,
    Quote,
    Ruby,
}

/// What is indented.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Indented {
    /// An item that its list has counted.
    Item,
    /// A footnote, which has a number of its own, or a list that stands between items.
    Part,
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
    /// The first character of the word to be written; none if that is markup.
    next: Option<char>,
    /// The emphasis that ended last.
    emphasis: marks::Ended,
    /// The piece of code that was written last, which can be gone on with.
    code: Option<literal::Code>,
    /// How long the prefix was before quotes without a word yet.
    quoted_from: Option<usize>,
    /// Where the last rule ended, and how much was written before it.
    ruled_at: usize,
    ruled_from: usize,
    /// How much was written when a sign of emphasis was opened last.
    opened: usize,
    /// The heading's number signs, to be written with its first word.
    heading: u8,
    /// Inside what must stay on one line.
    single_line: u32,
    in_cell: bool,
    lists: Vec<lists::List>,
    /// The list that ended last, and how much was written and how far things were indented then.
    ended: Option<(lists::List, usize, usize)>,
    /// The open table that holds data.
    table: Option<tables::Open>,
    notes: Notes,
    /// Where footnotes begin.
    note_starts: Vec<usize>,
    undo: Vec<(NodeId, Undo)>,
}

impl<'a> Writer<'a> {
    fn new(page: Page<'a>, style: Style, tables: DataTables, notes: Notes) -> Self {
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
            next: None,
            emphasis: marks::Ended::default(),
            code: None,
            quoted_from: None,
            ruled_at: usize::MAX,
            ruled_from: 0,
            opened: usize::MAX,
            heading: 0,
            single_line: 0,
            in_cell: false,
            lists: Vec::new(),
            ended: None,
            table: None,
            notes,
            note_starts: Vec::new(),
            undo: Vec::new(),
        }
    }

    fn walk(&mut self, root: NodeId, budget: &Budget<'_>) -> Result<(), ExtractError> {
        let dom = self.page.dom;
        let mut id = root;
        loop {
            budget.spend(dom.text(id).len())?;
            budget.reserve_text(&mut self.out, SLACK)?;
            let descend = !self.page.selection.is_removed(id) && self.enter(id, budget)?;
            let first = dom.node(id).first;
            if descend && first != NONE {
                id = first;
                continue;
            }
            loop {
                budget.reserve_text(&mut self.out, SLACK)?;
                self.leave(id);
                if id == root {
                    return Ok(());
                }
                let node = dom.node(id);
                if node.next != NONE {
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
        if !self.lists.is_empty() {
            self.stray(id, tag);
        }
        self.space |= stands_apart(dom, id);
        match tag {
            Tag::Text => self.text(dom.text(id), budget)?,
            Tag::Br => self.br(),
            Tag::Hr => self.rule(),
            Tag::Img => {
                if let Some(emoji) = emoji(dom, id) {
                    self.text(&emoji, budget)?;
                } else if !self.formula(id, budget)? {
                    self.image(id, budget)?;
                }
            }
            Tag::Span | Tag::Div if is_made_of_formula(dom, id) => return Ok(false),
            Tag::Sup => {
                if let Some(text) = raised(dom, id) {
                    self.text(&text, budget)?;
                    return Ok(false);
                }
            }
            Tag::Rp => return Ok(false),
            Tag::Rt => {
                self.space = false;
                self.word("(");
                self.undo.push((id, Undo::Ruby));
            }
            Tag::Td | Tag::Pre | Tag::Span | Tag::Div if numbers_lines(dom, id) => return Ok(false),
            Tag::Pre | Tag::Listing | Tag::Xmp | Tag::Plaintext if self.single_line == 0 => {
                self.code_block(id, budget)?;
                return Ok(false);
            }
            Tag::Code | Tag::Kbd | Tag::Samp | Tag::Tt if self.markdown => {
                if let Some(text) = code_in_line(&self.page, &self.notes, id, budget)? {
                    // What is collapsed, escaped and written.
                    budget.allocate(text.len() * 4)?;
                    budget.reserve_text(&mut self.out, text.len() * 3 + SLACK)?;
                    self.code(&text);
                    budget.free(text.len() * 4 + text.capacity());
                    return Ok(false);
                }
            }
            Tag::Strong | Tag::B => self.mark(id, "**"),
            Tag::Em | Tag::I => self.mark(id, "*"),
            Tag::Del | Tag::S | Tag::Strike => self.mark(id, "~~"),
            Tag::A if leads_back(dom, id) || self.note_call(id) => return Ok(false),
            Tag::A => return Ok(!self.link(id)),
            Tag::Math => return Ok(!self.formula(id, budget)?),
            // Between the cells of a table it has no place.
            Tag::Script if self.table.is_some() && self.single_line == 0 => return Ok(false),
            Tag::Script => {
                self.formula(id, budget)?;
                return Ok(false);
            }
            Tag::Summary => {
                self.enter_block(id, 2);
                self.mark(id, "**");
            }
            Tag::Q => {
                self.word("\u{201c}");
                self.undo.push((id, Undo::Quote));
            }
            tag if tag.is_list() => self.list(id, tag),
            Tag::Li if self.note(id) => {}
            Tag::Li => self.item(id),
            Tag::Blockquote => self.quote(id),
            Tag::Div | Tag::Aside | Tag::Section if is_remark(dom, id) => self.quote(id),
            Tag::Div | Tag::P if titles_remark(dom, id) => {
                self.enter_block(id, 2);
                self.mark(id, "**");
            }
            Tag::Table | Tag::Caption | Tag::Tr | Tag::Td | Tag::Th => self.table_part(id, tag),
            // A list of terms that explains none of them is a list.
            Tag::Dl if dom.children(id).all(|child| matches!(dom.tag(child), Tag::Text | Tag::Dt)) => {
                self.list(id, tag);
            }
            Tag::Dt if matches!(self.undo.last(), Some((list, Undo::List)) if *list == dom.node(id).parent) => {
                self.item(id);
            }
            Tag::Dt => {
                self.block(2);
                self.undo.push((id, Undo::Block(1)));
                self.mark(id, "**");
            }
            Tag::Dd => self.explanation(id),
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
                Undo::Indent { len, of } => {
                    self.prefix.truncate(len);
                    self.quoted_from = self.quoted_from.filter(|from| *from < len);
                    self.indents -= 1;
                    let pending = self.bullets.len();
                    self.bullets.retain(|(at, _)| *at < len);
                    // An item without a word is not written, and has no number.
                    if of == Indented::Item
                        && self.bullets.len() < pending
                        && let Some(list) = self.lists.last_mut()
                    {
                        list.items -= 1;
                        list.next = list.next.map(|number| number.saturating_sub(1));
                    }
                    // What follows an item that is in no list is not part of it.
                    let ends = of == Indented::Quote || of == Indented::Item && self.lists.is_empty();
                    self.block(if ends { 2 } else { 1 });
                }
                Undo::List => {
                    if let Some(list) = self.lists.pop().filter(|list| list.items > 0) {
                        self.ended = Some((list, self.out.len(), self.prefix.len()));
                        // The list around it begins after it, and must be told apart.
                        if let Some(outer) = self.lists.last_mut().filter(|outer| outer.items == 0) {
                            outer.other = !list.other;
                        }
                    }
                    self.block(if self.markdown || self.lists.is_empty() { 2 } else { 1 });
                }
                Undo::Table => {
                    self.table = None;
                    self.block(2);
                }
                Undo::Row => self.end_row(),
                Undo::Caption => {
                    self.single_line -= 1;
                    self.block(2);
                }
                Undo::Cell { span } => self.end_cell(span),
                Undo::Ruby => {
                    self.space = false;
                    self.word(")");
                }
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

    /// What explains a term stands on the line below it.
    fn explanation(&mut self, id: NodeId) {
        let begins_line = self.single_line == 0 && self.line_begun && self.breaks <= 1 && self.bullets.is_empty();
        if self.markdown && begins_line {
            self.suspend_marks();
            (self.breaks, self.line_break) = (0, true);
            self.undo.push((id, Undo::Block(2)));
        } else {
            self.enter_block(id, if self.markdown { 2 } else { 1 });
        }
    }

    fn quote(&mut self, id: NodeId) {
        if self.single_line > 0 || self.indents >= MAX_INDENTS {
            return self.enter_block(id, 2);
        }
        self.block(2);
        if !self.markdown {
            // It counts as one, so that items have markers in both styles or in none.
            return self.indent(id, "", Indented::Quote);
        }
        // The empty line before it is not part of it.
        self.quoted_from = self.quoted_from.or(Some(self.prefix.len()));
        self.indent(id, "> ", Indented::Quote);
    }

    fn indent(&mut self, id: NodeId, indent: &str, of: Indented) {
        self.undo.push((id, Undo::Indent { len: self.prefix.len(), of }));
        self.prefix.push_str(indent);
        self.indents += 1;
    }

    fn rule(&mut self) {
        if self.single_line > 0 || !self.markdown {
            return self.block(2);
        }
        self.block(2);
        // It parts what is before from what follows: one is enough, and none at the beginning.
        if self.out.is_empty() || self.ruled_at == self.out.len() || !self.bullets.is_empty() {
            return;
        }
        self.suspend_marks();
        self.ruled_from = self.out.len();
        self.begin_line();
        self.out.push_str("---");
        self.ruled_at = self.out.len();
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

    fn new_line(&mut self) {
        self.out.push('\n');
        self.out.push_str(&self.prefix);
    }

    // Words

    fn text(&mut self, text: &str, budget: &Budget<'_>) -> Result<(), ExtractError> {
        let mut rest = text;
        while !rest.is_empty() {
            let word = rest.find(is_space).unwrap_or(rest.len());
            if word > 0 {
                budget.reserve_text(&mut self.out, word * 2 + SLACK / 2)?;
                self.word(&rest[..word]);
                rest = &rest[word..];
            }
            let spaces = rest.find(|character| !is_space(character)).unwrap_or(rest.len());
            self.space |= spaces > 0 && rest[..spaces].chars().any(|character| !is_unseen(character));
            rest = &rest[spaces..];
        }
        Ok(())
    }

    fn word(&mut self, word: &str) {
        self.next = word.chars().next();
        let first = self.begin_word();
        // What marks were taken back is no longer between the two.
        if self.markdown && !first {
            glue(word, &mut self.out);
        }
        if self.markdown && self.heading > 0 {
            heading_word(word, self.place(first), &mut self.out);
        } else if self.markdown {
            markdown_word(word, self.place(first), &mut self.out);
        } else {
            self.out.push_str(word);
        }
    }

    fn place(&self, first: bool) -> Place {
        Place { first, in_cell: self.in_cell, math: self.notes.math }
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
        self.part_marks();
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
                let begun = self.bullets.first().map(|(at, _)| *at).into_iter().chain(self.quoted_from).min();
                let prefix = &self.prefix[..begun.unwrap_or(self.prefix.len())];
                self.out.push_str(prefix.trim_end());
                self.out.push('\n');
            }
        }
        let mut from = 0;
        for (at, marker) in std::mem::take(&mut self.bullets) {
            self.out.push_str(self.prefix.get(from..at).unwrap_or_default());
            if marker.starts_with("[^") {
                self.note_starts.push(self.out.len());
            }
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
        self.quoted_from = None;
    }
}
