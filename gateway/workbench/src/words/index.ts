// Words in the language that is chosen. Pure: who draws them says the language.
import { en } from "./en";
import { zh, type Word } from "./zh";

export type Lang = "zh" | "en";
export type Values = Record<string, string | number>;
export type { Word };
export const WORDS: Record<Lang, Record<Word, string>> = { zh, en };

/** The words of a key; a key that nobody knows is shown as it is. */
export function say(lang: Lang, key: string, values?: Values): string {
  const text = WORDS[lang][key as Word] ?? key;
  if (!values) return text;
  return text.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) return "";
    if (typeof value === "string" && value.startsWith("@")) return term(lang, value.slice(1));
    return String(value);
  });
}

/** A word of one of the log's closed lists. */
export function term(lang: Lang, word: string): string {
  const words = WORDS[lang] as Record<string, string>;
  return words[`t.${word}`] ?? words[word] ?? word.replace(/^(ch|receipt|lang|via)_/, "");
}
