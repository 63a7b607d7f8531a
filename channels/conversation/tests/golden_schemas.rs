//! The JSON Schemas beside this crate are those of the types, every type has one, and real events fit them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ark_conversation::{ConversationId, Event, Record, samples, schema};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

#[test]
fn the_golden_schemas_are_those_of_the_types_and_no_others() {
    if std::env::var_os("UPDATE").is_some() {
        for file in std::fs::read_dir(folder()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        for (name, schema) in written() {
            std::fs::write(folder().join(format!("{name}.json")), pretty(&schema)).unwrap();
        }
    }
    let mut wrong = Vec::new();
    for (name, schema) in written() {
        if std::fs::read_to_string(folder().join(format!("{name}.json"))).ok() != Some(pretty(&schema)) {
            wrong.push(name);
        }
    }
    assert!(
        wrong.is_empty(),
        "differ from schemas/: {wrong:?}; look at the change, then UPDATE=1 cargo test -p ark-conversation"
    );

    let files: BTreeSet<String> =
        std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let names: BTreeSet<String> = Event::TYPES
        .iter()
        .copied()
        .chain([schema::RECORD, schema::ADAPTER_MANIFEST])
        .map(|name| format!("{name}.json"))
        .collect();
    assert_eq!(files, names);
}

/// Every schema that stands beside the crate.
fn written() -> Vec<(&'static str, schemars::Schema)> {
    schema::all().into_iter().chain([(schema::ADAPTER_MANIFEST, schema::adapter_manifest())]).collect()
}

fn pretty(schema: &schemars::Schema) -> String {
    serde_json::to_string_pretty(schema).expect("a schema is JSON") + "\n"
}

#[test]
fn every_type_has_a_sample_and_the_samples_fit_their_schemas() {
    let schemas: Vec<_> = schema::all();
    let validator = |name: &str| {
        let (_, schema) = schemas.iter().find(|(n, _)| *n == name).unwrap();
        jsonschema::validator_for(schema.as_value()).unwrap()
    };
    let record_schema = validator(schema::RECORD);
    let mut seen = BTreeSet::new();
    for (n, event) in (1..).zip(samples::story()) {
        let name = event.type_name().to_owned();
        let data = serde_json::to_value(&event).unwrap();
        let errors: Vec<String> = validator(&name).iter_errors(&data).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?} in {data}");

        let record = samples::new_event(ConversationId::new(1, 2), n, event).into_record(n);
        let json = serde_json::to_value(&record).unwrap();
        let errors: Vec<String> = record_schema.iter_errors(&json).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?} in {json}");
        assert_eq!(serde_json::from_value::<Record>(json).unwrap(), record, "{name}");
        seen.insert(name);
    }
    assert_eq!(seen, Event::TYPES.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn a_schema_refuses_what_is_not_of_its_type() {
    let (_, schema) = schema::all().into_iter().find(|(name, _)| *name == "ark.dtmf.v1").unwrap();
    let validator = jsonschema::validator_for(schema.as_value()).unwrap();
    assert!(!validator.is_valid(&serde_json::json!({ "leg": "L1", "how": "smoke" })));
    assert!(!validator.is_valid(&serde_json::json!({ "leg": "1", "how": "info" })));
    assert!(
        validator.is_valid(&serde_json::json!({ "leg": "L1", "how": "info", "digit": "5", "of_a_later_minor": true }))
    );
}
