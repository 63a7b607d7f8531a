//! Messages of XML or JSON as flat fields: `Text.Content` is the element in the element, `Content` one at the top.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use serde_json::Value;

use crate::limits::{FIELD_DEPTH_MAX, FIELDS_MAX};

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldsError {
    #[error("it is not in UTF-8")]
    Utf8,
    #[error("it is neither whole XML nor whole JSON")]
    Syntax,
    #[error("it declares a document type or an entity, which no provider does")]
    Doctype,
    #[error("it has more than {FIELDS_MAX} fields or is nested deeper than {FIELD_DEPTH_MAX}")]
    Size,
}

/// Fields by name. Numbers stand as they were written: a 64-bit id stays whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Reads XML when it begins with `<`, else JSON.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, FieldsError> {
        let text = std::str::from_utf8(bytes).map_err(|_| FieldsError::Utf8)?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with('<') { Self::xml(text) } else { Self::json(text) }
    }

    /// A field that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.trim().parse().ok()
    }

    pub(crate) fn json(text: &str) -> Result<Self, FieldsError> {
        let value: Value = serde_json::from_str(text).map_err(|_| FieldsError::Syntax)?;
        if !value.is_object() {
            return Err(FieldsError::Syntax);
        }
        let mut fields = Self::default();
        fields.flatten("", &value, 0)?;
        Ok(fields)
    }

    fn flatten(&mut self, name: &str, value: &Value, depth: usize) -> Result<(), FieldsError> {
        if depth > FIELD_DEPTH_MAX {
            return Err(FieldsError::Size);
        }
        let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
        match value {
            Value::Object(map) => map.iter().try_for_each(|(key, value)| self.flatten(&below(key), value, depth + 1)),
            Value::Array(list) => list
                .iter()
                .enumerate()
                .try_for_each(|(n, value)| self.flatten(&below(&n.to_string()), value, depth + 1)),
            Value::String(text) => self.put(name.to_owned(), text.clone()),
            Value::Null => Ok(()),
            other => self.put(name.to_owned(), other.to_string()),
        }
    }

    /// The first of a name counts, as in every reader of it that we know.
    fn put(&mut self, name: String, value: String) -> Result<(), FieldsError> {
        if self.0.len() >= FIELDS_MAX {
            return Err(FieldsError::Size);
        }
        self.0.entry(name).or_insert(value);
        Ok(())
    }

    /// The outermost element's name does not count. Entities other than the five of XML, and document types, are refused.
    pub(crate) fn xml(text: &str) -> Result<Self, FieldsError> {
        let (mut fields, mut reader) = (Self::default(), Reader::from_str(text));
        let (mut path, mut words, mut leaf): (Vec<String>, String, bool) = (Vec::new(), String::new(), false);
        loop {
            match reader.read_event().map_err(|_| FieldsError::Syntax)? {
                Event::Start(start) => {
                    if path.len() >= FIELD_DEPTH_MAX {
                        return Err(FieldsError::Size);
                    }
                    let name = std::str::from_utf8(start.local_name().into_inner()).map_err(|_| FieldsError::Utf8)?;
                    path.push(name.to_owned());
                    words.clear();
                    leaf = true;
                }
                Event::End(_) => {
                    if leaf && path.len() > 1 {
                        fields.put(path.get(1..).unwrap_or_default().join("."), words.trim().to_owned())?;
                    }
                    path.pop();
                    words.clear();
                    leaf = false;
                }
                Event::Text(text) => words.push_str(&text.decode().map_err(|_| FieldsError::Utf8)?),
                Event::CData(text) => words.push_str(&text.decode().map_err(|_| FieldsError::Utf8)?),
                Event::GeneralRef(name) => {
                    let letter = name.resolve_char_ref().map_err(|_| FieldsError::Syntax)?;
                    match letter {
                        Some(letter) => words.push(letter),
                        None => {
                            let name = name.decode().map_err(|_| FieldsError::Utf8)?;
                            words.push_str(resolve_xml_entity(&name).ok_or(FieldsError::Doctype)?);
                        }
                    }
                }
                Event::DocType(_) => return Err(FieldsError::Doctype),
                Event::Eof if path.is_empty() => return Ok(fields),
                Event::Eof => return Err(FieldsError::Syntax),
                Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_and_json_give_the_same_fields() {
        let xml = "<xml><From><![CDATA[o<1]]></From><N>18446744073709551615</N><Text><Content>a &amp; &#20320;</Content></Text>\
                   <Empty></Empty><Gone/></xml>";
        let json = r#"{"From":"o<1","N":18446744073709551615,"Text":{"Content":"a & 你"},"Empty":""}"#;
        let (xml, json) = (Fields::read(xml.as_bytes()).unwrap(), Fields::read(json.as_bytes()).unwrap());
        assert_eq!(xml, json);
        assert_eq!((xml.get("Text.Content"), xml.get("Empty")), (Some("a & 你"), None));
        assert_eq!(xml.number::<u64>("N"), Some(u64::MAX));
    }

    #[test]
    fn what_is_not_a_message_is_an_error() {
        let deep = format!("{}{}", "<a>".repeat(20), "</a>".repeat(20));
        let many: String = (0..300).map(|n| format!("<a{n}>1</a{n}>")).collect();
        for (text, error) in [
            ("<!DOCTYPE x [<!ENTITY a \"b\">]><xml><A>&a;</A></xml>", FieldsError::Doctype),
            ("<xml><A>&a;</A></xml>", FieldsError::Doctype),
            ("<xml><A>1</A>", FieldsError::Syntax),
            ("<xml><A>1</B></xml>", FieldsError::Syntax),
            ("[1]", FieldsError::Syntax),
            ("", FieldsError::Syntax),
            (&deep, FieldsError::Size),
            (&format!("<xml>{many}</xml>"), FieldsError::Size),
        ] {
            assert_eq!(Fields::read(text.as_bytes()), Err(error), "{text:.40}");
        }
        assert_eq!(Fields::read(b"<xml>\xc4\xe3</xml>"), Err(FieldsError::Utf8));
    }
}
