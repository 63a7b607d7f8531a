//! `ark sip parse`: how Ark reads a message.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use ark_sip::wire::{Message, ParseError, StartLine, StreamFramer, parse_datagram};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::CliResult;
use super::output::{self, Failure, Outcome};

/// Largest file that is read: a stream of several messages.
const FILE_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum SipCommand {
    /// Read a SIP message from a file, as Ark would from the wire
    ///
    /// Exit code 0 when it is read, 1 when it is refused. What an element would answer to a message that is read
    /// (405, 415, 416, 420 ...) is a separate matter.
    Parse(ParseArgs),
}

#[derive(Debug, Args)]
pub(super) struct ParseArgs {
    /// The file that holds the bytes; `-` reads standard input
    file: PathBuf,
    /// Read it as a stream (TCP) instead of one datagram (UDP)
    #[arg(long)]
    stream: bool,
    /// Print the reading as one JSON object
    #[arg(long)]
    json: bool,
}

/// The reading of a message. Of what occurs more than once, the first value.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reading {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    vias: usize,
    top_branch: Option<String>,
    from_tag: Option<String>,
    to_tag: Option<String>,
    call_id: Option<String>,
    cseq: Option<u32>,
    cseq_method: Option<String>,
    contacts: usize,
    body_bytes: usize,
}

impl Reading {
    fn of(message: &Message) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (method, status) = match message.start_line() {
            StartLine::Request { method, .. } => (Some(method.to_string()), None),
            StartLine::Response { status, .. } => (None, Some(status.to_string())),
        };
        let cseq = message.cseq().ok();
        Self {
            kind: if method.is_some() { "request" } else { "response" },
            method,
            status,
            vias: message.vias().count(),
            top_branch: message.top_via().and_then(Result::ok).and_then(|via| via.branch().map(text)),
            from_tag: message.from().ok().and_then(|from| from.tag().map(text)),
            to_tag: message.to().ok().and_then(|to| to.tag().map(text)),
            call_id: message.call_id().map(text),
            cseq: cseq.as_ref().map(|cseq| cseq.number),
            cseq_method: cseq.as_ref().map(|cseq| cseq.method.to_string()),
            contacts: message.contacts().count(),
            body_bytes: message.body().len(),
        }
    }

    fn in_words(&self) -> Vec<Vec<String>> {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let cseq = self.cseq.map_or_else(|| "none".to_owned(), |number| number.to_string());
        [
            ("kind", self.kind.to_owned()),
            ("method", or_none(&self.method)),
            ("status", or_none(&self.status)),
            ("vias", self.vias.to_string()),
            ("top branch", or_none(&self.top_branch)),
            ("from tag", or_none(&self.from_tag)),
            ("to tag", or_none(&self.to_tag)),
            ("call-id", or_none(&self.call_id)),
            ("cseq", format!("{cseq} {}", self.cseq_method.as_deref().unwrap_or(""))),
            ("contacts", self.contacts.to_string()),
            ("body", format!("{} bytes", self.body_bytes)),
        ]
        .into_iter()
        .filter(|(name, value)| !(matches!(*name, "method" | "status") && value == "none"))
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect()
    }
}

pub(super) fn run(command: &SipCommand) -> CliResult {
    let SipCommand::Parse(args) = command;
    let bytes = read(&args.file)?;
    let (first, more) =
        if args.stream { read_stream(&bytes) } else { (parse_datagram(&bytes).map_err(Refused::from), 0) };
    match first {
        Ok(message) if args.json => output::json_line(&Reading::of(&message))?,
        Ok(message) => {
            output::table(&["value", "reading"], &Reading::of(&message).in_words())?;
            if more > 0 {
                output::line(format!("{more} more in the stream"))?;
            }
        }
        Err(refused) if args.json => {
            let Refused { code, message, offset } = refused;
            output::json_line(&json!({ "error": { "code": code, "message": message, "offset": offset } }))?;
            return Ok(Outcome::Finding);
        }
        Err(refused) => return Err(Failure::Refused(refused.in_words(&args.file))),
    }
    Ok(Outcome::Done)
}

/// Why the bytes are not a message.
struct Refused {
    code: u16,
    message: String,
    offset: usize,
}

impl From<ParseError> for Refused {
    fn from(error: ParseError) -> Self {
        Self { code: error.code, message: error.reason.to_owned(), offset: error.offset }
    }
}

impl Refused {
    fn in_words(&self, file: &Path) -> String {
        let answer = match self.code {
            0 => "Ark would drop it".to_owned(),
            code => format!("Ark would answer {code}"),
        };
        format!("{}: byte {}: {}; {answer}", file.display(), self.offset, self.message)
    }
}

/// The first message of a stream, and how many follow it.
fn read_stream(bytes: &[u8]) -> (Result<Message, Refused>, usize) {
    let mut framer = StreamFramer::new();
    framer.push(bytes);
    match framer.next_message() {
        Some(first) => {
            let more = std::iter::from_fn(|| framer.next_message()).take_while(Result::is_ok).count();
            (first.map_err(Refused::from), more)
        }
        None => {
            let message = "the stream ends before the message does".to_owned();
            (Err(Refused { code: 0, message, offset: bytes.len() }), 0)
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let done = if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    done.map_err(|error| Failure::unreadable(path, &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::environment(format!("{}: larger than {} MiB", path.display(), FILE_BYTES_MAX >> 20)));
    }
    Ok(bytes)
}
