/* A whole Ark adapter for Node.js 22 and nothing else: what customers write in a channel goes to Ark, what Ark says goes to the channel.

  ARK=http://127.0.0.1:8080/hooks/shop SECRET=whsec_... PORT=9000 DB=adapter.db CHANNEL=http://127.0.0.1:9001 TOKEN=... node adapter.ts

Yours are said(), send() and how your channel proves that its webhook is its own; channel.py stands for one. What a customer writes is on
the disk before the channel hears 200, and a message of the house is noted before it is sent: a kill loses and doubles nothing. */
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import { DatabaseSync } from "node:sqlite";

type Part = { kind: string; text?: string; media?: { ref: string }; base64?: string };
type Event = { id: string; type: string; data: { thread: string; parts: Part[] } };
type Message = { id: string; thread: string; text?: string; native?: { type: string; words: string };
  file?: { kind: string; name: string; base64: string } };

const env = process.env, ark = env.ARK!, channel = env.CHANNEL!, token = `Bearer ${env.TOKEN}`, MIB = 1 << 20;
const keys = [env.SECRET, env.OLD_SECRET].filter(Boolean).map((one) => Buffer.from(one!.replace("whsec_", ""), "base64"));
const manifest = {
  ark_adapter: "1", id: "sample-typescript", version: "2.0.0", channel: "sample", ordering: "per_thread", limits: {},
  transport: { mode: "http", url: `http://127.0.0.1:${env.PORT}`, max_batch: 1 }, identity: { key_kinds: ["custom"] },
  capabilities: { text: { in: true, out: true }, image: { in: true, out: true, fallback: "text" } },
  dedup: { inbound_id: "native", outbound_key_ttl_s: 259200 },
  testing: env.ARK_TESTING === "1" ? { inject: `${channel}/inject`, outbox: `${channel}/outbox`, fault: `${channel}/fault` } : undefined,
};
const db = new DatabaseSync(env.DB!);
db.exec(`pragma journal_mode = wal; pragma synchronous = full;
create table if not exists events (n integer primary key, id text unique, event text);`); // an empty event is done with
const sql = (text: string, ...values: (string | number)[]) => db.prepare(text).all(...values) as Record<string, any>[];
const threads = new Map<string, Promise<unknown>>(); // one of a thread goes after the other

/** Durable when it returns; false: it was there before. */
const put = (id: string, event = "") => sql("insert or ignore into events (id, event) values (?, ?) returning n", id, event).length > 0;
const event = (type: string, id: string, thread: string, data: object) => JSON.stringify({
  specversion: "1.0", type, id, source: `/ark/main/http/${ark.split("/").pop()}/${encodeURIComponent(thread)}`,
  time: new Date().toISOString(), datacontenttype: "application/json", data: { thread, ...data } });
const sign = (key: Buffer, id: string, at: string, body: Buffer) =>
  "v1," + createHmac("sha256", key).update(`${id}.${at}.`).update(body).digest("base64");
const same = (one: string, other: string) => one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));

/** Throws `away`, the status of the other side (0: it did not answer), and how many seconds to `wait`. */
async function call(url: string, headers: Record<string, string>, body?: Buffer | string): Promise<Buffer> {
  const how = { method: body === undefined ? "GET" : "POST", headers, body, signal: AbortSignal.timeout(5_000) };
  const answer = await fetch(url, how).catch((): never => { throw { away: 0, wait: "0.5" }; });
  if (!answer.ok) throw { away: answer.status, wait: answer.headers.get("retry-after") ?? "0.5" };
  return Buffer.from(await answer.arrayBuffer());
}

function toArk(path: string, id: string, body?: Buffer): Promise<Buffer> {
  const at = String(Math.floor(Date.now() / 1000)), signature = sign(keys[0]!, id, at, body ?? Buffer.alloc(0));
  return call(ark + path, { "webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature }, body);
}

/** Brings Ark what waits, messages and receipts, in order, each until Ark has it. */
async function carry() {
  let wait = 0.02;
  for (const { n, id, event } of sql("select n, id, event from events where event != '' order by n limit 100")) {
    try {
      console.log(String(await toArk("/ark/v1/ingest", id, Buffer.from(event)))); // accepted, or rejected for good
      sql("update events set event = '' where n = ?", n);
    } catch (error: any) { wait = Number(error.wait ?? 0.5); break; } // not taken, or not known: again, under the same id
  }
  setTimeout(carry, wait * 1000);
}

/** What a customer wrote, as parts: nothing is dropped. */
async function said({ id, text, file, native }: Message): Promise<object[]> {
  if (file) {
    const query = new URLSearchParams({ kind: file.kind, name: file.name });
    return [{ kind: file.kind, media: JSON.parse(String(await toArk(`/ark/v1/media?${query}`, id, Buffer.from(file.base64, "base64")))) }];
  }
  if (text) return (text.match(/[^]{1,20000}/gu) ?? []).map((piece) => ({ kind: "text", text: piece }));
  return [{ kind: "unsupported", native_type: native!.type, fallback_text: native!.words }];
}

/** The channel's API. Nothing: it took the message; a code: it never will, or nobody knows; throws: not now. */
async function send(id: string, thread: string, parts: Part[]): Promise<string | undefined> {
  try {
    await call(`${channel}/send`, { authorization: token }, JSON.stringify({ id, thread, parts }));
  } catch (error: any) {
    if (error.away === 0) return "outcome_unknown";
    if (error.away !== 429 && error.away < 500) return "blocked";
    sql("delete from events where id = ?", `begun:${id}`);
    throw error;
  }
}

/** A message of the house goes to the channel once, and a receipt says what became of it. */
async function take({ id, type, data: { thread, parts } }: Event) {
  if (type !== "ark.message.out.v1" || parts.some(({ kind }) => !(kind in manifest.capabilities))) return { id, status: "rejected", code: "parts" };
  const native = await Promise.all(parts.map(async (part) => part.media === undefined ? part : { kind: part.kind,
    base64: (await toArk(`/ark/v1/media/${part.media.ref.replace("ark-media:", "")}`, id)).toString("base64") }));
  const done = (threads.get(thread) ?? Promise.resolve()).catch(() => {}).then(async () => {
    if (sql("select n from events where id = ?", `r:${id}`).length > 0) return { id, status: "duplicate" };
    // Begun before, and not told: this process was killed in between, and nobody knows.
    const code = put(`begun:${id}`) ? await send(id, thread, native) : "outcome_unknown";
    const what = code ? { state: "failed", reason: { code, retriable: false } } : { state: "sent" };
    put(`r:${id}`, event("ark.receipt.v1", `r:${id}`, thread, { message: id, ...what }));
    return { id, status: "accepted" };
  });
  threads.set(thread, done);
  return done;
}

async function answer(request: IncomingMessage): Promise<[number, unknown]> {
  if (request.url === "/.well-known/ark-adapter") return [200, manifest];
  if (request.url === "/ark/v1/health") return [200, { status: "ok" }];
  const chunks: Buffer[] = [];
  let left = request.url === "/webhook" ? 64 * MIB : MIB;
  for await (const chunk of request) {
    chunks.push(chunk);
    if ((left -= chunk.length) < 0) return [413, "too long"];
  }
  const body = Buffer.concat(chunks), header = (name: string) => String(request.headers[name] ?? "");
  if (request.url === "/webhook" && same(header("authorization"), token)) {
    const message: Message = JSON.parse(String(body)), { id, thread } = message;
    put(`m:${id}`, event("ark.message.in.v1", `m:${id}`, thread, { sender: { role: "customer", id: thread }, parts: await said(message) }));
    return [200, "it is on the disk"];
  }
  if (request.url !== "/ark/v1/events") return [404, "there is no such thing"];
  const id = header("webhook-id"), at = header("webhook-timestamp"), given = header("webhook-signature").split(" ").slice(0, 16);
  const good = keys.some((key) => given.some((one) => same(one, sign(key, id, at, body)))) && Math.abs(Date.now() / 1000 - Number(at)) <= 300;
  if (!good) return [401, "not signed by our gateway, or not now"];
  const events: Event[] = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)), results: object[] = [];
  for (const one of events) results.push(await take(one));
  return [200, { results }];
}

createServer(async (request, reply) => {
  const failed = (error: any) => "away" in error ? [503, "again later", Math.ceil(error.wait)] : [400, `${error}`];
  const [status, value, wait] = await answer(request).catch(failed);
  const close = status === 413 ? { connection: "close" } : {};
  reply.writeHead(Number(status), { "content-type": "application/json", "retry-after": String(wait ?? 1), ...close }).end(JSON.stringify(value));
}).listen(Number(env.PORT), "127.0.0.1");
void carry();
