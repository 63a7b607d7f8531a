"use strict";
// Every word of the page, and every event in plain words. Chinese first: most of those who read it do.
const WORDS = {
  zh: {
    brand: "方舟", skip: "跳到时间线", conversations: "会话", open: "进行中", ended: "已结束", noneOpen: "现在没有来电。", noneEnded: "还没有结束的会话。",
    more: "更早的", back: "返回", hangup: "挂断", hangupSure: "确认挂断", welcome: "等待来电", howToCall: "用任意 SIP 话机拨打下面的地址，来电会立刻出现在左侧。",
    howToKeys: "任何时候按 0 转人工。", details: "会话信息", callHere: "如何拨入", callBrowser: "从这个浏览器拨打", chatDemo: "网页聊天演示", callOut: "外呼", callOutHint: "SIP 地址，或中继可达的号码；对方会听到第一条热线的流程。", call: "拨打",
    calling: "正在呼叫……", language: "EN", themeAuto: "跟随系统", themeLight: "浅色", themeDark: "深色", theme: "外观：", live: "实时", connecting: "正在连接", loading: "正在读取……",
    away: "与网关的连接断开，正在重连；期间的事件会补上。", refused: "网关不再接受此页面的登录，请用 ark serve 打印的链接重新打开。", failed: "没有做到：", none: "无",
    from: "主叫", to: "被叫", started: "开始", length: "时长", plan: "流程", owner: "归属", id: "会话号", trunk: "线路", codec: "编码", legs: "通话方", customer: "客户", channel: "渠道",
    ringing: "振铃", active: "通话中", held: "保持", over: "已结束", waiting: "排队中", talking: "人工接待中", inPlan: "在流程中", system: "系统", noHotline: "还没有配置热线（[[hotline]]）。",
    download: "下载录音", recordingOf: "录音", ark: "方舟", caller: "来电人", person: "人工",
    hear: "听这一句", testDouble: "语音识别：测试替身，只懂合成语音，不能接真实来电", speechBroken: "语音识别没有工作：", correctedBy: "更正：",
    sendLink: "收图链接", linking: "正在生成……", link: "链接（只给来电人）：", linkTexted: "链接已用短信发出", linkCode: "可口述：", picture: "图片",
  },
  en: {
    brand: "Ark", skip: "Skip to the timeline", conversations: "Conversations", open: "Live", ended: "Ended", noneOpen: "Nobody is calling.", noneEnded: "No conversation has ended yet.",
    more: "Earlier", back: "Back", hangup: "Hang up", hangupSure: "Really hang up", welcome: "Waiting for a call", howToCall: "Call one of these addresses with any SIP phone; the call appears on the left at once.",
    howToKeys: "Press 0 at any time for a person.", details: "Conversation", callHere: "How to call in", callBrowser: "Call from this browser", chatDemo: "Web chat, shown", callOut: "Call out", callOutHint: "A SIP address, or a number that a trunk carries; they hear the first hotline's plan.", call: "Call",
    calling: "Calling…", language: "中文", themeAuto: "System", themeLight: "Light", themeDark: "Dark", theme: "Theme: ", live: "Live", connecting: "Connecting", loading: "Loading…",
    away: "The connection to the gateway is lost; trying again. What happens meanwhile will be shown.", refused: "The gateway no longer knows this page: open the link that ark serve prints.", failed: "Not done: ", none: "none",
    from: "From", to: "To", started: "Began", length: "Length", plan: "Plan", owner: "Owner", id: "Id", trunk: "Trunk", codec: "Codec", legs: "Legs", customer: "Customer", channel: "Channel",
    ringing: "ringing", active: "talking", held: "on hold", over: "ended", waiting: "waiting", talking: "with a person", inPlan: "in the plan", system: "System", noHotline: "No [[hotline]] is configured yet.",
    download: "Download", recordingOf: "Recording", ark: "Ark", caller: "Caller", person: "Person",
    hear: "Hear it", testDouble: "Speech: a test double that knows synthetic voices alone; it must never hear real callers", speechBroken: "Speech is not read: ", correctedBy: "corrected by ",
    sendLink: "Picture link", linking: "Making it…", link: "Link (for the caller only):", linkTexted: "The link went out by SMS", linkCode: "To be spoken:", picture: "Picture",
  },
};

// Closed lists of the log, in words.
const TERMS = {
  zh: {
    hangup: "挂机", cancelled: "未接通前放弃", rejected: "被拒绝", busy: "忙", no_answer: "无人接听", unreachable: "无法接通", no_ack: "对方没有确认接通", timeout: "超时", media_lost: "长时间没有声音",
    transport_lost: "连接断开", no_codec: "没有共同的编码", overload: "网关已满", shutdown: "网关停止", failed: "失败", end: "播完", barge_in: "被按键打断", stopped: "已停止", complete: "收齐", invalid: "无效按键",
    silence: "没有输入", human: "要求人工", answered: "已接听", abandoned: "来电人挂断", left: "来电人选择离开", overflow: "转到另一队列", callback: "等候回电", unreached: "回电未接通", account_made: "新建账号", account_changed: "修改账号", account_removed: "删除账号", password_set: "设置密码", sign_in_failed: "登录失败", sign_in_blocked: "登录尝试过多", number_revealed: "查看完整号码", key: "按键结束", limit: "到达时限", ok: "成功", status: "返回错误", unusable: "返回无法使用",
    remote: "对方", ark: "方舟", voicemail: "留言", call: "通话录音", listen: "监听", whisper: "耳语指导坐席", barge: "插话", take_over: "接管通话",
    receipt_accepted: "渠道已收下", receipt_sent: "已发出", receipt_delivered: "已送达", receipt_read: "已读", receipt_failed: "消息没有送到", receipt_expired: "消息已过期", receipt_recalled: "消息已撤回",
    outcome_unknown: "是否送达未知，重发前请先向客户确认", window_closed: "渠道回复窗口已关闭", blocked: "客户不再接收",
  },
  en: {
    hangup: "hung up", cancelled: "given up before it was answered", rejected: "refused", busy: "busy", no_answer: "no answer", unreachable: "cannot be reached", no_ack: "the answer was never acknowledged",
    timeout: "timed out", media_lost: "no audio for too long", transport_lost: "connection lost", no_codec: "no codec in common", overload: "the gateway is full", shutdown: "the gateway stopped", failed: "failed",
    end: "to the end", barge_in: "cut by a key", stopped: "stopped", complete: "complete", invalid: "a key without meaning", silence: "silence", human: "asked for a person", answered: "answered",
    abandoned: "the caller hung up", left: "by choice", overflow: "on to another queue", callback: "to be called back", unreached: "called back, never reached", account_made: "account made", account_changed: "account changed", account_removed: "account removed", password_set: "password set", sign_in_failed: "wrong try to sign in", sign_in_blocked: "too many tries to sign in", number_revealed: "number shown in full", key: "ended by key", limit: "as long as allowed", ok: "done", status: "answered with an error", unusable: "answered with nothing usable",
    remote: "the other side", ark: "Ark", voicemail: "message", call: "call recording", listen: "listens", whisper: "whispers to the agent", barge: "joins in",
    take_over: "takes over",
    receipt_accepted: "taken by the channel", receipt_sent: "sent", receipt_delivered: "delivered", receipt_read: "read", receipt_failed: "The message did not arrive", receipt_expired: "The message expired",
    receipt_recalled: "taken back", outcome_unknown: "whether it arrived is not known; ask the customer before you send it again", window_closed: "the channel's reply window is closed", blocked: "the customer takes no more",
  },
};

// Verbs of a plan.
const VERBS = {
  zh: { menu: "菜单", say: "播报", gather: "收号", hours: "工作时间", set: "设置", branch: "分支", direct: "直达", record: "留言", queue: "排队", transfer: "转接", http: "查询", hangup: "结束" },
  en: {},
};

// An event as a line of the timeline: `who` (caller, ark, person, none), `text`, and `tone` (live, wait, late) where it matters.
// Events that only finish another line return `finishes` with that line's key.
function describe(lang, type, data) {
  const zh = lang === "zh";
  const term = (word) => TERMS[lang][word] || word;
  const s = (ms) => `${(ms / 1000).toFixed(1)} ${zh ? "秒" : "s"}`;
  const say = (chinese, english, more) => ({ who: "none", text: zh ? chinese : english, ...more });
  switch (type) {
    case "ark.call.ringing.v1": {
      const [from, to] = [data.from || "?", data.to || "?"];
      if (data.role === "customer" && data.direction === "inbound") return say(`来电 ${from} → ${to}`, `Call from ${from} to ${to}`);
      return say(`呼叫 ${to}`, `Calling ${to}`);
    }
    case "ark.call.answered.v1": return say(`接通，${data.codec}，振铃 ${s(data.ringing_ms)}`, `Answered, ${data.codec}, rang for ${s(data.ringing_ms)}`, { tone: "live" });
    case "ark.call.ended.v1": {
      const by = data.cause === "hangup" ? (zh ? `（${term(data.by)}）` : ` by ${term(data.by)}`) : "";
      const status = data.sip_status ? ` ${data.sip_status}` : "";
      return say(`通话结束：${term(data.cause)}${status}${by}，通话 ${s(data.talk_ms)}`, `Ended: ${term(data.cause)}${status}${by}, talked for ${s(data.talk_ms)}`, { tone: data.cause === "hangup" ? "" : "late" });
    }
    case "ark.call.lost.v1": return say(`通话丢失：${data.reason}`, `The call was lost: ${data.reason}`, { tone: "late" });
    case "ark.call.quality.v1": {
      const mos = data.mos ? data.mos.toFixed(1) : "–";
      const loss = (data.loss_ratio * 100).toFixed(1);
      const jitter = (data.jitter_us / 1000).toFixed(1);
      const rtt = data.rtt_us ? (zh ? `，往返 ${(data.rtt_us / 1000).toFixed(0)} 毫秒` : `, round trip ${(data.rtt_us / 1000).toFixed(0)} ms`) : "";
      const tone = data.mos && data.mos < 3.5 ? "late" : "";
      return say(`音质 ${mos}，丢包 ${loss} %，抖动 ${jitter} 毫秒${rtt}`, `Quality ${mos}, loss ${loss} %, jitter ${jitter} ms${rtt}`, { tone });
    }
    case "ark.leg.bridged.v1": return say("双方接通，可以通话", "Both sides hear each other", { tone: "live" });
    case "ark.leg.unbridged.v1": return say(`通话分开，共 ${s(data.bridged_ms)}`, `Apart again after ${s(data.bridged_ms)}`);
    case "ark.leg.held.v1": return say("对方保持通话", "Put on hold", { tone: "wait" });
    case "ark.leg.resumed.v1": return say(`恢复通话，保持了 ${s(data.held_ms)}`, `Resumed after ${s(data.held_ms)} on hold`);
    case "ark.ivr.entered.v1": {
      const verb = VERBS[lang][data.verb] || data.verb;
      return say(`流程：${data.state}`, `Plan: ${data.state}`, { minor: true, short: data.state, title: `${data.state} (${verb})` });
    }
    case "ark.ivr.strike.v1": return say(`第 ${data.strikes} 次${term(data.kind)}`, `Strike ${data.strikes}: ${term(data.kind)}`, { tone: "wait" });
    case "ark.ivr.kept.v1": return data.run ? say("流程等待客户", "The plan waits for the customer", { minor: true }) : say("流程结束", "The plan is over", { minor: true });
    case "ark.ivr.set.v1": {
      const value = data.masked ? "••••" : data.value;
      const name = data.var;
      if (name === "lang") return say(`语言：${value === "zh" ? "中文" : value === "en" ? "英文" : value}`, `Language: ${value}`, { minor: true });
      return say(`${name} = ${value}`, `${name} = ${value}`, { minor: true });
    }
    case "ark.dtmf.v1": return { who: "caller", key: data.masked ? "•" : data.digit, text: zh ? "按键" : "pressed" };
    case "ark.prompt.started.v1": {
      const names = (data.prompts || []).join(zh ? "、" : ", ");
      const text = data.text || (zh ? `播放：${names}` : `playing: ${names}`);
      return { who: "ark", text, note: data.text ? names : "", pending: `play-${data.leg}-${data.play}` };
    }
    case "ark.prompt.finished.v1": return { finishes: `play-${data.leg}-${data.play}`, text: `${s(data.heard_ms)}，${term(data.cause)}`.replace("，", zh ? "，" : ", ") };
    case "ark.gather.finished.v1": {
      const value = data.masked ? "•".repeat(data.digits) : data.value || "";
      return say(`收到 ${data.digits} 位 ${value}（${term(data.outcome)}）`, `${data.digits} digits ${value} (${term(data.outcome)})`);
    }
    case "ark.recording.started.v1": return say(`开始${term(data.purpose)}`, `Recording began (${term(data.purpose)})`, { tone: "live" });
    case "ark.recording.paused.v1": return say("录音暂停，其间不保留声音", "Recording paused: nothing is kept", { tone: "wait" });
    case "ark.recording.resumed.v1": return say(`录音继续，暂停了 ${s(data.paused_ms)}`, `Recording again after ${s(data.paused_ms)}`);
    case "ark.call.supervised.v1": return say(`班长${term(data.mode)}`, `A supervisor ${term(data.mode)}`, { tone: "live" });
    case "ark.leg.muted.v1": return data.muted ? say("一方被静音", "One side was muted", { tone: "wait" }) : say("取消静音", "Heard again");
    case "ark.recording.finished.v1": return { who: "none", recording: data.recording, text: zh ? `录音 ${s(data.duration_ms)}（${term(data.cause)}）` : `Recording of ${s(data.duration_ms)} (${term(data.cause)})` };
    case "ark.recording.failed.v1": return say(`录音失败：${data.error}`, `Recording failed: ${data.error}`, { tone: "late" });
    case "ark.queue.joined.v1": return say(`进入队列「${data.queue}」，第 ${data.position} 位`, `Waits in “${data.queue}”, number ${data.position}`, { tone: "wait" });
    case "ark.queue.position.v1": {
      const wait = data.wait_ms ? (zh ? `，约 ${Math.ceil(data.wait_ms / 60000)} 分钟` : `, about ${Math.ceil(data.wait_ms / 60000)} min`) : "";
      return say(`排队第 ${data.position} 位${wait}`, `Number ${data.position} in line${wait}`, { minor: true });
    }
    case "ark.queue.left.v1": return say(`离开队列：${term(data.outcome)}，等了 ${s(data.waited_ms)}`, `Left the queue: ${term(data.outcome)}, waited ${s(data.waited_ms)}`, { tone: data.outcome === "answered" ? "live" : "wait" });
    case "ark.queue.relaxed.v1": {
      const needs = [data.needs?.language, ...Object.keys(data.needs?.skills || {})].filter(Boolean).join(zh ? "、" : ", ");
      return say(`「${data.queue}」没有人会 ${needs}，改请任何人接听`, `Nobody in “${data.queue}” has ${needs}: anybody is asked`, { tone: "wait" });
    }
    case "ark.transfer.started.v1": return say(`转接「${data.target}」`, `Transfer to “${data.target}”`);
    case "ark.transfer.finished.v1": return say(`转接结果：${term(data.outcome)}，用时 ${s(data.took_ms)}`, `Transfer: ${term(data.outcome)} after ${s(data.took_ms)}`, { tone: data.outcome === "answered" ? "live" : "wait" });
    case "ark.http.finished.v1": return say(`查询「${data.action}」：${term(data.outcome)}${data.status ? " " + data.status : ""}，${s(data.took_ms)}`, `Action “${data.action}”: ${term(data.outcome)}${data.status ? " " + data.status : ""}, ${s(data.took_ms)}`, { minor: true });
    case "ark.plan.published.v1": return say(`流程 ${data.plan} 第 ${data.version} 版上线`, `Plan ${data.plan} version ${data.version} is live`, { tone: "live" });
    case "ark.plan.rolled_back.v1": return say(`流程 ${data.plan} 回到第 ${data.version} 版`, `Plan ${data.plan} is back at version ${data.version}`, { tone: "wait" });
    case "ark.audit.v1": return say(`审计：${term(data.what)} ${data.account || ""}`, `Audit: ${term(data.what)} ${data.account || ""}`, { minor: true });
    case "ark.plan.refused.v1": return say(`流程 ${data.plan} 未通过：${data.reason}`, `Plan ${data.plan} was refused: ${data.reason}`, { tone: "late" });
    case "ark.transcript.final.v1": {
      const sure = data.confidence ? `${Math.round(data.confidence * 100)} %` : "";
      const note = [sure, data.degraded ? (zh ? "事后补写" : "made up for later") : "", data.masked ? (zh ? "已遮盖" : "masked") : ""].filter(Boolean).join(" · ");
      const hear = data.recording && data.recording_ms !== undefined ? { recording: data.recording, at: data.recording_ms / 1000 } : null;
      const who = data.speaker === "customer" ? "caller" : "person";
      return { who, text: data.text, note, said: `${data.leg}-${data.utterance}`, hear };
    }
    case "ark.transcript.corrected.v1": return { corrects: `${data.leg}-${data.utterance}`, text: data.text, by: data.by.replace("agent:", "") };
    case "ark.transcript.missing.v1": return data.trouble === "deferred" ? say("这句话通话后补写", "This is written down after the call", { minor: true }) : say(`这句话没有识别：${data.reason}`, `This was not understood: ${data.reason}`, { minor: true });
    case "ark.log.gap.v1": return say(`缺少 ${data.dropped_events} 条事件：${data.reason}`, `${data.dropped_events} events are missing: ${data.reason}`, { tone: "late" });
    case "ark.message.in.v1": return { who: "caller", name: "customer", text: partsInWords(zh, data.parts) };
    case "ark.message.out.v1": return { who: "person", text: partsInWords(zh, data.parts) };
    case "ark.message.rerouted.v1": return say("消息改由另一渠道发送", "The message goes by another way", { minor: true });
    case "ark.edit.v1": return say("消息已修改或撤回", "A message was changed or taken back", { minor: true });
    case "ark.receipt.v1": {
      const why = data.reason ? `：${term(data.reason.code)}` : "";
      const text = `${term(`receipt_${data.state}`)}${zh ? why : why.replace("：", ": ")}`;
      return say(text, text, data.state === "failed" || data.state === "expired" ? { tone: "late" } : { minor: true });
    }
    case "ark.typing.v1": return say("正在输入", "Typing", { minor: true });
    case "ark.thread.v1": return say("会话线程有变化", "The thread changed", { minor: true });
    case "ark.call.v1": return say("渠道里的通话", "A call within the channel", { minor: true });
    case "ark.owner.offered.v1": return say("已请求转给别人", "Offered to somebody else", { tone: "wait" });
    case "ark.owner.accepted.v1": return say("已接手", "Taken over", { tone: "live" });
    case "ark.owner.declined.v1": return say("没有接手", "Declined", { tone: "wait" });
    case "ark.owner.expired.v1": return say("到时无人接手", "Nobody took over in time", { tone: "wait" });
    case "ark.owner.withdrawn.v1": return say("转接请求已撤回", "The offer was taken back");
    case "ark.owner.released.v1": return data.reason === "overflow" ? say(`等待太久，转到队列「${data.queue}」，位置不变`, `Waited too long: on to the queue “${data.queue}” with the place`, { tone: "wait" }) : say(`回到队列「${data.queue}」`, `Back in the queue “${data.queue}”`, { tone: "wait" });
    case "ark.session.opened.v1": return say("服务开始", "Service began", { tone: "live" });
    case "ark.session.closed.v1": return say("服务结束", "Service ended");
    case "ark.leg.offered.v1": if (data.callback) return say(`等候回电（${data.callback.queue}）`, `Waits to be called back (${data.callback.queue})`, { tone: "wait" }); return say("邀请使用另一渠道", "Another channel was offered", { tone: "wait" });
    case "ark.link.made.v1": return say("已生成收图链接", "A link for pictures was made");
    case "ark.link.code.v1": return say("已生成口述验证码", "A code to be spoken was made", { minor: true });
    case "ark.link.sent.v1": {
      const way = { sms: zh ? "短信" : "SMS", app: zh ? "应用" : "app", code: zh ? "口述" : "spoken code" }[data.via] || data.via;
      return data.failed ? say(`链接没有发出（${way}）：${data.failed}`, `The link did not go out (${way}): ${data.failed}`, { tone: "late" }) : say(`链接已发出（${way}）`, `The link went out (${way})`, { minor: true });
    }
    case "ark.link.joined.v1": return say("客户的手机已打开收图页面", "The caller's device has opened the page", { tone: "live" });
    case "ark.transfer.changed.v1": {
      const stage = { ringing: zh ? "正在呼叫" : "rings", consulting: zh ? "先行商谈" : "is told first", three_way: zh ? "三方通话" : "three-way", recalling: zh ? "回呼转出的坐席" : "the agent is called back" }[data.stage] || data.stage;
      return say(`转接 ${data.target}：${stage}`, `Transfer to ${data.target}: ${stage}`, { tone: "wait" });
    }
    case "ark.note.v1": return say(`内部备注：${data.text}`, `A note of the house: ${data.text}`, { minor: true });
    case "ark.consent.settled.v1": {
      const told = { announced: ["已告知通话会被录音和转写", "They were told that the call is kept"], agreed: ["客户同意录音和转写", "They agreed that the call is kept"], refused: ["客户不同意录音和转写，通话不保存", "They refused: nothing of the call is kept"], unanswered: ["客户没有同意录音和转写，通话不保存", "They did not agree: nothing of the call is kept"] }[data.outcome];
      return say(told?.[0] ?? data.outcome, told?.[1] ?? data.outcome, data.kept ? { minor: true } : { tone: "wait" });
    }
    case "ark.survey.asked.v1": return say("请客户评价", "The customer was asked to rate the service", { minor: true });
    case "ark.survey.answered.v1": return say(`客户评分：${data.score}/${data.scale}${data.comment ? ` · ${data.comment}` : ""}`, `The customer rated the service ${data.score} of ${data.scale}${data.comment ? `: ${data.comment}` : ""}`, { tone: data.score * 2 > data.scale ? "live" : "late" });
    case "ark.leg.added.v1": return say("加入了一个渠道", "A channel was added");
    case "ark.leg.ended.v1": return say("一个渠道结束", "A channel ended");
    case "ark.leg.idle.v1": return say("渠道暂时安静", "The channel fell quiet", { minor: true });
    case "ark.leg.woke.v1": return say("渠道又有消息", "The channel woke up", { minor: true });
    case "ark.participant.joined.v1": return say("有人加入", "Somebody joined");
    case "ark.participant.left.v1": return say("有人离开", "Somebody left");
    case "ark.identity.v1": return say("得知客户身份", "The customer's identity was told", { minor: true });
    case "ark.number.revealed.v1": return say("查看了完整号码", "Somebody looked at the full number");
    case "ark.person.linked.v1": return say("会话已归到客户名下", "The conversation belongs to a known person", { minor: true });
    case "ark.person.merged.v1": return say("两份客户资料合并", "Two records of a person were joined");
    case "ark.person.unmerged.v1": return say("客户资料合并已撤销", "The joining was undone");
    case "ark.summary.v1": return { who: "none", text: data.text || (zh ? "小结" : "Summary") };
    case "ark.erasure.v1": return say("按要求删除内容", "Content is erased on request", { tone: "wait" });
    case "ark.erased.v1": return say("内容已删除", "This content was erased", { minor: true });
    default: return say(type, type, { minor: true });
  }
}

// The parts of a message, words first; what is no text is named.
function partsInWords(zh, parts) {
  const names = zh
    ? { image: "［图片］", voice_note: "［语音］", file: "［文件］", video: "［视频］", card: "［卡片］", location: "［位置］" }
    : { image: "[picture]", voice_note: "[voice message]", file: "[file]", video: "[video]", card: "[card]", location: "[place]" };
  const one = (part) => (part.kind === "text" ? part.text : part.fallback_text || names[part.kind] || (zh ? "［内容］" : "[content]"));
  return (parts || []).map(one).join(" ");
}
