//! The list of active formatting elements and what it is for: `b`, `i`, `a` and their like, which are opened again in the
//! block after the one they were left open in (HTML, "the adoption agency algorithm").

use super::*;

impl Builder<'_, '_> {
    /// Where the formatting element to close is in the list, if it is after the last marker.
    pub(super) fn active_position(&self, tag: Tag) -> Option<usize> {
        let begin = self.active.iter().rposition(|id| *id == NONE).map_or(0, |at| at + 1);
        self.active[begin..].iter().rposition(|id| self.dom.tag(*id) == tag).map(|at| begin + at)
    }

    pub(super) fn activate(&mut self, tag: Tag, id: NodeId) {
        let begin = self.active.iter().rposition(|id| *id == NONE).map_or(0, |at| at + 1);
        let same = self.active[begin..].iter().filter(|id| self.dom.tag(**id) == tag).count();
        if same >= 3
            && let Some(at) = self.active[begin..].iter().position(|id| self.dom.tag(*id) == tag)
        {
            self.active.remove(begin + at);
        } else if self.active.len() - begin >= MAX_ACTIVE {
            self.active.remove(begin);
        }
        self.active.push(id);
    }

    pub(super) fn clear_to_marker(&mut self) {
        while self.active.pop().is_some_and(|id| id != NONE) {}
    }

    /// Opens again what was closed by the end of a block around it.
    pub(super) fn reopen_formatting(&mut self) {
        let Some(&last) = self.active.last() else { return };
        if last == NONE || self.dom.node(last).open {
            return;
        }
        let is_kept = |id: &NodeId| *id == NONE || self.dom.node(*id).open;
        let begin = self.active.iter().rposition(is_kept).map_or(0, |at| at + 1);
        for at in begin..self.active.len() {
            if self.stack.len() >= MAX_DEPTH {
                self.active.truncate(at);
                return;
            }
            let clone = self.clone_element(self.active[at]);
            let tag = self.dom.tag(clone);
            self.place(clone);
            self.open_node(clone, tag);
            self.active[at] = clone;
        }
    }

    pub(super) fn clone_element(&mut self, id: NodeId) -> NodeId {
        let (tag, data) = (self.dom.node(id).tag, self.dom.node(id).data);
        let clone = self.dom.push(tag, data);
        let (attr_start, attr_len) = (self.dom.node(id).attr_start, self.dom.node(id).attr_len);
        let node = &mut self.dom.nodes[clone as usize];
        (node.attr_start, node.attr_len) = (attr_start, attr_len);
        clone
    }

    /// The end tag of a formatting element: the "adoption agency", without the clones between the two.
    pub(super) fn end_formatting(&mut self, tag: Tag) {
        for _ in 0..8 {
            if self.top().tag == tag && !self.active.contains(&self.top().id) {
                self.pop();
                return;
            }
            let Some(position) = self.active_position(tag) else {
                return self.end_other(tag, tag as u8, (0, 0));
            };
            let id = self.active[position];
            let Some(at) = self.stack.iter().rposition(|open| open.id == id) else {
                self.active.remove(position);
                return;
            };
            if self.stack[at + 1..].iter().any(|open| open.tag.bounds_scope()) {
                return;
            }
            let Some(block) = self.stack[at + 1..].iter().position(|open| open.tag.is_special()).map(|b| at + 1 + b)
            else {
                self.active.remove(position);
                self.pop_to(at);
                return;
            };
            self.adopt(at, block, position);
        }
    }

    /// Moves the block at `block` out of the formatting element at `at`, and the formatting into the block.
    pub(super) fn adopt(&mut self, at: usize, block: usize, position: usize) {
        let (formatting, furthest, parent) = (self.stack[at], self.stack[block], self.stack[at - 1]);
        self.dom.detach(furthest.id);
        if parent.tag.is_table_context() && self.dom.node(formatting.id).parent != parent.id {
            self.foster(furthest.id);
        } else {
            self.dom.append(parent.id, furthest.id);
        }
        let clone = self.clone_element(formatting.id);
        self.dom.move_children(furthest.id, clone);
        self.dom.append(furthest.id, clone);
        // What lay between is closed; the clone takes the element's place, inside the block.
        for open in self.stack.drain(at..block) {
            self.dom.nodes[open.id as usize].open = false;
            self.open[usize::from(open.key)] -= 1;
        }
        let place = (at + 1).min(self.stack.len());
        self.stack.insert(place, Open { id: clone, ..formatting });
        self.open[usize::from(formatting.key)] += 1;
        self.dom.nodes[clone as usize].open = true;
        self.active[position] = clone;
    }

    // The open elements
}
