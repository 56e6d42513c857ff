//! The schemas in docs/, and that they say what there is.

use std::collections::BTreeSet;
use std::path::Path;

use jsonschema::Validator;
use scache_client::administration::{Happening, Stats};
use serde_json::Value;

/// One of docs/.
pub fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    let text = std::fs::read_to_string(path).expect("a schema in docs/");
    serde_json::from_str(&text).expect("JSON")
}

/// Judges lines by a schema.
pub struct Judge(Validator);

impl Judge {
    pub fn new(name: &str) -> Self {
        let schema = schema(name);
        assert!(jsonschema::meta::is_valid(&schema), "{name} is no schema");
        Self(jsonschema::validator_for(&schema).expect("a schema"))
    }

    /// The line as a value, which has to be as the schema says.
    pub fn check(&self, line: &str) -> Value {
        let value = serde_json::from_str(line).expect("JSON");
        if let Err(error) = self.0.validate(&value) {
            panic!("{error}: {line}");
        }
        value
    }
}

#[test]
fn the_schema_of_stats_has_every_number_and_no_other() {
    let schema = schema("stats.schema.json");
    let properties = schema["properties"].as_object().expect("properties");
    let described: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    let required: Vec<&Value> = schema["required"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    assert_eq!(required.len(), described.len());
    assert!(required.iter().all(|name| {
        let name = name.as_str();
        name.is_some_and(|name| described.contains(name))
    }));

    let numbers = Stats::FIELDS.iter().map(|field| (field.name, field.help));
    let distributions = Stats::DISTRIBUTIONS;
    let distributions = distributions.iter().map(|field| (field.name, field.help));
    let mut told = BTreeSet::from(["version"]);
    for (name, help) in numbers.chain(distributions) {
        told.insert(name);
        assert_eq!(schema["properties"][name]["description"], help, "{name}");
    }
    assert_eq!(described, told);
}

#[test]
fn the_schema_of_events_has_every_happening_and_no_other() {
    let schema = schema("events.schema.json");
    let described = schema["$defs"]["event"]["properties"]["what"]["enum"].as_array();
    let described: BTreeSet<&str> = described
        .expect("names")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let known = Happening::ALL.map(Happening::name);
    assert_eq!(described, known.into_iter().chain(["unknown"]).collect());
}

#[test]
fn a_schema_refuses_what_is_not_as_it_says() {
    for (name, line) in [
        ("stats.schema.json", "{}"),
        ("list.schema.json", r#"{"label":"a"}"#),
        (
            "list.schema.json",
            r#"{"label":"a","hits":-1,"misses":0,"cached":0}"#,
        ),
        ("events.schema.json", r#"{"forgotten":0}"#),
        (
            "events.schema.json",
            r#"{"number":1,"time":"now","what":"saved","label":""}"#,
        ),
    ] {
        let value = serde_json::from_str(line).expect("JSON");
        assert!(!Judge::new(name).0.is_valid(&value), "{name}: {line}");
    }
}
