// Ant's own alipay-sdk, beside Ark. KEYS is JSON: app, alipay.
//   alipay.mjs notify KEYS POSTED | send KEYS GATEWAY APP_ID USER TEXT
//   alipay.mjs notify3 KEYS SIGNED | send3 KEYS ENDPOINT APP_ID USER TEXT       (version 3; SIGNED is JSON: headers, body)
import { createServer } from "node:http";
import { AlipaySdk } from "alipay-sdk";

const [what, given, ...rest] = process.argv.slice(2);
const keys = JSON.parse(given);
const sdk = (gateway, appId) => new AlipaySdk({
  appId, gateway, endpoint: gateway, privateKey: keys.app, alipayPublicKey: keys.alipay, signType: "RSA2",
  keyType: keys.app.includes("BEGIN RSA") ? "PKCS1" : "PKCS8",
});
if (what === "notify") {
  const posted = Object.fromEntries(new URLSearchParams(rest[0]));
  const changed = { ...posted, biz_content: `${posted.biz_content} ` };
  console.log(JSON.stringify([sdk("http://127.0.0.1", "x").checkNotifySignV2(posted), sdk("http://127.0.0.1", "x").checkNotifySignV2(changed)]));
} else if (what === "notify3") {
  // The SDK checks signatures of version 3 where it gets them: in answers. One that it takes is Alipay's.
  const { headers, body } = JSON.parse(rest[0]);
  let answers = 0;
  const server = createServer((_, reply) => reply.writeHead(200, headers).end(answers++ === 0 ? body : `${body} `));
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const ask = () => sdk(`http://127.0.0.1:${server.address().port}`, "x").curl("GET", "/notification").then(() => true, () => false);
  console.log(JSON.stringify([await ask(), await ask()]));
  server.close();
  process.exit(0);
} else if (what === "send3") {
  const [endpoint, appId, user, text] = rest;
  const body = { to_user_id: user, msg_type: "text", text: { content: text } };
  const answer = await sdk(endpoint, appId).curl("POST", "/v3/alipay/open/public/message/custom/send", { body });
  console.log(JSON.stringify(answer));
} else {
  const [gateway, appId, user, text] = rest;
  const bizContent = { to_user_id: user, msg_type: "text", text: { content: text } };
  const answer = await sdk(gateway, appId).exec("alipay.open.public.message.custom.send", { bizContent }, { validateSign: true });
  console.log(JSON.stringify(answer));
}
