// Plays a second of a recording: one at a time.
import { id as path } from "./api";
import { desk } from "./desk.svelte";
import { t } from "./prefs.svelte";

const BEFORE = 0.2;

class Player {
  playing = $state("");
  private audio: HTMLAudioElement | null = null;

  /** From a second on; the same line again stops. */
  hear(key: string, conversation: string, recording: string, at: number): void {
    if (this.playing === key) return this.stop();
    this.stop();
    const url = `/api/v1/conversations/${path(conversation)}/recordings/${path(recording)}`;
    if (!this.audio || !this.audio.src.endsWith(url)) this.audio = Object.assign(new Audio(), { src: url, preload: "auto" });
    const { audio } = this;
    const begin = (): void => {
      audio.currentTime = Math.max(0, at - BEFORE);
      void audio.play().catch(() => this.stop());
    };
    audio.onended = audio.onpause = () => {
      if (this.audio === audio) this.playing = "";
    };
    audio.onerror = () => {
      this.playing = "";
      this.audio = null;
      desk.tell(t("recordingGone"), "late");
    };
    this.playing = key;
    if (audio.readyState >= 1) begin();
    else {
      audio.onloadedmetadata = begin;
      audio.load();
    }
  }
  stop(): void {
    this.audio?.pause();
    this.playing = "";
  }
}
export const player = new Player();
