//! The JSON Schema of the plan file, for completion in editors. Made from the tables that the parser reads, so the two
//! cannot disagree.

use serde_json::{Map, Value, json};

use crate::lang::Lang;
use crate::plan::{ACTION_FIELDS, LIST_FIELDS, RULES_FIELDS, SCHEMA, TARGET_FIELDS, TOP_FIELDS};
use crate::read::{Field, Kind};
use crate::speech::{OVERRIDE_FIELDS, SPEECH_FIELDS};
use crate::verb;

const KEY: &str = "^([0-9]|star|hash)$";
const DURATION: &str = "^([0-9]+h)?([0-9]+m(in)?)?([0-9]+s)?([0-9]+ms)?$";

/// JSON Schema 2020-12 of `ark.dialplan/1`.
#[must_use]
pub fn schema() -> Value {
    let mut top = object(TOP_FIELDS, &[("schema", json!({ "const": SCHEMA }))]);
    let states: Vec<Value> = verb::ALL
        .iter()
        .map(|verb| {
            let mut state = object(verb.fields, &[("do", json!({ "const": verb.name, "description": verb.doc }))]);
            if let Some(properties) = state.get_mut("properties").and_then(Value::as_object_mut) {
                let mut label = per_language(&json!({ "type": "string" }));
                label["description"] = json!("what the button says that leads here, in a chat");
                properties.insert("label".to_owned(), label);
            }
            state
        })
        .collect();
    let tables: [(&str, Value); 9] = [
        ("rules", object(RULES_FIELDS, &[])),
        ("speech", object(SPEECH_FIELDS, &[])),
        ("prompts", named(&prompt())),
        ("calendar", named(&object(crate::calendar::FIELDS, &[]))),
        ("lists", named(&object(LIST_FIELDS, &[]))),
        ("actions", named(&object(ACTION_FIELDS, &[]))),
        ("targets", named(&object(TARGET_FIELDS, &[]))),
        ("state", named(&json!({ "type": "object", "required": ["do"], "oneOf": states }))),
        ("test", json!({ "type": "array", "items": test() })),
    ];
    if let Some(properties) = top.get_mut("properties").and_then(Value::as_object_mut) {
        properties.extend(tables.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    if let Some(required) = top.get_mut("required").and_then(Value::as_array_mut) {
        required.extend([json!("rules"), json!("state")]);
    }
    if let Some(top) = top.as_object_mut() {
        top.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        top.insert("title".to_owned(), json!("Ark dialplan"));
        top.insert("description".to_owned(), json!("One file is one published flow of a hotline."));
    }
    top
}

fn object(fields: &[Field], extra: &[(&str, Value)]) -> Value {
    let mut properties = Map::new();
    let mut required: Vec<&str> = Vec::new();
    for (name, value) in extra {
        if !fields.iter().any(|f| f.name == *name) {
            required.push(name);
        }
        properties.insert((*name).to_owned(), value.clone());
    }
    for field in fields {
        properties.entry(field.name).or_insert_with(|| value(field));
        if field.required {
            required.push(field.name);
        }
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn named(one: &Value) -> Value {
    json!({ "type": "object", "additionalProperties": one })
}

fn value(field: &Field) -> Value {
    let mut value = match field.kind {
        Kind::State | Kind::Prompt | Kind::Reference(_) | Kind::Text => json!({ "type": "string" }),
        Kind::Keys => {
            json!({ "type": "object", "propertyNames": { "pattern": KEY }, "additionalProperties": { "type": "string" } })
        }
        Kind::Cases | Kind::Strings => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Duration => json!({ "type": "string", "pattern": DURATION }),
        Kind::Integer => json!({ "type": "integer" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::KeyName => json!({ "type": "string", "pattern": KEY }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Phrases => {
            let texts = json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });
            json!({ "type": "object", "propertyNames": { "pattern": KEY }, "additionalProperties": texts })
        }
        Kind::Speech => json!({ "anyOf": [{ "type": "boolean" }, object(OVERRIDE_FIELDS, &[])] }),
        Kind::StateOrTexts => {
            json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
        }
    };
    if let Some(value) = value.as_object_mut() {
        value.insert("description".to_owned(), json!(field.doc));
    }
    value
}

fn per_language(one: &Value) -> Value {
    let properties: Map<String, Value> = Lang::ALL.iter().map(|lang| (lang.to_string(), one.clone())).collect();
    json!({ "anyOf": [one, { "type": "object", "properties": properties, "additionalProperties": false }] })
}

fn prompt() -> Value {
    let file = json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });
    let seconds = json!({ "type": "number", "minimum": 0, "maximum": 3600 });
    let mut prompt = object(crate::prompt::FIELDS, &[]);
    if let Some(properties) = prompt.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("file".to_owned(), per_language(&file));
        properties.insert("seconds".to_owned(), per_language(&seconds));
        properties.insert("chat".to_owned(), per_language(&json!({ "type": "string" })));
    }
    prompt
}

fn test() -> Value {
    let texts = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let event = json!({ "anyOf": [
        { "type": "string", "pattern": "^([0-9]+|star|hash|silence|answered|no-answer|recorded|joined|picture|not-sent|hangup)$" },
        { "type": "object", "properties": { "http": { "anyOf": [texts, { "const": "failed" }] } }, "required": ["http"], "additionalProperties": false },
        { "type": "object", "properties": { "say": { "type": "string" }, "confidence": { "type": "integer", "minimum": 0, "maximum": 100 } },
          "required": ["say"], "additionalProperties": false },
        { "type": "object", "properties": { "type": { "type": "string" } }, "required": ["type"], "additionalProperties": false },
        { "type": "object", "properties": { "press": { "type": "string" } }, "required": ["press"], "additionalProperties": false },
        { "type": "object", "properties": { "place": { "type": "object", "properties": {
            "position": { "type": "integer", "minimum": 1 },
            "wait": { "type": "string", "pattern": DURATION },
        }, "additionalProperties": false } }, "required": ["place"], "additionalProperties": false },
    ] });
    let mut test = object(crate::plan::TEST_FIELDS, &[]);
    if let Some(properties) = test.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("events".to_owned(), json!({ "type": "array", "items": event }));
    }
    test
}
