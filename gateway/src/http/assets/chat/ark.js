"use strict";
// Ark's chat in a page: <script src="https://ark.example/chat/ark.js" data-channel="web" async></script>. docs/webchat.md
(() => {
const me = document.currentScript, data = me.dataset, channel = data.channel || "web";
const at = `${new URL(me.src).origin}/chat/${encodeURIComponent(channel)}`;
const zh = (data.lang || document.documentElement.lang || navigator.language || "").toLowerCase().startsWith("zh");
const W = zh ? {
  open: "打开聊天", close: "关闭聊天", write: "输入消息……", send: "发送", emoji: "表情", image: "发送图片", file: "发送文件", call: "语音通话", you: "您", house: "客服", bot: "智能助手",
  on: "我们在线", away: "现在没有人在线", wait: "已排队", ahead: (n) => n ? `已排队 · 前面 ${n} 位` : "已排队 · 下一位就是您", person: (n) => `${n || "客服"} 为您服务`, plan: "智能助手为您服务", joined: (n) => `${n || "客服"} 为您服务`,
  back: (t) => `${t} 有人`, ended: "本次服务已结束，再次留言会开始新的对话", off: "连接断开，正在重连……您写的内容不会丢失", human: "转人工", sending: "发送中……", sent: "已送达", bad: "没有发出", retry: "重试", drop: "松开即可发送图片", fresh: "有新消息 ↓", types: "对方正在输入", large: "文件太大，最多 20 MB", kind: "这个文件不能发送", long: "太长了，最多 4000 字", calling: "正在接通……", ready: "正在接通……", broken: "网络变化，正在恢复……", up: "通话中", mute: "静音", unmute: "取消静音", end: "挂断", nocall: "现在无法通话，请稍后再试", today: "今天", pic: "图片",
} : {
  open: "Open chat", close: "Close chat", write: "Write a message…", send: "Send", emoji: "Emoji", image: "Send a picture", file: "Send a file", call: "Call", you: "You", house: "Support", bot: "Assistant",
  on: "We are online", away: "Nobody is here now", wait: "In line", ahead: (n) => n ? `In line · ${n} before you` : "In line · you are next", person: (n) => `${n || "Support"} is with you`, plan: "The assistant is with you", joined: (n) => `${n || "Support"} has joined`,
  back: (t) => `back ${t}`, ended: "This conversation is over. Write again to begin a new one.", off: "Connection lost, reconnecting… What you write is kept.", human: "Talk to a person", sending: "Sending…", sent: "Delivered", bad: "Not sent", retry: "Retry", drop: "Drop to send the picture", fresh: "New messages ↓", types: "is typing", large: "Too large: at most 20 MB", kind: "This file cannot be sent", long: "Too long: at most 4,000 characters", calling: "Connecting…", ready: "Connecting…", broken: "Network changed, recovering…", up: "Talking", mute: "Mute", unmute: "Unmute", end: "Hang up", nocall: "We cannot take a call now. Please try again later.", today: "Today", pic: "Picture",
};
const EMOJI = "😀 😄 😂 🤣 😊 😍 😘 😎 🤔 😅 😭 😢 😡 😱 😴 🙄 👍 👎 👏 🙏 💪 👌 ✌️ 🤝 ❤️ 💔 🎉 🔥 ⭐ ✅ ❌ ❓ 🎁 📦 🚚 💳 📷 📞 ⏰ ☕".split(" ");
const ICON = { chat: "M21 11.5a8.5 8.5 0 0 1-12.3 7.6L3 21l1.9-5.7A8.5 8.5 0 1 1 21 11.5z", down: "M6 9l6 6 6-6", x: "M6 6l12 12M18 6L6 18", image: "M3 5h18v14H3zM3 16l5-5 4 4 3-3 6 6M15.5 9h.01", smile: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M8.5 14.5a4.5 4.5 0 0 0 7 0M9 9.5h.01M15 9.5h.01", send: "M12 19V5M5.5 11.5L12 5l6.5 6.5", phone: "M6.5 3h3l1.5 5-2 1.5a12 12 0 0 0 5.5 5.5L16 13l5 1.5v3a3 3 0 0 1-3.3 3A17 17 0 0 1 3.5 6.3 3 3 0 0 1 6.5 3z", doc: "M14 3H6v18h12V7zM14 3v4h4" };
const icon = (name) => { const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS(svg.namespaceURI, "path"); svg.setAttribute("viewBox", "0 0 24 24"); svg.setAttribute("aria-hidden", "true"); path.setAttribute("d", ICON[name]); svg.append(path); return svg; };
// el("button#go.ib", {click: f, "aria-label": "x"}, child, ...)
const el = (what, set = {}, ...children) => {
  const [, tag, id, names] = /^(\w+)(?:#(\w+))?(?:\.(.*))?$/.exec(what), node = document.createElement(tag);
  if (id) node.id = id;
  if (names) node.className = names.replaceAll(".", " ");
  if (tag === "button") node.type = "button";
  for (const [name, value] of Object.entries(set)) typeof value === "function" ? node.addEventListener(name, value) : value === false || node.setAttribute(name, value === true ? "" : value);
  node.append(...children);
  return node;
};
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(36).padStart(2, "0")).join("");
const memory = {};
const load = (box, key) => { try { return JSON.parse(box().getItem(key)) || {}; } catch { return memory[key] || {}; } };
const save = (box, key, value) => { memory[key] = value; try { box().setItem(key, JSON.stringify(value)); } catch { /* private mode: in memory */ } };
const local = () => localStorage, session = () => sessionStorage, KEY = `ark.${channel}`;
let keep = { out: [], ...load(local, KEY) };
const put = (change) => save(local, KEY, Object.assign(keep, change));
const trip = { id: random(), entrance: location.href, referrer: document.referrer, ...load(session, `${KEY}.visit`) };
save(session, `${KEY}.visit`, trip);
let identity = null;

// ---- what is seen ----
const host = el("div#ark"), root = host.attachShadow({ mode: "open" });
const badge = el("span#badge", { hidden: true }), go = el("button#go", { "aria-label": W.open, "aria-expanded": "false", click: () => show(!shown) }, icon("chat"), badge);
const how = el("small#how", { role: "status" }), title = el("b"), off = el("div#off", { role: "status", hidden: true }, W.off);
const log = el("div#log", { role: "log", "aria-live": "polite", tabindex: "0", scroll: () => { if (bottom()) down.hidden = true; } });
const dots = el("div#dots", { hidden: true, role: "img", "aria-label": W.types }, el("i"), el("i"), el("i"));
const down = el("button#down", { hidden: true, click: () => { down.hidden = true; log.scrollTop = 1e9; } }, W.fresh);
const text = el("textarea", { rows: "1", placeholder: W.write, "aria-label": W.write, maxlength: "4000", enterkeyhint: "send" });
const picker = el("input", { type: "file", hidden: true, multiple: true, tabindex: "-1", change: () => { [...picker.files].forEach(upload); picker.value = ""; } });
const emo = el("div#emo", { role: "group", "aria-label": W.emoji, hidden: true }, ...EMOJI.map((one) => el("button", { click: () => { text.setRangeText(one, text.selectionStart, text.selectionEnd, "end"); emoji(false); text.focus(); typed(); } }, one)));
const attach = el("button.ib", { "aria-label": W.image, click: () => picker.click() }, icon("image"));
const smile = el("button.ib", { "aria-label": W.emoji, "aria-expanded": "false", click: () => emoji(emo.hidden) }, icon("smile"));
const ring = el("button.ib", { "aria-label": W.call, hidden: true, click: () => say({ type: "call" }) }, icon("phone"));
const talk = el("div#call", { hidden: true }), talks = el("span", { role: "status" }), mute = el("button", { click: () => line.mute(!line.muted) }), voice = el("audio", { autoplay: true });
talk.append(talks, mute, el("button#end", { click: () => { line.hangup(); line.close(); } }, W.end), voice);
const sends = el("button#send.ib", { type: "submit", "aria-label": W.send, "aria-disabled": "true" }, icon("send"));
sends.type = "submit";
const form = el("form", { submit: (event) => { event.preventDefault(); post(text.value); } }, attach, picker, smile, text, sends);
const drop = el("div#drop", { hidden: true }, W.drop);
const box = el("section#box", { role: "dialog", hidden: true }, el("header", {}, el("span#mark", { "aria-hidden": "true" }, icon("chat")), el("div.who", {}, title, how), ring, el("button.ib", { "aria-label": W.close, click: () => show(false) }, icon("x"))), off, talk, log, down, emo, form, drop);
log.append(dots);
root.append(box, go);
let face = null, shown = false, unread = 0, standing = { phase: "none", open: true }, line = null, began = 0;

const look = () => {
  const theme = data.theme || face.theme;
  host.setAttribute("look", theme === "auto" ? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light") : theme);
};
const word = (words) => words[zh ? "zh" : "en"];
const clock = (date) => date.toLocaleTimeString(zh ? "zh-CN" : "en", { hour: "2-digit", minute: "2-digit", hour12: false });
const day = (date) => new Date().toDateString() === date.toDateString() ? W.today : date.toLocaleDateString(zh ? "zh-CN" : "en", { month: "short", day: "numeric", weekday: "short" });
const bottom = () => log.scrollHeight - log.scrollTop - log.clientHeight < 60;
const seen = () => shown && document.visibilityState === "visible";

function show(on) {
  shown = on;
  box.hidden = !on;
  host.toggleAttribute("open", on);
  go.setAttribute("aria-expanded", String(on));
  go.setAttribute("aria-label", on ? W.close : W.open);
  go.replaceChild(icon(on ? "down" : "chat"), go.firstChild);
  if (on) { count(0); typed(); connect(); log.scrollTop = 1e9; if (innerWidth > 520) text.focus(); reads(); } else { emoji(false); go.focus(); }
}
function emoji(on) {
  emo.hidden = !on;
  smile.setAttribute("aria-expanded", String(on));
  if (on) emo.firstChild.focus();
}
function count(n) {
  unread = n;
  badge.hidden = !n;
  badge.textContent = n > 99 ? "99+" : n;
  if (!shown) go.setAttribute("aria-label", n ? `${W.open} (${n})` : W.open);
}
function stand() {
  const { phase, name, ahead, open, opens } = standing;
  how.textContent = phase === "person" ? W.person(name) : phase === "plan" ? W.plan : !open ? [W.away, opens && W.back(`${day(new Date(opens))} ${clock(new Date(opens))}`)].filter(Boolean).join(" · ") : phase === "waiting" ? (ahead === undefined ? W.wait : W.ahead(ahead)) : W.on;
  how.className = phase === "person" || (open && phase !== "waiting") ? "on" : open ? "on wait" : "";
  const note = log.querySelector(".away");
  if (note) note.remove();
  if (!open && phase !== "person") insert(el("div.s.away", {}, word(face.away)));
}
// Before the messages that wait and the dots; follows the end when the reader is there.
function insert(node, end) {
  const follow = bottom(), before = end ? dots : log.querySelector(".m.wait") || dots, by = (one) => one && one.dataset.by;
  log.insertBefore(node, before);
  // What one says in a row stands together.
  for (const one of [node, node.nextElementSibling]) if (by(one)) one.classList.toggle("more", by(one) === by(one.previousElementSibling));
  if (follow || end) log.scrollTop = 1e9;
  else down.hidden = false;
}
let last = 0;
const stamp = (when) => {
  if (when - last > 9e5) insert(el("div.s", {}, `${day(when)} ${clock(when)}`));
  last = +when;
};
function words(value) {
  const node = el("div.p");
  for (const part of value.split(/(https?:\/\/[^\s<>"'，。！？、）】]+)/)) node.append(/^https?:/.test(part) ? el("a", { href: part, target: "_blank", rel: "noopener noreferrer nofollow" }, part) : part);
  if (/^(\p{Extended_Pictographic}|\p{Emoji_Modifier}|\u200d|\ufe0f){1,6}$/u.test(value)) node.classList.add("big");
  return node;
}
function part(one) {
  if (one.part === "text") return words(one.text);
  if (one.part === "image") {
    const img = el("img", { src: `${at}/files/${one.file}`, alt: one.name || W.pic, load: () => { if (bottom()) log.scrollTop = 1e9; } });
    if (one.size) { img.width = one.size[0]; img.height = one.size[1]; }
    return el("a.pic", { href: img.src, target: "_blank", rel: "noopener" }, img);
  }
  if (one.part === "file") return el("a.p.doc", { href: `${at}/files/${one.file}`, download: true }, icon("doc"), one.name || W.file);
  const acts = one.actions.map((act) => act.url ? el("a", { href: act.url, target: "_blank", rel: "noopener noreferrer" }, act.label) : el("button", { click: () => post(act.label) }, act.label));
  return el("div.card", {}, el("b", {}, one.title), one.body || "", acts.length ? el("div.chips", {}, ...acts) : "");
}
const nodes = new Map();
function bubble(from, name, parts, when, id) {
  const old = nodes.get(id);
  const who = { you: W.you, agent: name || W.house, bot: W.bot }[from] || W.house;
  const node = el(`div.m.${from}`, { "data-by": from + (name || "") }, from === "you" ? el("span.sr", {}, `${who}: `) : el("b", {}, who), ...parts);
  node.title = clock(when);
  nodes.set(id, node);
  if (old) old.remove();
  return node;
}
function greet() {
  const first = bubble("bot", null, [words(word(face.greeting))], new Date(), "greeting");
  first.querySelector("b").textContent = W.house;
  const asks = [...face.suggestions.map((one) => el("button", { click: () => post(word(one)) }, word(one))), el("button.main", { click: human }, W.human)];
  log.prepend(first, el("div#asks.chips", {}, ...asks));
}
const asked = () => { const asks = root.getElementById("asks"); if (asks) asks.remove(); };

// ---- what is said ----
let state = "", stuck = 0;
function typed() {
  text.style.height = "auto";
  if (shown) text.style.height = `${Math.min(text.scrollHeight + 2, 124)}px`;
  sends.setAttribute("aria-disabled", String(!text.value.trim()));
  put({ draft: text.value });
}
let typing = 0, pause;
const types = (on) => { clearTimeout(pause); if (on ? Date.now() - typing > 3000 : typing) { typing = on ? Date.now() : 0; say({ type: "typing", on }); } if (on) pause = setTimeout(types, 4000, false); };
const human = () => post(W.human, { type: "person" });
function post(value, more) {
  value = value.trim();
  if (!value) return;
  const one = { id: random(), text: value, ...more };
  put({ out: [...keep.out, one] });
  if (value === text.value.trim()) { text.value = ""; typed(); types(false); }
  wait(one);
  connect();
  flush();
  text.focus();
}
// A message of the visitor that the log does not have yet.
function wait({ id, text: value }, content) {
  asked();
  const when = new Date();
  stamp(when);
  const node = bubble("you", null, [content || words(value)], when, id);
  node.classList.add("wait");
  node.append(el("small", { role: "status" }, W.sending));
  insert(node, true);
}
function mark(id, label, bad, retry) {
  const node = nodes.get(id), small = node && node.querySelector("small");
  if (!small) return;
  small.textContent = label;
  small.classList.toggle("bad", Boolean(bad));
  if (retry) small.append(el("button", { click: retry }, W.retry));
}
let flying = "";
// One after the other, and again until each is acknowledged: the order stays, and the ids tell copies.
function flush() {
  const one = keep.out[0];
  if (state !== "live" || flying || !one) return;
  flying = one.id;
  say({ type: "send", ...one });
}
const landed = (id) => { if (flying === id) flying = ""; };
function acked(id) {
  landed(id);
  put({ out: keep.out.filter((one) => one.id !== id) });
  mark(id, W.sent);
  flush();
}
function nacked({ id, code, again, after_ms }) {
  landed(id);
  if (again) { setTimeout(flush, after_ms || 2000); return; }
  put({ out: keep.out.filter((one) => one.id !== id) });
  mark(id, { too_long: W.long, file: W.kind }[code] || W.bad, true);
  flush();
}
const files = [];
function upload(file) {
  if (face.files === "none" || (face.files === "images" && !file.type.startsWith("image/"))) return;
  const id = random(), bar = el("i"), pic = el("div.pic", {}, bar), job = { id, file, bar };
  pic.style.minWidth = "120px";
  pic.style.minHeight = "60px";
  wait({ id }, file.type.startsWith("image/") ? pic : el("div.p.doc", {}, icon("doc"), file.name));
  if (file.size > 20971520) { mark(id, W.large, true); return; }
  // A canvas, because sites' policies may forbid blob: addresses.
  if (window.createImageBitmap) createImageBitmap(file).then((bitmap) => {
    const scale = Math.min(1, 280 / bitmap.width, 260 / bitmap.height), canvas = el("canvas", { width: Math.max(1, bitmap.width * scale | 0), height: Math.max(1, bitmap.height * scale | 0) });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    pic.style.minWidth = pic.style.minHeight = "";
    pic.prepend(canvas);
    log.scrollTop = 1e9;
  }).catch(() => {});
  files.push(job);
  connect();
  next();
}
let busy = false;
function next() {
  const job = files[0];
  if (!job || busy || state !== "live") return;
  busy = true;
  const ask = new XMLHttpRequest(), query = new URLSearchParams({ id: job.id, name: job.file.name || "", visit: trip.id });
  ask.open("POST", `${at}/files?${query}`);
  ask.setRequestHeader("authorization", `Bearer ${keep.token}`);
  ask.setRequestHeader("content-type", job.file.type || "application/octet-stream");
  ask.upload.onprogress = (event) => { if (event.lengthComputable) { const done = `${Math.round(event.loaded / event.total * 100)}%`; job.bar.style.setProperty("--w", done); mark(job.id, done); } };
  ask.onloadend = () => {
    busy = false;
    files.shift();
    let told = [];
    try { told = JSON.parse(ask.responseText); } catch { /* not an answer */ }
    const answer = Array.isArray(told) && told.find((one) => one.id === job.id);
    if (answer && answer.type === "nack" && !answer.again) nacked(answer);
    else if (answer && answer.type === "ack") { job.bar.remove(); mark(job.id, W.sent); }
    else mark(job.id, W.bad, true, () => { mark(job.id, W.sending); files.push(job); next(); });
    next();
  };
  ask.send(job.file);
}

// ---- the road ----
let socket = null, sse = data.transport === "sse", tries = 0, failed = 0, after = null, wanted = false, stop = null;
const trail = () => ({ url: location.href, title: document.title, entrance: trip.entrance, referrer: trip.referrer, language: data.lang || document.documentElement.lang || navigator.language });
let introduced = null;
const hello = () => ({ ...(keep.token ? { token: keep.token } : {}), ...(after ? { after } : {}), ...((introduced = identity) ? { identify: identity } : {}), visit: trip.id, page: trail() });
function connect() {
  if (!face || state) return;
  wanted = true;
  state = "opening";
  flying = "";
  if (sse) { stream(); return; }
  const mine = socket = new WebSocket(`${at.replace(/^http/, "ws")}/socket`);
  let welcome = false;
  mine.onopen = () => mine.send(JSON.stringify({ type: "hello", ...hello() }));
  mine.onmessage = (event) => { welcome = true; if (socket === mine) hear(JSON.parse(event.data)); };
  mine.onclose = () => {
    if (socket !== mine) return;
    // A proxy that lets no sockets through: a stream and requests instead.
    if (!welcome && ++failed >= 3 && navigator.onLine) { failed = 0; sse = true; }
    lost();
  };
}
async function stream() {
  const abort = stop = new AbortController();
  try {
    const answer = await fetch(`${at}/stream`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(hello()), signal: abort.signal });
    const reader = answer.ok && answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; reader;) {
      const { value, done } = await reader.read();
      if (done) break;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) { const found = /^data: ?(.*)$/m.exec(event); if (found && stop === abort) hear(JSON.parse(found[1])); }
    }
  } catch { /* away */ }
  if (stop === abort) lost();
}
function lost() {
  if (!state) return;
  state = "";
  flying = "";
  dots.hidden = true;
  if (!wanted) return;
  off.hidden = false;
  setTimeout(connect, Math.min(15000, 400 * 2 ** tries++) * (0.7 + Math.random() * 0.6));
}
let wish = 0; // when a call was asked for before the connection was there
function say(message) {
  if (state !== "live") {
    if (message.type === "call") wish = Date.now();
    if (!message.text) connect();
    return;
  }
  if (!sse) { socket.send(JSON.stringify(message)); return; }
  fetch(`${at}/say`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ hello: hello(), say: message }) })
    .then((answer) => answer.ok ? answer.json() : Promise.reject(answer))
    .then((told) => told.forEach(hear))
    .catch(() => { if (message.text) { landed(message.id); setTimeout(flush, 2000); } });
}
let got = [], read = new Set(), reporting = 0;
function report() {
  reporting = 0;
  const ids = got;
  got = [];
  for (let from = 0; from < ids.length; from += 50) say({ type: "got", ids: ids.slice(from, from + 50) });
  reads();
}
function reads() {
  if (!seen() || state !== "live" || !read.size) return;
  put({ seen: after });
  const ids = [...read].slice(-50);
  read.clear();
  say({ type: "read", ids });
}
function item(one) {
  after = { conversation: one.conversation, seq: one.seq };
  const when = new Date(one.at);
  if (one.kind === "joined" || one.kind === "ended") { insert(el("div.s", {}, one.kind === "joined" ? W.joined(one.name) : W.ended)); return; }
  asked();
  if (one.from === "you") {
    put({ out: keep.out.filter((out) => out.id !== one.id) });
    landed(one.id);
  } else {
    dots.hidden = true;
    got.push(one.id);
    read.add(one.id);
    reporting = reporting || setTimeout(report, 150);
    const last = keep.seen || {};
    if (!seen() && (last.conversation !== one.conversation || one.seq > last.seq)) count(unread + 1);
  }
  stamp(when);
  const node = bubble(one.from, one.name, one.parts.map(part), when, one.id);
  if (one.from === "you") {
    for (const small of log.querySelectorAll(".you:not(.wait) > small")) small.remove();
    node.append(el("small", {}, W.sent));
  }
  insert(node);
  flush();
}
function hear(tell) {
  const { type } = tell;
  if (type === "welcome") {
    if (tell.token) put({ token: tell.token });
    if (tell.person) known(tell.person);
  } else if (type === "item") item(tell);
  else if (type === "live") {
    state = "live";
    tries = failed = 0;
    off.hidden = true;
    introduce();
    if (Date.now() - wish < 1e4) say({ type: "call" });
    wish = 0;
    flush();
    next();
    reads();
  } else if (type === "state") { standing = tell; stand(); }
  else if (type === "ack") acked(tell.id);
  else if (type === "nack") nacked(tell);
  else if (type === "typing") { dots.hidden = !tell.on; if (tell.on && bottom()) log.scrollTop = 1e9; }
  else if (type === "identified") { if (tell.person) known(tell.person); else { identity = null; console.warn(`ark.identify: ${tell.error}`); } }
  else if (type === "call") phone(tell.token);
  else if (type === "error") {
    if (tell.code === "token") reset();
    else if (!tell.again) { wanted = false; console.warn(`ark: ${tell.message}`); }
  }
}
const known = ({ user }) => put({ user });
// What was said of the visitor since the hello.
function introduce() {
  if (state !== "live" || !identity || identity === introduced) return;
  introduced = identity;
  say({ type: "identify", token: identity });
}
// The browser's next user must not read what the one before wrote.
function person(token) {
  let user;
  try { user = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt()))).sub; } catch { /* the gateway says so */ }
  if (keep.user && user && keep.user !== user) reset();
  identity = token;
}
function reset() {
  const mine = socket, abort = stop;
  socket = stop = identity = after = null;
  state = flying = "";
  files.length = 0;
  if (mine) mine.close();
  if (abort) abort.abort();
  keep = { out: [] };
  put({ token: undefined });
  nodes.clear();
  got = [];
  read.clear();
  last = 0;
  log.replaceChildren(dots);
  text.value = "";
  count(0);
  if (face) { standing = { phase: "none", open: face.open, opens: face.opens }; greet(); stand(); if (shown) connect(); }
}

// ---- calls ----
async function phone(token) {
  if (!token) { insert(el("div.s", {}, W.nocall)); return; }
  if (!window.arkCallLoaded) window.arkCallLoaded = new Promise((done, fail) => document.head.append(el("script", { src: `${new URL(at).origin}/assets/rtc.js`, load: done, error: fail })));
  try { await window.arkCallLoaded; } catch { insert(el("div.s", {}, W.nocall)); return; }
  /* global ArkCall */
  const call = line = new ArkCall({ url: `${new URL(at).origin.replace(/^http/, "ws")}/rtc`, token });
  window.arkCall = call;
  let used = false;
  call.addEventListener("remote", () => { voice.srcObject = call.remote; voice.play().catch(() => {}); });
  call.addEventListener("error", () => { if (call.state !== "up") insert(el("div.s", {}, W.nocall)); });
  call.addEventListener("state", () => {
    if (call.state === "ready" && !used) { used = true; call.call(); return; }
    if (call.state === "up") began = began || Date.now();
    const over = call.state === "offline" || (call.state === "ready" && used);
    if (over) { began = 0; if (call.state !== "offline") call.close(); }
    talk.hidden = over;
    ring.hidden = !over;
    mute.textContent = call.muted ? W.unmute : W.mute;
    mute.hidden = call.state !== "up";
    rings();
  });
  call.connect();
}
function rings() {
  if (talk.hidden) return;
  const seconds = began ? Math.floor((Date.now() - began) / 1000) : 0;
  talks.textContent = (W[line.state] || "") + (began ? ` ${String(seconds / 60 | 0).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}` : "");
}
setInterval(rings, 1000);

// ---- hands ----
text.addEventListener("input", () => { typed(); if (text.value) types(true); });
text.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); post(text.value); } });
box.addEventListener("paste", (event) => { const found = [...event.clipboardData.files]; if (found.length) { event.preventDefault(); found.forEach(upload); } });
for (const name of ["dragover", "dragleave", "drop"]) box.addEventListener(name, (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  drop.hidden = name !== "dragover";
  if (name === "drop") [...event.dataTransfer.files].forEach(upload);
});
box.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { event.stopPropagation(); if (emo.hidden) show(false); else { emoji(false); smile.focus(); } }
  if (event.key !== "Tab") return;
  const stops = [...box.querySelectorAll("button, a, textarea, #log")].filter((node) => node.offsetParent && !node.closest("[hidden]"));
  const first = stops[0], end = stops[stops.length - 1], now = root.activeElement;
  if (event.shiftKey && now === first) { event.preventDefault(); end.focus(); } else if (!event.shiftKey && now === end) { event.preventDefault(); first.focus(); }
});
document.addEventListener("visibilitychange", () => { if (seen()) { count(0); reads(); } });
addEventListener("online", () => { tries = 0; connect(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => face && look());

const before = window.ark || {};
window.ark = {
  open: () => face && !shown && show(true),
  close: () => shown && show(false),
  identify: (token) => { person(token); introduce(); if (keep.token) connect(); },
  reset: () => reset(),
};

(async () => {
  const [style, look_] = await Promise.all([fetch(`${at.replace(/[^/]*$/, "")}ark.css`).then((answer) => answer.text()), fetch(`${at}/config`).then((answer) => answer.ok ? answer.json() : answer.json().then(({ error }) => Promise.reject(new Error(error.message))))]);
  face = look_;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  root.adoptedStyleSheets = [sheet];
  host.style.setProperty("--c", face.color);
  host.style.setProperty("--i", face.ink);
  host.toggleAttribute("pale", face.ink !== "#ffffff");
  host.setAttribute("side", data.side || face.side);
  host.lang = zh ? "zh-CN" : "en";
  look();
  title.textContent = word(face.title);
  box.setAttribute("aria-label", word(face.title));
  attach.hidden = face.files === "none";
  if (face.files === "images") picker.accept = "image/*";
  ring.hidden = !(face.call && window.RTCPeerConnection && navigator.mediaDevices);
  standing = { phase: "none", open: face.open, opens: face.opens };
  greet();
  stand();
  text.value = keep.draft || "";
  document.body.append(host);
  typed();
  keep.out.forEach((one) => wait(one));
  const given = data.identity || before.identity;
  if (given) person(given);
  // Who has written before is told of answers while the box is closed.
  if (keep.token) connect();
  if ("open" in data) show(true);
})().catch((error) => console.warn(`ark: the chat cannot be shown: ${error.message}`));
})();
