// Ant's own alipay-sdk, beside Ark. alipay.mjs notify KEYS POSTED | send KEYS GATEWAY APP_ID USER TEXT; KEYS is JSON: app, alipay
import { AlipaySdk } from "alipay-sdk";

const [what, given, ...rest] = process.argv.slice(2);
const keys = JSON.parse(given);
const sdk = (gateway, appId) => new AlipaySdk({
  appId, gateway, privateKey: keys.app, alipayPublicKey: keys.alipay, signType: "RSA2",
  keyType: keys.app.includes("BEGIN RSA") ? "PKCS1" : "PKCS8",
});
if (what === "notify") {
  const posted = Object.fromEntries(new URLSearchParams(rest[0]));
  const changed = { ...posted, biz_content: `${posted.biz_content} ` };
  console.log(JSON.stringify([sdk("http://127.0.0.1", "x").checkNotifySignV2(posted), sdk("http://127.0.0.1", "x").checkNotifySignV2(changed)]));
} else {
  const [gateway, appId, user, text] = rest;
  const bizContent = { to_user_id: user, msg_type: "text", text: { content: text } };
  const answer = await sdk(gateway, appId).exec("alipay.open.public.message.custom.send", { bizContent }, { validateSign: true });
  console.log(JSON.stringify(answer));
}
