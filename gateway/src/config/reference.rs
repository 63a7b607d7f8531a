//! The reference manual of the file, written from the structs themselves.

use std::fmt::Write as _;

use serde_json::Value;

use super::Config;

/// `docs/config.md`: every table and key with its type, default and description, from [`Config`]'s own documentation.
pub fn reference() -> String {
    let schema = schemars::schema_for!(Config).to_value();
    let defaults = toml::Value::try_from(Config::default()).unwrap_or(toml::Value::Boolean(false));
    let mut out = String::from(
        "# The configuration file\n\nGenerated from `gateway/src/config/mod.rs`: `UPDATE=1 cargo test -p ark config` rewrites it.\n\n\
         One TOML file, `ark serve --config ark.toml`. Every key may be left out. Unknown keys are refused. Relative paths are relative to \
         the working directory. Durations are a number and a unit (`\"250ms\"`, `\"30s\"`, `\"5m\"`, `\"2h\"`, `\"1d\"`). Secrets are named by \
         where they are kept: `{ file = \"...\" }` or `{ env = \"...\" }`.\n",
    );
    let Some(tables) = schema["properties"].as_object() else { return out };
    for (name, table) in tables {
        let array = table["type"] == "array";
        let of = if array { &table["items"] } else { table };
        let inner = resolve(&schema, of);
        let title = if array { format!("[[{name}]]") } else { format!("[{name}]") };
        let _ = write!(out, "\n## `{title}`\n\n{}\n\n", description(table));
        keys(&mut out, &schema, inner, name, defaults.get(name));
    }
    out
}

/// The keys of a table, then the tables in it, each with its path: `[sms.http.receipts]`.
fn keys(out: &mut String, root: &Value, table: &Value, path: &str, defaults: Option<&toml::Value>) {
    out.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    let required: Vec<&str> = table["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut inner = Vec::new();
    for (key, field) in table["properties"].as_object().into_iter().flatten() {
        let of = defaults.and_then(|table| table.get(key));
        let default = if required.contains(&key.as_str()) {
            "required".to_owned()
        } else {
            of.map(toml::Value::to_string)
                .or_else(|| field.get("default").filter(|value| !value.is_null()).map(Value::to_string))
                .map_or_else(|| "none".to_owned(), |value| format!("`{value}`"))
        };
        let _ = writeln!(out, "| `{key}` | {} | {default} | {} |", kind(root, field), description(field));
        if kind(root, field) == "table" {
            inner.push((format!("{path}.{key}"), resolve(root, field), of));
        }
    }
    for (path, table, defaults) in inner {
        let _ = write!(out, "\n### `[{path}]`\n\n{}\n\n", description(table));
        keys(out, root, table, &path, defaults);
    }
}

fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Follows a reference into `$defs`, looking through the `anyOf` of an optional value.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let schema = schema["anyOf"].as_array().and_then(|any| any.first()).unwrap_or(schema);
    match schema["$ref"].as_str().and_then(|to| to.strip_prefix("#/$defs/")) {
        Some(name) => &root["$defs"][name],
        None => schema,
    }
}

/// What a value is, in a word.
fn kind(root: &Value, field: &Value) -> String {
    let inner = resolve(root, field);
    if let Some(format) = inner["format"].as_str().filter(|format| !format.starts_with("uint")) {
        return format.to_owned();
    }
    if inner["properties"].is_object() {
        return "table".into();
    }
    if inner["oneOf"].is_array() {
        let each: Vec<String> = inner["oneOf"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| {
                one["const"].as_str().map(|value| format!("`\"{value}\"`")).or_else(|| {
                    let key = one["properties"].as_object()?.keys().next()?;
                    Some(format!("`{{ {key} = \"...\" }}`"))
                })
            })
            .collect();
        return each.join(" or ");
    }
    let kind = match &inner["type"] {
        Value::String(kind) => kind.as_str(),
        Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or("value"),
        _ => "value",
    };
    match kind {
        "integer" => "number".into(),
        "array" => format!("list of {}", kind_of_items(root, inner)),
        other => other.to_owned(),
    }
}

fn kind_of_items(root: &Value, array: &Value) -> String {
    kind(root, &array["items"])
}
