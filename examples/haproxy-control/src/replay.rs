//! `replay`: what a trace of conversations says, frame by frame.

use std::io::{self, BufRead, BufWriter, ErrorKind, Write};

use adapter_haproxy::trace::{Record, Replay, ReplayCounts, ReplayLine, TraceError, TraceReader, read_capture};
use console::{Exit, Failure, Outcome, counted};

use crate::cli::{Output, ReplayArgs};
use crate::files;

/// The longest capture in JSON that is read, in bytes: it is in memory as a whole.
const MAX_CAPTURE: usize = 256 << 20;

/// Plays a trace, or a capture in JSON.
///
/// # Errors
///
/// A file that cannot be read, is neither, or is damaged; what was read before is printed.
pub(crate) fn run(args: &ReplayArgs, out: &mut impl Write) -> Result<Outcome, Failure> {
    let mut replay = Replay::new();
    if !args.protocol.is_empty() {
        replay = replay.with_only(args.protocol.iter().map(|protocol| protocol.of_trace()));
    }
    let mut printer = Printer { out: BufWriter::new(out), output: args.output, failed: None };
    let mut file = files::open(&args.file)?;
    let shown = args.file.display();
    let cannot = |e: io::Error| Failure::failed(format!("{shown} cannot be read")).cause(e);
    let mut notes = Vec::new();
    if file.fill_buf().map_err(cannot)?.first() == Some(&b'{') {
        drop(file);
        let text = files::read(&args.file, MAX_CAPTURE)?;
        let wrong = |cause: &dyn std::fmt::Display| Failure::failed(format!("{shown} is no capture")).cause(cause);
        let capture = serde_json::from_slice(&text).map_err(|e| wrong(&e))?;
        let records = read_capture(&capture).map_err(|e| wrong(&e))?;
        records.iter().try_for_each(|record| printer.play(&mut replay, record)).or_else(enough)?;
    } else {
        let damaged = |e: TraceError| Failure::failed(shown.to_string()).cause(e);
        let mut reader = TraceReader::new(file).map_err(damaged)?;
        loop {
            match reader.next_record() {
                Ok(None) => break,
                Ok(Some(record)) => {
                    if let Err(error) = printer.play(&mut replay, &record) {
                        enough(error)?;
                        break;
                    }
                }
                Err(error) => {
                    printer.out.flush().or_else(enough)?;
                    return Err(damaged(error));
                }
            }
        }
        notes.extend(reader.cut().map(|bytes| format!("the file ends within a record: {bytes} bytes are not read")));
    }
    printer.out.flush().or_else(enough)?;
    let counts = replay.counts();
    notes.insert(0, summary(counts));
    let exit = if counts.faults > 0 { Exit::Failed } else { Exit::Done };
    Ok(Outcome::done("").with_notes(notes).ending(exit))
}

/// Whoever read us has enough, which is no failure.
fn enough(error: io::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure::failed("standard output cannot be written").cause(error)),
    }
}

fn number(count: u64, what: &str) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), what)
}

fn summary(counts: ReplayCounts) -> String {
    let mut text = format!("{} of {}", number(counts.frames, "frame"), number(counts.connections, "connection"));
    if counts.faults > 0 {
        text += &format!("; {} not to be read, with {} behind", counts.faults, number(counts.unread, "byte"));
    }
    if counts.lost > 0 {
        text += &format!("; {} not in the trace", number(counts.lost, "byte"));
    }
    text
}

struct Printer<W: Write> {
    out: BufWriter<W>,
    output: Output,
    failed: Option<io::Error>,
}

impl<W: Write> Printer<W> {
    fn play(&mut self, replay: &mut Replay, record: &Record) -> io::Result<()> {
        replay.play(record, &mut |line| self.print(&line));
        self.failed.take().map_or(Ok(()), Err)
    }

    fn print(&mut self, line: &ReplayLine) {
        if self.failed.is_some() {
            return;
        }
        let done = match self.output {
            Output::Table => writeln!(self.out, "{}", console::printable(&line.to_string())),
            Output::Json => writeln!(self.out, "{}", line.to_json()),
        };
        self.failed = done.err();
    }
}
