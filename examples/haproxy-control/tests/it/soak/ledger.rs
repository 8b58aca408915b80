//! Where each room was met, and whether it had a reason to be elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// So long after somebody was met at a new server others may still be sent to the dead one.
const MOVING: Duration = Duration::from_secs(10);
/// The most words about what went wrong.
const MAX_WORDS: usize = 20;

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The servers of each room, and since when.
    rooms: BTreeMap<String, Vec<(String, Instant)>>,
    /// When servers and HAProxys were dead.
    outages: BTreeMap<String, Vec<(Instant, Option<Instant>)>>,
    split: BTreeSet<String>,
    requests: u64,
    looks: u64,
    excused: u64,
    failed: u64,
    words: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) homes: BTreeMap<String, String>,
    /// How many rooms moved never, once, twice, more often.
    pub(super) moved: [usize; 4],
    pub(super) split: usize,
    pub(super) requests: u64,
    pub(super) looks: u64,
    pub(super) excused: u64,
    pub(super) failed: u64,
    pub(super) words: Vec<String>,
}

impl Ledger {
    /// A server or a HAProxy dies; the rooms that were there.
    pub(super) fn gone(&mut self, name: &str) -> Vec<String> {
        self.outages.entry(name.to_owned()).or_default().push((Instant::now(), None));
        let theirs = self.rooms.iter().filter(|(_, homes)| homes.last().is_some_and(|(home, _)| home == name));
        theirs.map(|(room, _)| room.clone()).collect()
    }

    /// It is back.
    pub(super) fn back(&mut self, name: &str) {
        if let Some((_, end)) = self.outages.get_mut(name).and_then(|outages| outages.last_mut()) {
            *end = Some(Instant::now());
        }
    }

    /// Whether it was dead at any time from then until now.
    fn was_gone(&self, name: &str, from: Instant) -> bool {
        self.outages.get(name).is_some_and(|outages| outages.iter().any(|(_, end)| end.is_none_or(|end| end >= from)))
    }

    /// Whether it died since then.
    fn died_since(&self, name: &str, from: Instant) -> bool {
        self.outages.get(name).is_some_and(|outages| outages.iter().any(|(began, _)| *began >= from))
    }

    /// A request that was begun then was answered by this server.
    pub(super) fn met(&mut self, room: &str, server: &str, asked: Instant) {
        self.requests += 1;
        // Answered before it died, and heard of after that.
        if self.was_gone(server, asked) && self.died_since(server, asked) {
            return;
        }
        if let Some((home, since)) = self.rooms.get(room).and_then(|homes| homes.last()).cloned() {
            let died = self.died_since(&home, since);
            if home == server {
                // Back where it was: the death is no reason to move any more.
                if died && let Some(last) = self.rooms.get_mut(room).and_then(|homes| homes.last_mut()) {
                    last.1 = Instant::now();
                }
                return;
            }
            if !died {
                let words = format!("{room} was on {home}, which is there, and was met on {server}");
                return self.splits(room, words);
            }
        }
        self.rooms.entry(room.to_owned()).or_default().push((server.to_owned(), Instant::now()));
    }

    /// A request that was begun then by this HAProxy failed.
    pub(super) fn failed(&mut self, room: &str, haproxy: &str, asked: Instant, why: &str) {
        self.requests += 1;
        let homes = self.rooms.get(room).map(Vec::as_slice).unwrap_or_default();
        let last_two = homes.iter().rev().take(2);
        // Somebody was met elsewhere, and not everybody has heard of it.
        let moving = homes.last().is_some_and(|(_, since)| *since + MOVING >= asked);
        let dead = last_two.take(1 + usize::from(moving)).any(|(home, _)| self.was_gone(home, asked));
        if dead || self.was_gone(haproxy, asked) {
            self.excused += 1;
        } else {
            self.failed += 1;
            self.remember(format!("{room} by {haproxy}: {why}"));
        }
    }

    /// The rooms that have people, by server, all at one time.
    pub(super) fn look(&mut self, now: &[(&str, Vec<String>)]) {
        self.looks += 1;
        let all = now.iter().flat_map(|(server, rooms)| rooms.iter().map(move |room| (*server, room)));
        let mut places = BTreeMap::new();
        for (server, room) in all {
            if let Some(other) = places.insert(room, server) {
                self.splits(room, format!("people of {room} are on {other} and on {server}"));
            }
        }
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

    /// How many of these rooms were met elsewhere since they were there.
    pub(super) fn left(&self, rooms: &[String], server: &str) -> usize {
        let home = |room: &&String| self.rooms.get(*room).and_then(|homes| homes.last());
        rooms.iter().filter(|room| home(room).is_some_and(|(home, _)| home != server)).count()
    }

    /// When the last of these rooms was first met where it is, after this moment.
    pub(super) fn within(&self, rooms: &[String], from: Instant) -> Duration {
        let since = rooms.iter().filter_map(|room| Some(self.rooms.get(room)?.last()?.1));
        since.map(|since| since.saturating_duration_since(from)).max().unwrap_or_default()
    }

    pub(super) fn totals(&self) -> Totals {
        let mut moved = [0; 4];
        self.rooms.values().for_each(|homes| moved[(homes.len() - 1).min(3)] += 1);
        let last = |(room, homes): (&String, &Vec<(String, Instant)>)| (room.clone(), homes[homes.len() - 1].0.clone());
        Totals {
            homes: self.rooms.iter().map(last).collect(),
            moved,
            split: self.split.len(),
            requests: self.requests,
            looks: self.looks,
            excused: self.excused,
            failed: self.failed,
            words: self.words.clone(),
        }
    }
}

#[test]
fn a_death_excuses_a_move_and_nothing_else() {
    let (mut ledger, now) = (Ledger::default(), Instant::now);
    for (room, server) in [("a", "mm1"), ("b", "mm2")] {
        ledger.met(room, server, now());
    }
    let asked = now();
    assert_eq!(ledger.gone("mm1"), ["a"]);
    ledger.failed("a", "lb1", now(), "503");
    ledger.met("a", "mm2", now());
    ledger.met("a", "mm1", asked);
    ledger.back("mm1");
    ledger.look(&[("mm1", vec![]), ("mm2", vec!["a".into(), "b".into()])]);
    let totals = ledger.totals();
    assert_eq!((totals.split, totals.failed, totals.excused, totals.moved), (0, 0, 1, [1, 1, 0, 0]));
    // To one that is back before it has moved, and away from there.
    ledger.met("d", "mm4", now());
    ledger.gone("mm4");
    ledger.back("mm4");
    ledger.met("d", "mm4", now());
    ledger.met("d", "mm2", now());
    assert_eq!(ledger.totals().split, 1);
    // Back to where it was, away from who lives, people in two places, an error without need.
    ledger.met("a", "mm1", now());
    ledger.met("b", "mm3", now());
    ledger.look(&[("mm1", vec!["c".into()]), ("mm2", vec!["c".into()])]);
    ledger.failed("b", "lb1", now(), "503");
    let totals = ledger.totals();
    assert_eq!((totals.split, totals.failed, totals.words.len()), (4, 1, 5), "{totals:?}");
}
