import { webcrypto } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

// The browser that the outbox sees: a store, and a gateway that can be away.
const kept = new Map<string, string>();
let answers: ((url: string, body: { key: string; text: string }) => Response | Error)[] = [];
let taken: string[] = [];
let tries = 0;
const json = (status: number, value: unknown): Response => new Response(JSON.stringify(value), { status });

beforeEach(() => {
  vi.useFakeTimers();
  vi.resetModules();
  kept.clear();
  answers = [];
  taken = [];
  tries = 0;
  const seen = new Set<string>();
  vi.stubGlobal("localStorage", { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => kept.set(key, value), removeItem: (key: string) => kept.delete(key) });
  vi.stubGlobal("window", globalThis);
  // Node.js 18 has it under another name.
  if (!globalThis.crypto) vi.stubGlobal("crypto", webcrypto);
  vi.stubGlobal("addEventListener", () => {});
  vi.stubGlobal("fetch", async (url: string, options: { body: string }) => {
    tries += 1;
    const body = JSON.parse(options.body) as { key: string; text: string };
    const answer = answers.shift()?.(url, body);
    if (answer instanceof Error) throw answer;
    // As the gateway does: a key counts once.
    if (!answer || answer.ok) {
      if (!seen.has(body.key)) taken.push(body.text);
      seen.add(body.key);
    }
    return answer ?? json(201, { last_seq: 10 + taken.length });
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});
const load = async (): Promise<typeof import("../../src/lib/outbox.svelte")> => import("../../src/lib/outbox.svelte");
const one = (text: string): { conversation: string; by: string; text: string } => ({ conversation: "c1", by: "anna", text });

describe("the outbox", () => {
  it("sends in order and tries again under the same key until the gateway is back", async () => {
    const { outbox } = await load();
    outbox.open();
    answers = [() => new Error("away"), () => json(503, {}), () => json(502, "<html>")];
    outbox.put(one("a"));
    outbox.put(one("b"));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(taken).toEqual(["a", "b"]);
    expect(tries).toBe(5);
    outbox.shown("c1", 12, () => false);
    expect(outbox.all).toEqual([]);
    expect(JSON.parse(kept.get("ark.outbox")!)).toEqual([]);
  });

  it("doubles nothing when the answer is lost after the gateway took it", async () => {
    const { outbox } = await load();
    outbox.open();
    const keys: string[] = [];
    const seen = new Set<string>();
    answers = Array.from({ length: 4 }, (_, at) => (_url: string, body: { key: string; text: string }) => {
      keys.push(body.key);
      if (!seen.has(body.key)) taken.push(body.text);
      seen.add(body.key);
      return at < 3 ? new Error("the answer was lost") : json(200, { last_seq: 3, duplicate: true });
    });
    outbox.put(one("only once"));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(new Set(keys).size).toBe(1);
    expect(keys).toHaveLength(4);
    expect(taken.filter((text) => text === "only once").length).toBeGreaterThan(0);
    expect(outbox.all[0]).toMatchObject({ state: "sent", seq: 3 });
  });

  it("keeps what was written over a reload", async () => {
    const first = await load();
    first.outbox.open();
    answers = [() => new Error("away")];
    first.outbox.put(one("kept"));
    await vi.advanceTimersByTimeAsync(10);
    vi.clearAllTimers();
    vi.resetModules();
    const second = await load();
    second.outbox.open();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(taken).toEqual(["kept"]);
  });

  it("shows what was refused, and lets it be taken back", async () => {
    const { outbox } = await load();
    outbox.open();
    answers = [() => json(409, { error: { code: "not_owner", message: "somebody else owns it" } })];
    outbox.put(one("refused"));
    outbox.put(one("next"));
    await vi.advanceTimersByTimeAsync(2_000);
    expect(outbox.all.find((it) => it.text === "refused")).toMatchObject({ state: "failed", code: "not_owner" });
    expect(taken).toEqual(["next"]);
    expect(outbox.remove(outbox.all[0]!.key)?.text).toBe("refused");
  });
});
