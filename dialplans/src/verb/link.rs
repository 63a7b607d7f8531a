//! `link`: the caller gets a link and sends pictures while the call goes on.

use std::time::Duration;

use super::{Edge, Field, Kind, Lint, Node, Object, Ref, RefKind, Role, Verb, When};
use crate::diagnostic::both;
use crate::event::{Heard, LinkNews, LinkWay};
use crate::limits::LINK_GRACE;
use crate::plan::Plan;
use crate::read::{Block, Reader, may, must};
use crate::run::{Flow, Phase, Timer, Turn};
use crate::source::Name;

pub(super) const VERB: Verb = Verb {
    name: "link",
    doc: "Sends the caller a link to a page for pictures and waits for one; the link stays good when the call goes on.",
    fields: FIELDS,
    read: |reader, block| {
        Box::new(Link {
            send: block.texts(reader, "send"),
            ways: ways(reader, block),
            prompt: block.name(reader, "prompt"),
            code_prompt: block.name(reader, "code_prompt"),
            every: block.duration(reader, "every", Duration::from_secs(20)),
            timeout: block.duration(reader, "timeout", Duration::from_secs(180)),
            next: block.must_name(reader, "next"),
            on_joined: block.name(reader, "on_joined"),
            on_timeout: block.must_name(reader, "on_timeout"),
            on_failed: block.must_name(reader, "on_failed"),
        })
    },
};

const FIELDS: &[Field] = &[
    must(
        "send",
        Kind::Texts,
        "how it goes out, the first that can be: \"app\", \"sms\", \"code\" (six digits that are spoken)",
    ),
    may("prompt", Kind::Prompt, "said once the link is out by app or short message"),
    may(
        "code_prompt",
        Kind::Prompt,
        "says the code, {link_code}, and where it is typed; said again every `every` and on the star key",
    ),
    may("every", Kind::Duration, "how often the code is said; default \"20s\""),
    may("timeout", Kind::Duration, "how long a picture is waited for; default \"3m\""),
    must("next", Kind::State, "where the call goes when a picture has come"),
    may("on_joined", Kind::State, "where the call goes when the page is opened; default: it waits on for a picture"),
    must("on_timeout", Kind::State, "without it a caller who sends nothing would be lost"),
    must("on_failed", Kind::State, "without it a caller to whom no link can be sent would be lost"),
];

fn ways(reader: &mut Reader, block: &Block<'_>) -> Vec<LinkWay> {
    let mut ways = Vec::new();
    let names = block.texts(reader, "send");
    for name in &names {
        match LinkWay::parse(&name.text) {
            Some(way) if !ways.contains(&way) => ways.push(way),
            Some(_) => {}
            None => reader.say(
                "E012",
                &name.span,
                both!("a link does not go out by `{name}`", "链接不能用 `{name}` 发送"),
                Some(both!("there are \"app\", \"sms\" and \"code\"", "可用：\"app\"、\"sms\"、\"code\"")),
            ),
        }
    }
    ways
}

#[derive(Debug)]
struct Link {
    send: Vec<Name>,
    ways: Vec<LinkWay>,
    prompt: Option<Name>,
    code_prompt: Option<Name>,
    every: Duration,
    timeout: Duration,
    next: Name,
    on_joined: Option<Name>,
    on_timeout: Name,
    on_failed: Name,
}

impl Link {
    fn settle(turn: &mut Turn<'_>, to: &Name) -> Flow {
        turn.job_done();
        Flow::go(to)
    }

    /// Says the code, now and again.
    fn say_code(&self, turn: &mut Turn<'_>) {
        if let Some(prompt) = &self.code_prompt {
            turn.play(&[prompt]);
            turn.start(Timer::Announce, self.every.max(Duration::from_secs(5)));
        }
    }

    fn news(&self, turn: &mut Turn<'_>, news: &LinkNews) -> Flow {
        match news {
            LinkNews::Failed => Self::settle(turn, &self.on_failed),
            LinkNews::Sent | LinkNews::Code(_) => {
                turn.stop(Timer::Job);
                turn.phase(Phase::Listening);
                turn.start(Timer::MaxWait, self.timeout);
                if let LinkNews::Code(code) = news {
                    turn.link_code(code);
                    self.say_code(turn);
                } else if let Some(prompt) = &self.prompt {
                    turn.play(&[prompt]);
                }
                Flow::Stay
            }
            LinkNews::Joined => {
                turn.accepted();
                // Who has the page open needs no code any more.
                turn.stop(Timer::Announce);
                match &self.on_joined {
                    Some(to) => Self::settle(turn, to),
                    None => Flow::Stay,
                }
            }
            LinkNews::Picture => {
                turn.accepted();
                Self::settle(turn, &self.next)
            }
        }
    }
}

impl Node for Link {
    fn role(&self) -> Role {
        Role::Passing
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        let joined = self.on_joined.as_ref().map(|to| Edge::new("page opened", to, When::Input));
        let picture = Edge::new("picture", &self.next, When::Input);
        let others = [
            Edge::new("no picture", &self.on_timeout, When::Always),
            Edge::new("cannot be sent", &self.on_failed, When::Always),
        ];
        std::iter::once(picture).chain(joined).chain(others).collect()
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        self.prompt.iter().chain(&self.code_prompt).map(|name| Ref::new(RefKind::Prompt, name)).collect()
    }

    fn heard_in_silence(&self) -> Vec<&Name> {
        self.prompt.iter().chain(&self.code_prompt).collect()
    }

    fn object(&self) -> Object {
        self.send.first().map(|way| way.text.clone())
    }

    fn lint(&self, plan: &Plan) -> Vec<Lint> {
        let speaks_code = |name: &Name| {
            plan.prompts.get(&name.text).is_some_and(|prompt| {
                prompt.spoken.values().all(|spoken| spoken.variables().any(|(name, ..)| name == "link_code"))
            })
        };
        let code = self.send.iter().find(|way| &*way.text == "code");
        let mut found = Vec::new();
        if let Some(way) = code.filter(|_| !self.code_prompt.as_ref().is_some_and(speaks_code)) {
            found.push(Lint {
                code: "E022",
                span: self.code_prompt.as_ref().unwrap_or(way).span.clone(),
                message: both!("the code is sent and never said", "有口述验证码，但没有读出来"),
                help: Some(both!(
                    "add `code_prompt = \"a-prompt\"` that speaks {{link_code}} in every language",
                    "请加上 `code_prompt = \"提示语\"`，并在每种语言中读出 {{link_code}}"
                )),
            });
        }
        if let (Some(first), None, true) =
            (self.send.first(), &self.prompt, self.send.iter().any(|way| &*way.text != "code"))
        {
            found.push(Lint {
                code: "W012",
                span: first.span.clone(),
                message: both!("the caller is not told that a link was sent", "没有告诉来电者链接已发出"),
                help: Some(both!("add `prompt = \"a-prompt\"` that says so", "请加上 `prompt = \"提示语\"`")),
            });
        }
        found
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        turn.phase(Phase::Working);
        turn.link(&self.ways, self.timeout);
        turn.start(Timer::Job, LINK_GRACE);
        Flow::Stay
    }

    fn key(&self, turn: &mut Turn<'_>, key: char) -> Flow {
        turn.silence_prompt();
        if key == '*' && turn.has_link_code() {
            self.say_code(turn);
        }
        Flow::Stay
    }

    fn timer(&self, turn: &mut Turn<'_>, timer: Timer) -> Flow {
        match timer {
            Timer::Job => Self::settle(turn, &self.on_failed),
            Timer::MaxWait => Self::settle(turn, &self.on_timeout),
            Timer::Announce if !turn.is_playing() => {
                self.say_code(turn);
                Flow::Stay
            }
            Timer::Announce => {
                turn.start(Timer::Announce, self.every.max(Duration::from_secs(5)));
                Flow::Stay
            }
            _ => Flow::Stay,
        }
    }

    fn heard(&self, turn: &mut Turn<'_>, heard: &Heard) -> Flow {
        match heard {
            Heard::Link { news, .. } => self.news(turn, news),
            _ => Flow::Stay,
        }
    }
}
