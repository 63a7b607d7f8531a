"use strict";
// The page: a list of conversations, the timeline of one, all of it from /api/v1. Events come over one stream; what a broken connection
// missed is read from the log by `seq`.
const $ = (id) => document.getElementById(id);
const state = { lang: "zh", theme: "auto", about: null, conversations: new Map(), calls: new Map(), next: null, loaded: false, selected: null, records: [], sure: false };

function kept(key, fallback) {
  try { return localStorage.getItem(`ark.${key}`) || fallback; } catch { return fallback; }
}
function keep(key, value) {
  try { localStorage.setItem(`ark.${key}`, value); } catch { /* a browser that keeps nothing shows the defaults next time */ }
}
const word = (name) => WORDS[state.lang][name];
function element(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

async function api(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(`/api/v1/${path}`, options);
  if (answer.status === 401) { banner(word("refused")); throw new Error("401"); }
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Error((value && value.error && value.error.message) || answer.statusText);
  return value;
}

// ---- words, theme ----
function applyWords() {
  document.documentElement.lang = state.lang === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
  $("language").textContent = word("language");
  applyTheme();
  drawSpeech();
  drawLists();
  drawStage();
  drawAbout();
}
function applyTheme() {
  showTheme(state.theme);
  $("theme").textContent = `${word("theme")}${word({ auto: "themeAuto", light: "themeLight", dark: "themeDark" }[state.theme])}`;
}
function banner(text) {
  $("banner").textContent = text || "";
  $("banner").hidden = !text;
}
function link(live) {
  $("link").textContent = word(live ? "live" : "connecting");
  $("link").className = live ? "chip live" : "chip wait";
}

// ---- times ----
const pad = (number) => String(number).padStart(2, "0");
function clock(text) {
  const at = new Date(text);
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}
function day(text) {
  const at = new Date(text);
  const today = new Date();
  return at.toDateString() === today.toDateString() ? clock(text) : `${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${clock(text).slice(0, 5)}`;
}
function span(fromText, untilText) {
  const seconds = Math.max(0, Math.floor(((untilText ? new Date(untilText) : new Date()) - new Date(fromText)) / 1000));
  const hours = Math.floor(seconds / 3600);
  return (hours ? `${hours}:` : "") + `${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`;
}

// ---- conversations ----
const customer = (conversation) => conversation.legs.find((leg) => leg.role === "customer") || conversation.legs[0];
function nameOf(conversation) {
  const leg = customer(conversation);
  if (!leg) return word("system");
  return (leg.direction === "inbound" ? leg.from : leg.to) || "?";
}
// The leg of a message, not of a call: what it came by is an adapter and an account, both in its source.
const isMessage = (leg) => Boolean(leg && leg.medium && leg.medium !== "call");
const channelOf = (leg) => leg.source.split("/").slice(3, 5).map(decodeURIComponent).join(" · ");
// Something that can be hung up.
const hasCall = (conversation) => conversation.legs.some((leg) => leg.phase !== "ended" && !isMessage(leg));
function doing(conversation) {
  const call = state.calls.get(conversation.conversation);
  if (conversation.ended) return ["over", ""];
  if (conversation.bridged) return ["talking", "live"];
  if (conversation.queue) return ["waiting", "wait"];
  const owner = conversation.owner || "";
  if (owner.startsWith("agent:")) return ["talking", "live"];
  if (owner.startsWith("queue:")) return ["waiting", "wait"];
  const leg = customer(conversation);
  if (leg && leg.phase === "held") return ["held", "wait"];
  if (leg && leg.phase === "ringing") return ["ringing", "wait"];
  if (call && call.state === "talking") return ["talking", "live"];
  return ["inPlan", "live"];
}
function sorted(open) {
  return [...state.conversations.values()].filter((one) => !one.ended === open).sort((a, b) => (a.conversation < b.conversation ? 1 : -1));
}
function item(conversation) {
  const node = element("li");
  const button = element("button", "item");
  button.type = "button";
  button.dataset.id = conversation.conversation;
  if (conversation.conversation === state.selected) button.setAttribute("aria-current", "true");
  const leg = customer(conversation);
  const [what, tone] = doing(conversation);
  const top = element("span", "item-top");
  top.append(element("span", "item-name mono", nameOf(conversation)));
  const time = element("span", `chip mono ${tone}`, conversation.ended ? day(conversation.started) : span(conversation.started));
  if (!conversation.ended) time.dataset.since = conversation.started;
  top.append(time);
  const plan = conversation.plan ? `${conversation.plan} · ` : "";
  const call = state.calls.get(conversation.conversation);
  const place = call && call.plan_state ? `${plan}${call.plan_state}` : `${plan}${!leg ? "" : isMessage(leg) ? channelOf(leg) : leg.to}`;
  const tail = conversation.ended ? span(conversation.started, conversation.ended) : word(what);
  button.append(top, element("span", "item-sub", `${place} · ${tail}`));
  button.addEventListener("click", () => select(conversation.conversation));
  node.append(button);
  return node;
}
function drawLists() {
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.id : null;
  for (const [id, open] of [["open", true], ["ended", false]]) {
    const list = sorted(open);
    $(id).replaceChildren(...list.map(item));
    // That there is none is known when the first list has come.
    $(`${id}-empty`).hidden = list.length > 0;
    $(`${id}-empty`).textContent = word(state.loaded ? $(`${id}-empty`).dataset.word : "loading");
  }
  $("open-count").textContent = sorted(true).length || "";
  $("more").hidden = !state.next;
  if (focused) for (const button of document.querySelectorAll(".item")) if (button.dataset.id === focused) button.focus();
}
async function loadLists() {
  const [calls, page, open] = await Promise.all([api("calls"), api("conversations?limit=50"), api("conversations?state=open&limit=500")]);
  state.calls = new Map(calls.calls.map((call) => [call.conversation, call]));
  for (const one of [...state.conversations.values()]) if (!one.ended) state.conversations.delete(one.conversation);
  for (const one of [...page.conversations, ...open.conversations]) state.conversations.set(one.conversation, one);
  if (!state.next) state.next = page.next;
  state.loaded = true;
  drawLists();
}
async function loadMore() {
  const page = await api(`conversations?limit=50&before=${state.next}`);
  for (const one of page.conversations) state.conversations.set(one.conversation, one);
  state.next = page.next;
  drawLists();
}

// ---- one conversation ----
async function select(id) {
  state.selected = id;
  state.records = [];
  state.sure = false;
  document.body.classList.toggle("chosen", Boolean(id));
  if (location.hash.slice(1) !== (id || "")) history.replaceState(null, "", id ? `#${id}` : "/operations");
  $("timeline").replaceChildren();
  drawLists();
  drawStage();
  if (id) await readOn(id);
  // What is over is read from its beginning, what goes on at its end.
  const conversation = state.conversations.get(id);
  if (state.selected === id && conversation && conversation.ended) $("timeline").scrollTop = 0;
}
async function readOn(id) {
  for (;;) {
    const after = state.records.length ? state.records[state.records.length - 1].seq : 0;
    const page = await api(`conversations/${id}/events?after_seq=${after}&limit=500`);
    if (state.selected !== id) return;
    page.records.forEach(take);
    if (page.records.length < 500) return;
  }
}
// Takes the next record of the selected conversation into the timeline; says whether it was the next one.
function take(record) {
  const last = state.records.length ? state.records[state.records.length - 1].seq : 0;
  if (record.seq <= last) return true;
  if (record.seq !== last + 1) return false;
  const timeline = $("timeline");
  const atEnd = timeline.scrollHeight - timeline.scrollTop - timeline.clientHeight < 80;
  state.records.push(record);
  drawRecord(record);
  if (atEnd) timeline.scrollTop = timeline.scrollHeight;
  return true;
}
function drawRecord(record) {
  const { type, data, time } = record.event;
  const line = describe(state.lang, type, data);
  const timeline = $("timeline");
  // A number is keyed in: one line for its keys.
  const before = timeline.lastElementChild;
  if (line.key !== undefined && before && before.dataset.keys) {
    before.querySelector(".body").append(element("kbd", "key", line.key));
    return;
  }
  if (line.corrects) {
    const said = timeline.querySelector(`[data-said="${line.corrects}"]`);
    if (said) {
      said.querySelector(".body span").textContent = line.text;
      said.querySelector(".meta").append(` · ${word("correctedBy")}${line.by}`);
    }
    return;
  }
  // What was shown of it while it was said goes; what is read again takes the first one's place.
  if (line.said) for (const node of timeline.querySelectorAll(`[data-saying="${line.said}"], [data-said="${line.said}"]`)) node.remove();
  if (line.finishes) {
    for (const node of timeline.querySelectorAll(`[data-pending="${line.finishes}"]`)) {
      node.querySelector(".meta").append(` · ${line.text}`);
      node.classList.remove("partial");
      delete node.dataset.pending;
    }
    return;
  }
  // The way through the plan is one line, too, until somebody does something.
  if (line.minor && before && before.dataset.minor) {
    const step = element("span", "", ` → ${line.short || line.text}`);
    step.title = line.title || "";
    before.querySelector(".path").append(step);
    return;
  }
  const node = element("li", `line ${line.who}${line.minor ? " minor" : ""}`);
  const who = line.name || { caller: "caller", ark: "ark", person: "person" }[line.who];
  const meta = element("span", "meta");
  if (who) meta.append(element("span", "", word(who)), " ");
  meta.append(element("time", "mono", clock(time)));
  if (line.note) meta.append(` · ${line.note}`);
  const body = element("span", `body ${line.tone || ""}`);
  const text = element("span", line.minor ? "path" : "", line.text);
  text.title = line.title || "";
  body.append(text);
  if (line.minor) node.dataset.minor = "1";
  if (line.key !== undefined) {
    body.append(element("kbd", "key", line.key));
    node.dataset.keys = "1";
  }
  const parts = (type.startsWith("ark.message.") && data.parts) || [];
  const pictures = parts.filter((part) => part.kind === "image" && part.media);
  // A picture that is shown need not be named as well.
  node.append(meta, ...(pictures.length && pictures.length === parts.length ? [] : [body]), ...pictures.map((part) => picture(part.media)));
  if (line.said) node.dataset.said = line.said;
  if (line.hear) body.append(hearIt(record.conversation, line.hear));
  if (line.pending) { node.dataset.pending = line.pending; node.classList.add("partial"); }
  if (line.recording) node.append(player(record.conversation, line.recording));
  timeline.append(node);
}
// Plays that second of the recording.
function hearIt(conversation, { recording, at }) {
  const button = element("button", "hear", "▶");
  button.type = "button";
  button.title = word("hear");
  button.setAttribute("aria-label", word("hear"));
  button.addEventListener("click", () => {
    const url = `/api/v1/conversations/${conversation}/recordings/${encodeURIComponent(recording)}`;
    const audio = [...document.querySelectorAll("audio")].find((one) => one.src.endsWith(url)) || Object.assign(new Audio(), { src: url });
    const play = () => { audio.currentTime = Math.max(0, at - 0.2); audio.play().catch(() => {}); };
    if (audio.readyState) play();
    else { audio.addEventListener("loadedmetadata", play, { once: true }); audio.load(); }
  });
  return button;
}
// What somebody says just now: grey until it is written down; what will stay is darker.
function saying(live) {
  if (live.conversation !== state.selected) return;
  const timeline = $("timeline");
  const key = `${live.leg}-${live.utterance}`;
  let node = timeline.querySelector(`[data-saying="${key}"]`);
  if (live.over || !live.text || timeline.querySelector(`[data-said="${key}"]`)) { if (node) node.remove(); return; }
  if (!node) {
    node = element("li", `line ${live.speaker === "customer" ? "caller" : "person"} partial`);
    node.dataset.saying = key;
    node.append(element("span", "meta", word(live.speaker === "customer" ? "caller" : "person")), element("span", "body"));
    timeline.append(node);
  }
  const atEnd = timeline.scrollHeight - timeline.scrollTop - timeline.clientHeight < 120;
  const letters = [...live.text];
  node.lastElementChild.replaceChildren(element("span", "settled", letters.slice(0, live.stable).join("")), element("span", "", letters.slice(live.stable).join("")));
  if (atEnd) timeline.scrollTop = timeline.scrollHeight;
}
// Only what is so just now comes by this socket; the log comes by the stream.
function overhear() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/socket`);
  socket.addEventListener("message", (message) => {
    const said = JSON.parse(message.data);
    if (said.type === "welcome") socket.send(JSON.stringify({ type: "subscribe", records: false, live: true }));
    if (said.type === "live" && said.live.type === "ark.live.transcript.v1") saying(said.live.data);
  });
  socket.addEventListener("close", () => setTimeout(overhear, 3000));
}
async function drawSpeech() {
  let speech = null;
  try { speech = await api("speech"); } catch { /* nobody reads along, or the gateway is away */ }
  const broken = speech && speech.health.state === "broken" ? word("speechBroken") + speech.health.why : "";
  const text = broken || (speech && speech.test_double ? word("testDouble") : "");
  $("speech").textContent = text;
  $("speech").hidden = !text;
}
// What a customer sent: encoded anew by the gateway, and only ever looked at.
function picture(media) {
  const link = element("a", "picture");
  link.href = `/api/v1/media/${encodeURIComponent(media.ref.replace("ark-media:", ""))}`;
  link.target = "_blank";
  link.rel = "noopener";
  const image = element("img");
  image.src = link.href;
  image.alt = media.name || word("picture");
  image.loading = "lazy";
  if (media.width && media.height) [image.width, image.height] = [media.width, media.height].map((side) => Math.round(side * Math.min(1, 280 / media.width, 220 / media.height)));
  link.append(image);
  return link;
}
function player(conversation, recording) {
  const box = element("span", "player");
  const url = `/api/v1/conversations/${conversation}/recordings/${encodeURIComponent(recording)}`;
  const audio = element("audio");
  audio.controls = true;
  audio.preload = "metadata";
  audio.src = url;
  audio.setAttribute("aria-label", word("recordingOf"));
  const download = element("a", "quiet", word("download"));
  download.href = url;
  box.append(audio, download);
  return box;
}
function drawStage() {
  const conversation = state.conversations.get(state.selected);
  $("welcome").hidden = Boolean(state.selected);
  $("timeline").hidden = !state.selected;
  $("hangup").hidden = !conversation || Boolean(conversation.ended) || !hasCall(conversation);
  $("hangup").textContent = word(state.sure ? "hangupSure" : "hangup");
  $("back").hidden = !state.selected;
  $("sendlink").hidden = $("hangup").hidden;
  $("linked").hidden = $("hangup").hidden || $("linked").dataset.of !== state.selected;
  for (const part of ["stage-head", "card-title", "details"]) $(part).hidden = !state.selected;
  if (!conversation) {
    $("stage-title").textContent = "";
    $("chips").replaceChildren();
    $("details").replaceChildren();
    return;
  }
  const [what, tone] = doing(conversation);
  $("stage-title").textContent = nameOf(conversation);
  const chips = [element("span", `chip ${tone}`, word(what))];
  if (conversation.plan) chips.push(element("span", "chip", `${conversation.plan} v${conversation.plan_version || "?"}`));
  if (conversation.queue) chips.push(element("span", "chip wait", conversation.queue));
  $("chips").replaceChildren(...chips);
  drawDetails(conversation);
  if ($("timeline").dataset.lang !== state.lang) {
    $("timeline").dataset.lang = state.lang;
    $("timeline").replaceChildren();
    state.records.forEach(drawRecord);
  }
}
function drawDetails(conversation) {
  const leg = customer(conversation);
  const plan = conversation.plan && `${conversation.plan} v${conversation.plan_version || "?"}`;
  const way = isMessage(leg)
    ? [["customer", leg.from], ["channel", channelOf(leg)]]
    : leg && [["from", leg.from], ["to", leg.to], ["trunk", leg.trunk], ["codec", leg.codec], ["plan", plan]];
  const rows = leg
    ? [...way, ["started", `${day(conversation.started)}`], ["length", span(conversation.started, conversation.ended)],
      ["owner", conversation.owner], ["legs", String(conversation.legs.length)], ["id", conversation.conversation]]
    : [["id", conversation.conversation]];
  const nodes = [];
  for (const [name, value] of rows) {
    nodes.push(element("dt", "", word(name)));
    const node = element("dd", ["id", "from", "to", "customer", "length", "started"].includes(name) ? "mono" : "", value || word("none"));
    if (name === "length" && !conversation.ended) node.dataset.since = conversation.started;
    nodes.push(node);
  }
  $("details").replaceChildren(...nodes);
}
function drawAbout() {
  if (!state.about) return;
  $("gateway").textContent = `${state.about.gateway} · ${state.about.version}`;
  for (const id of ["addresses", "addresses-card"]) {
    const nodes = state.about.call.map((address) => {
      const node = element("li");
      node.append(element("code", "", address));
      return node;
    });
    $(id).replaceChildren(...(nodes.length ? nodes : [element("li", "empty", word("noHotline"))]));
  }
}

// ---- the stream ----
const dirty = new Set();
let refresh = 0;
function touched(id) {
  dirty.add(id);
  if (!refresh) refresh = setTimeout(readDirty, 150);
}
async function readDirty() {
  refresh = 0;
  const ids = [...dirty];
  dirty.clear();
  try {
    const calls = await api("calls");
    state.calls = new Map(calls.calls.map((call) => [call.conversation, call]));
    // Many at once: one list costs less than one question each.
    if (ids.length > 8) await loadLists();
    else for (const one of await Promise.all(ids.map((id) => api(`conversations/${id}`)))) if (one.kind !== "system") state.conversations.set(one.conversation, one);
    drawLists();
    drawStage();
  } catch { ids.forEach((id) => dirty.add(id)); }
}
function connect() {
  link(false);
  const stream = new EventSource("/api/v1/events");
  stream.addEventListener("live", async () => {
    link(true);
    banner("");
    try {
      await loadLists();
      if (state.selected) await readOn(state.selected);
      drawStage();
    } catch (error) { if (error.message !== "401") banner(word("away")); }
  });
  stream.addEventListener("record", (message) => {
    const record = JSON.parse(message.data);
    if (record.conversation === state.selected && !take(record)) readOn(state.selected);
    touched(record.conversation);
  });
  stream.addEventListener("error", () => {
    link(false);
    banner(word("away"));
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
}

// ---- hands ----
$("language").addEventListener("click", () => {
  state.lang = state.lang === "zh" ? "en" : "zh";
  keep("lang", state.lang);
  applyWords();
  link($("link").classList.contains("live"));
});
$("theme").addEventListener("click", () => {
  state.theme = { auto: "light", light: "dark", dark: "auto" }[state.theme];
  keep("theme", state.theme);
  applyTheme();
});
$("back").addEventListener("click", () => select(null));
$("more").addEventListener("click", () => loadMore().catch((error) => banner(word("failed") + error.message)));
$("hangup").addEventListener("click", async () => {
  if (!state.sure) {
    state.sure = true;
    drawStage();
    setTimeout(() => { state.sure = false; drawStage(); }, 4000);
    return;
  }
  state.sure = false;
  const call = state.calls.get(state.selected);
  try { await api(`calls/${encodeURIComponent(call ? call.id : state.selected)}/hangup`, {}); } catch (error) { banner(word("failed") + error.message); }
  drawStage();
});
$("sendlink").addEventListener("click", async () => {
  $("linked").dataset.of = state.selected;
  $("linked").textContent = word("linking");
  try {
    const made = await api(`calls/${encodeURIComponent(state.selected)}/links`, { by: "desk", send: ["sms", "code"] });
    const texted = made.sent.some((one) => one.way === "sms" && one.ok);
    const spoken = made.code ? `${word("linkCode")} ${made.code.slice(0, 3)} ${made.code.slice(3)} → ${made.short_page}` : "";
    $("linked").textContent = [texted ? word("linkTexted") : `${word("link")} ${made.url}`, spoken].filter(Boolean).join("  ·  ");
  } catch (error) { $("linked").textContent = word("failed") + error.message; }
  drawStage();
});
$("place").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("placed").textContent = word("calling");
  try {
    const placed = await api("calls", { to: $("to").value.trim() });
    $("placed").textContent = "";
    await loadLists();
    await select(placed.conversation);
  } catch (error) { $("placed").textContent = word("failed") + error.message; }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && state.selected) { select(null); return; }
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const items = [...document.querySelectorAll(".item")];
  const at = items.indexOf(document.activeElement);
  if (at < 0) return;
  event.preventDefault();
  const to = items[at + (event.key === "ArrowDown" ? 1 : -1)];
  if (to) to.focus();
});
setInterval(() => { for (const node of document.querySelectorAll("[data-since]")) node.textContent = span(node.dataset.since); }, 1000);

async function start() {
  state.lang = kept("lang", (navigator.language || "zh").toLowerCase().startsWith("zh") ? "zh" : "en");
  state.theme = kept("theme", "auto");
  const wanted = new URLSearchParams(location.search);
  if (WORDS[wanted.get("lang")]) state.lang = wanted.get("lang");
  if (["auto", "light", "dark"].includes(wanted.get("theme"))) state.theme = wanted.get("theme");
  applyWords();
  connect();
  try {
    state.about = await api("about");
    drawAbout();
    overhear();
    drawSpeech();
    setInterval(drawSpeech, 30000);
    await loadLists();
    const id = location.hash.slice(1);
    if (/^[0-9A-Z]{26}$/.test(id)) await select(id);
  } catch (error) { if (error.message !== "401") banner(word("away")); }
}
start();
