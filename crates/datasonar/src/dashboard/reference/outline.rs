//! An OpenAPI document, as far as it is ours, taken apart for reading: groups of operations, and the schemas that they name. Of JSON Schema it knows what our
//! types are described with: `$ref`, `allOf`, `oneOf`, objects, lists, enumerations and `null` among the types.

use serde_json::{Map, Value};
use utoipa::openapi::OpenApi;

use super::super::kit::shell_call;

/// Text in which backquotes stand around code.
pub(super) struct Prose(String);

impl Prose {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn of(value: &Value) -> Self {
        Self::new(value["description"].as_str().unwrap_or_default())
    }

    /// Its parts in order, and whether each is code.
    pub(super) fn parts(&self) -> impl Iterator<Item = (bool, &str)> {
        self.0.split('`').enumerate().map(|(at, part)| (at % 2 == 1, part)).filter(|(_, part)| !part.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A document.
pub(super) struct Outline {
    pub(super) version: String,
    pub(super) about: String,
    pub(super) groups: Vec<Group>,
    pub(super) schemas: Vec<Schema>,
}

/// Operations that belong together.
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) about: Prose,
    pub(super) operations: Vec<Operation>,
}

/// What can be asked for.
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) summary: Prose,
    pub(super) parameters: Vec<Field>,
    pub(super) body: Option<Body>,
    /// A call of it in a shell.
    pub(super) example: String,
    pub(super) answers: Vec<Answer>,
}

/// What is sent along.
pub(super) struct Body {
    pub(super) kind: Kind,
    /// Where what is told of its members elsewhere does not hold.
    pub(super) notes: Vec<Prose>,
    pub(super) fields: Vec<Field>,
}

/// What may come back.
pub(super) struct Answer {
    pub(super) status: String,
    pub(super) about: Prose,
    /// What is in it; `None` where nothing is.
    pub(super) kind: Option<Kind>,
    pub(super) media_type: String,
}

/// A named type.
pub(super) struct Schema {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) about: Prose,
    /// The shapes it may have: one for most.
    pub(super) shapes: Vec<Shape>,
}

/// A shape that a value may have.
pub(super) struct Shape {
    /// What it is for, where there are others.
    pub(super) about: Prose,
    pub(super) kind: Kind,
    pub(super) fields: Vec<Field>,
}

/// A member, or a parameter.
pub(super) struct Field {
    pub(super) name: String,
    /// Where a parameter stands: `path`, `query` or `header`.
    pub(super) place: String,
    pub(super) is_required: bool,
    pub(super) kind: Kind,
    pub(super) about: Prose,
    /// What it is when it is left out, and which values it may have.
    pub(super) terms: Vec<String>,
}

/// A type in words, some of which are names of schemas.
#[derive(Default)]
pub(super) struct Kind(Vec<(String, Option<String>)>);

impl Kind {
    /// Its words, and the id of the schema where one is named.
    pub(super) fn words(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(word, id)| (word.as_str(), id.as_deref()))
    }

    fn say(&mut self, word: &str) {
        self.0.push((word.to_owned(), None));
    }

    fn of(schema: &Value) -> Self {
        let mut kind = Self::default();
        kind.add(schema);
        kind
    }

    fn add(&mut self, schema: &Value) {
        if let Some(name) = named(schema) {
            return self.0.push((name.to_owned(), Some(schema_id(name))));
        }
        if let Some(any) = schema["oneOf"].as_array() {
            for (at, one) in any.iter().enumerate() {
                if at > 0 {
                    self.say(" or ");
                }
                self.add(one);
            }
            return;
        }
        if schema["allOf"].is_array() {
            return self.say("object");
        }
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<String> = values.iter().map(Value::to_string).collect();
            return self.say(&values.join(" or "));
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        for (at, of) in types.iter().enumerate() {
            if at > 0 {
                self.say(" or ");
            }
            match *of {
                "array" => {
                    self.say("list of ");
                    self.add(&schema["items"]);
                }
                "string" if schema["format"] == "uuid" => self.say("UUID"),
                "string" if schema["format"] == "date-time" => self.say("time"),
                of => self.say(of),
            }
        }
        if types.is_empty() {
            self.say("any value");
        }
    }
}

/// The name of the schema that is referred to.
fn named(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

fn schema_id(name: &str) -> String {
    format!("schema-{name}")
}

/// Reads one document.
struct Reader<'a> {
    schemas: &'a Map<String, Value>,
}

impl Outline {
    pub(super) fn new(document: &OpenApi) -> Self {
        let document = serde_json::to_value(document).expect("our description is plain data");
        let none = Map::new();
        let reader = Reader { schemas: document["components"]["schemas"].as_object().unwrap_or(&none) };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let group = |tag: &Value| {
            let name = text(&tag["name"]);
            let of_group = |(path, item): (&String, &Value)| {
                let (reader, path, name) = (&reader, path.clone(), name.clone());
                let operations = item.as_object().into_iter().flatten();
                let operations = operations.filter(move |(_, operation)| operation["tags"][0] == name.as_str());
                operations
                    .map(move |(method, operation)| reader.operation(&path, method, operation))
                    .collect::<Vec<_>>()
            };
            let operations = document["paths"].as_object().into_iter().flatten().flat_map(of_group).collect();
            Group { id: name.to_lowercase(), about: Prose::of(tag), operations, name }
        };
        Self {
            version: text(&document["info"]["version"]),
            about: text(&document["info"]["description"]),
            groups: document["tags"].as_array().into_iter().flatten().map(group).collect(),
            schemas: reader.schemas.iter().map(|(name, schema)| reader.schema(name, schema)).collect(),
        }
    }
}

impl Reader<'_> {
    fn operation(&self, path: &str, method: &str, operation: &Value) -> Operation {
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        let method = method.to_uppercase();
        let answers = operation["responses"].as_object().into_iter().flatten();
        let has_key = operation["tags"][0] != "Operation";
        Operation {
            id: format!("{method}{}", path.replace(['{', '}'], "").replace('/', "-")),
            path: path.to_owned(),
            summary: Prose::new(operation["summary"].as_str().unwrap_or_default()),
            parameters: operation["parameters"].as_array().into_iter().flatten().map(parameter).collect(),
            body: (!body.is_null()).then(|| self.body(body)),
            example: self.example(&method, path, has_key, body),
            answers: answers.map(|(status, answer)| self::answer(status, answer)).collect(),
            method,
        }
    }

    fn body(&self, body: &Value) -> Body {
        let parts = self.resolved(body)["allOf"].as_array().into_iter().flatten();
        let notes = parts.filter(|part| named(part).is_some() && part["description"].is_string()).map(Prose::of);
        Body { kind: Kind::of(body), notes: notes.collect(), fields: self.fields(body) }
    }

    /// A call in a shell; its body is the example that the schema brings.
    fn example(&self, method: &str, path: &str, has_key: bool, body: &Value) -> String {
        let address = format!("\"$DATASONAR_SERVER{}\"", path.replace("{id}", "$ID"));
        let body = self.resolved(body).get("example").map(Value::to_string);
        shell_call(method, &address, has_key, body.as_deref())
    }

    fn schema(&self, name: &str, schema: &Value) -> Schema {
        let shapes = match schema["oneOf"].as_array() {
            Some(any) => any.iter().map(|one| self.shape(one)).collect(),
            None => vec![Shape { about: Prose::new(""), ..self.shape(schema) }],
        };
        Schema { id: schema_id(name), name: name.to_owned(), about: Prose::of(schema), shapes }
    }

    fn shape(&self, schema: &Value) -> Shape {
        // What a name stands for is told at its own place.
        let fields = if named(schema).is_some() { Vec::new() } else { self.fields(schema) };
        Shape { about: Prose::of(schema), kind: Kind::of(schema), fields }
    }

    /// The members of an object, those of its parts included: those that must be there first.
    fn fields(&self, schema: &Value) -> Vec<Field> {
        let mut fields = Vec::new();
        self.collect(schema, &mut fields);
        fields.sort_by_key(|field: &Field| !field.is_required);
        fields
    }

    fn collect(&self, schema: &Value, fields: &mut Vec<Field>) {
        let schema = self.resolved(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.collect(part, fields);
        }
        let is_required =
            |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            fields.push(field(name, member, is_required(name)));
        }
    }

    /// The schema, or the one that it names.
    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        named(schema).and_then(|name| self.schemas.get(name)).unwrap_or(schema)
    }
}

fn answer(status: &str, answer: &Value) -> Answer {
    let content = answer["content"].as_object().and_then(|content| content.iter().next());
    Answer {
        status: if status == "default" { "4xx, 5xx".to_owned() } else { status.to_owned() },
        about: Prose::of(answer),
        kind: content.map(|(_, content)| Kind::of(&content["schema"])),
        media_type: content.map(|(media_type, _)| media_type.clone()).unwrap_or_default(),
    }
}

fn parameter(parameter: &Value) -> Field {
    let place = parameter["in"].as_str().unwrap_or_default().to_owned();
    let name = parameter["name"].as_str().unwrap_or_default();
    let field = field(name, &parameter["schema"], parameter["required"] == true);
    Field { place, about: Prose::of(parameter), ..field }
}

fn field(name: &str, schema: &Value, is_required: bool) -> Field {
    // A description may stand beside the alternatives, or with the one that is not null.
    let inner = schema["oneOf"].as_array().into_iter().flatten().find(|one| one["description"].is_string());
    let about = if schema["description"].is_string() { schema } else { inner.unwrap_or(schema) };
    let mut terms = Vec::new();
    let limits = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
    match limits {
        (Some(least), Some(most)) => terms.push(format!("{least} to {most}")),
        (Some(least), None) if least > 0 => terms.push(format!("at least {least}")),
        (None, Some(most)) => terms.push(format!("at most {most}")),
        _ => {}
    }
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        terms.push(format!("default {default}"));
    }
    Field {
        name: name.to_owned(),
        place: String::new(),
        is_required,
        kind: Kind::of(schema),
        about: Prose::of(about),
        terms,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::api;

    fn said(kind: &Kind) -> String {
        kind.words().map(|(word, _)| word).collect()
    }

    #[test]
    fn every_operation_of_the_document_is_there_once_and_says_what_it_takes() {
        let document = api::document();
        let outline = Outline::new(document);
        let operations: Vec<&Operation> = outline.groups.iter().flat_map(|group| &group.operations).collect();
        let ids: HashSet<&str> = operations.iter().map(|operation| operation.id.as_str()).collect();
        assert_eq!(ids.len(), operations.len());
        let count = serde_json::to_value(document).unwrap()["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|item| item.as_object().unwrap().len())
            .sum::<usize>();
        assert_eq!(operations.len(), count);
        for operation in operations {
            assert!(!operation.summary.is_empty(), "{} says nothing", operation.id);
            assert_eq!(
                operation.example.contains(" -d '"),
                operation.body.is_some(),
                "{}: {}",
                operation.id,
                operation.example
            );
            assert!(!operation.answers.is_empty());
        }
    }

    #[test]
    fn types_are_said_in_words_and_named_ones_are_there() {
        let outline = Outline::new(api::document());
        let schemas: HashSet<&str> = outline.schemas.iter().map(|schema| schema.id.as_str()).collect();
        let shapes = outline.schemas.iter().flat_map(|schema| &schema.shapes);
        for kind in shapes.flat_map(|shape| shape.fields.iter().map(|field| &field.kind).chain([&shape.kind])) {
            for (word, id) in kind.words() {
                assert!(id.is_none_or(|id| schemas.contains(id)), "{word} is nowhere");
            }
        }
        let schema = |text: &str| said(&Kind::of(&serde_json::from_str(text).unwrap()));
        assert_eq!(schema(r#"{"type":["string","null"],"format":"uuid"}"#), "UUID or null");
        assert_eq!(schema(r##"{"oneOf":[{"$ref":"#/components/schemas/A"},{"type":"null"}]}"##), "A or null");
        assert_eq!(schema(r##"{"type":"array","items":{"$ref":"#/components/schemas/A"}}"##), "list of A");
        assert_eq!(schema(r#"{"type":"string","enum":["a","b"]}"#), r#""a" or "b""#);
        assert_eq!(schema("{}"), "any value");
    }

    #[test]
    fn members_of_parts_are_told_with_their_whole_the_needed_ones_first() {
        let outline = Outline::new(api::document());
        let crawl =
            outline.groups.iter().flat_map(|group| &group.operations).find(|one| one.path == "/v1/crawl").unwrap();
        let body = crawl.body.as_ref().unwrap();
        assert!(body.notes.iter().any(|note| note.parts().any(|part| part == (true, "respect_robots"))));
        let fields = &body.fields;
        assert!(
            fields[0].name == "url" && fields[0].is_required && fields.iter().skip(1).all(|field| !field.is_required)
        );
        for name in ["max_pages", "format", "webhook_url"] {
            assert!(fields.iter().any(|field| field.name == name), "{name} is missing");
        }
    }
}
