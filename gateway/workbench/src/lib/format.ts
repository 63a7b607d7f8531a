// Times, sizes and names as people read them. Pure.

const pad = (number: number): string => String(number).padStart(2, "0");

/** `10:03:11`. */
export function clock(at: string | number | Date): string {
  const time = new Date(at);
  return `${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}`;
}

/** `10:03` today, `11-27 10:03` on another day. */
export function day(at: string | Date, now = new Date()): string {
  const time = new Date(at);
  const short = clock(time).slice(0, 5);
  if (time.toDateString() === now.toDateString()) return short;
  const date = `${pad(time.getMonth() + 1)}-${pad(time.getDate())}`;
  return time.getFullYear() === now.getFullYear() ? `${date} ${short}` : `${time.getFullYear()}-${date}`;
}

/** `2026-11-27 10:03:11`, of whatever day: what is read long afterwards. */
export function moment(at: string | Date): string {
  const time = new Date(at);
  return `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())} ${clock(time)}`;
}

/** `02:41`, `1:02:41`. */
export function span(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const hours = Math.floor(seconds / 3600);
  return `${hours ? `${hours}:` : ""}${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`;
}

/** Milliseconds as seconds: `51`, `3.4`. */
export function seconds(milliseconds: number): string {
  const value = milliseconds / 1000;
  return value >= 10 ? String(Math.round(value)) : value.toFixed(1);
}

export function bytes(size: number): string {
  if (size < 1024) return `${size} B`;
  if (size < 1024 * 1024) return `${Math.round(size / 1024)} KB`;
  return `${(size / 1024 / 1024).toFixed(1)} MB`;
}

/** The letter on an avatar: the first of a name that is none of a number's. */
export function initial(name: string): string {
  const letter = [...name.trim()].find((one) => /\p{L}/u.test(one));
  return letter ? letter.toUpperCase() : name.trim() ? "#" : "?";
}

/** `陈先生 138****1234` -> the name and the number; either may be empty. */
export function splitTitle(title: string): { name: string; number: string } {
  const match = /^(.*?)\s*(\+?[\d*][\d* -]{4,})$/.exec(title);
  return match ? { name: match[1] ?? "", number: match[2] ?? "" } : { name: title, number: "" };
}

/** `agent:anna` -> `anna`; `web:anna` -> `anna`. */
export function bare(owner: string | null | undefined): string {
  return String(owner ?? "").replace(/^(agent|queue|bot|web):/, "");
}

const TICK = 15_000;
const LATE = 30_000;
/** How a wait is coloured: calm for 15 s, amber until 30 s, then red; always beside a clock. */
export function waitTone(milliseconds: number): "" | "wait" | "late" {
  return milliseconds >= LATE ? "late" : milliseconds >= TICK ? "wait" : "";
}

/** A key that no other message has. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
