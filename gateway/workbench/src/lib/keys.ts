// The keyboard: every key of the desk at one place.
import { desk } from "./desk.svelte";
import { phone } from "./phone.svelte";

const inField = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

export function focusComposer(kind: "message" | "note" = "message"): void {
  dispatchEvent(new CustomEvent("ark-write", { detail: kind }));
}

export function keyDown(event: KeyboardEvent): void {
  if (event.isComposing || document.querySelector("dialog[open]")) return;
  const field = inField(event.target);
  if (event.altKey && !event.ctrlKey && !event.metaKey) {
    const digit = /^Digit([1-9])$/.exec(event.code)?.[1];
    if (digit) {
      event.preventDefault();
      dispatchEvent(new CustomEvent("ark-script", { detail: Number(digit) - 1 }));
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      desk.step(event.key === "ArrowDown" ? 1 : -1);
    }
    return;
  }
  if (event.ctrlKey || event.metaKey) return;
  if (event.key === "Escape") {
    if (field) (event.target as HTMLElement).blur();
    else if (desk.selected) void desk.select("");
    return;
  }
  if (field) return;
  const first = desk.offerList[0];
  const onButton = event.target instanceof HTMLElement && /^(BUTTON|A|SUMMARY)$/.test(event.target.tagName);
  const inCall = phone.conversation !== "" && (phone.state === "up" || phone.state === "broken");
  const act: Record<string, (() => void) | undefined> = {
    Enter: first && !onButton ? () => void desk.accept(first) : undefined,
    "/": () => (desk.dialog = "search"),
    t: desk.timeline ? () => (desk.dialog = "transfer") : undefined,
    m: inCall ? () => phone.mute(!phone.muted) : undefined,
    h: inCall ? () => phone.hold(!phone.held) : undefined,
    j: () => desk.step(1),
    k: () => desk.step(-1),
    r: desk.timeline ? () => focusComposer() : undefined,
    n: desk.timeline ? () => focusComposer("note") : undefined,
    "?": () => (desk.dialog = "keys"),
  };
  const go = act[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!go) return;
  event.preventDefault();
  go();
}
