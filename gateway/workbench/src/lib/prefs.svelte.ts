// What this browser keeps of its user: look, language, sounds, scripts.
import { say, term, type Lang, type Values, type Word } from "../words";

function read(key: string, fallback: string): string {
  try {
    return localStorage.getItem(`ark.${key}`) ?? fallback;
  } catch {
    return fallback;
  }
}
function write(key: string, value: string): void {
  try {
    localStorage.setItem(`ark.${key}`, value);
  } catch {
    /* A browser that keeps nothing shows the defaults next time. */
  }
}

export type Theme = "auto" | "light" | "dark";
export const STEPS = ["0.9", "1", "1.15", "1.3"] as const;
export const SOUNDS = ["ring", "chat", "message", "late", "lost"] as const;
export type Sound = (typeof SOUNDS)[number];
const dark = typeof matchMedia === "function" ? matchMedia("(prefers-color-scheme: dark)") : null;

class Prefs {
  lang = $state<Lang>(read("lang", (globalThis.navigator?.language ?? "zh").startsWith("zh") ? "zh" : "en") === "en" ? "en" : "zh");
  theme = $state<Theme>(read("theme", "auto") as Theme);
  step = $state(read("step", "1"));
  volume = $state(Number(read("volume", "0.6")));
  quiet = $state<Sound[]>(read("quiet", "").split(",").filter(Boolean) as Sound[]);
  info = $state(read("info", "1") === "1");
  phone = $state(read("softphone", "1") === "1");
  superviseAt = $state(read("supervise_at", ""));
  scripts = $state<string[] | null>(JSON.parse(read("scripts", "null")) as string[] | null);

  constructor() {
    dark?.addEventListener("change", () => this.show());
  }
  setLang(lang: Lang): void {
    this.lang = lang;
    write("lang", lang);
    this.show();
  }
  setTheme(theme: Theme): void {
    this.theme = theme;
    write("theme", theme);
    this.show();
  }
  setStep(step: string): void {
    this.step = step;
    write("step", step);
    this.show();
  }
  setVolume(volume: number): void {
    this.volume = volume;
    write("volume", String(volume));
  }
  setSound(sound: Sound, on: boolean): void {
    this.quiet = on ? this.quiet.filter((one) => one !== sound) : [...this.quiet, sound];
    write("quiet", this.quiet.join(","));
  }
  setInfo(on: boolean): void {
    this.info = on;
    write("info", on ? "1" : "0");
  }
  setPhone(on: boolean): void {
    this.phone = on;
    write("softphone", on ? "1" : "0");
  }
  setSuperviseAt(address: string): void {
    this.superviseAt = address;
    write("supervise_at", address);
  }
  setScripts(scripts: string[]): void {
    this.scripts = scripts;
    write("scripts", JSON.stringify(scripts));
  }
  /** The gateway keeps them from now on. */
  forgetScripts(): void {
    this.scripts = null;
    try {
      localStorage.removeItem("ark.scripts");
    } catch {
      /* Nothing was kept. */
    }
  }
  show(): void {
    const root = document.documentElement;
    root.lang = this.lang === "zh" ? "zh-CN" : "en";
    root.dataset.theme = this.theme === "dark" || (this.theme === "auto" && dark?.matches) ? "dark" : "light";
    root.style.setProperty("--step", this.step);
  }
}
export const prefs = new Prefs();

/** A word in the language that is chosen. */
export const t = (key: Word, values?: Values): string => say(prefs.lang, key, values);
/** The same for a key that comes from data. */
export const tAny = (key: string, values?: Values): string => say(prefs.lang, key, values);
export const tTerm = (word: string): string => term(prefs.lang, word);
export const altKey = (): string => (/Mac|iPhone|iPad/.test(globalThis.navigator?.platform ?? "") ? "⌥" : "Alt+");
