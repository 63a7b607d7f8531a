import { describe, expect, it } from "vitest";
import { cardOf, isMine, shortName } from "../../src/lib/cards";
import { day, moment, initial, span, splitTitle, waitTone } from "../../src/lib/format";
import type { Conversation } from "../../src/lib/types";

const leg = { leg: 1, role: "customer", direction: "inbound", from: "138****1234", to: "95188", trunk: "t", phase: "active", rang: "" } as const;
const conversation = (more: Partial<Conversation>): Conversation => ({ conversation: "01ARZ3NDEKTSV4RRFFQ69G5FAV", kind: "call", started: "2026-01-01T00:00:00Z", epoch: 1, recordings: 0, legs: [leg], last_seq: 3, last_at: "2026-01-01T00:00:09Z", ...more });

describe("cards", () => {
  it("say what state a conversation is in", () => {
    expect(cardOf(conversation({})).state).toBe("ivr");
    expect(cardOf(conversation({ queue: "orders" }))).toMatchObject({ state: "queued", queue: "orders", channel: "sip", title: "138****1234" });
    expect(cardOf(conversation({ bridged: [1, 2] })).state).toBe("talking");
    expect(cardOf(conversation({ ended: "2026-01-01T00:01:00Z" })).state).toBe("closed");
    const chat = conversation({ kind: "chat", owner: "agent:anna", legs: [{ ...leg, medium: "chat", source: "/ark/main/web/site/x", from: "visitor-0123456789abcdef7f2a" }] });
    expect(cardOf(chat)).toMatchObject({ state: "open", channel: "web", title: "7F2A" });
  });
  it("know whose they are", () => {
    expect(isMine(conversation({ owner: "agent:anna" }), "anna")).toBe(true);
    expect(isMine(conversation({ legs: [leg, { ...leg, role: "agent", to: "web:anna" }] }), "anna")).toBe(true);
    expect(isMine(conversation({ legs: [leg, { ...leg, role: "agent", to: "web:annabel" }] }), "anna")).toBe(false);
  });
});

describe("formats", () => {
  it("are as people read them", () => {
    expect(span(161_000)).toBe("02:41");
    expect(span(3_661_000)).toBe("1:01:01");
    expect(span(-5)).toBe("00:00");
    expect([waitTone(1_000), waitTone(15_000), waitTone(31_000)]).toEqual(["", "wait", "late"]);
    expect(splitTitle("陈先生 138****1234")).toEqual({ name: "陈先生", number: "138****1234" });
    expect(splitTitle("138****1234")).toEqual({ name: "", number: "138****1234" });
    expect(splitTitle("访客 7F2A")).toEqual({ name: "访客 7F2A", number: "" });
    expect([initial("陈先生"), initial("138****1"), initial("")]).toEqual(["陈", "#", "?"]);
    expect(shortName("sip:2001@127.0.0.1")).toBe("2001");
    expect(day("2020-05-06T01:02:03", new Date("2026-01-01"))).toBe("2020-05-06");
    expect(moment("2020-05-06T01:02:03")).toBe("2020-05-06 01:02:03");
  });
});
