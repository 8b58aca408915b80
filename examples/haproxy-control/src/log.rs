//! `explain-log`: what pasted logs of a failed start mean.

use std::io::Read;

use adapter_haproxy::{LogCause, LogFinding, MAX_LOG_LEN, explain_log};
use serde_json::{Value, json};

use crate::cli::{ExplainLogArgs, Output};
use crate::files;
use console::{Exit, Failure, Outcome};

/// Explains.
///
/// # Errors
///
/// A file that cannot be read.
pub(crate) fn run(args: &ExplainLogArgs) -> Result<Outcome, Failure> {
    let mut bytes = Vec::new();
    let read = files::open(&args.file)?.take(MAX_LOG_LEN as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|e| Failure::failed(format!("{} cannot be read", args.file.display())).cause(e))?;
    let mut notes = Vec::new();
    if bytes.len() > MAX_LOG_LEN {
        bytes.truncate(MAX_LOG_LEN);
        notes.push(format!("only the first {MAX_LOG_LEN} bytes were read"));
    }
    let text = String::from_utf8_lossy(&bytes);
    let found = explain_log(&text);
    if found.is_empty() {
        let lines = console::counted(text.lines().count(), "line");
        notes.push(format!("nothing known in {lines}: paste what journalctl -u haproxy -n 50 prints"));
    }
    let out = match args.output {
        Output::Table => found.iter().map(|finding| console::lines(&finding.to_string())).collect(),
        Output::Json => format!("{:#}\n", json!({ "findings": found.iter().map(as_json).collect::<Vec<_>>() })),
    };
    let exit = if found.is_empty() { Exit::Failed } else { Exit::Done };
    Ok(Outcome::done(out).with_notes(notes).ending(exit))
}

fn as_json(finding: &LogFinding) -> Value {
    json!({
        "cause": word(finding.cause),
        "program": finding.program,
        "file": finding.file,
        "line": finding.line,
        "frontend": finding.frontend,
        "address": finding.address,
        "times": finding.times,
        "notes": finding.notes,
        "text": finding.text,
        "help": finding.help,
    })
}

fn word(cause: LogCause) -> &'static str {
    match cause {
        LogCause::AddressInUse => "address-in-use",
        LogCause::PermissionDenied => "permission-denied",
        LogCause::AddressNotHere => "address-not-here",
        LogCause::Configuration => "configuration",
        LogCause::PeersDropped => "peers-dropped",
        LogCause::File => "file",
        LogCause::Name => "name",
        LogCause::Unreachable => "unreachable",
        LogCause::Exited => "exited",
        _ => "other",
    }
}
