//! A focus that places the morning's participants, and tells the pretended bridges who came.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use adapter_jitsi::testing::Jvb;
use adapter_jitsi::{BreweryFeed, ConferenceBook, Participant};
use tokio::time::{Instant, timeout_at};

use super::{Conference, Ledger, PATIENCE, failed};
use crate::pool::{Kind, Pool};
use crate::show;
use console::Failure;

/// Where a participant is.
#[derive(Debug)]
struct Seat {
    bridge: String,
    region: &'static str,
}

pub(super) struct Focus {
    /// The bridges as they are seen.
    pub(super) pool: Pool,
    book: ConferenceBook,
    feed: BreweryFeed,
    bridges: BTreeMap<String, Jvb>,
    rooms: HashMap<String, Vec<Seat>>,
    /// The conferences of the pretended bridges, by bridge and room: their number there, and how many take part.
    there: HashMap<(String, String), (u64, u32)>,
    ledger: Ledger,
    news: Vec<String>,
}

impl Focus {
    pub(super) fn new(pool: Pool, feed: BreweryFeed, bridges: BTreeMap<String, Jvb>) -> Self {
        let book = ConferenceBook::new(pool.table.settings());
        let (rooms, there) = (HashMap::new(), HashMap::new());
        Self { pool, book, feed, bridges, rooms, there, ledger: Ledger::default(), news: Vec::new() }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What happened since the last call, in words.
    pub(super) fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// How many bridges are seen.
    pub(super) fn present(&mut self) -> usize {
        let now = self.pool.now();
        self.pool.table.counts(now).known
    }

    /// Follows the brewery until something holds.
    pub(super) async fn until(&mut self, what: &str, holds: impl Fn(&mut Self) -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            match timeout_at(deadline, self.feed.next()).await {
                Ok(Some(event)) => self.take(&event)?,
                Ok(None) => return Err(failed("the connection is closed", "the client ended")),
                Err(_) => return Err(Failure::timed_out(format!("waited in vain for {what}"))),
            }
        }
        Ok(())
    }

    /// Lets time pass, following the brewery.
    pub(super) async fn pass(&mut self, time: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + time;
        while let Ok(event) = timeout_at(deadline, self.feed.next()).await {
            let event = event.ok_or_else(|| failed("the connection is closed", "the client ended"))?;
            self.take(&event)?;
        }
        Ok(())
    }

    fn take(&mut self, event: &adapter_jitsi::BreweryEvent) -> Result<(), Failure> {
        for it in self.pool.take(event) {
            let bridge = it.bridge.clone().unwrap_or_default();
            match it.kind {
                Kind::Joined | Kind::Connected => continue,
                Kind::Left | Kind::Lost => self.ledger.knows_gone(&bridge),
                Kind::State => {
                    let now = self.pool.now();
                    if self.pool.table.view(&bridge, now).is_some_and(|view| view.drain) {
                        self.ledger.knows_draining(&bridge);
                    }
                }
                _ => {}
            }
            self.news.push(show::happening(&it));
            if it.evacuate {
                self.evacuate(&bridge)?;
            }
        }
        Ok(())
    }

    fn evacuate(&mut self, bridge: &str) -> Result<(), Failure> {
        let now = self.pool.now();
        let moves = self.book.evacuate(&mut self.pool.table, bridge, now);
        let mut people = 0;
        for one in &moves {
            let seats = self.rooms.remove(&*one.room).unwrap_or_default();
            let (leaving, staying): (Vec<_>, Vec<_>) = seats.into_iter().partition(|seat| seat.bridge == bridge);
            self.rooms.insert(one.room.to_string(), staying);
            for seat in leaving {
                self.vacate(&one.room, bridge);
                self.join(&one.room, seat.region, true)?;
                people += 1;
            }
        }
        self.news.push(format!("{}: {people} people of {} conferences are moved", show::nick(bridge), moves.len()));
        Ok(())
    }

    fn join(&mut self, room: &str, region: &'static str, again: bool) -> Result<(), Failure> {
        let now = self.pool.now();
        let choice = self
            .book
            .join(&mut self.pool.table, room, &Participant::of_region(region), now)
            .map_err(|e| failed(&format!("there is no bridge for {room}"), e))?;
        let bridge = choice.bridge.to_string();
        self.ledger.placed(room, &bridge, again);
        if let Some(jvb) = self.bridges.get(&bridge) {
            let entry = self.there.entry((bridge.clone(), room.to_owned()));
            let (id, count) = entry.or_insert_with(|| (jvb.add_conference(0), 0));
            *count += 1;
            jvb.change(|figures| figures.set_participants(*id, *count));
        }
        self.rooms.entry(room.to_owned()).or_default().push(Seat { bridge, region });
        Ok(())
    }

    /// One participant of a room is no longer on a pretended bridge.
    fn vacate(&mut self, room: &str, bridge: &str) {
        let key = (bridge.to_owned(), room.to_owned());
        let Some((id, count)) = self.there.get_mut(&key) else { return };
        *count = count.saturating_sub(1);
        let (id, count) = (*id, *count);
        if let Some(jvb) = self.bridges.get(bridge) {
            jvb.change(|figures| match count {
                0 => figures.end_conference(id),
                _ => figures.set_participants(id, count),
            });
        }
        if count == 0 {
            self.there.remove(&key);
        }
    }

    /// Who comes and who leaves in this minute.
    pub(super) fn minute(&mut self, minute: u32, conferences: &[Conference]) -> Result<(), Failure> {
        for conference in conferences {
            if conference.end == minute {
                let now = self.pool.now();
                for seat in self.rooms.remove(&conference.room).unwrap_or_default() {
                    self.book.left(&mut self.pool.table, &conference.room, &seat.bridge, now);
                    self.vacate(&conference.room, &seat.bridge);
                }
            }
            for (_, region) in conference.people.iter().filter(|(when, _)| *when == minute) {
                self.join(&conference.room, region, false)?;
            }
        }
        Ok(())
    }

    /// The bridge with the most participants that is not drained.
    pub(super) fn busiest(&mut self) -> Result<String, Failure> {
        let people = |jvb: &Jvb| jvb.change(|figures| if figures.drain { 0 } else { figures.participants() });
        let most = self.bridges.iter().max_by_key(|(_, jvb)| people(jvb)).map(|(id, _)| id.clone());
        most.ok_or_else(|| failed("no bridge is left", "all are dead"))
    }

    /// What a bridge has, in words.
    pub(super) fn load(&self, bridge: &str) -> String {
        let people = self.bridges.get(bridge).map_or(0, |jvb| jvb.change(|figures| figures.participants()));
        format!("{people} people in {} conferences", self.book.on(bridge).len())
    }

    /// A bridge dies.
    pub(super) fn kill(&mut self, bridge: &str) {
        self.ledger.dies(bridge);
        if let Some(jvb) = self.bridges.remove(bridge) {
            jvb.die();
        }
    }

    /// A bridge begins to drain.
    pub(super) fn drain(&mut self, bridge: &str) {
        self.ledger.drains(bridge);
        if let Some(jvb) = self.bridges.get(bridge) {
            jvb.drain(true);
        }
    }
}
