//! What a peer tells: into the table, and to those who ask the store.

use std::sync::atomic::Ordering;

use super::fresh::{Fresh, Job};
use super::judge::Told;
use super::link::Link;
use super::mirror::{Heard, Spot, Word};
use super::names::NOBODY;
use super::shelf::Known;
use super::status::count;
use crate::peers::session::{HeardPin, HeardPins};

/// How many keys told otherwise than known may wait for the store, a hundred bytes each. A peer that tells more of them
/// is told what is known instead.
const MAX_TOLD: u64 = 200_000;

/// The server that a name means: none if it is empty, an error if there are too many servers.
type Meant = Result<u32, ()>;

impl Known {
    /// The server that a peer tells of: none if nobody named it, or if it tells of none. What names mean is remembered.
    #[inline]
    fn server(
        &mut self,
        pin: &HeardPin<'_>,
        heard: &HeardPins,
        meant: &mut [Option<Meant>],
    ) -> Result<Option<u32>, ()> {
        let Some(name) = pin.name else {
            return match pin.server_id {
                // Counters of a key that is pinned nowhere.
                0 => Ok(None),
                id => self.names.of_id(id).map(Some).ok_or(()),
            };
        };
        let meant = meant.get_mut(name as usize).ok_or(())?;
        let server = (*meant.get_or_insert_with(|| match heard.name(name) {
            [] => Ok(NOBODY),
            name => std::str::from_utf8(name).ok().and_then(|name| self.names.of_key(name)).ok_or(()),
        }))?;
        self.names.saw(server, pin.server_id);
        Ok(Some(server))
    }
}

impl Link<'_> {
    /// Takes what was heard, table by table.
    pub(super) fn learn(&mut self, heard: &HeardPins) {
        let Some((line, _)) = self.line() else { return };
        let peer = self.peer;
        let (now, workers) = (self.inner.now(), self.pending.len().max(1));
        for (table, pins) in heard.tables() {
            let Some(desk) = self.desks.get(&table) else {
                line.updates_in.fetch_add(pins.count() as u64, Ordering::Relaxed);
                continue;
            };
            let (shelf, mut insisted) = (&desk.shelf, Vec::new());
            let mut meant = vec![None; heard.names()];
            let mut known = shelf.known();
            let spots: Vec<Spot> = pins.clone().map(|pin| known.mirror.spot(pin.key)).collect();
            for (pin, spot) in pins.zip(&spots) {
                let server = match known.server(&pin, heard, &mut meant) {
                    Ok(Some(server)) => server,
                    Ok(None) => continue,
                    Err(()) => {
                        count(&shelf.counts.unknown);
                        continue;
                    }
                };
                let ttl = pin.remaining.map_or(desk.ttl, u64::from);
                let jobs = self.pending.get_mut(spot.hash as usize % workers);
                let Some(jobs) = jobs else { continue };
                let heard = known.mirror.hear(*spot, pin.key, Word { server, peer: line.bit, ttl, now });
                let renewal = match heard {
                    Heard::Known => continue,
                    Heard::New(row) => {
                        match jobs.back_mut() {
                            Some(Job::Fresh(last)) if last.takes(shelf) => last.rows.push((row, server)),
                            _ => jobs.push_back(Job::Fresh(Fresh {
                                shelf: shelf.clone(),
                                peer,
                                rows: vec![(row, server)],
                            })),
                        }
                        continue;
                    }
                    Heard::Stale => true,
                    Heard::Differs => false,
                };
                if self.inner.told.load(Ordering::Relaxed) >= MAX_TOLD {
                    // The store is asked about them when the table is gone through.
                    known.mirror.doubt(pin.key);
                    insisted.extend(known.mirror.insist(pin.key).filter(|_| !renewal));
                    continue;
                }
                self.inner.told.fetch_add(1, Ordering::Relaxed);
                jobs.push_back(Job::Told(Told {
                    shelf: shelf.clone(),
                    key: pin.key.into(),
                    server,
                    peer,
                    ttl,
                    renewal,
                }));
            }
            drop(known);
            line.updates_in.fetch_add(spots.len() as u64, Ordering::Relaxed);
            line.tell_all(insisted.into_iter().map(|row| (shelf.at, row)));
        }
    }
}
