//! `ark model list|get|verify`: the public models of whisper, by name, size and the checksum that their publisher states.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{self, Failure, Outcome};
use super::{CliResult, Site};
use crate::speech::known::{self, Known, MODELS};
use crate::speech::models;

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// List the public models of whisper, and which of them are here
    List(ListArgs),
    /// Fetch a model, or take it from a file; a download that broke off goes on
    Get(GetArgs),
    /// Check that a model's file is whole: by its publisher's SHA-1, or by a SHA-256
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    site: Site,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// The model's name, as `ark model list` has it
    name: String,
    /// Take this file instead of fetching it: for machines without a network
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Fetch `ggml-NAME.bin` below this address instead of the publisher's
    #[arg(long, value_name = "URL", conflicts_with = "from")]
    base: Option<String>,
    #[command(flatten)]
    site: Site,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A model's name, or a file; without it every public model that is here
    model: Option<String>,
    /// The SHA-256 that the file must have
    #[arg(long, value_name = "HASH", requires = "model")]
    sha256: Option<String>,
    #[command(flatten)]
    site: Site,
}

pub(super) fn run(command: ModelCommand) -> CliResult {
    match command {
        ModelCommand::List(args) => list(&args),
        ModelCommand::Get(args) => get(&args),
        ModelCommand::Verify(args) => verify(&args),
    }
}

/// The folder of models.
fn folder(site: &Site) -> Result<PathBuf, Failure> {
    Ok(site.load()?.config.speech.models)
}

fn list(args: &ListArgs) -> CliResult {
    let folder = folder(&args.site)?;
    let here = |known: &Known| std::fs::metadata(folder.join(known.file())).map(|file| file.len()).ok();
    let rows: Vec<serde_json::Value> = MODELS
        .iter()
        .map(|known| {
            json!({
                "name": known.name, "size": known.size, "sha1": known.sha1, "multilingual": known.is_multilingual(),
                "url": known.url(None), "file": folder.join(known.file()), "here": here(known).is_some(),
            })
        })
        .collect();
    let row = |row: &serde_json::Value| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let languages = if row["multilingual"] == true { "zh, en, ..." } else { "en" };
        let here = if row["here"] == true { "here" } else { "" };
        vec![text("name"), text("size"), languages.to_owned(), text("sha1"), here.to_owned()]
    };
    output::list(args.json, &rows, "no model", &["name", "size", "languages", "sha1", ""], row)?;
    if !args.json {
        output::line(format!(
            "\nAs ggml-org/whisper.cpp states them in models/README.md. `ark model get NAME` puts one into {}.",
            folder.display()
        ))?;
    }
    Ok(Outcome::Done)
}

fn find(name: &str) -> Result<&'static Known, Failure> {
    known::of(name)
        .ok_or_else(|| Failure::Refused(format!("there is no public model `{name}`: `ark model list` has them")))
}

fn get(args: &GetArgs) -> CliResult {
    put(find(&args.name)?, &folder(&args.site)?, args.from.as_deref(), args.base.as_deref())
}

/// Puts a model into the folder: from a file, or from its publisher or `base`. What is there then is whole.
fn put(model: &Known, folder: &Path, from: Option<&Path>, base: Option<&str>) -> CliResult {
    let path = folder.join(model.file());
    let cannot = |error: io::Error| Failure::environment(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(cannot)?;
    if path.exists() {
        if is_whole(&path, model)? {
            output::line(format!("{}: it is here, and whole", path.display()))?;
            return Ok(Outcome::Done);
        }
        output::note(&format!("{}: it is damaged and is replaced", path.display()));
    }
    let part = folder.join(format!("{}.part", model.file()));
    match from {
        Some(from) => {
            std::fs::copy(from, &part).map_err(|error| Failure::environment(format!("{}: {error}", from.display())))?;
        }
        None => fetch(&model.url(base), &part, model)?,
    }
    if !is_whole(&part, model)? {
        // Kept from now on it would be wrong for ever: the next try begins anew.
        let _ = std::fs::remove_file(&part);
        let what = from.map_or_else(|| model.url(base), |from| from.display().to_string());
        return Err(Failure::Refused(format!(
            "{what}: its SHA-1 is not the one that the publisher states ({}): it is damaged, or another file",
            model.sha1
        )));
    }
    std::fs::rename(&part, &path).map_err(cannot)?;
    output::line(format!("{}: fetched and whole. `[speech] model = \"{}\"` uses it", path.display(), model.name))?;
    Ok(Outcome::Done)
}

/// Bars are for people who look.
struct Bar {
    label: &'static str,
    total: u64,
    last: Option<Instant>,
    shown: bool,
}

impl Bar {
    fn new(label: &'static str, total: u64) -> Self {
        Self { label, total, last: None, shown: io::stderr().is_terminal() }
    }

    fn at(&mut self, done: u64) {
        let due = self.last.is_none_or(|last| last.elapsed() >= Duration::from_millis(200));
        if self.shown && due {
            self.last = Some(Instant::now());
            let share = done * 100 / self.total.max(1);
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let _ =
                write!(io::stderr(), "\r{} {share:3} %  {:.1} of {:.1} MiB ", self.label, mib(done), mib(self.total));
        }
    }

    fn end(&self) {
        if self.shown && self.last.is_some() {
            let _ = write!(io::stderr(), "\r{:60}\r", "");
        }
    }
}

/// How often a download that breaks off goes on by itself.
const TRIES: u32 = 5;

/// Fetches, and goes on where an earlier try ended.
fn fetch(url: &str, part: &Path, model: &Known) -> Result<(), Failure> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut why = String::new();
    for _ in 0..TRIES {
        let have = std::fs::metadata(part).map_or(0, |file| file.len());
        match fetch_rest(&agent, url, part, have, model) {
            Ok(()) => return Ok(()),
            Err(Failed::Never(message)) => return Err(Failure::environment(message)),
            Err(Failed::Broke(message)) => why = message,
        }
    }
    Err(Failure::environment(format!("{url}: {why}; run the command again to go on where it broke off")))
}

enum Failed {
    /// Trying again is of no use.
    Never(String),
    /// The next try goes on.
    Broke(String),
}

fn fetch_rest(agent: &ureq::Agent, url: &str, part: &Path, have: u64, model: &Known) -> Result<(), Failed> {
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("range", format!("bytes={have}-"));
    }
    let mut answer = request.call().map_err(|error| Failed::Broke(error.to_string()))?;
    let status = answer.status().as_u16();
    let (have, total) = match status {
        // All of it is here.
        416 => return Ok(()),
        206 => (have, length(&answer).map(|rest| have + rest)),
        200 => (0, length(&answer)),
        _ => {
            return Err(Failed::Never(format!(
                "{url}: status {status}; see --base, and --from for a file that you have"
            )));
        }
    };
    if total.is_some_and(|total| !model.bytes().contains(&total)) {
        let bytes = total.unwrap_or_default();
        return Err(Failed::Never(format!("{url}: it has {bytes} bytes, and the publisher says {}", model.size)));
    }
    let broke = |error: io::Error| Failed::Broke(error.to_string());
    let open = OpenOptions::new().create(true).write(true).truncate(have == 0).append(have > 0).open(part);
    let mut file: File = open.map_err(|error| Failed::Never(format!("{}: {error}", part.display())))?;
    let mut bar = Bar::new("fetching", total.unwrap_or(*model.bytes().end()));
    let (mut done, mut buffer) = (have, vec![0; 1 << 16]);
    let mut body = answer.body_mut().as_reader();
    loop {
        let count = body.read(&mut buffer).map_err(broke)?;
        if count == 0 {
            break;
        }
        done += count as u64;
        if done > *model.bytes().end() {
            return Err(Failed::Never(format!("{url}: it is longer than the publisher says")));
        }
        file.write_all(&buffer[..count]).map_err(|error| Failed::Never(format!("{}: {error}", part.display())))?;
        bar.at(done);
    }
    bar.end();
    if total.is_some_and(|total| done < total) {
        return Err(Failed::Broke("the connection ended too early".to_owned()));
    }
    file.sync_all().map_err(broke)
}

fn length(answer: &http::Response<ureq::Body>) -> Option<u64> {
    answer.headers().get("content-length")?.to_str().ok()?.parse().ok()
}

fn is_whole(path: &Path, model: &Known) -> Result<bool, Failure> {
    let total = std::fs::metadata(path).map_or(0, |file| file.len());
    let mut bar = Bar::new("checking", total);
    let hash = models::sha1(path, |done| bar.at(done)).map_err(|error| Failure::unreadable(path, &error))?;
    bar.end();
    Ok(hash == model.sha1)
}

fn verify(args: &VerifyArgs) -> CliResult {
    let folder = folder(&args.site)?;
    let Some(name) = &args.model else {
        let mut bad = 0;
        let here: Vec<&Known> = MODELS.iter().filter(|known| folder.join(known.file()).exists()).collect();
        if here.is_empty() {
            output::line(format!("no public model is in {}", folder.display()))?;
        }
        for known in here {
            bad += u32::from(!said(&folder.join(known.file()), known)?);
        }
        return Ok(if bad == 0 { Outcome::Done } else { Outcome::Finding });
    };
    let path = known::of(name).map_or_else(|| PathBuf::from(name), |known| folder.join(known.file()));
    if let Some(wanted) = &args.sha256 {
        let found = models::sha256(&path).map_err(|error| Failure::unreadable(&path, &error))?;
        let fits = found.eq_ignore_ascii_case(wanted);
        output::line(format!(
            "{}: SHA-256 {found}, {}",
            path.display(),
            if fits { "as asked for" } else { "NOT as asked for" }
        ))?;
        return Ok(if fits { Outcome::Done } else { Outcome::Finding });
    }
    let known = known::of(name).or_else(|| MODELS.iter().find(|known| path.ends_with(known.file())));
    match known {
        Some(known) => Ok(if said(&path, known)? { Outcome::Done } else { Outcome::Finding }),
        None => {
            let found = models::sha256(&path).map_err(|error| Failure::unreadable(&path, &error))?;
            let double = if found == models::TEST_DOUBLE_SHA256 {
                format!("; {}", models::TEST_DOUBLE_WARNING)
            } else {
                String::new()
            };
            output::line(format!("{}: no public model; SHA-256 {found}{double}", path.display()))?;
            Ok(Outcome::Done)
        }
    }
}

fn said(path: &Path, known: &Known) -> Result<bool, Failure> {
    let whole = is_whole(path, known)?;
    let verdict =
        if whole { "whole: its SHA-1 is the publisher's" } else { "DAMAGED: its SHA-1 is not the publisher's" };
    output::line(format!("{}: {verdict}", path.display()))?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// 200,000 bytes that stand for a model; 0.2 MiB, as a publisher rounds it.
    fn file() -> Vec<u8> {
        (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect()
    }

    fn model(folder: &Path) -> Known {
        let path = folder.join("original");
        std::fs::write(&path, file()).unwrap();
        let sha1 = models::sha1(&path, |_| ()).unwrap();
        Known { name: "trial", size: "0.2 MiB", sha1: sha1.leak() }
    }

    /// A publisher on loopback: it knows ranges, and breaks off after so many bytes of each of the first answers. Gives its address and
    /// the ranges that it was asked for.
    fn publisher(bytes: Vec<u8>, mut breaks: Vec<usize>, ranges: bool) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut range = String::new();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                for line in lines.by_ref().take_while(|line| !line.is_empty()) {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: ") {
                        range = value.to_owned();
                    }
                }
                log.lock().unwrap().push(range.clone());
                let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse().ok());
                let from: usize = from.filter(|_| ranges).unwrap_or(0);
                let status = match from {
                    _ if !first.starts_with("GET /ggml-trial.bin ") => "404 Not Found",
                    0 => "200 OK",
                    from if from >= bytes.len() => "416 Range Not Satisfiable",
                    _ => "206 Partial Content",
                };
                let rest = if status.starts_with('2') { &bytes[from..] } else { &[] };
                let until = if breaks.is_empty() { rest.len() } else { breaks.remove(0).min(rest.len()) };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", rest.len());
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.write_all(&rest[..until]);
            }
        });
        (base, asked)
    }

    fn words(result: CliResult) -> String {
        match result {
            Ok(_) => String::new(),
            Err(Failure::Refused(why)) => why,
            Err(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn a_model_is_fetched_once_and_goes_on_where_it_broke_off() {
        let folder = tempfile::tempdir().unwrap();
        let (model, models) = (model(folder.path()), folder.path().join("models"));
        let (base, asked) = publisher(file(), vec![70_000, 50_000], true);
        assert_eq!(words(put(&model, &models, None, Some(&base))), "");
        assert_eq!(std::fs::read(models.join("ggml-trial.bin")).unwrap(), file());
        assert!(!models.join("ggml-trial.bin.part").exists());
        assert_eq!(asked.lock().unwrap().as_slice(), ["", "bytes=70000-", "bytes=120000-"]);
        assert_eq!(words(put(&model, &models, None, Some(&base))), "", "it is here");
        assert_eq!(asked.lock().unwrap().len(), 3, "and not fetched again");
        // What was damaged since is fetched anew.
        std::fs::write(models.join("ggml-trial.bin"), b"damaged").unwrap();
        assert_eq!(words(put(&model, &models, None, Some(&base))), "");
        assert_eq!(std::fs::read(models.join("ggml-trial.bin")).unwrap(), file());
    }

    #[test]
    fn what_an_earlier_run_left_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let (model, models) = (model(folder.path()), folder.path().join("models"));
        std::fs::create_dir(&models).unwrap();
        let part = models.join("ggml-trial.bin.part");
        for (left, ranges, wanted) in
            [(150_000, true, "bytes=150000-"), (200_000, true, "bytes=200000-"), (9, false, "bytes=9-")]
        {
            let _ = std::fs::remove_file(models.join("ggml-trial.bin"));
            std::fs::write(&part, &file()[..left]).unwrap();
            let (base, asked) = publisher(file(), Vec::new(), ranges);
            assert_eq!(words(put(&model, &models, None, Some(&base))), "", "{left}");
            assert_eq!(asked.lock().unwrap()[0], wanted);
            assert_eq!(std::fs::read(models.join("ggml-trial.bin")).unwrap(), file(), "{left}");
        }
    }

    #[test]
    fn another_file_is_never_taken_for_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let (model, models) = (model(folder.path()), folder.path().join("models"));
        let mut wrong = file();
        wrong[100_000] ^= 1;
        let (base, _) = publisher(wrong.clone(), Vec::new(), true);
        let why = words(put(&model, &models, None, Some(&base)));
        assert!(why.contains("its SHA-1 is not the one that the publisher states"), "{why}");
        assert!(!models.join("ggml-trial.bin").exists() && !models.join("ggml-trial.bin.part").exists());
        let (base, _) = publisher(vec![0; 900_000], Vec::new(), true);
        let why = words(put(&model, &models, None, Some(&base)));
        assert!(why.contains("it has 900000 bytes, and the publisher says 0.2 MiB"), "{why}");
        let (base, _) = publisher(file(), Vec::new(), true);
        let why = words(put(&model, &models, None, Some(&format!("{base}/elsewhere"))));
        assert!(why.contains("status 404") && why.contains("--from"), "{why}");

        let from = folder.path().join("brought.bin");
        std::fs::write(&from, &wrong).unwrap();
        let why = words(put(&model, &models, Some(&from), None));
        assert!(why.contains("brought.bin: its SHA-1 is not"), "{why}");
        assert_eq!(words(put(&model, &models, Some(&folder.path().join("original")), None)), "");
        assert_eq!(std::fs::read(models.join("ggml-trial.bin")).unwrap(), file());
        assert!(from.exists() && folder.path().join("original").exists(), "what was brought stays");
        let why = words(put(&model, &folder.path().join("other"), Some(&folder.path().join("nothing")), None));
        assert!(why.contains("nothing"), "{why}");
    }
}
