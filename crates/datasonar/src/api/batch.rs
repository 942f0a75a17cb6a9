//! Reads a JSON object as it arrives. The URLs of a batch go one by one to where they are kept; other members are
//! collected. Members may come in any order. What is held in memory between two URLs is bounded.

use std::{
    cell::Cell,
    fmt,
    io::{self, Read},
};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, error::Category};

use crate::{
    jobs::{JobsError, UrlWriter, members::pointer},
    scrape::FieldError,
};

/// The longest stretch of a body without a URL: it bounds the longest string, and all members but `urls` together.
const STRETCH_BYTES: usize = 2 * 1024 * 1024;

/// Why reading ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The body could not be read.
    Unreadable(io::Error),
    /// It is not JSON.
    Malformed(String),
    /// It is JSON, and not what it must be.
    Field(FieldError),
    /// Its URLs could not be kept.
    Jobs(JobsError),
    /// The reader panicked, with this.
    Panicked(String),
}

/// The errors found while reading. A value of the wrong type is noted and passed over, because the rest may not be JSON, which counts for more.
#[derive(Default)]
struct State {
    /// The first value of the wrong type.
    wrong: Option<FieldError>,
    /// What went wrong with the URLs.
    stop: Option<Stop>,
}

impl State {
    /// Notes what is wrong with a field, unless something was noted before.
    fn blame(&mut self, place: impl Into<String>, detail: impl Into<String>) {
        self.wrong.get_or_insert_with(|| FieldError::new(place, detail));
    }

    fn expected(&mut self, place: impl Into<String>, found: &str, expected: &str) {
        self.blame(place, format!("invalid type: {found}, expected {expected}"));
    }
}

/// The methods of a visitor for values of the wrong type: each calls `wrong` with what was found, and passes over the value. Items are read as values, so
/// that their strings are checked, too.
macro_rules! passes_over {
    (scalars) => {
        fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
            Ok(self.wrong(&format!("boolean `{value}`")))
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
            Ok(self.wrong(&format!("integer `{value}`")))
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
            Ok(self.wrong(&format!("integer `{value}`")))
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
            Ok(self.wrong(&format!("floating point `{value}`")))
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(self.wrong("null"))
        }
    };
    (string) => {
        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Ok(self.wrong("string"))
        }
    };
    (seq) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<Value>()?.is_some() {}
            Ok(self.wrong("sequence"))
        }
    };
    (map) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<String, Value>()?.is_some() {}
            Ok(self.wrong("map"))
        }
    };
}

/// Reads an object. With `urls`, its member of that name goes there, and it is answered if there was such a member.
pub(super) fn read(
    body: &mut impl Read,
    urls: Option<UrlWriter>,
) -> Result<(Map<String, Value>, Option<UrlWriter>), Stop> {
    let stretch = Cell::new(0);
    let body = io::BufReader::with_capacity(64 * 1024, Stretch { inner: body, bytes: &stretch });
    let mut deserializer = serde_json::Deserializer::from_reader(body);
    let mut state = State::default();
    let object = Object { urls, stretch: &stretch, state: &mut state };
    let read = deserializer.deserialize_any(object).and_then(|read| deserializer.end().map(|()| read));
    match (read, state.stop, state.wrong) {
        (_, Some(stop), _) => Err(stop),
        (Ok(_), None, Some(wrong)) => Err(Stop::Field(wrong)),
        (Ok(read), None, None) => Ok(read),
        (Err(error), None, wrong) => Err(match error.classify() {
            Category::Io => match (unreadable(error.into()), wrong) {
                (Stop::Field(_), Some(wrong)) => Stop::Field(wrong),
                (stop, _) => stop,
            },
            // What has the wrong type was noted and passed over, so that nothing else remains.
            Category::Syntax | Category::Eof | Category::Data => Stop::Malformed(error.to_string()),
        }),
    }
}

fn unreadable(error: io::Error) -> Stop {
    if error.get_ref().is_some_and(|inner| inner.is::<TooLong>()) {
        return Stop::Field(FieldError::new("", format!("more than {STRETCH_BYTES} bytes without a URL")));
    }
    Stop::Unreadable(error)
}

/// Counts the bytes since the last URL.
struct Stretch<'a, R> {
    inner: R,
    bytes: &'a Cell<usize>,
}

impl<R: Read> Read for Stretch<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.get() > STRETCH_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, TooLong));
        }
        let read = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + read);
        Ok(read)
    }
}

/// A stretch without a URL that is too long.
#[derive(Debug, thiserror::Error)]
#[error("too long")]
struct TooLong;

struct Object<'a> {
    urls: Option<UrlWriter>,
    stretch: &'a Cell<usize>,
    state: &'a mut State,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = (Map<String, Value>, Option<UrlWriter>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Map::new();
        let (mut waiting, mut urls) = (self.urls, None);
        while let Some(name) = map.next_key::<String>()? {
            if members.contains_key(&name) || (name == "urls" && urls.is_some()) {
                self.state.blame(pointer(&name), "this field stands twice");
                map.next_value::<Value>()?;
                continue;
            }
            match waiting.take_if(|_| name == "urls") {
                Some(mut writer) => {
                    map.next_value_seed(Urls { writer: &mut writer, stretch: self.stretch, state: self.state })?;
                    urls = Some(writer);
                }
                None => {
                    let value = map.next_value()?;
                    members.insert(name, value);
                }
            }
        }
        Ok((members, urls))
    }

    passes_over!(scalars);
    passes_over!(string);
    passes_over!(seq);
}

impl Object<'_> {
    fn wrong(self, found: &str) -> (Map<String, Value>, Option<UrlWriter>) {
        self.state.expected("", found, "a JSON object");
        (Map::new(), None)
    }
}

impl Urls<'_> {
    fn wrong(self, found: &str) {
        self.state.expected("/urls", found, "an array of URLs");
    }
}

impl Url<'_> {
    fn wrong(self, found: &str) {
        self.state.expected(format!("/urls/{}", self.writer.count()), found, "a URL as a string");
    }
}

struct Urls<'a> {
    writer: &'a mut UrlWriter,
    stretch: &'a Cell<usize>,
    state: &'a mut State,
}

impl<'de> DeserializeSeed<'de> for Urls<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Urls<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of URLs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let url = Url { writer: self.writer, state: self.state };
            if seq.next_element_seed(url)?.is_none() {
                return Ok(());
            }
            if self.state.wrong.is_none() {
                self.stretch.set(0);
            }
        }
    }

    passes_over!(scalars);
    passes_over!(string);
    passes_over!(map);
}

struct Url<'a> {
    writer: &'a mut UrlWriter,
    state: &'a mut State,
}

impl<'de> DeserializeSeed<'de> for Url<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Url<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a URL as a string")
    }

    fn visit_str<E: Error>(self, url: &str) -> Result<(), E> {
        if self.state.wrong.is_some() {
            return Ok(());
        }
        self.writer.push(url).map_err(|error| {
            self.state.stop = Some(Stop::Jobs(error));
            E::custom("the URL could not be kept")
        })
    }

    passes_over!(scalars);
    passes_over!(seq);
    passes_over!(map);
}
