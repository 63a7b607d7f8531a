"use strict";
// The callers' page. Opening it binds nothing: the first tap does. Files go in pieces, and after a break on where they were.
const PIECE = 1 << 18, AT_ONCE = 2, LOOK_EVERY = 2500, LAST = ["over", "unknown", "taken", "no_cookie"];
const $ = (id) => document.getElementById(id);
const token = location.pathname.split("/")[2], items = [], seen = new Set();
let lang = /^zh/i.test(navigator.language) ? "zh" : "en", words = {}, link = "", look, trouble = "", ended;
const word = (key, values) => (words[key] || words.other || "").replace(/\{(\w)\}/g, (_, name) => values[name]);
const newId = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("").padEnd(8, "0");
const pause = (tries) => new Promise((go) => { setTimeout(go, Math.min(15e3, 1000 * 2 ** tries)); addEventListener("online", go, { once: true }); });
const open = () => items.filter((one) => one.state === "queued" || one.state === "going").length;

async function ask(path, options) {
  const answer = await fetch(path, options).catch(() => { throw { code: "busy" }; });
  const value = await answer.json().catch(() => ({}));
  if (answer.ok) return value;
  throw { code: value.error ? value.error.code : answer.status > 499 ? "busy" : "other", offset: value.offset };
}
const post = (path, value) => ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });

function show(name) {
  for (const part of ["begin", "typed", "work"]) $(part).hidden = part !== name;
  draw();
}
function draw() {
  document.documentElement.lang = lang;
  document.title = word("title");
  for (const one of document.querySelectorAll("[data-w]")) one.textContent = word(one.dataset.w);
  $("lang").textContent = word("lang");
  $("words").placeholder = word("words");
  $("words").setAttribute("aria-label", word("words"));
  $("send").setAttribute("aria-label", word("send"));
  $("talk").hidden = !link || ended;
  $("trouble").hidden = !trouble;
  $("trouble").textContent = trouble && word(trouble);
  const live = look && look.in_call && !ended, time = look && new Date(look.until).toLocaleTimeString(lang, { hour: "2-digit", minute: "2-digit" });
  $("status").textContent = look && !ended ? (live ? word("inCall") + " · " : "") + word("until", { t: time }) : "";
  $("status").className = live ? "live" : "";
  const left = look ? look.files_left - open() : 0;
  $("left").textContent = left > 0 ? word("left", { n: left }) : word("full");
  $("drop").className = left > 0 && !ended ? "" : "full";
  items.forEach(drawOne);
}
function drawOne({ node, bar, note, state, sent, why, file }) {
  const share = sent / file.size;
  node.className = "up " + state;
  bar.value = share || 0;
  note.textContent = state !== "going" ? word(why || state, { n: look.bytes_max >> 20 }) : share < 1 ? Math.floor(share * 100) + " %" : word("working");
}
function fail(code) {
  trouble = code;
  ended = ended || LAST.includes(code);
  if (ended && !link) show();
  draw();
}
function row(kind, ...inside) {
  const node = document.createElement("li");
  node.className = kind;
  node.append(...inside);
  $("list").append(node);
  node.scrollIntoView({ block: "nearest" });
  return node;
}
function add(files) {
  for (const file of files) {
    if (look.files_left <= open()) break;
    const [image, name, note, bar] = ["img", "b", "small", "progress"].map((tag) => document.createElement(tag));
    image.alt = "";
    image.src = URL.createObjectURL(file);
    image.onerror = () => { image.style.visibility = "hidden"; };
    name.textContent = file.name;
    const why = file.size > look.bytes_max ? "too_large" : !file.size || (file.type && !file.type.startsWith("image/")) ? "no_picture" : "";
    items.push({ id: newId(), file, note, bar, why, sent: 0, state: why ? "bad" : "queued", node: row("up", image, name, note, bar) });
  }
  run();
}
function run() {
  draw();
  const one = items.find((one) => one.state === "queued");
  if (!one || ended || items.filter((one) => one.state === "going").length >= AT_ONCE) return;
  one.state = "going";
  upload(one).then(run);
  run();
}
async function upload(one) {
  const where = `/u/l/${link}/files/${one.id}`, query = `&size=${one.file.size}&name=${encodeURIComponent(one.file.name.slice(-120))}`;
  for (let tries = 0; !ended; drawOne(one)) {
    try {
      const here = await ask(`${where}?offset=${one.sent}${query}`, { method: "POST", body: one.file.slice(one.sent, one.sent + PIECE) });
      one.sent = here.offset;
      if (tries) trouble = "";
      tries = 0;
      if (here.done) {
        one.state = "done";
        look.files_left--;
        return;
      }
    } catch ({ code, offset }) {
      if (code === "offset") one.sent = offset;
      else if (code === "busy" || (code === "flood" && tries < 4)) {
        fail(code);
        await pause(tries++);
        one.sent = await ask(where).then((here) => here.offset, () => one.sent);
      } else {
        [one.state, one.why] = ["bad", code];
        if (LAST.includes(code)) fail(code);
        return;
      }
    }
  }
}
async function write(text) {
  const node = row("say me wait", text), id = newId();
  for (let tries = 0; !ended; ) {
    try {
      await post(`/u/l/${link}/texts`, { id, text });
      node.className = "say me";
      trouble = "";
      return draw();
    } catch ({ code }) {
      fail(code);
      if (code !== "busy") return;
      await pause(tries++);
    }
  }
}
async function refresh() {
  try {
    look = await ask(`/u/l/${link}/state`);
    for (const { seq, text } of look.words) if (!seen.has(seq)) seen.add(seq), row("say", text);
    if (!open() && trouble === "busy") trouble = "";
    draw();
  } catch ({ code }) {
    if (code !== "too_many") fail(code);
  }
  if (!ended) setTimeout(refresh, LOOK_EVERY);
}
async function start(name) {
  link = name;
  trouble = "";
  look = look || { files_left: 9, until: Date.now(), bytes_max: 2e7 };
  show("work");
  refresh();
}
async function begin() {
  const name = location.hash.slice(1);
  trouble = "";
  try {
    if (token) {
      look = await ask(`/u/${token}/state`);
      return look.yours ? start(look.link) : show("begin");
    }
    if (!name) return show("typed");
    look = await ask(`/u/l/${name}/state`);
    start(name);
  } catch ({ code }) {
    fail(code);
    if (code === "busy") pause(1).then(begin);
  }
}
async function speak() {
  words = await ask(`/assets/u.${lang}.json`).catch(() => words);
  draw();
}
$("go").onclick = () => post(`/u/${token}/join`, {}).then((here) => start(here.link), (error) => fail(error.code));
$("typed").onsubmit = (event) => {
  event.preventDefault();
  post("/u/code", { code: $("code").value.replace(/\D/g, ""), number: $("last").value }).then(
    (here) => { location.hash = here.link; start(here.link); }, (error) => fail(error.code));
};
$("talk").onsubmit = (event) => {
  event.preventDefault();
  const text = $("words").value.trim();
  $("words").value = "";
  if (text) write(text);
};
for (const id of ["camera", "album"]) $(id).onchange = () => { add([...$(id).files]); $(id).value = ""; };
$("lang").onclick = () => { lang = lang === "zh" ? "en" : "zh"; speak(); };
speak().then(begin);
