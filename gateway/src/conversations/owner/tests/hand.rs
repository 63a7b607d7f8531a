//! From hand to hand: Anna has Dora's chat and gives it to Ben, or to a queue.

use ark_conversation::OfferId;
use ark_conversation::event::OfferMode;

use super::*;

fn agent(name: &str) -> Owner {
    Owner::Agent(name.to_owned())
}

fn queue(name: &str) -> Owner {
    Owner::Queue(name.to_owned())
}

fn offer(to: Owner, mode: OfferMode, epoch: Option<u64>) -> Wish {
    let summary = Some((3, Content::new("wants to know where the order is")));
    Wish::Hand(Hand::Offer { epoch, to, mode, ttl_s: Some(30), note: Some(Content::new("in a hurry")), summary })
}

/// Dora wrote, and Anna has her.
async fn with_anna(folder: &Folder) -> (Rig, ConversationId) {
    let rig = Rig::alone(&folder.store());
    let id = rig.says("t1", 0).await;
    rig.until_inbox_is_empty().await;
    rig.command(id, "anna", Wish::Claim { epoch: None }).await.unwrap();
    (rig, id)
}

/// What was sent to Dora so far.
async fn sent(rig: &Rig) -> u64 {
    rig.store.backlog().await.unwrap().deliveries
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_keeps_the_chat_until_the_other_takes_it_with_summary_and_note() {
    let folder = Folder::new("hand-warm");
    let (rig, id) = with_anna(&folder).await;
    let done = rig.command(id, "anna", offer(agent("ben"), OfferMode::Warm, Some(2))).await.unwrap();
    assert_eq!((&done.owner, done.epoch), (&agent("anna"), 2));
    let open = done.offer.expect("an offer is open");
    let again = rig.command(id, "anna", offer(agent("ben"), OfferMode::Warm, Some(2))).await.unwrap();
    assert_eq!((again.offer, again.duplicate), (Some(open), true), "asked twice is once");
    let state = rig.state(id).await;
    let log_now = log(&*rig.store, id).await;
    let Event::Summary(summary) = &log_now[state.summary.unwrap() as usize - 1].event.event else { panic!() };
    assert_eq!((summary.upto, summary.made_by.as_str()), (3, "agent:anna"));
    let offered = log_now.iter().find_map(|r| if let Event::OwnerOffered(o) = &r.event.event { Some(o) } else { None });
    assert_eq!(offered.unwrap().summary, state.summary, "whoever is asked sees it");
    assert!(rig.command(id, "anna", reply("k1", None)).await.is_ok(), "she speaks meanwhile");
    let taken = rig.command(id, "ben", Wish::Claim { epoch: None }).await.unwrap();
    assert_eq!((taken.owner, taken.epoch, taken.offer), (agent("ben"), 3, None));
    assert!(matches!(rig.command(id, "anna", reply("k2", None)).await, Err(CommandError::NotOwner { .. })));
    whole(&log(&*rig.store, id).await, 1);
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_and_the_agent_has_the_chat_or_the_queue_its_place() {
    for (mode, after) in [(OfferMode::Warm, agent("anna")), (OfferMode::Cold, queue("general"))] {
        let folder = Folder::new(if mode == OfferMode::Warm { "hand-late-warm" } else { "hand-late-cold" });
        let (rig, id) = with_anna(&folder).await;
        let since = rig.state(id).await.place.unwrap().since;
        let mut heard = rig.conversations.happenings();
        rig.command(id, "anna", offer(agent("ben"), mode, None)).await.unwrap();
        assert_eq!(rig.state(id).await.owner, Some(after.clone()), "there is somebody at every moment");
        rig.passed_ms.store(31_000, Ordering::Relaxed);
        until("the offer is over", || async { rig.state(id).await.offer.is_none() }).await;
        let state = rig.state(id).await;
        assert_eq!((state.owner, state.place.unwrap().since), (Some(after), since), "with the place that she had");
        if mode == OfferMode::Cold {
            let routed = async {
                loop {
                    let one = heard.recv().await.expect("happenings go on").effect;
                    if matches!(one, machine::Effect::Route { waiting_since, .. } if waiting_since == since) {
                        break;
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(30), routed).await.expect("somebody else is looked for");
        }
        assert!(names(&log(&*rig.store, id).await).contains(&"owner.expired"));
        rig.tasks.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_is_taken_back_and_only_by_who_may() {
    let folder = Folder::new("hand-back");
    let (rig, id) = with_anna(&folder).await;
    let stranger = rig.command(id, "eve", offer(agent("ben"), OfferMode::Warm, None)).await;
    assert!(matches!(stranger, Err(CommandError::NotOwner { .. })));
    assert_eq!(rig.state(id).await.summary, None, "of what is refused nothing is written");
    assert_eq!(
        rig.command(id, "anna", offer(agent("ben"), OfferMode::Warm, Some(9))).await,
        Err(CommandError::StaleEpoch { current: 2 })
    );
    rig.command(id, "anna", offer(agent("ben"), OfferMode::Warm, None)).await.unwrap();
    assert!(rig.command(id, "ben", Wish::Hand(Hand::Withdraw { offer: None })).await.is_err());
    let other = OfferId::from_bytes([1; 16]);
    assert!(rig.command(id, "anna", Wish::Hand(Hand::Withdraw { offer: Some(other) })).await.is_err());
    let done = rig.command(id, "anna", Wish::Hand(Hand::Withdraw { offer: None })).await.unwrap();
    assert_eq!((done.owner, done.offer), (agent("anna"), None));
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_goes_to_a_queue_with_its_place_and_a_note_for_colleagues() {
    let folder = Folder::new("hand-queue");
    let (rig, id) = with_anna(&folder).await;
    let before = sent(&rig).await;
    let release = |queue: &str| {
        let (summary, note) = (Some((3, Content::new("where is it"))), Some(Content::new("in a hurry")));
        Wish::Hand(Hand::Release { epoch: None, queue: queue.to_owned(), priority: 2, needs: None, summary, note })
    };
    let done = rig.command(id, "anna", release("orders")).await.unwrap();
    assert_eq!((done.owner, done.epoch), (queue("orders"), 3));
    let note = |key: &str| Wish::Hand(Hand::Note { key: key.to_owned(), text: Content::new("she called, too") });
    assert!(!rig.command(id, "eve", note("n1")).await.unwrap().duplicate, "anybody of the house");
    assert!(rig.command(id, "eve", note("n1")).await.unwrap().duplicate);
    let state = rig.state(id).await;
    assert_eq!((state.notes, state.owner, sent(&rig).await), (2, Some(queue("orders")), before), "nothing goes out");
    let names = log(&*rig.store, id).await.iter().map(|r| r.event.type_name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names[4..], ["ark.summary.v1", "ark.note.v1", "ark.owner.released.v1", "ark.note.v1"]);
    rig.command(id, "ben", Wish::Claim { epoch: None }).await.unwrap();
    let ahead = Wish::Hand(Hand::Summarise { upto: 99, text: Content::new("x") });
    assert!(
        matches!(rig.command(id, "ben", ahead).await, Err(CommandError::Refused(_))),
        "of nothing later than itself"
    );
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_no_or_is_gone_leaves_the_chat_where_somebody_is() {
    for (name, mode, after) in
        [("hand-no-warm", OfferMode::Warm, agent("anna")), ("hand-no-cold", OfferMode::Cold, queue("general"))]
    {
        let folder = Folder::new(name);
        let (rig, id) = with_anna(&folder).await;
        let since = rig.state(id).await.place.unwrap().since;
        let open = rig.command(id, "anna", offer(agent("ben"), mode, None)).await.unwrap().offer.unwrap();
        assert!(rig.command(id, "eve", Wish::Decline { offer: open }).await.is_err(), "she was not asked");
        rig.command(id, "ben", Wish::Decline { offer: open }).await.unwrap();
        let state = rig.state(id).await;
        assert_eq!((state.offer, state.owner.clone()), (None, Some(after.clone())));
        if mode == OfferMode::Warm {
            // Asked once more, and gone: that is a no, too.
            rig.command(id, "anna", offer(agent("ben"), mode, None)).await.unwrap();
            rig.command(id, "ben", Wish::Vanished { who: "ben".to_owned() }).await.unwrap();
            assert_eq!((rig.state(id).await.offer, rig.state(id).await.owner), (None, Some(after)));
            // And the agent who offers: the customer waits where she waited, and Ben is asked on.
            rig.command(id, "anna", offer(agent("ben"), mode, None)).await.unwrap();
            rig.command(id, "anna", Wish::Vanished { who: "anna".to_owned() }).await.unwrap();
            let state = rig.state(id).await;
            assert_eq!((state.owner, state.place.unwrap().since), (Some(queue("general")), since));
            assert_eq!(state.offer.map(|offer| offer.to), Some(agent("ben")));
            rig.command(id, "ben", Wish::Claim { epoch: None }).await.unwrap();
            assert_eq!(rig.state(id).await.owner, Some(agent("ben")));
        }
        whole(&log(&*rig.store, id).await, 1);
        rig.tasks.end().await;
    }
}
