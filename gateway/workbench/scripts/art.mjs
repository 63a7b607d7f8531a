// Draws the icons and the sticker pack as PNG, with the system's Chromium. Run by hand when they are to change: `node scripts/art.mjs`.
import { writeFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { findChromium } from "../tests/browser/kit.mjs";

const out = new URL("../public/desk/", import.meta.url).pathname;
const boat = '<path d="M6 18h20l-3.2 6.2a2 2 0 0 1-1.8 1.1H11a2 2 0 0 1-1.8-1.1L6 18Zm9-11.5a1 1 0 0 1 2 0V16h-2V6.5Zm3.5 2.2 5.2 5.8a.9.9 0 0 1-.7 1.5h-4.5V8.7ZM13.5 10v6H9.3a.8.8 0 0 1-.6-1.3l4.8-4.7Z" fill="#fff"/>';
const icon = (size, radius) => `<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}" viewBox="0 0 32 32"><rect width="32" height="32" rx="${radius}" fill="#0b5fa5"/>${radius ? boat : `<g transform="translate(3.2 3.2) scale(.8)">${boat}</g>`}</svg>`;

// A face on a boat: eyes and mouth say what the words say.
const faces = {
  hello: ["您好", '<path d="M70 92a12 12 0 0 1 20 0M110 92a12 12 0 0 1 20 0M78 112a24 20 0 0 0 44 0z" fill="none"/><path d="M158 78l14-16m-8 24l18-10" />', "#e3effa"],
  thanks: ["谢谢", '<path d="M70 92a12 12 0 0 1 20 0M110 92a12 12 0 0 1 20 0M84 112a18 14 0 0 0 32 0" fill="none"/><path d="M58 108h8M134 108h8" stroke="#e2807a"/>', "#dff3ea"],
  wait: ["请稍等", '<circle cx="80" cy="92" r="5" fill="#0b5fa5"/><circle cx="120" cy="92" r="5" fill="#0b5fa5"/><path d="M88 114h24"/><path d="M160 52v14l9 6" fill="none"/><circle cx="160" cy="64" r="17" fill="none"/>', "#fdf0d9"],
  done: ["已办好", '<path d="M70 90l10 8 10-8M110 90l10 8 10-8M80 110a22 18 0 0 0 40 0z" fill="none"/><path d="M148 62l10 10 20-22" fill="none" stroke="#0d7a4f"/>', "#dff3ea"],
  sorry: ["抱歉", '<path d="M72 86l16 5M128 86l-16 5"/><circle cx="82" cy="97" r="4" fill="#0b5fa5"/><circle cx="118" cy="97" r="4" fill="#0b5fa5"/><path d="M86 120a16 12 0 0 1 28 0" fill="none"/>', "#fbe4e2"],
  bye: ["再见", '<circle cx="80" cy="92" r="5" fill="#0b5fa5"/><path d="M110 94a12 12 0 0 1 20 0M82 110a20 16 0 0 0 36 0" fill="none"/><path d="M160 60q10-8 20 0t20 0" fill="none"/>', "#e3effa"],
};
const sticker = ([words, face, ground]) => `<svg xmlns="http://www.w3.org/2000/svg" width="240" height="240" viewBox="0 0 200 200"><circle cx="100" cy="100" r="96" fill="${ground}"/>
<g stroke="#0b5fa5" stroke-width="5" stroke-linecap="round" stroke-linejoin="round"><path d="M100 22v30l-26 0z" fill="#4aa3ee" stroke="none"/><path d="M100 18v44"/><path d="M52 64h96a10 10 0 0 1 10 12l-9 46a22 22 0 0 1-22 18H73a22 22 0 0 1-22-18l-9-46a10 10 0 0 1 10-12z" fill="#fff"/>${face}</g>
<text x="100" y="178" text-anchor="middle" font-family="Noto Sans CJK SC, sans-serif" font-size="26" font-weight="700" fill="#0b5fa5">${words}</text></svg>`;

const browser = await chromium.launch({ executablePath: findChromium(), args: ["--no-sandbox"] });
const page = await browser.newPage();
async function draw(svg, file, size) {
  await page.setViewportSize({ width: size, height: size });
  await page.setContent(`<style>*{margin:0}svg{display:block}</style>${svg}`);
  writeFileSync(out + file, await page.screenshot({ omitBackground: true, clip: { x: 0, y: 0, width: size, height: size } }));
}
for (const [file, size, radius] of [["icon-192.png", 192, 8], ["icon-512.png", 512, 8], ["icon-mask-512.png", 512, 0]]) await draw(icon(size, radius), file, size);
for (const [name, face] of Object.entries(faces)) await draw(sticker(face), `packs/stickers/${name}.png`, 240);
await browser.close();
