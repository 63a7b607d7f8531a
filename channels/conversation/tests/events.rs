//! Events and envelopes as they are read and written.

use ark_conversation::{CloudEvent, Event, samples};
use serde_json::json;

#[test]
fn every_event_reads_as_it_was_written() {
    for event in samples::story() {
        let data = serde_json::to_string(&event).unwrap();
        assert_eq!(Event::from_json(event.type_name(), &data).unwrap(), event, "{data}");
    }
}

#[test]
fn an_event_of_a_later_version_is_carried_as_it_came() {
    let json = json!({
        "specversion": "1.0", "id": "dt:msg1==", "source": "/ark/t1/dingtalk/dingrobot/cidAAA==",
        "type": "ark.message.of_2030.v1", "time": "2026-11-22T10:30:00Z", "datacontenttype": "application/json",
        "sequence": "00000000000000000001",
        "data": { "thread": "t", "parts": [] },
    });
    let event: CloudEvent = serde_json::from_value(json.clone()).unwrap();
    assert!(matches!(&event.event, Event::Other(other) if other.type_name == "ark.message.of_2030.v1"));
    assert_eq!(serde_json::to_value(&event).unwrap(), json);
}

#[test]
fn an_envelope_that_is_not_cloudevents_1_is_refused() {
    let good = json!({
        "specversion": "1.0", "id": "1", "source": "/ark/main/sip/carrier/x", "type": "ark.leg.held.v1",
        "time": "2026-11-22T10:30:00Z", "data": { "leg": "L1" },
    });
    assert!(serde_json::from_value::<CloudEvent>(good.clone()).is_ok());
    for (name, value) in [
        ("specversion", json!("0.3")),
        ("id", json!("")),
        ("id", json!("x".repeat(129))),
        ("source", json!("")),
        ("time", json!("yesterday")),
        ("datacontenttype", json!("text/xml")),
        ("data", json!({ "leg": 1 })),
        ("data", json!(null)),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        assert!(serde_json::from_value::<CloudEvent>(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn an_envelope_is_the_same_in_whatever_order_its_attributes_stand() {
    let one = r#""specversion":"1.0","id":"1","source":"/ark/main/sip/carrier/x","time":"2026-11-22T10:30:00Z""#;
    let kind = r#""type":"ark.leg.held.v1""#;
    let data = r#""data":{"leg":"L1"}"#;
    let more = r#""traceparent":"00-1","subject":"L1""#;
    let read = |text: &str| serde_json::from_str::<CloudEvent>(text);
    let usual = read(&format!("{{{one},{kind},{more},{data}}}")).unwrap();
    assert_eq!(usual.extensions.len(), 1);
    assert_eq!(read(&format!("{{{data},{more},{one},{kind}}}")).unwrap(), usual, "data before its type");
    assert_eq!(serde_json::from_value::<CloudEvent>(serde_json::to_value(&usual).unwrap()).unwrap(), usual);
    for (twice, name) in [(kind, "type"), (data, "data")] {
        let error = read(&format!("{{{one},{kind},{data},{twice}}}")).unwrap_err().to_string();
        assert!(error.contains("duplicate field") && error.contains(name), "{error}");
    }
    let missing = read(&format!("{{{kind},{data}}}")).unwrap_err().to_string();
    assert!(missing.contains("missing field"), "{missing}");
    let unfit = read(&format!(r#"{{{one},{kind},"data":{{"leg":1}}}}"#)).unwrap_err().to_string();
    assert!(unfit.contains("the data of ark.leg.held.v1 does not fit its schema"), "{unfit}");
}

#[test]
fn a_share_of_nothing_can_be_written_and_read() {
    for event in samples::story() {
        if let Event::CallQuality(mut quality) = event {
            (quality.loss_ratio, quality.mos, quality.remote_loss_ratio) = (f64::NAN, Some(f64::NAN), Some(0.1 + 0.2));
            let data = serde_json::to_string(&quality).unwrap();
            let Event::CallQuality(read) = Event::from_json("ark.call.quality.v1", &data).unwrap() else { panic!() };
            assert_eq!((read.loss_ratio, read.mos, read.remote_loss_ratio), (0.0, None, Some(0.1 + 0.2)));
            return;
        }
    }
    panic!("the samples have one of every type");
}

#[test]
fn a_number_never_shows_in_debug_output() {
    for event in samples::story() {
        let debug = format!("{event:?}");
        assert!(!debug.contains("13800001212") && !debug.contains("02188886666"), "{debug}");
    }
}
