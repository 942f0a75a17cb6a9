//! SQLite as the steps see it.

use std::sync::Arc;

use rusqlite::{
    Connection, params_from_iter,
    types::{ToSql, ToSqlOutput, ValueRef},
};

use crate::StoreError;
use crate::sql::{Error, Result, Row, Session, Value};

impl Session for Connection {
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<usize> {
        let mut statement = self.prepare_cached(sql).map_err(refused)?;
        statement.execute(params_from_iter(params)).map_err(refused)
    }

    fn query(&self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        let mut statement = self.prepare_cached(sql).map_err(refused)?;
        let columns: Arc<[String]> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut rows = statement.query(params_from_iter(params)).map_err(refused)?;
        let mut read = Vec::new();
        while let Some(row) = rows.next().map_err(refused)? {
            let value = |place| row.get_ref(place).map_err(refused).and_then(value);
            let values = (0..columns.len()).map(value).collect::<Result<_>>()?;
            read.push(Row::new(Arc::clone(&columns), values));
        }
        Ok(read)
    }
}

fn refused(error: rusqlite::Error) -> Error {
    Error::Refused(StoreError::from(error))
}

fn value(value: ValueRef<'_>) -> Result<Value<'static>> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Text(text) => {
            let text = str::from_utf8(text).map_err(|_| Error::Unexpected("a text is not UTF-8".to_owned()))?;
            Value::Text(text.to_owned().into())
        }
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_owned().into()),
        ValueRef::Real(_) => return Err(Error::Unexpected("a column holds a fraction".to_owned())),
    })
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
