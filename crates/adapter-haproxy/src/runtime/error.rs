//! What can go wrong, by what the caller can do about it.

use std::fmt;
#[cfg(feature = "runtime")]
use std::io;
#[cfg(feature = "runtime")]
use std::time::Duration;

use thiserror::Error;

use crate::HaproxyVersion;

use super::session::Level;
#[cfg(feature = "runtime")]
use super::session::SessionError;

/// The longest text of HAProxy or of a caller that an error repeats.
const MAX_SHOWN: usize = 200;

pub(super) fn shown(text: &str) -> String {
    let mut out: String = text.trim().chars().take(MAX_SHOWN).collect();
    if out.len() < text.trim().len() {
        out.push('…');
    }
    out
}

/// A command that cannot be written so that HAProxy reads what was meant. Nothing was sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// A word is missing.
    #[error("the {what} is empty: HAProxy would take the next word for it")]
    Empty {
        /// Which word.
        what: &'static str,
    },
    /// A word has a character that cannot be sent.
    #[error("the {what} {text:?} has {found:?}, which {why}")]
    Character {
        /// Which word.
        what: &'static str,
        /// The word, cut.
        text: String,
        /// The character.
        found: char,
        /// What HAProxy makes of it.
        why: &'static str,
    },
    /// A word has a meaning of its own.
    #[error("the {what} {text:?} cannot be sent: {why}")]
    Reserved {
        /// Which word.
        what: &'static str,
        /// The word, cut.
        text: String,
        /// What HAProxy makes of it.
        why: &'static str,
    },
    /// The command is longer than HAProxy reads.
    #[error(
        "the {what} takes {len} bytes, HAProxy reads {max}: divide it, or raise tune.bufsize and the client's limit"
    )]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A number outside its range.
    #[error("the {what} {value} is not between {min} and {max}")]
    Range {
        /// Which number.
        what: &'static str,
        /// The number.
        value: u64,
        /// The smallest one.
        min: u64,
        /// The largest one.
        max: u64,
    },
    /// This release does not have it.
    #[error("{what} needs HAProxy {needs}, this one is {has}: {remedy}")]
    TooOld {
        /// What is not there.
        what: &'static str,
        /// The first release with it.
        needs: HaproxyVersion,
        /// The release at hand.
        has: HaproxyVersion,
        /// What can be done instead.
        remedy: &'static str,
    },
}

/// An answer that is not what this command answers.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "line {line} of the answer{} is not understood ({text:?}): expected {expected}; is this release newer than the client?",
    if command.is_empty() { String::new() } else { format!(" to {command:?}") }
)]
pub struct ReplyError {
    pub(super) command: String,
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) expected: &'static str,
}

impl ReplyError {
    pub(super) fn new(line: usize, text: &str, expected: &'static str) -> Self {
        Self { command: String::new(), line, text: shown(text), expected }
    }

    #[cfg_attr(not(feature = "runtime"), allow(dead_code))]
    pub(super) fn of(mut self, command: &str) -> Self {
        self.command = shown(command);
        self
    }

    /// The line of the answer, from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

/// Why HAProxy refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalKind {
    /// The socket may not do this.
    Permission,
    /// No backend of this name.
    NoBackend,
    /// No server of this name.
    NoServer,
    /// No such map or list.
    NoMap,
    /// No such stick table.
    NoTable,
    /// No such peers section.
    NoPeers,
    /// No such entry, session or variable.
    NoEntry,
    /// No prepared version of this number.
    NoVersion,
    /// No such worker.
    NoProcess,
    /// The name or the id is taken.
    Exists,
    /// The server must be in maintenance first.
    NotInMaintenance,
    /// The server still has connections, or rules refer to it.
    InUse,
    /// The backend's algorithm does not allow it.
    Algorithm,
    /// The check, agent, TLS or resolver this is about is not configured.
    NotConfigured,
    /// Experimental in this release.
    Experimental,
    /// Unknown in this release.
    UnknownCommand,
    /// Longer than `tune.bufsize`.
    TooBig,
    /// A value HAProxy does not take.
    Value,
    /// None of these; the text says it.
    Other,
}

impl RefusalKind {
    /// What can be done, in a few words.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Permission => "use a socket with a higher level (`stats socket … level admin`)",
            Self::NoBackend => "name a backend that `show backend` lists",
            Self::NoServer => "name a server that `show servers state` lists",
            Self::NoMap => "name the file as the configuration does; `show map` lists them",
            Self::NoTable => "name a table that `show table` lists; those of a peers section are section/table",
            Self::NoPeers => "name a peers section of the configuration",
            Self::NoEntry => "list the entries first, or add it",
            Self::NoVersion => "prepare a new version: this one is in force, dropped, or of another process",
            Self::NoProcess => "look at `show proc` for the workers there are",
            Self::Exists => "choose another name or id; ids are never used twice",
            Self::NotInMaintenance => "put the server in maintenance first",
            Self::InUse => "shut its sessions down and wait until its connections are gone",
            Self::Algorithm => "use a dynamic algorithm: roundrobin, leastconn, random or a consistent hash",
            Self::NotConfigured => "configure it on the server line, then reload",
            Self::Experimental => "use a release in which it is stable",
            Self::UnknownCommand => "use a release that has it",
            Self::TooBig => "divide it, or raise tune.bufsize",
            Self::Value => "correct the value",
            Self::Other => "see the text",
        }
    }
}

/// HAProxy understood where the command ends, and refused it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct Refusal {
    pub(super) kind: RefusalKind,
    pub(super) command: String,
    pub(super) text: String,
    pub(super) needs: Option<Level>,
    pub(super) has: Option<Level>,
}

impl Refusal {
    /// Why.
    pub fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// HAProxy's words, cut.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The command, cut.
    pub fn command(&self) -> &str {
        &self.command
    }

    #[cfg_attr(not(feature = "runtime"), allow(dead_code))]
    pub(super) fn at_level(mut self, has: Option<Level>) -> Self {
        self.has = has;
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.text.is_empty() { "no answer" } else { &self.text };
        write!(f, "HAProxy refused {:?}: {text}", self.command)?;
        if self.kind == RefusalKind::Permission {
            if let Some(has) = self.has {
                write!(f, "; the level of this socket is {has}")?;
            }
            if let Some(needs) = self.needs {
                write!(f, "; it takes {needs}")?;
            }
        }
        write!(f, "; {}", self.kind.remedy())
    }
}

/// A call that did not succeed.
#[cfg(feature = "runtime")]
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The command cannot be written; nothing was sent.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// HAProxy refused it; nothing changed, but see [`Command::set_table`](super::Command::set_table).
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The answer is not what this command answers.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The bytes are not those of a runtime socket, or too many.
    #[error("{address}: {source}")]
    Session {
        /// Where.
        address: String,
        /// What was wrong.
        source: SessionError,
    },
    /// Nobody listens there. Nothing was sent.
    #[error("cannot connect to {address}: {source}: {}", match source.kind() {
        io::ErrorKind::PermissionDenied => "may this user open it? `mode`, `user` and `group` of the `stats socket` say",
        _ => "is HAProxy running, and is this its `stats socket`?",
    })]
    Connect {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The connection ended before the answer did.
    #[error(
        "{address} closed the connection before it had answered {command:?}: the process ended or was reloaded{}",
        if *maybe_done { "; the order may have been carried out, so look before repeating it" } else { "" }
    )]
    Lost {
        /// Where.
        address: String,
        /// The command, cut.
        command: String,
        /// Whether an order may have taken effect.
        maybe_done: bool,
    },
    /// The time was up.
    #[error(
        "{address} did not answer {command:?} within {after:?}: the process hangs or the limit is too short{}",
        if *maybe_done { "; the order may yet be carried out, so look before repeating it" } else { "" }
    )]
    Deadline {
        /// Where.
        address: String,
        /// The command, cut.
        command: String,
        /// The limit.
        after: Duration,
        /// Whether an order may have taken effect.
        maybe_done: bool,
    },
    /// Another process answers now than the one the work began with.
    #[error("{address} is process {is} now, the work began with process {was}: begin anew, its memory is gone")]
    NewProcess {
        /// Where.
        address: String,
        /// The process number before.
        was: u32,
        /// The process number now.
        is: u32,
    },
    /// It was done, and then it could not be made sure that the process which did it still serves.
    #[error("{what} was put in force, but who serves now is not known: {source}")]
    Unconfirmed {
        /// What was done.
        what: String,
        /// Why it is not sure.
        #[source]
        source: Box<Self>,
    },
    /// HAProxy took the orders, and what it then shows is something else.
    #[error("{what}: HAProxy has {found} where {wanted} were sent; {remedy}")]
    Differs {
        /// What was checked.
        what: String,
        /// What HAProxy shows.
        found: u64,
        /// What was sent.
        wanted: u64,
        /// What can be done.
        remedy: &'static str,
    },
}

#[cfg(feature = "runtime")]
impl RuntimeError {
    /// Whether the same call may succeed later: nobody there, no answer, another process.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Lost { .. } | Self::Deadline { .. } | Self::NewProcess { .. } => true,
            Self::Unconfirmed { source, .. } => source.is_retryable(),
            _ => false,
        }
    }

    /// Whether an order may have taken effect although the call failed.
    pub fn maybe_done(&self) -> bool {
        match self {
            Self::Lost { maybe_done, .. } | Self::Deadline { maybe_done, .. } => *maybe_done,
            Self::Unconfirmed { .. } => true,
            _ => false,
        }
    }

    /// HAProxy's refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        if let Self::Refused(refusal) = self { Some(refusal) } else { None }
    }
}
