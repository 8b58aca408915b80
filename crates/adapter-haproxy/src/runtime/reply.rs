//! Answers, read.

use super::error::{RefusalKind, ReplyError};

mod conn;
mod info;
mod map;
mod peers;
mod process;
mod sess;
mod stat;
mod state;
mod status;
mod table;
mod typed;

pub use conn::ServerConns;
pub use info::{CliSocket, Info, WeightInForce};
pub use map::{MapHit, MapInfo, MapLine};
pub use peers::{PeerState, PeerTable, PeersFlags, PeersSection};
pub use process::{MasterProcess, ProcessKind, Processes, ReloadOutcome};
pub use sess::SessionLine;
pub use stat::{StatColumns, StatKind, StatRow, StatTable};
pub use state::ServerState;
pub use status::ServerStatus;
pub use table::{TableEntry, TableInfo, TableReader};
pub use typed::{TypedField, TypedObject, TypedStat, TypedValue};

/// One answer: its text, and the severity HAProxy gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    text: String,
    severity: Option<u8>,
}

impl Reply {
    /// An answer, without the empty line at its end.
    pub fn new(text: impl Into<String>, severity: Option<u8>) -> Self {
        Self { text: text.into(), severity }
    }

    /// One line more.
    #[cfg_attr(not(feature = "runtime"), allow(dead_code))]
    pub(super) fn push(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let mut line: &str = &line;
        if self.text.is_empty() && self.severity.is_none() {
            (self.severity, line) = severity(line);
        } else {
            self.text.push('\n');
        }
        self.text.push_str(line);
    }

    /// The text, lines separated by line feeds.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The severity, as syslog counts: up to 4 is bad news, 5 and 6 are none. Questions have none.
    pub fn severity(&self) -> Option<u8> {
        self.severity
    }

    pub(super) fn is_refusal_by_severity(&self) -> bool {
        self.severity.is_some_and(|s| s <= 4)
    }

    pub(super) fn is_notice(&self) -> bool {
        self.severity.is_some_and(|s| s >= 5)
    }
}

/// Takes `[3]: ` from the beginning of a line.
#[cfg_attr(not(feature = "runtime"), allow(dead_code))]
pub(super) fn severity(line: &str) -> (Option<u8>, &str) {
    let parts = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ").or_else(|| rest.split_once("]:")));
    if let Some((digit, rest)) = parts
        && digit.len() == 1
        && let Ok(severity) = digit.parse()
    {
        return (Some(severity), rest);
    }
    (None, line)
}

/// The refusals known by their words: how they begin, or what they hold.
const REFUSALS: &[(&str, bool, RefusalKind)] = &[
    ("Permission denied", true, RefusalKind::Permission),
    ("# contents not dumped due to insufficient privileges", true, RefusalKind::Permission),
    ("Unknown command", true, RefusalKind::UnknownCommand),
    ("No such server.", true, RefusalKind::NoServer),
    ("No such backend.", true, RefusalKind::NoBackend),
    ("Can't find backend.", true, RefusalKind::NoBackend),
    ("Require 'backend/server'.", true, RefusalKind::Value),
    ("Unknown map identifier", true, RefusalKind::NoMap),
    ("Unknown ACL identifier", true, RefusalKind::NoMap),
    ("No such table", true, RefusalKind::NoTable),
    ("No such peers", true, RefusalKind::NoPeers),
    ("No such session", true, RefusalKind::NoEntry),
    ("No such proxy", true, RefusalKind::NoBackend),
    ("No such frontend", true, RefusalKind::NoBackend),
    ("entry not found.", true, RefusalKind::NoEntry),
    ("Key not found.", true, RefusalKind::NoEntry),
    ("Variable not found", true, RefusalKind::NoEntry),
    ("Version number out of range.", true, RefusalKind::NoVersion),
    ("Can't find the target", true, RefusalKind::NoProcess),
    ("Already exists a server", true, RefusalKind::Exists),
    ("already used at", false, RefusalKind::Exists),
    ("Only servers in maintenance mode can be deleted.", true, RefusalKind::NotInMaintenance),
    ("still has connections", false, RefusalKind::InUse),
    ("cannot be removed", false, RefusalKind::InUse),
    ("referenced by", false, RefusalKind::InUse),
    ("Backend is using a static LB algorithm", true, RefusalKind::Algorithm),
    ("Backend must use a dynamic load balancing", true, RefusalKind::Algorithm),
    ("Backend does not support dynamic servers", true, RefusalKind::Algorithm),
    ("agent checks are not enabled", true, RefusalKind::NotConfigured),
    ("Agent was not configured", true, RefusalKind::NotConfigured),
    ("Health check was not configured", true, RefusalKind::NotConfigured),
    ("health checks are not enabled", true, RefusalKind::NotConfigured),
    ("no resolution is configured", false, RefusalKind::NotConfigured),
    ("default-server should define ssl settings", false, RefusalKind::NotConfigured),
    ("This command is restricted to experimental mode", true, RefusalKind::Experimental),
    ("This command is restricted to expert mode", true, RefusalKind::Experimental),
    ("The command is too big", true, RefusalKind::TooBig),
    ("The command line is too big", true, RefusalKind::TooBig),
    ("Absolute weight can only be", true, RefusalKind::Value),
    ("Relative weight can only be", true, RefusalKind::Value),
    ("Empty weight string", true, RefusalKind::Value),
    ("maxconn string empty", true, RefusalKind::Value),
    ("Invalid key", true, RefusalKind::Value),
    ("Key value expected", true, RefusalKind::Value),
    ("Unknown data type", true, RefusalKind::Value),
    ("Data type not stored in this table", false, RefusalKind::Value),
    ("Filter entry #", true, RefusalKind::Value),
    ("Require a valid integer value", false, RefusalKind::Value),
    ("followed by a value expected", false, RefusalKind::Value),
    ("Invalid addr", true, RefusalKind::Value),
    ("invalid addr", true, RefusalKind::Value),
    ("can't change <port>", false, RefusalKind::Value),
    ("'set server <srv>", true, RefusalKind::Value),
    ("usage: ", true, RefusalKind::Value),
    ("unknown keyword", true, RefusalKind::Value),
    ("option is not accepted for dynamic server", false, RefusalKind::Value),
    ("' expects ", false, RefusalKind::Value),
    ("is not a valid IPv4 or IPv6 address", false, RefusalKind::Value),
];

/// The refusal this answer is, by its first line's words. What answers a question may hold any words: only how it
/// begins is looked at.
pub(super) fn spot(text: &str, question: bool) -> Option<RefusalKind> {
    let line = text.trim_start().lines().next().unwrap_or_default();
    if line.len() > 500 {
        return None;
    }
    let found = REFUSALS.iter().find(
        |(words, begins, _)| {
            if *begins { line.starts_with(words) } else { !question && line.contains(words) }
        },
    );
    found.map(|(_, _, kind)| *kind)
}

/// The lines of an answer with their numbers, from 1.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line))
}

fn number<T: std::str::FromStr>(text: &str, line: usize, whole: &str, what: &'static str) -> Result<T, ReplyError> {
    text.parse().map_err(|_| ReplyError::new(line, whole, what))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn severities() {
        assert_eq!(severity("[3]: No such server."), (Some(3), "No such server."));
        assert_eq!(severity("[6]: "), (Some(6), ""));
        for plain in ["[NOTICE]   (1) : x", "[12]: x", "x", "", "["] {
            assert_eq!(severity(plain), (None, plain));
        }
        let mut reply = Reply::default();
        reply.push(b"[6]: a");
        reply.push(b"[3]: b");
        assert_eq!(reply, Reply::new("a\n[3]: b", Some(6)));
    }

    /// Every parser, on any text.
    fn parse_all(text: &str) {
        let _ = (spot(text, true), spot(text, false));
        crate::testing::decoders::runtime_answers(text.as_bytes());
        crate::testing::decoders::stats_csv(text.as_bytes());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            parse_all(&text);
        }

        #[test]
        fn nothing_like_an_answer_panics(lines in proptest::collection::vec(
            "(1|# pxname,svname,|# be_id be_name srv_id|# bkname/svname bkid/svid|0x12: key=|# table: a, type: |  0x1: id=\
              |# workers|F\\.2\\.0\\.|3\\.Pid\\.1:|12 worker |0x1 |1 \\(|Success=|a/b 1/2 )[ -~é]{0,40}", 0..6,
        )) {
            parse_all(&lines.join("\n"));
        }
    }
}
