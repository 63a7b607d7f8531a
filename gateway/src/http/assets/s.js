"use strict";
// How was it? One question, one answer, once. Opening the page changes nothing.
const TEXT = {
  zh: { title: "服务评价", lang: "English", comment: "还有什么想说的（可不填）", send: "提交", sending: "正在提交……", done: "谢谢您的评价！", answered: "您已经评价过了，谢谢！", over: "这个链接已经过期。", unknown: "没有这个链接。", too_many: "试的次数太多，请过几分钟再来。", busy: "现在连不上，请再试一次。", again: "再试一次" },
  en: { title: "How was it?", lang: "中文", comment: "Anything else? (you may leave it empty)", send: "Send", sending: "Sending…", done: "Thank you!", answered: "You have answered already. Thank you!", over: "This link is over.", unknown: "There is no such link.", too_many: "Too many tries: come back in some minutes.", busy: "There is no connection now: please try again.", again: "Try again" },
};
const $ = (id) => document.getElementById(id);
const path = location.pathname.replace(/\/$/, "");
let lang = /^zh/i.test(navigator.language) ? "zh" : "en", asked = null, score = 0, trouble = "", done = "", sending = false;
const word = (key) => TEXT[lang][key] || TEXT[lang].busy;

async function ask(to, options) {
  const answer = await fetch(to, options).catch(() => { throw "busy"; });
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw value.error ? value.error.code : "busy";
  return value;
}
function draw() {
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  document.title = word("title");
  for (const one of document.querySelectorAll("[data-w]")) one.textContent = word(one.dataset.w);
  $("lang").textContent = word("lang");
  $("ask").hidden = !asked || Boolean(done);
  $("give").textContent = word(sending ? "sending" : trouble ? "again" : "send");
  $("give").disabled = !score || sending;
  $("done").hidden = !done;
  $("done").textContent = done === "done" && asked && asked.thanks ? asked.thanks : done && word(done);
  $("trouble").hidden = !trouble;
  $("trouble").textContent = trouble && word(trouble);
}
function show() {
  $("question").textContent = asked.question;
  // The best answer stands first.
  const rows = asked.answers.map((text, at) => {
    const row = document.createElement("label"), one = document.createElement("input");
    Object.assign(one, { type: "radio", name: "score", value: at + 1 });
    one.addEventListener("change", () => { score = at + 1; trouble = ""; draw(); });
    row.append(one, text);
    return row;
  });
  $("answers").replaceChildren(...rows.reverse());
}
async function begin() {
  try {
    asked = await ask(`${path}/state`);
    if (asked.answered) done = "answered";
    else show();
    trouble = "";
  } catch (code) { trouble = code; if (code === "busy") setTimeout(begin, 3000); }
  draw();
}
$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!score || sending) return;
  sending = true;
  trouble = "";
  draw();
  try {
    await ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ score, comment: $("comment").value }) });
    done = "done";
  } catch (code) { if (code === "answered") done = code; else trouble = code; }
  sending = false;
  draw();
});
$("lang").addEventListener("click", () => { lang = lang === "zh" ? "en" : "zh"; draw(); });
draw();
begin();
