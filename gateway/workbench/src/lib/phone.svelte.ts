// The telephone in this browser: signalling over /rtc, voice over WebRTC (docs/webrtc.md, gateway/src/webrtc/signal.rs).
//
// "off" -> "connecting" -> "ready" -> "ringing" -> "calling" -> "up" -> "ready"; "broken" while the road or the socket is found again.
import { api, ApiError, socketUrl } from "./api";
import type { Data } from "./types";

export type PhoneState = "off" | "connecting" | "ready" | "ringing" | "calling" | "up" | "broken" | "elsewhere" | "none";
const TRIES = 60;
const LEVEL_EVERY = 120;
/** By this word a page that was loaded anew finds its session; it lives as long as the tab. */
const SESSION = "ark.phone";

export interface Ringing {
  call: string;
  from: string;
  queue: string;
  conversation: string;
  since: number;
}

class Phone {
  state = $state<PhoneState>("off");
  ringing = $state<Ringing | null>(null);
  /** The conversation of the call that is up. */
  conversation = $state("");
  began = $state(0);
  muted = $state(false);
  held = $state(false);
  error = $state("");
  /** The browser plays nothing before a click. */
  silent = $state(false);
  /** Of a phone that is elsewhere: its call goes on there. */
  talksElsewhere = $state(false);
  level = $state(0);
  quality = $state<{ mos: number; loss: number } | null>(null);
  private name = "";
  private socket: WebSocket | null = null;
  private peer: RTCPeerConnection | null = null;
  private microphone: MediaStream | null = null;
  private remote: MediaStream | null = null;
  private sound: HTMLAudioElement | null = null;
  private servers: RTCIceServer[] = [];
  private policy: RTCIceTransportPolicy = "all";
  private session = "";
  private token = "";
  private wanted = false;
  private tries = 0;
  private taking = false;
  /** A call that this page has asked for: it is answered when it rings. */
  private expected = { conversation: "", until: 0 };
  private watch = 0;
  private before: { lost: number; received: number } | null = null;
  private ears: { analyser: AnalyserNode; wave: Float32Array<ArrayBuffer>; context: AudioContext } | null = null;

  /** Signs on as an operator; again by itself after a break. `take`: with the sound of a call that another tab has. */
  async open(name: string, take = false): Promise<void> {
    this.name = name;
    if (this.wanted) return;
    this.wanted = true;
    this.taking = take;
    this.tries = 0;
    this.session ||= reloaded() ? (sessionStorage.getItem(SESSION) ?? "") : "";
    addEventListener("online", this.online);
    await this.connect();
  }
  close(): void {
    this.wanted = false;
    removeEventListener("online", this.online);
    this.socket?.close(1000);
    this.drop();
    this.session = "";
    sessionStorage.removeItem(SESSION);
    this.state = "off";
  }
  private online = (): void => {
    void this.restart();
  };

  private async connect(): Promise<void> {
    if (!this.wanted) return;
    if (!this.peer) this.state = "connecting";
    try {
      if (!this.token) this.token = (await api<{ token: string }>("webrtc/tokens", { body: { operator: this.name } })).token;
    } catch (error) {
      if (error instanceof ApiError && !error.passing) {
        this.wanted = false;
        this.state = "none";
        this.error = error.message;
      } else if (error instanceof ApiError && error.status === 503) {
        this.state = "none";
        this.later(10_000);
      } else this.later();
      return;
    }
    const socket = new WebSocket(socketUrl("/rtc"));
    this.socket = socket;
    const say = { type: "hello", token: this.token, ...(this.session ? { resume: this.session } : {}), ...(this.taking ? { take: true } : {}) };
    socket.onopen = () => socket.send(JSON.stringify(say));
    socket.onmessage = (event) => {
      if (this.socket === socket) void this.hear(JSON.parse(event.data as string) as Data);
    };
    socket.onclose = () => {
      if (this.socket !== socket || !this.wanted) return;
      if (!this.peer) this.ringing = null;
      this.state = this.peer ? "broken" : "connecting";
      this.later();
    };
  }
  private later(wait = Math.min(5_000, 400 * 1.4 ** this.tries)): void {
    this.tries += 1;
    if (this.peer && this.tries > TRIES) this.drop();
    setTimeout(() => void this.connect(), wait);
  }

  /** This page is to be rung for a conversation: whoever asked for that need not answer. */
  expect(conversation: string): void {
    this.expected = { conversation, until: Date.now() + 15_000 };
  }
  /** Takes the call that rings. */
  async answer(): Promise<void> {
    if (!this.ringing) return;
    const { conversation } = this.ringing;
    this.error = "";
    this.state = "calling";
    try {
      await this.listenIn();
      if (this.state !== "calling") return this.drop();
      this.build();
      this.conversation = conversation;
      this.mute(false);
      await this.offer({});
    } catch (error) {
      this.error = error instanceof Error ? error.name : String(error);
      this.drop();
      // It rings on: the microphone can be allowed and the call answered yet.
      this.state = this.ringing ? "ringing" : "ready";
    }
  }

  /** Takes up the call that goes on: this page was loaded anew, or its road is over. */
  private async resume(call?: Data): Promise<void> {
    this.error = "";
    this.ringing = null;
    if (call) {
      this.conversation = call.conversation;
      this.began = Date.now() - Number(call.up_ms ?? 0);
      this.muted = Boolean(call.muted);
      this.held = Boolean(call.held);
    }
    this.state = "broken";
    try {
      if (!this.microphone) await this.listenIn();
      if (this.state !== "broken") return this.drop();
      this.build();
      for (const track of this.microphone?.getAudioTracks() ?? []) track.enabled = !this.muted;
      await this.offer({}, true);
    } catch (error) {
      this.error = error instanceof Error ? error.name : String(error);
    }
  }
  /** The microphone was refused or busy when the call was to go on here: once more. */
  again(): void {
    if (this.state === "broken") void this.resume();
  }
  private async listenIn(): Promise<void> {
    if (!navigator.mediaDevices) throw Object.assign(new Error("no microphone without https"), { name: "Insecure" });
    this.microphone = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true } });
  }
  private build(): void {
    const before = this.peer;
    this.peer = null;
    before?.close();
    const remote = (this.remote = new MediaStream());
    const peer = new RTCPeerConnection({ iceServers: this.servers, iceTransportPolicy: this.policy });
    this.peer = peer;
    peer.ontrack = (event) => {
      remote.addTrack(event.track);
      event.track.enabled = !this.held;
      if (this.remote === remote) this.listen();
    };
    peer.onicecandidate = (event) => {
      if (event.candidate && this.peer === peer) this.say({ type: "candidate", candidate: event.candidate.toJSON() });
    };
    peer.oniceconnectionstatechange = () => {
      if (this.peer === peer && ["disconnected", "failed"].includes(peer.iceConnectionState)) void this.restart();
    };
    for (const track of this.microphone?.getTracks() ?? []) peer.addTrack(track, this.microphone!);
  }

  private async offer(options: RTCOfferOptions, anew = false): Promise<void> {
    const peer = this.peer;
    if (!peer) return;
    await peer.setLocalDescription(await peer.createOffer(options));
    this.say({ type: "offer", sdp: peer.localDescription?.sdp, ...(anew ? { anew } : {}) });
  }
  private async restart(): Promise<void> {
    if (!this.peer || this.peer.signalingState !== "stable" || !this.peer.remoteDescription) return;
    this.state = "broken";
    await this.offer({ iceRestart: true });
  }

  hangup(): void {
    this.say({ type: "hangup" });
    this.ringing = null;
    this.drop();
    if (this.state !== "off") this.state = "ready";
  }
  mute(on: boolean): void {
    this.muted = on;
    for (const track of this.microphone?.getAudioTracks() ?? []) track.enabled = !on;
    if (this.state === "up") this.say({ type: "mute", on });
  }
  hold(on: boolean): void {
    this.held = on;
    for (const track of this.remote?.getAudioTracks() ?? []) track.enabled = !on;
    this.say({ type: "hold", on });
  }
  key(digit: string): void {
    const sender = this.peer?.getSenders().find((one) => one.dtmf);
    if (sender?.dtmf?.canInsertDTMF) sender.dtmf.insertDTMF(digit, 120, 50);
    else this.say({ type: "dtmf", digit });
  }

  private say(message: Data): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  private async hear(message: Data): Promise<void> {
    switch (message.type) {
      case "welcome":
        this.tries = 0;
        this.taking = false;
        this.talksElsewhere = false;
        this.session = message.session;
        sessionStorage.setItem(SESSION, this.session);
        this.servers = message.iceServers ?? [];
        this.policy = message.iceTransportPolicy ?? "all";
        if (this.peer) await this.restart();
        else if (message.call) await this.resume(message.call);
        else this.state = "ready";
        break;
      case "ringing":
        if (!message.conversation && !message.from && !message.queue && this.peer) break;
        this.ringing = { call: message.call, from: message.from ?? "", queue: message.queue ?? "", conversation: message.conversation ?? "", since: Date.now() };
        this.state = "ringing";
        if (this.ringing.conversation === this.expected.conversation && Date.now() < this.expected.until) {
          this.expected.conversation = "";
          await this.answer();
        }
        break;
      case "answer":
        if (this.peer?.signalingState !== "have-local-offer") break;
        await this.peer.setRemoteDescription({ type: "answer", sdp: message.sdp });
        if (this.state === "broken") this.state = "up";
        break;
      case "up":
        this.state = "up";
        this.ringing = null;
        this.began ||= Date.now();
        if (this.muted) this.say({ type: "mute", on: true });
        break;
      case "restart":
        if (message.anew) await this.resume();
        else await this.restart();
        break;
      case "hangup":
        this.ringing = null;
        this.drop();
        this.state = "ready";
        break;
      case "error":
        if (["refused", "bad_offer", "no_call"].includes(message.code) && this.state !== "up") {
          this.ringing = null;
          this.drop();
          this.state = "ready";
        }
        if (message.code === "replaced" || message.code === "elsewhere") {
          this.wanted = false;
          this.talksElsewhere = message.code === "elsewhere" || this.conversation !== "";
          this.ringing = null;
          this.drop();
          this.session = "";
          sessionStorage.removeItem(SESSION);
          this.state = "elsewhere";
        }
        if (message.code === "unauthorized") this.token = "";
        if (message.code === "flood") this.wanted = false;
        this.error = message.message ?? message.code;
        break;
    }
  }

  /** After a click: a page that was loaded anew may play nothing before one. */
  hearAgain(): void {
    void this.sound?.play().then(() => (this.silent = false), () => {});
    void this.ears?.context.resume();
  }
  private listen(): void {
    if (!this.remote) return;
    this.sound ??= new Audio();
    this.sound.srcObject = this.remote;
    void this.sound.play().then(() => (this.silent = false), () => (this.silent = true));
    try {
      const context = new AudioContext();
      const analyser = context.createAnalyser();
      analyser.fftSize = 512;
      context.createMediaStreamSource(this.remote).connect(analyser);
      void this.ears?.context.close();
      this.ears = { analyser, wave: new Float32Array(analyser.fftSize), context };
    } catch {
      /* Only the bars are missing. */
    }
    clearInterval(this.watch);
    let turn = 0;
    this.watch = window.setInterval(() => {
      if (this.ears) {
        this.ears.analyser.getFloatTimeDomainData(this.ears.wave);
        const power = this.ears.wave.reduce((sum, one) => sum + one * one, 0) / this.ears.wave.length;
        this.level = Math.max(0, Math.min(1, 1 + (10 * Math.log10(power + 1e-12)) / 60));
      }
      if (turn++ % 24 === 0) void this.measure();
    }, LEVEL_EVERY);
  }

  /** How it sounds here: the share of packets lost since the last look, as a mean opinion score by the E-model's short form. */
  private async measure(): Promise<void> {
    if (!this.peer) return;
    let delay = 60;
    const reports = await this.peer.getStats();
    reports.forEach((report: Data) => {
      if (report.type === "candidate-pair" && report.nominated && report.currentRoundTripTime) delay = report.currentRoundTripTime * 500 + 50;
    });
    reports.forEach((report: Data) => {
      if (report.type !== "inbound-rtp" || report.kind !== "audio") return;
      const now = { lost: Number(report.packetsLost ?? 0), received: Number(report.packetsReceived ?? 0) };
      const lost = Math.max(0, now.lost - (this.before?.lost ?? 0));
      const received = Math.max(0, now.received - (this.before?.received ?? 0));
      this.before = now;
      if (!received && !lost) return;
      const loss = lost / (lost + received);
      const rating = 93.2 - delay / 40 - Math.max(0, delay - 177.3) * 0.11 - (95 * loss * 100) / (loss * 100 + 10);
      const r = Math.max(0, Math.min(100, rating));
      this.quality = { loss: loss * 100, mos: 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6 };
    });
  }

  private drop(): void {
    clearInterval(this.watch);
    this.peer?.close();
    for (const track of this.microphone?.getTracks() ?? []) track.stop();
    void this.ears?.context.close().catch(() => {});
    if (this.sound) this.sound.srcObject = null;
    this.peer = null;
    this.microphone = null;
    this.remote = null;
    this.ears = null;
    this.before = null;
    Object.assign(this, { held: false, muted: false, began: 0, conversation: "", level: 0, quality: null, silent: false });
  }
}
/** Whether this page was here before: a copy of a tab has its words, too, and is another page. */
function reloaded(): boolean {
  const [entry] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  return entry?.type === "reload" || entry?.type === "back_forward";
}
export const phone = new Phone();
