//! The page as structure: blocks, and blocks within those.
//!
//! `heading` (`level`, `text`), `paragraph` (`text`), `code` (`language`, `text`), `image` (`url`, `alt`), `table` (`caption`, `rows` of
//! cells), `list` (`ordered`, `items`) and `quote`. An item and a quote have a `text`, the first paragraph in them, and `blocks` if there is
//! more; an item that is to be done says whether it is (`done`).

use super::{
    Page,
    beside::{decorates, emoji, is_remark, numbers_lines, raised, stands_apart, task},
    code::{language, preformatted},
    flow::notes::Notes,
    json::Json,
    math::{formula, is_made_of_formula},
    tables::DataTables,
};
use crate::{
    ExtractError,
    budget::Budget,
    dom::{NONE, NodeId, Tag},
    links::image_source,
    notes::leads_back,
    text::collapse,
};

/// Blocks within each other, at most; what is deeper is flattened.
const MAX_DEPTH: usize = 24;
/// What a node that is no text adds to the text under way, at most, in bytes: a formula.
const SLACK: usize = 40 * 1024;

/// Writes the selected content as a JSON array of blocks, in document order.
pub(crate) fn blocks<'b>(page: &Page<'_>, out: &mut Json<'b, 'b>) -> Result<(), ExtractError> {
    let budget: &'b Budget<'b> = out.budget();
    let tables = DataTables::of(page, budget)?;
    let notes = Notes::of(page, budget)?;
    let top = Frame::new(NONE, Kind::Page, budget);
    let mut writer = Writer { page: *page, tables, notes, text: String::new(), heading: None, open: vec![top] };
    for &root in &page.selection.roots {
        writer.walk(root, budget)?;
        writer.flush(budget)?;
    }
    out.raw("[")?;
    if let Some(top) = writer.open.pop() {
        out.append(top.blocks)?;
    }
    out.raw("]")
}

/// What gathers blocks.
struct Frame<'b> {
    id: NodeId,
    kind: Kind,
    /// The blocks as JSON, parted by commas; of a table, its rows.
    blocks: Json<'b, 'b>,
    /// The text of the first block in an item or a quote, as JSON, if that is a paragraph.
    first: Option<Json<'b, 'b>>,
}

impl<'b> Frame<'b> {
    fn new(id: NodeId, kind: Kind, budget: &'b Budget<'b>) -> Self {
        Self { id, kind, blocks: Json::new(budget), first: None }
    }

    /// Writes what is held as members: `text`, and `blocks` if there is more; answers whether there is anything.
    fn hold(self, out: &mut Json<'b, 'b>) -> Result<bool, ExtractError> {
        if self.first.is_none() && self.blocks.is_empty() {
            return Ok(false);
        }
        out.raw("\"text\":")?;
        match self.first {
            Some(first) => out.append(first)?,
            None => out.raw("\"\"")?,
        }
        if !self.blocks.is_empty() {
            out.raw(",\"blocks\":[")?;
            out.append(self.blocks)?;
            out.raw("]")?;
        }
        Ok(true)
    }
}

#[derive(Clone)]
enum Kind {
    Page,
    List {
        ordered: bool,
    },
    Item {
        /// Of an item that is to be done.
        done: Option<bool>,
    },
    Quote,
    Table {
        caption: Option<String>,
        row: Row,
    },
    /// Text alone.
    Cell,
    /// Text alone.
    Caption,
}

/// The row of a table that is being written.
#[derive(Clone, Copy, Default)]
struct Row {
    is_open: bool,
    /// Where it begins.
    begin: usize,
    cells: usize,
    has_words: bool,
}

struct Writer<'a, 'b> {
    page: Page<'a>,
    tables: DataTables,
    notes: Notes,
    /// The text of the paragraph, heading or cell under way.
    text: String,
    /// The heading under way, and its level.
    heading: Option<(NodeId, u8)>,
    open: Vec<Frame<'b>>,
}

impl<'b> Writer<'_, 'b> {
    fn walk(&mut self, root: NodeId, budget: &'b Budget<'b>) -> Result<(), ExtractError> {
        let dom = self.page.dom;
        let mut id = root;
        loop {
            budget.spend(dom.text(id).len())?;
            budget.reserve_text(&mut self.text, dom.text(id).len() + SLACK)?;
            let removed = self.page.selection.is_removed(id);
            let descend = !removed && self.enter(id, budget)?;
            let first = dom.node(id).first;
            if descend && first != NONE {
                id = first;
                continue;
            }
            loop {
                if !self.page.selection.is_removed(id) {
                    self.leave(id, budget)?;
                }
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

    /// Whether text must stay in one piece here.
    fn is_line(&self) -> bool {
        self.heading.is_some() || matches!(self.open.last(), Some(Frame { kind: Kind::Cell | Kind::Caption, .. }))
    }

    /// Begins a node; answers whether its children are to be looked at.
    fn enter(&mut self, id: NodeId, budget: &'b Budget<'b>) -> Result<bool, ExtractError> {
        let dom = self.page.dom;
        let tag = dom.tag(id);
        if stands_apart(dom, id) {
            self.text.push(' ');
        }
        let is_free = !self.is_line() && self.open.len() < MAX_DEPTH;
        if tag == Tag::Script && self.in_table() {
            return Ok(false);
        }
        if let Some(formula) = formula(&self.page, id, budget)? {
            let stands = formula.is_block && is_free;
            if stands {
                self.flush(budget)?;
            }
            self.text.push_str(&formula.tex);
            if stands {
                self.flush(budget)?;
            }
            return Ok(false);
        }
        match tag {
            Tag::Text => self.text.push_str(dom.text(id)),
            Tag::Br => self.text.push(' '),
            Tag::Img => match emoji(dom, id) {
                Some(emoji) => self.text.push_str(&emoji),
                None => self.image(id, budget)?,
            },
            Tag::Script | Tag::Rp => return Ok(false),
            Tag::Span | Tag::Div if is_made_of_formula(dom, id) => return Ok(false),
            Tag::Sup => {
                if let Some(text) = raised(dom, id) {
                    self.text.push_str(&text);
                    return Ok(false);
                }
            }
            Tag::Rt => {
                self.text.truncate(self.text.trim_end().len());
                self.text.push('(');
            }
            Tag::Td | Tag::Pre | Tag::Span | Tag::Div if numbers_lines(dom, id) => return Ok(false),
            Tag::A if leads_back(dom, id) => return Ok(false),
            Tag::A => {
                if let Some(label) = self.notes.label(id) {
                    self.text.push_str(&format!("[{label}]"));
                    return Ok(false);
                }
            }
            Tag::Q => self.text.push('\u{201c}'),
            Tag::Pre | Tag::Listing | Tag::Xmp | Tag::Plaintext if !self.is_line() => {
                let text = preformatted(&self.page, id, budget)?;
                self.flush(budget)?;
                if !text.trim().is_empty() {
                    let language = language(&self.page, id);
                    let mut block = Json::new(budget);
                    block.raw("{\"type\":\"code\",\"language\":")?;
                    block.value(&language)?;
                    block.raw(",\"text\":")?;
                    block.value(text.as_ref())?;
                    block.raw("}")?;
                    self.add(block)?;
                }
                return Ok(false);
            }
            tag if tag.is_list() && is_free => {
                self.begin(id, Kind::List { ordered: tag == Tag::Ol }, budget)?;
            }
            Tag::Li if is_free => self.begin(id, Kind::Item { done: task(dom, id) }, budget)?,
            Tag::Blockquote if is_free => self.begin(id, Kind::Quote, budget)?,
            Tag::Div | Tag::Aside | Tag::Section if is_free && is_remark(dom, id) => {
                self.begin(id, Kind::Quote, budget)?
            }
            Tag::Table if !self.is_line() && self.tables.columns(id).is_some() => {
                self.begin(id, Kind::Table { caption: None, row: Row::default() }, budget)?;
            }
            Tag::Tr if self.in_table() => {
                self.flush(budget)?;
                if let Some(Frame { kind: Kind::Table { row, .. }, blocks, .. }) = self.open.last_mut() {
                    end_row(row, blocks)?;
                    *row = Row { is_open: true, begin: blocks.len(), ..Row::default() };
                    blocks.item()?;
                    blocks.raw("[")?;
                }
            }
            Tag::Td | Tag::Th if self.in_table() => self.begin(id, Kind::Cell, budget)?,
            Tag::Caption if self.in_table() => self.begin(id, Kind::Caption, budget)?,
            _ => match tag.heading_level() {
                Some(level) if !self.is_line() => {
                    self.flush(budget)?;
                    self.heading = Some((id, level));
                }
                _ if tag.is_block() => self.boundary(budget)?,
                _ => {}
            },
        }
        Ok(true)
    }

    fn in_table(&self) -> bool {
        matches!(self.open.last(), Some(Frame { kind: Kind::Table { .. }, .. })) && self.heading.is_none()
    }

    fn leave(&mut self, id: NodeId, budget: &'b Budget<'b>) -> Result<(), ExtractError> {
        let tag = self.page.dom.tag(id);
        if tag == Tag::Rt {
            self.text.truncate(self.text.trim_end().len());
            self.text.push(')');
        } else if tag == Tag::Q {
            self.text.truncate(self.text.trim_end().len());
            self.text.push('\u{201d}');
        } else if self.heading.is_some_and(|(heading, _)| heading == id) {
            let (_, level) = self.heading.take().unwrap_or((id, 1));
            if let Some(text) = self.take_text(budget)? {
                let mut block = Json::new(budget);
                block.raw(&format!("{{\"type\":\"heading\",\"level\":{level},\"text\":"))?;
                block.append(text)?;
                block.raw("}")?;
                self.add(block)?;
            }
        } else if self.open.last().is_some_and(|frame| frame.id == id) {
            self.end(budget)?;
        } else if tag.is_block() {
            self.boundary(budget)?;
        }
        Ok(())
    }

    /// The text under way as a JSON string; none if there is none.
    fn take_text(&mut self, budget: &'b Budget<'b>) -> Result<Option<Json<'b, 'b>>, ExtractError> {
        if self.text.is_empty() {
            return Ok(None);
        }
        budget.allocate(self.text.len())?;
        let text = collapse(&self.text);
        self.text.clear();
        let json = match text.is_empty() {
            true => None,
            false => {
                let mut json = Json::new(budget);
                json.value(text.as_str())?;
                Some(json)
            }
        };
        budget.free(text.capacity());
        Ok(json)
    }

    fn begin(&mut self, id: NodeId, kind: Kind, budget: &'b Budget<'b>) -> Result<(), ExtractError> {
        self.flush(budget)?;
        self.open.push(Frame::new(id, kind, budget));
        Ok(())
    }

    /// Ends what was begun last.
    fn end(&mut self, budget: &'b Budget<'b>) -> Result<(), ExtractError> {
        if let Some(Frame { kind: Kind::Cell, .. }) = self.open.last() {
            let text = self.take_text(budget)?;
            self.open.pop();
            if let Some(Frame { kind: Kind::Table { row, .. }, blocks, .. }) = self.open.last_mut()
                && row.is_open
            {
                row.has_words |= text.is_some();
                if row.cells > 0 {
                    blocks.raw(",")?;
                }
                row.cells += 1;
                return match text {
                    Some(text) => blocks.append(text),
                    None => blocks.raw("\"\""),
                };
            }
            return Ok(());
        }
        if let Some(Frame { kind: Kind::Caption, .. }) = self.open.last() {
            // What is said in a table and outside of its cells is its caption.
            self.open.pop();
            return self.flush(budget);
        }
        self.flush(budget)?;
        let Some(mut frame) = self.open.pop() else { return Ok(()) };
        let mut block = Json::new(budget);
        match frame.kind.clone() {
            Kind::Page | Kind::Cell | Kind::Caption => return Ok(()),
            Kind::List { ordered } => {
                if frame.blocks.is_empty() {
                    return Ok(());
                }
                block.raw(&format!("{{\"type\":\"list\",\"ordered\":{ordered},\"items\":["))?;
                block.append(frame.blocks)?;
                block.raw("]}")?;
            }
            Kind::Item { done } => {
                block.raw("{")?;
                if !frame.hold(&mut block)? {
                    return Ok(());
                }
                if let Some(done) = done {
                    block.raw(&format!(",\"done\":{done}"))?;
                }
                block.raw("}")?;
                return self.add_item(block);
            }
            Kind::Quote => {
                block.raw("{\"type\":\"quote\",")?;
                if !frame.hold(&mut block)? {
                    return Ok(());
                }
                block.raw("}")?;
            }
            Kind::Table { caption, mut row } => {
                end_row(&mut row, &mut frame.blocks)?;
                if frame.blocks.is_empty() {
                    let Some(caption) = caption else { return Ok(()) };
                    let mut text = Json::new(budget);
                    text.value(caption.as_str())?;
                    return self.paragraph(text, budget);
                }
                block.raw("{\"type\":\"table\",\"caption\":")?;
                block.value(&caption)?;
                block.raw(",\"rows\":[")?;
                block.append(frame.blocks)?;
                block.raw("]}")?;
            }
        }
        self.add(block)
    }

    /// Where a block within begins or ends.
    fn boundary(&mut self, budget: &'b Budget<'b>) -> Result<(), ExtractError> {
        if self.is_line() {
            self.text.push(' ');
            return Ok(());
        }
        self.flush(budget)
    }

    /// Ends the paragraph under way.
    fn flush(&mut self, budget: &'b Budget<'b>) -> Result<(), ExtractError> {
        if let Some(Frame { kind: Kind::Table { caption, .. }, .. }) = self.open.last_mut() {
            budget.allocate(self.text.len())?;
            let text = collapse(&self.text);
            self.text.clear();
            if !text.is_empty() {
                let caption = caption.get_or_insert_default();
                budget.reserve_text(caption, text.len() + 1)?;
                if !caption.is_empty() {
                    caption.push(' ');
                }
                caption.push_str(&text);
            }
            budget.free(text.capacity());
            return Ok(());
        }
        match self.take_text(budget)? {
            Some(text) => self.paragraph(text, budget),
            None => Ok(()),
        }
    }

    /// Adds a paragraph; `text` is a JSON string. The first one in an item or a quote is its text.
    fn paragraph(&mut self, text: Json<'b, 'b>, budget: &'b Budget<'b>) -> Result<(), ExtractError> {
        let Some(frame) = self.open.last_mut() else { return Ok(()) };
        match frame.kind {
            Kind::List { .. } => {
                frame.blocks.item()?;
                frame.blocks.raw("{\"text\":")?;
                frame.blocks.append(text)?;
                frame.blocks.raw("}")
            }
            Kind::Item { .. } | Kind::Quote if frame.first.is_none() && frame.blocks.is_empty() => {
                frame.first = Some(text);
                Ok(())
            }
            _ => {
                let mut block = Json::new(budget);
                block.raw("{\"type\":\"paragraph\",\"text\":")?;
                block.append(text)?;
                block.raw("}")?;
                frame.blocks.item()?;
                frame.blocks.append(block)
            }
        }
    }

    /// Adds a block to what is open. A list holds items only: what else is in one becomes part of one.
    fn add(&mut self, block: Json<'b, 'b>) -> Result<(), ExtractError> {
        let Some(frame) = self.open.last_mut() else { return Ok(()) };
        frame.blocks.item()?;
        if matches!(frame.kind, Kind::List { .. }) {
            frame.blocks.raw("{\"text\":\"\",\"blocks\":[")?;
            frame.blocks.append(block)?;
            return frame.blocks.raw("]}");
        }
        frame.blocks.append(block)
    }

    /// Adds an item to a list, or to what else it stands in.
    fn add_item(&mut self, item: Json<'b, 'b>) -> Result<(), ExtractError> {
        let Some(frame) = self.open.last_mut() else { return Ok(()) };
        frame.blocks.item()?;
        frame.blocks.append(item)
    }

    fn image(&mut self, id: NodeId, budget: &'b Budget<'b>) -> Result<(), ExtractError> {
        if self.is_line() || decorates(self.page.dom, id) {
            return Ok(());
        }
        let Some(url) = image_source(self.page.dom, id, self.page.base) else { return Ok(()) };
        let alt = self.page.dom.attr(id, "alt").unwrap_or_default();
        budget.allocate(alt.len())?;
        let mut block = Json::new(budget);
        block.raw("{\"type\":\"image\",\"url\":")?;
        block.value(url.as_str())?;
        block.raw(",\"alt\":")?;
        block.value(collapse(alt).as_str())?;
        block.raw("}")?;
        budget.free(alt.len());
        // A picture in a paragraph comes before it.
        self.add(block)
    }
}

/// Ends a row, and takes it back if no cell of it has words.
fn end_row(row: &mut Row, rows: &mut Json<'_, '_>) -> Result<(), ExtractError> {
    if !row.is_open {
        return Ok(());
    }
    row.is_open = false;
    if row.has_words {
        return rows.raw("]");
    }
    rows.truncate(row.begin);
    Ok(())
}
