//! What a pasted log of a failed start means.

use std::fmt;

/// The longest text that is read, in bytes; what is beyond is left out.
pub const MAX_LOG_LEN: usize = 1024 * 1024;
/// The most findings of one text.
const MAX_FOUND: usize = 200;

/// Why a program did not start or work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogCause {
    /// Another program has the address.
    AddressInUse,
    /// The address needs rights the program does not have.
    PermissionDenied,
    /// The address does not belong to this host.
    AddressNotHere,
    /// The configuration has an error.
    Configuration,
    /// A peers section was dropped.
    PeersDropped,
    /// A file is missing or cannot be read.
    File,
    /// A name could not be resolved.
    Name,
    /// It answers nobody from outside.
    Unreachable,
    /// It ended without saying why.
    Exited,
}

/// One cause, with everything the lines say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogFinding {
    /// What it comes down to.
    pub cause: LogCause,
    /// The program that failed, `haproxy` or `nginx` or the unit's name.
    pub program: String,
    /// The configuration file, where named.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<usize>,
    /// The frontend, where named.
    pub frontend: Option<String>,
    /// The address, where named.
    pub address: Option<String>,
    /// How many lines say so.
    pub times: usize,
    /// What else the lines say about the same failure.
    pub notes: Vec<String>,
    /// What happened.
    pub text: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for LogFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:{}: ", self.line.unwrap_or(0))?;
        }
        write!(f, "error: {}: {}", self.program, self.text)?;
        for note in &self.notes {
            write!(f, "\n    note: {note}")?;
        }
        write!(f, "\n    help: {}", self.help)
    }
}

/// Reads what HAProxy, nginx and systemd wrote about a failure: one finding a cause, consequences folded into it.
///
/// ```
/// use adapter_haproxy::{LogCause, explain_log};
///
/// let found = explain_log("nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)");
/// assert_eq!(found[0].cause, LogCause::AddressInUse);
/// assert_eq!(found[0].address.as_deref(), Some("0.0.0.0:80"));
/// ```
pub fn explain_log(text: &str) -> Vec<LogFinding> {
    let mut end = text.len().min(MAX_LOG_LEN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut found: Vec<LogFinding> = Vec::new();
    let mut notes: Vec<(String, String)> = Vec::new();
    for line in text[..end].lines() {
        if let Some(finding) = haproxy(line).or_else(|| nginx(line)).or_else(|| unreachable(line)) {
            let same = |known: &&mut LogFinding| {
                known.cause == finding.cause
                    && known.program == finding.program
                    && known.address == finding.address
                    && (&known.file, known.line) == (&finding.file, finding.line)
                    && (known.cause != LogCause::Configuration || known.text == finding.text)
            };
            if let Some(known) = found.iter_mut().find(same) {
                known.times += 1;
            } else if found.len() < MAX_FOUND {
                found.push(finding);
            }
        } else if let Some(note) = consequence(line)
            && notes.len() < MAX_FOUND
        {
            notes.push(note);
        }
    }
    let both: Vec<String> =
        found.iter().filter(|f| f.cause == LogCause::AddressInUse).map(|f| f.program.clone()).collect();
    for finding in &mut found {
        if let Some(other) = both.iter().find(|other| **other != finding.program)
            && finding.cause == LogCause::AddressInUse
        {
            finding.notes.push(format!("{other} wants an address of this kind too: one of them must move"));
        }
    }
    for (program, note) in notes {
        let at = found.iter().position(|finding| finding.program == program).unwrap_or_else(|| {
            let help =
                format!("journalctl -u {program} -n 50 shows the lines before, systemctl status {program} the state");
            found.push(new(LogCause::Exited, &program, "it stopped; these lines do not say why".into(), help));
            found.len() - 1
        });
        if !found[at].notes.contains(&note) {
            found[at].notes.push(note);
        }
    }
    found
}

fn new(cause: LogCause, program: &str, text: String, help: impl Into<String>) -> LogFinding {
    LogFinding {
        cause,
        program: program.to_owned(),
        file: None,
        line: None,
        frontend: None,
        address: None,
        times: 1,
        notes: Vec::new(),
        text,
        help: help.into(),
    }
}

/// What stands between two texts.
fn between<'a>(line: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let rest = line.split_once(open)?.1;
    Some(rest.split_once(close)?.0)
}

fn place(finding: &mut LogFinding, line: &str) {
    let words = line.split('[').filter_map(|rest| rest.split_once(']')).map(|(inner, _)| inner);
    for inner in words {
        if let Some((file, number)) = inner.rsplit_once(':')
            && file.contains(['/', '.'])
            && let Ok(number) = number.parse()
        {
            (finding.file, finding.line) = (Some(file.to_owned()), Some(number));
            return;
        }
    }
}

fn haproxy(line: &str) -> Option<LogFinding> {
    let at = ["[ALERT]", "[WARNING]"].iter().find_map(|level| line.find(level))?;
    let line = &line[at..];
    if let Some(address) = line.contains("cannot bind").then(|| between(line, "for [", "]")) {
        let why = between(line, "cannot bind socket (", ")").unwrap_or("unknown reason");
        let address = address.unwrap_or("?");
        let (cause, help) = cause_of(why, address);
        let mut finding =
            new(cause, "haproxy", format!("cannot listen on {address}: {}", why.to_ascii_lowercase()), help);
        place(&mut finding, line);
        finding.address = Some(address.to_owned());
        finding.frontend =
            between(line, "for frontend ", ":").or_else(|| between(line, "for proxy ", ":")).map(str::to_owned);
        return Some(finding);
    }
    let text = line.rsplit_once("] : ").or_else(|| line.rsplit_once("config : ")).map_or(line, |(_, text)| text).trim();
    let (cause, help) = if line.contains("Removing incomplete section 'peers") {
        (LogCause::PeersDropped, "no peer has this host's name: localpeer NAME in global, or start with -L NAME")
    } else if line.contains("could not resolve address") {
        (
            LogCause::Name,
            "look at the name and at DNS, or start without it: init-addr last,libc,none on the server line",
        )
    } else if line.contains("unable to stat SSL certificate") || line.contains("failed to open") {
        (LogCause::File, "look at the path and at who may read it")
    } else if line.contains("parsing [") && line.starts_with("[ALERT]") {
        (LogCause::Configuration, "haproxy -c -f FILE repeats this; check the file for the way to write it today")
    } else {
        return None;
    };
    let mut finding = new(cause, "haproxy", text.to_owned(), help);
    place(&mut finding, line);
    Some(finding)
}

fn cause_of(why: &str, address: &str) -> (LogCause, String) {
    let port = address.rsplit(':').next().unwrap_or("PORT");
    if why.contains("in use") {
        let help = format!(
            "see who has it: ss -ltnp 'sport = :{port}'; if it is a web server, move it to another port in all of its \
             files and name that port in HAProxy's server lines. haproxy -c does not see this"
        );
        return (LogCause::AddressInUse, help);
    }
    if why.contains("ermission denied") {
        let help = "ports below 1024 need root or CAP_NET_BIND_SERVICE: start it as a service of the system";
        return (LogCause::PermissionDenied, help.into());
    }
    if why.contains("annot assign") {
        let help = "the address is not on this host: ip address shows which are; a floating one needs net.ipv4.ip_nonlocal_bind=1";
        return (LogCause::AddressNotHere, help.into());
    }
    (LogCause::Exited, "the reason is in the parentheses; haproxy -c -f FILE may say more".into())
}

fn nginx(line: &str) -> Option<LogFinding> {
    let line = &line[line.find("[emerg]")?..];
    if let Some(rest) = line.split_once("bind() to ").map(|(_, rest)| rest) {
        let address = rest.split_once(" failed")?.0;
        let why = between(rest, "(", ")").unwrap_or("unknown reason");
        let why = why.split_once(": ").map_or(why, |(_, why)| why);
        let (cause, help) = cause_of(why, address);
        let mut finding =
            new(cause, "nginx", format!("cannot listen on {address}: {}", why.to_ascii_lowercase()), help);
        finding.address = Some(address.to_owned());
        return Some(finding);
    }
    if line.contains("still could not bind") {
        return None;
    }
    let text = line.trim_start_matches("[emerg]").trim();
    let text = text.split_once("#").and_then(|(_, rest)| rest.split_once(": ")).map_or(text, |(_, text)| text);
    let mut finding = new(LogCause::Configuration, "nginx", text.to_owned(), "nginx -t repeats this");
    if let Some((file, number)) = text.rsplit_once(" in ").and_then(|(_, place)| place.rsplit_once(':')) {
        (finding.file, finding.line) = (Some(file.to_owned()), number.trim().parse().ok());
    }
    Some(finding)
}

fn unreachable(line: &str) -> Option<LogFinding> {
    let lost = ["ERR_CONNECTION_TIMED_OUT", "Connection timed out", "Couldn't connect to server", "No route to host"];
    lost.iter().find(|text| line.contains(**text))?;
    let port = line
        .split(|c: char| !c.is_ascii_digit() && c != ':')
        .find_map(|word| word.rsplit(':').next()?.parse::<u16>().ok().filter(|port| *port > 0 && word.contains(':')));
    let port = port.or_else(|| between(line, "port ", " ")?.parse().ok());
    let shown = port.map_or_else(|| "PORT".to_owned(), |port| port.to_string());
    let help = format!("if it listens (ss -ltn 'sport = :{shown}'), a firewall drops it: ufw allow {shown}");
    let mut finding = new(LogCause::Unreachable, "client", "no answer from outside".into(), help);
    finding.address = port.map(|port| port.to_string());
    Some(finding)
}

/// What only follows from another failure: whose, and what it says.
fn consequence(line: &str) -> Option<(String, String)> {
    if line.contains("Some protocols failed to start their listeners") {
        return Some(("haproxy".into(), "so HAProxy did not start at all".into()));
    }
    if line.contains("still could not bind()") {
        return Some(("nginx".into(), "nginx gave up after its tries".into()));
    }
    let rest = line.split_once("systemd[").and_then(|(_, rest)| rest.split_once("]: "))?.1;
    let (unit, said) = rest.split_once(".service")?;
    let unit = unit.rsplit(' ').next().unwrap_or(unit).to_owned();
    if let Some(code) = said.split_once("status=").map(|(_, code)| code) {
        return Some((unit, format!("it ended with status {}", code.trim_end())));
    }
    if let Some(count) = said.split_once("restart counter is at ").map(|(_, count)| count) {
        let count = count.trim_end_matches(['.', ' ']);
        return Some((unit, format!("systemd has started it again {count} times; that does not cure it")));
    }
    if said.contains("Start request repeated too quickly") {
        return Some((unit.clone(), format!("systemd gave up: systemctl reset-failed {unit} once it is cured")));
    }
    None
}
