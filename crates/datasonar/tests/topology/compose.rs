//! `deploy/compose.yaml`, read as Compose reads it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde_json::Value;

/// The folder `deploy`.
pub(crate) fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../deploy"].iter().collect()
}

/// The documents of a file in YAML; anchors and merges are resolved.
pub(crate) fn yaml(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names and values of a file of variables; `commented` takes in those that begin with `#`, too.
pub(crate) fn variables(name: &str, commented: bool) -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let lines = text.lines().map(|line| if commented { line.trim_start_matches('#') } else { line });
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .filter(|(name, _)| name.chars().all(|next| next.is_ascii_uppercase() || next.is_ascii_digit() || next == '_'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The file, with the variables that it asks for.
pub(crate) struct Compose {
    file: Value,
    given: BTreeMap<String, String>,
    asked: RefCell<BTreeSet<String>>,
}

impl Compose {
    pub(crate) fn read(given: BTreeMap<String, String>) -> Self {
        let file = yaml("compose.yaml").remove(0);
        Self { file, given, asked: RefCell::default() }
    }

    /// A part of it by its path, such as `/services/worker`.
    pub(crate) fn part(&self, path: &str) -> Value {
        self.filled(self.file.pointer(path).unwrap_or_else(|| panic!("compose.yaml has no {path}")))
    }

    /// The names in one of its parts.
    pub(crate) fn names(&self, path: &str) -> BTreeSet<String> {
        self.part(path).as_object().unwrap().keys().cloned().collect()
    }

    pub(crate) fn environment(&self, service: &str) -> BTreeMap<String, String> {
        let environment = self.part(&format!("/services/{service}/environment"));
        let pairs = environment.as_object().unwrap().iter();
        pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
    }

    /// How many containers a service has.
    pub(crate) fn replicas(&self, service: &str) -> u64 {
        self.part(&format!("/services/{service}"))["deploy"]["replicas"].as_u64().unwrap_or(1)
    }

    /// Those that are processes of Datasonar.
    pub(crate) fn processes(&self) -> Vec<String> {
        let is_one =
            |name: &String| self.part(&format!("/services/{name}"))["environment"]["DATASONAR_ROLES"].is_string();
        self.names("/services").into_iter().filter(is_one).collect()
    }

    /// The variables that were asked for so far.
    pub(crate) fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }

    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text)),
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), self.filled(value))).collect(),
            plain => plain.clone(),
        }
    }

    /// `${NAME:-default}` and `${NAME:?reason}`: the forms that the file has.
    fn fill(&self, text: &str) -> String {
        let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
        let (inner, after) = rest.split_once('}').unwrap_or_else(|| panic!("{text} is not closed"));
        let (name, otherwise) = inner.split_once(':').unwrap_or_else(|| panic!("{text} has no default and no reason"));
        self.asked.borrow_mut().insert(name.to_owned());
        let given = self.given.get(name).filter(|value| !value.is_empty()).cloned();
        let value = match otherwise.strip_prefix('-') {
            Some(default) => given.unwrap_or_else(|| default.to_owned()),
            None => given.unwrap_or_else(|| panic!("{name} is not given: {otherwise}")),
        };
        format!("{before}{value}{}", self.fill(after))
    }
}
