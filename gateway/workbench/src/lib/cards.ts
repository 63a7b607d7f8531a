// A card of the inbox from what the gateway tells of a conversation. Pure.
import { bare } from "./format";
import type { Card, CardState, Conversation, LiveCall, LogRecord, Offer } from "./types";
import { inShort } from "./fold";

const isMessage = (medium?: string): boolean => Boolean(medium && medium !== "call");

export function customerOf(conversation: Conversation): Conversation["legs"][number] | undefined {
  return conversation.legs.find((leg) => leg.role === "customer") ?? conversation.legs[0];
}
export function channelOf(conversation: Conversation): string {
  const leg = customerOf(conversation);
  if (!leg || !isMessage(leg.medium)) return "sip";
  return leg.medium === "companion" ? "companion" : decodeURIComponent((leg.source ?? "").split("/")[3] ?? "web");
}
/** Who it is, as the gateway shows them: a masked number, or a name. */
export function titleOf(conversation: Conversation): string {
  const leg = customerOf(conversation);
  if (!leg) return conversation.conversation.slice(-4);
  const who = (leg.direction === "inbound" ? leg.from : leg.to) || "";
  return shortName(who) || conversation.conversation.slice(-4);
}
/** A visitor's long random id is no name: its last four letters are enough to tell two apart. */
export function shortName(who: string): string {
  const plain = who.replace(/^sip:/, "").split("@")[0] ?? who;
  return plain.length > 18 && /^[\w-]+$/.test(plain) ? plain.slice(-4).toUpperCase() : plain;
}

function stateOf(conversation: Conversation, call: LiveCall | undefined): CardState {
  if (conversation.ended) return "closed";
  if (call) return call.state === "talking" || conversation.bridged ? "talking" : call.state === "queued" ? "queued" : "ivr";
  if (conversation.bridged) return "talking";
  if (conversation.offer) return "offered";
  // A chat that somebody has waits no more, though its log still names the queue.
  if (conversation.kind === "chat" && conversation.owner?.startsWith("agent:")) return "open";
  if (conversation.place || conversation.queue || conversation.owner?.startsWith("queue:")) return "queued";
  if (conversation.owner?.startsWith("agent:")) return "open";
  return conversation.kind === "chat" && conversation.owner?.startsWith("bot:") ? "ivr" : conversation.session ? "open" : "ivr";
}

export function cardOf(conversation: Conversation, call?: LiveCall, last?: Card["last"]): Card {
  const state = stateOf(conversation, call);
  const leg = customerOf(conversation);
  const queue = conversation.place?.queue ?? conversation.queue ?? (conversation.owner?.startsWith("queue:") ? bare(conversation.owner) : null);
  return {
    conversation: conversation.conversation,
    kind: conversation.kind === "chat" ? "chat" : "call",
    channel: channelOf(conversation),
    title: titleOf(conversation),
    queue,
    owner: conversation.owner ?? null,
    epoch: conversation.epoch,
    state,
    since: state === "talking" ? (call?.answered ?? leg?.answered ?? conversation.started) : conversation.started,
    waiting_since: state === "queued" ? (conversation.place?.since ?? conversation.last_at) : null,
    position: null,
    last: last ?? null,
  };
}

/** Whether a conversation is mine: I own it, or my telephone talks in it. */
export function isMine(conversation: Conversation, me: string): boolean {
  if (conversation.owner === `agent:${me}`) return true;
  return conversation.legs.some((leg) => leg.role === "agent" && leg.phase !== "ended" && bare(leg.to).split("@")[0] === me);
}

export function offerOf(conversation: Conversation, me: string): Offer | null {
  const offer = conversation.offer;
  if (!offer || offer.to !== `agent:${me}`) return null;
  return {
    offer: offer.offer,
    conversation: conversation.conversation,
    kind: conversation.kind === "chat" ? "chat" : "call",
    queue: null,
    by: offer.by,
    channel: channelOf(conversation),
    title: titleOf(conversation),
    since: conversation.last_at,
    deadline: offer.deadline,
    epoch: offer.expected_epoch,
    summary: null,
    note: null,
  };
}

/** What was said last, of a record that says something. */
export function lastOf(record: LogRecord, name: (kind: string) => string): Card["last"] {
  const { type, data } = record.event;
  const at = record.event.time;
  if (type === "ark.message.in.v1") return { seq: record.seq, at, from: "customer", text: inShort(data.parts ?? [], name) };
  if (type === "ark.message.out.v1") return { seq: record.seq, at, from: data.sender?.role === "agent" ? "agent" : "bot", text: inShort(data.parts ?? [], name) };
  if (type === "ark.transcript.final.v1") return { seq: record.seq, at, from: data.speaker === "customer" ? "customer" : "agent", text: `“${data.text}”` };
  return null;
}
