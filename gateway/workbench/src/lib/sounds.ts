// Sounds, made here: no files, no delay. Each kind of event has its own.
import { prefs, type Sound } from "./prefs.svelte";

// Frequency in Hz, begin and length in seconds.
const TUNES: Record<Sound, [number, number, number][]> = {
  ring: [[784, 0, 0.35], [988, 0.02, 0.35], [784, 0.5, 0.35], [988, 0.52, 0.35]],
  chat: [[659, 0, 0.14], [880, 0.13, 0.22]],
  message: [[988, 0, 0.09], [1319, 0.07, 0.14]],
  late: [[523, 0, 0.18], [523, 0.26, 0.18], [415, 0.52, 0.3]],
  lost: [[440, 0, 0.2], [330, 0.18, 0.34]],
};
let context: AudioContext | null = null;

export function play(sound: Sound, always = false): void {
  if (!always && (prefs.quiet.includes(sound) || prefs.volume <= 0)) return;
  try {
    context ??= new AudioContext();
    void context.resume();
    const now = context.currentTime + 0.01;
    for (const [frequency, begin, length] of TUNES[sound]) {
      const tone = context.createOscillator();
      const gain = context.createGain();
      tone.type = "sine";
      tone.frequency.value = frequency;
      gain.gain.setValueAtTime(0, now + begin);
      gain.gain.linearRampToValueAtTime(0.22 * Math.max(prefs.volume, always ? 0.2 : 0), now + begin + 0.015);
      gain.gain.exponentialRampToValueAtTime(0.0001, now + begin + length);
      tone.connect(gain).connect(context.destination);
      tone.start(now + begin);
      tone.stop(now + begin + length + 0.05);
    }
  } catch {
    /* No sound here. */
  }
}

let ringing = 0;
/** Rings until it is told to stop. */
export function ring(on: boolean): void {
  if (on === Boolean(ringing)) return;
  clearInterval(ringing);
  ringing = 0;
  if (!on) return;
  play("ring");
  ringing = window.setInterval(() => play("ring"), 2_500);
}
