//! A connection, as the steps see it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    error::Error as StdError,
    fmt,
    sync::Arc,
};

use bytes::BytesMut;
use tokio_postgres::{
    Client, Statement,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};

use super::dialect::translate;
use super::fault::{self, Remedy};
use super::line::{Line, Request};
use crate::StoreError;
use crate::sql::{Error, Result, Row, Session, Value};

/// A connection.
pub(super) struct Link {
    line: Line,
    /// The statements that were prepared, by their common text: as many as there are in the program.
    statements: RefCell<HashMap<String, Prepared>>,
    /// What is to be done about the transaction under way, once a statement of it has failed.
    remedy: Cell<Remedy>,
    /// Whether the step under way has changed anything, or tried to.
    has_written: Cell<bool>,
    /// Whether the transaction has failed since the step under way began.
    has_failed: Cell<bool>,
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
    pub(super) fn new(line: Line) -> Self {
        Self {
            line,
            statements: RefCell::default(),
            remedy: Cell::new(Remedy::None),
            has_written: Cell::new(false),
            has_failed: Cell::new(false),
        }
    }

    /// Runs statements without parameters, after all that was sent before.
    pub(super) fn batch(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        let client = self.line.client();
        self.line.ask(async { client.batch_execute(sql).await }).inspect_err(|error| self.note(error))
    }

    /// Sends statements without parameters, and does not wait for them.
    pub(super) fn send(&self, sql: &'static str) -> Result<(), tokio_postgres::Error> {
        let client = self.line.client();
        self.line.send(async move { client.batch_execute(sql).await }).inspect_err(|error| self.note(error))
    }

    /// Reads one text.
    pub(super) fn text(&self, sql: &str, param: Option<&str>) -> Result<Option<String>, tokio_postgres::Error> {
        let client = self.line.client();
        let row = self.line.ask(async {
            match param {
                Some(param) => client.query_opt(sql, &[&param]).await,
                None => client.query_opt(sql, &[]).await,
            }
        });
        Ok(row.inspect_err(|error| self.note(error))?.and_then(|row| row.get(0)))
    }

    /// Waits for all that was sent.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        self.line.settle().map_err(|error| {
            self.note(&error);
            fault::told(&error)
        })
    }

    /// What is to be done about the transaction, and forgets it.
    pub(super) fn take_remedy(&self) -> Remedy {
        self.remedy.replace(Remedy::None)
    }

    /// Whether a statement has failed in a way that ends the transaction, whatever the step made of it.
    pub(super) fn has_given_up(&self) -> bool {
        self.remedy.get() != Remedy::None
    }

    /// Ends the transaction that is under way, if one is, without keeping anything of it.
    pub(super) fn roll_back(&self) -> Result<(), tokio_postgres::Error> {
        // Why it is ended is known already.
        self.line.settle().ok();
        self.batch("ROLLBACK")
    }

    /// Forgets what the step before has done.
    pub(super) fn begin_step(&self) {
        self.has_written.set(false);
        self.has_failed.set(false);
    }

    /// Whether the step under way has changed anything, or tried to.
    pub(super) fn has_written(&self) -> bool {
        self.has_written.get()
    }

    /// Whether the transaction has failed: a statement of this step, or one of another that nobody has waited for.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.get()
    }

    fn note(&self, error: &tokio_postgres::Error) {
        self.has_failed.set(true);
        let remedy = fault::remedy(error);
        if self.remedy.get() != Remedy::Reconnect && remedy != Remedy::None {
            self.remedy.set(remedy);
        }
    }

    fn refused(&self, error: &tokio_postgres::Error) -> Error {
        self.note(error);
        Error::Refused(fault::told(error))
    }

    fn prepared(&self, sql: &str) -> Result<Prepared> {
        if let Some(prepared) = self.statements.borrow().get(sql) {
            return Ok(prepared.clone());
        }
        let (client, text) = (self.line.client(), translate(sql));
        let statement = self.line.ask(async { client.prepare(&text).await }).map_err(|error| self.refused(&error))?;
        let columns = statement.columns().iter().map(|column| column.name().to_owned()).collect();
        let prepared = Prepared { statement, columns };
        self.statements.borrow_mut().insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }

    fn read(&self, rows: &[tokio_postgres::Row], columns: &Arc<[String]>) -> Result<Vec<Row>> {
        let read = |row: &tokio_postgres::Row| {
            let value = |place| row.try_get::<_, Value<'static>>(place).map_err(|error| self.refused(&error));
            let values = (0..columns.len()).map(value).collect::<Result<_>>()?;
            Ok(Row::new(Arc::clone(columns), values))
        };
        rows.iter().map(read).collect()
    }
}

async fn query(
    client: Arc<Client>,
    statement: Statement,
    params: Vec<Value<'_>>,
) -> Result<Vec<tokio_postgres::Row>, tokio_postgres::Error> {
    let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
    client.query(&statement, &params).await
}

impl Session for Link {
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<usize> {
        let prepared = self.prepared(sql)?;
        self.has_written.set(true);
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
        let client = self.line.client();
        let changed = self.line.ask(async { client.execute(&prepared.statement, &params).await });
        let changed = changed.map_err(|error| self.refused(&error))?;
        usize::try_from(changed).map_err(|_| Error::Unexpected("too many rows were changed".to_owned()))
    }

    fn run(&self, sql: &str, params: &[Value<'_>]) -> Result<()> {
        let prepared = self.prepared(sql)?;
        self.has_written.set(true);
        let params: Vec<Value<'static>> = params.iter().map(|param| param.clone().into_owned()).collect();
        let client = self.line.client();
        let request = async move {
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
            client.execute(&prepared.statement, &params).await.map(drop)
        };
        self.line.send(request).map_err(|error| self.refused(&error))
    }

    fn query(&self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        let prepared = self.prepared(sql)?;
        if !is_select(sql) {
            self.has_written.set(true);
        }
        let request = query(self.line.client(), prepared.statement, params.to_vec());
        let rows = self.line.ask(request).map_err(|error| self.refused(&error))?;
        self.read(&rows, &prepared.columns)
    }

    fn query_all(&self, sql: &str, params: Vec<Vec<Value<'static>>>) -> Result<Vec<Vec<Row>>> {
        let prepared = self.prepared(sql)?;
        if !is_select(sql) {
            self.has_written.set(true);
        }
        let request = |params| -> Request<Vec<tokio_postgres::Row>> {
            Box::pin(query(self.line.client(), prepared.statement.clone(), params))
        };
        let answers = self.line.ask_all(params.into_iter().map(request).collect());
        let answers = answers.map_err(|error| self.refused(&error))?;
        answers.iter().map(|rows| self.read(rows, &prepared.columns)).collect()
    }
}

/// Whether a statement only reads: all that change something begin with another word.
fn is_select(sql: &str) -> bool {
    sql.trim_start().starts_with("SELECT")
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
