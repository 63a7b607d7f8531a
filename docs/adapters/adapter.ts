/* A whole Ark adapter for Node.js 22 and nothing else: what a customer's app posts goes to Ark, what Ark says goes to the app.

  ARK=http://127.0.0.1:8080/hooks/shop SECRET=whsec_... PORT=9000 DB=adapter.db ARK_TESTING=1 node adapter.ts

The app (the native side) is native(): put your channel's call there. All state is in one SQLite file. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import { DatabaseSync } from "node:sqlite";

type Part = { kind: string; text?: string; media?: { ref: string } };
type Event = { id: string; type: string; data: { thread: string; parts: Part[] } };
type Message = { id: string; thread: string; text?: string; native?: { type: string; words: string };
  file?: { kind: string; name: string; base64: string } };
type Fault = { answer: string; thread?: string; times?: number; retry_after_s?: number };
type Answer = [number, unknown];

const env = process.env, testing = env.ARK_TESTING === "1", ark = env.ARK!.replace(/\/$/, ""), MIB = 1 << 20;
const keys = [env.SECRET, env.OLD_SECRET].filter(Boolean).map((one) => Buffer.from(one!.replace("whsec_", ""), "base64"));
const manifest = {
  ark_adapter: "1", id: "sample-typescript", version: "1.0.0", channel: "sample",
  transport: { mode: "http", url: `http://127.0.0.1:${env.PORT}`, max_batch: 16 },
  capabilities: { text: { in: true, out: true }, image: { in: true, out: true, mime: ["image/*"], fallback: "text" } },
  identity: { key_kinds: ["custom"] }, ordering: "per_thread",
  dedup: { inbound_id: "native", outbound_key_ttl_s: 259200 }, limits: {},
  ...(testing ? { testing: { inject: "/inject", outbox: "/outbox", fault: "/fault" } } : {}),
};
const db = new DatabaseSync(env.DB!);
db.exec(`pragma journal_mode = wal; pragma synchronous = full;
create table if not exists ingest (n integer primary key, id text unique, event text, done int default 0);
create table if not exists send (n integer primary key, id text unique, thread text, event text, state text default 'new');
create table if not exists outbox (n integer primary key, entry text);`);
const sql = (text: string, ...values: (string | number)[]) => db.prepare(text).all(...values) as Record<string, any>[];
const pause = (seconds: number) => new Promise((done) => setTimeout(done, seconds * 1000));
let faults: Fault[] = [];

const sign = (key: Buffer, id: string, at: string, body: Buffer) =>
  "v1," + createHmac("sha256", key).update(`${id}.${at}.`).update(body).digest("base64");
const same = (one: string, other: string) => one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));

async function call(method: string, path: string, id: string, body = Buffer.alloc(0)): Promise<Buffer> {
  const at = String(Math.floor(Date.now() / 1000));
  const headers = { "content-type": "application/cloudevents+json", "webhook-id": id, "webhook-timestamp": at,
    "webhook-signature": sign(keys[0]!, id, at, body) };
  const answer = await fetch(ark + path, { method, headers, body: method === "GET" ? undefined : body, signal: AbortSignal.timeout(10_000) });
  if (!answer.ok) throw { after: Number(answer.headers.get("retry-after") ?? 0.5) };
  return Buffer.from(await answer.arrayBuffer());
}

const event = (type: string, id: string, thread: string, data: object) => JSON.stringify({
  specversion: "1.0", type, id, source: `/ark/main/http/${ark.split("/").pop()}/${encodeURIComponent(thread)}`,
  time: new Date().toISOString(), datacontenttype: "application/json", data: { thread, ...data } });

/** What a customer wrote, as parts: nothing is dropped. */
async function said({ id, text, file, native }: Message) {
  if (file) {
    const query = new URLSearchParams({ kind: file.kind, name: file.name });
    const media = JSON.parse(String(await call("POST", `/ark/v1/media?${query}`, id, Buffer.from(file.base64, "base64"))));
    return [{ kind: file.kind, media }];
  }
  const letters = [...(text ?? "")], pieces = Math.ceil(letters.length / 20_000);
  if (pieces) return Array.from({ length: pieces }, (_, n) => ({ kind: "text", text: letters.slice(n * 20_000, (n + 1) * 20_000).join("") }));
  return [{ kind: "unsupported", native_type: native!.type, fallback_text: native!.words }];
}

/** Brings Ark what waits, in order, each until Ark has it. */
async function carryIn() {
  for (;;) {
    const [row] = sql("select n, id, event from ingest where done = 0 order by n limit 1");
    if (!row) { await pause(0.02); continue; }
    try {
      const { results } = JSON.parse(String(await call("POST", "/ark/v1/ingest", row.id, Buffer.from(row.event))));
      if (results[0].status === "rejected") console.log("refused for good:", results[0]);
      sql("update ingest set done = 1, event = '' where n = ?", row.n);
    } catch (error: any) { await pause(error.after ?? 0.5); } // not taken, or not known: again, under the same id
  }
}

/** The channel: it takes the message, or says why not. Put your provider's call here. */
function native(entry: { thread: string }): [string, number] {
  const fault = faults.find((one) => (one.thread ?? entry.thread) === entry.thread);
  if (fault?.times && --fault.times === 0) faults = [];
  const answer = fault?.answer ?? "none";
  if (answer === "none" || answer === "timeout") sql("insert into outbox (entry) values (?)", JSON.stringify(entry));
  return [answer, fault?.retry_after_s ?? 0.3];
}

async function given({ id, data }: Event) {
  const parts = await Promise.all(data.parts.map(async (part) => part.kind === "text" ? part : { kind: part.kind,
    sha256: createHash("sha256").update(await call("GET", `/ark/v1/media/${part.media!.ref.slice(10)}`, id)).digest("hex") }));
  return { id, thread: data.thread, parts };
}

/** Gives the channel what waits: the oldest of each thread, and of no thread that waits itself. */
async function carryOut() {
  const failed = (code: string) => ({ state: "failed", reason: { code, retriable: false } });
  for (const one of sql("select id, thread from send where state = 'begun'")) told(one.id, one.thread, failed("outcome_unknown"));
  const waits = new Map<string, number>();
  for (;;) {
    const rows = sql("select id, thread, event from send where n in (select min(n) from send where state = 'new' group by thread)");
    for (const { id, thread, event } of rows.filter((row) => (waits.get(row.thread) ?? 0) <= Date.now())) {
      const entry = await given(JSON.parse(event)).catch(() => undefined);
      if (!entry) { waits.set(thread, Date.now() + 500); continue; }
      sql("update send set state = 'begun' where id = ?", id);
      const [answer, seconds] = native(entry);
      if (answer === "429" || answer === "500") {
        waits.set(thread, Date.now() + seconds * 1000);
        sql("update send set state = 'new' where id = ?", id);
      } else told(id, thread, answer === "none" ? { state: "sent" } : failed(answer === "refused" ? "blocked" : "outcome_unknown"));
    }
    await pause(0.02);
  }
}

function told(id: string, thread: string, what: object) {
  put("ingest", "r:" + id, "event", event("ark.receipt.v1", "r:" + id, thread, { message: id, ...what }));
  sql("update send set state = 'done', event = '' where id = ?", id);
}

/** Durable when it returns; false: it was there before. */
function put(table: string, id: string, names: string, ...values: string[]): boolean {
  return sql(`insert or ignore into ${table} (id, ${names}) values (?${", ?".repeat(values.length)}) returning 1`, id, ...values).length === 1;
}

function take(one: Event) {
  if (one.type !== "ark.message.out.v1") return { id: one.id, status: "rejected", code: "type" };
  if (one.data.parts.some(({ kind }) => kind !== "text" && kind !== "image")) return { id: one.id, status: "rejected", code: "parts" };
  return { id: one.id, status: put("send", one.id, "thread, event", one.data.thread, JSON.stringify(one)) ? "accepted" : "duplicate" };
}

async function tested(path: string, what: Message & Fault): Promise<Answer> {
  if (path === "/fault") { faults = what.answer === "none" ? [] : [what]; return [200, {}]; }
  const data = { sender: { role: "customer", id: what.thread }, parts: await said(what) };
  put("ingest", what.id, "event", event("ark.message.in.v1", what.id, what.thread, data));
  return [200, {}];
}

function posted(request: IncomingMessage, body: Buffer): Answer {
  const [id, at, list] = ["id", "timestamp", "signature"].map((name) => String(request.headers[`webhook-${name}`] ?? ""));
  const good = keys.some((key) => list!.split(" ").slice(0, 16).some((entry) => same(entry, sign(key, id!, at!, body))));
  if (!good || !/^\d+$/.test(at!) || Math.abs(Date.now() / 1000 - Number(at)) > 300) return [401, { error: "not signed by our gateway, or not now" }];
  const events: Event[] = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  return request.url === "/ark/v1/events" ? [200, { results: events.map(take) }] : [404, {}];
}

async function answer(request: IncomingMessage): Promise<Answer> {
  const url = new URL(request.url!, "http://adapter"), hook = testing && ["/inject", "/fault"].includes(url.pathname);
  if (request.method === "GET") {
    if (url.pathname === "/.well-known/ark-adapter") return [200, manifest];
    if (url.pathname === "/ark/v1/health") return [200, { status: "ok" }];
    if (!testing || url.pathname !== "/outbox") return [404, {}];
    const rows = sql("select entry from outbox order by n limit -1 offset ?", Number(url.searchParams.get("after") ?? 0));
    return [200, rows.map((row) => JSON.parse(row.entry))];
  }
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    chunks.push(chunk);
    if ((length += chunk.length) > (hook ? 64 : 1) * MIB) return [413, { error: "at most 1 MiB" }];
  }
  const body = Buffer.concat(chunks);
  if (hook) return tested(url.pathname, JSON.parse(String(body))).catch(() => [503, { error: "not kept yet" }]);
  try { return posted(request, body); } catch (error) { return [400, { error: String(error) }]; }
}

createServer(async (request, reply) => {
  const [status, value] = await answer(request).catch((error): Answer => [400, { error: String(error) }]);
  reply.writeHead(status, { "content-type": "application/json", ...(status === 413 ? { connection: "close" } : {}) }).end(JSON.stringify(value));
}).listen(Number(env.PORT), "127.0.0.1");
void carryIn();
void carryOut();
