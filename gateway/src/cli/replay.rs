//! `ark conversation replay`: folds a log again. A file needs nothing else; a conversation of the store is compared with the
//! state that the store answers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use ark_conversation::{ConversationId, ConversationState, Event, Hash, LogHash, Record, Tenant};
use ark_store::{ListFilter, Store};
use clap::Args;
use serde_json::{Value, json};

use super::output::{self, Failure, Outcome};
use super::site_store::{self, TenantArgs, failure};
use super::{CliResult, Site};
use crate::http::mask;
use crate::pages::Pages;

/// Longest line of a file: a record's bound and what its envelope adds.
const LINE_BYTES_MAX: u64 = 4 << 20;

/// Fold records again and show the state they come to, with its hash
///
/// FILE (or - for standard input) is what `ark conversation export` wrote; nothing else is needed then. Of an ID, or with --all, the
/// site's store is read, and each state is compared with the live one: exit code 1 when one differs.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["what", "all"]))]
pub(super) struct ReplayArgs {
    /// A file of exported records, or a conversation's id, or an unambiguous end of it among the newest 500
    #[arg(value_name = "FILE|ID")]
    what: Option<String>,
    /// Every conversation of the store, and the system's own log
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    of: TenantArgs,
    #[command(flatten)]
    site: Site,
    /// Show people's numbers in full
    #[arg(long)]
    numbers: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What a log came to.
struct Told {
    records: u64,
    tombstones: u64,
    log: LogHash,
    state: ConversationState,
    hash: Hash,
    /// The live state's hash; none for a file.
    live: Option<Hash>,
}

impl Told {
    fn agrees(&self) -> bool {
        self.live.is_none_or(|live| live == self.hash)
    }

    fn as_json(&self, numbers: bool) -> Value {
        json!({
            "conversation": self.state.conversation, "tenant": self.state.tenant,
            "records": self.records, "erased": self.tombstones,
            "log_sha256": self.log.hash(), "state_sha256": self.hash,
            "live_sha256": self.live, "agrees": self.live.map(|_| self.agrees()),
            "state": mask::conversation(self.state.clone(), numbers),
        })
    }
}

pub(super) async fn run(args: ReplayArgs) -> CliResult {
    let told = match &args.what {
        Some(what) if what == "-" => fold(what, std::io::stdin().lock())?,
        Some(what) if Path::new(what).exists() || looks_like_a_path(what) => {
            let file = std::fs::File::open(what).map_err(|error| Failure::unreadable(Path::new(what), &error))?;
            fold(what, file)?
        }
        what => {
            let config = args.site.load()?.config;
            let store = site_store::open_to_read(&config).map_err(failure)?;
            match what {
                Some(id) => {
                    let id = site_store::resolve(&*store, &args.of.tenant, id).await?;
                    let told = of_store(&*store, &args.of.tenant, id).await?;
                    vec![told.ok_or_else(|| Failure::Refused(format!("there is no conversation {id}")))?]
                }
                None => return all(&args, &*store).await,
            }
        }
    };
    say(&args, &told)
}

fn looks_like_a_path(what: &str) -> bool {
    what.contains(['/', '.'])
}

fn say(args: &ReplayArgs, told: &[Told]) -> CliResult {
    let differ = told.iter().filter(|one| !one.agrees()).count();
    match told {
        _ if args.json => {
            let told: Vec<Value> = told.iter().map(|one| one.as_json(args.numbers)).collect();
            output::json(&told)?;
        }
        [one] => say_one(one, args.numbers)?,
        many => {
            let row = |one: &Told| {
                vec![
                    one.state.conversation.to_string(),
                    one.records.to_string(),
                    one.tombstones.to_string(),
                    one.hash.to_string(),
                ]
            };
            let rows: Vec<Vec<String>> = many.iter().map(row).collect();
            output::table(&["conversation", "records", "erased", "state (SHA-256)"], &rows)?;
        }
    }
    Ok(if differ == 0 { Outcome::Done } else { Outcome::Finding })
}

fn say_one(one: &Told, numbers: bool) -> Result<(), Failure> {
    output::json(&mask::conversation(one.state.clone(), numbers))?;
    output::line(format!("records  {}, {} of them erased", one.records, one.tombstones))?;
    output::line(format!("log      {}", one.log.hash()))?;
    output::line(format!("state    {}", one.hash))?;
    match one.live {
        Some(live) if live == one.hash => output::line(format!("live     {live}  the same")),
        Some(live) => {
            output::line(format!("live     {live}  DIFFERS: the store's row does not tell what its log tells"))
        }
        None => Ok(()),
    }
}

/// Replays every conversation of the store, and says which differ.
async fn all(args: &ReplayArgs, store: &dyn Store) -> CliResult {
    let (mut conversations, mut records, mut differ) = (0_u64, 0, Vec::new());
    let mut pages = Pages::with_system(store, &args.of.tenant, ListFilter::default());
    while let Some(page) = pages.next().await.map_err(failure)? {
        for state in &page {
            let Some(told) = of_store(store, &args.of.tenant, state.conversation).await? else { continue };
            conversations += 1;
            records += told.records;
            if !told.agrees() {
                differ.push(state.conversation);
            }
        }
    }
    if args.json {
        output::json(&json!({ "conversations": conversations, "records": records, "differ": differ }))?;
    } else {
        for id in &differ {
            output::line(format!("DIFFERS  {id}"))?;
        }
        let count = differ.len();
        output::line(format!("{conversations} conversations, {records} records replayed, {count} differ"))?;
    }
    Ok(if differ.is_empty() { Outcome::Done } else { Outcome::Finding })
}

async fn of_store(store: &dyn Store, tenant: &Tenant, id: ConversationId) -> Result<Option<Told>, Failure> {
    let replayed = ark_store::replay(store, tenant, id).await.map_err(failure)?;
    Ok(replayed.map(|found| Told {
        records: found.records,
        tombstones: found.tombstones,
        log: found.log,
        state: found.state,
        hash: found.replayed,
        live: Some(found.live),
    }))
}

/// Folds the records of a file, of each conversation by itself.
fn fold(name: &str, input: impl Read) -> Result<Vec<Told>, Failure> {
    let mut input = BufReader::new(input);
    let mut order: Vec<(Tenant, ConversationId)> = Vec::new();
    let mut told: BTreeMap<(Tenant, ConversationId), Told> = BTreeMap::new();
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_line(&mut line);
        let wrong = |why: String| Failure::Refused(format!("{name}:{number}: {why}"));
        match read {
            Ok(0) => break,
            Ok(bytes) if bytes as u64 == LINE_BYTES_MAX => return Err(wrong("longer than any record".to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(wrong("not UTF-8 text; a file of `ark conversation export` is expected".to_owned()));
            }
            Err(error) => return Err(Failure::environment(format!("{name}: cannot be read: {error}"))),
        }
        if line.trim().is_empty() {
            continue;
        }
        let record: Record = serde_json::from_str(&line).map_err(|error| wrong(format!("not a record: {error}")))?;
        let key = (record.tenant.clone(), record.conversation);
        match told.get_mut(&key) {
            Some(known) => known.take(&record).map_err(wrong)?,
            None => {
                order.push(key.clone());
                told.insert(key, Told::begin(&record).map_err(wrong)?);
            }
        }
    }
    if told.is_empty() {
        return Err(Failure::Refused(format!("{name}: no record in it")));
    }
    let finished = order.iter().filter_map(|key| told.remove(key));
    Ok(finished.map(|one| Told { hash: one.state.hash(), ..one }).collect())
}

impl Told {
    fn begin(record: &Record) -> Result<Self, String> {
        let id = record.conversation;
        if record.seq != 1 {
            return Err(format!("conversation {id} begins with record {}: records are missing before it", record.seq));
        }
        let state = ConversationState::begin(record);
        let hash = state.hash();
        let tombstones = u64::from(matches!(record.event.event, Event::Erased(_)));
        Ok(Self { records: 1, tombstones, log: LogHash::default().then(record), state, hash, live: None })
    }

    fn take(&mut self, record: &Record) -> Result<(), String> {
        let (id, expected) = (record.conversation, self.state.last_seq + 1);
        if record.seq != expected {
            return Err(format!("conversation {id}: record {} where {expected} is expected", record.seq));
        }
        self.state.apply(record);
        self.records += 1;
        self.tombstones += u64::from(matches!(record.event.event, Event::Erased(_)));
        self.log = self.log.then(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_conversation::samples;

    fn lines(conversation: u64, events: usize) -> Vec<String> {
        let story = samples::story();
        (1..)
            .zip(story.into_iter().take(events))
            .map(|(n, event)| samples::new_event(ConversationId::new(conversation, 1), n, event).into_record(n))
            .map(|record| serde_json::to_string(&record).unwrap())
            .collect()
    }

    fn refusal(text: &str) -> String {
        match fold("f.jsonl", text.as_bytes()) {
            Err(Failure::Refused(why)) => why,
            Err(other) => panic!("{other:?}"),
            Ok(told) => panic!("{} conversations", told.len()),
        }
    }

    #[test]
    fn conversations_that_lie_between_each_other_are_folded_each_by_itself() {
        let (one, two) = (lines(1, 6), lines(2, 6));
        let mixed: Vec<String> = one.iter().zip(&two).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
        let told = fold("f", mixed.join("\n").as_bytes()).unwrap_or_else(|error| panic!("{error:?}"));
        let alone = fold("f", one.join("\n").as_bytes()).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!((told.len(), told[0].records, told[0].hash), (2, 6, alone[0].hash));
        assert_eq!(told[0].log, alone[0].log);
    }

    #[test]
    fn what_is_missing_or_broken_is_said_with_its_line() {
        let mut log = lines(1, 4);
        assert!(refusal("").contains("no record in it"));
        assert!(refusal(&log[1..].join("\n")).starts_with("f.jsonl:1: conversation"));
        log.remove(2);
        assert!(refusal(&log.join("\n")).contains("f.jsonl:3: ") && refusal(&log.join("\n")).contains("where 3 is"));
        log[1] = "{\"seq\":2}".to_owned();
        assert!(refusal(&log.join("\n")).starts_with("f.jsonl:2: not a record: missing field"));
    }
}
