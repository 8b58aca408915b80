//! A brewery over many connections: what outlives a lost one, and what does not.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::backoff::later;
use super::error::XmppError;
use super::jid::OccupantJid;
use super::leave::LeaveReason;
use super::session::Signal;

/// The most bridges that are kept track of.
pub const MAX_WATCHED: usize = 10_000;

/// What happens in a brewery.
///
/// Losing our own connection says nothing of the bridges: all stay, and what has changed meanwhile is told after the
/// room has been joined again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreweryEvent {
    /// A presence with statistics.
    BridgeSeen {
        /// Whose.
        occupant: OccupantJid,
        /// The stanza as it came; its default namespace is `jabber:client`.
        stanza: Bytes,
        /// The room repeated it to us when we joined: its figures may be of any age.
        replayed: bool,
    },
    /// A bridge left the room.
    BridgeLeft {
        /// Which.
        occupant: OccupantJid,
        /// How.
        reason: LeaveReason,
    },
    /// A bridge is in the room, but publishes nothing. Told once until it publishes again.
    BridgeSilent {
        /// Which.
        occupant: OccupantJid,
        /// For how long.
        quiet: Duration,
    },
    /// Our connection is lost. All bridges stay as they were known; nothing is heard of them.
    Disconnected {
        /// When something was heard last.
        since: Instant,
        /// Why.
        why: XmppError,
    },
    /// We are in the room, for the first time or again. Everybody in it has been told by `BridgeSeen` before.
    Resynced {
        /// How long nothing was heard; `None` the first time.
        away: Option<Duration>,
        /// All bridges in the room.
        present: Vec<OccupantJid>,
        /// Those of them that were not known before.
        added: Vec<OccupantJid>,
        /// Those that were known and are not in the room: they have a grace to come back, then they have left.
        missing: Vec<OccupantJid>,
    },
    /// A try to come back, or to connect at all, failed.
    Refused {
        /// Why.
        why: XmppError,
        /// When the next try is made.
        retry: Duration,
    },
    /// A stanza was above a limit and is not read.
    Cut {
        /// Whose it was, when known.
        occupant: Option<OccupantJid>,
        /// Its length in bytes.
        bytes: u64,
    },
}

/// What is remembered of a bridge.
#[derive(Clone, Copy, Debug)]
struct Known {
    heard: Instant,
    silent: bool,
    /// Seen since the connection was made.
    here: bool,
    /// It left; that is told by then.
    leaving: Option<Instant>,
}

/// How patient a [`Watch`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patience {
    /// A bridge that publishes nothing for so long is silent. Default 45 s, as jicofo has it.
    pub silence: Duration,
    /// A bridge that was missing when we came back has so long to come back as well. Default 30 s.
    pub grace: Duration,
    /// A leave is told after so long, for a server that shuts down has everybody leave just before it closes our own
    /// connection: then nobody has left. Kicks and bans are told at once. Default 250 ms.
    pub hold: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { silence: Duration::from_secs(45), grace: Duration::from_secs(30), hold: Duration::from_millis(250) }
    }
}

/// Puts what successive connections tell together: signals and time in, [`BreweryEvent`]s out.
#[derive(Debug)]
pub struct Watch {
    patience: Patience,
    known: BTreeMap<OccupantJid, Known>,
    added: Vec<OccupantJid>,
    joined: bool,
    /// When something was heard last on a joined connection.
    contact: Option<Instant>,
    /// Who is not here by then has left.
    grace: Option<Instant>,
    check: Option<Instant>,
    /// The first leave is told then.
    hold: Option<Instant>,
    events: VecDeque<BreweryEvent>,
}

impl Watch {
    /// Knows nobody yet.
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            known: BTreeMap::new(),
            added: Vec::new(),
            joined: false,
            contact: None,
            grace: None,
            check: None,
            hold: None,
            events: VecDeque::new(),
        }
    }

    /// The next event.
    pub fn poll(&mut self) -> Option<BreweryEvent> {
        self.events.pop_front()
    }

    /// The bridges in the room as far as known, those from before a lost connection included.
    pub fn bridges(&self) -> impl Iterator<Item = &OccupantJid> {
        self.known.keys()
    }

    /// When [`tick`](Self::tick) is due.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.joined {
            return None;
        }
        [self.grace, self.check, self.hold].into_iter().flatten().min()
    }

    /// Something was received, whatever it was.
    pub fn heard(&mut self, now: Instant) {
        if self.joined {
            self.contact = Some(now);
        }
    }

    /// Something happened in the room.
    pub fn signal(&mut self, signal: Signal, now: Instant) {
        match signal {
            Signal::Joined { .. } => self.joined(now),
            Signal::Seen { stats: false, .. } => {}
            Signal::Seen { occupant, stanza, .. } => self.seen(occupant, stanza, now),
            Signal::Left { occupant, reason: LeaveReason::ServiceStops } => {
                // The service goes, not the bridge: it will be looked for when the service is back.
                if let Some(known) = self.known.get_mut(&occupant) {
                    known.here = false;
                    self.grace = Some(later(now, self.patience.grace));
                }
            }
            Signal::Left { occupant, reason: LeaveReason::Left } => {
                if let Some(known) = self.known.get_mut(&occupant)
                    && known.leaving.is_none()
                {
                    let due = later(now, self.patience.hold);
                    known.leaving = Some(due);
                    self.hold = Some(self.hold.map_or(due, |hold| hold.min(due)));
                }
            }
            Signal::Left { occupant, reason } => {
                if self.known.remove(&occupant).is_some() {
                    self.events.push_back(BreweryEvent::BridgeLeft { occupant, reason });
                }
            }
            Signal::Cut { occupant, bytes } => {
                // What it says is not known, but it is there.
                if let Some(known) = occupant.as_ref().and_then(|occupant| self.known.get_mut(occupant)) {
                    *known = Known { heard: now, silent: false, here: true, leaving: None };
                    self.check.get_or_insert(later(now, self.patience.silence));
                }
                self.events.push_back(BreweryEvent::Cut { occupant, bytes });
            }
        }
    }

    /// The connection ended, or none came about.
    pub fn lost(&mut self, why: &XmppError, retry: Duration, now: Instant) {
        let was = std::mem::replace(&mut self.joined, false);
        for known in self.known.values_mut() {
            known.here = false;
            known.leaving = None;
        }
        self.hold = None;
        // Tries that never get into the room must not make this grow.
        self.added.sort_unstable();
        self.added.dedup();
        if was {
            let since = self.contact.unwrap_or(now);
            self.events.push_back(BreweryEvent::Disconnected { since, why: why.clone() });
        }
        if !was || why.is_lasting() {
            self.events.push_back(BreweryEvent::Refused { why: why.clone(), retry });
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        if !self.joined {
            return;
        }
        if self.hold.is_some_and(|hold| hold <= now) {
            self.forget(&LeaveReason::Left, |known| known.leaving.is_some_and(|due| due <= now));
            self.hold = self.known.values().filter_map(|known| known.leaving).min();
        }
        if self.grace.is_some_and(|grace| grace <= now) {
            self.grace = None;
            self.forget(&LeaveReason::NotBack, |known| !known.here);
        }
        if self.check.is_some_and(|check| check <= now) {
            self.check = None;
            for (occupant, known) in &mut self.known {
                if !known.here || known.silent {
                    continue;
                }
                let due = later(known.heard, self.patience.silence);
                if due <= now {
                    known.silent = true;
                    let quiet = now.saturating_duration_since(known.heard);
                    self.events.push_back(BreweryEvent::BridgeSilent { occupant: occupant.clone(), quiet });
                } else {
                    self.check = Some(self.check.map_or(due, |check| check.min(due)));
                }
            }
        }
    }

    fn forget(&mut self, reason: &LeaveReason, gone: impl Fn(&Known) -> bool) {
        let events = &mut self.events;
        self.known.retain(|occupant, known| {
            let gone = gone(known);
            if gone {
                events.push_back(BreweryEvent::BridgeLeft { occupant: occupant.clone(), reason: reason.clone() });
            }
            !gone
        });
    }

    fn joined(&mut self, now: Instant) {
        self.joined = true;
        let away = self.contact.map(|contact| now.saturating_duration_since(contact));
        self.contact = Some(now);
        let names = |here| {
            let some = self.known.iter().filter(move |(_, known)| known.here == here);
            some.map(|(occupant, _)| occupant.clone()).collect::<Vec<_>>()
        };
        let (present, missing) = (names(true), names(false));
        self.grace = (!missing.is_empty()).then(|| later(now, self.patience.grace));
        let mut added = std::mem::take(&mut self.added);
        added.retain(|occupant| self.known.get(occupant).is_some_and(|known| known.here));
        added.sort_unstable();
        added.dedup();
        self.events.push_back(BreweryEvent::Resynced { away, present, added, missing });
    }

    fn seen(&mut self, occupant: OccupantJid, stanza: Bytes, now: Instant) {
        let fresh = Known { heard: now, silent: false, here: true, leaving: None };
        if self.known.get(&occupant).is_some_and(|known| known.leaving.is_some()) {
            // It left and came back: another bridge to everybody who goes by presences.
            self.known.remove(&occupant);
            self.events.push_back(BreweryEvent::BridgeLeft { occupant: occupant.clone(), reason: LeaveReason::Left });
        }
        let full = self.known.len() == MAX_WATCHED;
        match self.known.get_mut(&occupant) {
            Some(known) => *known = fresh,
            None if full => {
                self.events.push_back(BreweryEvent::Cut { occupant: Some(occupant), bytes: stanza.len() as u64 });
                return;
            }
            None => {
                self.known.insert(occupant.clone(), fresh);
                if !self.joined {
                    self.added.push(occupant.clone());
                }
            }
        }
        self.check.get_or_insert(later(now, self.patience.silence));
        self.events.push_back(BreweryEvent::BridgeSeen { occupant, stanza, replayed: !self.joined });
    }
}

#[cfg(test)]
mod tests;
