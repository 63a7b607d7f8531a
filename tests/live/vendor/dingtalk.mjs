// DingTalk's own SDK for stream mode in Node.js as a robot: it answers what customers write. dingtalk.mjs CLIENT_ID CLIENT_SECRET API
import { createRequire } from "node:module";
import axios from "axios";
import { DWClient, TOPIC_ROBOT } from "dingtalk-stream";

const [clientId, clientSecret, api] = process.argv.slice(2);
// The SDK has DingTalk's address built in; it asks by axios, in whichever of its two forms.
for (const http of [axios, createRequire(import.meta.url)("axios")]) {
  http.interceptors.request.use((call) => ({ ...call, url: call.url.replace(/^https:\/\/o?api\.dingtalk\.com/, api) }));
}
const client = new DWClient({ clientId, clientSecret });
client.registerCallbackListener(TOPIC_ROBOT, async ({ headers, data }) => {
  const { sessionWebhook, text } = JSON.parse(data);
  await axios.post(sessionWebhook, { msgtype: "text", text: { content: `echo: ${text.content}` } });
  client.socketCallBackResponse(headers.messageId, { status: "SUCCESS" });
});
await client.connect();
