"use strict";
// A call of this page with Ark: signalling over /rtc, voice over WebRTC. For any page: make an ArkCall with a token of
// POST /api/v1/webrtc/tokens, and listen to its events (`state`, `ringing`, `error`). docs/webrtc.md describes the messages.
//
// An `error` with the code `no_road` is a call whose voice found no way, or lost it for good: the page offers something else.
//
// state: "offline" -> "ready" -> "calling" or "ringing" -> "up" -> "ready"; "broken" while the road or the socket is being found again.
class ArkCall extends EventTarget {
  constructor({ url, token, audio }) {
    super();
    Object.assign(this, { url, token, audio, state: "offline", session: null, socket: null, peer: null, microphone: null, remote: null });
    Object.assign(this, { muted: false, held: false, wanted: false, servers: [], policy: "all", tries: 0, cause: null, restarts: 0 });
    addEventListener("online", () => this.restart());
    addEventListener("pagehide", () => this.close());
  }

  // Opens the socket; again by itself after it broke in mid-call.
  connect() {
    this.wanted = true;
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.onopen = () => socket.send(JSON.stringify({ type: "hello", token: this.token, ...(this.session && this.peer ? { resume: this.session } : {}) }));
    socket.onmessage = (event) => this.hear(JSON.parse(event.data));
    socket.onclose = () => {
      if (this.socket !== socket) return;
      const inCall = Boolean(this.peer);
      if (this.wanted && inCall && this.tries < 8) {
        this.tries += 1;
        this.show("broken");
        setTimeout(() => { if (this.wanted && this.socket === socket) this.connect(); }, 500);
      } else {
        this.drop();
        this.show("offline");
        if (inCall && this.wanted) this.tell("error", { code: "no_road", message: "the connection is lost" });
      }
    };
  }

  close() {
    this.wanted = false;
    if (this.socket) this.socket.close(1000);
  }

  // Calls the token's hotline, or takes the call that rings.
  async call() {
    try {
      this.show("calling");
      this.microphone = await navigator.mediaDevices.getUserMedia({ audio: this.audio || true });
      if (!this.wanted || !["calling"].includes(this.state)) { this.drop(); return; }
      this.remote = new MediaStream();
      this.peer = new RTCPeerConnection({ iceServers: this.servers, iceTransportPolicy: this.policy });
      this.peer.ontrack = (event) => { this.remote.addTrack(event.track); this.tell("remote"); };
      this.peer.onicecandidate = (event) => { if (event.candidate) this.say({ type: "candidate", candidate: event.candidate.toJSON() }); };
      this.peer.oniceconnectionstatechange = () => { if (this.peer && ["disconnected", "failed"].includes(this.peer.iceConnectionState)) this.restart(); };
      for (const track of this.microphone.getTracks()) this.peer.addTrack(track, this.microphone);
      this.mute(this.muted);
      await this.offer({});
    } catch (error) {
      this.say({ type: "hangup" });
      this.drop();
      this.show("ready");
      this.tell("error", { code: error.name, message: error.message });
    }
  }

  async offer(options) {
    const offer = await this.peer.createOffer(options);
    await this.peer.setLocalDescription(offer);
    this.say({ type: "offer", sdp: this.peer.localDescription.sdp });
  }

  // Looks for another road: the network changed, or nothing comes any more.
  async restart() {
    if (!this.peer || this.peer.signalingState !== "stable" || !this.peer.remoteDescription) return;
    this.restarts += 1;
    this.show("broken");
    await this.offer({ iceRestart: true });
  }

  hangup() {
    this.say({ type: "hangup" });
    this.cause = "hangup";
    this.drop();
    if (this.state !== "offline") this.show("ready");
  }

  mute(on) {
    this.muted = on;
    for (const track of this.microphone ? this.microphone.getAudioTracks() : []) track.enabled = !on;
    if (this.state === "up") this.say({ type: "mute", on });
    this.tell("state");
  }

  hold(on) {
    this.held = on;
    for (const track of this.remote ? this.remote.getAudioTracks() : []) track.enabled = !on;
    this.say({ type: "hold", on });
    this.tell("state");
  }

  // A key, by the road if it carries them and by the socket: it counts once.
  key(digit) {
    const sender = this.peer && this.peer.getSenders().find((one) => one.dtmf);
    if (sender && sender.dtmf.canInsertDTMF) sender.dtmf.insertDTMF(digit, 120, 50);
    else this.say({ type: "dtmf", digit });
  }

  say(message) {
    if (this.socket && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  async hear(message) {
    if (message.type === "welcome") {
      this.tries = 0;
      this.session = message.session;
      this.servers = message.iceServers;
      this.policy = message.iceTransportPolicy || "all";
      this.operator = message.operator || null;
      if (this.peer) this.restart();
      else this.show("ready");
    } else if (message.type === "ringing") {
      if (this.operator) this.show("ringing");
      this.tell("ringing", message);
    } else if (message.type === "answer" && this.peer) {
      // Of an offer that another one has taken the place of.
      if (this.peer.signalingState !== "have-local-offer") return;
      await this.peer.setRemoteDescription({ type: "answer", sdp: message.sdp });
      if (this.restarts && this.state === "broken") this.show("up");
    } else if (message.type === "up") {
      this.show("up");
      if (this.muted) this.say({ type: "mute", on: true });
    } else if (message.type === "restart") {
      this.restart();
    } else if (message.type === "hangup") {
      this.cause = message.cause;
      this.drop();
      this.show("ready");
      if (["timeout", "transport_lost", "media_lost", "failed"].includes(message.cause)) this.tell("error", { code: "no_road", message: message.cause });
    } else if (message.type === "error") {
      if (["refused", "bad_offer", "no_call"].includes(message.code) && this.state !== "up") { this.drop(); this.show("ready"); }
      if (["replaced", "unauthorized", "flood"].includes(message.code)) this.wanted = false;
      this.tell("error", message);
    }
  }

  drop() {
    if (this.peer) this.peer.close();
    for (const track of this.microphone ? this.microphone.getTracks() : []) track.stop();
    Object.assign(this, { peer: null, microphone: null, remote: null, held: false, restarts: 0 });
  }

  show(state) {
    this.state = state;
    this.tell("state");
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
