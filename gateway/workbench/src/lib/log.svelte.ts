// The log and what is so just now, over /api/v1/socket. A lost connection goes on from the last position: nothing is lost or doubled.
import { socketUrl } from "./api";
import type { Data, LogRecord } from "./types";

const FIRST_WAIT = 300;
const LONGEST_WAIT = 8_000;
/** Nothing at all was heard for so long: the road is dead though nobody said so (a laptop that slept). */
const SILENCE = 45_000;

export class Log {
  state = $state<"connecting" | "live" | "away">("connecting");
  /** When it was lost. */
  since = $state(0);
  private socket: WebSocket | null = null;
  private position: number | null = null;
  private wait = FIRST_WAIT;
  private timer = 0;
  private wanted = false;

  constructor(
    private readonly on: {
      record: (record: LogRecord) => void;
      live: (type: string, data: Data) => void;
      caughtUp: () => void;
      /** All that is so now follows anew. */
      missed: () => void;
    },
  ) {}

  open(): void {
    this.wanted = true;
    addEventListener("online", () => this.again());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.state !== "live") this.again();
    });
    this.connect();
  }
  close(): void {
    this.wanted = false;
    this.socket?.close(1000);
  }
  /** Tries at once instead of at the next turn. */
  again(): void {
    if (!this.wanted || this.socket?.readyState === WebSocket.OPEN) return;
    clearTimeout(this.timer);
    this.wait = FIRST_WAIT;
    this.connect();
  }

  private connect(): void {
    const old = this.socket;
    const socket = new WebSocket(socketUrl("/api/v1/socket"));
    this.socket = socket;
    old?.close();
    let heard = Date.now();
    const watch = setInterval(() => {
      // A browser answers pings by itself and tells the page nothing of them: a dead road shows at the next word only, so we look.
      if (Date.now() - heard > SILENCE && !navigator.onLine) socket.close();
    }, 5_000);
    socket.onmessage = (event) => {
      heard = Date.now();
      if (this.socket === socket) this.hear(JSON.parse(event.data as string) as Data);
    };
    socket.onclose = () => {
      clearInterval(watch);
      if (this.socket !== socket || !this.wanted) return;
      if (this.state !== "away") this.since = Date.now();
      this.state = "away";
      this.timer = window.setTimeout(() => this.connect(), this.wait * (0.7 + Math.random() * 0.6));
      this.wait = Math.min(LONGEST_WAIT, this.wait * 2);
    };
  }

  private hear(message: Data): void {
    switch (message.type) {
      case "welcome": {
        const after = this.position === null ? {} : { after: this.position };
        this.socket?.send(JSON.stringify({ type: "subscribe", ...after, live: true }));
        this.on.missed();
        break;
      }
      case "record": {
        const record = message.record as LogRecord;
        if (record.position !== undefined) this.position = Math.max(this.position ?? 0, record.position);
        this.on.record(record);
        break;
      }
      case "live":
        this.on.live(message.live.type, message.live.data);
        break;
      case "caught_up":
        this.position = Math.max(this.position ?? 0, message.position);
        this.state = "live";
        this.wait = FIRST_WAIT;
        this.on.caughtUp();
        break;
      case "missed":
        this.on.missed();
        break;
    }
  }
}
