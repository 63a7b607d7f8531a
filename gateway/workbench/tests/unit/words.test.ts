import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { say, term, WORDS } from "../../src/words";
import { en } from "../../src/words/en";
import { zh, type Word } from "../../src/words/zh";

const root = new URL("../../src/", import.meta.url);
const sources = ["lib", "ui", "words"].flatMap((folder) => readdirSync(new URL(`${folder}/`, root)).filter((name) => /\.(ts|svelte)$/.test(name)).map((name) => [`${folder}/${name}`, readFileSync(new URL(`${folder}/${name}`, root), "utf8")] as const));

describe("the words", () => {
  it("are there in both languages, none empty, with the same values", () => {
    expect(Object.keys(en).sort()).toEqual(Object.keys(zh).sort());
    for (const key of Object.keys(zh) as Word[]) {
      expect(zh[key].length && en[key].length, key).toBeGreaterThan(0);
      const values = (text: string): string[] => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!).sort();
      expect(values(en[key]), key).toEqual(values(zh[key]));
    }
  });

  it("hold every key that the sources name", () => {
    const missing = sources.filter(([name]) => !name.startsWith("words/")).flatMap(([name, text]) =>
      [...text.matchAll(/\bt\("([^"]+)"/g), ...text.matchAll(/"(e\.[a-z_.]+)"/g)].map((match) => match[1]!).filter((key) => !(key in zh)).map((key) => `${name}: ${key}`));
    expect(missing).toEqual([]);
  });

  it("use full-width punctuation in Chinese", () => {
    for (const [key, text] of Object.entries(zh)) expect(text, key).not.toMatch(/[\u4e00-\u9fff][,;:?!]/);
  });

  it("fill in values, and words of the log's lists", () => {
    expect(say("zh", "e.queue.left", { outcome: "@abandoned", s: 12 })).toBe("离开队列：客户离开，等了 12 秒");
    expect(say("en", "nonsense.key")).toBe("nonsense.key");
    expect(term("en", "ch_dingtalk")).toBe("DingTalk");
    expect(term("zh", "ch_somethingnew")).toBe("somethingnew");
    expect(say("zh", "wrong", { wrong: "<b>" })).toBe(WORDS.zh.wrong);
  });

  it("stand in the dictionaries alone: no Chinese in the pages", () => {
    const stray = sources.filter(([name]) => name.startsWith("ui/")).flatMap(([name, text]) => text.split("\n").filter((line) => /[\u4e00-\u9fff]/.test(line) && !/中文|"舟"/.test(line)).map((line) => `${name}: ${line.trim()}`));
    expect(stray).toEqual([]);
  });
});
