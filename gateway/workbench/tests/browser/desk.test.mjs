// The desk against the mock gateway: the ways that an agent goes in a day, and what must not go wrong on them.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { long } from "../../mock/day.mjs";
import { findChromium, open, WAIT } from "./kit.mjs";

const skip = findChromium() ? false : "SKIPPED workbench: no chromium";
let desk;
const opened = [];
async function agent(options) {
  const page = await desk.page(options);
  opened.push(page);
  return page;
}
before(async () => { if (!skip) desk = await open(); });
after(async () => { await desk?.close(); });
beforeEach(async () => {
  for (const page of opened.splice(0)) {
    assert.deepEqual(page.troubles, [], "nothing went wrong in the page");
    await page.context().close();
  }
  if (desk) Object.assign(desk.mock.state, { refuse: null, lose: null, deaf: false, delay: 0, sent: [] });
});
const byTitle = (title) => [...desk.mock.talks.values()].find((one) => one.head.title === title).head.conversation;
const composer = (page) => page.locator(".say textarea");
const lines = (page) => page.locator("#timeline");
async function until(what, check) {
  const end = Date.now() + WAIT;
  for (;;) {
    if (await check()) return;
    assert.ok(Date.now() < end, `in time: ${what}`);
    await new Promise((done) => { setTimeout(done, 50); });
  }
}

test("signs in, and says when name or password are wrong", { skip }, async () => {
  const page = await agent({ signedIn: false });
  await page.goto(desk.url);
  await page.getByLabel("账号").fill("anna");
  await page.getByLabel("密码").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByText("账号或密码不对。").waitFor();
  await page.getByLabel("密码").fill("correct horse");
  await page.keyboard.press("Enter");
  await page.locator(".card", { hasText: "朵拉" }).waitFor();
  await page.reload();
  await page.locator(".card", { hasText: "朵拉" }).waitFor();
});

test("takes a chat that is offered, by the keyboard alone, and answers it", { skip }, async () => {
  const page = await agent();
  await page.goto(desk.url);
  await page.locator(".card", { hasText: "朵拉" }).waitFor();
  const conversation = byTitle("访客 7F2A");
  desk.mock.offer(conversation, "anna", { summary: "来意：想直接通话" });
  await page.locator(".offer").getByText("想直接通话").waitFor();
  await page.keyboard.press("Enter");
  await lines(page).getByText("我想直接通话").waitFor();
  await page.locator(".offer").waitFor({ state: "detached" });
  await page.locator(".say textarea:focus").waitFor();
  await page.keyboard.type("您好，我是安娜");
  await page.keyboard.press("Enter");
  await lines(page).locator(".m.a:not(.pending)", { hasText: "您好，我是安娜" }).waitFor();
  await lines(page).getByText("已送达").waitFor();
  assert.deepEqual(desk.mock.state.sent, ["您好，我是安娜"]);
  // A script, a note, the search, the next conversation: all by keys.
  await page.keyboard.press("Alt+Digit1");
  await until("the script stands in the field", async () => /核实/.test(await composer(page).inputValue()));
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Delete");
  await page.keyboard.press("Escape");
  await page.keyboard.press("n");
  await page.keyboard.type("客户想回电");
  await page.keyboard.press("Enter");
  await lines(page).locator(".note", { hasText: "客户想回电" }).waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("/");
  await page.keyboard.type("李工");
  await page.locator(".results .card", { hasText: "李工" }).waitFor();
  await page.keyboard.press("Enter");
  await lines(page).getByText("退款什么时候能到账？").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("t");
  await page.locator("dialog[open]", { hasText: "转接给谁" }).waitFor();
  await page.keyboard.press("Escape");
  await page.locator("dialog[open]").waitFor({ state: "detached" });
});

test("a draft stays over a reload and a change of conversation", { skip }, async () => {
  const page = await agent();
  await page.goto(`${desk.url}/#${byTitle("朵拉")}`);
  await lines(page).getByText("这是我收到的包裹").waitFor();
  await composer(page).fill("我马上为您");
  await page.locator(".card", { hasText: "李工" }).click();
  await lines(page).getByText("退款什么时候能到账？").waitFor();
  assert.equal(await composer(page).inputValue(), "");
  await page.locator(".card", { hasText: "朵拉" }).getByText("草稿").waitFor();
  await page.reload();
  await page.locator(".card", { hasText: "朵拉" }).click();
  await until("the draft is back", async () => (await composer(page).inputValue()) === "我马上为您");
  await composer(page).fill("");
});

test("a socket that is cut a hundred times loses nothing and doubles nothing", { skip, timeout: 180_000 }, async () => {
  const page = await agent();
  const conversation = byTitle("李工");
  await page.goto(`${desk.url}/#${conversation}`);
  await lines(page).getByText("退款什么时候能到账？").waitFor();
  for (let turn = 0; turn < 100; turn += 1) {
    desk.mock.append(conversation, "ark.message.in.v1", { thread: "li", sender: { role: "customer", id: "li", display: "李工" }, parts: [{ kind: "text", text: `第${turn}句` }] });
    if (turn % 2) desk.mock.cut();
    // Every few turns the page is to come back, or it would see one long cut.
    if (turn % 10 === 9) await until("the desk is connected", () => { void page.evaluate(() => dispatchEvent(new Event("online"))); return desk.mock.logSockets() > 0; });
  }
  await page.evaluate(() => dispatchEvent(new Event("online")));
  await lines(page).getByText("第99句", { exact: true }).waitFor();
  const said = await lines(page).locator(".m:not(.a) .b").allInnerTexts();
  const numbers = said.filter((text) => /^第\d+句$/.test(text)).map((text) => Number(/\d+/.exec(text)[0]));
  assert.deepEqual(numbers, Array.from({ length: 100 }, (_, n) => n));
});

test("what is written while the gateway is away is sent once when it is back, in order", { skip }, async () => {
  const page = await agent();
  const conversation = byTitle("朵拉");
  await page.goto(`${desk.url}/#${conversation}`);
  await lines(page).getByText("这是我收到的包裹").waitFor();
  Object.assign(desk.mock.state, { deaf: true, refuse: (method) => method === "POST" });
  desk.mock.cut();
  await page.getByRole("alert").getByText("与网关的连接断开").waitFor();
  for (const text of ["第一条", "第二条"]) {
    await composer(page).fill(text);
    await composer(page).press("Enter");
  }
  await page.getByText("2 条待发").waitFor();
  assert.equal(await lines(page).locator(".pending").count(), 2);
  // The answer to the first sending is lost, after the gateway has taken it.
  let lost = 0;
  Object.assign(desk.mock.state, { deaf: false, refuse: null, lose: (method, path) => method === "POST" && /messages$/.test(path) && (lost += 1) === 1 });
  await page.reload();
  await lines(page).locator(".m.a:not(.pending)", { hasText: "第二条" }).waitFor();
  await until("nothing waits any more", async () => (await lines(page).locator(".pending").count()) === 0);
  assert.deepEqual(desk.mock.state.sent, ["第一条", "第二条"]);
  const texts = (await lines(page).locator(".m.a .b").allInnerTexts()).filter((text) => /^第.条$/.test(text));
  assert.deepEqual(texts, ["第一条", "第二条"]);
  assert.equal(lost > 1, true, "it was asked again");
});

test("a message that is refused says why, and comes back into the field", { skip }, async () => {
  const page = await agent();
  const conversation = byTitle("朵拉");
  await page.goto(`${desk.url}/#${conversation}`);
  await lines(page).getByText("这是我收到的包裹").waitFor();
  desk.mock.talks.get(conversation).head.owner = "agent:ben";
  await composer(page).fill("这句发不出去");
  await composer(page).press("Enter");
  await page.getByRole("alert").getByText("somebody else owns it").waitFor();
  await page.getByRole("button", { name: "取回修改" }).click();
  await until("the words are back", async () => (await composer(page).inputValue()) === "这句发不出去");
  desk.mock.talks.get(conversation).head.owner = "agent:anna";
  await composer(page).fill("");
});

test("a customer's text is text, whatever is in it", { skip }, async () => {
  const page = await agent();
  const conversation = byTitle("李工");
  const hostile = [
    "<img src=x onerror=\"document.title='owned'\">", "<script>document.title='owned'</script>", "<svg/onload=document.title='owned'>", "javascript:document.title='owned'", "{{constructor.constructor('document.title=1')()}}", "{@html '<b>x</b>'}",
    "\u202Egnp.exe", "a".repeat(5000), "\u0000\u0007\uFFFF", "</textarea><iframe srcdoc='<script>top.document.title=1</script>'>", "‮‭%s%n${document.title='owned'}", "🧑‍🧑‍🧒‍🧒".repeat(200),
  ];
  await page.goto(`${desk.url}/#${conversation}`);
  await lines(page).getByText("退款什么时候能到账？").waitFor();
  const refused = [];
  page.on("console", (message) => { if (/Content Security Policy/.test(message.text())) refused.push(message.text()); });
  for (const text of hostile) {
    desk.mock.append(conversation, "ark.message.in.v1", { thread: text, sender: { role: "customer", id: text, display: text }, parts: [{ kind: "text", text }, { kind: "card", title: text, body: text, actions: [{ id: "a", label: text, url: "javascript:document.title='owned'" }], fallback_text: text }, { kind: "file", media: { ref: `ark-media:${encodeURIComponent(text).slice(0, 30)}`, mime: "text/html", size: 3, name: text } }] });
    desk.mock.append(conversation, "ark.note.v1", { by: text, text });
    desk.mock.append(conversation, "ark.ivr.entered.v1", { leg: 1, plan: text, version: 1, state: text, verb: "say" });
    desk.mock.live("ark.live.transcript.v1", { conversation, leg: 1, speaker: "customer", utterance: 77, start_ms: 0, text, stable: 3 });
  }
  desk.mock.append(conversation, "ark.message.in.v1", { thread: "li", sender: { role: "customer", id: "li", display: "李工" }, parts: [{ kind: "text", text: "最后一句" }] });
  await lines(page).getByText("最后一句", { exact: true }).waitFor();
  assert.match(await page.title(), /方舟/);
  assert.equal(await page.locator("#app script, #app iframe, #app img[src='x'], #app [onerror], #app [onload]").count(), 0);
  assert.equal(await page.locator("a[href^='javascript:' i]").count(), 0);
  assert.ok((await lines(page).getByText("<script>document.title='owned'</script>", { exact: true }).count()) > 0, "it stands there as it was written");
  assert.deepEqual(refused, [], "nothing even tried");
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(wide, 0);
  // And a script that somebody smuggled in anyway would not run.
  const ran = await page.evaluate(() => { const script = document.createElement("script"); script.textContent = "window.smuggled = 1"; document.body.append(script); return window.smuggled; });
  assert.equal(ran, undefined);
  assert.equal(page.troubles.splice(0).length, 1, "and the browser says so");
});

test("what is being said is grey, and its final takes the same place; a click plays that second", { skip }, async () => {
  const page = await agent();
  const conversation = desk.mock.day.main;
  await page.goto(`${desk.url}/#${conversation}`);
  await lines(page).getByText("我看到了，第二笔是重复支付").waitFor();
  await until("the desk is connected", async () => desk.mock.logSockets() > 0);
  const line = (text) => lines(page).getByText(text);
  const say = (text, more = {}) => desk.mock.live("ark.live.transcript.v1", { conversation, leg: 1, speaker: "customer", utterance: 9, start_ms: 90_000, text, stable: 2, ...more });
  await until("the partial stands there", async () => { say("那如果今"); return (await line("那如果今").count()) > 0; });
  say("那如果今天没到账");
  await line("天没到账").waitFor();
  assert.equal(await lines(page).locator("[data-partial]").count(), 1);
  desk.mock.append(conversation, "ark.transcript.final.v1", { leg: 1, speaker: "customer", utterance: 9, start_ms: 90_000, end_ms: 92_000, text: "那如果今天没到账呢？", engine: "mock", recording: "call-1.opus", recording_ms: 90_000 });
  await line("那如果今天没到账呢？").waitFor();
  assert.equal(await lines(page).locator("[data-partial]").count(), 0);
  await lines(page).locator(".m", { hasText: "那如果今天没到账呢？" }).getByRole("button", { name: "听这一句" }).click();
  await lines(page).getByRole("button", { name: "停止" }).waitFor();
});

test("2,000 records open in under a second of the page's own time, and scroll back to the first", { skip }, async () => {
  const page = await agent();
  const conversation = desk.mock.add(long(2_000));
  await page.goto(desk.url);
  await page.locator(".card", { hasText: "长先生" }).waitFor();
  const took = await page.evaluate(async () => {
    const begin = performance.now();
    [...document.querySelectorAll(".card")].find((card) => card.textContent.includes("长先生")).click();
    while (!document.querySelector("#timeline")?.textContent.includes("第 1999 条")) await new Promise((done) => { requestAnimationFrame(done); });
    return performance.now() - begin;
  });
  console.log(`2,000 records: shown after ${took.toFixed(0)} ms`);
  assert.ok((await lines(page).locator(".m").count()) < 400, "only a window of them stands in the page");
  await until("the first is reached", async () => {
    await page.evaluate(() => { document.querySelector("#timeline").scrollTop = 0; });
    return (await lines(page).getByText("第 1 条：").count()) > 0;
  });
  const numbers = (await lines(page).locator(".m .b").allInnerTexts()).map((text) => Number(/第 (\d+) 条/.exec(text)?.[1]));
  assert.deepEqual(numbers, Array.from({ length: 1_999 }, (_, n) => n + 1));
  desk.mock.talks.delete(conversation);
});

test("a transfer shows who is free, sends the summary as it was edited, and says what goes on", { skip }, async () => {
  const page = await agent();
  await page.goto(`${desk.url}/#${desk.mock.day.main}`);
  await lines(page).getByText("我看到了，第二笔是重复支付").waitFor();
  await page.getByRole("button", { name: "转接" }).click();
  const dialog = page.locator("dialog[open]");
  await dialog.getByText("可接").first().waitFor();
  await dialog.locator("input[value='agent:cora']").check();
  await dialog.getByText("先询问").click();
  await dialog.getByText("再合并或交出").waitFor();
  await until("the summary has come", async () => /2218/.test(await dialog.getByLabel("摘要").inputValue()));
  await dialog.getByLabel("摘要").fill("来意：两次扣款。已核实。");
  await dialog.getByLabel("给同事的留言").fill("请跟进退款");
  await dialog.getByRole("button", { name: "转接" }).click();
  await page.getByText("正在与 cora 商量").waitFor();
  assert.deepEqual(desk.mock.state.sent, [{ to: { agent: "cora" }, mode: "warm", by: "anna", note: "请跟进退款", summary: "来意：两次扣款。已核实。", epoch: 2 }]);
  await page.getByRole("button", { name: "三方通话" }).click();
  await page.getByText("三方通话中").waitFor();
  await page.getByRole("button", { name: "交出去" }).click();
  await page.locator(".transferbar").waitFor({ state: "detached" });
});

test("pictures: one that is too large is refused, one that fits is shown before and after it is sent", { skip }, async () => {
  const page = await agent();
  await page.goto(`${desk.url}/#${byTitle("朵拉")}`);
  await lines(page).getByText("这是我收到的包裹").waitFor();
  const file = page.locator(".say input[type=file]");
  await file.setInputFiles({ name: "big.png", mimeType: "image/png", buffer: Buffer.alloc(11 * 1024 * 1024) });
  await page.getByText("图片超过 10.0 MB").waitFor();
  const png = await page.request.get(`${desk.url}/desk/icon-192.png`).then((answer) => answer.body());
  await file.setInputFiles({ name: "说明.png", mimeType: "image/png", buffer: png });
  await page.locator(".chosen img").waitFor();
  await page.getByRole("button", { name: "发送", exact: true }).click();
  await lines(page).locator(".m.a .pic", { hasText: "说明.png" }).waitFor();
  await page.getByRole("button", { name: "表情" }).click();
  await page.getByRole("button", { name: "方舟贴纸" }).click();
  await page.getByRole("button", { name: "谢谢" }).click();
  await lines(page).locator(".m.a .pic", { hasText: "谢谢.png" }).waitFor();
});

test("the number is masked, and showing it is asked for and logged", { skip }, async () => {
  const page = await agent();
  await page.goto(`${desk.url}/#${desk.mock.day.main}`);
  await page.locator("h1 .number", { hasText: "138****1234" }).waitFor();
  await page.getByRole("button", { name: "显示完整号码" }).click();
  await page.locator("h1 .number", { hasText: "+86 138 0013 1234" }).waitFor();
  await lines(page).getByText("安娜 查看了完整号码").or(lines(page).getByText("anna 查看了完整号码")).waitFor();
});

test("a telephone's ring is offered, and declining it is heard", { skip }, async () => {
  const page = await agent();
  await page.goto(desk.url);
  await page.locator(".card", { hasText: "朵拉" }).waitFor();
  const conversation = byTitle("139****8821");
  await until("the telephone is on", () => desk.mock.phones() > 0);
  const heard = desk.mock.ring({ call: "c1", from: "139****8821", queue: "投诉建议", conversation });
  await page.locator(".offer.call", { hasText: "139****8821" }).waitFor();
  await page.getByRole("button", { name: "拒绝" }).click();
  assert.equal((await heard).type, "hangup");
  await page.locator(".offer").waitFor({ state: "detached" });
});

test("the first administrator is made on the page, once", { skip }, async () => {
  const fresh = await open({ accounts: false });
  try {
    const page = await fresh.page({ signedIn: false });
    await page.goto(fresh.url);
    await page.getByRole("heading", { name: "第一位管理员" }).waitFor();
    await page.getByLabel("账号").fill("root");
    await page.getByLabel("显示名").fill("管理员");
    await page.getByLabel("密码").fill("long enough 1");
    await page.getByRole("button", { name: "建立并登录" }).click();
    await page.getByRole("button", { name: "账号" }).click();
    await page.getByRole("button", { name: "新账号" }).click();
    await page.getByRole("textbox", { name: "账号" }).fill("dan");
    await page.getByLabel("密码", { exact: true }).fill("another long one");
    await page.getByLabel("技能组").fill("售后, 订单");
    await page.getByRole("button", { name: "保存" }).click();
    await page.getByRole("cell", { name: "售后 · 订单" }).waitFor();
    assert.deepEqual(fresh.mock.people.get("dan").groups, ["售后", "订单"]);
    assert.deepEqual(page.troubles, []);
  } finally {
    await fresh.close();
  }
});

test("without a network the shell opens from what the browser keeps", { skip }, async () => {
  const page = await agent();
  await page.goto(desk.url);
  await page.locator(".card", { hasText: "朵拉" }).waitFor();
  await until("the shell is kept", () => page.evaluate(async () => {
    const cache = await caches.open("ark-desk-1");
    const names = (await cache.keys()).map((one) => new URL(one.url).pathname);
    return Boolean(navigator.serviceWorker.controller) && names.includes("/") && names.filter((name) => name.startsWith("/desk/h/")).length >= 2;
  }));
  await page.context().setOffline(true);
  await page.reload();
  await page.getByText("与网关的连接断开").or(page.getByText("正在读取")).first().waitFor();
  await page.context().setOffline(false);
  await page.locator(".card", { hasText: "朵拉" }).waitFor();
});
