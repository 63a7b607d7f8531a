// One conversation's timeline: its records folded, and what is being said just now.
import { api, id as path } from "./api";
import { Fold, type Item } from "./fold";
import type { Conversation, LiveTranscript, LogRecord } from "./types";

const PAGE = 500;
/** So many records are read at once when a conversation is opened; what is older comes when it is asked for. */
const FIRST = 2_000;

export interface Partial {
  key: string;
  side: "customer" | "agent";
  settled: string;
  rest: string;
}

export class Timeline {
  items = $state.raw<Item[]>([]);
  partials = $state.raw<Partial[]>([]);
  facts = $state.raw<[string, string][]>([]);
  plan = $state("");
  loaded = $state(false);
  failed = $state("");
  /** The first record that is here. */
  from = $state(1);
  last = $state(0);
  typing = $state(0);
  state = $state.raw<Conversation | null>(null);
  private fold = new Fold();
  private records: LogRecord[] = [];
  private shown = new Map<string, Item>();
  private reading: Promise<void> | null = null;
  private again = false;

  constructor(readonly conversation: string) {}

  /** Reads the conversation and its newest records. */
  async open(): Promise<void> {
    try {
      const state = await api<Conversation>(`conversations/${path(this.conversation)}`);
      this.state = state;
      // The newest page is shown at once, what is before it as soon as it has come.
      const newest = Math.max(0, state.last_seq - PAGE);
      this.from = newest + 1;
      const read = await this.page(newest, PAGE);
      this.records = [];
      this.refold(read);
      this.loaded = true;
      this.failed = "";
      await this.before(Math.max(0, state.last_seq - FIRST));
    } catch (error) {
      this.failed = error instanceof Error ? error.message : String(error);
    }
  }

  private async page(after: number, limit: number): Promise<LogRecord[]> {
    const { records } = await api<{ records: LogRecord[] }>(`conversations/${path(this.conversation)}/events?after_seq=${after}&limit=${limit}`);
    return records;
  }

  /** The page before. */
  async older(): Promise<void> {
    if (this.from <= 1) return;
    await this.before(Math.max(0, this.from - 1 - PAGE));
  }
  /** Reads from a place on to where the records that are here begin. */
  private async before(after: number): Promise<void> {
    const until = this.from - 1;
    if (until <= after) return;
    const pages = Array.from({ length: Math.ceil((until - after) / PAGE) }, (_, n) => after + n * PAGE);
    const read = await Promise.all(pages.map((one) => this.page(one, Math.min(PAGE, until - one))));
    if (this.from - 1 !== until) return;
    this.from = after + 1;
    const known = this.records;
    this.records = [];
    this.refold([...read.flat(), ...known]);
  }

  private refold(records: LogRecord[]): void {
    this.fold = new Fold();
    this.fold.last = this.from - 1;
    this.shown.clear();
    for (const record of records) this.keep(record);
    this.publish();
  }
  private keep(record: LogRecord): boolean {
    if (!this.fold.take(record)) return false;
    this.records.push(record);
    return true;
  }
  /** New objects for the items that changed, the old ones for those that did not. */
  private publish(): void {
    this.items = this.fold.items.map((item) => {
      const before = this.shown.get(item.key);
      if (before && before.rev === item.rev && before.seq === item.seq) return before;
      const copy = { ...item, steps: item.steps && [...item.steps], detail: item.detail && [...item.detail] };
      this.shown.set(item.key, copy);
      return copy;
    });
    this.last = this.fold.last;
    this.plan = this.fold.plan;
    this.facts = [...this.fold.facts];
    const written = new Set(this.items.map((item) => item.key));
    if (this.partials.some((one) => written.has(one.key))) this.partials = this.partials.filter((one) => !written.has(one.key));
  }

  /** Takes a record of the socket. One that is not the next is fetched with those before it. */
  take(record: LogRecord): void {
    if (!this.loaded || record.seq <= this.fold.last) return;
    if (record.seq > this.fold.last + 1) {
      void this.catchUp();
      return;
    }
    if (record.event.type === "ark.message.in.v1") this.typing = 0;
    if (this.keep(record)) this.publish();
  }

  /** Reads what came after the last record that is here; one reading at a time. */
  async catchUp(): Promise<void> {
    if (!this.loaded) return;
    if (this.reading) {
      this.again = true;
      return this.reading;
    }
    this.reading = (async () => {
      do {
        this.again = false;
        for (;;) {
          const records = await this.page(this.fold.last, PAGE);
          let taken = false;
          for (const record of records) taken = this.keep(record) || taken;
          if (taken) this.publish();
          if (records.length < PAGE) break;
        }
      } while (this.again);
    })();
    try {
      await this.reading;
    } catch {
      /* The gateway is away: the next connection reads on. */
    } finally {
      this.reading = null;
    }
  }

  async refresh(): Promise<void> {
    try {
      this.state = await api<Conversation>(`conversations/${path(this.conversation)}`);
    } catch {
      /* What is shown stays. */
    }
  }

  /** What somebody says just now: grey until it is written down. */
  saying(live: LiveTranscript): void {
    const key = `t${live.leg}-${live.utterance}`;
    const others = this.partials.filter((one) => one.key !== key);
    if (live.over || !live.text || this.shown.has(key)) {
      if (others.length !== this.partials.length) this.partials = others;
      return;
    }
    const letters = [...live.text];
    const side = live.speaker === "customer" ? "customer" : "agent";
    const partial = { key, side, settled: letters.slice(0, live.stable).join(""), rest: letters.slice(live.stable).join("") } as const;
    this.partials = [...others, partial].slice(-8);
  }
  hush(): void {
    this.partials = [];
  }
}
