// A day at the desk, scripted: what the mock gateway knows when it starts. Times count back from now, so that clocks look alive.
const ULID = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
let drawn = 0;
export function ulid(at = Date.now()) {
  let time = "";
  for (let n = at, i = 0; i < 10; i += 1, n = Math.floor(n / 32)) time = ULID[n % 32] + time;
  drawn += 1;
  let rest = "";
  for (let n = drawn * 7919 + 104729, i = 0; i < 16; i += 1) { rest = ULID[n % 32] + rest; n = Math.floor(n / 32) + (n % 31) * 17; }
  return time + rest;
}

/** Conversations with their logs; `log` takes [seconds ago, type, data, id?]. */
export function day(now = Date.now()) {
  const conversations = [];
  const talk = (head, log) => {
    const started = now - log[0][0] * 1000;
    const conversation = head.id ?? ulid(started);
    const records = log.map(([ago, type, data, id], at) => {
      const time = new Date(now - ago * 1000).toISOString();
      return { tenant: "main", conversation, seq: at + 1, epoch: head.epoch ?? 1, at: time, event: { specversion: "1.0", id: id ?? `${conversation.slice(-6)}-${at}`, source: head.source ?? "/ark/main/sip/carrier/1", type, time, data } };
    });
    conversations.push({ head: { kind: "call", plan: "hotline-95188", ...head, id: undefined, conversation, started: new Date(started).toISOString() }, records });
    return conversation;
  };
  const say = (ago, leg, speaker, utterance, text, ms) => [ago, "ark.transcript.final.v1", { leg, speaker, utterance, start_ms: ms, end_ms: ms + 3000, text, engine: "mock", confidence: 0.94, recording: "call-1.opus", recording_ms: ms }];
  const ring = (ago, from, to = "95188") => [ago, "ark.call.ringing.v1", { leg: 1, role: "customer", direction: "inbound", from, to, trunk: "carrier", call_id: `c${ago}`, owner: "bot:hotline-95188", plan: "hotline-95188", plan_version: 7 }];
  const enter = (ago, state, verb = "menu") => [ago, "ark.ivr.entered.v1", { leg: 1, plan: "hotline-95188", version: 7, state, verb }];
  const chat = (ago, source, name) => [ago, "ark.leg.added.v1", { leg: 1, medium: "chat", role: "customer", source, thread: source.split("/").pop(), adapter: source.split("/")[3], account: "main", party: { role: "customer", id: name, display: name } }];
  const words = (text) => [{ kind: "text", text }];
  const heard = (ago, thread, name, parts, id) => [ago, "ark.message.in.v1", { thread, sender: { role: "customer", id: name, display: name }, parts: typeof parts === "string" ? words(parts) : parts }, id];
  const told = (ago, thread, who, parts, id) => [ago, "ark.message.out.v1", { thread, conversation: "", epoch: 2, sender: { role: who === "bot" ? "bot" : "agent", id: who, display: who === "bot" ? undefined : who === "anna" ? "安娜" : who }, parts: typeof parts === "string" ? words(parts) : parts }, id];
  const picture = (name, size) => ({ kind: "image", media: { ref: "ark-media:mockpicture1", mime: "image/png", size, sha256: "", name, width: 640, height: 360 } });

  const main = talk({ title: "陈先生 138****1234", from: "陈先生 138****1234", owner: "agent:anna", queue: "订单与退款", state: "talking", epoch: 2, person: "01JPERSON0000000000000CHEN", talkingAgo: 161, agent: "anna", companion: true }, [
    ring(217, "陈先生 138****1234"),
    [217, "ark.call.answered.v1", { leg: 1, codec: "PCMA", dtmf: "rfc4733", ringing_ms: 800 }],
    enter(216, "language"), [215, "ark.prompt.started.v1", { leg: 1, play: 1, prompts: ["welcome"], lang: "zh", text: "您好，欢迎致电方舟热线。普通话请按 1。" }],
    [214, "ark.dtmf.v1", { leg: 1, digit: "1", how: "rfc4733" }],
    [214, "ark.ivr.set.v1", { leg: 1, var: "lang", value: "zh" }],
    enter(213, "订单"), [212, "ark.gather.finished.v1", { leg: 1, state: "订单", var: "order", outcome: "complete", digits: 4, value: "2218" }],
    enter(212, "人工", "queue"),
    [212, "ark.queue.joined.v1", { leg: 1, queue: "订单与退款", position: 2 }],
    [190, "ark.queue.position.v1", { leg: 1, queue: "订单与退款", position: 1 }],
    [162, "ark.call.ringing.v1", { leg: 2, role: "agent", direction: "outbound", from: "95188", to: "web:anna", trunk: "webrtc", call_id: "w1", owner: "queue:订单与退款" }],
    [161, "ark.queue.left.v1", { leg: 1, queue: "订单与退款", outcome: "answered", waited_ms: 51000, answered_by: 2 }],
    [161, "ark.owner.accepted.v1", { owner: "agent:anna", previous: "queue:订单与退款", history_to: 12 }],
    [161, "ark.recording.started.v1", { leg: 1, recording: "call-1.opus", ref: "call-1.opus", purpose: "call" }],
    say(157, 1, "customer", 1, "你好，我上周那笔订单，扣了两次款，你帮我看一下。", 3000),
    say(148, 2, "agent", 1, "您别着急，我先帮您核实。方便把账单截图发给我吗？我给您发一个链接。", 12000),
    [140, "ark.link.made.v1", { link: "l1", leg: 3, by: "agent:anna", expires: new Date(now + 9e5).toISOString() }],
    [139, "ark.leg.added.v1", { leg: 3, medium: "companion", role: "customer", source: "/ark/main/companion/l1", thread: "l1", adapter: "companion", account: "main" }],
    [139, "ark.link.sent.v1", { link: "l1", via: "app" }],
    [131, "ark.link.joined.v1", { link: "l1", leg: 3, device: "d", via: "app" }],
    [127, "ark.message.in.v1", { thread: "l1", sender: { role: "customer", id: "c", display: "陈先生" }, parts: [picture("账单截图.png", 421_888)] }, "pic-1"],
    [112, "ark.note.v1", { by: "agent:anna", text: "两笔同金额，第二笔状态为“退款处理中”。" }],
    say(106, 2, "agent", 2, "我看到了，第二笔是重复支付，系统已经在退款，预计今天到账。", 54000),
  ]);
  talk({ kind: "chat", source: "/ark/main/alipay/mini", title: "朵拉", channel: "alipay", owner: "agent:anna", queue: "售后", state: "open", epoch: 2 }, [
    [900, "ark.session.opened.v1", { session: "s1", reason: "customer", owner: "bot:welcome" }], chat(900, "/ark/main/alipay/mini/dora", "朵拉"),
    heard(895, "dora", "朵拉", "你好，包裹收到了但是外包装破了", "d1"), told(890, "dora", "bot", "您好！请描述一下情况，我会为您转接人工。", "d2"),
    [880, "ark.owner.released.v1", { previous: "bot:welcome", queue: "售后", reason: "transfer", waiting_since: new Date(now - 880_000).toISOString() }],
    [871, "ark.owner.accepted.v1", { owner: "agent:anna", previous: "queue:售后", history_to: 5 }],
    told(860, "dora", "anna", "您好，我是安娜，麻烦您发一张照片给我看看，好吗？", "d3"),
    [859, "ark.receipt.v1", { thread: "dora", message: "d3", state: "delivered" }], [857, "ark.receipt.v1", { thread: "dora", message: "d3", state: "read" }],
    heard(31, "dora", "朵拉", "稍等我拍一下", "d4"), heard(9, "dora", "朵拉", [picture("包裹.png", 388_112), { kind: "text", text: "这是我收到的包裹" }], "d5"),
  ]);
  talk({ kind: "chat", source: "/ark/main/dingtalk/corp", title: "李工", channel: "dingtalk", owner: "agent:anna", queue: "企业客户", state: "open", epoch: 2 }, [
    [1500, "ark.session.opened.v1", { session: "s2", reason: "customer", owner: "queue:企业客户" }], chat(1500, "/ark/main/dingtalk/corp/li", "李工"),
    heard(1498, "li", "李工", "上周的退款还没到", "l1m"), [1470, "ark.owner.accepted.v1", { owner: "agent:anna", previous: "queue:企业客户", history_to: 3 }],
    told(1460, "li", "anna", "李工您好，我查一下。", "l2m"), heard(48, "li", "李工", "退款什么时候能到账？", "l3m"),
  ]);
  talk({ title: "139****8821", from: "139****8821", owner: "queue:投诉建议", queue: "投诉建议", state: "queued", waiting: 31, position: 1 }, [
    ring(58, "139****8821"), [58, "ark.call.answered.v1", { leg: 1, codec: "PCMA", ringing_ms: 600 }], enter(57, "language"), enter(50, "投诉建议"), [31, "ark.queue.joined.v1", { leg: 1, queue: "投诉建议", position: 1 }],
  ]);
  talk({ kind: "chat", source: "/ark/main/web/site", title: "访客 7F2A", channel: "web", owner: "queue:售后", queue: "售后", state: "queued", waiting: 12, position: 1 }, [
    [40, "ark.session.opened.v1", { session: "s3", reason: "customer", owner: "bot:welcome" }], chat(40, "/ark/main/web/site/7f2a", "访客 7F2A"),
    heard(38, "7f2a", "访客 7F2A", "<img src=x onerror=alert(1)>你好", "v1"), heard(14, "7f2a", "访客 7F2A", "我想直接通话", "v2"),
    [12, "ark.owner.released.v1", { previous: "bot:welcome", queue: "售后", reason: "transfer", waiting_since: new Date(now - 12_000).toISOString() }],
  ]);
  talk({ title: "137****0042", from: "137****0042", owner: "agent:ben", queue: "订单与退款", state: "talking", agent: "ben", talkingAgo: 420 }, [
    ring(470, "137****0042"), [470, "ark.call.answered.v1", { leg: 1, codec: "PCMU", ringing_ms: 500 }],
    [421, "ark.call.ringing.v1", { leg: 2, role: "agent", direction: "outbound", from: "95188", to: "web:ben", trunk: "webrtc", call_id: "w2", owner: "queue:订单与退款" }],
    [420, "ark.owner.accepted.v1", { owner: "agent:ben", previous: "queue:订单与退款", history_to: 3 }],
    say(410, 1, "customer", 1, "我想改一下收货地址。", 4000),
  ]);
  talk({ title: "陈先生 138****1234", from: "陈先生 138****1234", owner: "agent:ben", queue: "售后", state: "closed", ended: 3 * 86_400 - 600, person: "01JPERSON0000000000000CHEN", kind: "chat", channel: "alipay", source: "/ark/main/alipay/mini" }, [
    [3 * 86_400, "ark.session.opened.v1", { session: "s0", reason: "customer", owner: "queue:售后" }], chat(3 * 86_400, "/ark/main/alipay/mini/chen", "陈先生"),
    heard(3 * 86_400 - 5, "chen", "陈先生", "我的订单什么时候发货？", "o1"), told(3 * 86_400 - 60, "chen", "ben", "今天已经发出。", "o2"),
    [3 * 86_400 - 600, "ark.session.closed.v1", { session: "s0", reason: "resolved", by: "agent:ben" }],
  ]);
  return { conversations, main };
}

/** A long conversation: for the speed of opening and scrolling. */
export function long(events, now = Date.now()) {
  const conversation = ulid(now - 3_600_000);
  const records = Array.from({ length: events }, (_, at) => {
    const time = new Date(now - (events - at) * 1500).toISOString();
    const own = at % 2 === 1;
    const sender = own ? { role: "agent", id: "anna", display: "安娜" } : { role: "customer", id: "long", display: "长先生" };
    const type = at === 0 ? "ark.session.opened.v1" : own ? "ark.message.out.v1" : "ark.message.in.v1";
    const data = at === 0 ? { session: "sl", reason: "customer", owner: "agent:anna" } : { thread: "long", sender, parts: [{ kind: "text", text: `第 ${at} 条：这是一句普通长度的话，用来量一量时间线有多快。` }] };
    return { tenant: "main", conversation, seq: at + 1, epoch: 2, at: time, event: { specversion: "1.0", id: `long-${at}`, source: "/ark/main/web/site", type, time, data } };
  });
  const head = { kind: "chat", source: "/ark/main/web/site", channel: "web", title: "长先生", owner: "agent:anna", queue: "售后", state: "open", epoch: 2, conversation, started: records[0].at };
  return { head, records };
}
