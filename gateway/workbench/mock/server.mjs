// A gateway for the desk to talk to while one works on it and in its tests: it speaks /api/v1 as the real one does, over a scripted day.
// It holds everything in memory and drives no telephone. What a test wants to happen it does by the object that `serve` gives back.
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { WebSocketServer } from "ws";
import { day as makeDay, ulid } from "./day.mjs";
import { picture, tone } from "./files.mjs";

const DIST = process.env.ARK_DIST ?? new URL("../dist", import.meta.url).pathname;
const KINDS = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".json": "application/json", ".svg": "image/svg+xml", ".png": "image/png", ".webmanifest": "application/manifest+json" };
// The policy of gateway/src/http/workbench.rs; a unit test compares them.
export const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const account = (name, display, roles, groups) => ({
  name, display, roles, groups, skills: {}, languages: { zh: 5 }, capacity: { calls: 1, chats: 5, chats_beside_call: 2 }, phone: null, disabled: false, created: new Date(0).toISOString(), signed_in: new Date().toISOString(),
});

export async function serve({ port = 0, day = makeDay(), dist = DIST, accounts = true } = {}) {
  const talks = new Map(day.conversations.map((one) => [one.head.conversation, one]));
  const people = new Map([
    ["anna", { ...account("anna", "安娜", ["agent", "supervisor", "operator"], ["订单与退款", "售后", "投诉建议", "企业客户"]), password: "correct horse" }],
    ["ben", { ...account("ben", "本杰明", ["agent"], ["订单与退款"]), password: "correct horse" }],
    ["cora", { ...account("cora", "柯拉", ["agent"], ["售后"]), password: "correct horse" }],
  ]);
  if (!accounts) people.clear();
  const states = new Map([["anna", ["busy", null]], ["ben", ["busy", null]], ["cora", ["ready", null]]]);
  const sessions = new Map();
  const offers = new Map();
  const keys = new Map();
  const uploads = new Map();
  const quick = new Map();
  let all = [...talks.values()].flatMap((one) => one.records).sort((a, b) => (a.at < b.at ? -1 : 1)).map((record, at) => Object.assign(record, { position: at + 1 }));
  let position = all.length;
  const logs = new Set();
  const desks = new Set();
  const phones = new Set();
  let lives = [];
  const state = { posts: 0, sent: [], refuse: null, delay: 0 };

  // ---- what is known ----
  const summary = ({ head, records }) => {
    const last = records.at(-1);
    const ended = head.state === "closed" ? new Date(Date.now() - (head.ended ?? 0) * 1000).toISOString() : undefined;
    const isChat = head.kind === "chat";
    const legs = [{ leg: 1, ...(isChat ? { medium: "chat", source: head.source } : {}), role: "customer", direction: "inbound", from: head.from ?? head.title, to: "95188", trunk: isChat ? "" : "carrier", call_id: "", phase: ended ? "ended" : "active", codec: isChat ? undefined : "PCMA", rang: head.started, answered: head.started }];
    if (head.agent) legs.push({ leg: 2, role: "agent", direction: "outbound", from: "95188", to: `web:${head.agent}`, trunk: "webrtc", call_id: "", phase: "active", rang: head.started });
    if (head.companion) legs.push({ leg: 3, medium: "companion", source: "/ark/main/companion/l1", role: "customer", direction: "inbound", from: "", to: "", trunk: "", call_id: "", phase: "active", rang: head.started });
    return {
      tenant: "main", conversation: head.conversation, kind: head.kind, started: head.started, ended, owner: head.owner, epoch: head.epoch ?? 1, plan: isChat ? undefined : head.plan, sessions: 1, legs_begun: legs.length,
      person: head.person, queue: head.state === "queued" ? head.queue : undefined, bridged: head.state === "talking" ? [1, 2] : undefined, recordings: 1, legs, last_seq: last.seq, last_at: last.at,
    };
  };
  const short = (parts) => parts.map((part) => (part.kind === "text" ? part.text : "[图片]")).join(" ");
  const lastSaid = (records) => {
    const one = records.findLast((record) => /^ark\.(message|transcript\.final)/.test(record.event.type));
    if (!one) return null;
    const { data, type, time } = one.event;
    const from = type === "ark.message.in.v1" || data.speaker === "customer" ? "customer" : data.sender?.role === "bot" ? "bot" : "agent";
    return { seq: one.seq, at: time, from, text: data.parts ? short(data.parts) : `“${data.text}”` };
  };
  const card = (one) => ({
    conversation: one.head.conversation, kind: one.head.kind, channel: one.head.channel ?? "sip", title: one.head.title, queue: one.head.queue ?? null, owner: one.head.owner, epoch: one.head.epoch ?? 1, state: one.head.state,
    since: one.head.talkingAgo ? new Date(started - one.head.talkingAgo * 1000).toISOString() : one.head.started, waiting_since: one.head.waiting ? new Date(started - one.head.waiting * 1000).toISOString() : null, position: one.head.position ?? null, last: lastSaid(one.records),
  });
  const started = Date.now();
  const ORDER = { talking: 0, open: 1, wrap_up: 2, closed: 3 };
  const snapshot = (name) => {
    const list = [...talks.values()];
    const [presence, reason] = states.get(name) ?? ["away", "signed_on"];
    const mine = list.filter((one) => one.head.owner === `agent:${name}` && one.head.state !== "closed").map(card).sort((a, b) => ORDER[a.state] - ORDER[b.state]);
    const waiting = list.filter((one) => one.head.state === "queued").map(card);
    return {
      type: "desk", me: { name, display: people.get(name)?.display ?? name, state: presence, reason, since: new Date(started - 4e5).toISOString(), wrap_up_until: null, calls: mine.filter((one) => one.kind === "call").length, chats: mine.filter((one) => one.kind === "chat").length, capacity: people.get(name)?.capacity ?? {} },
      offers: [...offers.values()].filter((one) => one.to === name).map(({ to, ...one }) => one), mine, waiting, waiting_more: 0, queues: queues(),
    };
  };
  const queues = () => ["订单与退款", "售后", "投诉建议", "企业客户"].map((name, at) => ({ name, open: at !== 3, waiting: [...talks.values()].filter((one) => one.head.state === "queued" && one.head.queue === name).length, waiting_since: null, ready: [1, 2, 0, 0][at], busy: 2 - (at % 2), away: 0, answered: 40 - at * 9, answered_30s: 36 - at * 9, abandoned: at, estimate_s: [0, 0, 140, null][at] }));
  const agents = () => [...people.values()].map((one) => {
    const [presence, reason] = states.get(one.name) ?? ["gone", null];
    return { name: one.name, display: one.display, state: presence, reason, since: new Date(started - 3e5).toISOString(), calls: presence === "busy" ? 1 : 0, chats: 1, queues: one.groups, can_take: { call: presence === "ready", chat: presence !== "away" && presence !== "gone" } };
  });
  const wallboard = () => ({
    at: new Date().toISOString(), waiting: 2, longest_wait_s: Math.floor((Date.now() - started) / 1000) + 31, answered_30s_percent: 91.4, abandoned: 3, by_state: { ready: 1, busy: 2, wrap_up: 0, away: 1, gone: 0 },
    queues: queues().map((one, at) => ({ ...one, longest_wait_s: one.waiting ? 31 : 0, line: Array.from({ length: 60 }, (_, minute) => ({ minute: new Date(started - (60 - minute) * 6e4).toISOString(), joined: Math.round(3 + 2.5 * Math.sin(minute / (5 + at)) + (minute % 7) / 3), answered: Math.round(2 + 2.3 * Math.sin(minute / (5 + at)) + (minute % 5) / 3), abandoned: 0 })) })),
    agents: agents(),
  });
  const calls = () => [...talks.values()].filter((one) => one.head.kind === "call" && one.head.state !== "closed").map(({ head }) => ({
    conversation: head.conversation, direction: "inbound", state: head.state === "queued" ? "queued" : "talking", from: head.from, to: "95188", started: head.started, answered: new Date(started - (head.talkingAgo ?? 20) * 1000).toISOString(), plan: "hotline-95188@7",
    bridged_to: head.agent ? `web:${head.agent}` : undefined, recording: head.state === "talking", legs: head.agent ? [{ leg: 1, role: "customer", who: head.from, up: true }, { leg: 2, role: "agent", who: `web:${head.agent}`, up: true }] : [],
  }));

  // ---- telling ----
  const send = (socket, message) => { if (socket.readyState === 1) socket.send(JSON.stringify(message)); };
  const tellDesks = () => { for (const socket of desks) send(socket, snapshot(socket.who)); };
  function append(conversation, type, data, id = `${conversation.slice(-6)}-${position}`, source) {
    const talk = talks.get(conversation);
    const time = new Date().toISOString();
    const record = { tenant: "main", conversation, seq: talk.records.at(-1).seq + 1, epoch: talk.head.epoch ?? 1, at: time, position: ++position, event: { specversion: "1.0", id, source: source ?? talk.head.source ?? "/ark/main/sip/carrier/1", type, time, data } };
    talk.records.push(record);
    all.push(record);
    for (const socket of logs) if (socket.subscribed) send(socket, { type: "record", record });
    tellDesks();
    return record;
  }
  function live(type, data) {
    for (const socket of logs) if (socket.subscribed) send(socket, { type: "live", live: { tenant: "main", gateway: "mock", at: new Date().toISOString(), type, data } });
  }

  // ---- asking ----
  const fail = (status, code, message = code) => Object.assign(new Error(message), { status, code });
  const found = (id) => talks.get(id) ?? (() => { throw fail(404, "not_found", "there is no such conversation"); })();
  const accepted = (talk, key, duplicate = false) => ({ conversation: talk.head.conversation, owner: talk.head.owner, epoch: talk.head.epoch ?? 1, last_seq: talk.records.at(-1).seq, ...(key ? { key } : {}), duplicate });
  const own = (talk, name) => Object.assign(talk.head, { owner: `agent:${name}`, state: talk.head.kind === "chat" ? "open" : "talking", waiting: undefined, epoch: (talk.head.epoch ?? 1) + 1 });
  function claim(talk, name) {
    const previous = talk.head.owner;
    if (previous === `agent:${name}`) return accepted(talk);
    own(talk, name);
    append(talk.head.conversation, "ark.owner.accepted.v1", { owner: `agent:${name}`, previous, history_to: talk.records.length });
    return accepted(talk);
  }
  function once(talk, key, act) {
    if (keys.has(key)) return [200, accepted(talk, key, true)];
    keys.set(key, true);
    act();
    return [201, accepted(talk, key)];
  }
  const publicly = ({ password, ...one }) => one;

  const routes = [
    ["GET", /^session\/ways$/, () => ({ password: true, oidc: { label: "企业账号登录" } })],
    ["POST", /^session\/first$/, ({ body, reply }) => { people.set(body.name, { ...account(body.name, body.display, ["operator", "supervisor", "agent"], []), password: body.password }); return signIn(body.name, reply); }],
    ["POST", /^session\/password$/, ({ me, body }) => { if (people.get(me).password !== body.old) throw fail(401, "wrong_name_or_password"); people.get(me).password = body.new; return [204]; }],
    ["POST", /^session$/, ({ body, reply }) => { if (people.get(body.name)?.password !== body.password) throw fail(401, "wrong_name_or_password"); return signIn(body.name, reply); }],
    ["DELETE", /^session$/, ({ session }) => { sessions.delete(session); return [204]; }],
    ["GET", /^session$/, ({ me }) => ({ account: publicly(people.get(me)), queues: people.get(me).groups, first: false })],
    ["GET", /^about$/, () => ({ gateway: "gw-demo", version: "0.1.0", call: ["sip:95188@127.0.0.1:5060"] })],
    ["GET", /^desk$/, ({ me }) => snapshot(me)],
    ["PUT", /^desk\/presence$/, ({ me, body }) => { states.set(me, [body.state, body.reason]); tellDesks(); return [204]; }],
    ["POST", /^offers\/([^/]+)\/accept$/, ({ me, at }) => { const offer = offers.get(at[0]); if (!offer) throw fail(409, "offer_over"); offers.delete(at[0]); return claim(found(offer.conversation), me); }],
    ["POST", /^offers\/([^/]+)\/decline$/, ({ at }) => { offers.delete(at[0]); tellDesks(); return [204]; }],
    ["GET", /^agents$/, agents], ["GET", /^queues$/, queues], ["GET", /^wallboard$/, wallboard],
    ["GET", /^audit$/, () => [200, { entries: [{ seq: 7, at: new Date().toISOString(), what: "sign_in_failed", by: null, account: "anna", detail: null, address: "192.0.2.7", conversation: null }], next: null }]],
    ["GET", /^accounts$/, () => [200, [...people.values()].map(publicly)]],
    ["POST", /^accounts$/, ({ body }) => { if (people.has(body.name)) throw fail(409, "conflict", "there is such an account"); people.set(body.name, { ...account(body.name, body.display, [], []), ...body, signed_in: null }); return [201, publicly(people.get(body.name))]; }],
    ["PATCH", /^accounts\/([^/]+)$/, ({ at, body }) => { Object.assign(people.get(at[0]), body); return publicly(people.get(at[0])); }],
    ["DELETE", /^accounts\/([^/]+)$/, ({ at }) => { people.delete(at[0]); return [204]; }],
    ["POST", /^accounts\/([^/]+)\/password$/, () => [204]],
    ["GET", /^calls$/, () => ({ calls: calls() })],
    ["POST", /^calls\/([^/]+)\/links$/, () => [201, { link: "l9", url: "https://ark.example/u/abc", expires: "", code: "482913", short_page: "ark.example/u", sent: [{ way: "sms", ok: true }, { way: "code", ok: true }] }]],
    ["POST", /^calls\/([^/]+)\/supervisors$/, () => [202, { leg: 9 }]],
    ["POST", /^calls\/([^/]+)\/hangup$/, ({ at }) => { const talk = found(at[0]); talk.head.state = "closed"; talk.head.ended = 0; append(at[0], "ark.call.ended.v1", { leg: 1, by: "ark", cause: "hangup", ringing_ms: 800, talk_ms: 217000 }); live("ark.live.call.over.v1", { conversation: at[0] }); return [204]; }],
    ["POST", /^calls\/([^/]+)\/hold$/, ({ at, body }) => { append(at[0], body.on ? "ark.leg.held.v1" : "ark.leg.resumed.v1", { leg: 1, held_ms: 4000 }); return [204]; }],
    ["POST", /^calls\/([^/]+)\/recording$/, ({ at, body }) => { append(at[0], body.paused ? "ark.recording.paused.v1" : "ark.recording.resumed.v1", { leg: 1, recording: "call-1.opus", paused_ms: 3000 }); return [204]; }],
    ["POST", /^calls\/([^/]+)\/legs\/\d+\/mute$/, () => [204]], ["POST", /^calls\/([^/]+)\/dtmf$/, () => [204]],
    ["PATCH", /^calls\/([^/]+)\/supervisors\/\d+$/, () => [204]], ["DELETE", /^calls\/([^/]+)\/supervisors\/\d+$/, () => [204]],
    ["GET", /^conversations$/, ({ query }) => ({ conversations: [...talks.values()].filter((one) => query.get("state") !== "open" || one.head.state !== "closed").map(summary).sort((a, b) => (a.conversation < b.conversation ? 1 : -1)), next: null })],
    ["GET", /^conversations\/([^/]+)$/, ({ at }) => summary(found(at[0]))],
    ["GET", /^conversations\/([^/]+)\/events$/, ({ at, query }) => { const after = Number(query.get("after_seq") ?? 0); return { records: found(at[0]).records.filter((one) => one.seq > after).slice(0, Number(query.get("limit") ?? 100)) }; }],
    ["GET", /^conversations\/([^/]+)\/summary$/, ({ at }) => found(at[0]).head.conversation === day.main
      ? { to_seq: 24, lines: [
        { kind: "reason", text: { zh: "来意：订单 2218 被扣款两次", en: "Reason: charged twice for order 2218" }, seqs: [15] },
        { kind: "tried", text: { zh: "已看账单截图，第二笔是重复支付", en: "The bill was looked at: the second is a double payment" }, seqs: [20, 22] },
        { kind: "ivr", text: { zh: "进线：普通话 → 订单 2218 → 人工，等了 51 秒", en: "Plan: Mandarin → order 2218 → person, waited 51 s" }, seqs: [8, 12] },
        { kind: "last", text: { zh: "最后一句：系统已经在退款，预计今天到账", en: "Last: the refund is on its way, due today" }, seqs: [23] }] }
      : { to_seq: 1, lines: [] }],
    ["POST", /^conversations\/([^/]+)\/messages$/, ({ at, body, me }) => {
      const talk = found(at[0]);
      if (talk.head.owner !== `agent:${me}` && talk.head.state !== "queued") throw fail(409, "not_owner", "somebody else owns it");
      return once(talk, body.key, () => {
        if (talk.head.owner !== `agent:${me}`) claim(talk, me);
        state.sent.push(body.text);
        const thread = talk.records.findLast((one) => one.event.data.thread)?.event.data.thread ?? "t";
        append(at[0], "ark.message.out.v1", { thread, conversation: at[0], epoch: talk.head.epoch, sender: { role: "agent", id: me, display: people.get(me).display }, parts: [{ kind: "text", text: body.text }] }, body.key);
        setTimeout(() => append(at[0], "ark.receipt.v1", { thread, message: body.key, state: "delivered" }), 60);
      });
    }],
    ["POST", /^conversations\/([^/]+)\/pictures$/, ({ at, query, me, raw }) => {
      const talk = found(at[0]);
      return once(talk, query.get("key"), () => {
        const name = `up${uploads.size}xxxxxxxx`;
        uploads.set(name, raw);
        append(at[0], "ark.message.out.v1", { thread: "t", conversation: at[0], epoch: 2, sender: { role: "agent", id: me, display: people.get(me).display }, parts: [{ kind: "image", media: { ref: `ark-media:${name}`, mime: "image/png", size: raw.length, sha256: "", name: query.get("name") } }] }, query.get("key"));
      });
    }],
    ["POST", /^conversations\/([^/]+)\/notes$/, ({ at, body, me }) => once(found(at[0]), body.key, () => append(at[0], "ark.note.v1", { by: `agent:${me}`, text: body.text }, body.key))],
    ["POST", /^conversations\/([^/]+)\/typing$/, () => [204]],
    ["POST", /^conversations\/([^/]+)\/claim$/, ({ at, me }) => claim(found(at[0]), me)],
    ["POST", /^conversations\/([^/]+)\/reveal$/, ({ at, me }) => { append(at[0], "ark.number.revealed.v1", { by: `agent:${me}` }); return { number: "+86 138 0013 1234" }; }],
    ["POST", /^conversations\/([^/]+)\/resolve$/, ({ at, me }) => { const talk = found(at[0]); Object.assign(talk.head, { state: "closed", ended: 0 }); append(at[0], "ark.session.closed.v1", { session: "s", reason: "resolved", by: `agent:${me}` }); return accepted(talk); }],
    ["POST", /^conversations\/([^/]+)\/transfer$/, ({ at, body }) => {
      const talk = found(at[0]);
      const target = body.to.agent ?? body.to.queue ?? body.to.number;
      state.sent.push(body);
      if (body.to.queue) { Object.assign(talk.head, { owner: `queue:${target}`, queue: target, state: "queued", waiting: (Date.now() - started) / -1000 }); append(at[0], "ark.owner.released.v1", { previous: "agent:anna", queue: target, reason: "transfer", waiting_since: new Date().toISOString() }); } else {
        append(at[0], "ark.owner.offered.v1", { offer: "x", owner: talk.head.owner, to: `agent:${target}`, mode: body.mode === "warm" ? "warm" : "cold", by: talk.head.owner, expected_epoch: 2, deadline: new Date(Date.now() + 3e4).toISOString(), note: body.note });
        live("ark.live.transfer.v1", { conversation: at[0], state: body.mode === "warm" ? "consulting" : "ringing", target: `agent:${target}`, from: "agent:anna" });
      }
      return [202, { transfer: "x", offer: "x", state: "ringing" }];
    }],
    ["POST", /^conversations\/([^/]+)\/transfer\/(join|complete|cancel)$/, ({ at }) => { live("ark.live.transfer.v1", { conversation: at[0], state: at[1] === "join" ? "three_way" : "over", target: "agent:cora", from: "agent:anna" }); return [204]; }],
    ["GET", /^search$/, ({ query }) => {
      const words = query.get("q").toLowerCase();
      const said = (record) => record.event.data.text ?? (record.event.data.parts ?? []).map((part) => part.text ?? part.fallback_text ?? "").join(" ");
      const hits = [...talks.values()].flatMap((one) => one.records).filter((record) => said(record).toLowerCase().includes(words)).slice(-20).reverse();
      const who = (type) => (type === "ark.message.in.v1" ? "customer" : type === "ark.note.v1" ? "note" : "agent");
      return { hits: hits.map((one) => ({ conversation: one.conversation, seq: one.seq, at: one.at, type: one.event.type, who: who(one.event.type), text: said(one) })), conversations: [...new Set(hits.map((one) => one.conversation))].map((id) => summary(found(id))) };
    }],
    ["GET", /^quick-replies$/, ({ me }) => ({ lists: [{ ...(quick.get(me) ?? { version: 0, replies: [] }), editable: true }, ...people.get(me).groups.slice(0, 1).map((group) => ({ group, ...(quick.get(`group ${group}`) ?? { version: 1, replies: ["我们的工作时间是 9:00 到 18:00。"] }), editable: people.get(me).roles.includes("supervisor") }))] })],
    ["PUT", /^quick-replies$/, ({ me, body }) => {
      const name = body.group ? `group ${body.group}` : me;
      if (!body.group && (quick.get(name)?.version ?? 0) !== body.version) throw fail(409, "conflict");
      quick.set(name, { version: body.version + 1, replies: body.replies });
      return { ...(body.group ? { group: body.group } : {}), ...quick.get(name), editable: true };
    }],
    ["GET", /^persons\/([^/]+)$/, ({ at }) => ({ person: at[0], keys: [{ kind: "phone_e164", value: "+86 138****1234", assurance: "otp", at: "" }, { kind: "alipay_user", value: "2088****9917", assurance: "channel_verified", at: "" }], conversations: [...talks.values()].filter((one) => one.head.person === at[0]).map(summary).sort((a, b) => (a.conversation < b.conversation ? 1 : -1)) })],
    ["GET", /^persons$/, ({ query }) => { if (!query.get("value")?.endsWith("1234")) throw fail(404, "not_found"); return { person: "p", keys: [], conversations: [...talks.values()].filter((one) => one.head.person).map(summary) }; }],
    ["POST", /^webrtc\/tokens$/, ({ body }) => ({ token: `rtc-${body.operator}`, until: "" })],
  ];

  function signIn(name, reply) {
    const session = `mock-${name}-${sessions.size}`;
    sessions.set(session, name);
    reply.setHeader("set-cookie", `ark_session=${session}; Path=/; HttpOnly; SameSite=Strict`);
    return { account: publicly(people.get(name)) };
  }
  const cookieOf = (request) => /ark_session=([^;]+)/.exec(request.headers.cookie ?? "")?.[1];

  async function handle(request, reply) {
    const url = new URL(request.url, "http://mock");
    if (!url.pathname.startsWith("/api/v1/")) return page(url.pathname, reply);
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const raw = Buffer.concat(chunks);
    const path = decodeURIComponent(url.pathname.slice("/api/v1/".length));
    const session = cookieOf(request);
    const me = sessions.get(session);
    if (state.refuse?.(request.method, path)) { request.socket.destroy(); return; }
    if (request.method === "POST") state.posts += 1;
    const json = (status, value) => { reply.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" }); reply.end(value === undefined ? "" : JSON.stringify(value)); };
    const open = /^(session|session\/ways|session\/first|about)$/.test(path);
    if (!me && !(open && (request.method === "POST" || path === "session/ways" || (path === "about" && !people.size)))) return json(401, { error: { code: "unauthorized", message: "sign in" }, first: people.size === 0 });
    if (request.method === "GET" && /^media\//.test(path)) return file(reply, uploads.get(path.slice(6)) ?? picture(), "image/png");
    if (request.method === "GET" && /^conversations\/[^/]+\/recordings\//.test(path)) return file(reply, tone(), "audio/wav", request);
    for (const [method, pattern, act] of routes) {
      const match = method === request.method && pattern.exec(path);
      if (!match) continue;
      try {
        const body = raw.length && /json/.test(request.headers["content-type"] ?? "") ? JSON.parse(raw) : {};
        const answer = act({ at: match.slice(1), body, raw, query: url.searchParams, me, session, reply });
        const [status, value] = Array.isArray(answer) && typeof answer[0] === "number" ? answer : [200, answer];
        if (state.delay) await new Promise((done) => { setTimeout(done, state.delay); });
        if (state.lose?.(request.method, path)) { request.socket.destroy(); return; }
        return json(status, value);
      } catch (error) {
        if (!error.status) throw error;
        return json(error.status, { error: { code: error.code, message: error.message } });
      }
    }
    return json(404, { error: { code: "not_found", message: "there is nothing here; /api/v1/openapi.json says what there is" } });
  }
  function page(path, reply) {
    const file_ = path === "/" ? "/index.html" : path;
    const whole = join(dist, file_);
    if (file_.includes("..") || !existsSync(whole) || !statSync(whole).isFile()) { reply.writeHead(404); reply.end(); return; }
    reply.writeHead(200, { "content-type": KINDS[extname(whole)] ?? "application/octet-stream", "cache-control": "no-cache", ...(path === "/" ? { "content-security-policy": POLICY } : {}), "x-content-type-options": "nosniff" });
    createReadStream(whole).pipe(reply);
  }
  function file(reply, bytes, kind, request) {
    const range = /bytes=(\d+)-(\d*)/.exec(request?.headers.range ?? "");
    if (!range) { reply.writeHead(200, { "content-type": kind, "accept-ranges": "bytes", "content-length": bytes.length }); reply.end(bytes); return; }
    const [from, to] = [Number(range[1]), range[2] ? Number(range[2]) : bytes.length - 1];
    reply.writeHead(206, { "content-type": kind, "content-range": `bytes ${from}-${to}/${bytes.length}`, "content-length": to - from + 1 });
    reply.end(bytes.subarray(from, to + 1));
  }

  const server = createServer((request, reply) => handle(request, reply).catch((error) => { reply.writeHead(500); reply.end(String(error)); }));
  const sockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) => {
    const path = new URL(request.url, "http://mock").pathname;
    const me = sessions.get(cookieOf(request));
    if ((!me && path !== "/rtc") || state.deaf) { socket.destroy(); return; }
    sockets.handleUpgrade(request, socket, head, (client) => {
      client.who = me;
      if (path === "/api/v1/socket") logSocket(client);
      else if (path === "/api/v1/desk/socket") deskSocket(client);
      else if (path === "/rtc") rtcSocket(client);
      else client.close();
    });
  });
  function logSocket(client) {
    logs.add(client);
    client.on("close", () => logs.delete(client));
    client.on("message", (text) => {
      const message = JSON.parse(text);
      if (message.type !== "subscribe") return;
      client.subscribed = true;
      if (message.after !== undefined) for (const record of all.filter((one) => one.position > message.after)) send(client, { type: "record", record });
      for (const call of calls()) send(client, { type: "live", live: { type: "ark.live.call.v1", data: call } });
      for (const one of lives) send(client, { type: "live", live: one });
      send(client, { type: "caught_up", position });
    });
    send(client, { type: "welcome", gateway: "gw-demo", version: "0.1.0" });
  }
  function deskSocket(client) {
    desks.add(client);
    client.on("close", () => desks.delete(client));
    client.on("message", (text) => {
      const message = JSON.parse(text);
      if (message.type === "presence") { states.set(client.who, [message.state, message.reason ?? null]); tellDesks(); }
      if (message.type === "wallboard" && message.on) send(client, { type: "wallboard", ...wallboard() });
    });
    send(client, snapshot(client.who));
  }
  function rtcSocket(client) {
    phones.add(client);
    client.on("close", () => phones.delete(client));
    client.on("message", (text) => {
      const message = JSON.parse(text);
      if (message.type === "hello") send(client, { type: "welcome", session: "r1", operator: message.token.replace("rtc-", ""), iceServers: [] });
    });
  }

  await new Promise((done) => { server.listen(port, "127.0.0.1", done); });
  return {
    port: server.address().port, day, talks, state, append, live, tellDesks, people,
    session(name = "anna") { const session = `mock-${name}-${sessions.size}`; sessions.set(session, name); return session; },
    offer(conversation, to, more = {}) {
      const talk = talks.get(conversation);
      const offer = { offer: ulid(), conversation, kind: talk.head.kind, queue: talk.head.queue, by: `queue:${talk.head.queue}`, channel: talk.head.channel ?? "sip", title: talk.head.title, since: new Date().toISOString(), deadline: new Date(Date.now() + 20_000).toISOString(), epoch: 1, summary: null, note: null, to, ...more };
      offers.set(offer.offer, offer);
      tellDesks();
      return offer;
    },
    add(one) { talks.set(one.head.conversation, one); for (const record of one.records) { record.position = ++position; all.push(record); } tellDesks(); return one.head.conversation; },
    always(type, data) { lives.push({ type, data }); live(type, data); },
    /** Cuts every socket. */
    cut() { for (const socket of [...logs, ...desks, ...phones]) socket.terminate(); },
    logSockets: () => logs.size,
    phones: () => phones.size,
    /** A call rings at every telephone; gives what the page says to it. */
    ring(call) {
      for (const phone of phones) send(phone, { type: "ringing", ...call });
      return new Promise((done) => { for (const phone of phones) phone.once("message", (text) => done(JSON.parse(text))); });
    },
    close() { for (const socket of [...logs, ...desks, ...phones]) socket.terminate(); server.closeAllConnections?.(); return new Promise((done) => { server.close(done); }); },
  };
}
