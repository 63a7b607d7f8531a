// What is being written, per conversation; kept with each letter.
const key = (conversation: string, kind: string): string => `ark.draft.${kind}.${conversation}`;

export function draft(conversation: string, kind = "message"): string {
  try {
    return localStorage.getItem(key(conversation, kind)) ?? "";
  } catch {
    return "";
  }
}
export function keepDraft(conversation: string, text: string, kind = "message"): void {
  try {
    if (text) localStorage.setItem(key(conversation, kind), text);
    else localStorage.removeItem(key(conversation, kind));
  } catch {
    /* It stays in the field at least. */
  }
}
