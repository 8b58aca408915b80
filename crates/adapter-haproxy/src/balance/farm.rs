//! The servers as the algorithms see them: which count, and with what weight.

/// A server in the eyes of an algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) id: u32,
    /// Where its nodes on the ring begin.
    pub(crate) node_base: u32,
    pub(crate) backup: bool,
    /// Neither stopped nor draining.
    pub(crate) running: bool,
    /// The weight in force in sixteenths.
    pub(crate) sixteenths: u32,
    /// The configured weight.
    pub(crate) configured: u32,
    /// The effective weight.
    pub(crate) ew: u32,
}

impl Unit {
    pub(crate) fn usable(&self) -> bool {
        self.running && self.ew > 0
    }
}

/// Which servers take requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The active ones.
    Active,
    /// The first usable backup alone.
    First(usize),
    /// All backups.
    Backups,
    /// Nobody.
    Nobody,
}

impl Group {
    /// Where an algorithm has to look: 0 for the active servers, 1 for the backups; otherwise the answer, which no
    /// algorithm changes.
    pub(crate) const fn side(self) -> Result<usize, Option<usize>> {
        match self {
            Self::Active => Ok(0),
            Self::Backups => Ok(1),
            Self::First(only) => Err(Some(only)),
            Self::Nobody => Err(None),
        }
    }
}

/// All servers of a backend.
#[derive(Clone, Debug)]
pub(crate) struct Farm {
    pub(crate) units: Vec<Unit>,
    /// For static algorithms, what all weights are divided by.
    divisor: Option<u32>,
    all_backups: bool,
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Farm {
    /// Sets the effective weights.
    pub(crate) fn new(mut units: Vec<Unit>, is_static: bool, all_backups: bool) -> Self {
        let divisor = is_static.then(|| units.iter().fold(0, |g, u| gcd(g, u.configured)).max(1));
        for u in &mut units {
            u.ew = effective(u.sixteenths, divisor);
        }
        Self { units, divisor, all_backups }
    }

    /// Changes a weight in force; what the server was before.
    pub(crate) fn set_weight(&mut self, i: usize, sixteenths: u32) -> Option<Unit> {
        let unit = self.units.get_mut(i)?;
        let before = unit.clone();
        unit.sixteenths = sixteenths;
        unit.ew = effective(sixteenths, self.divisor);
        (*unit != before).then_some(before)
    }

    /// Changes whether a server runs; what it was before.
    pub(crate) fn set_running(&mut self, i: usize, running: bool) -> Option<Unit> {
        let unit = self.units.get_mut(i)?;
        let before = unit.clone();
        unit.running = running;
        (*unit != before).then_some(before)
    }

    /// Whether this server is of the group of backups.
    pub(crate) fn is_backup(&self, i: usize) -> bool {
        self.units.get(i).is_some_and(|u| u.backup)
    }

    /// The usable servers of one side, in order.
    pub(crate) fn usable(&self, backup: bool) -> impl Iterator<Item = (usize, &Unit)> {
        self.units.iter().enumerate().filter(move |(_, u)| u.backup == backup && u.usable())
    }

    /// Who takes requests now.
    pub(crate) fn group(&self) -> Group {
        if self.usable(false).next().is_some() {
            return Group::Active;
        }
        match self.usable(true).next() {
            Some(_) if self.all_backups => Group::Backups,
            Some((first, _)) => Group::First(first),
            None => Group::Nobody,
        }
    }

    /// How many servers are in use, and the sum of their effective weights.
    pub(crate) fn totals(&self) -> (usize, u32) {
        let sum = |backup| self.usable(backup).fold((0, 0), |(n, w), (_, u)| (n + 1, w + u.ew));
        match self.group() {
            Group::Active => sum(false),
            Group::First(i) => (1, self.units.get(i).map_or(0, |u| u.ew)),
            Group::Backups => sum(true),
            Group::Nobody => (0, 0),
        }
    }
}

fn effective(sixteenths: u32, divisor: Option<u32>) -> u32 {
    match divisor {
        None => sixteenths,
        Some(d) => sixteenths.div_ceil(16).div_ceil(d),
    }
}

/// Connections at the moment of a pick.
pub(crate) trait Load {
    /// Connections the server is serving.
    fn served(&self, i: usize) -> u32;
    /// Requests waiting for it.
    fn queued(&self, _i: usize) -> u32 {
        0
    }
    /// Connections at most, at this moment; `None` is no limit.
    fn limit(&self, _i: usize) -> Option<u32> {
        None
    }
    /// Waiting requests at most; 0 is no limit.
    fn max_queue(&self, _i: usize) -> u32 {
        0
    }
    /// Connections all servers are serving.
    fn total(&self) -> u32;
    /// Whether this request may not go there for reasons of the caller's own.
    fn is_barred(&self, _i: usize) -> bool {
        false
    }
    /// Whether a round robin passes it over: at its limit, or with a queue.
    fn is_full(&self, i: usize) -> bool {
        self.is_barred(i) || self.limit(i).is_some_and(|limit| self.queued(i) > 0 || self.served(i) >= limit)
    }
    /// Whether neither a connection nor a place in its queue is left.
    fn is_packed(&self, i: usize) -> bool {
        let all = self.served(i).saturating_add(self.queued(i));
        self.limit(i).is_some_and(|limit| all >= limit.saturating_add(self.max_queue(i)))
    }
}

/// Connections, and a server to be passed over if possible.
pub(crate) struct Avoiding<'a> {
    pub(crate) load: &'a dyn Load,
    pub(crate) avoid: usize,
}

impl Load for Avoiding<'_> {
    fn served(&self, i: usize) -> u32 {
        self.load.served(i)
    }

    fn queued(&self, i: usize) -> u32 {
        self.load.queued(i)
    }

    fn limit(&self, i: usize) -> Option<u32> {
        self.load.limit(i)
    }

    fn max_queue(&self, i: usize) -> u32 {
        self.load.max_queue(i)
    }

    fn total(&self) -> u32 {
        self.load.total()
    }

    fn is_barred(&self, i: usize) -> bool {
        i == self.avoid
    }
}
