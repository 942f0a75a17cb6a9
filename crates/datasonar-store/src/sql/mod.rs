//! What the steps see of a database: statements in the SQL that SQLite and PostgreSQL have in common, rows, values.
//!
//! **Role.** The steps of the domain ([`steps`](crate::steps)) are written once and run on either database. A database brings a
//! [`Session`]: it runs a statement and hands its rows over. All else (which placeholders there are, how a value is written) is
//! settled here, so that the steps read as SQL and nothing more.
//!
//! **The common SQL.** Placeholders are `?`, `?1` or `:name`. `INDEXED BY` names the index that SQLite is to use, so that no plan
//! depends on chance; PostgreSQL does not get to see it. Booleans are 0 and 1. Columns are 64-bit numbers, texts and bytes.

pub(crate) mod codec;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod recorder;
mod value;

use std::sync::Arc;

pub(crate) use value::{FromValue, ToValue, Value};

use crate::StoreError;

/// Runs statements, in the transaction that the step is part of.
pub(crate) trait Session {
    /// Runs a statement that answers no rows; tells how many it changed.
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<usize>;

    /// Runs a statement of which nothing is to be known but that it succeeded. Where the database is far away this does not wait: that it
    /// failed is told by a later statement, or at the end of the transaction, which comes to nothing then.
    fn run(&self, sql: &str, params: &[Value<'_>]) -> Result<()> {
        self.execute(sql, params).map(drop)
    }

    /// Runs a statement and reads all its rows.
    fn query(&self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>>;

    /// Runs a statement several times, and reads the rows of each.
    fn query_all(&self, sql: &str, params: Vec<Vec<Value<'static>>>) -> Result<Vec<Vec<Row>>> {
        params.iter().map(|params| self.query(sql, params)).collect()
    }
}

/// A connection as the steps see it.
pub(crate) type Connection = dyn Session;

/// The result of a statement.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a statement did not do what it was to do.
#[derive(Debug)]
pub(crate) enum Error {
    /// It answered no row.
    NoRow,
    /// A row holds something else than was expected.
    Unexpected(String),
    /// The database refused it.
    Refused(StoreError),
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(error) => error,
            Error::NoRow => corrupt("a row is missing"),
            Error::Unexpected(reason) => {
                tracing::error!(reason, "a row holds an unexpected value");
                corrupt("a row holds an unexpected value")
            }
        }
    }
}

/// Something that may pass.
pub(crate) fn unavailable(text: &str) -> StoreError {
    StoreError::Unavailable(text.to_owned())
}

/// Something that will not pass: a defect or a damaged row.
pub(crate) fn corrupt(text: impl Into<String>) -> StoreError {
    StoreError::Corrupt(text.into())
}

/// Turns a missing row into `None`.
pub(crate) trait OptionalExtension<T> {
    /// `None` where there was no row.
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The parameters of a statement, in their order.
macro_rules! params {
    ($($param:expr),* $(,)?) => {
        &[$(&$param as &dyn $crate::sql::ToValue),*] as &[&dyn $crate::sql::ToValue]
    };
}
pub(crate) use params;

/// The parameters of one of several runs of a statement, in their order.
macro_rules! owned {
    ($($param:expr),* $(,)?) => {
        [$(&$param as &dyn $crate::sql::ToValue),*].into_iter().map(|param| param.value().map($crate::sql::Value::into_owned)).collect()
    };
}
pub(crate) use owned;

/// The parameters of a statement, by their names.
macro_rules! named_params {
    ($($name:literal: $param:expr),* $(,)?) => {
        &[$(($name, &$param as &dyn $crate::sql::ToValue)),*][..]
    };
}
pub(crate) use named_params;

/// A statement's parameters, by place or by name.
pub(crate) trait Params {
    /// Hands over the statement with placeholders by place, and the values in their order.
    fn bind<R>(&self, sql: &str, run: impl FnOnce(&str, &[Value<'_>]) -> Result<R>) -> Result<R>;
}

impl Params for &[&dyn ToValue] {
    fn bind<R>(&self, sql: &str, run: impl FnOnce(&str, &[Value<'_>]) -> Result<R>) -> Result<R> {
        let values = self.iter().map(|param| param.value()).collect::<Result<Vec<_>>>()?;
        run(sql, &values)
    }
}

impl<T: ToValue, const N: usize> Params for [T; N] {
    fn bind<R>(&self, sql: &str, run: impl FnOnce(&str, &[Value<'_>]) -> Result<R>) -> Result<R> {
        let values = self.iter().map(ToValue::value).collect::<Result<Vec<_>>>()?;
        run(sql, &values)
    }
}

impl Params for &[Value<'static>] {
    fn bind<R>(&self, sql: &str, run: impl FnOnce(&str, &[Value<'_>]) -> Result<R>) -> Result<R> {
        run(sql, self)
    }
}

impl Params for &[(&str, &dyn ToValue)] {
    fn bind<R>(&self, sql: &str, run: impl FnOnce(&str, &[Value<'_>]) -> Result<R>) -> Result<R> {
        let mut placed = String::with_capacity(sql.len());
        let mut rest = sql;
        while let Some((before, after)) = rest.split_once(':') {
            placed.push_str(before);
            let end = after.find(|next: char| !next.is_ascii_lowercase() && next != '_').unwrap_or(after.len());
            let place = self.iter().position(|(name, _)| name[1..] == after[..end]);
            let place = place.ok_or_else(|| Error::Unexpected(format!("there is no parameter {}", &after[..end])))?;
            placed.push_str(&format!("?{}", place + 1));
            rest = &after[end..];
        }
        placed.push_str(rest);
        let values = self.iter().map(|(_, param)| param.value()).collect::<Result<Vec<_>>>()?;
        run(&placed, &values)
    }
}

/// A statement. Databases keep those that they have prepared.
#[derive(Clone, Copy)]
pub(crate) struct Statement<'c> {
    connection: &'c Connection,
    sql: &'c str,
}

impl Connection {
    /// A statement of this text.
    pub(crate) fn prepare<'c>(&'c self, sql: &'c str) -> Statement<'c> {
        Statement { connection: self, sql }
    }
}

impl Statement<'_> {
    /// Runs it; tells how many rows it changed.
    pub(crate) fn execute(&self, params: impl Params) -> Result<usize> {
        params.bind(self.sql, |sql, values| self.connection.execute(sql, values))
    }

    /// Runs it, and waits for nothing: see [`Session::run`].
    pub(crate) fn run(&self, params: impl Params) -> Result<()> {
        params.bind(self.sql, |sql, values| self.connection.run(sql, values))
    }

    /// Runs it with the parameters of each ([`owned!`]), and reads each one's rows. Where the database is far away, one does not wait for
    /// another.
    pub(crate) fn query_all(&self, each: impl Iterator<Item = Result<Vec<Value<'static>>>>) -> Result<Vec<Vec<Row>>> {
        let each = each.collect::<Result<Vec<_>>>()?;
        #[cfg(any(test, feature = "conformance"))]
        each.iter().take(1).for_each(|values| recorder::note(self.sql, values));
        self.connection.query_all(self.sql, each)
    }

    /// Reads its rows.
    pub(crate) fn query(&self, params: impl Params) -> Result<Vec<Row>> {
        params.bind(self.sql, |sql, values| {
            #[cfg(any(test, feature = "conformance"))]
            recorder::note(sql, values);
            self.connection.query(sql, values)
        })
    }

    /// Reads its first row.
    ///
    /// # Errors
    /// [`Error::NoRow`] when it has none.
    pub(crate) fn query_row<T>(&self, params: impl Params, read: impl FnOnce(&Row) -> Result<T>) -> Result<T> {
        let rows = self.query(params)?;
        rows.first().map_or(Err(Error::NoRow), read)
    }

    /// Reads each of its rows.
    pub(crate) fn query_map<T>(&self, params: impl Params, read: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
        self.query(params)?.iter().map(read).collect()
    }

    /// Tells whether it has a row.
    pub(crate) fn exists(&self, params: impl Params) -> Result<bool> {
        Ok(!self.query(params)?.is_empty())
    }
}

/// A row that was read.
#[derive(Debug)]
pub(crate) struct Row {
    columns: Arc<[String]>,
    values: Vec<Value<'static>>,
}

impl Row {
    /// A row with a value for each column.
    pub(crate) fn new(columns: Arc<[String]>, values: Vec<Value<'static>>) -> Self {
        Self { columns, values }
    }

    /// The value of a column, by name or place.
    pub(crate) fn get<C: Column, T: FromValue>(&self, column: C) -> Result<T> {
        let place = column.place(&self.columns)?;
        let value = self.values.get(place).ok_or_else(|| Error::Unexpected("a column is missing".to_owned()))?;
        T::from_value(value).map_err(|error| match error {
            Error::Unexpected(reason) => {
                Error::Unexpected(format!("{}: {reason}", self.columns.get(place).map_or("", String::as_str)))
            }
            error => error,
        })
    }
}

/// What names a column.
pub(crate) trait Column {
    /// Its place among the columns.
    fn place(self, columns: &[String]) -> Result<usize>;
}

impl Column for usize {
    fn place(self, _columns: &[String]) -> Result<usize> {
        Ok(self)
    }
}

impl Column for &str {
    fn place(self, columns: &[String]) -> Result<usize> {
        let place = columns.iter().position(|column| column == self);
        place.ok_or_else(|| Error::Unexpected(format!("there is no column {self}")))
    }
}
