//! Rooms that live on two servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::book::{Room, Stray};
use super::state::State;

/// A place where a room was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sighting {
    /// The server.
    pub server: String,
    /// Who says so: `store`, `table of lb1`, `map of lb1`, `server`.
    pub by: String,
    /// Milliseconds since somebody came, where that is known.
    pub used_ms_ago: Option<u64>,
    /// How many people, where the server says so.
    pub people: Option<u64>,
}

/// A room that lives on two servers or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SplitRoom {
    /// Which, percent-encoded.
    pub room: String,
    /// Where it belongs, as the store says.
    pub home: Option<String>,
    /// Where it was seen.
    pub seen: Vec<Sighting>,
}

/// What `splits` found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Splits {
    /// The rooms.
    pub rooms: Vec<SplitRoom>,
    /// Who was asked.
    pub asked: Vec<String>,
    /// Who could not be asked, and why.
    pub silent: BTreeMap<String, String>,
}

/// Gathers who says what of which room.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    seen: BTreeMap<Arc<str>, Vec<Sighting>>,
}

impl Gathering {
    pub(super) fn add(&mut self, room: &Arc<str>, sighting: Sighting) {
        self.seen.entry(room.clone()).or_default().push(sighting);
    }

    /// Rooms that were seen at two servers, and where each belongs.
    pub(super) fn split(self, home: impl Fn(&str) -> Option<String>) -> Vec<SplitRoom> {
        let split = self.seen.into_iter().filter(|(_, seen)| seen.iter().any(|one| one.server != seen[0].server));
        split.map(|(room, seen)| SplitRoom { home: home(&room), room: room.to_string(), seen }).collect()
    }
}

impl State {
    /// Rooms that tables show in use at another server than their own. Who asked for a server that was down, on the way to
    /// where its rooms went, has met nobody there.
    pub(super) fn split_rooms(&self, now: Instant, now_ms: u64) -> impl Iterator<Item = (&Arc<str>, &Room)> {
        let was_down = move |stray: &Stray| {
            let ago = Duration::from_millis(now_ms.saturating_sub(stray.used_ms));
            let life = self.servers.get(&*stray.server);
            now.checked_sub(ago).is_some_and(|then| life.is_some_and(|life| life.was_down(then)))
        };
        let split = move |known: &Room| {
            let home_lives = self.servers.get(known.server()).is_some_and(|life| !life.dead);
            let lives_on = |stray: &Stray| stray.used_ms > known.binding.stamp && !was_down(stray);
            home_lives && known.strays.values().any(lives_on)
        };
        self.book.rooms().iter().filter(move |(_, known)| split(known))
    }
}
