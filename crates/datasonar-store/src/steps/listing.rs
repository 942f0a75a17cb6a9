//! Looking through jobs and deliveries for those that fit several things at once, newest first.
//!
//! What is asked for leads through one index, in the order of ids; the rest is looked at row by row. Which index leads is decided by
//! counting a little: the one under which the fewest stand. Where even those are many, [`LOOKED`] rows are looked at, and the answer says
//! from where to go on: no search costs more than that, however little fits.

use std::fmt::Write as _;

use jiff::Timestamp;
use uuid::Uuid;

use crate::sql::codec::unsigned;
use crate::sql::{Connection, Result as SqlResult, ToValue, Value};
use crate::{Part, Position, Result, Scope};

/// How many rows are looked at for a part of a list.
pub(super) const LOOKED: u32 = 4_000;

/// Something that rows are to fit, with the value of its one placeholder.
pub(super) struct Wanted {
    sql: &'static str,
    value: Value<'static>,
    /// The index in which those that fit it stand in the order of ids; its name for SQLite, and what the statement must say to use it.
    index: Option<(&'static str, &'static str)>,
}

impl Wanted {
    /// Something that no index leads to.
    pub(super) fn by_looking(sql: &'static str, value: &dyn ToValue) -> SqlResult<Self> {
        Ok(Self { sql, value: value.value()?.into_owned(), index: None })
    }

    /// Something that an index leads to.
    pub(super) fn by_index(
        sql: &'static str,
        value: &dyn ToValue,
        hint: &'static str,
        says: &'static str,
    ) -> SqlResult<Self> {
        Ok(Self { index: Some((hint, says)), ..Self::by_looking(sql, value)? })
    }
}

/// Where it is looked.
pub(super) struct Looking {
    pub(super) table: &'static str,
    /// What the conditions look at.
    pub(super) columns: &'static str,
    /// The index of all rows of a scope.
    pub(super) all: &'static str,
    pub(super) scope: Scope,
    pub(super) range: Range,
    pub(super) wanted: Vec<Wanted>,
}

/// Ids from one to another, both of them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    low: u128,
    high: u128,
}

impl Range {
    pub(super) const ALL: Self = Self { low: 0, high: u128::MAX };

    pub(super) const NONE: Self = Self { low: 1, high: 0 };

    /// One id.
    pub(super) fn of_id(id: Uuid) -> Self {
        Self { low: id.as_u128(), high: id.as_u128() }
    }

    /// The ids that were minted within a time.
    pub(super) fn of_time(since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        let first = |at: Timestamp| (u128::try_from(at.as_millisecond()).unwrap_or(0) & 0xffff_ffff_ffff) << 80;
        let low = since.map_or(0, first);
        match until.map(first) {
            Some(0) => Self::NONE,
            Some(end) => Self { low, high: end - 1 },
            None => Self { low, high: u128::MAX },
        }
    }

    /// The ids whose text begins so; `None` if no id does, or these are fewer than four digits.
    pub(super) fn of_beginning(text: &str) -> Option<Self> {
        const DASHES: [usize; 4] = [8, 13, 18, 23];
        let fits = |(place, next): (usize, char)| {
            if DASHES.contains(&place) { next == '-' } else { next.is_ascii_hexdigit() }
        };
        let is_plain = text.chars().all(|next| next.is_ascii_hexdigit());
        if !is_plain && !text.chars().enumerate().all(fits) {
            return None;
        }
        let digits: String = text.chars().filter(|next| *next != '-').collect();
        if !(4..=32).contains(&digits.len()) {
            return None;
        }
        let bound = |fill: &str| u128::from_str_radix(&(digits.clone() + &fill.repeat(32 - digits.len())), 16).ok();
        Some(Self { low: bound("0")?, high: bound("f")? })
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self { low: self.low.max(other.low), high: self.high.min(other.high) }
    }
}

/// Which way ids are gone through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Down,
    Up,
}

/// Ids of a part of a list, newest first, and from where to go on.
pub(super) struct Found {
    pub(super) ids: Vec<Uuid>,
    pub(super) newer: Option<Uuid>,
    pub(super) older: Option<Uuid>,
}

/// A statement that is put together, with the values of its placeholders.
#[derive(Default)]
struct Text {
    sql: String,
    values: Vec<Value<'static>>,
}

impl Text {
    fn say(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    fn value(&mut self, value: Value<'static>) -> &mut Self {
        self.values.push(value);
        self
    }
}

/// Reads the ids of a part of what fits.
pub(super) fn look(connection: &Connection, looking: &Looking, part: Part<Uuid>) -> Result<Found> {
    let (way, range) = match part.from {
        Position::Newest => (Way::Down, Range::ALL),
        Position::OlderThan(id) => match id.as_u128().checked_sub(1) {
            Some(high) => (Way::Down, Range { low: 0, high }),
            None => (Way::Down, Range::NONE),
        },
        Position::NewerThan(id) => match id.as_u128().checked_add(1) {
            Some(low) => (Way::Up, Range { low, high: u128::MAX }),
            None => (Way::Up, Range::NONE),
        },
    };
    let looked = Walk { looking, way, range: looking.range.and(range) };
    let (mut ids, end) = looked.go(connection, part.limit)?;
    let (first, last) = (ids.first().copied(), ids.last().copied());
    // Where nothing was found, the way back begins beside the place from which it was looked.
    let back = match part.from {
        Position::Newest => None,
        Position::OlderThan(id) => Some(first.unwrap_or_else(|| Uuid::from_u128(id.as_u128().saturating_sub(1)))),
        Position::NewerThan(id) => Some(first.unwrap_or_else(|| Uuid::from_u128(id.as_u128().saturating_add(1)))),
    };
    let on = match end {
        End::Reached => None,
        End::Full => last,
        End::Tired(place) => Some(place),
    };
    if way == Way::Up {
        ids.reverse();
        return Ok(Found { ids, newer: on, older: back });
    }
    Ok(Found { ids, newer: back, older: on })
}

/// How a walk ended.
enum End {
    /// There is nothing more.
    Reached,
    /// There is more than was asked for.
    Full,
    /// Enough was looked at; the last of it.
    Tired(Uuid),
}

struct Walk<'l> {
    looking: &'l Looking,
    way: Way,
    range: Range,
}

impl Walk<'_> {
    fn go(&self, connection: &Connection, limit: u32) -> Result<(Vec<Uuid>, End)> {
        if self.range.low > self.range.high || limit == 0 {
            return Ok((Vec::new(), End::Reached));
        }
        let leader = self.leader(connection)?;
        let others: Vec<&Wanted> = self
            .looking
            .wanted
            .iter()
            .enumerate()
            .filter(|(place, _)| Some(*place) != leader)
            .map(|(_, one)| one)
            .collect();
        let order = if self.way == Way::Down { "ORDER BY id DESC" } else { "ORDER BY id" };
        let mut text = Text::default();
        if others.is_empty() {
            text.say("SELECT id FROM ");
            self.say_led(&mut text, leader);
        } else {
            text.say("SELECT id FROM (SELECT id, ").say(self.looking.columns).say(" FROM ");
            self.say_led(&mut text, leader);
            text.say(" ").say(order).say(" LIMIT ?) AS looked WHERE ").value(Value::Int(LOOKED.into()));
            for (place, one) in others.iter().enumerate() {
                text.say(if place == 0 { "" } else { " AND " }).say(one.sql).value(one.value.clone());
            }
        }
        text.say(" ").say(order).say(" LIMIT ?").value(Value::Int(i64::from(limit) + 1));
        let mut ids = ids(connection, &text)?;
        if ids.len() > limit as usize {
            ids.truncate(limit as usize);
            return Ok((ids, End::Full));
        }
        if others.is_empty() {
            return Ok((ids, End::Reached));
        }
        let mut text = Text::default();
        text.say("SELECT id FROM ");
        self.say_led(&mut text, leader);
        text.say(" ").say(order).say(" LIMIT 1 OFFSET ?").value(Value::Int(i64::from(LOOKED) - 1));
        let place = self::ids(connection, &text)?.pop();
        Ok((ids, place.map_or(End::Reached, End::Tired)))
    }

    /// The table and what leads through it.
    fn say_led(&self, text: &mut Text, leader: Option<usize>) {
        let Looking { table, all, scope, wanted, .. } = self.looking;
        let leader = leader.and_then(|place| wanted.get(place));
        let hint = leader.and_then(|one| one.index).map_or(*all, |(hint, _)| hint);
        let Scope { account, environment } = scope;
        write!(text.sql, "{table} INDEXED BY {hint} WHERE account = ? AND environment = ? AND id >= ? AND id <= ?")
            .expect("a string can be written");
        let id = |id: u128| Value::Bytes(id.to_be_bytes().to_vec().into());
        text.value(Value::Bytes(account.0.as_bytes().to_vec().into()))
            .value(Value::Text(environment.as_str().into()))
            .value(id(self.range.low))
            .value(id(self.range.high));
        if let Some(one) = leader {
            text.say(" AND ").say(one.sql).value(one.value.clone());
            text.say(one.index.map_or("", |(_, says)| says));
        }
    }

    /// What of all that is wanted leads to the fewest rows.
    fn leader(&self, connection: &Connection) -> Result<Option<usize>> {
        let led = self.looking.wanted.iter().enumerate().filter(|(_, one)| one.index.is_some()).map(|(place, _)| place);
        let led: Vec<usize> = led.collect();
        if let [only] = led[..] {
            return Ok(Some(only));
        }
        let mut fewest = None;
        for place in led {
            let mut text = Text::default();
            text.say("SELECT count(*) AS rows FROM (SELECT 1 AS one FROM ");
            self.say_led(&mut text, Some(place));
            text.say(" LIMIT ?) AS looked").value(Value::Int(LOOKED.into()));
            let rows = connection.prepare(&text.sql).query_row(&text.values[..], |row| unsigned(row, "rows"))?;
            if fewest.is_none_or(|(least, _)| rows < least) {
                fewest = Some((rows, place));
            }
        }
        Ok(fewest.map(|(_, place)| place))
    }
}

fn ids(connection: &Connection, text: &Text) -> Result<Vec<Uuid>> {
    let read = |row: &crate::sql::Row| Ok(Uuid::from_bytes(row.get::<_, [u8; 16]>("id")?));
    Ok(connection.prepare(&text.sql).query_map(&text.values[..], read)?)
}
