//! What is known of each segment, as numbers: its own look, where it stands, what stands around it, what is like it.
//!
//! One row per segment, [`NAMES`] being the columns. All of it comes from ranges of segments and running sums over them,
//! in time linear in the page.

use std::collections::HashMap;

use super::{
    columns::NAMES,
    lexicon::{Plain, ROLES, class_score},
    segments::{Element, NO, Segments, within},
};
use crate::{
    ExtractError,
    budget::Budget,
    dom::{Dom, NodeId, Tag},
};

/// How many containers around a segment are looked at.
pub(super) const LEVELS: usize = 5;

/// Segments that are looked at one by one, at most.
pub(super) const MAX_ROWS: usize = 20_000;

/// The rows, and what later steps need of what they were made from.
pub(super) struct Features {
    /// Row by row, [`NAMES`] long each.
    pub(super) rows: Vec<f32>,
    /// By segment and level: the containers, as places of elements; each holds more than the one before.
    pub(super) containers: Vec<[u32; LEVELS]>,
    /// By segment, all of them: a number for its tag path.
    pub(super) paths: Vec<u32>,
    /// By segment: a number for its element and the one around, by names and classes.
    pub(super) kinds: Vec<u32>,
    /// By segment: the heading it stands below, or [`NO`].
    pub(super) headings: Vec<u32>,
    /// By segment: the repeated element that it is in, as the place of the element, or [`NO`].
    pub(super) items: Vec<u32>,
}

/// What an element hands down.
#[derive(Debug, Clone, Copy, Default)]
struct Inherited {
    /// Nearest element up that holds more segments.
    bigger: u32,
    path: u32,
    kind: u32,
    group: u32,
    item: u32,
    most: u32,
    own: f32,
    sum: f32,
    min: f32,
    max: f32,
    /// [`ROLES`] of the element, and of all that it is within.
    own_roles: u32,
    roles: u32,
}

/// Elements of one kind below one parent.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    count: u32,
    chars: u32,
    linked: u32,
}

/// Sums over the segments before each.
pub(super) struct Sums {
    chars: Vec<u32>,
    linked: Vec<u32>,
    words: Vec<u32>,
    stops: Vec<u32>,
    texts: Vec<f32>,
}

impl Sums {
    fn of(segments: &Segments) -> Self {
        let n = segments.list.len() + 1;
        let mut sums = Self {
            chars: Vec::with_capacity(n),
            linked: Vec::with_capacity(n),
            words: Vec::with_capacity(n),
            stops: Vec::with_capacity(n),
            texts: Vec::with_capacity(n),
        };
        let (mut chars, mut linked, mut words, mut stops, mut texts) = (0, 0, 0, 0, 0.0);
        for segment in &segments.list {
            sums.push(chars, linked, words, stops, texts);
            let shape = &segment.shape;
            chars += shape.chars;
            linked += shape.linked;
            words += shape.words;
            stops += shape.stops;
            texts += shape.text_score.clamp(-8.0, 8.0);
        }
        sums.push(chars, linked, words, stops, texts);
        sums
    }

    fn push(&mut self, chars: u32, linked: u32, words: u32, stops: u32, texts: f32) {
        self.chars.push(chars);
        self.linked.push(linked);
        self.words.push(words);
        self.stops.push(stops);
        self.texts.push(texts);
    }

    fn chars(&self, begin: u32, end: u32) -> u32 {
        self.chars[end as usize] - self.chars[begin as usize]
    }

    fn linked(&self, begin: u32, end: u32) -> u32 {
        self.linked[end as usize] - self.linked[begin as usize]
    }

    fn words(&self, begin: u32, end: u32) -> u32 {
        self.words[end as usize] - self.words[begin as usize]
    }

    fn stops(&self, begin: u32, end: u32) -> u32 {
        self.stops[end as usize] - self.stops[begin as usize]
    }

    fn text_mean(&self, begin: u32, end: u32) -> f32 {
        (self.texts[end as usize] - self.texts[begin as usize]) / (end - begin).max(1) as f32
    }
}

/// Counts and totals of segments that have something in common.
#[derive(Default, Clone, Copy)]
struct Kin {
    count: u32,
    chars: u32,
    linked: u32,
}

type Kins = HashMap<u32, Kin, Plain>;

impl Features {
    /// Whether a segment is in something named for comments.
    pub(super) fn is_comment(&self, segment: usize) -> bool {
        self.has_role(segment, "r_comment")
    }

    /// Whether a segment is in something named for who wrote a post, and when.
    pub(super) fn is_byline_of_post(&self, segment: usize) -> bool {
        self.has_role(segment, "r_byline") && self.has_role(segment, "r_post")
    }

    fn has_role(&self, segment: usize, role: &str) -> bool {
        let role = ROLES.iter().position(|(name, _)| *name == role);
        let column = role.map(|role| NAMES.len() - ROLES.len() + role);
        column.and_then(|column| self.rows.get(segment * NAMES.len() + column)).is_some_and(|value| *value > 0.0)
    }

    /// Looks at the segments, up to [`MAX_ROWS`] of them.
    pub(super) fn of(dom: &Dom<'_>, segments: &Segments, budget: &Budget<'_>) -> Result<Self, ExtractError> {
        let count = segments.list.len();
        budget.allocate((count + 1) * 5 * size_of::<u32>())?;
        let sums = Sums::of(segments);
        let rows = segments.list.len().min(MAX_ROWS);
        let (inherited, groups) = inherit(dom, segments, &sums, budget)?;
        // Rows, what goes with each, and which texts were seen.
        budget.allocate(rows * (NAMES.len() + LEVELS + 3 + 8) * size_of::<f32>() + count * size_of::<u32>())?;
        let mut look = Look {
            dom,
            segments,
            sums,
            inherited,
            groups,
            by_path: Kins::default(),
            by_kind: Kins::default(),
            by_text: Kins::default(),
            seen: HashMap::default(),
            features: Self {
                rows: Vec::with_capacity(rows * NAMES.len()),
                containers: Vec::with_capacity(rows),
                paths: Vec::with_capacity(segments.list.len()),
                kinds: Vec::with_capacity(rows),
                headings: Vec::with_capacity(rows),
                items: Vec::with_capacity(rows),
            },
            h1: None,
            first_long: NO,
            last_long: 0,
            heading: None,
        };
        look.survey(budget)?;
        for at in 0..rows as u32 {
            budget.spend(NAMES.len() * 32)?;
            look.row(at);
        }
        Ok(look.features)
    }
}

/// Hands down, from the body to what it holds.
fn inherit(
    dom: &Dom<'_>,
    segments: &Segments,
    sums: &Sums,
    budget: &Budget<'_>,
) -> Result<(Vec<Inherited>, Vec<Group>), ExtractError> {
    budget.allocate(segments.elements.len() * size_of::<Inherited>())?;
    let mut inherited: Vec<Inherited> = Vec::with_capacity(segments.elements.len());
    let mut groups: Vec<Group> = Vec::new();
    let mut by_kind: HashMap<u64, u32, Plain> = HashMap::default();
    for element in &segments.elements {
        budget.spend(512)?;
        let kind = kind_of(dom, element.id);
        let key = u64::from(element.parent) << 32 | u64::from(kind);
        budget.reserve_entry(&mut by_kind)?;
        budget.reserve(&mut groups, 1)?;
        let group = *by_kind.entry(key).or_insert_with(|| {
            groups.push(Group::default());
            groups.len() as u32 - 1
        });
        if element.end > element.begin {
            let of_group = &mut groups[group as usize];
            of_group.count += 1;
            of_group.chars = of_group.chars.saturating_add(sums.chars(element.begin, element.end));
            of_group.linked = of_group.linked.saturating_add(sums.linked(element.begin, element.end));
        }
        inherited.push(Inherited { kind, group, ..Inherited::default() });
    }
    for (at, element) in segments.elements.iter().enumerate() {
        budget.spend(256)?;
        let (own, roles) = if element.end > element.begin { class_score(dom, element.id) } else { (0.0, 0) };
        let own = own.clamp(-12.0, 12.0);
        // What the whole page is in says nothing of its parts.
        let roles =
            if u64::from(element.end - element.begin) * 10 > segments.list.len() as u64 * 9 { 0 } else { roles };
        let place = at as u32;
        let tag = dom.tag(element.id) as u32;
        let is_body = element.parent == place;
        let up =
            if is_body { Inherited { item: NO, ..Inherited::default() } } else { inherited[element.parent as usize] };
        let above = segments.elements[element.parent as usize];
        let this = &mut inherited[at];
        let count = groups[this.group as usize].count;
        let grows = above.begin < element.begin || above.end > element.end;
        this.bigger = if grows {
            element.parent
        } else if is_body {
            NO
        } else {
            up.bigger
        };
        this.path = if element.parts { up.path.wrapping_mul(0x0100_0193).wrapping_add(tag + 1) } else { up.path };
        this.item = if count >= 3 { place } else { up.item };
        this.most = up.most.max(if count >= 3 { count } else { 0 });
        this.own = own;
        this.sum = up.sum + own;
        this.min = up.min.min(own);
        this.max = up.max.max(own);
        this.own_roles = roles;
        this.roles = up.roles | roles;
    }
    Ok((inherited, groups))
}

/// A number for an element's name and classes, its numbers left out: `post-17` and `post-18` are of one kind.
fn kind_of(dom: &Dom<'_>, id: NodeId) -> u32 {
    let mut hash = dom.tag(id) as u32 + 1;
    let classes = dom.attr(id, "class").unwrap_or_default();
    for byte in classes.bytes().take(256) {
        if !byte.is_ascii_digit() {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
    hash
}

struct Look<'a> {
    dom: &'a Dom<'a>,
    segments: &'a Segments,
    sums: Sums,
    inherited: Vec<Inherited>,
    groups: Vec<Group>,
    by_path: Kins,
    by_kind: Kins,
    by_text: Kins,
    seen: HashMap<u32, u32, Plain>,
    features: Features,
    h1: Option<u32>,
    first_long: u32,
    last_long: u32,
    heading: Option<u32>,
}

fn ln(count: u32) -> f32 {
    ((count + 1) as f32).ln()
}

fn share(part: u32, whole: u32) -> f32 {
    if whole == 0 { 0.0 } else { part as f32 / whole as f32 }
}

impl Look<'_> {
    fn element(&self, segment: u32) -> &Element {
        &self.segments.elements[self.segments.list[segment as usize].element as usize]
    }

    /// Counts what is alike, and finds what others are measured from.
    fn survey(&mut self, budget: &Budget<'_>) -> Result<(), ExtractError> {
        for (at, segment) in self.segments.list.iter().enumerate() {
            budget.spend(256)?;
            let place = segment.element as usize;
            let element = self.segments.elements[place];
            let (path, kind) = (self.inherited[place].path, self.kind(place));
            self.features.paths.push(path);
            for (kins, key) in
                [(&mut self.by_path, path), (&mut self.by_kind, kind), (&mut self.by_text, segment.shape.hash)]
            {
                budget.reserve_entry(kins)?;
                let kin = kins.entry(key).or_default();
                kin.count += 1;
                kin.chars += segment.shape.chars;
                kin.linked += segment.shape.linked;
            }
            let aside = within::NAV | within::FOOTER | within::HIDDEN | within::NOSCRIPT;
            if self.h1.is_none() && self.dom.tag(element.id) == Tag::H1 && element.within & aside == 0 {
                self.h1 = Some(at as u32);
            }
            if segment.shape.words >= 25
                && segment.shape.linked * 3 < segment.shape.chars
                && element.within & aside == 0
            {
                self.first_long = self.first_long.min(at as u32);
                self.last_long = at as u32;
            }
        }
        Ok(())
    }

    fn kind(&self, place: usize) -> u32 {
        let parent = self.segments.elements[place].parent as usize;
        self.inherited[place].kind.wrapping_mul(31).wrapping_add(self.inherited[parent].kind)
    }

    fn row(&mut self, at: u32) {
        let begin = self.features.rows.len();
        self.own(at);
        self.surroundings(at);
        self.containers(at);
        self.kin(at);
        self.place(at);
        self.neighbours(at);
        self.words(at);
        debug_assert_eq!(self.features.rows.len() - begin, NAMES.len(), "a column per name");
        let element = self.element(at);
        if element.within & within::HEADING != 0 {
            self.heading = Some(at);
        }
    }

    fn push<const N: usize>(&mut self, values: [f32; N]) {
        self.features.rows.extend_from_slice(&values);
    }

    fn own(&mut self, at: u32) {
        let element = *self.element(at);
        let shape = &self.segments.list[at as usize].shape;
        let tag = self.dom.tag(element.id);
        let flag = |is: bool| f32::from(u8::from(is));
        let ending = match shape.last {
            Some('.' | '!' | '?' | '…' | '。' | '！' | '？') => 2.0,
            Some(':' | '：') => 3.0,
            Some(character) if character.is_alphanumeric() => 0.0,
            _ => 1.0,
        };
        let is_linked = shape.linked * 10 >= shape.chars * 9;
        let values = [
            ln(shape.chars),
            ln(shape.words),
            share(shape.linked, shape.chars),
            share(shape.chars, shape.words.max(1)).min(20.0),
            ln(shape.stops),
            ln(shape.commas),
            share(shape.digits, shape.chars),
            share(shape.capitals, shape.chars),
            ending,
            shape.prices.min(5) as f32,
            ln(shape.bars),
            flag(shape.copyright),
            flag(shape.begins_upper),
            flag(tag == Tag::P),
            flag(tag == Tag::Li),
            f32::from(if element.within & within::HEADING == 0 { 0 } else { tag.heading_level().unwrap_or(7) }),
            flag(matches!(tag, Tag::Td | Tag::Th)),
            flag(matches!(tag, Tag::Dt | Tag::Dd)),
            flag(element.within & within::CODE != 0),
            flag(element.within & within::BUTTON != 0),
            flag(is_linked),
            flag(!tag.is_block()),
            flag(matches!(tag, Tag::Div | Tag::Section)),
            flag(tag == Tag::Time),
            share(shape.in_title, shape.words),
            share(shape.in_description, shape.words),
            share(shape.in_data, shape.words),
        ];
        self.push(values);
    }

    fn surroundings(&mut self, at: u32) {
        let element = *self.element(at);
        let is = |bit: u32| f32::from(u8::from(element.within & bit != 0));
        use within::*;
        self.push([
            is(ARTICLE),
            is(MAIN),
            is(NAV),
            is(HEADER),
            is(FOOTER),
            is(ASIDE),
            is(FORM),
            is(LIST),
            is(TABLE),
            is(FIGURE),
            is(SECTION),
            is(HIDDEN),
            is(NOSCRIPT),
            is(DIALOG),
            is(TERMS),
            is(QUOTE),
            is(ITEM),
            f32::from(element.depth),
            f32::from(element.lists),
        ]);
    }

    fn containers(&mut self, at: u32) {
        let mut place = self.segments.list[at as usize].element;
        let whole = self.sums.chars(0, self.segments.list.len() as u32);
        let mut containers = [NO; LEVELS];
        // A segment that shares its element with others has that element as its first container.
        let element = self.element(at);
        if element.end - element.begin <= 1 {
            place = self.inherited[place as usize].bigger;
        }
        for container in &mut containers {
            if place == NO {
                place = 0;
            }
            *container = place;
            let Element { begin, end, .. } = self.segments.elements[place as usize];
            let chars = self.sums.chars(begin, end);
            let values = [
                ln(chars),
                share(self.sums.linked(begin, end), chars),
                share(self.sums.words(begin, end), end - begin).min(60.0),
                share(chars, whole),
                share(self.sums.stops(begin, end), end - begin).min(8.0),
            ];
            self.push(values);
            place = self.inherited[place as usize].bigger;
        }
        self.features.containers.push(containers);
    }

    fn kin(&mut self, at: u32) {
        let place = self.segments.list[at as usize].element as usize;
        let inherited = self.inherited[place];
        let of = |kins: &Kins, key: u32| kins.get(&key).copied().unwrap_or_default();
        let path = of(&self.by_path, inherited.path);
        let kind = of(&self.by_kind, self.kind(place));
        let text = of(&self.by_text, self.segments.list[at as usize].shape.hash);
        let (mut items, mut item_at) = (Group::default(), 0.0);
        if inherited.item != NO {
            let item = inherited.item as usize;
            items = self.groups[self.inherited[item].group as usize];
            let parent = self.segments.elements[self.segments.elements[item].parent as usize];
            let held = parent.end - parent.begin;
            item_at = share(self.segments.elements[item].begin - parent.begin, held);
        }
        self.features.kinds.push(self.kind(place));
        self.features.items.push(inherited.item);
        self.push([
            ln(path.count),
            ln(path.chars / path.count.max(1)),
            share(path.linked, path.chars),
            ln(kind.count),
            ln(kind.chars / kind.count.max(1)),
            share(kind.linked, kind.chars),
            ln(text.count),
            ln(items.count),
            ln(items.chars / items.count.max(1)),
            share(items.linked, items.chars),
            item_at,
            ln(inherited.most),
        ]);
    }

    fn place(&mut self, at: u32) {
        let n = self.segments.list.len() as u32;
        let whole = self.sums.chars(0, n);
        let before = self.sums.chars(0, at);
        let from_h1 = self.h1.map_or(-300.0, |h1| (at as f32 - h1 as f32).clamp(-200.0, 400.0));
        let from_heading = self.heading.map_or(100, |heading| at - heading).min(100);
        let level =
            self.heading.map_or(0, |heading| self.dom.tag(self.element(heading).id).heading_level().unwrap_or(7));
        let container = self.features.containers.last().map_or(0, |containers| containers[1]);
        let inside = self.heading.is_some_and(|heading| heading >= self.segments.elements[container as usize].begin);
        self.features.headings.push(self.heading.unwrap_or(NO));
        self.push([
            share(at, n),
            share(before, whole),
            ln(before),
            ln(whole - before),
            from_h1,
            from_heading as f32,
            f32::from(level),
            f32::from(u8::from(inside)),
        ]);
    }

    fn neighbours(&mut self, at: u32) {
        let n = self.segments.list.len() as u32;
        let near = |offset: i64| {
            let at = i64::from(at) + offset;
            (0..i64::from(n)).contains(&at).then_some(at as u32)
        };
        let words = |at: Option<u32>| at.map_or(-1.0, |at| ln(self.segments.list[at as usize].shape.words));
        let links = |at: Option<u32>| {
            at.map_or(-1.0, |at| {
                let shape = &self.segments.list[at as usize].shape;
                share(shape.linked, shape.chars)
            })
        };
        let heads =
            |at: Option<u32>| at.map_or(0.0, |at| f32::from(u8::from(self.element(at).within & within::HEADING != 0)));
        let (begin, end) = (at.saturating_sub(5), (at + 6).min(n));
        let to_first = if self.first_long == NO { -300.0 } else { at as f32 - self.first_long as f32 };
        let values = [
            words(near(-1)),
            links(near(-1)),
            heads(near(-1)),
            words(near(-2)),
            words(near(1)),
            links(near(1)),
            heads(near(1)),
            words(near(2)),
            to_first.clamp(-300.0, 400.0),
            (at as f32 - self.last_long as f32).clamp(-400.0, 400.0),
            ln(self.sums.words(begin, end)),
            share(self.sums.linked(begin, end), self.sums.chars(begin, end)),
        ];
        self.push(values);
    }

    fn words(&mut self, at: u32) {
        let n = self.segments.list.len() as u32;
        let place = self.segments.list[at as usize].element as usize;
        let inherited = self.inherited[place];
        let parent = self.segments.elements[place].parent;
        let grand = self.segments.parent(parent);
        let near = inherited.own + self.inherited[parent as usize].own + self.inherited[grand as usize].own;
        let score = |at: u32| self.segments.list[at as usize].shape.text_score.clamp(-8.0, 8.0);
        let says = self.heading.map_or(0.0, |heading| self.segments.list[heading as usize].shape.heading_score);
        let shape = &self.segments.list[at as usize].shape;
        let (begin, end) = (at.saturating_sub(5), (at + 6).min(n));
        let values = [
            inherited.own,
            near,
            inherited.sum,
            inherited.min,
            inherited.max,
            score(at),
            score(at) / shape.words.clamp(1, super::shape::MAX_LOOKED_UP) as f32,
            says.clamp(-8.0, 8.0),
            if at > 0 { score(at - 1) } else { 0.0 },
            if at + 1 < n { score(at + 1) } else { 0.0 },
            self.sums.text_mean(begin, end),
        ];
        self.push(values);
        self.roles(at);
    }

    fn roles(&mut self, at: u32) {
        let segment = &self.segments.list[at as usize];
        let seen = self.seen.entry(segment.shape.hash).or_default();
        let before = *seen;
        *seen += 1;
        let inherited = self.inherited[segment.element as usize];
        let containers = self.features.containers.last().copied().unwrap_or([0; LEVELS]);
        let level = self.h1.and_then(|h1| {
            containers.iter().position(|place| {
                let element = self.segments.elements[*place as usize];
                (element.begin..element.end).contains(&h1)
            })
        });
        let roles = inherited.roles;
        self.push([ln(before), level.map_or(9.0, |level| level as f32), inherited.own_roles.trailing_zeros() as f32]);
        self.features.rows.extend((0..ROLES.len()).map(|bit| f32::from(u8::from(roles >> bit & 1 != 0))));
    }
}
