//! A connection, as the steps see it.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::HashMap,
    error::Error as StdError,
    fmt,
    sync::Arc,
    thread,
};

use bytes::BytesMut;
use postgres::{
    Client, Statement,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};

use super::dialect::translate;
use super::fault::{self, Remedy};
use crate::sql::{Error, Result, Row, Session, Value};

/// A connection.
pub(super) struct Link {
    /// Some until it is dropped.
    client: RefCell<Option<Client>>,
    /// The statements that were prepared, by their common text: as many as there are in the program.
    statements: RefCell<HashMap<String, Prepared>>,
    /// What is to be done about the transaction under way, once a statement of it has failed.
    remedy: Cell<Remedy>,
}

#[derive(Clone)]
struct Prepared {
    statement: Statement,
    columns: Arc<[String]>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(client: Client) -> Self {
        Self { client: RefCell::new(Some(client)), statements: RefCell::default(), remedy: Cell::new(Remedy::None) }
    }

    fn client(&self) -> RefMut<'_, Client> {
        RefMut::map(self.client.borrow_mut(), |client| client.as_mut().expect("it is there until it is dropped"))
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&self, sql: &str) -> Result<(), postgres::Error> {
        self.client().batch_execute(sql).inspect_err(|error| self.note(error))
    }

    /// Reads one text.
    pub(super) fn text(&self, sql: &str, param: Option<&str>) -> Result<Option<String>, postgres::Error> {
        let mut client = self.client();
        let row = match param {
            Some(param) => client.query_opt(sql, &[&param]),
            None => client.query_opt(sql, &[]),
        };
        Ok(row.inspect_err(|error| self.note(error))?.and_then(|row| row.get(0)))
    }

    /// What is to be done about the transaction, and forgets it.
    pub(super) fn take_remedy(&self) -> Remedy {
        self.remedy.replace(Remedy::None)
    }

    /// Whether a statement of a step has failed in a way that ends the transaction, whatever the step made of it.
    pub(super) fn has_given_up(&self) -> bool {
        self.remedy.get() != Remedy::None
    }

    fn note(&self, error: &postgres::Error) {
        let remedy = fault::remedy(error);
        if self.remedy.get() != Remedy::Reconnect && remedy != Remedy::None {
            self.remedy.set(remedy);
        }
    }

    fn refused(&self, error: &postgres::Error) -> Error {
        self.note(error);
        Error::Refused(fault::told(error))
    }

    fn prepared(&self, sql: &str) -> Result<Prepared> {
        if let Some(prepared) = self.statements.borrow().get(sql) {
            return Ok(prepared.clone());
        }
        let statement = self.client().prepare(&translate(sql)).map_err(|error| self.refused(&error))?;
        let columns = statement.columns().iter().map(|column| column.name().to_owned()).collect();
        let prepared = Prepared { statement, columns };
        self.statements.borrow_mut().insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }
}

impl Drop for Link {
    /// Saying good-bye to the server waits for it, which is not allowed on threads that run async code, where a store may be dropped.
    fn drop(&mut self) {
        let client = self.client.take();
        thread::spawn(move || drop(client));
    }
}

impl Session for Link {
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<usize> {
        let prepared = self.prepared(sql)?;
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
        let changed = self.client().execute(&prepared.statement, &params);
        let changed = changed.map_err(|error| self.refused(&error))?;
        usize::try_from(changed).map_err(|_| Error::Unexpected("too many rows were changed".to_owned()))
    }

    fn query(&self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        let prepared = self.prepared(sql)?;
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
        let rows = self.client().query(&prepared.statement, &params);
        let rows = rows.map_err(|error| self.refused(&error))?;
        let read = |row: &postgres::Row| {
            let value = |place| row.try_get::<_, Value<'static>>(place).map_err(|error| self.refused(&error));
            let values = (0..prepared.columns.len()).map(value).collect::<Result<_>>()?;
            Ok(Row::new(Arc::clone(&prepared.columns), values))
        };
        rows.iter().map(read).collect()
    }
}

type Codec<T> = Result<T, Box<dyn StdError + Sync + Send>>;

impl ToSql for Value<'_> {
    fn to_sql(&self, column: &Type, out: &mut BytesMut) -> Codec<IsNull> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(number) => match *column {
                Type::INT4 => i32::try_from(*number)?.to_sql(column, out),
                Type::BOOL => (*number != 0).to_sql(column, out),
                _ => number.to_sql(column, out),
            },
            // The one character that PostgreSQL's texts cannot hold.
            Value::Text(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").to_sql(column, out),
            Value::Text(text) => text.as_ref().to_sql(column, out),
            Value::Bytes(bytes) => bytes.as_ref().to_sql(column, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value<'static> {
    fn from_sql(column: &Type, raw: &'a [u8]) -> Codec<Self> {
        Ok(match *column {
            Type::INT8 => Value::Int(i64::from_sql(column, raw)?),
            Type::INT4 => Value::Int(i32::from_sql(column, raw)?.into()),
            Type::BOOL => Value::Int(bool::from_sql(column, raw)?.into()),
            Type::BYTEA => Value::Bytes(raw.to_vec().into()),
            _ => Value::Text(String::from_sql(column, raw)?.into()),
        })
    }

    fn from_sql_null(_: &Type) -> Codec<Self> {
        Ok(Value::Null)
    }

    fn accepts(column: &Type) -> bool {
        let numbers = [Type::INT8, Type::INT4, Type::BOOL, Type::BYTEA];
        numbers.contains(column) || <String as FromSql>::accepts(column)
    }
}
