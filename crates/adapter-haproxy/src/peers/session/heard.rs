//! Hearing where keys are, and nothing else: what a node is told by the million.

use std::time::Instant;

use super::{PeerEvent, PeerSession};
use crate::peers::codec::{PeersError, PeersFault};
use crate::peers::dictionary::NameSeen;
use crate::peers::table::{DataKind, DataType, KeyType};
use crate::wire::Reader;

/// Where a peer has keys: what its updates say of that, in the order they came.
#[derive(Debug, Default)]
pub(in crate::peers) struct HeardPins {
    /// Keys and names, one after the other.
    bytes: Vec<u8>,
    pins: Vec<Place>,
}

/// One update. Its key, then its name, end at these places.
#[derive(Debug)]
struct Place {
    table: u64,
    key_end: usize,
    /// Nothing is said of the name: the one known stays.
    name_end: Option<usize>,
    server_id: u32,
    remaining: Option<u32>,
}

/// What one update says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::peers) struct HeardPin<'a> {
    /// The other side's number of its table.
    pub(in crate::peers) table: u64,
    /// The key, as on the wire (text without its length).
    pub(in crate::peers) key: &'a [u8],
    /// The number of the server; 0 is none.
    pub(in crate::peers) server_id: u32,
    /// The name of the server: `None` leaves the one known, an empty one un-pins.
    pub(in crate::peers) server_key: Option<&'a [u8]>,
    /// What is left of its life, in milliseconds; `None` is as long as the table says.
    pub(in crate::peers) remaining: Option<u32>,
}

impl HeardPins {
    pub(in crate::peers) fn clear(&mut self) {
        self.bytes.clear();
        self.pins.clear();
    }

    pub(in crate::peers) fn iter(&self) -> impl Iterator<Item = HeardPin<'_>> {
        let mut from = 0;
        self.pins.iter().map(move |place| {
            let key = self.bytes.get(from..place.key_end).unwrap_or_default();
            let server_key = place.name_end.and_then(|end| self.bytes.get(place.key_end..end));
            from = place.name_end.unwrap_or(place.key_end);
            let Place { table, server_id, remaining, .. } = *place;
            HeardPin { table, key, server_id, server_key, remaining }
        })
    }
}

impl PeerSession {
    /// These bytes were read: [`advance`](Self::advance) says what is in them.
    pub(in crate::peers) fn feed(&mut self, bytes: &[u8], now: Instant) {
        if !self.is_over() {
            self.take_in(bytes, now);
        }
    }

    /// Adds what entries say of servers up to the next event, and gives that. Once there is none everything that was
    /// read is acknowledged.
    pub(in crate::peers) fn advance(&mut self, pins: &mut HeardPins, now: Instant) -> Option<PeerEvent> {
        while self.events.is_empty() && self.step(|session| session.hear_next(pins)) {}
        let event = self.events.pop_front();
        if event.is_none() {
            self.acknowledge(now);
        }
        event
    }

    fn hear_next(&mut self, pins: &mut HeardPins) -> Result<bool, PeersError> {
        let Some(found) = self.cutter.find()? else { return Ok(false) };
        let Some((numbered, timed)) = found.update() else { return self.take_next() };
        let mut reader = Reader::new(self.cutter.payload(&found));
        let mut hear = || {
            let id = if numbered { Some(reader.u32()?) } else { None };
            let remaining = if timed { Some(reader.u32()?) } else { None };
            let desk = self.desk.and_then(|id| self.desks.get_mut(&id)).ok_or(PeersFault::NoTable)?;
            let definition = &desk.definition;
            let key = if definition.key_type() == KeyType::String {
                reader.bytes()?
            } else {
                reader.take(usize::try_from(definition.key_len()).unwrap_or(usize::MAX))?
            };
            let (mut server_id, mut name) = (0, NameSeen::Nothing);
            for data in &desk.data {
                let numbers = match data.kind() {
                    DataKind::Number if *data == DataType::SERVER_ID => {
                        server_id = u32::try_from(reader.varint()?).unwrap_or(0);
                        0
                    }
                    DataKind::Name => {
                        name = NameSeen::read(&mut reader)?;
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
            let name = self.heard.look_up(name)?;
            pins.bytes.extend_from_slice(key);
            let key_end = pins.bytes.len();
            pins.bytes.extend_from_slice(name.unwrap_or_default());
            let name_end = name.map(|_| pins.bytes.len());
            let table = definition.id();
            pins.pins.push(Place { table, key_end, name_end, server_id, remaining });
            desk.last = id.unwrap_or_else(|| desk.last.wrapping_add(1));
            if self.unacknowledged.last() != Some(&table) {
                self.unacknowledged.insert(table);
            }
            Ok(())
        };
        hear().map_err(|fault| PeersError::new(reader.offset(), fault))?;
        self.cutter.skip(&found);
        Ok(true)
    }
}
