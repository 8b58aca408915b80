//! Why rooms were sent where they were, as long as it is remembered.

use std::collections::VecDeque;
use std::fmt;

use balancer_core::{BackendId, Decision, Outcome, StickKey};

use super::Placed;

/// Why a room was sent where it was, by the number that HAProxy logs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Its number, from 1.
    pub id: u64,
    /// The room.
    pub room: StickKey,
    /// The server, unless there was no opinion.
    pub server: Option<BackendId>,
    /// How the room came there.
    pub outcome: Outcome,
    /// Why there was no opinion.
    pub refusal: Option<String>,
    /// Every candidate, where [`PlacerOptions::with_decisions`](super::PlacerOptions::with_decisions) is on.
    pub decision: Option<Decision>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.id, self.room, self.outcome)?;
        if let Some(server) = &self.server {
            write!(f, " on {server}")?;
        }
        if let Some(refusal) = &self.refusal {
            write!(f, ", no opinion: {refusal}")?;
        }
        self.decision.as_ref().map_or(Ok(()), |decision| write!(f, "\n{decision}"))
    }
}

/// Why there was no opinion, and every candidate.
type Reasons = (Option<String>, Option<Box<Decision>>);

/// What is remembered of one. Most have no more than a room and a server, and there are thousands.
#[derive(Debug)]
struct Kept {
    room: StickKey,
    server: Option<BackendId>,
    outcome: Outcome,
    more: Option<Box<Reasons>>,
}

/// The last explanations.
#[derive(Debug, Default)]
pub(super) struct Explained {
    last: u64,
    kept: VecDeque<Kept>,
}

impl Explained {
    /// Remembers one more, `most` at most; its number.
    pub(super) fn push(&mut self, most: usize, room: StickKey, placed: Placed) -> u64 {
        let Placed { server, outcome, refusal, decision } = placed;
        let more = (refusal.is_some() || decision.is_some()).then(|| Box::new((refusal, decision)));
        self.keep(most, Kept { room, server, outcome, more })
    }

    /// The same for a room that is where it was.
    pub(super) fn push_known(&mut self, most: usize, room: StickKey, server: BackendId) -> u64 {
        self.keep(most, Kept { room, server: Some(server), outcome: Outcome::Sticky, more: None })
    }

    fn keep(&mut self, most: usize, kept: Kept) -> u64 {
        if self.kept.len() >= most {
            self.kept.pop_front();
        }
        self.kept.push_back(kept);
        self.last += 1;
        self.last
    }

    /// The one of this number.
    pub(super) fn get(&self, id: u64) -> Option<Explanation> {
        let ago = usize::try_from(self.last.checked_sub(id)?).ok()?;
        self.kept.get(self.kept.len().checked_sub(ago + 1)?).map(|kept| kept.explanation(id))
    }

    /// All of this room, the oldest first.
    pub(super) fn of(&self, room: &StickKey) -> Vec<Explanation> {
        let numbered = (1..=self.last).rev().zip(self.kept.iter().rev());
        let found = numbered.filter(|(_, kept)| kept.room == *room).map(|(id, kept)| kept.explanation(id));
        let mut found: Vec<Explanation> = found.collect();
        found.reverse();
        found
    }
}

impl Kept {
    fn explanation(&self, id: u64) -> Explanation {
        let (refusal, decision) = self.more.as_deref().cloned().unwrap_or_default();
        let (room, server, outcome) = (self.room.clone(), self.server.clone(), self.outcome);
        Explanation { id, room, server, outcome, refusal, decision: decision.map(|decision| *decision) }
    }
}
