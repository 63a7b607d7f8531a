// What was written and is not yet in the log. It is kept in this browser until the gateway has it, under a key by which the gateway
// takes each message once, however often it is sent. One message after the other, so that their order stays.
import { api, ApiError, id as path } from "./api";
import { newKey } from "./format";
import { getFile, putFile, removeFile } from "./files";

export interface Waiting {
  key: string;
  conversation: string;
  kind: "message" | "note" | "picture";
  by: string;
  text: string;
  leg?: number;
  replyTo?: string;
  file?: { name: string; size: number; type: string };
  at: number;
  state: "waiting" | "sending" | "failed" | "sent";
  tries: number;
  why?: string;
  code?: string;
  /** Where in the log it is, once it is there. */
  seq?: number;
}

const KEY = "ark.outbox";
const MOST = 500;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;

function stored(): Waiting[] {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "[]") as Waiting[];
  } catch {
    return [];
  }
}

class Outbox {
  all = $state<Waiting[]>([]);
  private running = new Set<string>();
  private timers = new Map<string, number>();

  open(): void {
    // What a closed page left in mid-sending is sent again: the key makes it one.
    this.all = stored().map((one) => (one.state === "sending" ? { ...one, state: "waiting" } : one));
    addEventListener("storage", (event) => {
      if (event.key === KEY) this.merge();
    });
    addEventListener("online", () => this.go());
    this.go();
  }
  /** What another page of this browser wrote or sent. */
  private merge(): void {
    const now = stored();
    const busy = this.all.filter((one) => one.state === "sending");
    this.all = now.map((one) => busy.find((mine) => mine.key === one.key) ?? one);
    this.go();
  }
  private keep(): void {
    try {
      localStorage.setItem(KEY, JSON.stringify(this.all.slice(-MOST)));
    } catch {
      /* Full or forbidden: it is still sent from here. */
    }
  }

  of(conversation: string): Waiting[] {
    return this.all.filter((one) => one.conversation === conversation);
  }
  get unsent(): number {
    return this.all.filter((one) => one.state === "waiting" || one.state === "sending").length;
  }

  put(one: Pick<Waiting, "conversation" | "by" | "text"> & { kind?: Waiting["kind"]; leg?: number; replyTo?: string }): void {
    this.push({ kind: "message", ...one });
  }
  async picture(conversation: string, by: string, file: File | Blob, name: string): Promise<void> {
    const key = newKey();
    await putFile(key, file);
    this.push({ kind: "picture", conversation, by, text: "", file: { name, size: file.size, type: file.type } }, key);
  }
  private push(one: Omit<Waiting, "key" | "at" | "state" | "tries">, key = newKey()): void {
    this.all.push({ ...one, key, at: Date.now(), state: "waiting", tries: 0 });
    this.keep();
    this.send(one.conversation);
  }
  again(key: string): void {
    const one = this.all.find((it) => it.key === key);
    if (!one) return;
    Object.assign(one, { state: "waiting", why: undefined, code: undefined, tries: 0 });
    this.keep();
    this.send(one.conversation);
  }
  remove(key: string): Waiting | undefined {
    const one = this.all.find((it) => it.key === key);
    this.all = this.all.filter((it) => it.key !== key);
    if (one?.kind === "picture") void removeFile(key);
    this.keep();
    return one;
  }
  /** The log of a conversation is shown up to here: what is in it stands there. */
  shown(conversation: string, seq: number, has: (key: string) => boolean): void {
    const done = this.all.filter((one) => one.conversation === conversation && ((one.state === "sent" && (one.seq ?? 0) <= seq) || has(one.key)));
    for (const one of done) this.remove(one.key);
  }

  go(): void {
    for (const conversation of new Set(this.all.map((one) => one.conversation))) this.send(conversation);
  }

  private send(conversation: string): void {
    if (this.running.has(conversation)) return;
    const next = this.all.find((one) => one.conversation === conversation && (one.state === "waiting" || one.state === "sending"));
    if (!next) return;
    clearTimeout(this.timers.get(conversation));
    this.running.add(conversation);
    void this.deliver(next).finally(() => {
      this.running.delete(conversation);
      const one = this.all.find((it) => it.key === next.key);
      if (one?.state === "waiting") {
        const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(one.tries, 6));
        this.timers.set(conversation, window.setTimeout(() => this.send(conversation), wait));
      } else this.send(conversation);
    });
  }

  private async deliver(one: Waiting): Promise<void> {
    one.state = "sending";
    try {
      const answer = await this.post(one);
      one.state = "sent";
      one.seq = answer?.last_seq ?? 0;
      // Where nobody looks at the conversation, nothing will say that it is shown.
      this.keep();
    } catch (error) {
      one.tries += 1;
      const passing = !(error instanceof ApiError) || error.passing;
      const signedOut = error instanceof ApiError && error.status === 401;
      one.state = passing || signedOut ? "waiting" : "failed";
      one.why = error instanceof Error ? error.message : String(error);
      one.code = error instanceof ApiError ? error.code : "";
      this.keep();
    }
  }

  private async post(one: Waiting): Promise<{ last_seq?: number } | null> {
    const base = `conversations/${path(one.conversation)}`;
    if (one.kind === "note") return api(`${base}/notes`, { body: { by: one.by, text: one.text, key: one.key } });
    if (one.kind === "picture") {
      const file = await getFile(one.key);
      if (!file) throw new ApiError(410, "gone", "the picture is no longer in this browser");
      const query = new URLSearchParams({ by: one.by, key: one.key, name: one.file?.name ?? "picture" });
      return api(`${base}/pictures?${query}`, { raw: file, method: "POST" });
    }
    const body = { by: one.by, text: one.text, key: one.key, ...(one.leg === undefined ? {} : { leg: one.leg }), ...(one.replyTo ? { reply_to: one.replyTo } : {}) };
    return api(`${base}/messages`, { body });
  }
}
export const outbox = new Outbox();
