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
}

/// Where the reader is, to tell an error's place, and what went wrong with the URLs.
#[derive(Default)]
struct State {
    place: Option<String>,
    stop: Option<Stop>,
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
    let read = deserializer.deserialize_map(object).and_then(|read| deserializer.end().map(|()| read));
    read.map_err(|error| {
        if let Some(stop) = state.stop {
            return stop;
        }
        match error.classify() {
            Category::Io => unreadable(error.into()),
            Category::Syntax | Category::Eof => Stop::Malformed(error.to_string()),
            Category::Data => {
                let text = error.to_string();
                let detail = text.rfind(" at line ").map_or(text.as_str(), |at| &text[..at]);
                Stop::Field(FieldError::new(state.place.unwrap_or_default(), detail))
            }
        }
    })
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
            self.state.place = Some(pointer(&name));
            if members.contains_key(&name) || (name == "urls" && urls.is_some()) {
                return Err(A::Error::custom("this field stands twice"));
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
            self.state.place = None;
        }
        Ok((members, urls))
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
        deserializer.deserialize_seq(self)
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
            match seq.next_element_seed(url) {
                Ok(Some(())) => self.stretch.set(0),
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.state.place = Some(format!("/urls/{}", self.writer.count()));
                    return Err(error);
                }
            }
        }
    }
}

struct Url<'a> {
    writer: &'a mut UrlWriter,
    state: &'a mut State,
}

impl<'de> DeserializeSeed<'de> for Url<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Url<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a URL as a string")
    }

    fn visit_str<E: Error>(self, url: &str) -> Result<(), E> {
        self.writer.push(url).map_err(|error| {
            self.state.stop = Some(Stop::Jobs(error));
            E::custom("the URL could not be kept")
        })
    }
}
