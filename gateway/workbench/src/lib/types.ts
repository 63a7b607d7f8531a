// What the gateway says (docs: /api/v1/openapi.json, /api/v1/asyncapi.json). Fields that the desk does not look at are left out.

export type Part =
  | { kind: "text"; text: string }
  | { kind: "image" | "voice_note" | "file" | "video"; media: Media; fallback_text?: string }
  | { kind: "card"; title: string; body?: string; actions?: { id: string; label: string; url?: string }[]; fallback_text: string }
  | { kind: "location"; lat: number; lon: number; label?: string }
  | { kind: "unsupported"; native_type: string; fallback_text: string };

export interface Media {
  ref: string;
  mime: string;
  size: number;
  name?: string;
  duration_ms?: number;
  width?: number;
  height?: number;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Data = Record<string, any>;

export interface LogRecord {
  conversation: string;
  seq: number;
  epoch: number;
  at: string;
  position?: number;
  event: { id: string; source: string; type: string; time: string; data: Data };
}

export interface Leg {
  leg: number;
  medium?: "call" | "chat" | "companion";
  source?: string;
  role: "customer" | "agent" | "external" | "supervisor";
  direction: "inbound" | "outbound";
  from: string;
  to: string;
  trunk: string;
  phase: "offered" | "ringing" | "active" | "held" | "idle" | "ended";
  codec?: string;
  rang: string;
  answered?: string;
  ended?: string;
}

export interface Conversation {
  conversation: string;
  kind: "call" | "chat" | "system" | "other";
  started: string;
  ended?: string;
  owner?: string;
  epoch: number;
  plan?: string;
  session?: { session: string; opened: string };
  offer?: { offer: string; to: string; by: string; deadline: string; expected_epoch: number };
  place?: { queue: string; since: string };
  person?: string;
  queue?: string;
  bridged?: [number, number];
  recordings: number;
  legs: Leg[];
  last_seq: number;
  last_at: string;
}

export interface LiveCall {
  conversation: string;
  direction: "inbound" | "outbound";
  state: "ringing" | "ivr" | "queued" | "talking";
  from: string;
  to: string;
  started: string;
  answered?: string;
  plan_state?: string;
  bridged_to?: string;
  recording: boolean;
  legs?: { leg: number; role: string; who: string; up: boolean; muted?: boolean; supervises?: string }[];
}

export interface LiveTranscript {
  conversation: string;
  leg: number;
  speaker: string;
  utterance: number;
  start_ms: number;
  text: string;
  stable: number;
  over?: boolean;
}

export interface LiveTransfer {
  conversation: string;
  state: "ringing" | "consulting" | "three_way" | "recalling" | "over";
  target: string;
  from?: string;
  why?: string;
}

export type CardState = "ivr" | "queued" | "offered" | "talking" | "open" | "wrap_up" | "closed";

export interface Card {
  callback?: boolean;
  conversation: string;
  kind: "call" | "chat";
  channel: string;
  title: string;
  queue: string | null;
  owner: string | null;
  epoch: number;
  state: CardState;
  since: string;
  waiting_since: string | null;
  position: number | null;
  last: { seq: number; at: string; from: "customer" | "agent" | "bot" | "ark"; text: string } | null;
}

export interface Offer {
  offer: string;
  conversation: string;
  kind: "call" | "chat";
  /** The customer has hung up: who accepts is rung, and then the customer is called. */
  callback?: boolean;
  queue: string | null;
  by: string;
  channel: string;
  title: string;
  since: string;
  deadline: string;
  epoch: number;
  summary: string | null;
  note: string | null;
}

export type Presence = "ready" | "busy" | "wrap_up" | "away" | "gone";

export interface Me {
  name: string;
  display: string;
  state: Presence;
  reason: string | null;
  since: string;
  wrap_up_until: string | null;
  calls: number;
  chats: number;
  capacity: { calls: number; chats: number; chats_beside_call?: number };
}

export interface QueueView {
  name: string;
  open: boolean;
  waiting: number;
  waiting_since?: string | null;
  ready: number;
  busy?: number;
  away?: number;
  answered?: number;
  answered_30s?: number;
  abandoned?: number;
  estimate_s: number | null;
}

export interface Snapshot {
  type?: "desk";
  me: Me;
  offers: Offer[];
  mine: Card[];
  waiting: Card[];
  waiting_more?: number;
  queues: QueueView[];
}

export interface AgentView {
  name: string;
  display: string;
  state: Presence;
  reason: string | null;
  since: string;
  calls: number;
  chats: number;
  queues: string[];
  can_take: { call: boolean; chat: boolean };
}

export interface Wallboard {
  at: string;
  waiting: number;
  longest_wait_s: number;
  answered_30s_percent: number | null;
  abandoned: number;
  by_state: Record<string, number>;
  queues: {
    name: string;
    waiting: number;
    longest_wait_s: number;
    ready: number;
    busy: number;
    answered: number;
    answered_30s: number;
    abandoned: number;
    line: { minute: string; joined: number; answered: number; abandoned: number }[];
  }[];
  agents: AgentView[];
}

export type Role = "agent" | "supervisor" | "operator" | "integrator";

export interface Audited {
  seq: number;
  at: string;
  what: string;
  by: string | null;
  account: string | null;
  detail: string | null;
  address: string | null;
  conversation: string | null;
}
export interface Account {
  name: string;
  display: string;
  roles: Role[];
  groups: string[];
  skills: Record<string, number>;
  languages: Record<string, number>;
  capacity: { calls: number; chats: number; chats_beside_call: number };
  phone: string | null;
  disabled: boolean;
  created?: string;
  signed_in?: string | null;
}

export interface SummaryLine {
  kind: "reason" | "asked" | "tried" | "ivr" | "operation" | "last";
  text: { zh: string; en: string };
  seqs: number[];
}

/** A place where words were found. */
export interface Hit {
  conversation: string;
  seq: number;
  at: string;
  type: string;
  who: string;
  text: string;
}
export interface Places {
  hits: Hit[];
  conversations: Conversation[];
  next?: string;
}

export interface Person {
  person: string;
  keys: { kind: string; value: string; assurance: string; at: string }[];
  conversations: Conversation[];
}
