//! Signatures and ciphers against vectors that the providers' own SDKs computed.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "all of it is test code")]

use ark_channels::crypto::alipay::{Aes, SigningKey, VerifyingKey, authorization_v3};
use ark_channels::crypto::container::{Envelope, OpenError};
use ark_channels::crypto::webhook::{SecretsError, WebhookError, WebhookSecrets};
use ark_channels::crypto::{dingtalk_robot_sign, sorted_sha1, verify_dingtalk_robot, verify_sorted_sha1};
use ark_channels::settings::Secret;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn s<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {value}"))
}

fn envelope(token: &str, key: &str, owner: &str) -> Envelope {
    Envelope::new(Secret::new(token), &Secret::new(key), vec!["someone-else".to_owned(), owner.to_owned()]).unwrap()
}

fn sealing(token: &str, key: &str, owner: &str) -> Envelope {
    Envelope::new(Secret::new(token), &Secret::new(key), vec![owner.to_owned()]).unwrap()
}

#[test]
fn every_dingtalk_container_opens_and_is_sealed_to_the_same_bytes() {
    let all = vectors("dingtalk_callback_aes");
    assert_eq!(all["vectors"].as_array().unwrap().len(), 14);
    for v in all["vectors"].as_array().unwrap() {
        let open = envelope(s(v, "token"), s(v, "aes_key"), s(v, "owner_key"));
        let encrypted = s(v, "encrypt");
        let plain = open.open(s(v, "msg_signature"), s(v, "timeStamp"), s(v, "nonce"), encrypted).unwrap();
        assert_eq!(plain, s(v, "plaintext").as_bytes());
        let seal = sealing(s(v, "token"), s(v, "aes_key"), s(v, "owner_key"));
        let random = s(v, "random16").as_bytes().try_into().unwrap();
        assert_eq!(seal.seal(random, &plain), encrypted);
        assert_eq!(seal.sign(s(v, "timeStamp"), s(v, "nonce"), encrypted), s(v, "msg_signature"));
    }
}

#[test]
fn every_length_of_padding_from_1_to_32_opens() {
    let all = vectors("dingtalk_callback_pad_sweep");
    let mut pads = Vec::new();
    for v in all["vectors"].as_array().unwrap() {
        let open = envelope(s(v, "token"), s(v, "aes_key"), s(v, "owner_key"));
        let plain = open.open(s(v, "msg_signature"), s(v, "timeStamp"), s(v, "nonce"), s(v, "encrypt")).unwrap();
        assert_eq!(plain, s(v, "plaintext").as_bytes());
        pads.push(v["pad_len"].as_u64().unwrap());
    }
    pads.sort_unstable();
    assert_eq!(pads, (1..=32).collect::<Vec<_>>());
}

#[test]
fn wechat_safe_mode_opens_and_what_is_not_right_is_told_apart() {
    let all = vectors("wechat_safe_mode");
    for v in all["vectors"].as_array().unwrap() {
        let open = envelope(s(v, "token"), s(v, "encoding_aes_key"), s(v, "appid"));
        let plain = open.open(s(v, "msg_signature"), s(v, "timestamp"), s(v, "nonce"), s(v, "Encrypt")).unwrap();
        assert_eq!(plain, s(v, "plaintext").as_bytes());
        assert!(verify_sorted_sha1(s(v, "url_signature"), &[s(v, "token"), s(v, "timestamp"), s(v, "nonce")]));
    }
    let first = &all["vectors"][0];
    let expected = [Some(OpenError::Signature), Some(OpenError::Owner), None, Some(OpenError::Signature)];
    for (negative, expected) in all["negative"].as_array().unwrap().iter().zip(expected) {
        let changed = |name: &str| {
            negative["changed"].get(name).and_then(Value::as_str).unwrap_or_else(|| s(first, name)).to_owned()
        };
        let open = envelope(s(first, "token"), s(first, "encoding_aes_key"), &changed("appid"));
        let opened =
            open.open(&changed("msg_signature"), &changed("timestamp"), &changed("nonce"), &changed("Encrypt"));
        match expected {
            Some(error) => assert_eq!(opened, Err(error), "{}", s(negative, "label")),
            // Signed by one who has the token: it opens, to bytes that are no UTF-8, which is the reader's to refuse.
            None => assert!(std::str::from_utf8(&opened.unwrap()).is_err()),
        }
    }
}

#[test]
fn wecom_opens_and_urls_are_verified() {
    for v in vectors("wecom_kf")["vectors"].as_array().unwrap() {
        let open = envelope(s(v, "token"), s(v, "encoding_aes_key"), s(v, "corpid"));
        let query = &v["query"];
        let encrypted = query["echostr"]
            .as_str()
            .unwrap_or_else(|| s(v, "body").split("<Encrypt><![CDATA[").nth(1).unwrap().split("]]>").next().unwrap());
        let plain = open.open(s(query, "msg_signature"), s(query, "timestamp"), s(query, "nonce"), encrypted).unwrap();
        let expected = v["expected_body"].as_str().unwrap_or_else(|| s(v, "plaintext"));
        assert_eq!(plain, expected.as_bytes());
    }
    for v in vectors("wechat_url_verify")["vectors"].as_array().unwrap() {
        assert_eq!(sorted_sha1(&[s(v, "token"), s(v, "timestamp"), s(v, "nonce")]), s(v, "signature"));
    }
}

#[test]
fn a_dingtalk_robots_signature_is_the_sdks() {
    for v in vectors("dingtalk_robot_sign")["vectors"].as_array().unwrap() {
        let (time, secret, sign) = (s(v, "timestamp_ms"), s(v, "app_secret"), s(v, "sign_base64"));
        assert_eq!(dingtalk_robot_sign(time, secret), sign);
        assert!(verify_dingtalk_robot(time, secret, sign));
        assert!(!verify_dingtalk_robot("1", secret, sign));
        assert!(!verify_dingtalk_robot(time, secret, ""));
    }
}

fn bytes(pairs: &Value, sign: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pairs: Vec<_> = pairs
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone().into_bytes(), value.as_str().unwrap().as_bytes().to_vec()))
        .collect();
    pairs.push((b"sign".to_vec(), sign.as_bytes().to_vec()));
    pairs
}

#[test]
fn alipays_version_2_is_signed_and_verified_as_its_sdks_do() {
    let v = vectors("alipay_rsa2");
    let ours = SigningKey::new(&Secret::new(s(&v, "app_private_key_pkcs1"))).unwrap();
    let theirs = VerifyingKey::new(s(&v, "alipay_public_key")).unwrap();
    let params: Vec<(&str, &str)> =
        v["request"]["params"].as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
    assert_eq!(ours.sign_pairs(&params), s(&v["request"], "sign"));
    let pem: String = s(&v, "app_public_key").lines().filter(|line| !line.starts_with('-')).collect();
    assert_eq!(ours.public(), pem, "the public half is what the console shows");

    let notify = &v["notify"];
    assert!(theirs.verify_pairs(&bytes(&notify["params"], s(notify, "sign_rsaCheckV1"))));
    let mut with_type = bytes(&notify["params"], s(notify, "sign_rsaCheckV2"));
    with_type.push((b"sign_type".to_vec(), b"RSA2".to_vec()));
    assert!(theirs.verify_pairs(&with_type));
    with_type[0].1.push(b'!');
    assert!(!theirs.verify_pairs(&with_type), "a changed value");
    assert!(!theirs.verify_pairs(&with_type[..1]), "no signature");

    let body = s(&v["sync_response"], "raw_text");
    assert_eq!(theirs.verify_response(body.as_bytes()).unwrap().get(), s(&v["sync_response"], "sign_content"));
    let spaced = body.replace("\"code\":\"10000\"", "\"code\": \"10000\"");
    assert!(theirs.verify_response(spaced.as_bytes()).is_none(), "the bytes are what is signed, not what they say");

    let gbk = &v["life_gateway_gbk"];
    for name in ["sign_gbk_bytes", "sign_gbk_without_sign_type"] {
        let mut pairs = bytes(&gbk["params"], s(gbk, name));
        assert!(!theirs.verify_pairs(&pairs), "in UTF-8 it is another text");
        for (_, value) in &mut pairs {
            *value = encoding_rs::GBK.encode(std::str::from_utf8(value).unwrap()).0.into_owned();
        }
        assert!(theirs.verify_pairs(&pairs), "{name}");
    }

    let aes = Aes::new(&Secret::new(s(&v["aes"], "key_b64"))).unwrap();
    assert_eq!(aes.seal(s(&v["aes"], "plaintext").as_bytes()), s(&v["aes"], "expected_zero_iv_pkcs7"));
    assert_eq!(aes.open(s(&v["aes"], "expected_zero_iv_pkcs7")).unwrap(), s(&v["aes"], "plaintext").as_bytes());
}

#[test]
fn alipays_version_3_is_signed_and_verified_as_its_sdk_does() {
    let (v, keys) = (vectors("alipay_v3"), vectors("alipay_rsa2"));
    let ours = SigningKey::new(&Secret::new(s(&keys, "app_private_key_pkcs1"))).unwrap();
    let request = &v["request"];
    let made = authorization_v3(
        &ours,
        ("2021000000000001", "5f9ec2d0-0000-4000-8000-000000000001", 1_763_806_618_000),
        (s(request, "method"), s(request, "path"), s(request, "body")),
    );
    assert_eq!(format!("authorization: {made}"), s(request, "header"));
    let theirs = VerifyingKey::new(s(&keys, "alipay_public_key")).unwrap();
    let (response, headers) = (&v["response"], &v["response"]["headers"]);
    let verify = |body: &str| {
        let (time, nonce) = (s(headers, "alipay-timestamp"), s(headers, "alipay-nonce"));
        theirs.verify_v3(time, nonce, body.as_bytes(), s(headers, "alipay-signature"))
    };
    assert!(verify(s(response, "body")));
    assert!(!verify("{\"msg_id\":\"2\"}"));
}

#[test]
fn standard_webhooks_are_the_libraries() {
    let v = vectors("ark_standard_webhooks");
    let secret = Secret::new(s(&v["vectors"][0], "secret"));
    let other = Secret::new("whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=");
    let (one, two) =
        (WebhookSecrets::new(std::slice::from_ref(&secret)).unwrap(), WebhookSecrets::new(&[other, secret]).unwrap());
    for v in v["vectors"].as_array().unwrap() {
        let sent = Timestamp::from_second(s(v, "webhook_timestamp").parse().unwrap()).unwrap();
        let body = s(v, "body").as_bytes();
        assert_eq!(one.sign(s(v, "webhook_id"), sent, body), s(v, "webhook_signature"));
        for (secrets, header) in [(&one, "webhook_signature"), (&one, "rotation_header"), (&two, "webhook_signature")] {
            let get = |name: &str| {
                Some(
                    s(v, if name == "webhook-signature" { header } else { name }.replace('-', "_").as_str()).to_owned(),
                )
            };
            secrets.verify(sent, get, body).unwrap();
        }
    }
    let now = Timestamp::from_second(1_795_343_538).unwrap();
    let expected = [
        Ok(()),
        Err(WebhookError::Signature),
        Err(WebhookError::Signature),
        Err(WebhookError::Age),
        Ok(()),
        Err(WebhookError::Malformed),
    ];
    for (row, expected) in v["behaviour"].as_array().unwrap().iter().zip(expected) {
        let get = |name: &str| row["headers"][name].as_str().map(str::to_owned);
        assert_eq!(one.verify(now, get, s(row, "body").as_bytes()), expected, "{}", s(row, "label"));
    }
    assert_eq!(one.verify(now, |_| None, b""), Err(WebhookError::Missing("webhook-id")));
    assert_eq!(WebhookSecrets::new(&[]).err(), Some(SecretsError::Count));
    assert_eq!(WebhookSecrets::new(&[Secret::new("whsec_AA==")]).err(), Some(SecretsError::Form));
}

#[test]
fn keys_that_are_none_are_refused_and_secrets_are_never_printed() {
    for key in ["", "short", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEF!", "方舟方舟方舟方舟方舟方舟方"] {
        assert!(Envelope::new(Secret::new("t"), &Secret::new(key), Vec::new()).is_err(), "{key}");
    }
    let keys = vectors("alipay_rsa2");
    assert!(SigningKey::new(&Secret::new(s(&keys, "app_public_key"))).is_err());
    assert!(VerifyingKey::new(s(&keys, "app_private_key_pkcs1")).is_err());
    assert!(VerifyingKey::new("MAA=").is_err());
    assert!(Aes::new(&Secret::new("AAAA")).is_err());
    assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
}

#[test]
fn no_flipped_bit_of_a_signed_container_panics() {
    let v = &vectors("wechat_safe_mode")["vectors"][0];
    let open = envelope(s(v, "token"), s(v, "encoding_aes_key"), s(v, "appid"));
    let engine = base64::engine::general_purpose::STANDARD;
    let bytes = base64::Engine::decode(&engine, s(v, "Encrypt")).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let encrypted = base64::Engine::encode(&engine, &bytes);
        assert_eq!(open.open(s(v, "msg_signature"), "1763806618", "nonce42", &encrypted), Err(OpenError::Signature));
        let signature = open.sign("1763806618", "nonce42", &encrypted);
        let _ = open.open(&signature, "1763806618", "nonce42", &encrypted);
    }
}

proptest! {
    #[test]
    fn what_is_sealed_opens_again(message in proptest::collection::vec(any::<u8>(), 0..200), random: [u8; 16], last in "[A-Za-z0-9]") {
        let key = format!("abcdefghijklmnopqrstuvwxyz0123456789ABCDEF{last}");
        let both = sealing("t", &key, "owner");
        let sealed = both.seal(random, &message);
        prop_assert_eq!(both.open(&both.sign("1", "n", &sealed), "1", "n", &sealed), Ok(message));
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic(text in "\\PC{0,120}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let open = sealing("t", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG", "owner");
        prop_assert!(open.open(&open.sign("1", "n", &text), "1", "n", &text).is_err());
        let coded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &bytes);
        let _ = open.open(&open.sign("1", "n", &coded), "1", "n", &coded);
        let _ = (VerifyingKey::new(&text), VerifyingKey::new(&coded), SigningKey::new(&Secret::new(coded.clone())));
        let aes = Aes::new(&Secret::new("AAECAwQFBgcICQoLDA0ODw==")).unwrap();
        let _ = (aes.open(&text), aes.open(&coded));
        let secrets = WebhookSecrets::new(&[Secret::new("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")]).unwrap();
        prop_assert!(secrets.verify(Timestamp::UNIX_EPOCH, |_| Some(text.clone()), &bytes).is_err());
    }
}
