// Who sits here: an account that has signed in, or a name at a gateway without accounts.
import { api, ApiError, whenSignedOut } from "./api";
import type { Account, Role } from "./types";

type Phase = "boot" | "away" | "signin" | "first" | "link" | "name" | "in";
export interface Ways {
  password: boolean;
  oidc: { label: string } | null;
}
interface SessionAnswer {
  account?: Account | null;
  queues?: string[];
  first?: boolean;
}

class Session {
  phase = $state<Phase>("boot");
  account = $state<Account | null>(null);
  queues = $state<string[]>([]);
  ways = $state<Ways>({ password: true, oidc: null });
  gateway = $state("");
  calls = $state<string[]>([]);
  /** A gateway that has no accounts: everybody who has its start link may everything. */
  plain = $state(false);

  get name(): string {
    return this.account?.name ?? "";
  }
  get display(): string {
    return this.account?.display || this.name;
  }
  has(role: Role): boolean {
    return this.account?.roles.includes(role) ?? false;
  }

  async boot(): Promise<void> {
    whenSignedOut(() => {
      if (this.phase === "in") this.phase = this.plain ? "link" : "signin";
    });
    try {
      await this.look();
    } catch (error) {
      if (!(error instanceof ApiError) || !error.passing) throw error;
      this.phase = "away";
      setTimeout(() => void this.boot(), 2000);
    }
  }

  private async look(): Promise<void> {
    let answer: SessionAnswer;
    try {
      answer = await api<SessionAnswer>("session", { quiet: true });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 404) return this.lookPlain();
      if (error.status !== 401) throw error;
      answer = (error.body as SessionAnswer | null) ?? {};
    }
    if (answer.account) return this.enter(answer.account, answer.queues ?? []);
    if (answer.first) {
      this.phase = (await this.mayAbout()) ? "first" : "link";
      return;
    }
    this.ways = await api<Ways>("session/ways", { quiet: true }).catch(() => this.ways);
    this.phase = "signin";
  }

  /** A gateway of before accounts: its start link opens everything, and the desk asks for a name. */
  private async lookPlain(): Promise<void> {
    this.plain = true;
    if (!(await this.mayAbout())) {
      this.phase = "link";
      return;
    }
    const name = localStorage.getItem("ark.name");
    if (name) this.work(name);
    else this.phase = "name";
  }

  private async mayAbout(): Promise<boolean> {
    try {
      const about = await api<{ gateway: string; call: string[] }>("about", { quiet: true });
      this.gateway = about.gateway;
      this.calls = about.call;
      return true;
    } catch (error) {
      if (error instanceof ApiError && !error.passing) return false;
      throw error;
    }
  }

  /** Works under a name, where there are no accounts. */
  work(name: string): void {
    localStorage.setItem("ark.name", name);
    const capacity = { calls: 1, chats: 8, chats_beside_call: 2 };
    const roles: Role[] = ["agent", "supervisor", "operator"];
    this.enter({ name, display: name, roles, groups: [], skills: {}, languages: {}, capacity, phone: null, disabled: false }, []);
  }

  private enter(account: Account, queues: string[]): void {
    this.account = account;
    this.queues = queues;
    this.phase = "in";
    if (!this.gateway) void this.mayAbout().catch(() => false);
  }

  async signIn(name: string, password: string): Promise<void> {
    const { account } = await api<{ account: Account }>("session", { body: { name, password }, quiet: true });
    this.enter(account, []);
    void this.look().catch(() => {});
  }
  async first(name: string, display: string, password: string): Promise<void> {
    await api("session/first", { body: { name, display, password }, quiet: true });
    await this.look();
    if (this.phase !== "in") await this.signIn(name, password);
  }
  async signOut(): Promise<void> {
    if (this.plain) localStorage.removeItem("ark.name");
    else await api("session", { method: "DELETE", quiet: true }).catch(() => {});
    location.reload();
  }
}
export const session = new Session();
