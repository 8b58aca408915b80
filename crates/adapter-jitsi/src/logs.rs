//! What a focus writes into its log, read back.

use crate::brewery::read_number;

mod event;
mod follow;
mod history;
mod lines;
#[cfg(test)]
mod tests;

pub use event::{LogEvent, LogEventKind, LoggedBridge};
pub use follow::{FollowStart, Followed, LogFollower, MAX_FOLLOW_READ};
pub use history::{BridgeChange, BridgeHistory, BridgeStep, MAX_HISTORY, MAX_NOTES};
pub use lines::{LineSplitter, MAX_LINE};

/// How far into a line the word `Jicofo` may stand: containers and journals write something before it.
const MAX_PREFIX: usize = 256;
/// How many groups in brackets are read.
const MAX_GROUPS: usize = 4;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// For those who look for a bug.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is odd.
    Warning,
    /// Something went wrong.
    Error,
}

impl LogLevel {
    /// Reads the word for it in any language the focus's virtual machine speaks; `None` for other words.
    pub fn read(word: &str) -> Option<Self> {
        let upper = word.to_uppercase();
        Some(match upper.as_str() {
            "FINE" | "FINER" | "FINEST" | "CONFIG" | "DEBUG" | "TRACE" | "ALL" => Self::Debug,
            "FEIN" | "FEINER" | "AM FEINSTEN" | "KONFIGURATION" => Self::Debug,
            "PRÉCIS" | "PLUS PRÉCIS" | "LE PLUS PRÉCIS" => Self::Debug,
            "INFO" | "INFOS" | "INFORMATION" | "INFORMACIÓN" | "INFORMAZIONI" | "INFORMAÇÕES" | "情報" | "信息" => {
                Self::Info
            }
            "WARNING" | "WARN" | "WARNUNG" | "AVERTISSEMENT" | "ADVERTENCIA" | "AVVERTENZA" | "ADVERTÊNCIA"
            | "VARNING" | "警告" => Self::Warning,
            "SEVERE" | "ERROR" | "SCHWERWIEGEND" | "GRAVE" | "ALLVARLIG" | "重大" | "严重" => Self::Error,
            _ => return None,
        })
    }

    /// `debug`, `info`, `warning` or `error`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl std::fmt::Display for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line of a focus's log, borrowed from its text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LogLine<'a> {
    /// Date and time as written, in the time zone of the focus: `2026-08-20 09:00:01.001`.
    pub time: &'a str,
    /// How grave it is; `None` where the word for it is not known.
    pub level: Option<LogLevel>,
    /// The number of the thread.
    pub thread: Option<u64>,
    /// The room it is about.
    pub room: Option<&'a str>,
    /// Class and method that wrote it; empty if it does not say.
    pub source: &'a str,
    /// The text itself.
    pub text: &'a str,
    /// What it tells; `None` where it is of no interest here.
    pub event: Option<LogEvent<'a>>,
}

impl LogLine<'_> {
    /// What an operator should know about a line that looks worse, or better, than it is.
    pub fn explain(&self) -> Option<&'static str> {
        use LogEventKind as Kind;
        if self.text.starts_with("No pub-sub node mapped") {
            return Some("harmless where bridges report through the brewery: no pub-sub node is needed then");
        }
        Some(match self.event.as_ref()?.kind {
            Kind::BridgeLost => "the bridge left without having announced it: look at its process and its connection",
            Kind::HealthTimedOut => "the bridge gets nobody new, but its conferences stay until a request to it fails",
            Kind::HealthFailed => "the bridge says of itself that it is ill; its conferences are moved away",
            Kind::NoOperationalBridges => "every bridge failed within the last minute or none is there",
            Kind::NoRelay => "conferences stay on one bridge: relays are off, or this bridge has no relay id",
            Kind::AllocateFailed => {
                "the bridge did not give a place; the participant is without media until re-invited"
            }
            Kind::NoBridgeAvailable => "the participant is in the room without media; a bridge that comes cures it",
            _ => return None,
        })
    }
}

/// Reads one line of a focus's log: the forms of before and since 2021, with level names and decimal marks of English,
/// French, German and other hosts. `None` for what is no such line (a stack trace, an empty line). Reads at most
/// [`MAX_LINE`] bytes.
///
/// ```
/// use adapter_jitsi::{LogEventKind, LogLevel, read_log_line};
///
/// let line = "Jicofo 2020-05-09 12:06:31.276 INFOS: [22] org.jitsi.jicofo.bridge.BridgeSelector.log() Added new \
///             videobridge: Bridge[jid=jvbbrewery@internal.auth.meet.example/jvb1, region=null, stress=0,25]";
/// let line = read_log_line(line).unwrap();
/// let event = line.event.unwrap();
/// assert_eq!((line.level, event.kind), (Some(LogLevel::Info), LogEventKind::BridgeAdded));
/// let bridge = event.bridge.unwrap();
/// assert_eq!((bridge.nick, bridge.stress), ("jvb1", Some(0.25)));
/// ```
pub fn read_log_line(line: &str) -> Option<LogLine<'_>> {
    let line = match line.len() > MAX_LINE {
        true => head(line, MAX_LINE),
        false => line,
    };
    let at = head(line, MAX_PREFIX).find("Jicofo ")?;
    let rest = line[at + "Jicofo ".len()..].trim_end_matches(['\r', '\n']);
    let (date, rest) = rest.split_once(' ')?;
    let (clock, rest) = rest.split_once(' ')?;
    let stamp = |text: &str, between: [char; 2]| {
        text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_digit() || between.contains(&char::from(b)) || b == b':')
    };
    if !stamp(date, ['-', '-']) || !stamp(clock, ['.', ',']) {
        return None;
    }
    // Both are parts of one text, with one blank between them.
    let start = at + "Jicofo ".len();
    let time = line.get(start..start + date.len() + 1 + clock.len())?;
    let (word, mut rest) = rest.split_once(": ").or_else(|| Some((rest.strip_suffix(':')?, "")))?;
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let (mut thread, mut room) = (None, None);
    for _ in 0..MAX_GROUPS {
        rest = rest.trim_start();
        let Some((group, behind)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) else { break };
        if let Ok(number) = group.parse() {
            thread = thread.or(Some(number));
        } else if group.contains('=') {
            room = room.or_else(|| group.split(' ').find_map(|pair| pair.strip_prefix("room=")));
        } else {
            break;
        }
        rest = behind;
    }
    let (source, text) = split_source(rest.trim_start());
    Some(LogLine { time, level: LogLevel::read(word), thread, room, source, text, event: LogEvent::read(text) })
}

/// `Class.method#12: text`, or as it was once: `package.Class.method().12 text`.
fn split_source(rest: &str) -> (&str, &str) {
    let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
    if let Some((source, line)) = first.strip_suffix(':').and_then(|first| first.rsplit_once('#'))
        && line.bytes().all(|b| b.is_ascii_digit())
    {
        return (source, text.trim_start());
    }
    if let Some((source, line)) = first.split_once("()")
        && line.bytes().all(|b| b == b'.' || b.is_ascii_digit())
    {
        return (source, text.trim_start());
    }
    ("", rest)
}

/// At most that many bytes of a text.
fn head(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A number with the decimal mark of any locale.
fn number(text: &str) -> Option<f64> {
    read_number(&text.replace(',', ".")).filter(|number| number.is_finite())
}
