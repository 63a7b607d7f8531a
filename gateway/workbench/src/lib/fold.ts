// The log of a conversation as what an agent reads: one list in the order of `seq`. Pure: no words of a language, no clock. What only
// completes an earlier line (a receipt, a correction, the end of a recording) goes into that line, wherever it stands.
import { bare } from "./format";
import type { Data, LogRecord, Part } from "./types";

/** Words of the dictionary: a key, and what stands in it. A value that begins with `@` is a key of `term`. */
export interface Say {
  word: string;
  with?: Record<string, string | number>;
}

export type Side = "customer" | "agent" | "bot" | "none";
export type Tone = "" | "live" | "wait" | "late";

export interface Item {
  key: string;
  seq: number;
  at: string;
  kind: "spoken" | "message" | "line" | "path" | "note" | "recording" | "summary";
  side: Side;
  /** Who speaks, by the name that the log has; empty: the customer. */
  who?: string;
  channel?: string;
  text?: string;
  parts?: Part[];
  say?: Say;
  tone?: Tone;
  /** Steps of a path, and what else happened meanwhile. */
  steps?: Say[];
  detail?: { seq: number; at: string; say: Say }[];
  /** Where the recording has it. */
  hear?: { recording: string; at: number };
  recording?: string;
  /** What became of a message. */
  receipt?: string;
  why?: string;
  replyTo?: string;
  edited?: boolean;
  recalled?: boolean;
  erased?: boolean;
  corrected?: string;
  masked?: boolean;
  /** Grows with each change, so that a list knows what to draw anew. */
  rev: number;
}

const RANK: Record<string, number> = { accepted: 1, sent: 2, delivered: 3, read: 4, failed: 5, expired: 5, recalled: 6 };
const seconds = (ms: unknown): string => {
  const value = Number(ms ?? 0) / 1000;
  return value >= 10 ? String(Math.round(value)) : value.toFixed(1);
};

export class Fold {
  items: Item[] = [];
  last = 0;
  /** What the caller keyed in and the plan found out. */
  facts = new Map<string, string>();
  owner = "";
  plan = "";
  private byKey = new Map<string, Item>();
  private byMessage = new Map<string, Item>();
  private legs = new Map<number, { role: string; name: string; channel: string }>();
  private threads = new Map<string, string>();

  /** Takes the next record; an older one again changes nothing. Says whether anything is to be drawn. */
  take(record: LogRecord): boolean {
    if (record.seq <= this.last) return false;
    this.last = record.seq;
    const { type, data } = record.event;
    const act = HANDLERS[type];
    try {
      if (act) {
        act(this, record, data ?? {});
        return true;
      }
    } catch {
      /* A record of a newer or older kind: shown by its name, and the others go on. */
    }
    this.note(record, { word: "e.unknown", with: { type } });
    return true;
  }

  leg(data: Data): { role: string; name: string; channel: string } | undefined {
    return this.legs.get(data.leg);
  }
  setLeg(leg: number, role: string, name: string, channel: string): void {
    this.legs.set(leg, { role, name, channel });
  }
  channelOf(thread: string): string {
    return this.threads.get(thread) ?? "";
  }
  setThread(thread: string, channel: string): void {
    this.threads.set(thread, channel);
  }
  find(key: string): Item | undefined {
    return this.byKey.get(key);
  }
  message(id: string): Item | undefined {
    return this.byMessage.get(id);
  }
  name(item: Item, id: string): void {
    this.byMessage.set(id, item);
  }

  add(record: LogRecord, item: Omit<Item, "seq" | "at" | "rev" | "key"> & { key?: string }): Item {
    const whole: Item = { key: `s${record.seq}`, seq: record.seq, at: record.event.time, rev: 0, ...item };
    this.items.push(whole);
    this.byKey.set(whole.key, whole);
    return whole;
  }
  line(record: LogRecord, word: string, tone: Tone = "", values?: Say["with"]): Item {
    return this.add(record, { kind: "line", side: "none", say: { word, ...(values ? { with: values } : {}) }, tone });
  }
  /** A step of the way through the plan: one line for all of them until somebody says something. */
  step(record: LogRecord, say: Say): void {
    const path = this.path(record);
    path.steps!.push(say);
    path.rev++;
  }
  /** Something that is shown when a path is opened. */
  note(record: LogRecord, say: Say): void {
    const path = this.path(record);
    path.detail!.push({ seq: record.seq, at: record.event.time, say });
    path.rev++;
  }
  private path(record: LogRecord): Item {
    const before = this.items.at(-1);
    if (before?.kind === "path") return before;
    return this.add(record, { kind: "path", side: "none", steps: [], detail: [] });
  }
  remove(item: Item): void {
    const at = this.items.lastIndexOf(item);
    if (at >= 0) this.items.splice(at, 1);
    this.byKey.delete(item.key);
  }
}

type Handler = (fold: Fold, record: LogRecord, data: Data) => void;

/** A name of a person of the house, as it is shown. */
function house(fold: Fold, data: Data): string {
  const leg = fold.leg(data);
  return leg && leg.role !== "customer" && leg.name ? bare(leg.name) : bare(fold.owner.startsWith("agent:") ? fold.owner : "");
}

function channel(source: string | undefined): string {
  const parts = (source ?? "").split("/");
  return decodeURIComponent(parts[3] ?? "");
}

function line(word: string, tone: Tone = "", values?: (data: Data) => Say["with"]): Handler {
  return (fold, record, data) => fold.line(record, word, tone, values?.(data));
}
function note(word: string, values?: (data: Data) => Say["with"]): Handler {
  return (fold, record, data) => fold.note(record, { word, ...(values ? { with: values(data)! } : {}) });
}

const owned: (word: string, tone: Tone) => Handler = (word, tone) => (fold, record, data) => {
  fold.line(record, word, tone, { owner: bare(data.owner ?? data.to ?? data.by) || "?", from: bare(data.previous ?? data.by) || "?" });
};

const calls: Record<string, Handler> = {
  "ark.call.ringing.v1": (fold, record, data) => {
    const inbound = data.direction === "inbound";
    fold.setLeg(data.leg, data.role, inbound ? String(data.from ?? "") : String(data.to ?? ""), "call");
    if (data.plan) fold.plan = data.plan;
    if (!fold.owner) fold.owner = data.owner ?? "";
    if (data.role === "customer" && inbound) fold.step(record, { word: "e.call.in", with: { from: data.from ?? "?", to: data.to ?? "?" } });
    else fold.note(record, { word: "e.call.out", with: { to: bare(data.to) || "?" } });
  },
  "ark.call.answered.v1": note("e.call.answered", (data) => ({ codec: data.codec, s: seconds(data.ringing_ms) })),
  "ark.call.ended.v1": (fold, record, data) => {
    const leg = fold.leg(data);
    const values = { cause: `@${data.cause}`, s: seconds(data.talk_ms), who: bare(leg?.name) || "?" };
    if (leg?.role === "customer" || !leg) fold.line(record, "e.call.ended", data.cause === "hangup" ? "" : "late", values);
    else fold.note(record, { word: "e.leg.ended", with: values });
  },
  "ark.call.lost.v1": line("e.call.lost", "late", (data) => ({ reason: data.reason })),
  "ark.call.quality.v1": note("e.call.quality", (data) => ({
    mos: data.mos ? Number(data.mos).toFixed(1) : "–",
    loss: (Number(data.loss_ratio ?? 0) * 100).toFixed(1),
    jitter: (Number(data.jitter_us ?? 0) / 1000).toFixed(1),
  })),
  "ark.leg.bridged.v1": (fold, record, data) => {
    const other = fold.leg({ leg: data.with }) ?? fold.leg(data);
    fold.line(record, "e.leg.bridged", "live", { who: bare(other?.role === "customer" ? fold.leg(data)?.name : other?.name) || "?" });
  },
  "ark.leg.unbridged.v1": note("e.leg.unbridged", (data) => ({ s: seconds(data.bridged_ms) })),
  "ark.leg.held.v1": line("e.leg.held", "wait"),
  "ark.leg.resumed.v1": line("e.leg.resumed", "", (data) => ({ s: seconds(data.held_ms) })),
  "ark.leg.muted.v1": (fold, record, data) => fold.line(record, data.muted ? "e.leg.muted" : "e.leg.unmuted", data.muted ? "wait" : ""),
  "ark.call.supervised.v1": line("e.call.supervised", "live", (data) => ({ mode: `@${data.mode}` })),
  "ark.ivr.entered.v1": (fold, record, data) => {
    fold.plan = data.plan;
    fold.step(record, { word: "e.ivr.state", with: { state: data.state } });
  },
  "ark.ivr.strike.v1": note("e.ivr.strike", (data) => ({ kind: `@${data.kind}`, n: data.strikes })),
  "ark.ivr.set.v1": (fold, record, data) => {
    const value = data.masked ? "••••" : String(data.value ?? "");
    if (!data.masked && value) fold.facts.set(data.var, value);
    if (data.var === "lang") fold.step(record, { word: "e.ivr.lang", with: { lang: `@lang_${value}` } });
    else fold.note(record, { word: "e.ivr.set", with: { name: data.var, value } });
  },
  "ark.ivr.kept.v1": note("e.ivr.kept"),
  "ark.dtmf.v1": note("e.dtmf", (data) => ({ digit: data.masked ? "•" : String(data.digit ?? "") })),
  "ark.prompt.started.v1": note("e.prompt", (data) => ({ text: data.text ?? (data.prompts ?? []).join(", ") })),
  "ark.prompt.finished.v1": note("e.prompt.end", (data) => ({ s: seconds(data.heard_ms), cause: `@${data.cause}` })),
  "ark.gather.finished.v1": (fold, record, data) => {
    const value = data.masked ? "•".repeat(data.digits ?? 0) : String(data.value ?? "");
    if (value) fold.facts.set(data.var, value);
    fold.step(record, { word: "e.gather", with: { name: data.var, value, outcome: `@${data.outcome}` } });
  },
  "ark.http.finished.v1": note("e.http", (data) => ({ action: data.action, outcome: `@${data.outcome}`, s: seconds(data.took_ms) })),
  "ark.recording.started.v1": note("e.recording.started", (data) => ({ purpose: `@${data.purpose}` })),
  "ark.recording.paused.v1": line("e.recording.paused", "wait"),
  "ark.recording.resumed.v1": line("e.recording.resumed", "", (data) => ({ s: seconds(data.paused_ms) })),
  "ark.recording.finished.v1": (fold, record, data) => {
    fold.add(record, { kind: "recording", side: "none", recording: data.recording, say: { word: "e.recording", with: { s: seconds(data.duration_ms) } } });
  },
  "ark.recording.failed.v1": line("e.recording.failed", "late", (data) => ({ error: data.error })),
  "ark.queue.joined.v1": (fold, record, data) => fold.step(record, { word: "e.queue.joined", with: { queue: data.queue, n: data.position } }),
  "ark.queue.position.v1": note("e.queue.position", (data) => ({ n: data.position })),
  "ark.queue.left.v1": (fold, record, data) => {
    const values = { outcome: `@${data.outcome}`, s: seconds(data.waited_ms) };
    if (data.outcome === "answered") fold.step(record, { word: "e.queue.answered", with: values });
    else fold.line(record, "e.queue.left", "wait", values);
  },
  "ark.queue.relaxed.v1": line("e.queue.relaxed", "wait", (data) => ({ queue: data.queue, needs: [data.needs?.language, ...Object.keys(data.needs?.skills ?? {})].filter(Boolean).join(", ") })),
  "ark.transfer.started.v1": line("e.transfer.started", "wait", (data) => ({ target: bare(data.target ?? data.to) })),
  "ark.transfer.changed.v1": note("e.transfer.changed", (data) => ({ target: bare(data.target), stage: `@${data.stage}` })),
  "ark.transfer.finished.v1": (fold, record, data) =>
    fold.line(record, "e.transfer.finished", data.outcome === "answered" ? "live" : "late", { target: bare(data.target), outcome: `@${data.outcome}` }),
};

const speech: Record<string, Handler> = {
  "ark.transcript.final.v1": (fold, record, data) => {
    const side: Side = data.speaker === "customer" ? "customer" : "agent";
    const key = `t${data.leg}-${data.utterance}`;
    const hear = data.recording && data.recording_ms !== undefined ? { recording: data.recording, at: data.recording_ms / 1000 } : undefined;
    const known = fold.find(key);
    // What is read again after the call takes the first reading's place, unless a person has corrected it.
    if (known) {
      if (!known.corrected) known.text = data.text;
      if (hear) known.hear = hear;
      known.rev++;
      return;
    }
    const who = side === "customer" ? "" : house(fold, data);
    fold.add(record, { kind: "spoken", key, side, who, channel: "voice", text: data.text, hear, masked: data.masked });
  },
  "ark.transcript.corrected.v1": (fold, _record, data) => {
    const item = fold.find(`t${data.leg}-${data.utterance}`);
    if (!item) return;
    Object.assign(item, { text: data.text, corrected: bare(data.by) });
    item.rev++;
  },
  "ark.transcript.missing.v1": note("e.transcript.missing", (data) => ({ reason: data.reason ?? "" })),
};

const messages: Record<string, Handler> = {
  "ark.message.in.v1": (fold, record, data) => {
    const who = data.sender?.display ?? "";
    const by = fold.channelOf(data.thread) || channel(record.event.source);
    const item = fold.add(record, { kind: "message", side: "customer", who, channel: by, parts: data.parts ?? [], replyTo: data.reply_to });
    fold.name(item, record.event.id);
    if (data.native_id) fold.name(item, data.native_id);
  },
  "ark.message.out.v1": (fold, record, data) => {
    const side: Side = data.sender?.role === "agent" ? "agent" : "bot";
    const who = data.sender?.display ?? bare(data.sender?.id);
    const by = fold.channelOf(data.thread) || channel(record.event.source);
    const item = fold.add(record, { kind: "message", side, who, channel: by, parts: data.parts ?? [], replyTo: data.reply_to });
    fold.name(item, record.event.id);
  },
  "ark.message.rerouted.v1": note("e.message.rerouted"),
  "ark.receipt.v1": (fold, record, data) => {
    const item = fold.message(data.message);
    if (!item) return fold.note(record, { word: "e.receipt", with: { state: `@receipt_${data.state}` } });
    // A late "sent" does not take back a "read".
    if ((RANK[data.state] ?? 0) < (RANK[item.receipt ?? ""] ?? 0)) return;
    item.receipt = data.state;
    item.why = data.reason?.code ?? undefined;
    item.rev++;
  },
  "ark.edit.v1": (fold, record, data) => {
    const item = fold.message(data.message);
    if (!item) return fold.note(record, { word: "e.edit" });
    if (data.op === "recall") item.recalled = true;
    else Object.assign(item, { parts: data.parts ?? item.parts, edited: true });
    item.rev++;
  },
  "ark.note.v1": (fold, record, data) => {
    fold.add(record, { kind: "note", side: "none", who: bare(data.by), text: data.text ?? "" });
  },
  "ark.summary.v1": (fold, record, data) => {
    fold.add(record, { kind: "summary", side: "none", text: data.text ?? "", who: bare(data.made_by) });
  },
  "ark.thread.v1": note("e.thread"),
  "ark.typing.v1": () => {},
  "ark.identity.v1": note("e.identity"),
  "ark.call.v1": note("e.channel.call"),
  "ark.session.opened.v1": (fold, record, data) => {
    fold.owner = data.owner ?? fold.owner;
    fold.step(record, { word: "e.session.opened" });
  },
  "ark.session.closed.v1": (fold, record, data) => fold.line(record, "e.session.closed", "", { reason: `@${data.reason}`, by: bare(data.by) }),
};

const people: Record<string, Handler> = {
  "ark.leg.added.v1": (fold, record, data) => {
    fold.setLeg(data.leg, data.role, data.party?.display ?? "", data.adapter ?? "");
    if (data.thread) fold.setThread(data.thread, data.medium === "companion" ? "companion" : (data.adapter ?? ""));
    if (data.medium === "companion") return fold.note(record, { word: "e.leg.added", with: { channel: "@ch_companion" } });
    fold.step(record, { word: "e.leg.added", with: { channel: `@ch_${data.medium === "companion" ? "companion" : data.adapter}` } });
  },
  "ark.leg.offered.v1": (fold, record, data) => {
    if (data.callback) fold.line(record, "e.leg.callback", "wait", { queue: data.callback.queue });
    else fold.line(record, "e.leg.offered", "wait");
  },
  "ark.leg.idle.v1": note("e.leg.idle"),
  "ark.leg.woke.v1": note("e.leg.woke"),
  "ark.leg.ended.v1": note("e.leg.over", (data) => ({ reason: `@${data.reason}` })),
  "ark.link.made.v1": note("e.link.made"),
  "ark.link.code.v1": note("e.link.code"),
  "ark.link.sent.v1": (fold, record, data) => {
    const values = { via: `@via_${data.via}`, why: data.failed ?? "" };
    if (data.failed) fold.line(record, "e.link.failed", "late", values);
    else fold.add(record, { kind: "line", key: `link-${data.link}-${data.via}`, side: "none", say: { word: "e.link.sent", with: values } });
  },
  "ark.link.joined.v1": (fold, record, data) => {
    const sent = fold.find(`link-${data.link}-${data.via}`);
    if (!sent) return void fold.line(record, "e.link.joined", "live");
    sent.say = { word: "e.link.both", with: sent.say?.with };
    sent.rev++;
  },
  "ark.participant.joined.v1": note("e.participant.joined", (data) => ({ who: bare(data.participant?.id) })),
  "ark.participant.left.v1": note("e.participant.left", (data) => ({ who: bare(data.participant?.id) })),
  "ark.owner.offered.v1": owned("e.owner.offered", "wait"),
  "ark.owner.accepted.v1": (fold, record, data) => {
    fold.owner = data.owner;
    fold.line(record, String(data.owner).startsWith("agent:") ? "e.owner.accepted" : "e.owner.given", "live", { owner: bare(data.owner), from: bare(data.previous) });
  },
  "ark.owner.declined.v1": (fold, record, data) => fold.line(record, "e.owner.declined", "wait", { by: bare(data.by) }),
  "ark.owner.expired.v1": line("e.owner.expired", "wait"),
  "ark.owner.withdrawn.v1": note("e.owner.withdrawn"),
  "ark.owner.released.v1": (fold, record, data) => {
    fold.owner = `queue:${data.queue}`;
    fold.line(record, data.reason === "overflow" ? "e.owner.overflow" : "e.owner.released", "wait", { queue: data.queue });
  },
  "ark.person.linked.v1": note("e.person.linked"),
  "ark.person.merged.v1": note("e.person.merged"),
  "ark.person.unmerged.v1": note("e.person.unmerged"),
  "ark.number.revealed.v1": line("e.number.revealed", "", (data) => ({ by: bare(data.by) })),
  "ark.consent.settled.v1": (fold, record, data) => fold.line(record, `e.consent.${data.outcome}`, data.kept ? "" : "wait"),
  "ark.survey.asked.v1": note("e.survey.asked"),
  "ark.survey.answered.v1": line("e.survey.answered", "live", (data) => ({ n: data.score, of: data.scale, comment: data.comment ? ` · “${data.comment}”` : "" })),
  "ark.erasure.v1": line("e.erasure", "wait"),
  "ark.erased.v1": (fold, record) => {
    fold.add(record, { kind: "line", side: "none", say: { word: "e.erased" }, erased: true });
  },
  "ark.plan.published.v1": note("e.plan.published", (data) => ({ plan: data.plan, n: data.version })),
  "ark.plan.rolled_back.v1": note("e.plan.rolled_back", (data) => ({ plan: data.plan, n: data.version })),
  "ark.audit.v1": note("e.audit", (data) => ({ what: `@${data.what}`, account: data.account ?? "" })),
  "ark.plan.refused.v1": line("e.plan.refused", "late", (data) => ({ plan: data.plan, reason: data.reason })),
  "ark.log.gap.v1": line("e.log.gap", "late", (data) => ({ n: data.dropped_events })),
};

const HANDLERS: Record<string, Handler> = { ...calls, ...speech, ...messages, ...people };
/** The types that have a reading of their own; a test compares them with the gateway's list. */
export const KNOWN_TYPES = Object.keys(HANDLERS);

/** A message as one line: for lists, notifications and search. */
export function inShort(parts: Part[], name: (kind: string) => string): string {
  return parts.map((part) => (part.kind === "text" ? part.text : part.kind === "card" ? part.title : `[${name(part.kind)}]`)).join(" ");
}
