/* A whole Ark adapter for Node.js 22 and nothing else: what customers write in a channel goes to Ark, what Ark says goes to the channel.

  ARK=http://127.0.0.1:8080/hooks/shop SECRET=whsec_... PORT=9000 DB=adapter.db CHANNEL=http://127.0.0.1:9001 TOKEN=... node adapter.ts

This file is yours: the manifest, said(), send() and how your channel proves that its webhook is its own; channel.py stands for one. What is
the same for every channel is ark.ts. What a customer writes is on the disk before the channel hears 200. */
import { ask, call, same, serve, tell, type Part } from "./ark.ts";

type Message = { id: string; thread: string; text?: string; native?: { type: string; words: string };
  file?: { kind: string; name: string; base64: string } };

const env = process.env, channel = env.CHANNEL!, token = `Bearer ${env.TOKEN}`;
const manifest = {
  ark_adapter: "1", id: "sample-typescript", version: "2.1.0", channel: "sample", ordering: "per_thread", limits: {},
  transport: { mode: "http", url: `http://127.0.0.1:${env.PORT}`, max_batch: 1 }, identity: { key_kinds: ["custom"] },
  capabilities: { text: { in: true, out: true }, image: { in: true, out: true, fallback: "text" } },
  dedup: { inbound_id: "native", outbound_key_ttl_s: 259200 },
  testing: env.ARK_TESTING === "1" ? { inject: `${channel}/inject`, outbox: `${channel}/outbox`, fault: `${channel}/fault` } : undefined,
};

/** What a customer wrote, as parts: nothing is dropped. */
async function said({ id, text, file, native }: Message): Promise<object[]> {
  if (file) {
    const query = new URLSearchParams({ kind: file.kind, name: file.name });
    return [{ kind: file.kind, media: JSON.parse(String(await ask(`/ark/v1/media?${query}`, id, Buffer.from(file.base64, "base64")))) }];
  }
  if (text) return (text.match(/[^]{1,20000}/gu) ?? []).map((piece) => ({ kind: "text", text: piece }));
  return [{ kind: "unsupported", native_type: native!.type, fallback_text: native!.words }];
}

/** The channel brings what a customer wrote. */
async function webhook(header: (name: string) => string, body: string): Promise<[number, unknown]> {
  if (!same(header("authorization"), token)) return [401, "not from the channel"];
  const message: Message = JSON.parse(body), { id, thread } = message;
  tell("ark.message.in.v1", `m:${id}`, thread, { sender: { role: "customer", id: thread }, parts: await said(message) });
  return [200, "it is on the disk"];
}

/** The channel's API. Nothing: it took the message; a code: it never will, or nobody knows; throws: it did not take it. */
async function send(id: string, thread: string, parts: Part[]): Promise<string | undefined> {
  try {
    await call(`${channel}/send`, { authorization: token }, JSON.stringify({ id, thread, parts }));
  } catch (error: any) {
    if (error.away === 0) return "outcome_unknown";
    if (error.away !== 429 && error.away < 500) return "blocked";
    throw error;
  }
}

serve({ manifest, send, webhook });
