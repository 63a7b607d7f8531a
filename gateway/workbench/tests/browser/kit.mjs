// What the browser tests share: the system's Chromium, the mock gateway, a page.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import { serve } from "../../mock/server.mjs";

export function findChromium() {
  const named = process.env.ARK_CHROMIUM;
  const folders = (process.env.PATH ?? "").split(":");
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  return [named, ...names.flatMap((name) => folders.map((folder) => `${folder}/${name}`))].find((path) => path && existsSync(path));
}

export const WAIT = 20_000;

/** A browser and a mock gateway on a free port; both end with the test file. */
export async function open({ day, accounts } = {}) {
  const mock = await serve({ port: 0, day, accounts });
  const browser = await chromium.launch({
    executablePath: findChromium(),
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--autoplay-policy=no-user-gesture-required"],
  });
  const url = `http://localhost:${mock.port}`;
  return {
    mock, browser, url,
    /** A page of an agent who has signed in; `look`: theme, size, step, lang. */
    async page({ theme = "light", width = 1440, height = 900, lang = "zh", step = "1", signedIn = true, touch = false, who } = {}) {
      const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, locale: lang === "zh" ? "zh-CN" : "en-GB", hasTouch: touch, timezoneId: "Asia/Shanghai" });
      context.setDefaultTimeout(WAIT);
      await context.addInitScript(([theme_, lang_, step_]) => {
        if (!location.protocol.startsWith("http")) return;
        if (!localStorage.getItem("ark.lang")) localStorage.setItem("ark.lang", lang_);
        if (!localStorage.getItem("ark.theme")) localStorage.setItem("ark.theme", theme_);
        if (!localStorage.getItem("ark.step")) localStorage.setItem("ark.step", step_);
      }, [theme, lang, step]);
      if (signedIn) await context.addCookies([{ name: "ark_session", value: mock.session(who), url }]);
      const page = await context.newPage();
      page.troubles = [];
      page.on("pageerror", (error) => page.troubles.push(String(error)));
      page.on("console", (message) => { if (message.type() === "error" && /Content Security Policy|TypeError|ReferenceError/.test(message.text())) page.troubles.push(message.text()); });
      return page;
    },
    async close() {
      await browser.close();
      await mock.close();
    },
  };
}
