//! Why a room was placed where it was: every candidate with its terms, everybody who was left out, the tie-break.

use std::fmt;

use serde::Serialize;

use crate::backend::BackendId;
use crate::stick::StickKey;

/// How many candidates a decision keeps; the others are counted.
pub const MAX_ROWS: usize = 32;

/// How a room came to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It lives there already.
    Sticky,
    /// It was new and placed there.
    New,
    /// It lived elsewhere and had to move.
    Moved,
    /// Another process placed it at the same moment; its choice stands.
    Adopted,
    /// No server may take it.
    NoCandidate,
    /// It could not be decided, because the stick table or the server's state forbids it.
    Refused,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sticky => "sticky hit",
            Self::New => "new room",
            Self::Moved => "moved",
            Self::Adopted => "adopted from another process",
            Self::NoCandidate => "no candidate",
            Self::Refused => "refused",
        })
    }
}

/// One candidate and what its place in the order was made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The server.
    pub id: BackendId,
    /// The selector's own number, lower is better; absent where the rule has none.
    pub score: Option<u64>,
    /// Expected load in units: reported, plus placed since, plus in flight.
    pub load: f64,
    /// Load by the last report.
    pub reported: f64,
    /// Age of that report in seconds.
    pub age_seconds: Option<f64>,
    /// Placed here since the measuring of that report began.
    pub placed_since: f64,
    /// Expected load of the units in flight.
    pub on_the_way: f64,
    /// Units in flight, participants of known rooms among them, who add no load.
    pub in_flight: u32,
    /// Weight in force.
    pub weight: f64,
    /// Whether the figures are too old.
    pub stale: bool,
}

/// A server that could not be chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Excluded {
    /// The server.
    pub id: BackendId,
    /// Why, in a word that is fit for a metric's label.
    pub reason: &'static str,
    /// Why, in full.
    pub detail: String,
}

/// One explained decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The room.
    pub room: StickKey,
    /// How it came to its server.
    pub outcome: Outcome,
    /// The server, if any.
    pub backend: Option<BackendId>,
    /// The strategy's name.
    pub strategy: &'static str,
    /// The strategy's rule in words.
    pub rule: &'static str,
    /// The unit of loads.
    pub unit: &'static str,
    /// The chosen server, then the best others by load class, score and load, at most [`MAX_ROWS`].
    pub candidates: Vec<Row>,
    /// How many candidates there were.
    pub candidate_count: usize,
    /// Who was left out and why, at most [`MAX_ROWS`].
    pub excluded: Vec<Excluded>,
    /// How many were left out.
    pub excluded_count: usize,
    /// How a tie was broken, if there was one.
    pub tie: Option<String>,
    /// Anything else that happened on the way.
    pub notes: Vec<String>,
    /// The seed of the pick, to repeat it.
    pub seed: u64,
}

impl Decision {
    /// Adds a note.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// A room's key without what could act on a terminal or forge a line: anybody may choose one.
struct Plain<'a>(&'a StickKey);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.as_str();
        if text.contains(char::is_control) { write!(f, "{text:?}") } else { f.write_str(text) }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.backend {
            Some(id) => writeln!(f, "room {}: {id} ({})", Plain(&self.room), self.outcome)?,
            None => writeln!(f, "room {}: no server ({})", Plain(&self.room), self.outcome)?,
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        if !self.rule.is_empty() {
            writeln!(f, "  rule: {} ({}), unit: {}", self.rule, self.strategy, self.unit)?;
        }
        for row in &self.candidates {
            let mark = if self.backend.as_ref() == Some(&row.id) { '>' } else { ' ' };
            write!(f, "{mark} {}: load {} = reported {}", row.id, row.load, row.reported)?;
            if let Some(age) = row.age_seconds {
                write!(f, " ({age:.0} s old)")?;
            }
            write!(f, " + placed since {} + in flight {}", row.placed_since, row.on_the_way)?;
            if f64::from(row.in_flight) != row.on_the_way {
                write!(f, " ({} units)", row.in_flight)?;
            }
            if row.weight != 1.0 {
                write!(f, ", weight {}", row.weight)?;
            }
            if row.stale {
                write!(f, ", figures too old")?;
            }
            writeln!(f)?;
        }
        if self.candidate_count > self.candidates.len() {
            writeln!(f, "  and {} more candidates", self.candidate_count - self.candidates.len())?;
        }
        if let Some(tie) = &self.tie {
            writeln!(f, "  tie: {tie}")?;
        }
        for out in &self.excluded {
            writeln!(f, "  excluded {}: {}", out.id, out.detail)?;
        }
        if self.excluded_count > self.excluded.len() {
            writeln!(f, "  and {} more excluded", self.excluded_count - self.excluded.len())?;
        }
        Ok(())
    }
}
