//! `ark sip parse`: how Ark reads a message.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use ark_sip::wire::StreamFramer;
use ark_sip::{ParseFailure, Report, ReportStart, parse_report};
use clap::{Args, Subcommand};

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

fn in_words(report: &Report) -> Vec<Vec<String>> {
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let (kind, name, value) = match &report.start {
        ReportStart::Request(method) => ("request", "method", method.clone()),
        ReportStart::Response(status) => ("response", "status", status.to_string()),
    };
    let cseq = report.cseq.map_or_else(|| "none".to_owned(), |number| number.to_string());
    [
        ("kind", kind.to_owned()),
        (name, value),
        ("vias", report.vias.to_string()),
        ("top branch", or_none(&report.top_branch)),
        ("from tag", or_none(&report.from_tag)),
        ("to tag", or_none(&report.to_tag)),
        ("call-id", or_none(&report.call_id)),
        ("cseq", format!("{cseq} {}", report.cseq_method.as_deref().unwrap_or(""))),
        ("contacts", report.contacts.to_string()),
        ("body", format!("{} bytes", report.body_bytes)),
    ]
    .into_iter()
    .map(|(name, value)| vec![name.to_owned(), value])
    .collect()
}

pub(super) fn run(command: &SipCommand) -> CliResult {
    let SipCommand::Parse(args) = command;
    let bytes = read(&args.file)?;
    match parse_report(&bytes, args.stream) {
        Ok(report) if args.json => output::line(report.to_json())?,
        Ok(report) => {
            output::table(&["value", "reading"], &in_words(&report))?;
            if args.stream {
                output::line(what_follows(&bytes))?;
            }
        }
        Err(refused) if args.json => {
            output::line(refused.to_json())?;
            return Ok(Outcome::Finding);
        }
        Err(refused) => return Err(Failure::Refused(refused_in_words(&refused, &args.file))),
    }
    Ok(Outcome::Done)
}

fn refused_in_words(refused: &ParseFailure, file: &Path) -> String {
    let answer = match refused.code {
        0 => "Ark would drop it".to_owned(),
        code => format!("Ark would answer {code}"),
    };
    format!("{}: byte {}: {}; {answer}", file.display(), refused.offset, refused.message)
}

/// What a connection makes of the bytes behind the first message.
fn what_follows(bytes: &[u8]) -> String {
    let mut framer = StreamFramer::new();
    framer.push(bytes);
    let mut read: usize = 0;
    loop {
        match framer.next_message() {
            Some(Ok(_)) => read += 1,
            Some(Err(error)) => {
                let end = if framer.is_broken() { " and close the connection" } else { "" };
                return format!("message {}: {}; Ark would answer {}{end}", read + 1, error.reason, error.code);
            }
            None if framer.is_midway() => return format!("message {} is not whole yet", read + 1),
            None => return format!("{} more in the stream", read.saturating_sub(1)),
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
