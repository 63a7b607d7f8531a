//! Every kind is built from its settings, and what is wrong in them is said with its place.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "all of it is test code")]

mod common;

use ark_channels::settings::SettingsError;
use common::*;
use serde_json::{Value, json};

const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

/// Settings and secrets with which each kind is built.
fn good(kind: &str) -> (Value, Vec<(&'static str, String)>) {
    let keys = vectors("alipay_rsa2");
    let key = || KEY.to_owned();
    let text = |text: &str| text.to_owned();
    match kind {
        "dingtalk" => (json!({"client_id": "a", "mode": "http"}), vec![("client_secret", text("s"))]),
        "wechat-mp" | "wechat-oa" => {
            (json!({"app_id": "wx1"}), vec![("app_secret", text("s")), ("token", text("t")), ("aes_key", key())])
        }
        "wecom-kf" => {
            (json!({"corp_id": "ww1"}), vec![("secret", text("s")), ("token", text("t")), ("aes_key", key())])
        }
        "alipay" => (
            json!({"app_id": "1", "alipay_public_key": s(&keys, "alipay_public_key")}),
            vec![("private_key", text(s(&keys, "app_private_key_pkcs1")))],
        ),
        "http" => {
            let secret = text("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
            (json!({"url": "https://adapter.example/ark"}), vec![("secret", secret)])
        }
        "amqp" => (json!({"user": "ark-shop"}), Vec::new()),
        other => panic!("say here how {other} is built"),
    }
}

fn try_it(kind: &str, settings: &Value, list: &[(&str, String)]) -> Option<SettingsError> {
    let list: Vec<(&str, &str)> = list.iter().map(|(name, value)| (*name, value.as_str())).collect();
    ark_channels::build(kind, account(), settings, &secrets(&list), 1).err()
}

#[test]
fn every_kind_in_the_table_is_built_and_its_manifest_is_whole() {
    for kind in ark_channels::ALL {
        let (settings, list) = good(kind.name);
        assert_eq!(try_it(kind.name, &settings, &list), None, "{}", kind.name);
        let list: Vec<(&str, &str)> = list.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let channel = ark_channels::build(kind.name, account(), &settings, &secrets(&list), 1).unwrap();
        channel.manifest().check().unwrap();
        assert_eq!(channel.manifest().id, kind.name, "the source of its events");
        let hosts = ark_channels::hosts(kind.name, &settings).unwrap();
        // Of an adapter of others, that of its own address.
        let expected: &[&str] = if kind.name == "http" { &["adapter.example"] } else { kind.hosts };
        assert_eq!(hosts.iter().collect::<Vec<_>>(), expected);
        assert!(!hosts.allow("https://evil.example/"));
    }
}

#[test]
fn what_is_wrong_is_said_and_no_secret_with_it() {
    for kind in ark_channels::ALL {
        let (settings, list) = good(kind.name);
        let mut more = settings.clone();
        more["advertize"] = 1.into();
        let said = try_it(kind.name, &more, &list).unwrap().to_string();
        assert!(said.contains("advertize"), "{}: {said}", kind.name);
        // An adapter of others needs no address: it may bring messages only.
        let bare = try_it(kind.name, &json!({}), &list).map(|error| error.to_string());
        assert_eq!(bare.is_some_and(|said| said.contains("missing field")), kind.name != "http", "{}", kind.name);
        if kind.name == "amqp" {
            continue; // It signs and calls nothing: the broker does.
        }
        let without = try_it(kind.name, &settings, &list[1..]).unwrap();
        assert_eq!(without, SettingsError::Secret { name: list[0].0 }, "{}", kind.name);
        let mut misspelt = list.clone();
        misspelt.push(("tokne", "hunter2".to_owned()));
        let said = try_it(kind.name, &settings, &misspelt).unwrap().to_string();
        assert!(said.contains("tokne") && !said.contains("hunter2"), "{said}");
        let mut elsewhere = settings.clone();
        elsewhere["hosts"] = json!(["other.example"]);
        assert!(matches!(try_it(kind.name, &elsewhere, &list), Some(SettingsError::Value { .. })), "{}", kind.name);
    }
    let (settings, mut list) = good("wechat-mp");
    list[2].1 = "hunter2".to_owned();
    let said = try_it("wechat-mp", &settings, &list).unwrap().to_string();
    assert!(said.contains("aes_key") && said.contains("43 characters") && !said.contains("hunter2"), "{said}");
    let said = try_it("weixin", &settings, &list).unwrap().to_string();
    assert!(said.contains("dingtalk, wechat-mp"), "{said}");
    let mut nameless = account();
    nameless.name = String::new();
    assert!(ark_channels::build("dingtalk", nameless, &json!({}), &secrets(&[]), 1).is_err());
}
