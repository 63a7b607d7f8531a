//! SARIF 2.1.0, for code hosts that annotate changes.

use serde_json::{Value, json};

use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};

/// One SARIF log with one run. `version`: of Ark.
#[must_use]
pub fn render_sarif(diagnostics: &[Diagnostic], version: &str) -> Value {
    let rules: Vec<Value> = codes::TABLE
        .iter()
        .map(|code| {
            json!({
                "id": code.code,
                "shortDescription": { "text": code.en },
            })
        })
        .collect();
    let results: Vec<Value> = diagnostics.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "ark dialplan", "version": version, "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(diagnostic: &Diagnostic) -> Value {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let help = diagnostic.help.as_ref().map_or_else(String::new, |help| format!(" ({})", help.en));
    let rule = codes::TABLE.iter().position(|code| code.code == diagnostic.code);
    json!({
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": level,
        "message": { "text": format!("{}{help}", diagnostic.message.en) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri(&diagnostic.file) },
                "region": {
                    "startLine": diagnostic.line,
                    "startColumn": diagnostic.column,
                    "endLine": diagnostic.end_line,
                    "endColumn": diagnostic.end_column.max(diagnostic.column + 1),
                },
            },
        }],
    })
}

/// A file name as a relative URI reference: what RFC 3986 does not allow in a path is percent-encoded.
fn uri(file: &str) -> String {
    let mut out = String::new();
    for byte in file.replace('\\', "/").bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
