// Quick replies: the agent's own, and those of their groups, kept by the gateway so that they are there at every browser.
import { api, ApiError } from "./api";
import { packs } from "./packs.svelte";
import { prefs } from "./prefs.svelte";
import { session } from "./session.svelte";

export interface QuickList {
  /** None: the agent's own. */
  group?: string;
  version: number;
  replies: string[];
  editable: boolean;
}

class Quick {
  lists = $state.raw<QuickList[]>([]);
  /** Whether the gateway keeps them; otherwise this browser does. */
  served = $state(false);
  private asked = false;

  private get path(): string {
    return `quick-replies${session.plain ? `?agent=${encodeURIComponent(session.name)}` : ""}`;
  }
  async load(again = false): Promise<void> {
    if (this.asked && !again) return;
    this.asked = true;
    void packs.load();
    try {
      this.lists = (await api<{ lists: QuickList[] }>(this.path, { quiet: true })).lists;
      this.served = true;
    } catch (error) {
      // What cannot be had now is asked for the next time.
      this.asked = error instanceof ApiError && !error.passing;
      return;
    }
    // What this browser kept before the gateway did becomes the agent's own, once.
    const old = prefs.scripts;
    if (!old) return;
    const own = this.own;
    const kept = old.map((one) => one.trim()).filter(Boolean);
    try {
      if (own && own.version === 0 && kept.length) await this.put(undefined, kept);
      prefs.forgetScripts();
    } catch {
      /* They stay here until it goes well. */
    }
  }
  get own(): QuickList | undefined {
    return this.lists.find((list) => list.group === undefined);
  }
  get defaults(): string[] {
    return packs.index?.scripts[prefs.lang] ?? [];
  }
  /** What a list shows; one's own begins with those that came with the desk. */
  shown(list: QuickList): string[] {
    return list.group === undefined && list.version === 0 ? this.defaults : list.replies;
  }
  /** All that can be inserted: one's own first. */
  get all(): string[] {
    if (!this.served) return prefs.scripts ?? this.defaults;
    return this.lists.flatMap((list) => this.shown(list));
  }
  /** Writes a list; the gateway refuses one that somebody else has changed since. */
  async put(group: string | undefined, replies: string[]): Promise<void> {
    const version = this.lists.find((list) => list.group === group)?.version ?? 0;
    const body = { version, replies, ...(group === undefined ? {} : { group }) };
    try {
      const now = await api<QuickList>(this.path, { method: "PUT", body });
      this.lists = this.lists.map((list) => (list.group === group ? now : list));
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) await this.load(true);
      throw error;
    }
  }
}
export const quick = new Quick();
