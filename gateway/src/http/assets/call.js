"use strict";
// "Call the hotline from this browser", and the telephone of an operator who answers here: /call, /call?hotline=95188,
// /call?operator=anna. Whoever has opened the gateway's page needs no more; a site's page opens /call#token=... with a token
// that its server asked for.
const TEXT = {
  zh: {
    brand: "方舟", title: "拨打热线", titleOperator: "坐席电话", call: "拨打", take: "接听", hangup: "挂断", decline: "拒接", mute: "静音", muted: "已静音", hold: "保持", held: "已保持",
    you: "我", them: "对方", hint: "通话需要使用麦克风；浏览器会询问您。", language: "EN", theme: "外观：", auto: "跟随系统", light: "浅色", dark: "深色",
    offline: "未连接", ready: "可以拨打", readyOperator: "等待来电", calling: "正在接通……", ringing: "来电", up: "通话中", broken: "网络变化，正在恢复……",
    NotAllowedError: "浏览器没有得到使用麦克风的许可。请在地址栏允许麦克风后再试。", NotFoundError: "没有找到麦克风。", NotReadableError: "麦克风被别的程序占用。",
    unauthorized: "链接已过期，请重新打开页面。", refused: "现在无法接通，请稍后再拨。", replaced: "您已在别处登录，此页面不再接听。", elsewhere: "您在另一个页面里通话，此页面不接听。", no_road: "语音没有连通：您的网络可能不让语音通过。可以再试一次，也可以：", again: "再试一次", dial: "用电话拨打 {n}", write: "改用文字联系", login: "请用 ark serve 打印的链接先打开主页，或使用站点给出的链接。", lost: "连接断开，通话已结束。",
  },
  en: {
    brand: "Ark", title: "Call the hotline", titleOperator: "Operator's telephone", call: "Call", take: "Answer", hangup: "Hang up", decline: "Decline", mute: "Mute", muted: "Muted", hold: "Hold", held: "On hold",
    you: "Me", them: "Them", hint: "A call needs the microphone; the browser will ask you.", language: "中文", theme: "Theme: ", auto: "System", light: "Light", dark: "Dark",
    offline: "Not connected", ready: "Ready to call", readyOperator: "Waiting for calls", calling: "Connecting…", ringing: "A call", up: "Talking", broken: "The network changed; finding the way again…",
    NotAllowedError: "The browser was not allowed to use the microphone. Allow it in the address bar and try again.", NotFoundError: "There is no microphone.", NotReadableError: "Another program uses the microphone.",
    unauthorized: "This link is good no longer: open the page again.", refused: "The call cannot be taken now; please try again later.", replaced: "You signed on elsewhere; this page answers no longer.", elsewhere: "You are talking in another page; this one answers no call.", no_road: "The voice found no way: your network may let none through. Try once more, or:", again: "Try again", dial: "Call {n} by telephone", write: "Write to us instead", login: "First open the gateway's page with the link that ark serve prints, or use the link that the site gave you.", lost: "The connection is lost; the call is over.",
  },
};
const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const operator = query.get("operator");
const given = new URLSearchParams(location.hash.slice(1)).get("token");
let number = query.get("hotline") || "", writes = false;
let lang = "zh", look = "auto", line = null, began = null, sound = null, said = null;
try { lang = localStorage.getItem("ark.lang") || (navigator.language.startsWith("zh") ? "zh" : "en"); look = localStorage.getItem("ark.theme") || "auto"; } catch { /* the defaults */ }
const word = (name) => TEXT[lang][name] || name;

function draw() {
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
  const state = line ? line.state : "offline";
  const inCall = ["calling", "up", "broken"].includes(state);
  document.title = `${word(state === "ready" && operator ? "readyOperator" : state)} · ${word("brand")}`;
  $("title").textContent = word(operator ? "titleOperator" : "title");
  $("language").textContent = word("language");
  $("theme").textContent = `${word("theme")}${word(look)}`;
  $("state").textContent = word(state === "ready" && operator ? "readyOperator" : state);
  $("state").className = `chip ${{ up: "live", broken: "wait", calling: "wait", ringing: "wait", offline: "late" }[state] || ""}`;
  const stuck = said === "no_road" && !inCall && !operator;
  $("call").textContent = word(state === "ringing" ? "take" : stuck ? "again" : "call");
  $("call").hidden = !(state === "ringing" || (state === "ready" && !operator) || (stuck && state === "offline"));
  $("else").hidden = !stuck;
  $("dial").hidden = !/^\+?\d{3,15}$/.test(number);
  $("dial").href = `tel:${number}`;
  $("dial").textContent = word("dial").replace("{n}", number);
  $("write").hidden = !writes;
  $("write").href = `/chat?open&lang=${lang}`;
  $("write").textContent = word("write");
  $("hangup").textContent = word(state === "ringing" ? "decline" : "hangup");
  $("hangup").hidden = !(inCall || state === "ringing");
  for (const [id, on] of [["mute", line && line.muted], ["hold", line && line.held]]) {
    $(id).hidden = state !== "up";
    $(id).setAttribute("aria-pressed", String(Boolean(on)));
    $(id).textContent = word(on ? { mute: "muted", hold: "held" }[id] : id);
  }
  $("keys").hidden = state !== "up";
  $("meters").hidden = !inCall;
  $("caller").hidden = !(operator && (inCall || state === "ringing"));
  if (state === "up" && !began) began = Date.now();
  if (!inCall) began = null;
  $("clock").hidden = !began;
  $("said").hidden = !said;
  $("said").textContent = said ? word(said) : "";
}

// ---- sound ----
function listen() {
  $("voice").srcObject = line.remote;
  $("voice").play().catch(() => { /* a browser that wants a click first has had one: the call's */ });
  sound = sound || new AudioContext();
  sound.resume();
  line.ears = [["own", line.microphone], ["their", line.remote]].map(([id, stream]) => {
    const analyser = sound.createAnalyser();
    analyser.fftSize = 1024;
    sound.createMediaStreamSource(stream).connect(analyser);
    return [id, analyser, new Float32Array(analyser.fftSize)];
  });
}
function level([id, analyser, wave]) {
  analyser.getFloatTimeDomainData(wave);
  const power = wave.reduce((sum, sample) => sum + sample * sample, 0) / wave.length;
  // -60 dB is nothing, 0 dB is all.
  $(id).value = Math.max(0, 1 + 10 * Math.log10(power + 1e-12) / 60);
}
function tick() {
  if (line && line.ears && line.peer) for (const ear of line.ears) level(ear);
  if (began) {
    const seconds = Math.floor((Date.now() - began) / 1000);
    $("clock").textContent = `${String(Math.floor(seconds / 60)).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}`;
  }
  requestAnimationFrame(tick);
}

// ---- the line ----
async function token() {
  if (given) return given;
  const wanted = operator ? { operator } : { hotline: query.get("hotline") || (await hotline()) };
  const answer = await fetch("/api/v1/webrtc/tokens", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(wanted) });
  if (!answer.ok) throw new Error(answer.status === 401 ? "login" : (await answer.json()).error.message);
  return (await answer.json()).token;
}
async function hotline() {
  const answer = await fetch("/api/v1/about");
  if (!answer.ok) throw new Error("login");
  const address = (await answer.json()).call[0] || "";
  return address.replace(/^sip:/, "").split("@")[0];
}
// What is left when no voice gets through: the number by telephone, and the chat where the site has one.
async function others() {
  try {
    number = number || JSON.parse(atob(line.token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).hotline || "";
  } catch { /* a token that tells no number */ }
  try {
    const answer = await fetch("/chat/demo/channel");
    writes = answer.ok && Boolean((await answer.json()).channel);
  } catch { /* not now */ }
  draw();
}
async function open() {
  try {
    line = new ArkCall({ url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/rtc`, token: await token() });
  } catch (error) {
    said = error.message;
    return draw();
  }
  line.addEventListener("state", () => { if (line.state === "up") said = null; draw(); });
  line.addEventListener("remote", listen);
  line.addEventListener("ringing", (event) => { $("caller").textContent = event.detail.from || ""; });
  line.addEventListener("error", (event) => { if (event.detail.code === "no_road") void others(); said = TEXT[lang][event.detail.code] ? event.detail.code : event.detail.message; draw(); });
  line.connect();
  window.arkCall = line;
}

for (const key of "123456789*0#") {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = key;
  button.addEventListener("click", () => line.key(key));
  $("keys").append(button);
}
$("who").textContent = operator || query.get("hotline") || "";
$("call").addEventListener("click", async () => {
  said = null;
  if (line.state === "offline") { line.close(); await open(); line.addEventListener("state", function once() { if (line.state === "ready") { line.removeEventListener("state", once); line.call(); } }); return; }
  line.call();
});
$("hangup").addEventListener("click", () => line.hangup());
$("mute").addEventListener("click", () => line.mute(!line.muted));
$("hold").addEventListener("click", () => line.hold(!line.held));
$("language").addEventListener("click", () => { lang = lang === "zh" ? "en" : "zh"; try { localStorage.setItem("ark.lang", lang); } catch { /* not kept */ } draw(); });
$("theme").addEventListener("click", () => {
  look = { auto: "light", light: "dark", dark: "auto" }[look];
  try { localStorage.setItem("ark.theme", look); } catch { /* not kept */ }
  showTheme(look);
  draw();
});
document.addEventListener("keydown", (event) => { if (line && line.state === "up" && /^[0-9*#]$/.test(event.key)) line.key(event.key); });
draw();
open();
tick();
