//! What the scripted caller does: it listens, and presses a key when the log says that the hotline waits for one.

use std::sync::Arc;
use std::time::Duration;

use ark_conversation::{ConversationId, Event, Record};
use ark_dialplans::Lang;
use ark_media::prompt::Pcm;
use ark_media::tone;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use super::site::Site;
use crate::config::{Config, Prompts};
use crate::phone::{Phone, PhoneError};
use crate::prompts;

/// Longest that the hotline may take for one step: its longest prompt, and some.
const STEP_TIMEOUT: Duration = Duration::from_secs(25);
/// How long the caller listens to a menu before choosing.
const LISTEN: Duration = Duration::from_millis(2_500);
/// From one key of a number to the next.
const BETWEEN_KEYS: Duration = Duration::from_millis(350);
/// How long the caller waits in the queue before it rather leaves a message.
const PATIENCE: Duration = Duration::from_secs(4);
/// The order that the caller asks for.
const ORDER: &str = "4711";
/// Longest message that the caller leaves.
const MESSAGE_MAX: Duration = Duration::from_secs(8);

/// Why the scripted call went no further.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stuck {
    /// The phone.
    #[error(transparent)]
    Phone(#[from] PhoneError),
    /// The log did not say what was waited for.
    #[error("the hotline did not come to `{0}` in time")]
    Step(&'static str),
    /// The hotline hung up.
    #[error("the hotline ended the call before `{0}`")]
    Ended(&'static str),
}

/// Calls the hotline and walks through it: language, orders, an order number, the queue, a message. Gives the conversation.
pub(super) async fn call(
    lang: Lang,
    site: &Site,
    records: Receiver<Arc<Record>>,
) -> Result<Option<ConversationId>, Stuck> {
    let caller = match lang {
        Lang::Zh => "13800001111",
        Lang::En => "+12025550143",
    };
    let message = message(lang, &site.config).await;
    let number = site.config.hotline.first().map_or("95188", |hotline| hotline.number.as_str());
    let phone = Phone::call(site.loopback().ip(), site.loopback(), number, caller).await?;
    let mut caller = Caller { phone, records, conversation: None };
    caller.walk(lang, &message).await?;
    let conversation = caller.conversation;
    caller.hang_up().await?;
    Ok(conversation)
}

/// What the caller says after the tone: spoken in another voice than Ark's; without a synthesiser, two notes.
async fn message(lang: Lang, config: &Config) -> Pcm {
    let text = match lang {
        Lang::Zh => "您好，我的订单还没有到，请给我回电话，谢谢。",
        Lang::En => "Hello. My order has not arrived yet. Please call me back. Thank you.",
    };
    let woman = |voice: &str| format!("{voice}+f3");
    let voice = Prompts {
        voice_zh: woman(&config.prompts.voice_zh),
        voice_en: woman(&config.prompts.voice_en),
        ..config.prompts.clone()
    };
    match prompts::speak_once(&voice, config.files.prompts(), lang, text).await {
        Ok(pcm) => pcm,
        Err(_) => {
            let note = |hz| tone::sine(hz, 6_000, 8_000, Duration::from_millis(900));
            Pcm { samples: [note(523.3), note(659.3)].concat(), rate_hz: 8_000 }
        }
    }
}

struct Caller {
    phone: Phone,
    records: Receiver<Arc<Record>>,
    conversation: Option<ConversationId>,
}

impl Caller {
    async fn walk(&mut self, lang: Lang, message: &Pcm) -> Result<(), Stuck> {
        self.until("the choice of language", |event| entered(event, "language")).await?;
        self.phone.listen(LISTEN).await?;
        self.phone.press(if lang == Lang::En { '2' } else { '1' });
        self.until("the menu", |event| entered(event, "main")).await?;
        self.phone.listen(LISTEN).await?;
        self.phone.press('2');
        self.until("the order number", |event| entered(event, "order_number")).await?;
        self.phone.listen(LISTEN).await?;
        for key in ORDER.chars().chain(['#']) {
            self.phone.press(key);
            self.phone.listen(BETWEEN_KEYS).await?;
        }
        self.until("the order number read back", |event| says(event, "order_readback")).await?;
        self.until("the end of what is read back", |event| matches!(event, Event::PromptFinished(_))).await?;
        self.phone.press('1');
        let waits = |event: &Event| matches!(event, Event::QueueJoined(_));
        let records = |event: &Event| matches!(event, Event::RecordingStarted(_));
        // Outside service hours the hotline goes straight to the message.
        let next = self.until("the queue, or a message", |event| waits(event) || records(event)).await?;
        if waits(&next.event.event) {
            self.phone.listen(PATIENCE).await?;
            self.phone.press('1');
            self.until("the tone", records).await?;
        }
        let length = self.phone.say(message).min(MESSAGE_MAX);
        self.phone.listen(length + BETWEEN_KEYS).await?;
        self.phone.press('#');
        self.until("the message kept", |event| says(event, "message_saved")).await?;
        self.until("the goodbye", |event| matches!(event, Event::PromptFinished(_))).await?;
        Ok(())
    }

    /// Stays on the line until the log says so.
    async fn until(&mut self, what: &'static str, done: impl Fn(&Event) -> bool) -> Result<Arc<Record>, Stuck> {
        let deadline = Instant::now() + STEP_TIMEOUT;
        loop {
            let record = tokio::select! {
                biased;
                record = self.records.recv() => record,
                up = self.phone.listen(STEP_TIMEOUT) => match up? {
                    // The last events of a call that ended come a moment after it.
                    false => timeout_at(deadline, self.records.recv()).await.unwrap_or(None),
                    true => return Err(Stuck::Step(what)),
                },
            };
            let Some(record) = record else { return Err(Stuck::Ended(what)) };
            self.conversation.get_or_insert(record.conversation);
            // Somebody else may be calling, too.
            if self.conversation != Some(record.conversation) {
                continue;
            }
            if done(&record.event.event) {
                return Ok(record);
            }
            if matches!(record.event.event, Event::CallEnded(_)) {
                return Err(Stuck::Ended(what));
            }
            if Instant::now() >= deadline {
                return Err(Stuck::Step(what));
            }
        }
    }

    /// Ends the call if the hotline has not, and waits for its last event.
    async fn hang_up(self) -> Result<(), Stuck> {
        let Self { phone, mut records, conversation } = self;
        phone.hang_up().await?;
        let deadline = Instant::now() + STEP_TIMEOUT;
        while let Ok(Some(record)) = timeout_at(deadline, records.recv()).await {
            let last = matches!(record.event.event, Event::CallEnded(_));
            if last && Some(record.conversation) == conversation {
                return Ok(());
            }
        }
        Err(Stuck::Step("the end of the call"))
    }
}

fn entered(event: &Event, state: &str) -> bool {
    matches!(event, Event::IvrEntered(entered) if entered.state == state)
}

fn says(event: &Event, prompt: &str) -> bool {
    matches!(event, Event::PromptStarted(started) if started.prompts.iter().any(|name| name == prompt))
}
