//! The providers' own checks: what is not signed, not known, or out of its window is refused as the originals do.

use super::*;

async fn ask(base: &str, path: &str, body: Value) -> Value {
    let wire = Wire::new(Hosts::new([base]));
    let call = HttpCall {
        method: Method::Post,
        url: format!("{base}{path}"),
        headers: Vec::new(),
        body: Body::Json(body),
        timeout: PATIENCE,
        idempotent: false,
    };
    let reply = wire.call_small(call).await.unwrap();
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn a_stranger_gets_no_token_and_nobody_is_answered_out_of_the_window() {
    let (providers, mut shown) = Providers::start().await.unwrap();
    let base = providers.shared.base.clone();
    let wrong = ask(&base, "/wechat/cgi-bin/stable_token", json!({"appid": "wx", "secret": "x"})).await;
    assert_eq!(wrong["errcode"], 40_001);
    let wrong = ask(&base, "/dingtalk/v1.0/oauth2/accessToken", json!({"appKey": "x", "appSecret": "x"})).await;
    assert_eq!(wrong["code"], "invalidClientIdOrSecret");
    let send = |token: &str| format!("/wechat/cgi-bin/message/custom/send?access_token={token}");
    let said = json!({"touser": "oDEMO-anna", "msgtype": "text", "text": {"content": "您好"}});
    assert_eq!(ask(&base, &send("x"), said.clone()).await["errcode"], 40_001);
    let token = providers.shared.new_token(Provider::WeChat);
    assert_eq!(ask(&base, &send(&token), said.clone()).await["errcode"], 40_003, "who never wrote is not known");
    providers.shared.wrote(Provider::WeChat, "oDEMO-anna");
    for _ in 0..5 {
        assert_eq!(ask(&base, &send(&token), said.clone()).await["errcode"], 0);
    }
    assert_eq!(ask(&base, &send(&token), said).await["errcode"], 45_047, "five answers");
    let first = shown.recv().await.unwrap();
    assert_eq!(first, Shown { provider: Provider::WeChat, to: "oDEMO-anna".to_owned(), text: "您好".to_owned() });
    let unsigned = ask(&base, "/alipay/gateway.do", json!({})).await;
    assert_eq!(unsigned["alipay_open_public_message_custom_send_response"]["code"], "40004");
}

#[tokio::test]
async fn every_account_is_one_that_the_gateway_builds() {
    let folder = tempfile::tempdir().unwrap();
    let (providers, _shown) = Providers::start().await.unwrap();
    let channels = providers.channels(&Provider::ALL, folder.path()).unwrap();
    assert_eq!(
        channels.iter().map(|channel| channel.name.as_str()).collect::<Vec<_>>(),
        ["dingtalk", "wechat", "alipay", "dingtalk-stream", "wechat-oa", "wecom"]
    );
    for channel in &channels {
        let built = crate::channel_host::account(channel, &ark_conversation::Tenant::MAIN);
        assert!(built.is_ok(), "{}: {:?}", channel.name, built.err());
    }
}
