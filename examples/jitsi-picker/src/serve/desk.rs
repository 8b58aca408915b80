//! Where bridges are asked for: the bridges, the conferences on them, and the figures of both.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use adapter_jitsi::{BreweryEvent, Choice, Conference, ConferenceBook, NoBridge, Participant};

use crate::pool::{Happening, Link, Pool};

/// How long the bridges count as known after our own connection was lost.
const STALE: Duration = Duration::from_secs(60);
/// Upper bounds of the histogram of decisions, in seconds.
pub(super) const BOUNDS: [f64; 6] = [0.000_01, 0.000_1, 0.001, 0.01, 0.1, 1.0];

/// The desk.
pub(super) struct Desk {
    /// The bridges.
    pub(super) pool: Pool,
    book: ConferenceBook,
    /// When a conference was asked for last.
    asked: BTreeMap<String, Instant>,
    forget: Duration,
    /// Decisions by outcome and reason.
    pub(super) decisions: BTreeMap<(&'static str, &'static str), u64>,
    /// How long they took: counts by bound, those above all bounds, and the sum in seconds.
    pub(super) took: ([u64; BOUNDS.len()], u64, f64),
}

impl Desk {
    /// No conferences yet.
    pub(super) fn new(pool: Pool, forget: Duration) -> Self {
        let book = ConferenceBook::new(pool.table.settings());
        let (asked, decisions) = (BTreeMap::new(), BTreeMap::new());
        Self { pool, book, asked, forget, decisions, took: Default::default() }
    }

    /// Takes in what the brewery tells. Conferences leave a bridge that is gone or out: their next participants are
    /// placed anew.
    pub(super) fn take(&mut self, event: &BreweryEvent) -> Vec<Happening> {
        let happened = self.pool.take(event);
        self.evacuate(&happened);
        happened
    }

    /// To be called about every second.
    pub(super) fn tick(&mut self) -> Vec<Happening> {
        let happened = self.pool.check();
        self.evacuate(&happened);
        let forget = self.forget;
        let old: Vec<String> =
            self.asked.iter().filter(|(_, at)| at.elapsed() >= forget).map(|(room, _)| room.clone()).collect();
        for room in old {
            self.end(&room);
        }
        happened
    }

    fn evacuate(&mut self, happened: &[Happening]) {
        let now = self.pool.now();
        for bridge in happened.iter().filter(|it| it.evacuate).filter_map(|it| it.bridge.as_deref()) {
            self.book.evacuate(&mut self.pool.table, bridge, now);
        }
    }

    /// A bridge for one more participant of a room. With `keep` it is counted there from now on.
    pub(super) fn pick(&mut self, room: &str, who: &Participant, keep: bool) -> Result<Choice, NoBridge> {
        let began = Instant::now();
        let now = self.pool.now();
        let choice = if keep {
            self.book.join(&mut self.pool.table, room, who, now)
        } else {
            let question = self.question(room, who);
            self.pool.table.place(&question, now)
        };
        if keep {
            if choice.is_ok() {
                self.asked.insert(room.to_owned(), began);
            }
            let outcome = match &choice {
                Ok(choice) => ("placed", choice.reason.code()),
                Err(why) => ("refused", why.code()),
            };
            *self.decisions.entry(outcome).or_default() += 1;
            let took = began.elapsed().as_secs_f64();
            self.took.2 += took;
            match BOUNDS.iter().zip(&mut self.took.0).find(|(bound, _)| took <= **bound) {
                Some((_, count)) => *count += 1,
                None => self.took.1 += 1,
            }
        }
        choice
    }

    fn question(&mut self, room: &str, who: &Participant) -> Conference {
        let now = self.pool.now();
        self.book.question(room, who, now)
    }

    /// A participant left; whether the conference was on that bridge.
    pub(super) fn leave(&mut self, room: &str, bridge: &str) -> bool {
        let Some(bridge) = self.pool.resolve(bridge) else { return false };
        let question = self.question(room, &Participant::new());
        if !question.bridges.iter().any(|used| used.id.as_str() == bridge) {
            return false;
        }
        let now = self.pool.now();
        self.book.left(&mut self.pool.table, room, &bridge, now);
        if self.question(room, &Participant::new()).bridges.is_empty() {
            self.asked.remove(room);
        }
        true
    }

    /// A conference ended; whether it was known.
    pub(super) fn end(&mut self, room: &str) -> bool {
        let question = self.question(room, &Participant::new());
        let now = self.pool.now();
        for used in &question.bridges {
            self.book.drop_bridge(&mut self.pool.table, room, used.id.as_str(), now);
        }
        self.asked.remove(room).is_some() || !question.bridges.is_empty()
    }

    /// How many conferences there are.
    pub(super) fn conferences(&self) -> usize {
        self.book.len()
    }

    /// Why nothing should be asked here now, if so.
    pub(super) fn unready(&mut self) -> Option<String> {
        match &self.pool.link {
            Link::Connecting => return Some("the brewery was never joined".to_owned()),
            Link::Lost { since, why } if since.elapsed() >= STALE => {
                return Some(format!("the brewery is lost for {:.0} s: {why}", since.elapsed().as_secs_f64()));
            }
            _ => {}
        }
        let now = self.pool.now();
        (self.pool.table.counts(now).operational == 0).then(|| "no bridge is operational".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adapter_jitsi::{FocusSettings, Participant};

    use super::Desk;
    use crate::pool::{Link, Pool};

    const ROOM: &str = "brewery@meet.example";

    fn presence(nick: &str, more: &str) -> Vec<u8> {
        format!(
            "<presence from='{ROOM}/{nick}'{more}><stats xmlns='http://jitsi.org/protocol/colibri'>\
             <stat name='drain' value='false'/></stats></presence>"
        )
        .into_bytes()
    }

    #[test]
    fn a_conference_leaves_with_its_bridge() {
        let mut desk = Desk::new(Pool::new(ROOM, FocusSettings::default()).unwrap(), Duration::from_secs(60));
        assert!(desk.unready().unwrap().contains("never joined"));
        desk.pool.link = Link::Up;
        assert!(desk.unready().unwrap().contains("no bridge"));
        for nick in ["jvb1", "jvb2"] {
            desk.pool.seen(&presence(nick, ""));
        }
        assert_eq!(desk.unready(), None);
        let who = Participant::new();
        let first = desk.pick("algebra", &who, true).unwrap().bridge;
        assert_eq!(desk.pick("algebra", &who, true).unwrap().bridge, first);
        assert_ne!(desk.pick("biology", &who, false).unwrap().bridge, first, "one endpoint counts there");
        assert_eq!(desk.conferences(), 1, "what is only asked is not kept");
        let told = desk.pool.seen(&presence("jvb1", " type='unavailable'"));
        desk.evacuate(&told);
        assert_eq!(desk.conferences(), 0);
        let second = desk.pick("algebra", &who, true).unwrap().bridge;
        assert_ne!(second, first);
        assert!(!desk.leave("algebra", "jvb1") && desk.leave("algebra", "jvb2"));
        assert_eq!((desk.conferences(), desk.asked.len()), (0, 0));
        desk.pick("algebra", &who, true).unwrap();
        assert!(desk.end("algebra") && !desk.end("algebra"));
        assert_eq!(desk.decisions[&("placed", "first")] + desk.decisions[&("placed", "no-relay")], 4);
    }

    #[test]
    fn conferences_nobody_asks_for_are_forgotten() {
        let mut desk = Desk::new(Pool::new(ROOM, FocusSettings::default()).unwrap(), Duration::ZERO);
        desk.pool.seen(&presence("jvb1", ""));
        desk.pick("algebra", &Participant::new(), true).unwrap();
        desk.tick();
        assert_eq!((desk.conferences(), desk.asked.len()), (0, 0));
    }
}
