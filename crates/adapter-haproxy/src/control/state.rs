//! All that a controller knows. Pure: what is seen and told goes in, what to do comes out.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use balancer_core::{Binding, Health};
use tokio::time::Instant;

use crate::runtime::{AdminState, ServerName};

use super::book::{Book, Change, Told, Why, Wish};
use super::durations::Durations;
use super::event::ControlEvent;
use super::judge::{Life, Verdict, judge};
use super::learn::{Away, followed};
use super::mode::Mode;
use super::options::ControlOptions;
use super::place::{Candidate, Placer};
use super::status::{Moved, Order};
use super::view::{Look, Standing};

/// How many moves are remembered for explanations.
const HISTORY: usize = 10_000;

/// The map of a process as it was read.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) entries: HashMap<Arc<str>, Arc<str>>,
    pub(super) read: Instant,
    pub(super) generation: u64,
    /// The book's version it was last compared with.
    pub(super) compared: Option<u64>,
}

/// One process.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) name: String,
    pub(super) look: Option<Look>,
    pub(super) lost: Option<(Instant, String)>,
    pub(super) map: Option<Shown>,
    /// Orders given to this process, by the generation they were given to; `true`: it was our doing.
    pub(super) ordered: BTreeMap<ServerName, (u64, AdminState, bool)>,
    /// When it was last looked at, in milliseconds since the epoch.
    looked_ms: u64,
    /// When a server was last of no use here.
    away: BTreeMap<Arc<str>, Away>,
    /// What its map had when we came is to be claimed.
    pub(super) adopting: bool,
    /// Its map was read at least once: there is one of that name.
    pub(super) mapped: bool,
    /// The book's version its file was last written with.
    pub(super) written: Option<u64>,
    /// What is wrong with its map or table.
    pub(super) trouble: Option<String>,
    /// Servers whose rooms have just moved away: who is still there is to be sent after them.
    pub(super) sweeping: BTreeSet<ServerName>,
    /// Why it does not take an order.
    pub(super) refused: Option<String>,
    pub(super) pushed: u64,
    /// What its table has on servers under orders: rooms, and when each was used.
    pub(super) entries: BTreeMap<Arc<str>, Vec<(Arc<str>, u64)>>,
}

/// The store.
#[derive(Debug, Default)]
pub(super) struct StoreState {
    /// Read whole at least once.
    pub(super) synced: bool,
    pub(super) lost: Option<(Instant, String)>,
    pub(super) conflicts: u64,
}

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    pub(super) processes: Vec<Watched>,
    pub(super) servers: BTreeMap<Arc<str>, Life>,
    pub(super) probes: BTreeMap<Arc<str>, Health>,
    pub(super) orders: BTreeMap<Arc<str>, Order>,
    /// Maintenance that a controller has ordered, by [`done_key`].
    pub(super) done: BTreeMap<String, Binding>,
    /// What of it is so no longer.
    pub(super) undone: BTreeMap<String, Binding>,
    pub(super) book: Book,
    pub(super) store: StoreState,
    pub(super) history: VecDeque<Moved>,
    pub(super) decisions: BTreeMap<(&'static str, &'static str), u64>,
    /// How long they took.
    pub(super) took: Durations,
    pub(super) events: Vec<ControlEvent>,
    pub(super) stranded: usize,
    /// Rooms that the store has lost, to be claimed again.
    pub(super) restoring: Vec<Wish>,
    /// How long the store keeps what it is told.
    ttl: Duration,
    pub(super) mode: Mode,
    /// When the tables were last read whose rooms are all known by now.
    pub(super) learned: Option<Instant>,
}

impl State {
    pub(super) fn new(names: impl Iterator<Item = String>, ttl: Duration, mode: Mode) -> Self {
        let watched = |name| Watched {
            name,
            look: None,
            lost: None,
            map: None,
            ordered: BTreeMap::new(),
            looked_ms: 0,
            away: BTreeMap::new(),
            adopting: true,
            mapped: false,
            written: None,
            trouble: None,
            sweeping: BTreeSet::new(),
            refused: None,
            pushed: 0,
            entries: BTreeMap::new(),
        };
        Self {
            processes: names.map(watched).collect(),
            servers: BTreeMap::new(),
            probes: BTreeMap::new(),
            orders: BTreeMap::new(),
            done: BTreeMap::new(),
            undone: BTreeMap::new(),
            book: Book::default(),
            store: StoreState::default(),
            history: VecDeque::new(),
            decisions: BTreeMap::new(),
            took: Durations::default(),
            events: Vec::new(),
            stranded: 0,
            restoring: Vec::new(),
            ttl,
            mode,
            learned: None,
        }
    }

    /// A process was looked at, from `began_ms` to `wall_ms`.
    pub(super) fn looked(
        &mut self,
        at: usize,
        found: Result<Look, String>,
        now: Instant,
        (began_ms, wall_ms): (u64, u64),
    ) {
        let Some(watched) = self.processes.get_mut(at) else { return };
        let look = match found {
            Ok(look) => look,
            Err(why) => {
                if watched.lost.is_none() {
                    self.events.push(ControlEvent::ProcessLost { process: watched.name.clone(), why: why.clone() });
                }
                let since = watched.lost.as_ref().map_or(now, |(since, _)| *since);
                watched.lost = Some((since, why));
                return;
            }
        };
        let before = watched.look.as_ref();
        let same = before.is_some_and(|before| before.process.generation == look.process.generation);
        if !same || watched.lost.is_some() {
            self.events.push(ControlEvent::Process {
                process: watched.name.clone(),
                pid: look.process.pid,
                version: look.process.version_text.clone(),
            });
        }
        for (name, seen) in &look.servers {
            let earlier = before.filter(|_| same).and_then(|before| before.servers.get(name));
            let was_away = earlier.is_some_and(|earlier| !earlier.standing.is_usable());
            // It may have been down and up again between two looks.
            if !seen.standing.is_usable() || earlier.is_some_and(|earlier| earlier.downs < seen.downs) {
                let began = watched.away.get(name).filter(|_| was_away);
                let from_ms = began.map_or(watched.looked_ms, |away| away.from_ms);
                watched.away.insert(name.clone(), Away { from_ms, until_ms: wall_ms });
            }
        }
        watched.looked_ms = began_ms;
        if !same {
            watched.map = None;
            watched.entries.clear();
            watched.sweeping.clear();
        }
        watched.lost = None;
        watched.look = Some(look);
    }

    /// Whether a process has the map; of one that has never answered, whether another one has it.
    pub(super) fn has_map(&self, at: usize) -> bool {
        let silent = self.processes.get(at).is_some_and(|watched| watched.look.is_none());
        self.processes.iter().enumerate().any(|(n, watched)| watched.mapped && (n == at || silent))
    }

    /// Why nothing is in control, if so.
    pub(super) fn unready(&self) -> Option<String> {
        let lost = self.processes.iter().filter(|watched| watched.lost.is_some() || watched.look.is_none());
        let told = |watched: &Watched| match &watched.lost {
            Some((_, why)) => format!("{} ({why})", watched.name),
            None => format!("{} (it was not asked yet)", watched.name),
        };
        let lost: Vec<String> = lost.map(told).collect();
        if lost.len() == self.processes.len() {
            return Some(format!("no HAProxy answers: {}", lost.join(", ")));
        }
        if self.store.synced {
            let answering = self.processes.iter().filter(|watched| watched.lost.is_none());
            let troubles = answering.map(|watched| {
                let why = watched.trouble.as_ref().filter(|_| watched.map.is_none())?;
                Some(format!("{} ({why})", watched.name))
            });
            let troubles: Option<Vec<String>> = troubles.collect();
            return troubles.map(|troubles| format!("nobody takes pins: {}", troubles.join(", ")));
        }
        Some(match &self.store.lost {
            Some((_, why)) => format!("the store was never read: {why}"),
            None if self.servers.is_empty() => "the backend has no server".to_owned(),
            None => "the store is being read".to_owned(),
        })
    }

    /// The last looks at processes that answer.
    pub(super) fn looks(&self) -> impl Iterator<Item = &Look> {
        self.processes.iter().filter(|watched| watched.lost.is_none()).filter_map(|watched| watched.look.as_ref())
    }

    /// Judges every server anew.
    pub(super) fn judge(&mut self, options: &ControlOptions, now: Instant) {
        let all_answer = self.processes.iter().all(|watched| watched.lost.is_none() && watched.look.is_some());
        let mut names: BTreeSet<Arc<str>> = self.servers.keys().cloned().collect();
        names.extend(self.looks().flat_map(|look| look.servers.keys().cloned()));
        if all_answer {
            names.extend(self.book.counts().into_keys().map(Arc::from));
        }
        for name in names {
            let views: Vec<Standing> =
                self.looks().filter_map(|look| look.servers.get(&name)).map(|seen| seen.standing).collect();
            let verdict = match judge(&views, self.probes.get(&name).copied(), options.decide) {
                // Everybody answers, and nobody knows it.
                Verdict::Unknown if all_answer && views.is_empty() => Verdict::Out,
                verdict => verdict,
            };
            let known = self.servers.contains_key(&name);
            let life = self.servers.entry(name.clone()).or_insert_with(|| Life::new(now));
            if life.observe(verdict, now, options.grace) && (known || verdict != Verdict::Up) {
                let (server, dead) = (name.to_string(), life.dead);
                self.events.push(ControlEvent::Server { server, verdict, dead });
            }
        }
        // A server that nobody lists and that has no rooms is forgotten.
        let listed: BTreeSet<&Arc<str>> = self
            .processes
            .iter()
            .filter_map(|watched| watched.look.as_ref())
            .flat_map(|look| look.servers.keys())
            .collect();
        let gone: Vec<Arc<str>> = self.servers.keys().filter(|name| !listed.contains(name)).cloned().collect();
        for name in gone {
            if self.book.count(&name) == 0 && !self.orders.contains_key(&name) {
                self.servers.remove(&name);
            }
        }
    }

    /// Whether a process sends requests to a server, of those that anybody has judged.
    pub(super) fn is_usable(&self, process: usize, server: &str) -> Option<bool> {
        self.servers.get(server)?;
        let seen = self.processes.get(process)?.look.as_ref()?.servers.get(server);
        Some(seen.is_some_and(|seen| seen.standing.is_usable()))
    }

    /// When a server was last of no use to a process, if all that answer saw it so at that time: one of several that
    /// cannot see it decides nothing.
    fn away(&self, process: usize, server: &str) -> Option<Away> {
        let away = *self.processes.get(process)?.away.get(server)?;
        let others = self.processes.iter().filter(|watched| watched.lost.is_none());
        let mut others =
            others.filter(|watched| watched.look.as_ref().is_some_and(|look| look.servers.contains_key(server)));
        others.all(|watched| watched.away.get(server).is_some_and(|other| other.overlaps(away))).then_some(away)
    }

    /// Rooms that HAProxy has put elsewhere while their server was away, and that are to stay there. Those of a server that
    /// is losing all its rooms move with them.
    pub(super) fn follow(&self) -> Vec<Wish> {
        let astray = self.book.rooms().iter().filter(|(_, known)| !known.strays.is_empty());
        let staying = astray.filter(|(_, known)| self.leaving(known.server()).is_none());
        let wish = |(room, known): (&Arc<str>, &super::book::Room)| {
            let stray = followed(known, |process| self.away(process, known.server()))?;
            let (room, seen, server) = (room.clone(), known.binding.clone(), stray.server.clone());
            Some(Wish::Move { room, seen, server, why: Why::Followed })
        };
        staying.filter_map(wish).collect()
    }

    /// Whether a server is fit for new rooms: nobody sees it down, drained or in maintenance, and no order is against it.
    pub(super) fn takes_rooms(&self, name: &str) -> bool {
        let up = self.servers.get(name).is_some_and(|life| life.verdict == Verdict::Up && !life.dead);
        up && !self.orders.contains_key(name)
            && self.looks().all(|look| look.servers.get(name).is_some_and(super::view::Seen::takes_rooms))
    }

    /// Servers that take no new rooms, and why.
    pub(super) fn excluded(&self) -> Vec<(String, String)> {
        let out = self.servers.iter().filter(|(name, _)| !self.takes_rooms(name));
        let why = |name: &str, life: &Life| match (self.orders.get(name), life.verdict) {
            (Some(order), _) => format!("ordered to {}", order.as_str()),
            (None, Verdict::Up) => "drained, or of weight 0, or not in all processes".to_owned(),
            (None, verdict) => verdict.as_str().to_owned(),
        };
        out.map(|(name, life)| (name.to_string(), why(name, life))).collect()
    }

    pub(super) fn placer(&self, options: &ControlOptions) -> Placer {
        self.placer_without(options, &[])
    }

    /// Chooses as if these servers took no rooms.
    pub(super) fn placer_without(&self, options: &ControlOptions, without: &[&str]) -> Placer {
        let release = self.looks().next().map(|look| look.process.version_text.clone()).unwrap_or_default();
        let candidates: Vec<Candidate> = self
            .looks()
            .take(1)
            .flat_map(|look| &look.servers)
            .filter(|(name, _)| self.takes_rooms(name) && !without.contains(&&***name))
            .map(|(name, seen)| Candidate { name: name.clone(), id: seen.id, weight: seen.weight })
            .collect();
        let counts = self.book.counts();
        Placer::new(options.placing, &release, &candidates, |name| counts.get(name).copied().unwrap_or(0))
    }

    /// Why a server's rooms are to leave it, if they are.
    pub(super) fn leaving(&self, server: &str) -> Option<Why> {
        if self.orders.get(server) == Some(&Order::Maint) {
            return Some(Why::Ordered);
        }
        let life = self.servers.get(server).filter(|life| life.dead)?;
        Some(if life.verdict == Verdict::Out { Why::ServerOut } else { Why::ServerDown })
    }

    /// Rooms that are to move now: all of each server that lost them.
    pub(super) fn moves(&mut self, options: &ControlOptions) -> Vec<Wish> {
        self.stranded = 0;
        let leaving: BTreeMap<Arc<str>, Why> =
            self.servers.keys().filter_map(|name| Some((name.clone(), self.leaving(name)?))).collect();
        if leaving.is_empty() || self.store.lost.is_some() || !self.store.synced {
            return Vec::new();
        }
        let Some(looked) = self.looks().map(|look| look.at).min() else { return Vec::new() };
        let mut placer = self.placer(options);
        let mut wishes = Vec::new();
        let mut stranded = 0;
        let mut theirs: Vec<_> = self
            .book
            .rooms()
            .iter()
            .filter_map(|(room, known)| Some((room, known, *leaving.get(known.server())?)))
            // Whoever placed it after our look may have seen its server come back: the next look tells.
            .filter(|(_, known, _)| known.since <= looked)
            .collect();
        // In one order, whoever moves them.
        theirs.sort_unstable_by(|a, b| a.0.cmp(b.0));
        for (room, known, why) in theirs {
            // Where HAProxy has sent people meanwhile, there they stay.
            let stray = known.strays.values().filter(|stray| self.takes_rooms(&stray.server)).max_by_key(|s| s.used_ms);
            let Some(server) = stray.map(|stray| stray.server.clone()).or_else(|| placer.choose(room)) else {
                stranded += 1;
                continue;
            };
            wishes.push(Wish::Move { room: room.clone(), seen: known.binding.clone(), server, why });
        }
        self.stranded = stranded;
        if stranded > 0 {
            self.events.push(ControlEvent::Nowhere { rooms: stranded });
        }
        wishes
    }

    /// The rooms of these servers have moved: whoever reached one of them meanwhile is to be sent after them.
    pub(super) fn sweep(&mut self, servers: &BTreeMap<String, usize>) {
        for watched in &mut self.processes {
            let listed = watched.look.iter().flat_map(|look| look.ordered.keys());
            watched.sweeping.extend(listed.filter(|name| servers.contains_key(name.server())).cloned());
        }
    }

    /// Servers of a process that are to be swept now: its pins show none of the rooms that have left them.
    pub(super) fn sweeps(&self, at: usize) -> Vec<ServerName> {
        let Some(watched) = self.processes.get(at).filter(|watched| watched.lost.is_none()) else { return Vec::new() };
        let Some(map) = watched.map.as_ref().filter(|_| !watched.sweeping.is_empty()) else { return Vec::new() };
        let left =
            |room: &Arc<str>, pinned: &Arc<str>| self.book.get(room).is_some_and(|known| known.server() != &**pinned);
        let late: BTreeSet<&str> =
            map.entries.iter().filter(|(room, pinned)| left(room, pinned)).map(|(_, pinned)| &**pinned).collect();
        watched.sweeping.iter().filter(|name| !late.contains(name.server())).cloned().collect()
    }

    /// Takes in what the store answered to a question of `asked`.
    pub(super) fn told(&mut self, told: Told, asked: Instant, wall_ms: u64) {
        if let Some(wish) = self.book.lost(&told, asked, self.ttl) {
            self.restoring.push(wish);
            return;
        }
        let (room, why, wanted) = match &told {
            Told::Bound { room, ours, .. } => (room.clone(), ours.unwrap_or(Why::Elsewhere), ours.is_some()),
            Told::Nowhere { room } | Told::Renewed { room } => (room.clone(), Why::Elsewhere, false),
            Told::Released { room } => (room.clone(), Why::Idle, true),
        };
        let (outcome, moved) = match self.book.take(told, asked, wall_ms) {
            Change::None => return,
            Change::New { server } => ("placed", (None, Some(server))),
            Change::Moved { from, to } => ("moved", (Some(from), Some(to))),
            Change::Gone { from } => ("ended", (Some(from), None)),
        };
        *self.decisions.entry((outcome, why.as_str())).or_default() += 1;
        self.store.conflicts += u64::from(!wanted && outcome == "moved");
        if let (Some(from), Some(to)) = &moved {
            let (from, to) = (from.to_string(), to.to_string());
            self.events.push(ControlEvent::Moved { room: room.to_string(), from: from.clone(), to: to.clone(), why });
            if self.history.len() >= HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(Moved { at_ms: wall_ms, room: room.to_string(), from, to, why });
        }
    }

    pub(super) fn store_lost(&mut self, why: String, now: Instant) {
        if self.store.lost.is_none() {
            self.events.push(ControlEvent::StoreLost { why: why.clone() });
        }
        let since = self.store.lost.as_ref().map_or(now, |(since, _)| *since);
        self.store.lost = Some((since, why));
    }

    pub(super) fn store_answered(&mut self) {
        if self.store.lost.take().is_some() {
            self.events.push(ControlEvent::StoreBack);
        }
    }

    /// The address HAProxy has for each server.
    pub(super) fn addresses(&self) -> BTreeMap<Arc<str>, std::net::SocketAddr> {
        let all = self.looks().flat_map(|look| &look.servers);
        all.filter_map(|(name, seen)| Some((name.clone(), seen.address?))).collect()
    }
}
