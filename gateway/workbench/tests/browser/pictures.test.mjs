// Every page in both themes and three sizes as PNG (gateway/workbench/pictures, or ARK_PICTURES), each looked at by axe.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { findChromium, open, WAIT } from "./kit.mjs";

const folder = process.env.ARK_PICTURES ?? new URL("../../pictures/", import.meta.url).pathname;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PARTIAL = "哦那就好，那如果今天没到账的话我";
const SIZES = { desktop: [1440, 900], tablet: [1024, 768], phone: [390, 844] };
const skip = findChromium() ? false : "SKIPPED workbench: no chromium";
let desk;

before(async () => { if (!skip) { mkdirSync(folder, { recursive: true }); desk = await open(); desk.mock.always("ark.live.transcript.v1", { conversation: desk.mock.day.main, leg: 1, speaker: "customer", utterance: 2, start_ms: 9e4, text: PARTIAL, stable: 8 }); } });
after(async () => { await desk?.close(); });

/** No finding of axe that is serious. Its script is put in by the debugger, past the page's policy. */
async function sound(page, where) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  const serious = found.violations.filter((one) => ["serious", "critical"].includes(one.impact));
  assert.deepEqual(serious.map((one) => `${where}: ${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.target} ${node.any?.[0]?.message ?? node.failureSummary ?? ""}`).join(" | ")}`), []);
}

async function atDesk(page) {
  await page.goto(`${desk.url}/#${desk.mock.day.main}`);
  await page.locator("#timeline").getByText("我看到了，第二笔是重复支付").waitFor();
  await page.getByText(PARTIAL.slice(0, 8)).waitFor();
  await page.locator(".pic img").first().evaluate((image) => image.decode());
}
const PAGES = {
  desk: atDesk,
  inbox: async (page) => { await page.goto(desk.url); await page.getByText("朵拉").first().waitFor(); },
  transfer: async (page) => { await atDesk(page); await page.getByRole("button", { name: "转接" }).click(); await page.getByText("柯拉").waitFor(); await page.locator("input[value='agent:cora']").check(); },
  board: async (page) => { await page.goto(desk.url); await page.getByRole("button", { name: "看板" }).click(); await page.getByText("91 %").waitFor(); },
  accounts: async (page, phone) => { if (phone) return false; await page.goto(desk.url); await page.getByRole("button", { name: "账号" }).click(); await page.getByText("本杰明").waitFor(); },
  settings: async (page) => { await page.goto(desk.url); await page.locator("button:visible", { hasText: "设置" }).or(page.locator("button[aria-label='设置']:visible")).first().click(); await page.getByRole("heading", { name: "声音" }).waitFor(); },
  search: async (page, phone) => { if (phone) return false; await atDesk(page); await page.locator(".head .sub").click(); await page.keyboard.press("/"); await page.getByRole("searchbox").fill("退款"); await page.getByText("这个会话里").waitFor(); },
  offer: async (page) => { await page.goto(desk.url); await page.getByText("朵拉").first().waitFor(); desk.mock.offer([...desk.mock.talks.values()].find((one) => one.head.title === "访客 7F2A").head.conversation, "anna", { summary: "来意：想直接通话\n已等 12 秒", note: "客户有点着急" }); await page.locator(".offer").waitFor(); },
};

test("every page in both themes and three sizes", { skip, timeout: 600_000 }, async (t) => {
  for (const theme of ["light", "dark"]) {
    for (const [size, [width, height]] of Object.entries(SIZES)) {
      const page = await desk.page({ theme, width, height, touch: size === "phone" });
      for (const [name, go] of Object.entries(PAGES)) {
        if (process.env.ONLY && !process.env.ONLY.split(",").includes(name)) continue;
        await t.test(`${name} ${theme} ${size}`, async () => {
          await page.goto("about:blank");
          if ((await go(page, size === "phone")) === false) return;
          await page.screenshot({ path: `${folder}/${name}-${theme}-${size}.png`, animations: "disabled" });
          await sound(page, `${name}-${theme}-${size}`);
          const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
          assert.equal(wide, 0, "nothing stands over the edge");
          assert.deepEqual(page.troubles, []);
          for (const offer of await page.locator(".offer button", { hasText: "拒绝" }).all()) await offer.click({ timeout: WAIT });
        });
      }
      await page.context().close();
    }
  }
  const gate = await desk.page({ signedIn: false });
  await gate.goto(desk.url);
  await gate.getByRole("button", { name: "登录", exact: true }).waitFor();
  await gate.screenshot({ path: `${folder}/signin-light-desktop.png` });
  await sound(gate, "signin");
  await gate.context().close();
  const large = await desk.page({ step: "1.3", lang: "en", theme: "dark" });
  await atDesk(large);
  await large.screenshot({ path: `${folder}/desk-en-largest.png`, animations: "disabled" });
  await sound(large, "desk-en-largest");
});
