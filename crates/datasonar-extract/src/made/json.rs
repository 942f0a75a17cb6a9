//! JSON: a feed where it is one, else a block of code, indented.
//!
//! Documents are read and written piece by piece: as a value in memory, JSON takes many times its length.

use std::{cell::Cell, fmt, io};

use serde::{
    Serialize, Serializer,
    de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
    ser::{Error as _, SerializeMap, SerializeSeq},
};
use serde_json::Value;
use url::Url;

use super::{Made, feeds};
use crate::{
    ExtractError, Metadata,
    budget::Budget,
    render::{Json, push_escaped},
    structured::value_memory,
};

/// JSON as markup.
pub(crate) fn json(source: &str, url: &Url, budget: &Budget<'_>) -> Result<Made, ExtractError> {
    let source = bare(source);
    budget.spend(source.len())?;
    // It may nest; serde_json refuses what is deeper than 128.
    let title = titled(source).map_err(|error| ExtractError::Decode { reason: format!("not JSON: {error}") })?;
    if source.contains(feeds::JSON_FEED) {
        let scope = budget.scope();
        budget.allocate(value_memory(source))?;
        let value: Value = serde_json::from_str(source).map_err(|_| ExtractError::Stopped)?;
        if let Some(feed) = feeds::of_json(&value, url, budget)? {
            scope.keep(feed.markup.capacity());
            return Ok(feed);
        }
    }
    let mut markup = String::new();
    budget.reserve_text(&mut markup, source.len() + source.len() / 8 + 64)?;
    markup.push_str("<pre><code class=\"language-json\">");
    let mut out = Escaping { markup, budget, failed: None };
    let mut serializer = serde_json::Serializer::pretty(&mut out);
    let written = Transcoded::of(source).serialize(&mut serializer);
    if let Some(error) = out.failed {
        return Err(error);
    }
    written.map_err(|error| ExtractError::Decode { reason: format!("not JSON: {error}") })?;
    let mut markup = out.markup;
    budget.push(&mut markup, "</code></pre>")?;
    budget.shrink(&mut markup);
    let title = title.and_then(|title| crate::text::clean(&title, 512));
    Ok(Made { markup, metadata: Metadata { title, ..Metadata::default() } })
}

/// Writes a JSON document without white space.
pub(crate) fn write_json(source: &str, out: &mut Json<'_, '_>) -> Result<(), ExtractError> {
    out.value(&Transcoded::of(bare(source)))
}

fn bare(source: &str) -> &str {
    source.trim().trim_start_matches('\u{feff}')
}

/// Reads a document to its end, and the title or name of it.
fn titled(source: &str) -> Result<Option<String>, serde_json::Error> {
    struct Titles;

    impl<'de> Visitor<'de> for Titles {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut title, mut name) = (None, None);
            while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
                let found = match &*key {
                    "title" => &mut title,
                    "name" => &mut name,
                    _ => {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                };
                *found = map.next_value::<Short>()?.0;
            }
            Ok(title.or(name))
        }
    }

    serde_json::from_str::<IgnoredAny>(source)?;
    match source.starts_with('{') {
        true => serde_json::Deserializer::from_str(source).deserialize_map(Titles),
        false => Ok(None),
    }
}

/// The beginning of a string; nothing of other values.
struct Short(Option<String>);

impl<'de> serde::Deserialize<'de> for Short {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?.get();
        // Cut in the middle of an escape, it reads as nothing.
        let is_short = raw.len() <= 16 * 1024;
        Ok(Self(if is_short { serde_json::from_str(raw).ok() } else { None }))
    }
}

/// A JSON document that serialises as it is read.
struct Transcoded<'s>(Cell<Option<&'s str>>);

impl<'s> Transcoded<'s> {
    fn of(source: &'s str) -> Self {
        Self(Cell::new(Some(source)))
    }
}

impl Serialize for Transcoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let source = self.0.take().ok_or_else(|| S::Error::custom("written twice"))?;
        let mut reader = serde_json::Deserializer::from_str(source);
        reader.deserialize_any(Into(serializer)).map_err(S::Error::custom)
    }
}

/// Hands on what is read to a serializer.
struct Into<S>(S);

/// A value within another, read as it is serialised.
struct Within<D>(Cell<Option<D>>);

impl<'de, D: Deserializer<'de>> Serialize for Within<D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let reader = self.0.take().ok_or_else(|| S::Error::custom("written twice"))?;
        reader.deserialize_any(Into(serializer)).map_err(S::Error::custom)
    }
}

macro_rules! scalars {
    ($($visit:ident $serialize:ident $type:ty,)*) => {
        $(fn $visit<E: serde::de::Error>(self, value: $type) -> Result<Self::Value, E> {
            self.0.$serialize(value).map_err(E::custom)
        })*
    };
}

impl<'de, S: Serializer> Visitor<'de> for Into<S> {
    type Value = S::Ok;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    scalars! {
        visit_bool serialize_bool bool,
        visit_i64 serialize_i64 i64,
        visit_u64 serialize_u64 u64,
        visit_f64 serialize_f64 f64,
        visit_str serialize_str &str,
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        self.0.serialize_unit().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut out = self.0.serialize_seq(None).map_err(A::Error::custom)?;
        while list.next_element_seed(Element(&mut out))?.is_some() {}
        out.end().map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut out = self.0.serialize_map(None).map_err(A::Error::custom)?;
        while map.next_key_seed(Key(&mut out))?.is_some() {
            map.next_value_seed(Member(&mut out))?;
        }
        out.end().map_err(A::Error::custom)
    }
}

/// Writes what is read next as an item, a name or a member of what is being written.
struct Element<'o, S>(&'o mut S);
struct Key<'o, S>(&'o mut S);
struct Member<'o, S>(&'o mut S);

macro_rules! seeds {
    ($($name:ident $trait:ident $method:ident,)*) => {
        $(impl<'de, S: $trait> serde::de::DeserializeSeed<'de> for $name<'_, S> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
                self.0.$method(&Within(Cell::new(Some(reader)))).map_err(D::Error::custom)
            }
        })*
    };
}

seeds! {
    Element SerializeSeq serialize_element,
    Key SerializeMap serialize_key,
    Member SerializeMap serialize_value,
}

/// Text that becomes part of HTML.
struct Escaping<'b> {
    markup: String,
    budget: &'b Budget<'b>,
    failed: Option<ExtractError>,
}

impl io::Write for Escaping<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        let written = self.budget.spend(0).and_then(|()| push_escaped(text, &mut self.markup, self.budget));
        written.map_err(|error| {
            self.failed = Some(error.clone());
            io::Error::other(error)
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_written_as_they_are_read() {
        let source = " {\"a\" : [1, -2, 1.5e3, true, null, \"\\u00e9\\n\"], \"b\": {}, \"c\": []} ";
        let budget = Budget::new(&|| false);
        let mut out = Json::new(&budget);
        write_json(source, &mut out).unwrap();
        let expected: Value = serde_json::from_str(source).unwrap();
        assert_eq!(out.finish().unwrap().get(), expected.to_string());
        let made = json(source, &"https://e.org/".parse().unwrap(), &budget).unwrap();
        let pretty = serde_json::to_string_pretty(&expected).unwrap();
        assert_eq!(made.markup, format!("<pre><code class=\"language-json\">{pretty}</code></pre>"));
    }
}
