//! Which room is where: what the store said, what tables and maps show. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use balancer_core::Binding;
use tokio::time::Instant;

/// A use of a room at another server than its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stray {
    pub(super) server: Arc<str>,
    /// When, in milliseconds since the epoch.
    pub(super) used_ms: u64,
}

/// A room.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) binding: Binding,
    /// When we asked what told us of this binding.
    pub(super) since: Instant,
    /// When the store last said so.
    pub(super) confirmed: Instant,
    /// When the store was last told to keep it, as far as is known.
    pub(super) renewed: Instant,
    /// When somebody last came, in milliseconds since the epoch.
    pub(super) used_ms: u64,
    /// Uses elsewhere, by process.
    pub(super) strays: BTreeMap<usize, Stray>,
}

impl Room {
    pub(super) fn server(&self) -> &str {
        self.binding.backend.as_str()
    }
}

/// Something to ask of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The room is to be on this server unless the store knows better.
    Claim { room: Arc<str>, server: Arc<str>, why: Why },
    /// The room is to move.
    Move { room: Arc<str>, seen: Binding, server: Arc<str>, why: Why },
    /// The room is in use.
    Renew { room: Arc<str>, seen: Binding },
    /// Where is the room?
    Check { room: Arc<str> },
    /// The room is to be forgotten: nobody uses it.
    Release { room: Arc<str>, seen: Binding },
}

impl Wish {
    pub(super) fn room(&self) -> &Arc<str> {
        match self {
            Self::Claim { room, .. }
            | Self::Move { room, .. }
            | Self::Renew { room, .. }
            | Self::Check { room }
            | Self::Release { room, .. } => room,
        }
    }
}

/// Why a room is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Why {
    /// HAProxy placed it, and its table said so.
    Learned,
    /// A map had it when we came.
    Adopted,
    /// The store had lost it.
    Restored,
    /// HAProxy moved it while its server was down.
    Followed,
    /// Its server is down.
    ServerDown,
    /// Its server is in maintenance, or gone.
    ServerOut,
    /// An operator ordered it.
    Ordered,
    /// Somebody asked for a place.
    Asked,
    /// Nobody used it any more, and its server drains.
    Idle,
    /// Another controller placed it.
    Elsewhere,
}

impl Why {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Adopted => "adopted",
            Self::Restored => "restored",
            Self::Followed => "followed",
            Self::ServerDown => "server-down",
            Self::ServerOut => "server-out",
            Self::Ordered => "ordered",
            Self::Asked => "asked",
            Self::Idle => "idle",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// What the store answered.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// It is there; by our wish or by somebody else's.
    Bound { room: Arc<str>, binding: Binding, ours: Option<Why> },
    /// It is nowhere.
    Nowhere { room: Arc<str> },
    /// It is kept for a while.
    Renewed { room: Arc<str> },
    /// It is forgotten, as was wished.
    Released { room: Arc<str> },
}

/// All rooms.
#[derive(Debug, Default)]
pub(super) struct Book {
    rooms: HashMap<Arc<str>, Room>,
    /// Rooms the store does not have, and when it said so.
    absent: HashMap<Arc<str>, Instant>,
    /// Counts changes.
    pub(super) version: u64,
}

/// What came of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    New { server: Arc<str> },
    Moved { from: Arc<str>, to: Arc<str> },
    Gone { from: Arc<str> },
}

impl Book {
    pub(super) fn rooms(&self) -> &HashMap<Arc<str>, Room> {
        &self.rooms
    }

    pub(super) fn get(&self, room: &str) -> Option<&Room> {
        self.rooms.get(room)
    }

    pub(super) fn get_mut(&mut self, room: &str) -> Option<&mut Room> {
        self.rooms.get_mut(room)
    }

    pub(super) fn count(&self, server: &str) -> u64 {
        self.rooms.values().filter(|room| room.server() == server).count() as u64
    }

    /// How many rooms each server has.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for room in self.rooms.values() {
            match counts.get_mut(room.server()) {
                Some(count) => *count += 1,
                None => drop(counts.insert(room.server().to_owned(), 1)),
            }
        }
        counts
    }

    /// Where a room was that the store has lost: it was to keep it for longer than this.
    pub(super) fn lost(&self, told: &Told, asked: Instant, ttl: Duration) -> Option<Wish> {
        let Told::Nowhere { room } = told else { return None };
        let known = self.rooms.get(room).filter(|known| asked.saturating_duration_since(known.renewed) < ttl)?;
        Some(Wish::Claim { room: room.clone(), server: known.server().into(), why: Why::Restored })
    }

    /// Takes in what the store answered to a question of `asked`.
    pub(super) fn take(&mut self, told: Told, asked: Instant, wall_ms: u64) -> Change {
        match told {
            Told::Renewed { room } => {
                if let Some(known) = self.rooms.get_mut(&room) {
                    (known.renewed, known.confirmed) = (asked, asked);
                }
                Change::None
            }
            Told::Nowhere { room } | Told::Released { room } => {
                let gone = self.rooms.remove(&room);
                self.absent.insert(room, asked);
                match gone {
                    Some(gone) => {
                        self.version += 1;
                        Change::Gone { from: gone.server().into() }
                    }
                    None => Change::None,
                }
            }
            Told::Bound { room, binding, ours } => {
                self.absent.remove(&room);
                if let Some(known) = self.rooms.get_mut(&room) {
                    // What is older than what is known left the store before.
                    if binding.stamp < known.binding.stamp {
                        return Change::None;
                    }
                    known.confirmed = asked;
                    if known.binding == binding {
                        return Change::None;
                    }
                    known.renewed = renewed(&binding, asked, wall_ms);
                    let from: Arc<str> = known.server().into();
                    let to: Arc<str> = binding.backend.as_str().into();
                    (known.binding, known.since) = (binding, asked);
                    known.strays.retain(|_, stray| stray.server != to);
                    if from == to {
                        return Change::None;
                    }
                    self.version += 1;
                    return Change::Moved { from, to };
                }
                let server: Arc<str> = binding.backend.as_str().into();
                let used_ms = if ours.is_some() { wall_ms } else { binding.stamp.min(wall_ms) };
                let (strays, renewed) = (BTreeMap::new(), renewed(&binding, asked, wall_ms));
                self.rooms.insert(room, Room { binding, since: asked, confirmed: asked, renewed, used_ms, strays });
                self.version += 1;
                Change::New { server }
            }
        }
    }

    /// Of one process, only these rooms are in use elsewhere.
    pub(super) fn keep_strays(&mut self, process: usize, astray: &HashSet<Arc<str>>) {
        let strays = self.rooms.iter_mut().filter(|(room, known)| !known.strays.is_empty() && !astray.contains(*room));
        strays.for_each(|(_, known)| drop(known.strays.remove(&process)));
    }

    /// Rooms of these servers that were last confirmed before this.
    pub(super) fn unconfirmed(&self, servers: &[Arc<str>], before: Instant) -> Vec<Wish> {
        let old = self.rooms.iter().filter(|(_, room)| room.confirmed < before);
        let theirs = old.filter(|(_, room)| servers.iter().any(|server| **server == *room.server()));
        theirs.map(|(room, _)| Wish::Check { room: room.clone() }).collect()
    }

    /// Forgets for how long rooms are known to be nowhere.
    pub(super) fn tidy(&mut self, now: Instant, keep: Duration) {
        self.absent.retain(|_, asked| now.duration_since(*asked) < keep);
    }

    /// What a map lacks that was read at `read`. Nothing is changed by what is older than the map: it is asked for first.
    pub(super) fn diff(&self, map: &HashMap<Arc<str>, Arc<str>>, read: Instant, store_is_there: bool) -> Diff {
        let mut diff = Diff::default();
        for (room, known) in &self.rooms {
            let change = match map.get(room) {
                Some(server) if **server == *known.server() => continue,
                Some(_) => &mut diff.set,
                None => &mut diff.add,
            };
            if known.confirmed >= read {
                change.push((room.clone(), known.server().into()));
            } else if store_is_there {
                diff.check.push(Wish::Check { room: room.clone() });
            } else if !map.contains_key(room) {
                // Better than nowhere.
                diff.add.push((room.clone(), known.server().into()));
            }
        }
        for room in map.keys().filter(|room| !self.rooms.contains_key(*room)) {
            match self.absent.get(room) {
                Some(asked) if *asked >= read => diff.del.push(room.clone()),
                _ if store_is_there => diff.check.push(Wish::Check { room: room.clone() }),
                _ => {}
            }
        }
        diff
    }
}

/// When a binding was made, by our clock.
fn renewed(binding: &Binding, asked: Instant, wall_ms: u64) -> Instant {
    let age = Duration::from_millis(wall_ms.saturating_sub(binding.stamp));
    asked.checked_sub(age).unwrap_or(asked)
}

/// What a map lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Diff {
    pub(super) add: Vec<(Arc<str>, Arc<str>)>,
    pub(super) set: Vec<(Arc<str>, Arc<str>)>,
    pub(super) del: Vec<Arc<str>>,
    /// To be asked of the store first.
    pub(super) check: Vec<Wish>,
}

impl Diff {
    pub(super) fn len(&self) -> usize {
        self.add.len() + self.set.len() + self.del.len()
    }
}

#[cfg(test)]
mod tests {
    use balancer_core::Token;

    use super::*;

    fn bound(room: &str, server: &str, stamp: u64) -> Told {
        let binding = Binding { backend: server.into(), token: Token(1), stamp };
        Told::Bound { room: room.into(), binding, ours: None }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_pushed_that_is_older_than_the_map() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut book = Book::default();
        assert_eq!(book.take(bound("a", "s1", 5), start, 9), Change::New { server: "s1".into() });
        let map: HashMap<Arc<str>, Arc<str>> = [("a".into(), "s2".into()), ("x".into(), "s2".into())].into();
        let read = start + second;
        let diff = book.diff(&map, read, true);
        assert_eq!((diff.len(), diff.check.len()), (0, 2), "both are asked for");
        assert_eq!(book.diff(&map, read, false), Diff::default(), "without a store what is there remains");
        assert_eq!(book.diff(&HashMap::new(), read, false).add.len(), 1, "but a map that lost it gets it back");
        // The store says that another controller moved it.
        let moved = Change::Moved { from: "s1".into(), to: "s2".into() };
        assert_eq!(book.take(bound("a", "s2", 6), read, 9), moved);
        assert_eq!(book.take(bound("a", "s1", 5), read, 9), Change::None, "an old answer comes late");
        book.take(Told::Nowhere { room: "x".into() }, read, 9);
        let diff = book.diff(&map, read, true);
        assert_eq!((diff.add.len(), diff.set.len(), &*diff.del, diff.check.len()), (0, 0, &["x".into()][..], 0));
        let lost = |ttl| book.lost(&Told::Nowhere { room: "a".into() }, read + second, ttl);
        assert!(matches!(lost(3 * second), Some(Wish::Claim { why: Why::Restored, .. })), "the store forgot too early");
        assert_eq!(lost(second), None, "it was time");
        assert_eq!(book.unconfirmed(&["s2".into()], read + second).len(), 1);
        assert_eq!(book.count("s2"), 1);
    }
}
