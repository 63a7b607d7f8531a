// What happens by itself while one looks at the mock.
export function play(mock) {
  const { day, live, append } = mock;
  const sentence = "哦那就好，那如果今天没到账的话我应该找谁呢？";
  let letters = 0;
  let utterance = 2;
  const timers = [
    setInterval(() => {
      letters += 2;
      if (letters <= sentence.length) live("ark.live.transcript.v1", { conversation: day.main, leg: 1, speaker: "customer", utterance, start_ms: 90_000, text: sentence.slice(0, letters), stable: Math.max(0, letters - 4) });
      else if (letters > sentence.length + 6) {
        append(day.main, "ark.transcript.final.v1", { leg: 1, speaker: "customer", utterance, start_ms: 90_000, end_ms: 94_000, text: sentence, engine: "mock", recording: "call-1.opus", recording_ms: 90_000 });
        letters = -30;
        utterance += 1;
      }
    }, 350),
    setInterval(() => {
      const waiting = [...mock.talks.values()].find((one) => one.head.state === "queued" && one.head.kind === "chat");
      if (waiting) mock.offer(waiting.head.conversation, "anna", { summary: "来意：想直接通话\n等了 12 秒" });
    }, 25_000),
  ];
  return () => timers.forEach(clearInterval);
}
