//! CSS selectors: which elements to keep or to leave out.
//!
//! A selector is matched against all elements at once, in document order: for each element it is known which of the
//! selector's parts matched it, its ancestors and its earlier siblings, as bits of one word. So a selector costs the same
//! at every element, however deep, and nothing is tried twice.

mod parse;

use parse::{Combinator, Complex, Compound, Operator, Simple};
pub(crate) use parse::{Selector, parse};

use crate::{
    ExtractError,
    budget::Budget,
    dom::{Dom, HTML, NONE, NodeId},
};

/// Parts of one selector that matched around an element.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// At the element itself.
    here: u64,
    /// At it or any ancestor.
    above: u64,
    /// At it or any earlier sibling.
    before: u64,
    /// Its number among its parent's elements, from one.
    number: u32,
    /// Likewise among those of its name.
    number_of_type: u32,
}

/// The elements that any of the selectors matches, in document order.
pub(crate) fn matches(dom: &Dom<'_>, selectors: &[Selector], budget: &Budget<'_>) -> Result<Vec<NodeId>, ExtractError> {
    if selectors.is_empty() {
        return Ok(Vec::new());
    }
    let scope = budget.scope();
    budget.allocate(dom.len() * (1 + size_of::<Seen>()))?;
    let mut matched = vec![false; dom.len()];
    let mut seen = vec![Seen::default(); dom.len()];
    for complex in selectors.iter().flat_map(|selector| &selector.alternatives) {
        for id in dom.descendants(HTML).filter(|id| dom.is_element(*id)) {
            budget.spend(256)?;
            let last = step(dom, complex, &mut seen, id);
            matched[id as usize] |= last;
        }
    }
    let mut found = Vec::new();
    let count = matched.iter().filter(|matched| **matched).count();
    budget.reserve(&mut found, count)?;
    found.extend(dom.descendants(HTML).filter(|id| matched[*id as usize]));
    scope.keep(count * size_of::<NodeId>());
    Ok(found)
}

/// Matches one element, its parent and earlier siblings having been matched; answers whether the whole selector did.
fn step(dom: &Dom<'_>, complex: &Complex, seen: &mut [Seen], id: NodeId) -> bool {
    let previous = previous_element(dom, id).map(|id| seen[id as usize]).unwrap_or_default();
    let parent = dom.node(id).parent;
    let parent = if parent == NONE { Seen::default() } else { seen[parent as usize] };
    let mut now = Seen { number: previous.number + 1, ..Seen::default() };
    if complex.counts_types {
        now.number_of_type = 1 + same_type_before(dom, seen, id);
    }
    for (at, (combinator, compound)) in complex.parts.iter().enumerate() {
        let before = match combinator {
            Combinator::Start => 1,
            Combinator::Descendant => parent.above >> (at - 1) & 1,
            Combinator::Child => parent.here >> (at - 1) & 1,
            Combinator::Next => previous.here >> (at - 1) & 1,
            Combinator::Later => previous.before >> (at - 1) & 1,
        };
        if before == 1 && is_match(dom, compound, &now, id) {
            now.here |= 1 << at;
        }
    }
    now.above = parent.above | now.here;
    now.before = previous.before | now.here;
    seen[id as usize] = now;
    now.here >> (complex.parts.len() - 1) & 1 == 1
}

fn previous_element(dom: &Dom<'_>, id: NodeId) -> Option<NodeId> {
    siblings(id, |id| dom.node(id).prev).find(|id| dom.is_element(*id))
}

fn siblings(id: NodeId, step: impl Fn(NodeId) -> NodeId) -> impl Iterator<Item = NodeId> {
    let mut at = id;
    std::iter::from_fn(move || {
        at = step(at);
        (at != NONE).then_some(at)
    })
}

/// How many of the nearest thousand earlier siblings of that name there are, and what they counted.
fn same_type_before(dom: &Dom<'_>, seen: &[Seen], id: NodeId) -> u32 {
    siblings(id, |id| dom.node(id).prev)
        .take(1000)
        .find(|at| dom.tag(*at) == dom.tag(id) && dom.name(*at) == dom.name(id))
        .map_or(0, |at| seen[at as usize].number_of_type)
}

fn is_match(dom: &Dom<'_>, compound: &Compound, seen: &Seen, id: NodeId) -> bool {
    compound.simple.iter().all(|simple| is_simple_match(dom, simple, seen, id))
}

fn is_simple_match(dom: &Dom<'_>, simple: &Simple, seen: &Seen, id: NodeId) -> bool {
    match simple {
        Simple::Any => true,
        Simple::Name(name) => dom.name(id) == name,
        Simple::Id(wanted) => dom.attr(id, "id") == Some(wanted),
        Simple::Class(wanted) => {
            dom.attr(id, "class").is_some_and(|class| class.split_ascii_whitespace().any(|class| class == wanted))
        }
        Simple::Attribute { name, operator, value, any_case } => {
            dom.attr(id, name).is_some_and(|found| operator.holds(found, value, *any_case))
        }
        Simple::NthChild { step, offset } => nth(*step, *offset, seen.number),
        Simple::NthOfType { step, offset } => nth(*step, *offset, seen.number_of_type),
        Simple::LastChild => siblings(id, |id| dom.node(id).next).take(1000).all(|id| !dom.is_element(id)),
        Simple::Empty => dom.node(id).first == NONE,
        Simple::Root => id == HTML,
        Simple::Not(list) => !list.iter().any(|compound| is_match_flat(dom, compound, seen, id)),
        Simple::Is(list) => list.iter().any(|compound| is_match_flat(dom, compound, seen, id)),
    }
}

/// Compounds within `:not()` and `:is()`, which hold no such lists themselves.
fn is_match_flat(dom: &Dom<'_>, compound: &Compound, seen: &Seen, id: NodeId) -> bool {
    compound.simple.iter().all(|simple| is_simple_match(dom, simple, seen, id))
}

/// Whether `number` is `step × n + offset` for some n from zero.
fn nth(step: i32, offset: i32, number: u32) -> bool {
    let distance = i64::from(number) - i64::from(offset);
    match i64::from(step) {
        0 => distance == 0,
        step => distance % step == 0 && distance / step >= 0,
    }
}

impl Operator {
    fn holds(self, found: &str, wanted: &str, any_case: bool) -> bool {
        if any_case {
            return self.holds(&found.to_ascii_lowercase(), &wanted.to_ascii_lowercase(), false);
        }
        match self {
            Self::Exists => true,
            Self::Equals => found == wanted,
            Self::Word => !wanted.is_empty() && found.split_ascii_whitespace().any(|word| word == wanted),
            Self::Dash => found.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')),
            Self::Begins => !wanted.is_empty() && found.starts_with(wanted),
            Self::Ends => !wanted.is_empty() && found.ends_with(wanted),
            Self::Contains => !wanted.is_empty() && found.contains(wanted),
        }
    }
}
