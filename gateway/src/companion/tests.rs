//! Links over a real store and the conversations' owner, with a clock of the test's own.

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};

use ark_bus::EmbeddedBus;
use ark_conversation::machine::Policy;
use ark_conversation::samples;
use ark_conversation::{NewEvent, Record};
use ark_store::{Options, SqliteStore};
use image::{DynamicImage, ImageFormat};

use super::*;
use crate::conversations::owner::{self, Conversations};
use crate::conversations::shards::OwnShards;
use crate::conversations::{Onward, Writer};

const MAIN: Tenant = Tenant::MAIN;
const SOON: Duration = Duration::from_secs(30);

fn here() -> IpAddr {
    IpAddr::from([192, 0, 2, 7])
}

fn phone() -> Hash {
    Hash::of(b"the caller's phone")
}

fn laptop() -> Hash {
    Hash::of(b"another device")
}

struct House {
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    companion: Arc<Companion>,
    conversations: Conversations,
    owner: owner::Tasks,
    passed_s: Arc<AtomicI64>,
    call: ConversationId,
    events: u64,
    _folder: tempfile::TempDir,
}

fn start(store: &Arc<dyn Store>, bus: &Arc<dyn Bus>, clock: &Clock) -> (Conversations, owner::Tasks) {
    owner::start(owner::Setup {
        store: Arc::clone(store),
        bus: Arc::clone(bus),
        onward: Onward::Direct(Arc::clone(bus)),
        own: Arc::new(OwnShards::alone(store.topology())),
        policy: Policy::default(),
        plans: owner::ChatPlans::default(),
        writer: Writer { tenant: MAIN, gateway: "gw1".to_owned() },
        clock: Arc::clone(clock),
    })
}

impl House {
    /// A caller is on the phone.
    async fn with_a_call() -> Self {
        Self::with_sms(None).await
    }

    async fn with_sms(sms: Option<Arc<Sms>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open_with(&Options::new(folder.path().join("ark.db"))).unwrap());
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
        let passed_s = Arc::new(AtomicI64::new(0));
        let passed = Arc::clone(&passed_s);
        let clock: Clock = Arc::new(move || samples::at(passed.load(Ordering::Relaxed) * 1_000));
        let (conversations, owner) = start(&store, &bus, &clock);
        let companion = Companion::new(Setup {
            tenant: MAIN,
            gateway: "gw1".to_owned(),
            store: Arc::clone(&store),
            bus: Arc::clone(&bus),
            ingest: conversations.ingest().clone(),
            files: Files::new(folder.path().join("attachments")),
            parts: folder.path().join("uploads"),
            base: Some("https://k.example".to_owned()),
            hook: None,
            sms,
            sms_text: "{url}".to_owned(),
            clock,
        });
        let call = conversations.ingest().new_conversation(samples::at(0));
        let mut house =
            Self { store, bus, companion, conversations, owner, passed_s, call, events: 0, _folder: folder };
        house.call_event(samples::ringing(LegId(1), Role::Customer)).await;
        house
    }

    /// What the switch writes: a fact.
    async fn call_event(&mut self, event: impl Into<Event>) {
        self.events += 1;
        let (now, id) = (self.companion.now(), format!("c{}", self.events));
        let event = CloudEvent::new(id, source::call(&MAIN, "carrier", b"call-1"), now, event);
        let new = NewEvent { tenant: MAIN, conversation: self.call, epoch: 1, at: now, event };
        let appended = self.store.append(vec![new]).await.unwrap();
        let records = appended.into_iter().map(|one| Arc::new(one.record)).collect();
        self.bus.publish(records).await.unwrap();
    }

    fn pass(&self, seconds: i64) {
        self.passed_s.fetch_add(seconds, Ordering::Relaxed);
    }

    async fn mint(&self) -> (String, Hash) {
        let minted = self.companion.mint(self.call, "agent:anna", &[]).await.unwrap();
        (minted.url.strip_prefix("https://k.example/u/").expect("it begins so").to_owned(), minted.link)
    }

    async fn joined(&self) -> Hash {
        let (token, _) = self.mint().await;
        self.companion.join(&token, phone(), here()).await.unwrap()
    }

    async fn log(&self) -> Vec<Record> {
        self.store.read(&MAIN, self.call, 0, 500).await.unwrap()
    }

    async fn upload(&self, link: Hash, id: &str, bytes: &[u8]) -> Result<Option<u64>, LinkError> {
        let size = bytes.len() as u64;
        let mut offset = 0;
        loop {
            let end = (offset + PIECE_BYTES_MAX).min(bytes.len());
            let (piece, name) = (&bytes[offset..end], Some("账单.png".to_owned()));
            let place = (offset as u64, size);
            match self.companion.piece((link, Some(phone())), id, place, name, piece).await? {
                Some(length) => offset = usize::try_from(length).unwrap(),
                None => return Ok(None),
            }
        }
    }

    async fn pictures(&self) -> usize {
        let is_picture = |record: &&Record| match &record.event.event {
            Event::MessageIn(message) => message.parts.iter().any(|part| part.media().is_some()),
            _ => false,
        };
        self.log().await.iter().filter(is_picture).count()
    }
}

async fn until<F: Future<Output = bool>>(what: &str, so: impl Fn() -> F) {
    let deadline = Instant::now() + SOON;
    while !so().await {
        assert!(Instant::now() < deadline, "not soon: {what}");
        tokio::task::yield_now().await;
    }
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let image = DynamicImage::new_rgb8(width, height);
    image.write_to(&mut std::io::Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

#[tokio::test]
async fn a_picture_is_a_message_of_the_call_at_once_and_once() {
    let house = House::with_a_call().await;
    let link = house.joined().await;
    let picture = png(40, 30);
    assert_eq!(house.upload(link, "aaaaaaaa1", &picture).await, Ok(None));
    until("the picture is in the call's log", || async { house.pictures().await == 1 }).await;
    assert_eq!(house.upload(link, "aaaaaaaa1", &picture).await, Ok(None), "a phone that lost the answer asks again");
    assert_eq!(house.pictures().await, 1);
    house.companion.text(link, Some(phone()), "tttttttt1", "是这张").await.unwrap();
    until("words come too", || async { house.log().await.iter().any(|r| r.event.id == "companion:tttttttt1") }).await;
    let look = house.companion.look_at(link, Some(phone()), here()).await.unwrap();
    assert!(look.yours && look.in_call && look.files_left == FILES_MAX - 1, "{look:?}");
    let state = house.store.summary(&MAIN, house.call).await.unwrap().unwrap();
    let page = state.legs.iter().find(|leg| leg.medium == Medium::Companion).unwrap();
    assert_eq!((state.legs.len(), page.phase), (2, LegPhase::Active));
}

#[tokio::test]
async fn what_the_house_writes_is_on_the_page_and_told_as_shown() {
    use crate::conversations::owner::{Command, Wish};
    let house = House::with_a_call().await;
    let link = house.joined().await;
    let parts = vec![Part::text("请再拍一张背面")];
    let wish = Wish::Reply { key: "k1".to_owned(), epoch: None, leg: None, parts, reply_to: None };
    let by = ark_conversation::Owner::Agent("anna".to_owned());
    house.conversations.command(Command { tenant: MAIN, conversation: house.call, by, wish }).await.unwrap();
    let look = house.companion.look_at(link, Some(phone()), here()).await.unwrap();
    assert_eq!(look.words.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["请再拍一张背面"]);
    let shown =
        |record: &Record| matches!(&record.event.event, Event::Receipt(r) if r.state == ReceiptState::Delivered);
    until("it is told as shown", || async { house.log().await.iter().any(shown) }).await;
    house.companion.look_at(link, Some(phone()), here()).await.unwrap();
    assert_eq!(house.log().await.iter().filter(|record| shown(record)).count(), 1);
}

#[tokio::test]
async fn looking_binds_nothing_and_one_device_has_it() {
    let house = House::with_a_call().await;
    let (token, link) = house.mint().await;
    // A preview, an antivirus scanner, and the caller twice.
    for device in [None, Some(laptop()), Some(phone()), Some(phone())] {
        let look = house.companion.look(&token, device, here()).await.unwrap();
        assert!(!look.yours && look.words.is_empty(), "{look:?}");
    }
    assert_eq!(house.companion.may_send(link, Some(phone())).await, Err(LinkError::NotBegun));
    house.companion.join(&token, phone(), here()).await.unwrap();
    house.companion.join(&token, phone(), here()).await.expect("its own device, again");
    assert_eq!(house.companion.join(&token, laptop(), here()).await, Err(LinkError::Taken));
    assert_eq!(house.companion.look(&token, Some(laptop()), here()).await, Err(LinkError::Taken));
    assert_eq!(house.companion.may_send(link, Some(laptop())).await, Err(LinkError::Taken));
    assert_eq!(house.companion.may_send(link, None).await, Err(LinkError::NoCookie));
}

#[tokio::test]
async fn of_two_devices_that_tap_at_once_one_has_it() {
    let house = House::with_a_call().await;
    for _ in 0..3 {
        let (token, _) = house.mint().await;
        let (one, other) =
            tokio::join!(house.companion.join(&token, phone(), here()), house.companion.join(&token, laptop(), here()));
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        assert_eq!(one.and(other), Err(LinkError::Taken));
    }
}

#[tokio::test]
async fn a_link_is_over_after_its_time_and_after_the_calls() {
    let mut house = House::with_a_call().await;
    let (token, link) = house.mint().await;
    house.companion.join(&token, phone(), here()).await.unwrap();
    house.pass(60);
    house.call_event(samples::ended(LegId(1))).await;
    assert!(!house.companion.look(&token, Some(phone()), here()).await.unwrap().in_call);
    house.pass(599);
    house.upload(link, "aaaaaaaa1", &png(2, 2)).await.expect("ten minutes after the call");
    house.pass(1);
    assert_eq!(house.companion.look(&token, Some(phone()), here()).await, Err(LinkError::Over));
    assert_eq!(house.upload(link, "aaaaaaaa2", &png(2, 2)).await, Err(LinkError::Over));
    let refused = house.companion.mint(house.call, "agent:anna", &[]).await;
    assert!(matches!(refused, Err(LinkError::Refused(_))), "no call is up");

    let house = House::with_a_call().await;
    let (token, _) = house.mint().await;
    house.pass(900);
    assert_eq!(house.companion.join(&token, phone(), here()).await, Err(LinkError::Over), "nobody tapped in time");
}

#[tokio::test]
async fn guessing_links_ends_soon() {
    let house = House::with_a_call().await;
    let (token, _) = house.mint().await;
    let mut told = 0;
    for n in 0..MISSES_PER_ADDRESS * 2 {
        let guess: String = format!("{n:026}");
        match house.companion.look(&guess, None, here()).await {
            Err(LinkError::Unknown) => told += 1,
            Err(LinkError::TooMany(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(told < MISSES_PER_ADDRESS, "{told}");
    assert!(matches!(house.companion.look(&token, None, here()).await, Err(LinkError::TooMany(_))), "even a right one");
    let elsewhere = IpAddr::from([192, 0, 2, 8]);
    house.companion.look(&token, None, elsewhere).await.expect("others are not held up");
    for odd in ["", "x", "../../etc/passwd", &"界".repeat(26)] {
        assert_eq!(house.companion.look(odd, None, elsewhere).await, Err(LinkError::Unknown), "{odd}");
    }
}

#[tokio::test]
async fn a_spoken_code_is_good_with_the_number_for_five_minutes_and_few_tries() {
    let house = House::with_a_call().await;
    let minted = house.companion.mint(house.call, "bot:hotline", &[LinkVia::Code]).await.unwrap();
    let code = minted.code.expect("there is one");
    assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()), "{code}");
    let by_code = async |code: &str, last: &str, from| house.companion.join_by_code(code, last, phone(), from).await;
    assert_eq!(by_code(&code, "9999", here()).await, Err(LinkError::WrongCode), "the number belongs to it");
    assert!(matches!(by_code("12345", "1212", here()).await, Err(LinkError::Malformed(_))));
    assert_eq!(by_code(&code, "1212", here()).await, Ok(minted.link));
    let other = house.companion.join_by_code(&code, "1212", laptop(), here()).await;
    assert_eq!(other, Err(LinkError::Taken), "a code heard by somebody else");

    let late = house.companion.mint(house.call, "bot:hotline", &[LinkVia::Code]).await.unwrap().code.unwrap();
    house.pass(301);
    assert_eq!(by_code(&late, "1212", here()).await, Err(LinkError::WrongCode));
    // Whoever knows the number and tries from many addresses.
    let mut wrong = 0;
    for n in 0..20_u8 {
        match by_code("000000", "1212", IpAddr::from([198, 51, 100, n])).await {
            Err(LinkError::WrongCode) => wrong += 1,
            Err(LinkError::TooMany(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(wrong < CODES_PER_NUMBER, "{wrong}");
    // Whoever tries many numbers from one address.
    let from = IpAddr::from([203, 0, 113, 1]);
    let mut wrong = 0;
    for n in 0..20 {
        wrong += u32::from(by_code("000000", &format!("{n:04}"), from).await == Err(LinkError::WrongCode));
    }
    assert_eq!(wrong, CODES_PER_ADDRESS);
    assert!(!format!("{:?}", house.log().await).contains(&code), "the code is nowhere");
}

#[tokio::test]
async fn who_hides_their_number_gets_no_code() {
    let mut house = House::with_a_call().await;
    house.call = house.conversations.ingest().new_conversation(samples::at(1));
    let hidden = ark_conversation::event::CallRinging {
        from: Pii::new("anonymous"),
        ..samples::ringing(LegId(1), Role::Customer)
    };
    house.call_event(hidden).await;
    let minted = house.companion.mint(house.call, "agent:anna", &[LinkVia::Code, LinkVia::Sms]).await.unwrap();
    assert_eq!(minted.code, None);
    assert!(minted.sent.iter().all(|sent| sent.failed.is_some()), "{:?}", minted.sent);
}

#[tokio::test]
async fn floods_bombs_and_forgeries_are_refused_in_words() {
    let house = House::with_a_call().await;
    let link = house.joined().await;
    let piece = |id: &'static str, offset, size, bytes: &'static [u8]| {
        let companion = Arc::clone(&house.companion);
        async move { companion.piece((link, Some(phone())), id, (offset, size), None, bytes).await }
    };
    let bytes_max = crate::channel_host::limits::IMAGE_BYTES_MAX;
    assert_eq!(piece("aaaaaaaa1", 0, bytes_max + 1, b"x").await, Err(LinkError::TooLarge(bytes_max)));
    assert!(matches!(piece("aaaaaaaa2", 0, 22, b"<svg onload=alert(1)/>").await, Err(LinkError::NoPicture(_))));
    assert!(matches!(piece("aaaaaaaa3", 0, 0, b"").await, Err(LinkError::NoPicture(_))));
    assert!(matches!(piece("a b/../c", 0, 1, b"x").await, Err(LinkError::Malformed(_))), "an id of its own");
    assert_eq!(piece("aaaaaaaa4", 3, 9, b"x").await, Err(LinkError::Offset(0)));
    // It says that it is 60,000 x 60,000.
    let mut bomb = png(1, 1);
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    assert!(matches!(house.upload(link, "aaaaaaaa5", &bomb).await, Err(LinkError::NoPicture(_))));
    assert_eq!(house.pictures().await, 0);
    for n in 0..FILES_MAX {
        house.upload(link, &format!("bbbbbbbb{n}"), &png(2, 2)).await.unwrap();
    }
    until("all are there", || async { house.pictures().await == FILES_MAX }).await;
    assert!(matches!(house.upload(link, "bbbbbbbb99", &png(2, 2)).await, Err(LinkError::Flood(_))));
    for n in 0..TEXTS_MAX {
        house.companion.text(link, Some(phone()), &format!("cccccccc{n}"), "x").await.unwrap();
    }
    let more = std::sync::atomic::AtomicU32::new(0);
    until("too many words are refused", || async {
        let id = format!("dddddddd{}", more.fetch_add(1, Ordering::Relaxed));
        matches!(house.companion.text(link, Some(phone()), &id, "x").await, Err(LinkError::Flood(_)))
    })
    .await;
    let long = "x".repeat(TEXT_CHARS_MAX + 1);
    assert!(matches!(house.companion.text(link, Some(phone()), "eeeeeeee", &long).await, Err(LinkError::Malformed(_))));
    for _ in 1..LINKS_MAX {
        house.mint().await;
    }
    let more = house.companion.mint(house.call, "agent:anna", &[]).await;
    assert!(matches!(more, Err(LinkError::Refused(_))), "{more:?}");
}

#[tokio::test]
async fn the_token_is_nowhere_but_in_the_address() {
    let house = House::with_a_call().await;
    let (token, link) = house.mint().await;
    house.companion.join(&token, phone(), here()).await.unwrap();
    let log = serde_json::to_string(&house.log().await).unwrap();
    assert!(!log.contains(&token) && log.contains(&link.to_string()));
    assert!(house.bus.dead(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_link_outlives_the_gateway_and_is_any_gateways() {
    let mut house = House::with_a_call().await;
    let (token, link) = house.mint().await;
    house.companion.join(&token, phone(), here()).await.unwrap();
    let passed = Arc::clone(&house.passed_s);
    let clock: Clock = Arc::new(move || samples::at(passed.load(Ordering::Relaxed) * 1_000));
    let (conversations, owner) = start(&house.store, &house.bus, &clock);
    std::mem::replace(&mut house.owner, owner).end().await;
    let folder = tempfile::tempdir().unwrap();
    house.companion = Companion::new(Setup {
        tenant: MAIN,
        gateway: "gw2".to_owned(),
        store: Arc::clone(&house.store),
        bus: Arc::clone(&house.bus),
        ingest: conversations.ingest().clone(),
        files: Files::new(folder.path().join("attachments")),
        parts: folder.path().join("uploads"),
        base: None,
        hook: None,
        sms: None,
        sms_text: "{url}".to_owned(),
        clock,
    });
    assert!(house.companion.look(&token, Some(phone()), here()).await.unwrap().yours);
    assert_eq!(house.companion.join(&token, laptop(), here()).await, Err(LinkError::Taken));
    house.upload(link, "aaaaaaaa1", &png(2, 2)).await.unwrap();
    until("the picture is in the call's log", || async { house.pictures().await == 1 }).await;
}

#[tokio::test]
async fn a_plan_sees_who_joins_and_what_comes() {
    let house = House::with_a_call().await;
    let mut watch = house.companion.watch(house.call).await.unwrap();
    let (token, link) = house.mint().await;
    house.companion.watched(&mut watch, link);
    house.companion.join(&token, phone(), here()).await.unwrap();
    assert_eq!(watch.next(SOON).await, Some(Seen::Joined));
    house.upload(link, "aaaaaaaa1", &png(2, 2)).await.unwrap();
    assert_eq!(watch.next(SOON).await, Some(Seen::Uploaded));
    assert_eq!(watch.next(Duration::ZERO).await, None);
}

/// A provider of short messages that takes one.
async fn sms_provider(folder: &Path) -> Arc<Sms> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut buffer) = (Vec::new(), [0; 1_024]);
        while !read.ends_with(b"}") {
            let n = stream.read(&mut buffer).await.unwrap();
            read.extend_from_slice(&buffer[..n]);
        }
        let body = "{\"BizId\":\"b1\"}";
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
    });
    let key = folder.join("key");
    std::fs::write(&key, "0123456789abcdef").unwrap();
    let config = format!(
        "allow = [\"+861\"]\n[http]\nurl = \"http://{address}/send\"\nbody = '{{\"to\":\"{{to}}\",\"text\":\"{{text}}\"}}'\n\
         [http.receipts]\nkey = {{ file = {key:?} }}\nsent_id = \"/BizId\"\nid = \"/biz_id\"\nstate = \"/success\"\n\
         delivered = [\"true\"]\nerror = \"/err_code\"\n"
    );
    Arc::new(Sms::new(&toml::from_str(&config).unwrap()).unwrap())
}

#[tokio::test]
async fn a_short_message_that_did_not_arrive_is_seen_by_the_agent_and_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let sms = sms_provider(folder.path()).await;
    let house = House::with_sms(Some(Arc::clone(&sms))).await;
    let mut watch = house.companion.watch(house.call).await.unwrap();
    let minted = house.companion.mint(house.call, "agent:anna", &[LinkVia::Sms]).await.unwrap();
    assert_eq!(minted.sent[0].failed, None, "it went out");
    house.companion.watched(&mut watch, minted.link);
    let receipt = br#"{"biz_id": "b1", "success": false, "err_code": "11"}"#;
    sms.receipts("0123456789abcdef", "application/json", receipt).unwrap();
    assert_eq!(watch.next(SOON).await, Some(Seen::Undelivered));
    let failed: Vec<_> = house
        .log()
        .await
        .into_iter()
        .filter_map(|record| if let Event::LinkSent(sent) = record.event.event { Some(sent.failed) } else { None })
        .collect();
    assert_eq!(failed, [None, Some("the operator could not deliver it (code 11)".to_owned())]);
}

/// A mini-program opens the link and knows who its user is: the call's conversation is theirs. The caller's number did nothing for it.
#[tokio::test]
async fn a_channel_that_knows_who_opened_a_link_says_whose_the_call_is() {
    use ark_conversation::event::Identity;
    use ark_conversation::{Assurance, IdentityKey, KeyKind};
    let house = House::with_a_call().await;
    let (token, _) = house.mint().await;
    let person = async || house.store.summary(&MAIN, house.call).await.unwrap().unwrap().person;
    let identify = async |id: &str, assurance, token: &str| {
        let keys = vec![IdentityKey::new(KeyKind::WeChatUnionid, "u1")];
        let thread = "o6_x".to_owned();
        let identity = Identity { thread, keys, assurance, link_token: Some(Content::new(token)) };
        let source = source::thread(&MAIN, "wechat-mp", "shop", "o6_x");
        let event = CloudEvent::new(id, source, house.companion.now(), identity);
        let begin = house.conversations.ingest().new_conversation(house.companion.now());
        let new = NewInbound { tenant: MAIN, at: house.companion.now(), event, begin, join: Join::Begin };
        house.conversations.ingest().take(new).await.unwrap().conversation
    };
    let drained = async || {
        until("the inbox is empty", || async { house.store.backlog().await.unwrap().inbox == 0 }).await;
    };
    identify("i1", Assurance::Asserted, &token).await;
    drained().await;
    assert_eq!(person().await, None, "what is only asserted links nothing");
    identify("i2", Assurance::ChannelVerified, "no such token").await;
    drained().await;
    assert_eq!(person().await, None);
    let chat = identify("i3", Assurance::ChannelVerified, &token).await;
    until("the call is theirs", || async { person().await.is_some() }).await;
    let chat = house.store.summary(&MAIN, chat).await.unwrap().unwrap();
    assert_eq!(person().await, chat.person);
    assert!(!serde_json::to_string(&house.log().await).unwrap().contains(&token));
}

/// How long five megabytes take from their last byte to the log. Printed, not asserted: this build is not optimised.
#[tokio::test]
async fn five_megabytes_are_in_the_log_soon_after_their_last_byte() {
    let house = House::with_a_call().await;
    let link = house.joined().await;
    // Noise: it does not compress.
    let mut image = image::RgbImage::new(1_300, 1_300);
    let mut noise = 1_u32;
    for pixel in image.pixels_mut() {
        for value in &mut pixel.0 {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = (noise >> 24) as u8;
        }
    }
    let mut bytes = Vec::new();
    image.write_to(&mut std::io::Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    let (head, tail) = bytes.split_at(bytes.len() - 100_000);
    let size = bytes.len() as u64;
    let mut offset = 0;
    for piece in head.chunks(PIECE_BYTES_MAX) {
        let place = (offset, size);
        house.companion.piece((link, Some(phone())), "aaaaaaaa1", place, None, piece).await.unwrap();
        offset += piece.len() as u64;
    }
    let last = Instant::now();
    house.companion.piece((link, Some(phone())), "aaaaaaaa1", (offset, size), None, tail).await.unwrap();
    until("the picture is in the call's log", || async { house.pictures().await == 1 }).await;
    println!("{:.1} MB: in the log {} ms after the last byte", size as f64 / 1e6, last.elapsed().as_millis());
}
