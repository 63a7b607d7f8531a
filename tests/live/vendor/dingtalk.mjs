// DingTalk's own SDK for stream mode in Node.js as a robot: it answers what customers write. dingtalk.mjs CLIENT_ID CLIENT_SECRET API
import { createRequire } from "node:module";
const { DWClient, TOPIC_ROBOT } = createRequire(import.meta.url)("dingtalk-stream");

const [clientId, clientSecret, api] = process.argv.slice(2);
