//! The page as structure: blocks, and blocks within those.
//!
//! `heading` (`level`, `text`), `paragraph` (`text`), `code` (`language`, `text`), `image` (`url`, `alt`), `table` (`caption`, `rows` of
//! cells), `list` (`ordered`, `items`) and `quote`. An item and a quote have a `text`, the first paragraph in them, and `blocks` if there is
//! more; an item that is to be done says whether it is (`done`).

use serde_json::{Map, Value, json};

use super::{
    Page,
    beside::{decorates, emoji, is_remark, numbers_lines, raised, stands_apart, task},
    code::{language, preformatted},
    flow::notes::Notes,
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

/// Writes the selected content as blocks, in document order.
pub(crate) fn blocks(page: &Page<'_>, budget: &Budget<'_>) -> Result<Vec<Value>, ExtractError> {
    let tables = DataTables::of(page, budget)?;
    let notes = Notes::of(page, budget)?;
    let top = Frame { id: NONE, kind: Kind::Page, blocks: Vec::new() };
    let mut writer = Writer { page: *page, tables, notes, text: String::new(), heading: None, open: vec![top] };
    for &root in &page.selection.roots {
        writer.walk(root, budget)?;
        writer.flush();
    }
    Ok(writer.open.swap_remove(0).blocks)
}

/// What gathers blocks.
struct Frame {
    id: NodeId,
    kind: Kind,
    blocks: Vec<Value>,
}

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
        rows: Vec<Vec<String>>,
    },
    /// Text alone.
    Cell,
    /// Text alone.
    Caption,
}

struct Writer<'a> {
    page: Page<'a>,
    tables: DataTables,
    notes: Notes,
    /// The text of the paragraph, heading or cell under way.
    text: String,
    /// The heading under way, and its level.
    heading: Option<(NodeId, u8)>,
    open: Vec<Frame>,
}

impl Writer<'_> {
    fn walk(&mut self, root: NodeId, budget: &Budget<'_>) -> Result<(), ExtractError> {
        let dom = self.page.dom;
        let mut id = root;
        loop {
            budget.spend(dom.text(id).len())?;
            let removed = self.page.selection.is_removed(id);
            let descend = !removed && self.enter(id, budget)?;
            let first = dom.node(id).first;
            if descend && first != NONE {
                id = first;
                continue;
            }
            loop {
                if !self.page.selection.is_removed(id) {
                    self.leave(id);
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
    fn enter(&mut self, id: NodeId, budget: &Budget<'_>) -> Result<bool, ExtractError> {
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
                self.flush();
            }
            self.text.push_str(&formula.tex);
            if stands {
                self.flush();
            }
            return Ok(false);
        }
        match tag {
            Tag::Text => self.text.push_str(dom.text(id)),
            Tag::Br => self.text.push(' '),
            Tag::Img => match emoji(dom, id) {
                Some(emoji) => self.text.push_str(&emoji),
                None => self.image(id),
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
                self.flush();
                if !text.trim().is_empty() {
                    let language = language(&self.page, id);
                    self.add(json!({"type": "code", "language": language, "text": text}));
                }
                return Ok(false);
            }
            tag if tag.is_list() && is_free => {
                self.begin(id, Kind::List { ordered: tag == Tag::Ol });
            }
            Tag::Li if is_free => self.begin(id, Kind::Item { done: task(dom, id) }),
            Tag::Blockquote if is_free => self.begin(id, Kind::Quote),
            Tag::Div | Tag::Aside | Tag::Section if is_free && is_remark(dom, id) => self.begin(id, Kind::Quote),
            Tag::Table if !self.is_line() && self.tables.columns(id).is_some() => {
                self.begin(id, Kind::Table { caption: None, rows: Vec::new() });
            }
            Tag::Tr if self.in_table() => {
                self.flush();
                if let Some(Frame { kind: Kind::Table { rows, .. }, .. }) = self.open.last_mut() {
                    rows.push(Vec::new());
                }
            }
            Tag::Td | Tag::Th if self.in_table() => self.begin(id, Kind::Cell),
            Tag::Caption if self.in_table() => self.begin(id, Kind::Caption),
            _ => match tag.heading_level() {
                Some(level) if !self.is_line() => {
                    self.flush();
                    self.heading = Some((id, level));
                }
                _ if tag.is_block() => self.boundary(),
                _ => {}
            },
        }
        Ok(true)
    }

    fn in_table(&self) -> bool {
        matches!(self.open.last(), Some(Frame { kind: Kind::Table { .. }, .. })) && self.heading.is_none()
    }

    fn leave(&mut self, id: NodeId) {
        let tag = self.page.dom.tag(id);
        if tag == Tag::Rt {
            self.text.truncate(self.text.trim_end().len());
            self.text.push(')');
        } else if tag == Tag::Q {
            self.text.truncate(self.text.trim_end().len());
            self.text.push('\u{201d}');
        } else if self.heading.is_some_and(|(heading, _)| heading == id) {
            let (_, level) = self.heading.take().unwrap_or((id, 1));
            let text = collapse(&std::mem::take(&mut self.text));
            if !text.is_empty() {
                self.add(json!({"type": "heading", "level": level, "text": text}));
            }
        } else if self.open.last().is_some_and(|frame| frame.id == id) {
            self.end();
        } else if tag.is_block() {
            self.boundary();
        }
    }

    fn begin(&mut self, id: NodeId, kind: Kind) {
        self.flush();
        self.open.push(Frame { id, kind, blocks: Vec::new() });
    }

    /// Ends what was begun last.
    fn end(&mut self) {
        if let Some(Frame { kind: Kind::Cell, .. }) = self.open.last() {
            let text = collapse(&std::mem::take(&mut self.text));
            self.open.pop();
            if let Some(Frame { kind: Kind::Table { rows, .. }, .. }) = self.open.last_mut()
                && let Some(row) = rows.last_mut()
            {
                row.push(text);
            }
            return;
        }
        if let Some(Frame { kind: Kind::Caption, .. }) = self.open.last() {
            // What is said in a table and outside of its cells is its caption.
            self.open.pop();
            return self.flush();
        }
        self.flush();
        let Some(Frame { kind, blocks, .. }) = self.open.pop() else { return };
        match kind {
            Kind::Page | Kind::Cell | Kind::Caption => {}
            Kind::List { ordered } => {
                if !blocks.is_empty() {
                    self.add(json!({"type": "list", "ordered": ordered, "items": blocks}));
                }
            }
            Kind::Item { done } => {
                let mut item = holder(blocks);
                if !item.is_empty() {
                    item.extend(done.map(|done| ("done".to_owned(), done.into())));
                    self.add(Value::Object(item));
                }
            }
            Kind::Quote => {
                let inner = holder(blocks);
                if !inner.is_empty() {
                    let mut quote = Map::new();
                    quote.insert("type".to_owned(), "quote".into());
                    quote.extend(inner);
                    self.add(Value::Object(quote));
                }
            }
            Kind::Table { caption, mut rows } => {
                rows.retain(|row| row.iter().any(|cell| !cell.is_empty()));
                match caption {
                    _ if !rows.is_empty() => self.add(json!({"type": "table", "caption": caption, "rows": rows})),
                    Some(caption) => self.add(json!({"type": "paragraph", "text": caption})),
                    None => {}
                }
            }
        }
    }

    /// Where a block within begins or ends.
    fn boundary(&mut self) {
        if self.is_line() { self.text.push(' ') } else { self.flush() }
    }

    /// Ends the paragraph under way.
    fn flush(&mut self) {
        let text = collapse(&std::mem::take(&mut self.text));
        if text.is_empty() {
            return;
        }
        match self.open.last_mut() {
            Some(Frame { kind: Kind::Table { caption, .. }, .. }) => match caption {
                Some(caption) => {
                    caption.push(' ');
                    caption.push_str(&text);
                }
                None => *caption = Some(text),
            },
            _ => self.add(json!({"type": "paragraph", "text": text})),
        }
    }

    /// Adds a block to what is open. A list holds items only: what else is in one becomes part of one.
    fn add(&mut self, block: Value) {
        let Some(frame) = self.open.last_mut() else { return };
        if matches!(frame.kind, Kind::List { .. }) && block.get("type").is_some() {
            frame.blocks.push(Value::Object(holder(vec![block])));
        } else {
            frame.blocks.push(block);
        }
    }

    fn image(&mut self, id: NodeId) {
        if self.is_line() || decorates(self.page.dom, id) {
            return;
        }
        if let Some(url) = image_source(self.page.dom, id, self.page.base) {
            let alt = collapse(self.page.dom.attr(id, "alt").unwrap_or_default());
            // A picture in a paragraph comes before it.
            self.add(json!({"type": "image", "url": url.as_str(), "alt": alt}));
        }
    }
}

/// Blocks as the members of what holds them: the first paragraph as its text.
fn holder(mut blocks: Vec<Value>) -> Map<String, Value> {
    let mut members = Map::new();
    if blocks.is_empty() {
        return members;
    }
    let is_paragraph = blocks[0]["type"] == "paragraph";
    let text = if is_paragraph { blocks.remove(0)["text"].take() } else { "".into() };
    members.insert("text".to_owned(), text);
    if !blocks.is_empty() {
        members.insert("blocks".to_owned(), blocks.into());
    }
    members
}
