//! What RFC 3261 8.2 says must be refused, and what a full or draining endpoint refuses.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

mod kit;

use ark_sip::ua::{CallEvent, Config, Flow, Limits, MAX_FORWARDS, Output};
use kit::{ANSWER, OFFER, Stage, ack_failure, invite, request};
use std::time::Duration;

/// What the endpoint says to this, statelessly.
fn answer_to(text: &str) -> kit::Said {
    let mut stage = Stage::new();
    stage.hear(text);
    let said = stage.next();
    assert!(said.message.status().is_some());
    stage.silent();
    assert_eq!((stage.ua.transactions(), stage.ua.calls(), stage.ua.deadline()), (0, 0, None), "{text}");
    stage.hear(text);
    assert_eq!(stage.next().text, said.text, "a retransmission gets the same answer, tag included");
    said
}

#[test]
fn missing_and_duplicated_mandatory_headers_get_400() {
    for line in [
        "From: \"Chen\" <sip:chen@10.0.0.9>;tag=peer\r\n",
        "To: <sip:95188@10.0.0.1>\r\n",
        "Call-ID: call-1\r\n",
        "CSeq: 1 INVITE\r\n",
    ] {
        let mut stage = Stage::new();
        stage.hear(&invite().replace(line, ""));
        assert_eq!(stage.whats(), ["400"], "without {line}");
        stage.hear(&invite().replace(line, &format!("{line}{line}")));
        assert_eq!(stage.whats(), ["400"], "twice {line}");
        stage.silent();
    }
    let mut stage = Stage::new();
    let via = "Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKinv;rport\r\n";
    stage.hear(&invite().replace(via, ""));
    stage.hear(&request("ACK", "z9hG4bKx", "", 1, "Call-ID: again\r\n", ""));
    stage.silent(); // nobody to answer; an ACK is never answered
    stage.hear(&invite().replace("CSeq: 1 INVITE", "CSeq: 1 BYE"));
    stage.next_is("400");
}

#[test]
fn methods_that_are_known_but_not_served_get_405_and_unknown_ones_501() {
    for method in ["REGISTER", "PRACK", "SUBSCRIBE", "NOTIFY", "REFER", "MESSAGE", "PUBLISH"] {
        let said = answer_to(&request(method, "z9hG4bKm", "", 1, "", ""));
        assert_eq!((said.what().as_str(), said.header("Allow").contains("INVITE")), ("405", true), "{method}");
    }
    for method in ["NEWMETHOD", "invite", "RE%47IST%45R"] {
        let said = answer_to(&request(method, "z9hG4bKm", "", 1, "", ""));
        assert_eq!(said.what(), "501", "{method}");
    }
}

#[test]
fn unknown_uri_schemes_get_416_and_tel_and_sips_do_not() {
    for uri in ["nobodyKnowsThisScheme:totallyopaquecontent", "soap.beep://192.0.2.103:3002"] {
        assert_eq!(answer_to(&invite().replace("INVITE sip:95188@10.0.0.1", &format!("INVITE {uri}"))).what(), "416");
    }
    for uri in ["tel:95188", "sips:95188@10.0.0.1"] {
        let mut stage = Stage::new();
        stage.hear(&invite().replace("INVITE sip:95188@10.0.0.1", &format!("INVITE {uri}")));
        assert_eq!(stage.incoming().1.request_uri, uri);
    }
}

#[test]
fn unknown_extensions_get_420_that_names_them() {
    let said =
        answer_to(&request("INVITE", "z9hG4bKinv", "", 1, "Require: 100rel, foo\r\nProxy-Require: bar\r\n", OFFER));
    assert_eq!((said.what().as_str(), said.header("Unsupported").as_str()), ("420", "100rel, foo"));
    // What is supported, and what was asked of those on the way, is no reason to refuse.
    for line in ["Supported: 100rel, timer\r\n", "Proxy-Require: privacy\r\n"] {
        let mut stage = Stage::new();
        stage.hear(&request("INVITE", "z9hG4bKinv", "", 1, line, OFFER));
        stage.incoming();
    }
}

#[test]
fn bodies_that_nobody_understands_get_415_unless_they_are_optional() {
    let odd = "Content-Type: application/unknownformat\r\n";
    let said = answer_to(&request("INVITE", "z9hG4bKinv", "", 1, odd, "<audio/>"));
    assert_eq!((said.what().as_str(), said.header("Accept").contains("application/sdp")), ("415", true));
    let zipped = "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n";
    assert_eq!(answer_to(&request("INVITE", "z9hG4bKinv", "", 1, zipped, OFFER)).what(), "415");

    let mut stage = Stage::new();
    let optional = format!("{odd}Content-Disposition: render; handling=optional\r\n");
    stage.hear(&request("INVITE", "z9hG4bKinv", "", 1, &optional, "<audio/>"));
    assert!(stage.incoming().1.sdp.is_none());
    let mut stage = Stage::new();
    let multipart = "Content-Type: multipart/mixed;boundary=b\r\n";
    let body = format!(
        "--b\r\nContent-Type: application/isup\r\n\r\n\u{1}\u{2}\r\n\
         --b\r\nContent-Type: application/sdp\r\n\r\n{OFFER}\r\n--b--\r\n"
    );
    stage.hear(&request("INVITE", "z9hG4bKinv", "", 1, multipart, &body));
    assert!(stage.incoming().1.sdp.is_some_and(|sdp| sdp.starts_with(b"v=0")));
}

#[test]
fn a_caller_that_takes_no_sdp_gets_406() {
    assert_eq!(
        answer_to(&request("INVITE", "z9hG4bKinv", "", 1, "Accept: text/nobodyKnowsThis\r\n", "")).what(),
        "406"
    );
    for fine in ["application/sdp", "application/dtmf-relay, Application/SDP;level=1", "*/*"] {
        let mut stage = Stage::new();
        stage.hear(&request("INVITE", "z9hG4bKinv", "", 1, &format!("Accept: {fine}\r\n"), OFFER));
        stage.incoming();
    }
}

#[test]
fn another_sip_version_gets_505() {
    assert_eq!(answer_to(&invite().replace("10.0.0.1 SIP/2.0\r\n", "10.0.0.1 SIP/7.0\r\n")).what(), "505");
}

#[test]
fn a_call_without_a_hop_left_gets_483_and_options_an_answer() {
    let said = answer_to(&request("OPTIONS", "z9hG4bKo", "", 1, "", "").replace("Max-Forwards: 70", "Max-Forwards: 0"));
    assert_eq!(said.what(), "200");
    assert_eq!(answer_to(&invite().replace("Max-Forwards: 70", "Max-Forwards: 0")).what(), "483");
    for (line, left) in [("Max-Forwards: 1\r\n", 1), ("", MAX_FORWARDS), ("Max-Forwards: 300\r\n", 255)] {
        let mut stage = Stage::new();
        stage.hear(&invite().replace("Max-Forwards: 70\r\n", line));
        assert_eq!(stage.incoming().1.max_forwards, left);
    }
}

#[test]
fn options_are_answered_with_what_we_are_and_503_while_draining() {
    let said = answer_to(&request("OPTIONS", "z9hG4bKo", "", 1, "", ""));
    assert_eq!(said.what(), "200");
    assert!(said.header("Allow").contains("UPDATE") && said.header("Accept").contains("application/sdp"));
    assert!(said.text.contains("\r\nSupported:") && !said.to_tag().is_empty());

    let mut stage = Stage::new();
    let (key, tag) = stage.up();
    stage.ua.set_draining(true);
    stage.hear(&request("OPTIONS", "z9hG4bKo", "", 1, "", ""));
    assert_eq!(stage.next_is("503").header("Retry-After"), "10");
    stage.hear(&request("INVITE", "z9hG4bKnew", "", 9, "", OFFER));
    stage.next_is("503");
    stage.hear(&request("INVITE", "z9hG4bKre", &tag, 2, "", OFFER));
    assert!(matches!(stage.event(), (of, CallEvent::Reoffer { .. }) if of == key), "calls that are up go on");
    stage.ua.set_draining(false);
    stage.said.clear();
    stage.hear(&request("INVITE", "z9hG4bKnew", "", 9, "", OFFER));
    stage.incoming();
}

#[test]
fn what_names_a_broadcast_or_multicast_address_is_dropped() {
    let mut stage = Stage::new();
    for host in ["255.255.255.255", "224.0.1.75", "[ff02::1]"] {
        stage.hear(&invite().replace("UDP 10.0.0.9:5060", &format!("UDP {host}:5060")));
    }
    let many = Flow::udp(stage.flow.local, "255.255.255.255:5060".parse().unwrap());
    stage.hear_on(many, &invite());
    stage.hear_on(Flow::udp(stage.flow.local, "10.0.0.9:0".parse().unwrap()), &invite());
    stage.hear(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923\r\n\
         Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23\r\n\
         Call-ID: bcast\r\nCSeq: 35 INVITE\r\n\
         From: <sip:a@a.test>;tag=1\r\nTo: <sip:b@b.test>;tag=2\r\nContent-Length: 0\r\n\r\n",
    );
    stage.silent();
    assert_eq!(stage.ua.stats().dropped_bad_via, 6);
}

#[test]
fn a_full_endpoint_refuses_statelessly_and_absorbs_the_ack() {
    let limits = Limits { calls: 2, transactions: 1_000, transactions_per_source: 1_000 };
    let mut stage = Stage::with(Config { limits, ..Config::default() });
    let nth = |n: u32| {
        request("INVITE", &format!("z9hG4bK{n}"), "", 1, "", OFFER)
            .replace("Call-ID: call-1", &format!("Call-ID: c{n}"))
    };
    for n in 0..2 {
        stage.hear(&nth(n));
        stage.incoming();
    }
    stage.said.clear();
    let before = stage.ua.transactions();
    stage.hear(&nth(2));
    let busy = stage.next_is("503");
    assert_eq!(busy.header("Retry-After"), "10");
    stage.hear(&nth(2));
    assert_eq!(stage.next_is("503").to_tag(), busy.to_tag());
    stage.hear(
        &nth(2)
            .replace("INVITE", "ACK")
            .replace("<sip:95188@10.0.0.1>\r\nCall", &format!("<sip:95188@10.0.0.1>;tag={}\r\nCall", busy.to_tag())),
    );
    stage.silent();
    assert_eq!((stage.ua.transactions(), stage.ua.stats().refused_calls_full), (before, 2));
}

#[test]
fn one_source_cannot_take_every_transaction() {
    let limits = Limits { calls: 100, transactions: 10, transactions_per_source: 4 };
    let mut stage = Stage::with(Config { limits, ..Config::default() });
    let from = |host: u8, n: u32| {
        let flow = Flow::udp("10.0.0.1:5060".parse().unwrap(), format!("10.0.0.{host}:5060").parse().unwrap());
        (
            flow,
            request("INVITE", &format!("z9hG4bK{host}x{n}"), "", 1, "", OFFER)
                .replace("call-1", &format!("{host}-{n}")),
        )
    };
    let admitted = |stage: &mut Stage, host| {
        for n in 0..20 {
            let (flow, text) = from(host, n);
            stage.hear_on(flow, &text);
        }
        stage.said.clear();
        stage.told.drain(..).count()
    };
    assert_eq!([20, 21, 22, 23].map(|host| admitted(&mut stage, host)), [4, 4, 2, 0]);
    assert_eq!(stage.ua.transactions(), 10);
    assert!(stage.ua.stats().refused_source_full > 0 && stage.ua.stats().refused_transactions_full > 0);
}

/// One complete call: INVITE, 200, ACK, BYE. What the INVITE and the BYE were answered.
fn whole_call(stage: &mut Stage, n: u32) -> (String, String) {
    let own = |text: String| text.replace("call-1", &format!("call-{n}"));
    stage.hear(&own(request("INVITE", &format!("z9hG4bKi{n}"), "", 1, "", OFFER)));
    if stage.told.is_empty() {
        return (stage.next().what(), String::new());
    }
    let (key, _) = stage.incoming();
    stage.next_is("100");
    stage.answer(key);
    let answer = stage.next_is("200");
    let tag = answer.to_tag();
    stage.hear(&own(request("ACK", &format!("z9hG4bKa{n}"), &tag, 1, "", "")));
    stage.hear(&own(request("BYE", &format!("z9hG4bKb{n}"), &tag, 2, "", "")));
    stage.told.clear();
    (answer.what(), stage.next().what())
}

#[test]
fn a_full_table_lets_go_of_what_only_lingers_and_a_call_that_is_up_can_always_end() {
    let limits = Limits { calls: 3, transactions: 40, transactions_per_source: 5 };
    let mut stage = Stage::with(Config { limits, ..Config::default() });
    let done = || ("200".to_owned(), "200".to_owned());
    // Two transactions a call: the third has room for its INVITE, and its BYE gets in all the same.
    for n in 0..3 {
        assert_eq!(whole_call(&mut stage, n), done(), "call {n}");
    }
    assert_eq!((stage.ua.transactions(), stage.ua.calls()), (6, 0));
    // Their peers may still ask again, so a new call is refused ...
    assert_eq!(whole_call(&mut stage, 3).0, "503");
    stage.hear(&request("BYE", "z9hG4bKb2", "", 2, "", "").replace("call-1", "call-2"));
    assert_eq!(stage.next().what(), "200", "the answer is there still");
    // ... until they have had the time for it: then the oldest make room, one for one.
    stage.wait_ms(4_000);
    for n in 4..40 {
        assert_eq!(whole_call(&mut stage, n).1, "200", "call {n}");
        stage.wait_ms(4_000);
        assert!(stage.ua.transactions() <= 6);
    }
    assert_eq!(stage.ua.stats().refused_source_full, 1);
    assert!(stage.ua.stats().let_go_early >= 30);
    stage.at_rest_after(40);
}

#[test]
fn more_calls_a_second_than_allowed_are_refused_and_overload_refuses_all_until_it_is_over() {
    let mut stage = Stage::with(Config { calls_per_second_max: Some(50), ..Config::default() });
    let mut n = 0;
    let mut burst = |stage: &mut Stage, count: u32| {
        for _ in 0..count {
            n += 1;
            stage
                .hear(&request("INVITE", &format!("z9hG4bK{n}"), "", 1, "", OFFER).replace("call-1", &format!("c{n}")));
        }
        stage.said.clear();
        stage.told.drain(..).count()
    };
    assert_eq!(burst(&mut stage, 100), 10, "a fifth of a second's worth at once");
    stage.wait_ms(100);
    assert_eq!(burst(&mut stage, 100), 5);
    stage.wait_ms(1_000);
    stage.ua.set_overloaded(stage.now, Some(Duration::from_secs(4)));
    assert_eq!(burst(&mut stage, 5), 0);
    stage.hear(&request("INVITE", "z9hG4bKov", "", 1, "", OFFER).replace("call-1", "ov"));
    assert_eq!(stage.next_is("503").header("Retry-After"), "4");
    stage.wait_ms(4_000);
    assert_eq!(burst(&mut stage, 5), 5);
}

#[test]
fn strange_authorisation_is_no_reason_to_refuse() {
    let mut stage = Stage::new();
    stage.hear(&request(
        "INVITE",
        "z9hG4bKinv",
        "",
        1,
        "Authorization: NoOneKnowsThisScheme opaque-data=here\r\nP-Charging-Vector: icid-value=x\r\n",
        OFFER,
    ));
    stage.incoming();
}

#[test]
fn a_refused_invite_may_be_tried_again_with_the_same_call_id() {
    let mut stage = Stage::new();
    stage.hear(&request("INVITE", "z9hG4bKinv", "", 1, "Require: foo\r\n", OFFER));
    let refused = stage.next_is("420");
    stage.hear(&ack_failure(&refused.to_tag()));
    stage.hear(&request("INVITE", "z9hG4bKinv2", "", 2, "", OFFER));
    let (key, _) = stage.incoming();
    stage.ua.answer(stage.now, key, ANSWER.as_bytes().to_vec());
}

/// RFC 4475 and 5118 where they are to be had: whatever comes, nothing breaks, and the answers are those of the notes.
#[test]
fn torture_messages_are_answered_as_the_rfcs_say() {
    let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/sip/torture");
    let corpus = std::env::var_os("ARK_TORTURE_DIR").map_or(beside, std::path::PathBuf::from);
    if !corpus.join("valid").is_dir() {
        assert!(std::env::var_os("ARK_CI").is_none_or(|ci| ci != "1"), "no torture messages at {}", corpus.display());
        let skipped = format!("SKIPPED torture: no messages at {} (set ARK_TORTURE_DIR)\n", corpus.display());
        let _ = std::io::Write::write_all(&mut std::io::stderr(), skipped.as_bytes());
        return;
    }
    let expected = [
        ("valid/wsinv", "481"),
        ("valid/intmeth", "501"),
        ("valid/esc01", "100"),
        ("valid/esc02", "501"),
        ("valid/insuf", "400"),
        ("valid/unkscm", "416"),
        ("valid/novelsc", "416"),
        ("valid/bext01", "420"),
        ("valid/invut", "415"),
        ("valid/sdp01", "406"),
        ("valid/multi01", "400"),
        ("valid/mcl01", "400"),
        ("valid/zeromf", "200"),
        ("valid/regaut01", "405"),
        ("valid/bcast", ""),
        ("valid/inv2543", "100"),
        ("valid/badbranch", "200"),
        ("valid/dblreq", "405"),
        ("valid/mpart01", "405"),
        ("valid/unreason", ""),
        ("invalid/badvers", "505"),
        ("invalid/clerr", "400"),
        ("invalid/mismatch01", "400"),
        ("invalid/mismatch02", "400"),
        ("invalid/bigcode", ""),
        ("invalid/scalarlg", ""),
        ("invalid/quotbal", "400"),
        ("invalid/badinv01", "400"),
    ];
    let mut wrong = Vec::new();
    for (name, answer) in expected {
        let bytes = std::fs::read(corpus.join(format!("{name}.sip")))
            .or_else(|_| std::fs::read(corpus.join(format!("{name}.dat"))));
        let bytes = bytes.unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut stage = Stage::new();
        stage.ua.receive(stage.now, stage.flow, ark_sip::wire::parse_datagram(&bytes));
        // What is echoed of a broken message need not be readable: the status line is looked at alone.
        let said = match stage.ua.poll() {
            Some(Output::Send { bytes, .. }) => String::from_utf8_lossy(&bytes[8..11]).into_owned(),
            Some(Output::Call { event, .. }) => panic!("{name}: {event:?} before 100"),
            None => String::new(),
        };
        if said != answer {
            wrong.push(format!("{name}: {said:?} instead of {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_unparsed_refusal_is_the_one_that_parsing_would_give() {
    let mut stage = Stage::new();
    stage.ua.set_overloaded(stage.now, Some(Duration::from_secs(4)));
    let plain = invite();
    let named = invite().replace("UDP 10.0.0.9:5060", "UDP phone.ark.test:5070").replace(";rport", "");
    for text in [&plain, &named] {
        assert!(stage.ua.shed(stage.now, stage.flow, text.as_bytes()));
        let shed = stage.next_is("503");
        stage.hear(text);
        let parsed = stage.next_is("503");
        assert_eq!(shed.flow, parsed.flow);
        for name in ["From", "Call-ID", "CSeq", "Retry-After", "Content-Length"] {
            assert_eq!(shed.headers(name), parsed.headers(name), "{name}");
        }
        let (shed, parsed) = (shed.message.top_via().unwrap().unwrap(), parsed.message.top_via().unwrap().unwrap());
        assert_eq!((shed.host, shed.port, shed.branch()), (parsed.host, parsed.port, parsed.branch()));
        assert_eq!((shed.received(), shed.rport()), (parsed.received(), parsed.rport()));
    }
    // What belongs to a call, is no INVITE, or looks odd is for the parser.
    for text in [
        request("INVITE", "z9hG4bKre", "ours", 2, "", OFFER),
        request("BYE", "z9hG4bKre", "ours", 2, "", ""),
        plain.replace("From: ", "f: "),
        plain.replace("From: ", "FROM: "),
        plain.replace("Call-ID: call-1\r\n", ""),
        plain.replace("Call-ID: call-1\r\n", "Call-ID: call-1\r\nCall-ID: call-2\r\n"),
        plain.replace("Max-Forwards: 70\r\n", "Max-Forwards:\r\n 70\r\n"),
        plain.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"),
        plain.replace("\r\n\r\n", "\r\n"),
        plain.replace("UDP 10.0.0.9", "UDP 224.0.1.75"),
    ] {
        assert!(!stage.ua.shed(stage.now, stage.flow, text.as_bytes()), "{text}");
    }
    stage.silent();
    stage.ua.set_overloaded(stage.now, None);
    assert!(!stage.ua.shed(stage.now, stage.flow, plain.as_bytes()));
}
