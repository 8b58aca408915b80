//! One backend's algorithm with its servers and its state: what the predictor and the strategy both drive.

use super::algorithm::{Balance, HashType};
use super::chash::{Affinity, Chash};
use super::farm::{Farm, Group, Load, Unit};
use super::first::First;
use super::hash::avalanche;
use super::key::{Key, KeyRule, Request};
use super::leastconn::LeastConn;
use super::map::Map;
use super::notes::Notes;
use super::roundrobin::RoundRobin;
use super::version::Version;

/// The most draws of one pick.
const MAX_DRAWS: u32 = 64;

/// What does not change while servers do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) version: Version,
    pub(crate) balance: Balance,
    pub(crate) hash: HashType,
    pub(crate) factor: u32,
    pub(crate) affinity: Affinity,
    pub(crate) all_backups: bool,
}

impl Rules {
    fn is_static(&self) -> bool {
        match self.balance {
            Balance::StaticRr => true,
            Balance::Key(_) => !self.hash.is_consistent(),
            _ => false,
        }
    }

    /// Whether weights other than 0 and the configured one are refused at run time.
    pub(crate) fn refuses_weights(&self) -> bool {
        self.is_static()
    }

    /// Whether counts of connections decide.
    pub(crate) fn counts(&self) -> bool {
        self.balance == Balance::LeastConn || self.factor > 0
    }

    /// Whether the key and the servers alone decide.
    pub(crate) fn is_by_key_alone(&self) -> bool {
        self.balance.key().is_some() && self.factor == 0 && self.affinity == Affinity::Always
    }

    /// The algorithm in a few words.
    pub(crate) fn name(&self) -> (&'static str, &'static str) {
        match &self.balance {
            Balance::RoundRobin => ("haproxy-roundrobin", "HAProxy's roundrobin: whose turn it is"),
            Balance::StaticRr => ("haproxy-static-rr", "HAProxy's static-rr: the next slot of its table"),
            Balance::LeastConn => ("haproxy-leastconn", "HAProxy's leastconn: the least connections for the weight"),
            Balance::First => ("haproxy-first", "HAProxy's first: the lowest id that is not full"),
            Balance::Random { .. } => ("haproxy-random", "HAProxy's random: by chance"),
            Balance::Key(_) if self.hash.is_consistent() => {
                ("haproxy-consistent", "HAProxy's consistent hash: the nearest node of the ring")
            }
            Balance::Key(_) => ("haproxy-map-based", "HAProxy's map-based hash: the slot of its table"),
        }
    }

    /// Whether the order of equals is left to chance.
    pub(crate) fn is_chance(&self) -> bool {
        match self.balance {
            Balance::LeastConn => self.version.ties_by_chance(),
            Balance::Random { .. } => true,
            _ => false,
        }
    }
}

#[derive(Clone, Debug)]
enum Machine {
    Chash(Chash),
    Map(Map),
    RoundRobin(RoundRobin),
    LeastConn(LeastConn),
    First(First),
    Random,
}

/// The outcome of a pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// This server.
    Server(usize),
    /// Servers are usable, and all are full.
    Full,
    /// No server is usable.
    Nobody,
}

/// The algorithm at work.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub(crate) farm: Farm,
    machine: Machine,
}

impl Engine {
    /// As it is after a start with these servers.
    pub(crate) fn new(rules: &Rules, units: Vec<Unit>) -> Self {
        let farm = Farm::new(units, rules.is_static(), rules.all_backups);
        let machine = match &rules.balance {
            Balance::Key(_) if rules.hash.is_consistent() => {
                Machine::Chash(Chash::new(&farm, rules.factor, rules.affinity))
            }
            Balance::Key(_) | Balance::StaticRr => Machine::Map(Map::new(&farm)),
            Balance::RoundRobin => Machine::RoundRobin(RoundRobin::new(&farm, rules.version.weight_rejoins())),
            Balance::LeastConn => Machine::LeastConn(LeastConn::new(&farm)),
            Balance::First => Machine::First(First::new(&farm)),
            Balance::Random { .. } => Machine::Random,
        };
        Self { farm, machine }
    }

    /// A server runs or does so no more.
    pub(crate) fn set_running(&mut self, i: usize, running: bool, load: &dyn Load) {
        let before = self.farm.set_running(i, running);
        self.changed(i, before, load);
    }

    /// A server has this weight in force now, in sixteenths.
    pub(crate) fn set_weight(&mut self, i: usize, sixteenths: u32, load: &dyn Load) {
        let before = self.farm.set_weight(i, sixteenths);
        self.changed(i, before, load);
    }

    fn changed(&mut self, i: usize, before: Option<Unit>, load: &dyn Load) {
        let Some(before) = before else { return };
        let now = self.farm.units.get(i);
        if now.is_none_or(|now| (now.usable(), now.ew) == (before.usable(), before.ew)) {
            return;
        }
        match &mut self.machine {
            Machine::Chash(m) => m.changed(&self.farm, i),
            Machine::Map(m) => m.changed(&self.farm),
            Machine::RoundRobin(m) => m.changed(&self.farm, i, before.usable()),
            Machine::LeastConn(m) => m.changed(&self.farm, load, i),
            Machine::First(_) | Machine::Random => {}
        }
    }

    /// The count of a server's connections has changed.
    pub(crate) fn touched(&mut self, i: usize, load: &dyn Load) {
        if let Machine::LeastConn(m) = &mut self.machine {
            m.touched(&self.farm, load, i);
        }
    }

    /// The key of a request, as this algorithm looks at it.
    pub(crate) fn key(&self, rules: &Rules, request: &Request, notes: &mut Notes) -> Key {
        let Some(rule) = rules.balance.key() else { return Key::Absent };
        if rule.is_skipped_for_one() && self.farm.totals().0 == 1 {
            notes.say(|| "one server is usable: no key is looked for".into());
            return Key::Hash(0);
        }
        let key = rule.key(request, rules.hash.function(), rules.hash.has_avalanche(), rules.version);
        notes.say(|| {
            let bytes = rule.bytes(request, rules.hash.function(), rules.version);
            let text = bytes.map(|b| String::from_utf8_lossy(&b).into_owned());
            match (text, key) {
                (Some(text), Key::Hash(h)) => format!("key {text:?} has hash {h:#010x}"),
                _ => "the request has no key".into(),
            }
        });
        key
    }

    /// The hash of a key that is at hand already.
    pub(crate) fn hash_of(rules: &Rules, key: &[u8]) -> Key {
        let Some(rule) = rules.balance.key() else { return Key::Absent };
        let hash = match rule {
            KeyRule::Source => std::str::from_utf8(key).ok().and_then(|k| k.parse().ok()).map(KeyRule::source),
            _ => Some(rules.hash.function().hash(key)),
        };
        hash.map_or(Key::Absent, |h| Key::Hash(if rules.hash.has_avalanche() { avalanche(h) } else { h }))
    }

    /// Chooses.
    pub(crate) fn pick(&mut self, key: Key, load: &dyn Load, notes: &mut Notes) -> Pick {
        let group = self.farm.group();
        match group {
            Group::Nobody => return Pick::Nobody,
            Group::First(i) => notes.say_of(i, || "is the first usable backup, and no active server is usable".into()),
            Group::Active | Group::Backups => {}
        }
        let found = match (&mut self.machine, key) {
            (Machine::Chash(m), Key::Hash(h)) => m.by_hash(&self.farm, load, h, notes),
            (Machine::Chash(m), Key::Absent) => m.next(&self.farm, load, notes),
            (Machine::Map(m), Key::Hash(h)) => m.by_hash(load, h, notes),
            (Machine::Map(m), Key::Absent) => m.next(load, notes),
            (Machine::RoundRobin(m), _) => m.next(&self.farm, load, notes),
            (Machine::LeastConn(m), _) => m.next(&self.farm, load, notes),
            (Machine::First(m), _) => m.next(&self.farm, load, notes),
            (Machine::Random, _) => self.possible(load).into_iter().find(|i| !load.is_barred(*i)),
        };
        found.map_or(Pick::Full, Pick::Server)
    }

    /// Lets chance decide among these.
    pub(crate) fn draw(
        &self,
        rules: &Rules,
        possible: &[usize],
        load: &dyn Load,
        mut random: impl FnMut() -> u64,
    ) -> Option<usize> {
        let Balance::Random { draws } = rules.balance else {
            let n = random().checked_rem(possible.len() as u64)?;
            return possible.get(usize::try_from(n).ok()?).copied();
        };
        let ew = |i: usize| self.farm.units.get(i).map_or(0, |u| u64::from(u.ew));
        let sum: u64 = possible.iter().map(|i| ew(*i)).sum();
        let mut best: Option<usize> = None;
        for _ in 0..draws.min(MAX_DRAWS) {
            let mut at = random().checked_rem(sum)?;
            let drawn = possible.iter().copied().find(|i| {
                let found = at < ew(*i);
                at = at.saturating_sub(ew(*i));
                found
            })?;
            let served = |i| u64::from(load.served(i));
            let stays = best.is_some_and(|b| served(drawn) * ew(b) > served(b) * ew(drawn));
            best = if stays { best } else { Some(drawn) };
        }
        best
    }

    /// Those of whom chance chooses one.
    pub(crate) fn possible(&self, load: &dyn Load) -> Vec<usize> {
        if let Machine::LeastConn(m) = &self.machine {
            return m.least(&self.farm, load);
        }
        match self.farm.group() {
            Group::Active => self.farm.usable(false).map(|(i, _)| i).collect(),
            Group::Backups => self.farm.usable(true).map(|(i, _)| i).collect(),
            Group::First(i) => vec![i],
            Group::Nobody => Vec::new(),
        }
    }
}
