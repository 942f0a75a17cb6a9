//! JSON-LD: what a page says for machines.

use serde_json::Value;

use crate::{
    ExtractError,
    budget::Budget,
    dom::{Dom, HTML, Tag},
};

/// Objects that are kept, at most.
const MAX_OBJECTS: usize = 64;
/// Bytes of JSON-LD that are read, at most.
const MAX_BYTES: usize = 512 * 1024;

/// Returns the most memory that a JSON text takes as a value, while it is read.
///
/// Names and strings are allocations of their own. A list doubles as it grows, and an object has an index besides.
pub(crate) fn value_memory(json: &str) -> usize {
    const LIST_ITEM: usize = 3 * size_of::<Value>();
    const MEMBER: usize = 3 * (size_of::<Value>() + size_of::<String>() + 32);
    const OBJECT: usize = 4 * MEMBER;
    let mut bytes = json.len() * 2 + LIST_ITEM;
    let mut in_string = false;
    let mut escaped = false;
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => {
                in_string = !in_string;
                bytes += 16;
            }
            _ if in_string => {}
            // Four items have room from the beginning.
            b'[' => bytes += 4 * size_of::<Value>(),
            b'{' => bytes += OBJECT,
            b':' => bytes += MEMBER,
            b',' => bytes += LIST_ITEM,
            _ => {}
        }
    }
    bytes
}

/// The JSON-LD objects of a page; graphs are taken apart.
#[derive(Debug, Default)]
pub(crate) struct StructuredData {
    pub(crate) objects: Vec<Value>,
}

impl StructuredData {
    /// Reads every JSON-LD script; what is not JSON is passed over.
    pub(crate) fn of(dom: &Dom<'_>, budget: &Budget<'_>) -> Result<Self, ExtractError> {
        let mut data = Self::default();
        let mut bytes = 0;
        for id in dom.descendants(HTML) {
            budget.spend(0)?;
            let is_data = dom.tag(id) == Tag::Script
                && dom.attr(id, "type").is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/ld+json"));
            if !is_data {
                continue;
            }
            let text = dom.text_content(id, MAX_BYTES + 1);
            bytes += text.len();
            if bytes > MAX_BYTES {
                break;
            }
            budget.spend(text.len() * 4)?;
            let text = text.trim().trim_start_matches("<!--").trim_end_matches("-->");
            let text = text.trim().trim_start_matches("//<![CDATA[").trim_end_matches("//]]>").trim_end_matches(';');
            budget.allocate(value_memory(text))?;
            if let Ok(value) = serde_json::from_str::<Value>(text) {
                data.add(value);
            }
        }
        Ok(data)
    }

    fn add(&mut self, value: Value) {
        let mut values = vec![value];
        while let Some(value) = values.pop() {
            if self.objects.len() >= MAX_OBJECTS {
                return;
            }
            match value {
                Value::Array(list) => values.extend(list.into_iter().rev()),
                Value::Object(mut object) => match object.remove("@graph") {
                    Some(graph) => values.push(graph),
                    None => self.objects.push(Value::Object(object)),
                },
                _ => {}
            }
        }
    }

    /// The object that is about the site.
    pub(crate) fn site(&self) -> Option<&Value> {
        self.objects.iter().find(|object| object.get("@type").and_then(Value::as_str) == Some("WebSite"))
    }

    /// The object that is about the page.
    pub(crate) fn article(&self) -> Option<&Value> {
        let is = |object: &Value, kinds: &[&str]| match object.get("@type") {
            Some(Value::String(kind)) => kinds.iter().any(|wanted| kind.ends_with(wanted)),
            Some(Value::Array(list)) => {
                list.iter().filter_map(Value::as_str).any(|kind| kinds.iter().any(|wanted| kind.ends_with(wanted)))
            }
            _ => false,
        };
        let articles = ["Article", "Posting", "Report", "Recipe", "Product", "Book", "Event"];
        let pages = ["WebPage", "Page"];
        let find = |kinds: &[&str]| self.objects.iter().find(|object| is(object, kinds));
        find(&articles).or_else(|| find(&pages))
    }
}
