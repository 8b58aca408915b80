//! What was promised, kept apart from everything that must hold it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The most words about what went wrong.
const MAX_WORDS: usize = 20;

/// Where a room was met.
#[derive(Debug)]
struct Room {
    /// Its servers, one after the other.
    homes: Vec<String>,
    /// When the last of them was first met.
    since: Instant,
}

/// Every request of the morning, and where its room was then.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    rooms: BTreeMap<String, Room>,
    deaths: BTreeMap<String, Instant>,
    split: BTreeSet<String>,
    requests: u64,
    excused: u64,
    failed: u64,
    broken: u64,
    words: Vec<String>,
    recovered: Option<Duration>,
}

/// The morning in figures.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Totals {
    /// Rooms that were opened.
    pub(super) rooms: usize,
    /// Rooms that stayed where they were opened.
    pub(super) never_moved: usize,
    /// Rooms that moved once, off a dead server.
    pub(super) moved_once: usize,
    /// Rooms that moved more often.
    pub(super) moved_again: usize,
    /// Rooms that lived on two servers, or moved off a server that was there.
    pub(super) split: usize,
    /// Requests, joining and polling.
    pub(super) requests: u64,
    /// Requests that failed because the room's server was dead and the room had not moved yet.
    pub(super) failed_by_death: u64,
    /// Requests that failed for any other reason.
    pub(super) failed: u64,
    /// Other promises that did not hold.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) broken: u64,
    /// From a death until the last of its rooms was met elsewhere, in milliseconds.
    pub(super) moved_within_ms: Option<u128>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Totals {
    /// Whether everything held.
    pub(super) fn is_well(&self) -> bool {
        self.split == 0 && self.moved_again == 0 && self.failed == 0 && self.broken == 0
    }
}

impl Ledger {
    /// A server dies.
    pub(super) fn dies(&mut self, server: &str) {
        self.deaths.insert(server.to_owned(), Instant::now());
    }

    /// A request for a room was answered.
    pub(super) fn met(&mut self, room: &str, server: &str, asked: Instant) {
        self.requests += 1;
        // Answered before the death, and heard of after it.
        if self.deaths.get(server).is_some_and(|died| asked < *died) {
            return;
        }
        let now = Instant::now();
        let Some(known) = self.rooms.get_mut(room) else {
            let homes = vec![server.to_owned()];
            self.rooms.insert(room.to_owned(), Room { homes, since: now });
            return;
        };
        let Some(home) = known.homes.last().filter(|home| *home != server) else { return };
        if let Some(died) = self.deaths.get(home).filter(|died| known.since < **died) {
            let took = now.duration_since(*died);
            self.recovered = Some(self.recovered.map_or(took, |longest| longest.max(took)));
            known.homes.push(server.to_owned());
            known.since = now;
        } else {
            let words = format!("{room} was on {home}, which is there, and was met on {server}");
            self.splits(room, words);
        }
    }

    /// A request for a room failed.
    pub(super) fn failed(&mut self, room: &str, asked: Instant, why: &str) {
        self.requests += 1;
        let by_death = self.rooms.get(room).is_some_and(|known| {
            let died = |home: Option<&String>| home.and_then(|home| self.deaths.get(home));
            let before = known.homes.len().checked_sub(2).and_then(|at| known.homes.get(at));
            died(known.homes.last()).is_some_and(|died| known.since < *died)
                || (asked < known.since && died(before).is_some())
        });
        if by_death {
            self.excused += 1;
        } else {
            self.failed += 1;
            self.remember(format!("{room}: {why}"));
        }
    }

    /// The people who are in rooms now, by server.
    pub(super) fn look<'r>(&mut self, now: impl IntoIterator<Item = (&'r str, Vec<String>)>) {
        let mut places: BTreeMap<String, &str> = BTreeMap::new();
        for (server, rooms) in now {
            for room in rooms {
                if let Some(other) = places.get(&room) {
                    let words = format!("people of {room} are on {other} and on {server}");
                    self.splits(&room, words);
                }
                places.insert(room, server);
            }
        }
    }

    /// Something else was promised and did not hold.
    pub(super) fn broken(&mut self, words: String) {
        self.broken += 1;
        self.remember(words);
    }

    fn splits(&mut self, room: &str, words: String) {
        if self.split.insert(room.to_owned()) {
            self.remember(words);
        }
    }

    fn remember(&mut self, words: String) {
        if self.words.len() < MAX_WORDS {
            self.words.push(words);
        }
    }

    /// Whether a room was met, and last not on this server. It need not have been met there: the server may have died
    /// before anybody could tell.
    pub(super) fn has_left(&self, room: &str, server: &str) -> bool {
        self.rooms.get(room).and_then(|room| room.homes.last()).is_some_and(|home| home != server)
    }

    /// Rooms opened on a server, and rooms that moved to it.
    pub(super) fn of(&self, server: &str) -> (usize, usize) {
        let opened = self.rooms.values().filter(|room| room.homes.first().is_some_and(|home| home == server));
        let taken = self.rooms.values().filter(|room| room.homes.iter().skip(1).any(|home| home == server));
        (opened.count(), taken.count())
    }

    /// What went wrong, in words; some of it, if it is much.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    pub(super) fn totals(&self) -> Totals {
        let moved = |times: usize| self.rooms.values().filter(|room| room.homes.len() == times + 1).count();
        let (never_moved, moved_once) = (moved(0), moved(1));
        Totals {
            rooms: self.rooms.len(),
            never_moved,
            moved_once,
            moved_again: self.rooms.len() - never_moved - moved_once,
            split: self.split.len(),
            requests: self.requests,
            failed_by_death: self.excused,
            failed: self.failed,
            broken: self.broken,
            moved_within_ms: self.recovered.map(|took| took.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_excuses_failures_and_one_move_and_nothing_else() {
        let mut ledger = Ledger::default();
        let early = Instant::now();
        for room in ["a", "b"] {
            ledger.met(room, "mm1", early);
        }
        ledger.met("c", "mm2", early);
        assert!(ledger.totals().is_well());
        ledger.dies("mm1");
        ledger.met("a", "mm1", early);
        ledger.failed("a", Instant::now(), "503");
        let asked = Instant::now();
        ledger.met("a", "mm2", asked);
        ledger.failed("a", asked, "503, asked before it had moved");
        assert!(ledger.has_left("a", "mm1") && !ledger.has_left("b", "mm1"));
        assert!(ledger.has_left("c", "mm1") && !ledger.has_left("nobody", "mm1"), "met elsewhere alone");
        assert_eq!((ledger.of("mm1"), ledger.of("mm2")), ((2, 0), (1, 1)));
        let totals = ledger.totals();
        assert!(totals.is_well() && totals.moved_within_ms.is_some(), "{totals:?}");
        assert_eq!((totals.never_moved, totals.moved_once, totals.failed_by_death), (2, 1, 2));
        // Back to the one that died, off one that is there, and off one that died before and is back.
        ledger.met("a", "mm1", Instant::now());
        ledger.met("c", "mm3", Instant::now());
        ledger.met("d", "mm1", Instant::now());
        ledger.failed("d", Instant::now(), "503");
        ledger.met("d", "mm2", Instant::now());
        let totals = ledger.totals();
        assert_eq!((totals.split, totals.failed, totals.is_well()), (3, 1, false));
        assert_eq!(ledger.words()[0], "a was on mm2, which is there, and was met on mm1");
    }

    #[test]
    fn people_of_a_room_on_two_servers_are_seen() {
        let mut ledger = Ledger::default();
        let rooms = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        ledger.look([("mm1", rooms(&["a", "b"])), ("mm2", rooms(&["c"]))]);
        assert!(ledger.totals().is_well());
        ledger.look([("mm1", rooms(&["a", "b"])), ("mm2", rooms(&["b"]))]);
        ledger.look([("mm1", rooms(&["b"])), ("mm2", rooms(&["b"]))]);
        assert_eq!((ledger.totals().split, ledger.words().len()), (1, 1));
    }
}
