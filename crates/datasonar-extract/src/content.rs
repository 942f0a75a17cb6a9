//! Which nodes are content.

use crate::{
    ExtractError, Options,
    budget::Budget,
    dom::{BODY, Dom, NodeId, Tag},
    main_content, select,
};

/// What of a page is rendered: everything below the roots that is not removed.
pub(crate) struct Selection {
    /// In document order, none within another.
    pub(crate) roots: Vec<NodeId>,
    removed: Vec<bool>,
}

impl Selection {
    /// Whether the node, and all below it, is left out.
    #[inline]
    pub(crate) fn is_removed(&self, id: NodeId) -> bool {
        self.removed[id as usize]
    }

    /// Leaves a node out, and all below it.
    pub(crate) fn remove(&mut self, id: NodeId) {
        self.removed[id as usize] = true;
    }
}

/// Selects the content of a page: what can be seen, less what is excluded; of that what is included, or the main
/// content, or all.
pub(crate) fn select(dom: &Dom<'_>, options: &Options, budget: &Budget<'_>) -> Result<Selection, ExtractError> {
    let mut selection = Selection { roots: vec![BODY], removed: vec![false; dom.len()] };
    for id in dom.descendants(BODY) {
        budget.spend(0)?;
        if dom.is_element(id) && id != BODY && !is_visible(dom, id) {
            selection.remove(id);
        }
    }
    for id in select::matches(dom, &options.exclude, budget)? {
        selection.remove(id);
    }
    if !options.include.is_empty() {
        selection.roots = select::matches(dom, &options.include, budget)?;
        keep_outermost(dom, &mut selection, budget)?;
    } else if options.only_main_content {
        main_content::narrow(dom, &mut selection, budget)?;
    }
    Ok(selection)
}

/// Drops roots within roots, and those that are left out.
fn keep_outermost(dom: &Dom<'_>, selection: &mut Selection, budget: &Budget<'_>) -> Result<(), ExtractError> {
    let mut is_root = vec![false; dom.len()];
    for &root in &selection.roots {
        is_root[root as usize] = true;
    }
    let mut roots = Vec::new();
    let mut next = Some(crate::dom::HTML);
    while let Some(id) = next {
        budget.spend(0)?;
        let removed = selection.is_removed(id);
        if is_root[id as usize] && !removed {
            roots.push(id);
        }
        next = dom.following(crate::dom::HTML, id, removed || is_root[id as usize]);
    }
    selection.roots = roots;
    Ok(())
}

/// Whether a reader would see the element.
fn is_visible(dom: &Dom<'_>, id: NodeId) -> bool {
    let tag = dom.tag(id);
    match tag {
        Tag::Script
        | Tag::Style
        | Tag::Noscript
        | Tag::Svg
        | Tag::Frame
        | Tag::Iframe
        | Tag::Object
        | Tag::Embed
        | Tag::Applet
        | Tag::Canvas
        | Tag::Audio
        | Tag::Video
        | Tag::Map
        | Tag::Noframes
        | Tag::Noembed
        | Tag::Input
        | Tag::Select
        | Tag::Textarea
        | Tag::Datalist
        | Tag::Meta
        | Tag::Link
        | Tag::Title
        | Tag::Base
        | Tag::Param
        | Tag::Source
        | Tag::Track
        | Tag::Progress
        | Tag::Meter
        | Tag::Keygen => return false,
        Tag::Template => return dom.attr(id, "shadowrootmode").is_some(),
        Tag::Dialog => return dom.attr(id, "open").is_some(),
        _ => {}
    }
    for (name, value) in dom.attrs(id) {
        match name {
            "hidden" if !value.eq_ignore_ascii_case("until-found") => return false,
            "style" if hides(value) => return false,
            // What is hidden from screen readers alone may be content; icons and the anchors of headings are not.
            "aria-hidden" if value == "true" && !tag.is_block() => return false,
            _ => {}
        }
    }
    true
}

/// Whether a style attribute hides its element.
fn hides(style: &str) -> bool {
    style.split(';').any(|declaration| {
        let Some((property, value)) = declaration.split_once(':') else { return false };
        let value = value.trim().split(['!', ' ']).next().unwrap_or_default();
        match property.trim() {
            property if property.eq_ignore_ascii_case("display") => value.eq_ignore_ascii_case("none"),
            property if property.eq_ignore_ascii_case("visibility") => value.eq_ignore_ascii_case("hidden"),
            _ => false,
        }
    })
}
