/* The adapter's side of Ark's standard over HTTP, for Node.js 22 and nothing else: take it as it is. Yours is adapter.ts.

What waits for Ark, and what was said of each message of the house, is in one table on the disk: a kill loses and doubles nothing. */
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import { DatabaseSync } from "node:sqlite";

export type Part = { kind: string; text?: string; media?: { ref: string }; base64?: string };
type Event = { id: string; type: string; data: { thread: string; parts: Part[] } };
export type Yours = {
  manifest: { capabilities: object };
  /** Nothing: the channel took the message; a code: it never will, or nobody knows; throws what `call` threw: it did not take it. */
  send(id: string, thread: string, parts: Part[]): Promise<string | undefined>;
  /** What the channel posts to /webhook; status and answer. */
  webhook(header: (name: string) => string, body: string): Promise<[number, unknown]>;
};

const env = process.env, ark = env.ARK!, MIB = 1 << 20;
const keys = [env.SECRET, env.OLD_SECRET].filter(Boolean).map((one) => Buffer.from(one!.replace("whsec_", ""), "base64"));
const db = new DatabaseSync(env.DB!);
db.exec(`pragma journal_mode = wal; pragma synchronous = full;
create table if not exists events (n integer primary key, id text unique, event text);`); // an empty event is done with
const sql = (text: string, ...values: (string | number)[]) => db.prepare(text).all(...values) as Record<string, any>[];
const threads = new Map<string, Promise<unknown>>(); // one of a thread goes after the other

/** Durable when it returns; false: it was there before. */
const put = (id: string, event = "") => sql("insert or ignore into events (id, event) values (?, ?) returning n", id, event).length > 0;
/** An event that Ark is to have; durable when it returns. */
export const tell = (type: string, id: string, thread: string, data: object) => put(id, JSON.stringify({
  specversion: "1.0", type, id, source: `/ark/main/http/${ark.split("/").pop()}/${encodeURIComponent(thread)}`,
  time: new Date().toISOString(), datacontenttype: "application/json", data: { thread, ...data } }));
const sign = (key: Buffer, id: string, at: string, body: Buffer) =>
  "v1," + createHmac("sha256", key).update(`${id}.${at}.`).update(body).digest("base64");
export const same = (one: string, other: string) => one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));

/** Throws `away`, the status of the other side (0: it did not answer), and how many seconds to `wait`. */
export async function call(url: string, headers: Record<string, string>, body?: Buffer | string): Promise<Buffer> {
  const how = { method: body === undefined ? "GET" : "POST", headers, body, signal: AbortSignal.timeout(5_000) };
  const answer = await fetch(url, how).catch((): never => { throw { away: 0, wait: "0.5" }; });
  if (!answer.ok) throw { away: answer.status, wait: answer.headers.get("retry-after") ?? "0.5" };
  return Buffer.from(await answer.arrayBuffer());
}

export function ask(path: string, id: string, body?: Buffer): Promise<Buffer> {
  const at = String(Math.floor(Date.now() / 1000)), signature = sign(keys[0]!, id, at, body ?? Buffer.alloc(0));
  return call(ark + path, { "webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature }, body);
}

/** Brings Ark what waits, messages and receipts, in order, each until Ark has it. */
async function carry() {
  let wait = 0.02;
  for (const { n, id, event } of sql("select n, id, event from events where event != '' order by n limit 100")) {
    try {
      console.log(String(await ask("/ark/v1/ingest", id, Buffer.from(event)))); // accepted, or rejected for good
      sql("update events set event = '' where n = ?", n);
    } catch (error: any) { wait = Number(error.wait ?? 0.5); break; } // not taken, or not known: again, under the same id
  }
  setTimeout(carry, wait * 1000);
}

/** A message of the house goes to the channel once, and a receipt says what became of it. */
async function take({ manifest, send }: Yours, { id, type, data: { thread, parts } }: Event) {
  if (type !== "ark.message.out.v1" || parts.some(({ kind }) => !(kind in manifest.capabilities))) return { id, status: "rejected", code: "parts" };
  for (const part of parts) if (part.media) part.base64 = (await ask(`/ark/v1/media/${part.media.ref.replace("ark-media:", "")}`, id)).toString("base64");
  const done = (threads.get(thread) ?? Promise.resolve()).catch(() => {}).then(async () => {
    if (sql("select n from events where id = ?", `r:${id}`).length > 0) return { id, status: "duplicate" };
    // Begun before, and not told: this process was killed in between, and nobody knows.
    const forget = (error: unknown): never => { sql("delete from events where id = ?", `begun:${id}`); throw error; };
    const code = put(`begun:${id}`) ? await send(id, thread, parts).catch(forget) : "outcome_unknown";
    const what = code ? { state: "failed", reason: { code, retriable: false } } : { state: "sent" };
    tell("ark.receipt.v1", `r:${id}`, thread, { message: id, ...what });
    return { id, status: "accepted" };
  });
  threads.set(thread, done);
  return done;
}

async function answer(yours: Yours, request: IncomingMessage): Promise<[number, unknown]> {
  if (request.url === "/.well-known/ark-adapter") return [200, yours.manifest];
  if (request.url === "/ark/v1/health") return [200, { status: "ok" }];
  const chunks: Buffer[] = [];
  let left = request.url === "/webhook" ? 64 * MIB : MIB;
  for await (const chunk of request) {
    chunks.push(chunk);
    if ((left -= chunk.length) < 0) return [413, "too long"];
  }
  const body = Buffer.concat(chunks), header = (name: string) => String(request.headers[name] ?? "");
  if (request.url === "/webhook") return yours.webhook(header, String(body));
  if (request.url !== "/ark/v1/events") return [404, "there is no such thing"];
  const id = header("webhook-id"), at = header("webhook-timestamp"), given = header("webhook-signature").split(" ").slice(0, 16);
  const good = keys.some((key) => given.some((one) => same(one, sign(key, id, at, body)))) && Math.abs(Date.now() / 1000 - Number(at)) <= 300;
  if (!good) return [401, "not signed by our gateway, or not now"];
  const events: Event[] = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)), results: object[] = [];
  for (const one of events) results.push(await take(yours, one));
  return [200, { results }];
}

export function serve(yours: Yours) {
  createServer(async (request, reply) => {
    const failed = (error: any) => "away" in error ? [503, "again later", Math.ceil(error.wait)] : [400, `${error}`];
    const [status, value, wait] = await answer(yours, request).catch(failed);
    const close = status === 413 ? { connection: "close" } : {};
    reply.writeHead(Number(status), { "content-type": "application/json", "retry-after": String(wait ?? 1), ...close }).end(JSON.stringify(value));
  }).listen(Number(env.PORT), "127.0.0.1");
  void carry();
}
