//! The page as structure: a list of blocks.

use serde_json::{Value, json};

use super::{
    Page,
    code::{language, preformatted},
    tables::DataTables,
};
use crate::{
    ExtractError,
    budget::Budget,
    dom::{NONE, NodeId, Tag},
    links::image_source,
    text::collapse,
};

/// Writes the selected content as blocks, in document order.
pub(crate) fn blocks(page: &Page<'_>, budget: &Budget<'_>) -> Result<Vec<Value>, ExtractError> {
    let tables = DataTables::of(page, budget)?;
    let mut writer = Writer { page: *page, tables, blocks: Vec::new(), text: String::new(), open: Vec::new() };
    for &root in &page.selection.roots {
        writer.walk(root, budget)?;
        writer.flush();
    }
    Ok(writer.blocks)
}

/// A block that gathers others' text.
enum Open {
    List { ordered: bool, items: Vec<String> },
    Quote { text: String },
    Table { rows: Vec<Vec<String>> },
}

struct Writer<'a> {
    page: Page<'a>,
    tables: DataTables,
    blocks: Vec<Value>,
    /// The text of the paragraph, heading, item or cell under way.
    text: String,
    /// The outermost open block is where text goes; those within add to it.
    open: Vec<(NodeId, Open)>,
}

impl Writer<'_> {
    fn walk(&mut self, root: NodeId, budget: &Budget<'_>) -> Result<(), ExtractError> {
        let dom = self.page.dom;
        let mut id = root;
        loop {
            budget.spend(dom.text(id).len())?;
            let descend = !self.page.selection.is_removed(id) && self.enter(id, budget)?;
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

    fn enter(&mut self, id: NodeId, budget: &Budget<'_>) -> Result<bool, ExtractError> {
        let dom = self.page.dom;
        match dom.tag(id) {
            Tag::Text => self.text.push_str(dom.text(id)),
            Tag::Br => self.text.push(' '),
            Tag::Img => self.image(id),
            Tag::Pre | Tag::Listing | Tag::Xmp | Tag::Plaintext => {
                let text = preformatted(&self.page, id, budget)?;
                if self.open.is_empty() {
                    self.flush();
                    if !text.trim().is_empty() {
                        let language = language(&self.page, id);
                        self.blocks.push(json!({"type": "code", "language": language, "text": text}));
                    }
                } else {
                    self.text.push_str(&text);
                }
                return Ok(false);
            }
            tag @ (Tag::Ul | Tag::Ol | Tag::Menu | Tag::Dir) if self.open.is_empty() => {
                self.flush();
                self.open.push((id, Open::List { ordered: tag == Tag::Ol, items: Vec::new() }));
            }
            Tag::Blockquote if self.open.is_empty() => {
                self.flush();
                self.open.push((id, Open::Quote { text: String::new() }));
            }
            Tag::Table if self.open.is_empty() && self.tables.columns(id).is_some() => {
                self.flush();
                self.open.push((id, Open::Table { rows: Vec::new() }));
            }
            tag if tag.is_block() => self.boundary(tag),
            _ => {}
        }
        Ok(true)
    }

    fn leave(&mut self, id: NodeId) {
        let tag = self.page.dom.tag(id);
        if self.open.last().is_some_and(|(at, _)| *at == id) {
            self.flush();
            let block = match self.open.pop() {
                Some((_, Open::List { ordered, items })) if !items.is_empty() => {
                    json!({"type": "list", "ordered": ordered, "items": items})
                }
                Some((_, Open::Quote { text })) if !text.is_empty() => json!({"type": "quote", "text": text}),
                Some((_, Open::Table { mut rows })) if rows.iter().any(|row| !row.is_empty()) => {
                    rows.retain(|row| !row.is_empty());
                    json!({"type": "table", "rows": rows})
                }
                _ => return,
            };
            self.blocks.push(block);
        } else if let Some(level) = tag.heading_level().filter(|_| self.open.is_empty()) {
            let text = collapse(&std::mem::take(&mut self.text));
            if !text.is_empty() {
                self.blocks.push(json!({"type": "heading", "level": level, "text": text}));
            }
        } else if matches!(tag, Tag::Td | Tag::Th)
            && let Some((_, Open::Table { rows })) = self.open.last_mut()
        {
            let text = collapse(&std::mem::take(&mut self.text));
            if let Some(row) = rows.last_mut() {
                row.push(text);
            }
        } else if tag.is_block() {
            self.boundary(tag);
        }
    }

    /// Where a block within begins or ends.
    fn boundary(&mut self, tag: Tag) {
        match self.open.last_mut() {
            None | Some((_, Open::Quote { .. })) => self.flush(),
            Some((_, Open::List { .. })) if tag == Tag::Li => self.flush(),
            Some((_, Open::Table { rows })) if tag == Tag::Tr => rows.push(Vec::new()),
            Some(_) => self.text.push(' '),
        }
    }

    /// Ends the paragraph, item or line of a quote under way.
    fn flush(&mut self) {
        let text = collapse(&std::mem::take(&mut self.text));
        if text.is_empty() {
            return;
        }
        match self.open.last_mut() {
            None => self.blocks.push(json!({"type": "paragraph", "text": text})),
            Some((_, Open::List { items, .. })) => items.push(text),
            Some((_, Open::Quote { text: quote })) => {
                if !quote.is_empty() {
                    quote.push_str("\n\n");
                }
                quote.push_str(&text);
            }
            // Text between the cells of a table: a caption.
            Some((_, Open::Table { .. })) => self.blocks.push(json!({"type": "paragraph", "text": text})),
        }
    }

    fn image(&mut self, id: NodeId) {
        if !self.open.is_empty() {
            return;
        }
        if let Some(url) = image_source(self.page.dom, id, self.page.base) {
            let alt = collapse(self.page.dom.attr(id, "alt").unwrap_or_default());
            self.blocks.push(json!({"type": "image", "url": url.as_str(), "alt": alt}));
        }
    }
}
