// What the desk shows: offers, my conversations, those that wait, and the one that is open. The gateway's desk socket tells it whole;
// at a gateway that has none it is made from the lists of conversations and calls.
import { api, ApiError, id as path, socketUrl } from "./api";
import { cardOf, isMine, lastOf, offerOf } from "./cards";
import { Log } from "./log.svelte";
import { notify } from "./notify";
import { outbox } from "./outbox.svelte";
import { phone } from "./phone.svelte";
import { prefs, t, tAny } from "./prefs.svelte";
import { session } from "./session.svelte";
import { play, ring } from "./sounds";
import { Timeline } from "./timeline.svelte";
import type { AgentView, Card, Conversation, Data, LiveCall, LiveTransfer, LogRecord, Me, Offer, QueueView, Snapshot, Wallboard } from "./types";

const OPEN_TIMELINES = 8;
const REFRESH = 250;
const LAST_KEPT = 2_000;
const LATE = 30_000;
export type Page = "inbox" | "queue" | "board" | "accounts" | "settings";

class Desk {
  page = $state<Page>("inbox");
  tab = $state<"mine" | "waiting" | "all">("mine");
  selected = $state("");
  timeline = $state.raw<Timeline | null>(null);
  me = $state.raw<Me | null>(null);
  offers = $state.raw<Offer[]>([]);
  mine = $state.raw<Card[]>([]);
  waiting = $state.raw<Card[]>([]);
  waitingMore = $state(0);
  queues = $state.raw<QueueView[]>([]);
  calls = $state.raw<Record<string, LiveCall>>({});
  everything = $state.raw<Conversation[]>([]);
  next = $state<string | null>(null);
  unread = $state<Record<string, number>>({});
  lasts = $state.raw<Record<string, NonNullable<Card["last"]>>>({});
  transfers = $state.raw<Record<string, LiveTransfer>>({});
  wallboard = $state.raw<Wallboard | null>(null);
  /** Whether the gateway has a desk socket. */
  live = $state(false);
  loaded = $state(false);
  said = $state<{ text: string; tone: "" | "late" | "live" } | null>(null);
  now = $state(Date.now());
  declined = $state<string[]>([]);
  writing = $state(0);
  /** The names of the house, as they are shown. */
  names = $state.raw<Record<string, string>>({});
  dialog = $state<"" | "transfer" | "search" | "keys" | "status">("");

  private timelines = new Map<string, Timeline>();
  private socket: WebSocket | null = null;
  private tries = 0;
  private refreshing = 0;
  private known = new Set<string>();
  private late = new Set<string>();
  private fresh: Record<string, LiveCall> | null = null;
  private wantsBoard = false;
  private saying = 0;

  log = new Log({
    record: (record) => this.onRecord(record),
    live: (type, data) => this.onLive(type, data),
    caughtUp: () => {
      if (this.fresh) this.calls = this.fresh;
      this.fresh = null;
      void this.timeline?.catchUp();
      void this.timeline?.refresh();
      outbox.go();
      if (!this.live) this.touch();
    },
    // What is told now replaces what was known.
    missed: () => {
      this.fresh = {};
      for (const open of this.timelines.values()) open.hush();
    },
  });

  start(): void {
    outbox.open();
    this.log.open();
    this.openSocket();
    if (prefs.phone) void phone.open(session.name);
    setInterval(() => this.tick(), 1_000);
    void this.learnNames();
    setInterval(() => void this.learnNames(), 120_000);
    const wanted = location.hash.slice(1);
    if (/^[0-9A-Z]{26}$/.test(wanted)) void this.select(wanted);
    addEventListener("hashchange", () => {
      const to = location.hash.slice(1);
      if (/^[0-9A-Z]{26}$/.test(to) && to !== this.selected) void this.select(to);
    });
  }

  private tick(): void {
    this.now = Date.now();
    for (const card of this.waiting) {
      if (card.waiting_since && this.now - Date.parse(card.waiting_since) > LATE && !this.late.has(card.conversation)) {
        this.late.add(card.conversation);
        if (this.loaded) play("late");
      }
    }
    ring(this.offerList.some((one) => one.kind === "call"));
  }

  private async learnNames(): Promise<void> {
    const own = { [session.name]: session.display };
    try {
      const answer = await api<AgentView[] | { agents: AgentView[] }>("agents", { quiet: true });
      const list = Array.isArray(answer) ? answer : answer.agents;
      this.names = { ...Object.fromEntries(list.map((one) => [one.name, one.display])), ...own };
    } catch {
      this.names = own;
    }
  }
  /** A person of the house as they are shown. */
  name(who: string): string {
    return this.names[who] ?? who;
  }

  tell(text: string, tone: "" | "late" | "live" = ""): void {
    this.said = { text, tone };
    clearTimeout(this.saying);
    this.saying = window.setTimeout(() => (this.said = null), tone === "late" ? 9_000 : 4_000);
  }
  failed(error: unknown): void {
    const missing = error instanceof ApiError && error.status === 404 && error.message.startsWith("there is nothing here");
    this.tell(missing ? t("notOnGateway") : t("failed", { why: error instanceof Error ? error.message : String(error) }), "late");
  }

  // ---- the desk socket ----
  private openSocket(): void {
    const socket = new WebSocket(socketUrl("/api/v1/desk/socket"));
    this.socket = socket;
    let heard = false;
    const ping = setInterval(() => this.send({ type: "ping" }), 20_000);
    socket.onopen = () => {
      if (this.wantsBoard) this.send({ type: "wallboard", on: true });
    };
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data as string) as Data;
      heard = true;
      this.tries = 0;
      this.live = true;
      if (message.type === "desk") this.show(message as unknown as Snapshot);
      if (message.type === "wallboard") this.wallboard = message as unknown as Wallboard;
    };
    socket.onclose = () => {
      clearInterval(ping);
      if (this.socket !== socket) return;
      void this.lookForSocket(heard);
    };
  }
  private async lookForSocket(heard: boolean): Promise<void> {
    if (!heard && !this.live) {
      // A gateway without a desk: made from the lists.
      const missing = await api("desk", { quiet: true }).then(() => false, (error: unknown) => error instanceof ApiError && [403, 404].includes(error.status));
      if (missing) {
        this.touch();
        setInterval(() => this.touch(), 15_000);
        return;
      }
    }
    this.tries += 1;
    setTimeout(() => this.openSocket(), Math.min(8_000, 300 * 2 ** Math.min(this.tries, 5)) * (0.7 + Math.random() * 0.6));
  }
  send(message: Data): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
  board(on: boolean): void {
    this.wantsBoard = on;
    if (this.live) this.send({ type: "wallboard", on });
  }

  private show(snapshot: Snapshot): void {
    this.me = snapshot.me;
    this.mine = snapshot.mine;
    this.waiting = snapshot.waiting;
    this.waitingMore = snapshot.waiting_more ?? 0;
    this.queues = snapshot.queues;
    this.setOffers(snapshot.offers);
    this.loaded = true;
  }
  private setOffers(offers: Offer[]): void {
    for (const offer of offers) {
      if (this.known.has(offer.offer)) continue;
      this.known.add(offer.offer);
      if (this.known.size > LAST_KEPT) this.known.delete(this.known.values().next().value as string);
      if (offer.kind === "chat") play("chat");
      notify(t(offer.kind === "call" ? "offerCall" : "offerChat"), offer.title, offer.conversation);
    }
    this.offers = offers;
  }
  /** What is offered to me now, the telephone's ringing among it. */
  get offerList(): Offer[] {
    const ringing = phone.state === "ringing" ? phone.ringing : null;
    const list = this.offers.filter((one) => !this.declined.includes(one.offer));
    if (!ringing || list.some((one) => one.conversation === ringing.conversation)) return list;
    const since = new Date(ringing.since).toISOString();
    const own: Offer = {
      offer: "", conversation: ringing.conversation, kind: "call", queue: ringing.queue || null, by: ringing.queue ? `queue:${ringing.queue}` : "",
      channel: "sip", title: ringing.from || "?", since, deadline: "", epoch: 0, summary: null, note: null,
    };
    return [own, ...list];
  }

  // ---- without one ----
  private touch(): void {
    if (this.live || this.refreshing) return;
    this.refreshing = window.setTimeout(async () => {
      try {
        const { conversations } = await api<{ conversations: Conversation[] }>("conversations?state=open&limit=500");
        if (!this.live) this.fromLists(conversations.filter((one) => one.kind === "call" || one.kind === "chat"));
      } catch {
        /* The socket's end says that the gateway is away. */
      } finally {
        this.refreshing = 0;
      }
    }, REFRESH);
  }
  private fromLists(open: Conversation[]): void {
    const me = session.name;
    const card = (one: Conversation): Card => cardOf(one, this.calls[one.conversation], this.lasts[one.conversation]);
    this.mine = open.filter((one) => isMine(one, me)).map(card).sort((a, b) => (a.since < b.since ? 1 : -1));
    this.waiting = open.filter((one) => !isMine(one, me)).map(card).filter((one) => ["queued", "offered"].includes(one.state))
      .sort((a, b) => ((a.waiting_since ?? a.since) < (b.waiting_since ?? b.since) ? -1 : 1));
    this.setOffers(open.map((one) => offerOf(one, me)).filter((one) => one !== null));
    const talking = this.mine.filter((one) => one.state === "talking").length;
    this.me = {
      name: me, display: session.display, state: talking ? "busy" : "ready", reason: null, since: "", wrap_up_until: null,
      calls: talking, chats: this.mine.filter((one) => one.kind === "chat").length, capacity: session.account!.capacity,
    };
    this.loaded = true;
  }

  // ---- what happens ----
  private onRecord(record: LogRecord): void {
    const { type } = record.event;
    const open = this.timelines.get(record.conversation);
    open?.take(record);
    if (type === "ark.message.out.v1" || type === "ark.note.v1") outbox.shown(record.conversation, record.seq, (key) => record.event.id.includes(key));
    const last = lastOf(record, (kind) => tAny(`kind_${kind}`));
    if (last) {
      const lasts = { ...this.lasts, [record.conversation]: last };
      const keys = Object.keys(lasts);
      if (keys.length > LAST_KEPT) delete lasts[keys[0]!];
      this.lasts = lasts;
    }
    if (type === "ark.message.in.v1" && (this.mine.some((one) => one.conversation === record.conversation) || this.selected === record.conversation)) {
      const looking = this.selected === record.conversation && this.page === "inbox" && !document.hidden;
      if (!looking) {
        this.unread = { ...this.unread, [record.conversation]: (this.unread[record.conversation] ?? 0) + 1 };
        play("message");
        notify(this.title(record.conversation), last?.text ?? "", record.conversation);
      }
    }
    if (open && REFRESHES.test(type)) void open.refresh();
    if (!this.live) this.touch();
  }
  private onLive(type: string, data: Data): void {
    if (type === "ark.live.call.v1") {
      if (this.fresh) this.fresh[data.conversation] = data as LiveCall;
      this.calls = { ...this.calls, [data.conversation]: data as LiveCall };
      if (!this.live) this.touch();
    } else if (type === "ark.live.call.over.v1") {
      const { [data.conversation]: _, ...rest } = this.calls;
      this.calls = rest;
      if (!this.live) this.touch();
    } else if (type === "ark.live.transcript.v1") this.timelines.get(data.conversation)?.saying(data as never);
    else if (type === "ark.live.typing.v1" && data.sender?.role === "customer") {
      const open = this.timelines.get(data.conversation);
      if (open) open.typing = data.on ? Date.now() : 0;
    } else if (type === "ark.live.transfer.v1") {
      this.transfers = { ...this.transfers, [data.conversation]: data as LiveTransfer };
    }
  }
  title(conversation: string): string {
    const card = [...this.mine, ...this.waiting].find((one) => one.conversation === conversation);
    return card?.title ?? conversation.slice(-4);
  }

  // ---- what I do ----
  async select(conversation: string): Promise<void> {
    this.selected = conversation;
    this.page = "inbox";
    const address = conversation ? `#${conversation}` : location.pathname;
    if (location.hash.slice(1) !== conversation) history.replaceState(null, "", address);
    if (!conversation) {
      this.timeline = null;
      return;
    }
    const { [conversation]: _, ...rest } = this.unread;
    this.unread = rest;
    let open = this.timelines.get(conversation);
    if (open) this.timelines.delete(conversation);
    open ??= new Timeline(conversation);
    this.timelines.set(conversation, open);
    if (this.timelines.size > OPEN_TIMELINES) this.timelines.delete(this.timelines.keys().next().value as string);
    this.timeline = open;
    if (open.loaded) {
      void open.catchUp();
      void open.refresh();
    } else await open.open();
    outbox.shown(conversation, open.last, (key) => open.items.some((item) => item.key === key));
  }
  seen(conversation: string): void {
    if (!this.unread[conversation]) return;
    const { [conversation]: _, ...rest } = this.unread;
    this.unread = rest;
  }

  async accept(offer: Offer): Promise<void> {
    try {
      if (phone.state === "ringing" && phone.ringing && (!offer.offer || phone.ringing.conversation === offer.conversation)) {
        const conversation = phone.ringing.conversation;
        await phone.answer();
        if (conversation) await this.select(conversation);
        return;
      }
      // Who takes a callback is rung here first.
      if (offer.callback) phone.expect(offer.conversation);
      if (this.live) await api(`offers/${path(offer.offer)}/accept`, { body: {} });
      else await api(`conversations/${path(offer.conversation)}/claim`, { body: { by: session.name } });
      this.declined = [...this.declined, offer.offer].slice(-100);
      await this.select(offer.conversation);
    } catch (error) {
      if (error instanceof ApiError && error.code === "offer_over") this.tell(t("offerOver"), "late");
      else this.failed(error);
    }
  }
  async decline(offer: Offer): Promise<void> {
    this.declined = [...this.declined, offer.offer].slice(-100);
    if (phone.state === "ringing" && phone.ringing?.conversation === offer.conversation) phone.hangup();
    if (!this.live || !offer.offer) return;
    try {
      await api(`offers/${path(offer.offer)}/decline`, { body: {} });
    } catch (error) {
      if (!(error instanceof ApiError && error.code === "offer_over")) this.failed(error);
    }
  }
  async claim(conversation: string): Promise<void> {
    try {
      await api(`conversations/${path(conversation)}/claim`, { body: { by: session.name } });
      await this.select(conversation);
      this.tab = "mine";
    } catch (error) {
      this.failed(error);
    }
  }
  /** The customer gets a place in the line, and is called when it is their turn. */
  async callBack(conversation: string): Promise<void> {
    try {
      const { number } = await api<{ number?: string }>(`conversations/${path(conversation)}/callback`, { body: { by: session.name } });
      this.tell(t("callbackSet", { number: number ?? "" }), "live");
    } catch (error) {
      this.failed(error);
    }
  }
  async resolve(conversation: string): Promise<void> {
    try {
      await api(`conversations/${path(conversation)}/resolve`, { body: { by: session.name } });
    } catch (error) {
      this.failed(error);
    }
  }
  async act(call: string, what: string, body: unknown, method = "POST"): Promise<boolean> {
    try {
      await api(`calls/${path(call)}/${what}`, { body, method });
      return true;
    } catch (error) {
      this.failed(error);
      return false;
    }
  }
  async hangup(conversation: string): Promise<void> {
    if (phone.conversation === conversation && phone.state !== "ready") phone.hangup();
    else await this.act(conversation, "hangup", {});
  }
  async presence(state: "ready" | "away", reason?: string): Promise<void> {
    try {
      if (this.socket?.readyState === WebSocket.OPEN) this.send({ type: "presence", state, ...(reason ? { reason } : {}) });
      else await api("desk/presence", { method: "PUT", body: { state, reason: reason ?? null } });
    } catch (error) {
      this.failed(error);
    }
  }

  async loadAll(more = false): Promise<void> {
    try {
      const before = more && this.next ? `&before=${this.next}` : "";
      const page = await api<{ conversations: Conversation[]; next: string | null }>(`conversations?limit=50${before}`);
      const list = page.conversations.filter((one) => one.kind === "call" || one.kind === "chat");
      this.everything = more ? [...this.everything, ...list] : list;
      this.next = page.next;
    } catch (error) {
      this.failed(error);
    }
  }
  get allCards(): Card[] {
    return this.everything.map((one) => cardOf(one, this.calls[one.conversation], this.lasts[one.conversation]));
  }
  /** The lists as they are shown, one after the other: for the keyboard. */
  get order(): string[] {
    const cards = this.tab === "mine" ? [...this.mine, ...this.waiting] : this.tab === "waiting" ? this.waiting : this.allCards;
    return cards.map((one) => one.conversation);
  }
  step(by: 1 | -1): void {
    const order = this.order;
    if (!order.length) return;
    const at = order.indexOf(this.selected);
    void this.select(order[at < 0 ? 0 : (at + by + order.length) % order.length]!);
  }
}
const REFRESHES = /^ark\.(owner|session|queue|leg|call|link|person|participant|recording)\./;
export const desk = new Desk();
