"use strict";
// A site that embeds the gateway's first web chat. ?lang=zh|en, ?theme=light|dark, ?transport=sse, ?open, ?channel=NAME choose for the chat.
const query = new URLSearchParams(location.search);
let lang = query.get("lang");
try { lang = lang || localStorage.getItem("ark.lang"); } catch { /* the browser's */ }
lang = lang || (navigator.language.startsWith("zh") ? "zh" : "en");
document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
for (const node of document.querySelectorAll("[data-zh]")) node.textContent = node.dataset[lang];
document.getElementById("language").textContent = lang === "zh" ? "EN" : "中文";
document.getElementById("language").addEventListener("click", () => {
  try { localStorage.setItem("ark.lang", lang === "zh" ? "en" : "zh"); } catch { /* not kept */ }
  query.delete("lang");
  location.search = query;
});
if (query.get("theme")) showTheme(query.get("theme"));
fetch("/chat/demo/channel").then((answer) => answer.json()).then(({ channel }) => {
  const name = query.get("channel") || channel;
  document.getElementById("embed").textContent = `<script src="${location.origin}/chat/ark.js"\n        data-channel="${name || "web"}" async></script>`;
  if (!name) { document.getElementById("none").hidden = false; return; }
  const script = document.createElement("script");
  script.src = "/chat/ark.js";
  Object.assign(script.dataset, { channel: name, lang });
  for (const key of ["theme", "transport", "side", "open"]) if (query.has(key)) script.dataset[key] = query.get(key);
  document.body.append(script);
});
