//! Broken adapters, each of which the conformance kit must catch by the check that is meant for it. A mutant is the Python sample with
//! one fault written into it, so that every fault here is one that a line of the sample keeps out.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use ark::channel_kit::standard::CHECKS;
use ark::channel_kit::{self, Level, Options, Report};
use ark_tests::{
    kit::{TempDir, root},
    need,
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Mutants that are tried at once.
const AT_ONCE: usize = 4;

struct Mutant {
    /// The check that must catch it.
    check: &'static str,
    /// What is wrong with it.
    fault: &'static str,
    /// What stands in the sample, and what stands there instead.
    changes: &'static [(&'static str, &'static str)],
}

const fn mutant(check: &'static str, fault: &'static str, changes: &'static [(&'static str, &'static str)]) -> Mutant {
    Mutant { check, fault, changes }
}

const MUTANTS: &[Mutant] = &[
    mutant(
        "A-MAN-1",
        "a manifest that no schema knows",
        &[("\"ordering\": \"per_thread\"", "\"ordering\": \"mostly\"")],
    ),
    mutant(
        "A-MAN-2",
        "forgets ids after a minute, and says so",
        &[("\"outbound_key_ttl_s\": 259200", "\"outbound_key_ttl_s\": 60")],
    ),
    mutant(
        "A-HEALTH-1",
        "is never well",
        &[("200 if path in known else 404", "(503 if path == '/ark/v1/health' else 200) if path in known else 404")],
    ),
    mutant("A-TEST-1", "has its test hooks in service", &[("os.environ.get(\"ARK_TESTING\") == \"1\"", "True")]),
    mutant("A-SIG-1", "checks no signature", &[("if not any(good) or not at.isdigit()", "if not at.isdigit()")]),
    mutant("A-SIG-2", "accepts old timestamps", &[("> 300:", "> 3e9:")]),
    mutant("A-SIG-3", "knows one secret", &[("for key in KEYS for entry", "for key in KEYS[:1] for entry")]),
    mutant("A-SIG-3", "looks at the first signature alone", &[("entries[:16]", "entries[:1]")]),
    mutant(
        "A-ANS-1",
        "says ok and nothing more",
        &[(
            "return 200, {\"results\": [{\"id\": one[\"id\"], **take(one)} for one in list(json.loads(body))]}",
            "return 200, {\"ok\": len([take(one) for one in list(json.loads(body))])}",
        )],
    ),
    mutant("A-ANS-1", "answers without ids", &[("{\"id\": one[\"id\"], **take(one)}", "take(one)")]),
    mutant(
        "A-ID-2",
        "does not know copies",
        &[("once(\"send\", event[\"id\"],", "once(\"send\", event[\"id\"] + str(time.time_ns()),")],
    ),
    mutant(
        "A-EVT-2",
        "falls over a type that it does not know",
        &[("return {\"status\": \"rejected\", \"code\": \"type\"}", "raise KeyError('type')")],
    ),
    mutant(
        "A-BODY-1",
        "answers garbage with a 500",
        &[("self.answer(400, {\"error\": repr(error)})", "self.answer(500, {})")],
    ),
    mutant("A-BODY-2", "reads whatever length", &[("(64 if hook else 1) * MIB", "64 * MIB")]),
    mutant(
        "A-PART-3",
        "leaves out what it cannot show",
        &[(
            "return {\"status\": \"rejected\", \"code\": \"parts\"}",
            "event['data']['parts'] = [one for one in event['data']['parts'] if one['kind'] in ('text', 'image')]",
        )],
    ),
    mutant(
        "A-PART-3",
        "shows parts backwards",
        &[("        for part in parts]}", "        for part in reversed(parts)]}")],
    ),
    mutant(
        "A-ID-1",
        "a new id for each delivery",
        &[(
            "once(\"ingest\", what[\"id\"], event=event(\"ark.message.in.v1\", what[\"id\"],",
            "what['id'] += str(time.time_ns())\n            once(\"ingest\", what[\"id\"], event=event(\"ark.message.in.v1\", what[\"id\"],",
        )],
    ),
    mutant(
        "A-ID-1",
        "makes the id of the words",
        &[(
            "once(\"ingest\", what[\"id\"], event=event(\"ark.message.in.v1\", what[\"id\"],",
            "what['id'] = hashlib.sha256((what['thread'] + what.get('text', '')).encode()).hexdigest()\n            once(\"ingest\", what[\"id\"], event=event(\"ark.message.in.v1\", what[\"id\"],",
        )],
    ),
    mutant("A-SRC-1", "speaks for another account", &[("\"/ark/main/http/%s/\"", "\"/ark/main/http/other-%s/\"")]),
    mutant("A-SRC-1", "does not escape threads", &[("urllib.parse.quote(thread, safe=\"\")", "thread")]),
    mutant(
        "A-PART-1",
        "drops what it cannot translate",
        &[("return [{\"kind\": \"unsupported\"", "return [] and [{\"kind\": \"unsupported\"")],
    ),
    mutant(
        "A-PART-2",
        "breaks lines",
        &[("message[\"text\"][at:at + 20000]", "message[\"text\"][at:at + 20000].replace(\"\\n\", \" \")")],
    ),
    mutant(
        "A-PART-2",
        "sends text of any length as one",
        &[("for at in range(0, len(message[\"text\"]), 20000)", "for at in [0]"), ("[at:at + 20000]", "")],
    ),
    mutant(
        "A-PART-2",
        "goes through an old encoding",
        &[("[at:at + 20000]}", "[at:at + 20000].encode('gbk', 'replace').decode('gbk')}")],
    ),
    mutant(
        "A-IDN-1",
        "invents assurance",
        &[(
            "        return 200, {}\n\n    def log_message",
            "        once(\"ingest\", \"i\" + what[\"id\"], event=event(\"ark.identity.v1\", \"i\" + what[\"id\"], what[\"thread\"], {\"keys\": [{\"kind\": \"custom\", \"value\": what[\"thread\"]}], \"assurance\": \"sso\"}))\n        return 200, {}\n\n    def log_message",
        )],
    ),
    mutant("A-WIN-1", "has a window and tells nobody", &[("\"limits\": {}", "\"limits\": {\"reply_window_s\": 3600}")]),
    mutant(
        "A-SIG-4",
        "signs once for all tries",
        &[("    at = str(int(time.time()))\n", "    at = ark.__dict__.setdefault(id, str(int(time.time())))\n")],
    ),
    mutant(
        "A-DUR-1",
        "forgets what the gateway did not take",
        &[(
            "        except Exception as error:  # not taken, or not known: again, under the same id\n",
            "        except Exception as error:\n            sql(\"update ingest set done = 1 where n = ?\", rows[0][0])\n",
        )],
    ),
    mutant(
        "A-ORD-1",
        "the newest first",
        &[
            ("where done = 0 order by n limit 1", "where done = 0 order by n desc limit 1"),
            (
                "        try:\n            result",
                "        threading.Event().wait(0.05)\n        try:\n            result",
            ),
        ],
    ),
    mutant(
        "A-BACK-1",
        "ignores Retry-After",
        &[("float((getattr(error, \"headers\", None) or {}).get(\"retry-after\") or 0.5)", "0.2")],
    ),
    mutant(
        "A-BACK-2",
        "a new id for each try",
        &[("rows[0][2].encode()", "rows[0][2].replace(rows[0][1], rows[0][1] + str(time.time_ns())).encode()")],
    ),
    mutant(
        "A-BACK-2",
        "takes 410 for an end",
        &[(
            "        except Exception as error:  # not taken, or not known: again, under the same id\n",
            "        except Exception as error:\n            if getattr(error, \"code\", 0) == 410:\n                sql(\"update ingest set done = 1 where n = ?\", rows[0][0])\n",
        )],
    ),
    mutant(
        "A-REJ-1",
        "sends again what was rejected",
        &[("print(\"refused for good:\", result, flush=True)", "raise OSError(\"again\")")],
    ),
    mutant("A-EVT-1", "writes times that are none", &[("datetime.now(timezone.utc).isoformat()", "str(time.time())")]),
    mutant(
        "A-ORD-2",
        "puts a failed message behind the others",
        &[(
            "sql(\"update send set state = 'new' where id = ?\", id)",
            "sql(\"update send set state = 'new', n = (select max(n) + 1 from send) where id = ?\", id)",
        )],
    ),
    mutant("A-ORD-3", "one queue for all threads", &[("where state = 'new' group by thread", "where state = 'new'")]),
    mutant("A-RATE-1", "ignores the channel's Retry-After", &[("fault.get(\"retry_after_s\", 0.3)", "0.1")]),
    mutant(
        "A-RCP-1",
        "never says what became of it",
        &[("else {\"state\": \"sent\"}", "else {\"state\": \"accepted\"}")],
    ),
    mutant("A-RCP-2", "calls a refusal sent", &[("{\"refused\": \"blocked\", ", "{")]),
    mutant(
        "A-RCP-2",
        "tries what was refused for ever",
        &[
            ("if answer in (\"429\", \"500\"):", "if answer in (\"429\", \"500\", \"refused\"):"),
            (
                "FAULTS.remove(fault)",
                "fault[\"times\"] = 1 if fault[\"answer\"] == \"refused\" else FAULTS.remove(fault)",
            ),
        ],
    ),
    mutant(
        "A-UNK-1",
        "sends again when nobody answered",
        &[("if answer in (\"429\", \"500\"):", "if answer in (\"429\", \"500\", \"timeout\"):")],
    ),
    mutant("A-UNK-1", "calls silence sent", &[("\"timeout\": \"outcome_unknown\"}", "}")]),
    mutant(
        "A-MED-1",
        "cuts files",
        &[("base64.b64decode(file[\"base64\"])", "base64.b64decode(file[\"base64\"])[:-1]")],
    ),
    mutant(
        "A-MED-2",
        "gives the channel other bytes",
        &[("event[\"id\"])).hexdigest()}", "event[\"id\"])[:10]).hexdigest()}")],
    ),
    mutant(
        "A-CRASH-3",
        "forgets ids when it starts",
        &[("create table if not exists outbox", "delete from send; create table if not exists outbox")],
    ),
    mutant(
        "A-CRASH-1",
        "acknowledges to the channel before it is durable",
        &[(
            "            once(\"ingest\", what[\"id\"], event=event(",
            "            (lambda *given, **more: threading.Timer(0.1, once, given, more).start())(\"ingest\", what[\"id\"], event=event(",
        )],
    ),
    mutant(
        "A-CRASH-1",
        "lets go of a message before the gateway has it",
        &[(
            "        try:\n            result",
            "        sql(\"update ingest set done = 1 where n = ?\", rows[0][0])\n        threading.Event().wait(0.03)\n        try:\n            result",
        )],
    ),
    mutant(
        "A-CRASH-2",
        "answers the gateway before it is durable",
        &[(
            "    new = once(\"send\", event[\"id\"],",
            "    new = (lambda *given, **more: threading.Timer(0.1, once, given, more).start() or True)(\"send\", event[\"id\"],",
        )],
    ),
    mutant(
        "A-CRASH-2",
        "notes a send after it, so that a kill in between sends twice",
        &[
            ("            sql(\"update send set state = 'begun' where id = ?\", id)\n", ""),
            ("def told(id, thread, what):\n", "def told(id, thread, what):\n    threading.Event().wait(0.15)\n"),
        ],
    ),
    mutant(
        "A-LOAD-1",
        "drops a message in five",
        &[(
            "        try:\n            once(\"ingest\", what[\"id\"]",
            "        if int(hashlib.sha256(what[\"id\"].encode()).hexdigest(), 16) % 5 == 0:\n            return 200, {}\n        try:\n            once(\"ingest\", what[\"id\"]",
        )],
    ),
];

fn port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it has an address").port()
}

async fn test(command: String, folder: &TempDir, level: Level, only: &[&str]) -> Report {
    let options = Options {
        url: format!("http://127.0.0.1:{}", port()),
        secret: None,
        old_secret: None,
        account: "kit".to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        level,
        start: Some(command),
        state: folder.path().to_owned(),
        rounds: 6,
        soak: Duration::from_secs(3),
        patience: Duration::from_secs(8),
        only: only.iter().map(|id| (*id).to_owned()).collect(),
    };
    channel_kit::run(options, |_| {}).await.expect("the adapter starts")
}

#[test]
fn every_check_has_a_mutant_that_it_must_catch() {
    let hunted: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.check).collect();
    let checks: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(hunted, checks);
}

/// The sample with the mutant's fault in it.
fn written(sample: &str, mutant: &Mutant) -> String {
    let mut text = sample.to_owned();
    for (before, after) in mutant.changes {
        assert_eq!(text.matches(before).count(), 1, "{}: `{before}` stands once in the sample", mutant.fault);
        text = text.replacen(before, after, 1);
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_broken_adapter_is_caught_by_the_check_that_is_meant_for_it() {
    need!("adapter_zoo", "python3");
    let sample = std::fs::read_to_string(root().join("tests/live/zoo_adapter.py")).unwrap();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut all = JoinSet::new();
    let wanted = std::env::var("ARK_MUTANT").unwrap_or_default();
    for mutant in MUTANTS.iter().filter(|mutant| mutant.check.starts_with(&wanted)) {
        let (text, places) = (written(&sample, mutant), Arc::clone(&places));
        all.spawn(async move {
            let _place = places.acquire_owned().await;
            let folder = TempDir::new("zoo");
            let file = folder.path().join("mutant.py");
            std::fs::write(&file, text).unwrap();
            let level = CHECKS.iter().find(|check| check.id == mutant.check).unwrap().level;
            let report = test(format!("exec python3 {}", file.display()), &folder, level, &[mutant.check]).await;
            (mutant, report)
        });
    }
    let mut missed = Vec::new();
    while let Some(done) = all.join_next().await {
        let (mutant, report) = done.expect("the kit does not fall over a broken adapter");
        if report.broken() != [mutant.check] {
            missed.push(format!("{}: {}: {:?}", mutant.check, mutant.fault, report.items));
        }
    }
    assert!(missed.is_empty(), "{} of {} mutants got through:\n{}", missed.len(), MUTANTS.len(), missed.join("\n"));
}
