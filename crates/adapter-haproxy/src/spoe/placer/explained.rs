//! Why rooms were sent where they were, as long as it is remembered.

use std::fmt;

use balancer_core::{BackendId, Decision, Outcome, StickKey, Token};

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
    /// A claim of which nobody knows whether it went through.
    pub(super) claim: Option<Token>,
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

/// What few have: why there was no opinion, every candidate, and a claim of which nobody knows.
#[derive(Clone, Debug, Default)]
struct Reasons {
    refusal: Option<String>,
    decision: Option<Box<Decision>>,
    claim: Option<Token>,
}

/// The longest name of a room that is kept where it is remembered, in bytes.
const SHORT: usize = 62;

/// The name of a room. Short ones take no memory of their own, and none to be looked up.
#[derive(Clone, Debug)]
enum Room {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<str>),
}

impl Room {
    fn new(name: &str) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(name.as_bytes());
                Self::Short { len, bytes }
            }
            _ => Self::Long(name.into()),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Short { len, bytes } => {
                bytes.get(..usize::from(*len)).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
            }
            Self::Long(name) => name,
        }
    }
}

/// What is remembered of one. Most have no more than a room and a server, and there are thousands.
#[derive(Debug)]
struct Kept {
    room: Room,
    server: Option<BackendId>,
    outcome: Outcome,
    more: Option<Box<Reasons>>,
}

/// The last explanations.
#[derive(Debug, Default)]
pub(super) struct Explained {
    last: u64,
    /// In a ring, once there are as many as are kept.
    kept: Vec<Kept>,
    /// Where the next one goes.
    next: usize,
}

impl Explained {
    /// Remembers one more, `most` at most, which is always the same; its number.
    pub(super) fn push(&mut self, most: usize, room: &StickKey, placed: Placed) -> u64 {
        let Placed { server, outcome, refusal, decision, claim } = placed;
        let more = (refusal.is_some() || decision.is_some()).then(|| Box::new(Reasons { refusal, decision, claim }));
        self.keep(most, Kept { room: Room::new(room.as_str()), server, outcome, more })
    }

    /// The same for a room that is where it was.
    pub(super) fn push_known(&mut self, most: usize, room: &str, server: BackendId) -> u64 {
        self.keep(most, Kept { room: Room::new(room), server: Some(server), outcome: Outcome::Sticky, more: None })
    }

    fn keep(&mut self, most: usize, kept: Kept) -> u64 {
        match self.kept.get_mut(self.next) {
            Some(oldest) => *oldest = kept,
            None => self.kept.push(kept),
        }
        self.next += 1;
        if self.next >= most {
            self.next = 0;
        }
        self.last += 1;
        self.last
    }

    /// The one of this number.
    pub(super) fn get(&self, id: u64) -> Option<Explanation> {
        let ago = usize::try_from(self.last.checked_sub(id)?).ok()?;
        self.latest_first().nth(ago)?.explanation(id)
    }

    fn latest_first(&self) -> impl Iterator<Item = &Kept> {
        let (young, old) = self.kept.split_at_checked(self.next).unwrap_or((&self.kept, &[]));
        young.iter().rev().chain(old.iter().rev())
    }

    /// All of this room, the oldest first.
    pub(super) fn of(&self, room: &StickKey) -> Vec<Explanation> {
        let numbered = (1..=self.last).rev().zip(self.latest_first());
        let found = numbered.filter(|(_, kept)| kept.room.as_str() == room.as_str());
        let mut found: Vec<Explanation> = found.filter_map(|(id, kept)| kept.explanation(id)).collect();
        found.reverse();
        found
    }
}

impl Kept {
    fn explanation(&self, id: u64) -> Option<Explanation> {
        let Reasons { refusal, decision, claim } = self.more.as_deref().cloned().unwrap_or_default();
        let (room, server, outcome) = (StickKey::new(self.room.as_str()).ok()?, self.server.clone(), self.outcome);
        Some(Explanation { id, room, server, outcome, refusal, decision: decision.map(|decision| *decision), claim })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as a list of all of them.
    #[test]
    fn the_last_ones_are_remembered_with_their_names() {
        for most in 1..5_u64 {
            let (mut explained, most_kept) = (Explained::default(), usize::try_from(most).unwrap());
            let names: Vec<String> = [1, 61, 62, 63, 64, 1024, 5, 300].map(|len| "r".repeat(len)).to_vec();
            for (id, name) in (1..).zip(&names) {
                let key = StickKey::new(&**name).unwrap();
                let pushed = if id % 2 == 0 {
                    explained.push_known(most_kept, name, "mm1".into())
                } else {
                    explained.push(most_kept, &key, Placed::on("mm1".into(), Outcome::New))
                };
                assert_eq!(pushed, id);
                for (known, name) in (1..=id + 1).zip(names.iter().chain([name])) {
                    let found = explained.get(known);
                    assert_eq!(found.is_some(), known <= id && known + most > id, "{known} of {id}, {most} kept");
                    assert!(found.is_none_or(|found| found.room.as_str() == name && found.id == known));
                }
                assert_eq!(explained.of(&key).last().unwrap().id, id);
            }
        }
    }
}
