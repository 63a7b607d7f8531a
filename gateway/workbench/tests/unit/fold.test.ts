import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Fold, KNOWN_TYPES } from "../../src/lib/fold";
import type { Data, LogRecord } from "../../src/lib/types";

function log(...events: [string, Data, string?][]): LogRecord[] {
  return events.map(([type, data, id], at) => ({
    conversation: "01", seq: at + 1, epoch: 1, at: "2026-01-01T10:00:00Z",
    event: { id: id ?? `e${at}`, source: "/ark/main/web/site", type, time: "2026-01-01T10:00:00Z", data },
  }));
}
function folded(records: LogRecord[]): Fold {
  const fold = new Fold();
  for (const record of records) fold.take(record);
  return fold;
}
const text = (words: string): Data => ({ thread: "t", sender: { role: "customer", id: "c" }, parts: [{ kind: "text", text: words }] });

describe("the timeline", () => {
  it("knows every type of the gateway's log", () => {
    const source = readFileSync(new URL("../../../../channels/conversation/src/event/mod.rs", import.meta.url), "utf8");
    const types = [...source.matchAll(/^ {4}\w+ = "(ark\.[a-z0-9_.]+)",$/gm)].map((match) => match[1]!);
    expect(types.length).toBeGreaterThan(60);
    expect(types.filter((type) => !KNOWN_TYPES.includes(type))).toEqual([]);
  });

  it("stands in the order of seq, and takes no record twice", () => {
    const records = log(["ark.message.in.v1", text("1")], ["ark.message.in.v1", text("2")], ["ark.message.in.v1", text("3")]);
    const fold = folded([...records, ...records, records[1]!]);
    expect(fold.items.map((item) => item.seq)).toEqual([1, 2, 3]);
  });

  it("makes one path of the way through the plan", () => {
    const fold = folded(log(
      ["ark.call.ringing.v1", { leg: 1, role: "customer", direction: "inbound", from: "138", to: "95188", owner: "bot:x" }],
      ["ark.ivr.entered.v1", { leg: 1, plan: "p", version: 1, state: "lang", verb: "menu" }],
      ["ark.ivr.set.v1", { leg: 1, var: "lang", value: "zh" }],
      ["ark.gather.finished.v1", { leg: 1, state: "a", var: "order", outcome: "complete", digits: 4, value: "2218" }],
      ["ark.gather.finished.v1", { leg: 1, state: "a", var: "card", outcome: "complete", digits: 16, masked: true }],
      ["ark.queue.left.v1", { leg: 1, queue: "q", outcome: "answered", waited_ms: 51_000 }],
    ));
    expect(fold.items).toHaveLength(1);
    expect(fold.items[0]!.steps!.map((step) => step.word)).toEqual(["e.call.in", "e.ivr.state", "e.ivr.lang", "e.gather", "e.gather", "e.queue.answered"]);
    expect(fold.facts.get("order")).toBe("2218");
    expect(JSON.stringify(fold.items)).not.toContain("6222");
  });

  it("puts receipts, corrections, second readings and edits into the line that they are about", () => {
    const out = { thread: "t", epoch: 1, conversation: "01", sender: { role: "agent", id: "anna" }, parts: [{ kind: "text", text: "a" }] };
    const fold = folded(log(
      ["ark.message.out.v1", out, "m1"],
      ["ark.receipt.v1", { thread: "t", message: "m1", state: "read" }],
      ["ark.receipt.v1", { thread: "t", message: "m1", state: "sent" }],
      ["ark.transcript.final.v1", { leg: 1, speaker: "customer", utterance: 1, start_ms: 0, end_ms: 1, text: "first", engine: "x" }],
      ["ark.transcript.final.v1", { leg: 1, speaker: "customer", utterance: 1, start_ms: 0, end_ms: 1, text: "second", engine: "y", recording: "r", recording_ms: 2500 }],
      ["ark.transcript.corrected.v1", { leg: 1, utterance: 1, text: "third", by: "agent:anna" }],
      ["ark.transcript.final.v1", { leg: 1, speaker: "customer", utterance: 1, start_ms: 0, end_ms: 1, text: "late", engine: "z" }],
      ["ark.edit.v1", { thread: "t", message: "m1", op: "recall" }],
    ));
    expect(fold.items).toHaveLength(2);
    expect(fold.items[0]).toMatchObject({ receipt: "read", recalled: true, side: "agent", who: "anna" });
    expect(fold.items[1]).toMatchObject({ text: "third", corrected: "anna", hear: { recording: "r", at: 2.5 } });
  });

  it("never loses a type that it does not know", () => {
    const fold = folded(log(["ark.future.v9", { a: 1 }]));
    expect(fold.items[0]!.detail![0]!.say).toEqual({ word: "e.unknown", with: { type: "ark.future.v9" } });
  });

  it("takes random logs without trouble, whatever is missing in them", () => {
    let seed = 7;
    const random = (): number => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
    const values = [undefined, null, "", "agent:x", 1, 2, [], {}, [{ kind: "text", text: "x" }], true];
    const names = ["leg", "with", "owner", "previous", "text", "parts", "sender", "message", "state", "utterance", "recording", "recording_ms", "var", "value", "participant", "link", "via", "reason", "by", "data"];
    for (let round = 0; round < 300; round += 1) {
      const events = Array.from({ length: 30 }, (): [string, Data] => [KNOWN_TYPES[Math.floor(random() * KNOWN_TYPES.length)]!, Object.fromEntries(names.map((name) => [name, values[Math.floor(random() * values.length)]]))]);
      const fold = folded(log(...events));
      expect(fold.last).toBe(30);
      const seqs = fold.items.map((item) => item.seq);
      expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
    }
  });

  it("folds 2,000 records in well under the second that the page has", () => {
    const records = log(...Array.from({ length: 2_000 }, (_, at): [string, Data] => ["ark.message.in.v1", text(String(at))]));
    expect(folded(records).items).toHaveLength(2_000);
  });
});
