//! Receipts by HTTP: a provider posts what became of its messages.

use serde_json::Value;
use subtle::ConstantTimeEq as _;

use super::limits::{HTTP_RECEIPTS_MAX, RECEIPTS_KEY_CHARS_MIN};
use super::receipts::{Fate, ReceiptError, Receipts, with_code};
use crate::config::SmsReceipts;

/// How they are read, and who waits for them.
pub(super) struct HttpReceipts {
    key: String,
    form: SmsReceipts,
    waiting: Receipts,
}

impl HttpReceipts {
    pub(super) fn new(config: &SmsReceipts) -> Result<Self, String> {
        let key = config.key.read()?;
        if key.chars().count() < RECEIPTS_KEY_CHARS_MIN {
            return Err(format!("the key of `receipts` has at least {RECEIPTS_KEY_CHARS_MIN} characters"));
        }
        let pointers = [Some(&config.sent_id), Some(&config.id), Some(&config.state), config.error.as_ref()];
        if let Some(wrong) = pointers.into_iter().flatten().find(|pointer| !pointer.starts_with('/')) {
            return Err(format!("`{wrong}` in `receipts` is no JSON pointer: \"/id\""));
        }
        if config.delivered.is_empty() {
            return Err(
                "`delivered` in `receipts` says nothing: name what stands for a message that arrived".to_owned()
            );
        }
        Ok(Self { key, form: config.clone(), waiting: Receipts::default() })
    }

    /// Waits for the receipt of the message that this answer is about; none: the answer names no id.
    pub(super) fn wait_for(&self, answer: &Value) -> Option<Fate> {
        Some(self.waiting.wait_for(&[said(answer, &self.form.sent_id)?]))
    }

    pub(super) fn take(&self, key: &str, content_type: &str, body: &[u8]) -> Result<String, ReceiptError> {
        if !bool::from(self.key.as_bytes().ct_eq(key.as_bytes())) {
            return Err(ReceiptError::Key);
        }
        let unread = |why: &str| ReceiptError::Unread(format!("the receipts cannot be read: {why}"));
        let all = if content_type.starts_with("application/x-www-form-urlencoded") {
            let pairs = form_urlencoded::parse(body).into_owned().map(|(name, value)| (name, Value::String(value)));
            vec![Value::Object(pairs.collect())]
        } else {
            match serde_json::from_slice(body).map_err(|error| unread(&error.to_string()))? {
                Value::Array(list) => list,
                one => vec![one],
            }
        };
        if all.len() > HTTP_RECEIPTS_MAX {
            return Err(unread(&format!("at most {HTTP_RECEIPTS_MAX} are taken at once")));
        }
        let read = |one: &Value| {
            let (id, state) = (said(one, &self.form.id)?, said(one, &self.form.state)?);
            let error = self.form.error.as_ref().and_then(|pointer| said(one, pointer)).unwrap_or_default();
            let arrived = self.form.delivered.contains(&state);
            Some((id, (!arrived).then(|| with_code("the operator could not deliver it", &error))))
        };
        let read: Option<Vec<_>> = all.iter().map(read).collect();
        let wanted = format!("`{}` and `{}` are expected in each", self.form.id, self.form.state);
        for (id, failed) in read.ok_or_else(|| unread(&wanted))? {
            self.waiting.settle(&id, failed);
        }
        Ok(self.form.answer.clone())
    }
}

/// What stands at a pointer, as text.
pub(super) fn said(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn receipts(more: &str) -> Result<HttpReceipts, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, KEY).unwrap();
        let text = format!(
            "key = {{ file = {file:?} }}\nsent_id = \"/BizId\"\nid = \"/biz_id\"\nstate = \"/success\"\n\
             delivered = [\"true\"]\nerror = \"/err_code\"\n{more}"
        );
        HttpReceipts::new(&toml::from_str(&text).unwrap())
    }

    #[test]
    fn a_receipt_by_http_tells_whoever_sent() {
        let receipts = receipts("").unwrap();
        let mut first = receipts.wait_for(&serde_json::json!({"BizId": "900619746936498440^0"})).unwrap();
        let mut second = receipts.wait_for(&serde_json::json!({"BizId": 7})).unwrap();
        assert!(receipts.wait_for(&serde_json::json!({"Code": "OK"})).is_none(), "it names no id");
        let body = br#"[{"biz_id": "900619746936498440^0", "success": false, "err_code": "MOBILE_NOT_ON"},
                        {"biz_id": "7", "success": true, "err_code": "DELIVERED"}]"#;
        assert_eq!(receipts.take("0123456789abcdeX", "application/json", body), Err(ReceiptError::Key));
        assert!(first.try_recv().is_err());
        let answer = receipts.take(KEY, "application/json; charset=utf-8", body).unwrap();
        assert_eq!(answer, r#"{"code":0,"msg":"ok"}"#);
        assert_eq!(first.try_recv().unwrap(), "the operator could not deliver it (code MOBILENO)");
        assert!(second.try_recv().is_err(), "it arrived");

        let mut third = receipts.wait_for(&serde_json::json!({"BizId": "8"})).unwrap();
        let form = "application/x-www-form-urlencoded";
        receipts.take(KEY, form, b"biz_id=8&success=false&err_code=5").unwrap();
        assert_eq!(third.try_recv().unwrap(), "the operator could not deliver it (code 5)");
        for garbage in [&b"{"[..], b"[1]", b"{\"biz_id\": \"7\"}", b"\xff"] {
            assert!(matches!(receipts.take(KEY, "application/json", garbage), Err(ReceiptError::Unread(_))));
        }
    }

    #[test]
    fn a_form_that_cannot_work_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        for (key, id, delivered, why) in [
            ("short", "/id", "[\"1\"]", "16 characters"),
            (KEY, "id", "[\"1\"]", "no JSON pointer"),
            (KEY, "/id", "[]", "says nothing"),
        ] {
            std::fs::write(&file, key).unwrap();
            let text = format!(
                "key = {{ file = {file:?} }}\nsent_id = \"/a\"\nid = {id:?}\nstate = \"/b\"\ndelivered = {delivered}"
            );
            let error = HttpReceipts::new(&toml::from_str(&text).unwrap()).err().unwrap_or_default();
            assert!(error.contains(why), "{error}");
        }
    }
}
