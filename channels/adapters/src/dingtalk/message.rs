//! What customers write to a DingTalk robot.

use serde::Deserialize;
use serde_json::Value;

/// A robot's message. Fields that are missing or of another type than expected cost that field, not the message.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RobotMessage {
    pub(super) conversation_id: Option<String>,
    /// `1`: with one person; `2`: a group.
    pub(super) conversation_type: Option<String>,
    pub(super) conversation_title: Option<String>,
    pub(super) msg_id: Option<String>,
    pub(super) msgtype: Option<String>,
    pub(super) create_at: Option<i64>,
    pub(super) sender_id: Option<String>,
    pub(super) sender_staff_id: Option<String>,
    pub(super) sender_nick: Option<String>,
    pub(super) sender_corp_id: Option<String>,
    pub(super) chatbot_corp_id: Option<String>,
    pub(super) session_webhook: Option<String>,
    pub(super) session_webhook_expired_time: Option<i64>,
    pub(super) original_msg_id: Option<String>,
    pub(super) text: Value,
    pub(super) content: Value,
}

/// One piece of it.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    /// A file behind a download code.
    File {
        kind: ark_conversation::channel::FileKind,
        code: String,
        name: Option<String>,
        words: Option<String>,
    },
    /// Anything else.
    Other(String),
}

impl RobotMessage {
    pub(super) fn is_group(&self) -> bool {
        self.conversation_type.as_deref() == Some("2")
    }

    /// `u:STAFF` a person of the corporation, `g:CONVERSATION` a group, `c:CONVERSATION` somebody without a staff id. What a
    /// message out needs stands in it: any gateway can answer, after any restart.
    pub(super) fn thread(&self) -> Option<String> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let conversation = filled(&self.conversation_id);
        if self.is_group() {
            return conversation.map(|id| format!("g:{id}"));
        }
        filled(&self.sender_staff_id).map(|id| format!("u:{id}")).or_else(|| conversation.map(|id| format!("c:{id}")))
    }

    pub(super) fn pieces(&self) -> Vec<Piece> {
        use ark_conversation::channel::FileKind::{File, Image, Video, VoiceNote};
        let text = |value: &Value| value.as_str().map(|text| text.trim().to_owned());
        let file = |kind| {
            let code = text(&self.content["downloadCode"]).filter(|code| !code.is_empty())?;
            let (name, words) = (text(&self.content["fileName"]), text(&self.content["recognition"]));
            Some(vec![Piece::File { kind, code, name, words }])
        };
        let kind = self.msgtype.as_deref().unwrap_or_default();
        let pieces = match kind {
            "text" => text(&self.text["content"]).map(|text| vec![Piece::Text(text)]),
            "picture" => file(Image),
            "audio" => file(VoiceNote),
            "video" => file(Video),
            "file" => file(File),
            "richText" => self.content["richText"].as_array().map(|items| rich(items)),
            _ => None,
        };
        pieces.filter(|pieces| !pieces.is_empty()).unwrap_or_else(|| vec![Piece::Other(kind.to_owned())])
    }
}

/// Rich text in its order, neighbouring words in one piece.
fn rich(items: &[Value]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for item in items {
        let code = item["downloadCode"].as_str().or_else(|| item["pictureDownloadCode"].as_str());
        if let Some(code) = code {
            let kind = ark_conversation::channel::FileKind::Image;
            pieces.push(Piece::File { kind, code: code.to_owned(), name: None, words: None });
        } else if let Some(words) = item["text"].as_str() {
            match pieces.last_mut() {
                Some(Piece::Text(before)) => before.push_str(words),
                _ => pieces.push(Piece::Text(words.to_owned())),
            }
        } else {
            pieces.push(Piece::Other(item["type"].as_str().unwrap_or("richText").to_owned()));
        }
    }
    for piece in &mut pieces {
        if let Piece::Text(words) = piece {
            *words = words.trim().to_owned();
        }
    }
    pieces.retain(|piece| !matches!(piece, Piece::Text(words) if words.is_empty()));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_conversation::channel::FileKind;
    use serde_json::json;

    fn pieces(message: Value) -> Vec<Piece> {
        serde_json::from_value::<RobotMessage>(message).unwrap().pieces()
    }

    #[test]
    fn every_type_is_read_and_what_is_not_known_is_kept() {
        assert_eq!(pieces(json!({"msgtype": "text", "text": {"content": " 你好 "}})), [Piece::Text("你好".into())]);
        let file = |kind, name: Option<&str>, words: Option<&str>| Piece::File {
            kind,
            code: "c".into(),
            name: name.map(Into::into),
            words: words.map(Into::into),
        };
        assert_eq!(
            pieces(json!({"msgtype": "audio", "content": {"downloadCode": "c", "recognition": "退款"}})),
            [file(FileKind::VoiceNote, None, Some("退款"))]
        );
        assert_eq!(
            pieces(json!({"msgtype": "file", "content": {"downloadCode": "c", "fileName": "a.pdf"}})),
            [file(FileKind::File, Some("a.pdf"), None)]
        );
        let rich =
            json!([{"text": " a"}, {"text": "b "}, {"downloadCode": "c", "type": "picture"}, {"text": " "}, {"x": 1}]);
        assert_eq!(
            pieces(json!({"msgtype": "richText", "content": {"richText": rich}})),
            [Piece::Text("ab".into()), file(FileKind::Image, None, None), Piece::Other("richText".into())]
        );
        for kind in ["picture", "interactiveCard", "unknownMsgType"] {
            assert_eq!(pieces(json!({"msgtype": kind, "content": {}})), [Piece::Other(kind.into())]);
        }
    }
}
