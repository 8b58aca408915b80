//! Commands, written so that HAProxy reads what was meant.

use std::fmt;
use std::str::FromStr;

use super::error::{CommandError, Refusal, RefusalKind, shown};
use super::reply::{Reply, spot};
use super::session::Level;
use super::word::{check_characters, check_name, check_word, push_word};

mod map;
mod server;
mod show;
mod table;

pub use map::MapEntry;
pub use server::{AddServer, AdminState, AgentState, HealthState, WeightChange};
pub use show::{StatKinds, StatScope};
pub use table::{TableFilter, TableKey, TableTest};

/// The most bytes of one command with its payload: what the default `tune.bufsize` of 16 KiB holds, with room left.
pub const MAX_REQUEST: usize = 15_000;

/// What an answer says when the command succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// Nothing. A notice is no refusal.
    Silence,
    /// One of these, perhaps among notices.
    Says(&'static [&'static str]),
    /// What became of an address and a port.
    Address,
    /// Whatever was asked for.
    Data,
}

/// One command, and how its answer is to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    line: String,
    payload: String,
    expect: Expect,
    level: Level,
    writes: bool,
}

impl Command {
    fn new(line: impl Into<String>, expect: Expect, level: Level) -> Self {
        let writes = expect != Expect::Data;
        Self { line: line.into(), payload: String::new(), expect, level, writes }
    }

    fn read(line: impl Into<String>) -> Self {
        Self::new(line, Expect::Data, Level::User)
    }

    fn order(line: impl Into<String>) -> Self {
        Self::new(line, Expect::Silence, Level::Admin)
    }

    fn says(line: impl Into<String>, words: &'static [&'static str]) -> Self {
        Self::new(line, Expect::Says(words), Level::Admin)
    }

    fn at(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Adds a word, escaped.
    fn word(mut self, text: &str) -> Self {
        push_word(&mut self.line, text);
        self
    }

    fn with_payload(mut self, payload: String) -> Self {
        self.payload = payload;
        self
    }

    /// Any command, as typed: one that this crate has no constructor for. Any answer but a refusal known by its words
    /// or its severity is success, and it counts as an order, so it is never sent twice.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if it is more than one command, asks for a payload, is meant for a master, or would change how
    /// the connection answers (`prompt`, `quit`, `set severity-output`, `operator`, `user`).
    pub fn raw(line: &str) -> Result<Self, CommandError> {
        let what = "command";
        let line = line.trim();
        if line.is_empty() {
            return Err(CommandError::Empty { what });
        }
        check_characters(what, line)?;
        let reserved = |why| Err(CommandError::Reserved { what, text: shown(line), why });
        let mut escaped = false;
        for c in line.chars() {
            match c {
                ';' if !escaped => return reserved("a semicolon begins another command: send them one by one"),
                '\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        if escaped {
            return reserved("the backslash at its end would take the line feed with it");
        }
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first.starts_with('@') {
            return reserved("it is meant for a master: use the master client");
        }
        if matches!(first, "prompt" | "quit" | "exit" | "operator" | "user")
            || line.starts_with("set severity-output")
            || line.starts_with("set timeout")
        {
            return reserved("it would change the connection itself");
        }
        if line.contains("<<") {
            return reserved("HAProxy would wait for a payload; write \\<\\< if it is meant as text");
        }
        Self { writes: true, ..Self::read(line) }.fits()
    }

    /// The line, without its payload and line feed.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The lines of its payload.
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// Whether it changes something, so that it is not sent again of itself.
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// The level it takes.
    pub fn level(&self) -> Level {
        self.level
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.line.as_bytes());
        if !self.payload.is_empty() {
            out.extend_from_slice(b" <<\n");
            out.extend_from_slice(self.payload.as_bytes());
        }
        out.push(b'\n');
    }

    /// Bytes on the wire, without a prefix.
    pub fn encoded_len(&self) -> usize {
        self.line.len() + 1 + if self.payload.is_empty() { 0 } else { self.payload.len() + 4 }
    }

    /// Refuses what is longer than HAProxy reads.
    fn fits(self) -> Result<Self, CommandError> {
        let len = self.encoded_len();
        if len > MAX_REQUEST {
            return Err(CommandError::TooLong { what: "command", len, max: MAX_REQUEST });
        }
        Ok(self)
    }

    /// Takes an answer: its text if the command succeeded.
    ///
    /// # Errors
    ///
    /// [`Refusal`], with the kind told by HAProxy's words.
    pub fn accept<'r>(&self, reply: &'r Reply) -> Result<&'r str, Refusal> {
        let text = reply.text();
        if self.is_success(reply) {
            return Ok(text);
        }
        let kind = spot(text, false).unwrap_or(RefusalKind::Other);
        Err(Refusal { kind, command: shown(&self.line), text: shown(text), needs: Some(self.level), has: None })
    }

    fn is_success(&self, reply: &Reply) -> bool {
        let text = reply.text();
        let refused = || reply.is_refusal_by_severity() || spot(text, !self.writes).is_some();
        match self.expect {
            Expect::Silence => text.trim().is_empty() || (reply.is_notice() && !refused()),
            Expect::Says(words) => words.iter().any(|word| text.contains(word)),
            Expect::Address => {
                let done = ["changed from '", "no need to change the addr", "nothing changed"];
                done.iter().any(|word| text.contains(word)) && !text.contains("can't change")
            }
            Expect::Data => !refused(),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// A server by backend and name, as commands write it: `rooms/mm1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName {
    text: String,
    slash: usize,
}

impl ServerName {
    /// The server of this name in this backend.
    ///
    /// # Errors
    ///
    /// [`CommandError`] unless both are names HAProxy allows: letters, digits and `-_.:`.
    pub fn new(backend: &str, server: &str) -> Result<Self, CommandError> {
        check_name("backend", backend)?;
        check_name("server", server)?;
        Ok(Self { text: format!("{backend}/{server}"), slash: backend.len() })
    }

    /// The backend.
    pub fn backend(&self) -> &str {
        self.text.get(..self.slash).unwrap_or_default()
    }

    /// The server's name in it.
    pub fn server(&self) -> &str {
        self.text.get(self.slash + 1..).unwrap_or_default()
    }

    /// Both, with a slash between them.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ServerName {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        let (backend, server) = text.split_once('/').unwrap_or((text, ""));
        Self::new(backend, server)
    }
}

fn backend_word(backend: &str) -> Result<(), CommandError> {
    check_name("backend", backend)
}

fn word_of(what: &'static str, text: &str) -> Result<(), CommandError> {
    check_word(what, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn raw_commands_stay_one_command() {
        for bad in [
            "",
            "a;b",
            "a\nb",
            "prompt",
            "quit",
            "@1 show info",
            "add map x <<",
            "del map x y<<",
            "set severity-output none",
            "user",
            "x\\",
            "a \\\\;b",
        ] {
            assert!(Command::raw(bad).is_err(), "{bad:?}");
        }
        for good in ["show activity", "get map x a\\;b", "x\\\\"] {
            assert!(Command::raw(good).is_ok(), "{good:?}");
        }
        assert!(Command::raw(&"x".repeat(MAX_REQUEST)).is_err());
    }

    #[test]
    fn answers_are_success_or_refusal() {
        let name = ServerName::new("b", "s").unwrap();
        let state = Command::set_state(&name, AdminState::Drain);
        assert!(state.accept(&Reply::new("", None)).is_ok());
        assert!(state.accept(&Reply::new("something to know", Some(6))).is_ok());
        for (text, severity, kind) in [
            ("No such server.", None, RefusalKind::NoServer),
            ("Permission denied", Some(3), RefusalKind::Permission),
            ("Unknown command: 'x', but", Some(6), RefusalKind::UnknownCommand),
            ("never heard of", None, RefusalKind::Other),
        ] {
            assert_eq!(state.accept(&Reply::new(text, severity)).unwrap_err().kind(), kind, "{text}");
        }
        // What answers a question may hold any words.
        let hit = Reply::new("type=str, found=yes, key=\"a\", value=\"referenced by b\", type=\"str\"", None);
        assert!(Command::get_map("m", "a").unwrap().accept(&hit).is_ok());
        assert!(Command::raw("add server a/b").unwrap().accept(&Reply::new("'id' : already used at x", None)).is_err());
        let address = Command::set_address(&name, "127.0.0.1".parse().unwrap(), Some(80));
        for (text, good) in [
            ("no need to change the addr, port changed from '1' to '80' by 'stats socket command'", true),
            ("no need to change the addr, can't change <port> to port map because", false),
            ("Invalid addr 'x' by 'stats socket command'", false),
            ("nothing changed", true),
            ("", false),
        ] {
            assert_eq!(address.accept(&Reply::new(text, Some(4))).is_ok(), good, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_name_escapes_its_word(backend in "\\PC{0,8}", server in "\\PC{0,8}") {
            if let Ok(name) = ServerName::new(&backend, &server) {
                prop_assert_eq!(name.backend(), backend);
                prop_assert_eq!(name.server(), server);
                prop_assert_eq!(name.as_str().parse::<ServerName>(), Ok(name.clone()));
            }
        }
    }
}
