//! Which nodes are content.

use url::Url;

use crate::{
    ExtractError, Options,
    budget::Budget,
    dom::{BODY, Dom, NodeId, Tag},
    main_content, select,
    structured::StructuredData,
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
pub(crate) fn select(
    dom: &Dom<'_>,
    url: &Url,
    structured: &StructuredData,
    options: &Options,
    budget: &Budget<'_>,
) -> Result<Selection, ExtractError> {
    let narrows = options.include.is_empty() && options.only_main_content;
    // What is folded away may be main content: a product's details behind a tab.
    let mut selection = seen(dom, if narrows { Shown::Folded } else { Shown::Yes }, budget)?;
    for id in select::matches(dom, &options.exclude, budget)? {
        selection.remove(id);
    }
    if !options.include.is_empty() {
        selection.roots = select::matches(dom, &options.include, budget)?;
        keep_outermost(dom, &mut selection, budget)?;
    } else if narrows {
        match main_content::narrow(dom, url, structured, &mut selection, budget) {
            // A page with so many parts that they cannot be weighed is kept whole.
            Err(ExtractError::TooLarge { .. }) => {
                budget.free(dom.len());
                drop(selection);
                return select(dom, url, structured, &Options { only_main_content: false, ..options.clone() }, budget);
            }
            narrowed => narrowed?,
        }
    }
    Ok(selection)
}

/// Drops roots within roots, and those that are left out.
fn keep_outermost(dom: &Dom<'_>, selection: &mut Selection, budget: &Budget<'_>) -> Result<(), ExtractError> {
    budget.allocate(dom.len())?;
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
            budget.reserve(&mut roots, 1)?;
            roots.push(id);
        }
        next = dom.following(crate::dom::HTML, id, removed || is_root[id as usize]);
    }
    selection.roots = roots;
    budget.free(dom.len());
    Ok(())
}

/// Whether a reader sees an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shown {
    Never,
    /// Not at once: behind a tab, in a dialog, without scripts. It may be content all the same.
    Folded,
    Yes,
}

/// The body, as far as it is seen at least like `least`.
pub(crate) fn seen(dom: &Dom<'_>, least: Shown, budget: &Budget<'_>) -> Result<Selection, ExtractError> {
    budget.allocate(dom.len())?;
    let mut selection = Selection { roots: vec![BODY], removed: vec![false; dom.len()] };
    for id in dom.descendants(BODY) {
        budget.spend(0)?;
        if dom.is_element(id) && id != BODY && shown(dom, id) < least {
            selection.remove(id);
        }
    }
    Ok(selection)
}

/// Whether a reader sees the element.
pub(crate) fn shown(dom: &Dom<'_>, id: NodeId) -> Shown {
    let tag = dom.tag(id);
    let open = |name: &str| if dom.attr(id, name).is_some() { Shown::Yes } else { Shown::Folded };
    match tag {
        // A formula, to be set by a script.
        Tag::Script if dom.attr(id, "type").is_some_and(|kind| kind.starts_with("math/tex")) => return Shown::Yes,
        Tag::Script
        | Tag::Style
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
        | Tag::Keygen => return Shown::Never,
        Tag::Noscript => return Shown::Folded,
        Tag::Template => return if dom.attr(id, "shadowrootmode").is_some() { Shown::Yes } else { Shown::Never },
        Tag::Dialog => return open("open"),
        _ => {}
    }
    for (name, value) in dom.attrs(id) {
        match name {
            "hidden" if !value.eq_ignore_ascii_case("until-found") => return Shown::Folded,
            "style" if hides(value) => return Shown::Folded,
            // What is hidden from screen readers alone may be content; icons and the anchors of headings are not.
            "aria-hidden" if value == "true" && !tag.is_block() => return Shown::Never,
            _ => {}
        }
    }
    Shown::Yes
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
