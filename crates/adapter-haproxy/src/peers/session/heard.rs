//! Hearing where keys are, and nothing else: what a node is told by the million.

use std::time::Instant;

use super::{Desk, PeerEvent, PeerSession};
use crate::peers::codec::{PeersError, PeersFault};
use crate::peers::dictionary::{NameSeen, NamesReceived};
use crate::peers::table::{DataKind, DataType, KeyType};
use crate::wire::Reader;

/// Where a peer has keys: what its updates say of that, in the order they came.
#[derive(Debug, Default)]
pub(in crate::peers) struct HeardPins {
    /// Keys, one after the other.
    keys: Vec<u8>,
    pins: Vec<Place>,
    /// Tables by the other side's numbers, and up to which update each is spoken of.
    tables: Vec<(u64, usize)>,
    /// Names that were told, one after the other, and where each ends.
    names: Vec<u8>,
    name_ends: Vec<usize>,
    /// Which of them each number stands for now.
    by_id: Vec<Option<u32>>,
}

/// One update.
#[derive(Debug)]
struct Place {
    key_end: usize,
    name: Option<u32>,
    server_id: u32,
    remaining: Option<u32>,
}

/// What one update says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::peers) struct HeardPin<'a> {
    /// The key, as on the wire (text without its length).
    pub(in crate::peers) key: &'a [u8],
    /// The number of the server; 0 is none.
    pub(in crate::peers) server_id: u32,
    /// The [name](HeardPins::name) of the server: `None` leaves the one known, an empty one un-pins.
    pub(in crate::peers) name: Option<u32>,
    /// What is left of its life, in milliseconds; `None` is as long as the table says.
    pub(in crate::peers) remaining: Option<u32>,
}

impl HeardPins {
    pub(in crate::peers) fn clear(&mut self) {
        self.keys.clear();
        self.pins.clear();
        self.tables.clear();
        self.names.clear();
        self.name_ends.clear();
        self.by_id.clear();
    }

    /// What was told of a table, by the other side's number, as often as it changed the table.
    pub(in crate::peers) fn tables(&self) -> impl Iterator<Item = (u64, impl Iterator<Item = HeardPin<'_>> + Clone)> {
        let (mut first, mut from) = (0, 0);
        self.tables.iter().map(move |(table, end)| {
            let places = self.pins.get(first..*end).unwrap_or_default();
            let mut begin = from;
            first = *end;
            from = places.last().map_or(from, |place| place.key_end);
            let pins = places.iter().map(move |place| {
                let Place { key_end, name, server_id, remaining } = *place;
                let key = self.keys.get(begin..key_end).unwrap_or_default();
                begin = key_end;
                HeardPin { key, server_id, name, remaining }
            });
            (*table, pins)
        })
    }

    /// How many names there are.
    pub(in crate::peers) fn names(&self) -> usize {
        self.name_ends.len()
    }

    pub(in crate::peers) fn name(&self, name: u32) -> &[u8] {
        let end = |at: usize| self.name_ends.get(at).copied();
        let from = (name as usize).checked_sub(1).and_then(end).unwrap_or_default();
        end(name as usize).and_then(|end| self.names.get(from..end)).unwrap_or_default()
    }

    #[inline]
    fn refer(&mut self, name: NameSeen<'_>, told: &mut NamesReceived) -> Result<Option<u32>, PeersFault> {
        match name {
            NameSeen::Nothing => Ok(None),
            NameSeen::Known(id) => match self.by_id.get(usize::from(id)) {
                Some(Some(at)) => Ok(Some(*at)),
                _ => self.add(id, name, told),
            },
            NameSeen::New(id, _) => self.add(id, name, told),
        }
    }

    fn add(&mut self, id: u8, name: NameSeen<'_>, told: &mut NamesReceived) -> Result<Option<u32>, PeersFault> {
        let name = told.look_up(name)?.unwrap_or_default();
        let at = u32::try_from(self.name_ends.len()).ok();
        self.names.extend_from_slice(name);
        self.name_ends.push(self.names.len());
        let id = usize::from(id);
        if self.by_id.len() <= id {
            self.by_id.resize(id + 1, None);
        }
        if let Some(known) = self.by_id.get_mut(id) {
            *known = at;
        }
        Ok(at)
    }
}

impl PeerSession {
    /// These bytes were read: [`advance`](Self::advance) says what is in them.
    pub(in crate::peers) fn feed(&mut self, bytes: &[u8], now: Instant) {
        if !self.is_over() {
            self.take_in(bytes, now);
        }
    }

    /// Whether the other side was asked for everything and is at it.
    pub(in crate::peers) fn is_learning(&self) -> bool {
        self.learning
    }

    /// Adds what entries say of servers up to the next event, and gives that. Once there is none everything that was
    /// read is acknowledged.
    pub(in crate::peers) fn advance(&mut self, pins: &mut HeardPins, now: Instant) -> Option<PeerEvent> {
        while self.events.is_empty() && self.step(|session| session.hear_on(pins)) {}
        let event = self.events.pop_front();
        if event.is_none() {
            self.acknowledge(now);
        }
        event
    }

    /// Adds all updates up to the next message of another kind, and takes that; whether there was one.
    fn hear_on(&mut self, pins: &mut HeardPins) -> Result<bool, PeersError> {
        let mut desk = self.desk.and_then(|id| self.desks.get_mut(&id));
        let mut first = true;
        loop {
            let Some(found) = self.cutter.find()? else { return Ok(false) };
            let Some((numbered, timed)) = found.update() else { break };
            let mut reader = Reader::new(self.cutter.payload(&found));
            let mut hear = || {
                let id = if numbered { Some(reader.u32()?) } else { None };
                let remaining = if timed { Some(reader.u32()?) } else { None };
                let desk = desk.as_deref_mut().ok_or(PeersFault::NoTable)?;
                let place = desk.hear(&mut reader, remaining, pins, &mut self.heard)?;
                let table = desk.definition.id();
                pins.pins.push(place);
                desk.last = id.unwrap_or_else(|| desk.last.wrapping_add(1));
                if std::mem::take(&mut first) {
                    self.unacknowledged.insert(table);
                    if pins.tables.last().is_none_or(|(last, _)| *last != table) {
                        pins.tables.push((table, 0));
                    }
                }
                if let Some((_, end)) = pins.tables.last_mut() {
                    *end = pins.pins.len();
                }
                Ok(())
            };
            hear().map_err(|fault| PeersError::new(reader.offset(), fault))?;
            self.cutter.skip(&found);
        }
        self.take_next()
    }
}

impl Desk {
    /// What an update says after its number and its time.
    #[inline]
    fn hear(
        &self,
        reader: &mut Reader<'_>,
        remaining: Option<u32>,
        pins: &mut HeardPins,
        told: &mut NamesReceived,
    ) -> Result<Place, PeersFault> {
        let definition = &self.definition;
        let key = if definition.key_type() == KeyType::String {
            reader.bytes()?
        } else {
            reader.take(usize::try_from(definition.key_len()).unwrap_or(usize::MAX))?
        };
        let (mut server_id, mut name) = (0, NameSeen::Nothing);
        for data in &self.data {
            let numbers = match data.kind() {
                DataKind::Number if *data == DataType::SERVER_ID => {
                    server_id = u32::try_from(reader.varint()?).unwrap_or(0);
                    0
                }
                DataKind::Name => {
                    name = NameSeen::read(reader)?;
                    0
                }
                DataKind::Number => 1,
                DataKind::Rate => 3,
                DataKind::Numbers => definition.count(*data),
                DataKind::Rates => definition.count(*data) * 3,
            };
            for _ in 0..numbers {
                reader.varint()?;
            }
        }
        let name = pins.refer(name, told)?;
        pins.keys.extend_from_slice(key);
        Ok(Place { key_end: pins.keys.len(), name, server_id, remaining })
    }
}
