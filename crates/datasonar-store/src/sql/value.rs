//! Values of parameters and columns.

use std::borrow::Cow;

use super::{Error, Result};

/// A value of a parameter or column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'v> {
    /// None.
    Null,
    /// A number; booleans are 0 and 1.
    Int(i64),
    /// A text.
    Text(Cow<'v, str>),
    /// Bytes.
    Bytes(Cow<'v, [u8]>),
}

impl Value<'_> {
    /// It, with a copy of what it refers to.
    pub(crate) fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Int(number) => Value::Int(number),
            Value::Text(text) => Value::Text(text.into_owned().into()),
            Value::Bytes(bytes) => Value::Bytes(bytes.into_owned().into()),
        }
    }
}

/// What can be a parameter.
pub(crate) trait ToValue {
    /// It, as a value.
    fn value(&self) -> Result<Value<'_>>;
}

/// What can be read from a column.
pub(crate) trait FromValue: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// When the column holds something else.
    fn from_value(value: &Value<'static>) -> Result<Self>;
}

fn unexpected(expected: &str, value: &Value<'_>) -> Error {
    let found = match value {
        Value::Null => "nothing",
        Value::Int(_) => "a number",
        Value::Text(_) => "a text",
        Value::Bytes(_) => "bytes",
    };
    Error::Unexpected(format!("{found} instead of {expected}"))
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl ToValue for $number {
            fn value(&self) -> Result<Value<'_>> {
                i64::try_from(*self).map(Value::Int).map_err(|_| Error::Unexpected("a number is out of range".to_owned()))
            }
        }

        impl FromValue for $number {
            fn from_value(value: &Value<'static>) -> Result<Self> {
                let Value::Int(number) = value else { return Err(unexpected("a number", value)) };
                Self::try_from(*number).map_err(|_| Error::Unexpected(format!("the number {number} is out of range")))
            }
        }
    )*};
}

numbers!(i64, i32, u32, u16, usize);

impl ToValue for bool {
    fn value(&self) -> Result<Value<'_>> {
        Ok(Value::Int((*self).into()))
    }
}

impl FromValue for bool {
    fn from_value(value: &Value<'static>) -> Result<Self> {
        Ok(i64::from_value(value)? != 0)
    }
}

impl ToValue for String {
    fn value(&self) -> Result<Value<'_>> {
        Ok(Value::Text(self.into()))
    }
}

impl ToValue for str {
    fn value(&self) -> Result<Value<'_>> {
        Ok(Value::Text(self.into()))
    }
}

impl FromValue for String {
    fn from_value(value: &Value<'static>) -> Result<Self> {
        text(value).map(str::to_owned)
    }
}

/// The text of a column.
pub(super) fn text<'v>(value: &'v Value<'static>) -> Result<&'v str> {
    match value {
        Value::Text(text) => Ok(text),
        value => Err(unexpected("a text", value)),
    }
}

impl ToValue for Vec<u8> {
    fn value(&self) -> Result<Value<'_>> {
        Ok(Value::Bytes(self.into()))
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: &Value<'static>) -> Result<Self> {
        match value {
            Value::Bytes(bytes) => Ok(bytes.to_vec()),
            value => Err(unexpected("bytes", value)),
        }
    }
}

impl<const N: usize> ToValue for [u8; N] {
    fn value(&self) -> Result<Value<'_>> {
        Ok(Value::Bytes(Cow::Borrowed(self)))
    }
}

impl<const N: usize> FromValue for [u8; N] {
    fn from_value(value: &Value<'static>) -> Result<Self> {
        match value {
            Value::Bytes(bytes) => {
                Self::try_from(&**bytes).map_err(|_| Error::Unexpected(format!("{} bytes instead of {N}", bytes.len())))
            }
            value => Err(unexpected("bytes", value)),
        }
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn value(&self) -> Result<Value<'_>> {
        (**self).value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn value(&self) -> Result<Value<'_>> {
        self.as_ref().map_or(Ok(Value::Null), T::value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value<'static>) -> Result<Self> {
        if *value == Value::Null { Ok(None) } else { T::from_value(value).map(Some) }
    }
}
