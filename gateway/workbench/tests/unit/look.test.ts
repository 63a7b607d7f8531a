import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { POLICY } from "../../mock/server.mjs";

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const tokens = read("../src/http/assets/tokens.css");

function theme(block: string): Record<string, string> {
  const body = tokens.split(block)[1]!.split("}")[0]!;
  return Object.fromEntries([...body.matchAll(/(--[\w-]+):\s*(#[0-9a-f]{6})/g)].map((match) => [match[1]!, match[2]!]));
}
function luminance(colour: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255).map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(a: string, b: string): number {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

// Every pair of ink and ground that the style uses for words.
const PAIRS: [string, string[]][] = [
  ["--ink", ["--bg", "--surface", "--sunken", "--raised", "--note", "--customer", "--agent", "--sea-soft", "--live-soft"]],
  ["--ink-2", ["--bg", "--surface", "--sunken", "--raised", "--sea-soft", "--customer"]],
  ["--ink-3", ["--bg", "--surface", "--raised", "--customer", "--sunken"]],
  ["--sea-ink", ["--sea"]], ["--sea-text", ["--surface", "--sea-soft", "--bg"]],
  ["--live", ["--live-soft", "--surface", "--bg"]], ["--live-ink", ["--live"]],
  ["--wait", ["--wait-soft", "--surface", "--bg"]],
  ["--late", ["--late-soft", "--surface", "--bg"]], ["--late-ink", ["--late"]],
];

describe("the look", () => {
  for (const [name, block] of [["light", ":root {"], ["dark", ':root[data-theme="dark"] {']] as const) {
    it(`has a contrast of 4.5 at least in the ${name} theme`, () => {
      const colours = theme(block);
      const weak = PAIRS.flatMap(([ink, grounds]) => grounds.map((ground) => [`${ink} on ${ground}`, contrast(colours[ink]!, colours[ground]!)] as const)).filter(([, ratio]) => ratio < 4.5);
      expect(weak).toEqual([]);
    });
  }
  it("takes every colour from the tokens", () => {
    const stray = read("src/app.css").match(/#[0-9a-f]{3,8}\b/gi) ?? [];
    expect(stray).toEqual([]);
  });
  it("is of the gateway's other pages", () => {
    expect(read("src/main.ts")).toContain('import "../../src/http/assets/tokens.css";');
  });
});

describe("what a customer wrote", () => {
  it("is never put into the page as HTML", () => {
    for (const folder of ["src/ui/", "src/lib/", "src/"]) {
      for (const name of readdirSync(new URL(`../../${folder}`, import.meta.url)).filter((one) => /\.(ts|svelte)$/.test(one))) {
        expect(read(folder + name), name).not.toMatch(/\{@html|innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/);
      }
    }
  });
  it("meets the policy of the gateway in the tests, too", () => {
    const rust = readFileSync(new URL("../../../src/http/workbench.rs", import.meta.url), "utf8");
    const policy = /const POLICY: &str = "([^;]*;(?:[^"]|\\\n)*)";/.exec(rust)![1]!.replace(/\\\n\s*/g, "");
    expect(policy).toBe(POLICY);
  });
});
