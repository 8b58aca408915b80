//! `predict`: the server of each key or request, as HAProxy would choose it.

use std::io::{self, BufWriter, Write};

use adapter_haproxy::balance::{Predictor, Request};
use serde_json::json;

use crate::cli::{Listing, PredictArgs};
use crate::keys::Lines;
use crate::model::{Model, refused};
use console::printable;
use console::{Exit, Failure, Outcome};

/// Predicts, writing as it reads.
///
/// # Errors
///
/// A backend that cannot be modelled, a key no request can have.
pub(crate) fn run(args: &PredictArgs, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let model = Model::of(&args.backend, args.requests)?;
    let mut haproxy = Predictor::new(model.spec()?).map_err(|why| refused("", &why))?;
    let mut out = BufWriter::new(out);
    let mut lines = Lines::of(&args.keys)?;
    let mut line = Vec::new();
    let (mut asked, mut lost, mut by_chance) = (0_u64, 0_u64, 0_u64);
    while lines.next(&mut line)? {
        let pinned = if args.requests { None } else { model.pin(&line) };
        let written = if line.is_empty() && !args.requests {
            // Line for line, but for JSON, where a blank one is no object.
            if args.output == Listing::Json { Ok(()) } else { writeln!(out) }
        } else if let Some(server) = pinned {
            asked += 1;
            write_one(&mut out, args.output, &line, &Answer::pinned(server))
        } else {
            asked += 1;
            let request = if args.requests { read_request(&line, args) } else { model.request(&line) };
            let request = request.map_err(|why| Failure::failed(format!("{}: {why}", lines.place())))?;
            let mut why = if args.output == Listing::Json { haproxy.explain(&request).why } else { Vec::new() };
            if !args.requests {
                // What the rules were rewritten to is no matter of the reader's.
                why.iter_mut().for_each(|line| *line = line.replace(" under query", " under this key"));
            }
            let found = haproxy.route(&request);
            let server = found.server().map(str::to_owned);
            lost += u64::from(server.is_none());
            by_chance += u64::from(found.by_chance);
            let answer = Answer { server, outcome: found.outcome.to_string(), by_chance: found.by_chance, why };
            write_one(&mut out, args.output, &line, &answer)
        };
        match written {
            // Whoever read us has enough.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(Outcome::done("")),
            done => done.map_err(|e| Failure::failed("standard output cannot be written").cause(e))?,
        }
    }
    match out.flush() {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::failed("standard output cannot be written").cause(e));
        }
        _ => {}
    }
    drop(out);
    let exit = match lost {
        0 => Exit::Done,
        lost if lost < asked => Exit::Partly,
        _ => Exit::Failed,
    };
    let notes = (lost > 0).then(|| format!("{lost} of {asked} find no server"));
    let chance =
        (by_chance > 0).then(|| format!("chance decides {by_chance} of {asked}: any usable server is possible"));
    Ok(Outcome::done("").with_notes(model.notes).with_notes(notes).with_notes(chance).ending(exit))
}

/// What is written of one key.
struct Answer {
    server: Option<String>,
    outcome: String,
    by_chance: bool,
    why: Vec<String>,
}

impl Answer {
    fn pinned(server: &str) -> Self {
        let why = vec![format!("{server} is pinned by the map file")];
        Self { server: Some(server.to_owned()), outcome: server.to_owned(), by_chance: false, why }
    }
}

fn write_one(out: &mut dyn Write, output: Listing, key: &[u8], answer: &Answer) -> io::Result<()> {
    let shown = printable(answer.server.as_deref().unwrap_or("<none>"));
    let key = String::from_utf8_lossy(key);
    match output {
        Listing::Plain => writeln!(out, "{shown}"),
        Listing::Wide => writeln!(out, "{shown}\t{}", printable(&key)),
        Listing::Json => writeln!(
            out,
            "{}",
            json!({
                "key": key,
                "server": answer.server,
                "outcome": answer.outcome,
                "by_chance": answer.by_chance,
                "why": answer.why,
            })
        ),
    }
}

/// `[METHOD] TARGET`, then headers, parted by tabs.
fn read_request(line: &[u8], args: &PredictArgs) -> Result<Request, String> {
    let mut fields = line.split(|byte| *byte == b'\t');
    let first = fields.next().unwrap_or_default();
    let (method, target) = match first.iter().position(|byte| *byte == b' ') {
        Some(at) => (&first[..at], &first[at + 1..]),
        None => (&b"GET"[..], first),
    };
    let plain = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    if !plain(method) || !plain(target) {
        let shown = printable(&String::from_utf8_lossy(first));
        return Err(format!("{shown:?} is no request: write [METHOD] TARGET as it is sent, blanks as %20"));
    }
    let mut request = Request::get(target).method(String::from_utf8_lossy(method));
    for field in fields {
        let field = String::from_utf8_lossy(field);
        let (name, value) =
            field.split_once(':').ok_or_else(|| format!("{field:?} is no header: write NAME: VALUE"))?;
        request = request.header(name.trim(), value.trim());
    }
    Ok(match args.from {
        Some(address) => request.source(address),
        None => request,
    })
}
