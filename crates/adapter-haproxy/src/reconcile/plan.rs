//! A plan: what it does, why, and how it is undone.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::runtime::{Command, CommandError, MapEntry, ServerName};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// A command.
    Command(Command),
    /// A map replaced in one step.
    ReplaceMap {
        /// Its file.
        map: String,
        /// All its entries.
        entries: Vec<MapEntry>,
    },
    /// Waits until no connection to a server is in use.
    AwaitIdle(ServerName),
    /// Deletes a server, waiting for its idle connections.
    Delete(ServerName),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => {
                write!(f, "{command}")?;
                // The payload of a plan's command is one entry.
                if command.payload().is_empty() { Ok(()) } else { write!(f, " {}", command.payload().trim_end()) }
            }
            Self::ReplaceMap { map, entries } => write!(f, "replace map {map} with {} entries", entries.len()),
            Self::AwaitIdle(server) => write!(f, "wait until no connection to {server} is in use"),
            Self::Delete(server) => write!(f, "del server {server}"),
        }
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// Why.
    pub why: String,
    /// What undoes it, in order.
    pub undo: Vec<Action>,
}

/// A server that is left as it is although something else is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Kept {
    /// `backend/server`.
    pub server: String,
    /// Why, and what ends it.
    pub why: String,
}

/// A pin that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MovedPin {
    /// The room, percent-encoded.
    pub room: String,
    /// The server before; `None` if it was not pinned.
    pub from: Option<String>,
    /// The server now; `None` if it is pinned no longer.
    pub to: Option<String>,
}

/// Commands that lead from what is running to what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Commands {
    pub(super) steps: Vec<Step>,
    pub(super) kept: Vec<Kept>,
    pub(super) moved: Vec<MovedPin>,
    #[serde(skip)]
    pub(super) held: BTreeSet<ServerName>,
    #[serde(skip)]
    pub(super) meanwhile: BTreeSet<ServerName>,
}

impl Commands {
    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What is left as it is.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// The pins that change.
    pub fn moved(&self) -> &[MovedPin] {
        &self.moved
    }

    /// The servers that are drained or in maintenance by our order once it is applied.
    pub fn held(&self) -> &BTreeSet<ServerName> {
        &self.held
    }

    /// The servers that are so, or may be so for a moment, while it is applied: if we end half-way, what of these is in
    /// maintenance is our doing.
    pub fn held_meanwhile(&self) -> &BTreeSet<ServerName> {
        &self.meanwhile
    }
}

/// How to get there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Plan {
    /// By commands; perhaps none.
    Commands(Commands),
    /// By one reload of the rendered file, and then by what is planned anew.
    Reload {
        /// What commands cannot do.
        why: Vec<String>,
        /// What is left as it is: the state file carries it over.
        kept: Vec<Kept>,
        /// The pins that change.
        moved: Vec<MovedPin>,
    },
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Commands(commands) if commands.is_empty())
    }

    fn remarks(&self) -> (&[Kept], &[MovedPin]) {
        match self {
            Self::Commands(commands) => (&commands.kept, &commands.moved),
            Self::Reload { kept, moved, .. } => (kept, moved),
        }
    }
}

/// The most pins a dry run lists.
const MAX_SHOWN_PINS: usize = 20;

/// Several lines, each ended by a line feed.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commands(commands) if commands.is_empty() => writeln!(f, "nothing to do")?,
            Self::Commands(commands) => {
                for (n, step) in (1..).zip(&commands.steps) {
                    writeln!(f, "{n:>3}. {}\n     # {}", step.action, step.why)?;
                }
            }
            Self::Reload { why, .. } => {
                writeln!(f, "reload, because commands cannot do it:")?;
                why.iter().try_for_each(|why| writeln!(f, "   - {why}"))?;
            }
        }
        let (kept, moved) = self.remarks();
        kept.iter().try_for_each(|kept| writeln!(f, "kept {}: {}", kept.server, kept.why))?;
        for pin in moved.iter().take(MAX_SHOWN_PINS) {
            let side = |server: &Option<String>| server.clone().unwrap_or_else(|| "not pinned".to_owned());
            writeln!(f, "room {}: {} -> {}", pin.room, side(&pin.from), side(&pin.to))?;
        }
        match moved.len().checked_sub(MAX_SHOWN_PINS) {
            Some(more) if more > 0 => writeln!(f, "and {more} more rooms"),
            _ => Ok(()),
        }
    }
}

/// What is wanted cannot be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// A name, an address or a value that cannot be sent.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Something is wanted twice.
    #[error("{what} {name} is wanted twice: name it once")]
    Twice {
        /// What it is.
        what: &'static str,
        /// Which one.
        name: String,
    },
    /// The id belongs to another server.
    #[error("server {server} is to have the id {id}, which {other} has: give it one that was never used")]
    IdTaken {
        /// The server wanted.
        server: String,
        /// The id.
        id: u32,
        /// The server that has it.
        other: String,
    },
    /// A pin leads nowhere.
    #[error("room {room} is pinned to {server}, which {why}: pin it to another server first")]
    PinAstray {
        /// The room, percent-encoded.
        room: String,
        /// The server.
        server: String,
        /// What is wrong with it.
        why: &'static str,
    },
}
