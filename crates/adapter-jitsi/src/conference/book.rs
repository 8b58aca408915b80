//! The conferences a focus runs, and which bridges each of them uses.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use balancer_core::BackendId;

use super::{Conference, ConferenceBridge};
use crate::bridge::{BridgeTable, FocusSettings, Window};
use crate::redistribute::{ConferenceOn, Move, Moving, moves};
use crate::select::{Choice, NoBridge};

/// The most conferences a book holds.
pub const MAX_CONFERENCES: usize = 1_000_000;

/// Who joins a conference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant {
    /// Its region, if known.
    pub region: Option<Arc<str>>,
    /// Whether it only watches.
    pub visitor: bool,
}

impl Participant {
    /// One of no known region.
    pub fn new() -> Self {
        Self::default()
    }

    /// One of this region.
    pub fn of_region(region: impl Into<Arc<str>>) -> Self {
        Self { region: Some(region.into()), visitor: false }
    }

    /// One who only watches.
    #[must_use]
    pub fn visiting(mut self) -> Self {
        self.visitor = true;
        self
    }
}

#[derive(Clone, Debug)]
struct Used {
    id: BackendId,
    participants: u32,
    visitor: bool,
    /// Nobody has come to it there so far, and the table counts that.
    opened: bool,
    recent: Window,
}

#[derive(Clone, Debug, Default)]
struct Running {
    bridges: Vec<Used>,
    version: Option<Arc<str>>,
}

/// The conferences of one focus. Joining, leaving and evacuating also tell the table what happened on its bridges.
#[derive(Clone, Debug)]
pub struct ConferenceBook {
    interval: u64,
    rooms: HashMap<Arc<str>, Running>,
    by_bridge: HashMap<BackendId, BTreeSet<Arc<str>>>,
}

impl ConferenceBook {
    /// An empty book for a table of these settings.
    pub fn new(settings: &FocusSettings) -> Self {
        let interval = u64::try_from(settings.participants_interval.as_millis()).unwrap_or(u64::MAX);
        Self { interval, rooms: HashMap::new(), by_bridge: HashMap::new() }
    }

    /// How many conferences there are.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// The question to ask for one more participant of this room.
    pub fn question(&mut self, room: &str, who: &Participant, now: Duration) -> Conference {
        let at = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut question = Conference { region: who.region.clone(), visitor: who.visitor, ..Conference::new() };
        if let Some(running) = self.rooms.get_mut(room) {
            question.version.clone_from(&running.version);
            question.bridges = running.bridges.iter_mut().map(|used| used.show(at)).collect();
        }
        question
    }

    /// Pins a conference that has not begun to a full version of the bridge.
    ///
    /// # Errors
    ///
    /// [`NoBridge::TooMany`].
    pub fn pin(&mut self, room: &str, version: impl Into<Arc<str>>) -> Result<(), NoBridge> {
        self.running(room)?.1.version = Some(version.into());
        Ok(())
    }

    /// Puts one more participant of a room on a bridge.
    ///
    /// # Errors
    ///
    /// Why there is no bridge. The conference is as it was.
    pub fn join(
        &mut self,
        table: &mut BridgeTable,
        room: &str,
        who: &Participant,
        now: Duration,
    ) -> Result<Choice, NoBridge> {
        let question = self.question(room, who, now);
        let choice = table.place(&question, now)?;
        self.joined(table, room, &choice.bridge, who.visitor, now)?;
        Ok(choice)
    }

    /// Takes note that a participant of a room was put on this bridge.
    ///
    /// # Errors
    ///
    /// [`NoBridge::TooMany`].
    pub fn joined(
        &mut self,
        table: &mut BridgeTable,
        room: &str,
        bridge: &BackendId,
        visitor: bool,
        now: Duration,
    ) -> Result<(), NoBridge> {
        let at = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let used = self.use_bridge(room, bridge)?;
        if used.participants == 0 {
            used.visitor = visitor;
        }
        let opened = std::mem::take(&mut used.opened);
        used.participants = used.participants.saturating_add(1);
        used.recent.add(at, 1);
        if opened {
            table.conference_settled(bridge.as_str(), now);
        }
        table.placed(bridge.as_str(), 1, now);
        Ok(())
    }

    /// Puts a room on a bridge before anybody has come.
    ///
    /// # Errors
    ///
    /// Why there is no bridge.
    pub fn open(
        &mut self,
        table: &mut BridgeTable,
        room: &str,
        who: &Participant,
        now: Duration,
    ) -> Result<Choice, NoBridge> {
        let question = self.question(room, who, now);
        let choice = table.place(&question, now)?;
        let used = self.use_bridge(room, &choice.bridge)?;
        if used.participants == 0 && !std::mem::replace(&mut used.opened, true) {
            table.conference_opened(choice.bridge.as_str(), now);
        }
        Ok(choice)
    }

    /// A participant of a room left a bridge. With the last one the conference leaves the bridge; with its last bridge
    /// it ends.
    pub fn left(&mut self, table: &mut BridgeTable, room: &str, bridge: &str, now: Duration) {
        let Some(running) = self.rooms.get_mut(room) else { return };
        let Some(used) = running.bridges.iter_mut().find(|used| used.id.as_str() == bridge) else { return };
        if used.participants > 0 {
            used.participants -= 1;
            table.left(bridge, 1, now);
        }
        if used.participants == 0 {
            self.drop_bridge(table, room, bridge, now);
        }
    }

    /// Takes a conference off a bridge: its endpoints there are to be invited again. How many they are.
    pub fn drop_bridge(&mut self, table: &mut BridgeTable, room: &str, bridge: &str, now: Duration) -> u32 {
        let Some(running) = self.rooms.get_mut(room) else { return 0 };
        let Some(place) = running.bridges.iter().position(|used| used.id.as_str() == bridge) else { return 0 };
        let used = running.bridges.remove(place);
        if running.bridges.is_empty() {
            self.rooms.remove(room);
        }
        if let Some(rooms) = self.by_bridge.get_mut(bridge) {
            rooms.remove(room);
            if rooms.is_empty() {
                self.by_bridge.remove(bridge);
            }
        }
        if used.opened {
            table.conference_settled(bridge, now);
        }
        table.left(bridge, used.participants, now);
        used.participants
    }

    /// Takes every conference off a bridge, which was removed or failed its check or is about to end: who must be
    /// invited again, the largest conference first. Let each of them [`join`](Self::join).
    pub fn evacuate(&mut self, table: &mut BridgeTable, bridge: &str, now: Duration) -> Vec<Move> {
        let all = moves(&self.on(bridge), Moving::All);
        for room in self.by_bridge.remove(bridge).unwrap_or_default() {
            self.drop_bridge(table, &room, bridge, now);
        }
        all
    }

    /// The conferences on a bridge, by room.
    pub fn on(&self, bridge: &str) -> Vec<ConferenceOn> {
        let rooms = self.by_bridge.get(bridge).into_iter().flatten();
        let count = |room: &Arc<str>| {
            let used = self.rooms.get(room)?.bridges.iter().find(|used| used.id.as_str() == bridge)?;
            Some(ConferenceOn::new(room.clone(), used.participants))
        };
        rooms.filter_map(count).collect()
    }

    fn running(&mut self, room: &str) -> Result<(Arc<str>, &mut Running), NoBridge> {
        let name = match self.rooms.get_key_value(room) {
            Some((name, _)) => name.clone(),
            None if self.rooms.len() >= MAX_CONFERENCES => return Err(NoBridge::TooMany),
            None => room.into(),
        };
        let running = self.rooms.entry(name.clone()).or_default();
        Ok((name, running))
    }

    fn use_bridge(&mut self, room: &str, bridge: &BackendId) -> Result<&mut Used, NoBridge> {
        let interval = self.interval;
        let known = self.rooms.get(room).is_some_and(|r| r.bridges.iter().any(|used| used.id == *bridge));
        let (name, running) = self.running(room)?;
        if !known {
            running.bridges.push(Used::new(bridge.clone(), interval));
            self.by_bridge.entry(bridge.clone()).or_default().insert(name);
        }
        let used = self.rooms.get_mut(room).and_then(|r| r.bridges.iter_mut().find(|used| used.id == *bridge));
        used.ok_or(NoBridge::TooMany)
    }
}

impl Used {
    fn new(id: BackendId, interval: u64) -> Self {
        Self { id, participants: 0, visitor: false, opened: false, recent: Window::new(interval, 1000) }
    }

    fn show(&mut self, now: u64) -> ConferenceBridge {
        self.recent.expire(now);
        let recent = u32::try_from(self.recent.sum()).unwrap_or(u32::MAX);
        ConferenceBridge::new(self.id.clone(), self.participants).of_visitors(self.visitor).recent(recent)
    }
}
