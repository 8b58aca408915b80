//! A focus that fills the stand-ins with conferences, and tells them who came.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use adapter_jitsi::testing::{Jvb, JvbOptions};
use adapter_jitsi::{
    BreweryEvent, BridgeTable, BridgeView, ConferenceBook, FocusSettings, HealthOutcome, LeaveReason, NoBridge,
    OccupantJid, Participant, PlainStrategy, Presence, Seen, read_presence,
};

use super::ledger::{Known, Ledger};
use super::{REGIONS, Size};
use crate::prosody::{Observer, Prosody, ROOM};

/// How often conferences begin and end.
const TICK: Duration = Duration::from_millis(20);
/// How many begin in one tick until there are as many as there shall be.
const RUSH: usize = 10;
const PARTICIPANTS: usize = 3;
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Focus {
    size: Size,
    pub(super) table: BridgeTable,
    book: ConferenceBook,
    observer: Observer,
    began: Instant,
    checked: Instant,
    connected: bool,
    jvbs: BTreeMap<String, Jvb>,
    /// The bridges of a room's participants.
    rooms: HashMap<String, Vec<String>>,
    order: VecDeque<String>,
    /// Who found no bridge.
    waiting: Vec<(String, &'static str, bool)>,
    /// A conference on a stand-in: its number there, and how many take part.
    there: HashMap<(String, String), (u64, u32)>,
    pub(super) ledger: Ledger,
    pub(super) conferences: usize,
    /// How often we came to the room.
    pub(super) resyncs: usize,
    refused: usize,
    /// Why, the last time.
    refusal: String,
}

fn settings(size: &Size) -> FocusSettings {
    let mut settings = FocusSettings::default();
    (settings.strategy, settings.octo) = (PlainStrategy::RegionBased.into(), true);
    (settings.presence_timeout, settings.failure_reset) = (size.silence, size.silence);
    settings.extras.count_unseen = true;
    settings.extras.flat_after = Some(size.flat);
    settings
}

impl Focus {
    pub(super) fn new(size: Size, observer: Observer) -> Self {
        let settings = settings(&size);
        let now = Instant::now();
        Self {
            size,
            book: ConferenceBook::new(&settings),
            table: BridgeTable::try_new(settings).unwrap(),
            observer,
            began: now,
            checked: now,
            connected: false,
            jvbs: BTreeMap::new(),
            rooms: HashMap::new(),
            waiting: Vec::new(),
            order: VecDeque::new(),
            there: HashMap::new(),
            ledger: Ledger::default(),
            conferences: 0,
            resyncs: 0,
            refused: 0,
            refusal: "none".to_owned(),
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn connected(&self) -> bool {
        self.connected
    }

    /// Whether all bridges are there and may be chosen. One that was silent stays out for a while.
    /// Waits until so many bridges were found well, each at its time: on a busy machine one or the other is late just now.
    pub(super) async fn well(&mut self, what: &str, bridges: usize) {
        let mut well = BTreeSet::new();
        self.until(what, |focus| {
            let now = focus.now();
            let good = focus.ledger.good().filter(|bridge| focus.jvbs.contains_key(*bridge));
            let found: Vec<String> = good.cloned().collect();
            well.extend(found.into_iter().filter(|id| focus.table.view(id, now).is_some_and(|view| view.operational)));
            well.len() == bridges
        })
        .await;
    }

    /// Conferences that run.
    pub(super) fn running(&self) -> usize {
        self.book.len()
    }

    pub(super) fn view(&mut self, bridge: &str) -> Option<BridgeView> {
        let now = self.now();
        self.table.view(bridge, now).filter(|view| view.known)
    }

    /// Starts a bridge, or starts it again.
    pub(super) fn start(&mut self, server: &Prosody, n: usize) -> String {
        let nick = format!("jvb{n:02}");
        let mut options = JvbOptions::default();
        (options.interval, options.filtered, options.participant_stress) = (self.size.publish, true, 0.003);
        options.region = Some(REGIONS[n % REGIONS.len()].to_owned());
        let bridge = format!("{}/{nick}", ROOM.to_lowercase());
        self.jvbs.insert(bridge.clone(), Jvb::start(server.options("jvb", &nick), options));
        bridge
    }

    pub(super) fn jvb(&self, bridge: &str) -> &Jvb {
        &self.jvbs[bridge]
    }

    /// A bridge dies.
    pub(super) fn kill(&mut self, bridge: &str, heard: bool) {
        self.ledger.does(if heard { Known::Gone } else { Known::GoneUnheard }, bridge);
        self.jvbs.remove(bridge).unwrap().die();
    }

    /// The most loaded bridges nothing is known against. On a busy machine all may be silent just now.
    pub(super) async fn busiest(&mut self, count: usize) -> Vec<String> {
        self.until("enough bridges are good", |focus| focus.ledger.good().count() >= count).await;
        let mut good: Vec<String> = self.ledger.good().cloned().collect();
        let people = |bridge: &String| self.jvbs[bridge].change(|figures| figures.participants());
        good.sort_by_cached_key(|bridge| std::cmp::Reverse(people(bridge)));
        good.truncate(count);
        assert_eq!(good.len(), count, "too few good bridges are left");
        good
    }

    /// Goes on until something holds.
    pub(super) async fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            self.turn().await;
        }
        println!("{:>6.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// Goes on until so many more were placed.
    pub(super) async fn placing(&mut self, what: &str, more: u64) {
        let enough = self.ledger.placed + more;
        self.until(what, |focus| focus.ledger.placed >= enough).await;
    }

    /// One tick: conferences begin and end, and the brewery is listened to.
    async fn turn(&mut self) {
        let deadline = tokio::time::Instant::now() + TICK;
        let now = self.now();
        if self.jvbs.len() >= self.size.bridges / 2 && self.table.counts(now).operational > 0 {
            for (room, region, again) in std::mem::take(&mut self.waiting) {
                if self.order.contains(&room) {
                    self.join(&room, region, again);
                }
            }
            let full = self.book.len() >= self.size.conferences;
            for _ in 0..if full { 1 } else { RUSH } {
                self.open();
            }
            if full {
                self.end();
            }
        }
        while let Some(event) = self.observer.next_by(deadline).await {
            self.take(event);
        }
        self.check();
    }

    fn open(&mut self) {
        self.conferences += 1;
        let room = format!("room{}", self.conferences);
        self.order.push_back(room.clone());
        for n in 0..PARTICIPANTS {
            self.join(&room, REGIONS[(self.conferences + n / 2) % REGIONS.len()], false);
        }
    }

    fn end(&mut self) {
        let Some(room) = self.order.pop_front() else { return };
        for bridge in self.rooms.remove(&room).unwrap_or_default() {
            let now = self.now();
            self.book.left(&mut self.table, &room, &bridge, now);
            self.vacate(&room, &bridge);
        }
    }

    fn join(&mut self, room: &str, region: &'static str, again: bool) {
        let now = self.now();
        let bridge = match self.book.join(&mut self.table, room, &Participant::of_region(region), now) {
            Ok(choice) => choice.bridge.to_string(),
            // On a machine that is busy with something else all may be late at once. They are asked for again.
            Err(NoBridge::NoneOperational) => {
                assert_eq!(self.table.counts(now).operational, 0, "{room}");
                self.ledger.refused += 1;
                self.waiting.push((room.to_owned(), region, again));
                return;
            }
            Err(e) => panic!("{room}: {e}"),
        };
        assert!(self.view(&bridge).is_some_and(|view| view.operational && !view.shutting_down), "{room} on {bridge}");
        self.ledger.placed(room, &bridge, again);
        self.ledger.blind += u64::from(!self.connected);
        if let Some(jvb) = self.jvbs.get(&bridge) {
            let key = (bridge.clone(), room.to_owned());
            let (id, count) = self.there.entry(key).or_insert_with(|| (jvb.add_conference(0), 0));
            *count += 1;
            jvb.change(|figures| figures.set_participants(*id, *count));
        }
        self.rooms.entry(room.to_owned()).or_default().push(bridge);
    }

    /// A participant of a room is on a stand-in no more.
    fn vacate(&mut self, room: &str, bridge: &str) {
        let key = (bridge.to_owned(), room.to_owned());
        let Some((id, count)) = self.there.get_mut(&key).map(|(id, count)| (*id, std::mem::replace(count, *count - 1)))
        else {
            return;
        };
        if let Some(jvb) = self.jvbs.get(bridge) {
            jvb.change(|figures| figures.set_participants(id, count - 1));
            if count == 1 {
                jvb.end_conference(id);
            }
        }
        if count == 1 {
            self.there.remove(&key);
        }
    }

    /// All leave a bridge and are placed anew.
    fn evacuate(&mut self, bridge: &str) {
        let now = self.now();
        for leaving in self.book.evacuate(&mut self.table, bridge, now) {
            let room = &*leaving.room;
            let seats = self.rooms.get_mut(room).unwrap();
            let before = seats.len();
            seats.retain(|at| at != bridge);
            assert_eq!(before - seats.len(), leaving.endpoints as usize, "{room} on {bridge}");
            for _ in 0..leaving.endpoints {
                self.vacate(room, bridge);
                self.join(room, REGIONS[0], true);
            }
        }
    }

    fn take(&mut self, event: BreweryEvent) {
        let now = self.now();
        match event {
            BreweryEvent::BridgeSeen { occupant, stanza, .. } => {
                let presence = read_presence(&stanza, ROOM).unwrap();
                let Presence::Update { report, .. } = &presence else { panic!("{presence:?}") };
                let bridge = occupant.as_str();
                self.ledger.seen(bridge);
                self.ledger.knows(Known::Draining, bridge, report.drain() != Some(false));
                self.ledger.knows(Known::Overloaded, bridge, report.stress().is_none_or(|stress| stress >= 0.8));
                let Ok(Seen::Updated(_)) = self.table.apply(&presence, now) else {
                    panic!("{occupant} is not taken in")
                };
                let view = self.view(bridge).unwrap();
                assert!(!self.ledger.is(Known::Overloaded, bridge) || view.overloaded, "{view:?}");
            }
            BreweryEvent::BridgeLeft { occupant, reason } => {
                let bridge = occupant.as_str();
                // One whose grace was over may come back later.
                let wrong = reason != LeaveReason::NotBack && self.jvbs.get(bridge).is_some_and(Jvb::is_joined);
                assert!(!wrong, "{bridge} is said to have left: {reason}");
                self.ledger.left(bridge);
                self.table.remove(bridge, now);
                self.evacuate(bridge);
            }
            BreweryEvent::Disconnected { why, .. } => {
                println!("         our connection is lost: {why}");
                self.connected = false;
            }
            BreweryEvent::Resynced { present, missing, .. } => {
                self.connected = true;
                self.checked = Instant::now();
                let refused = std::mem::take(&mut self.refused);
                println!(
                    "         we are in the room with {} after {refused} refusals ({}); {} are missing",
                    present.len(),
                    self.refusal,
                    missing.len()
                );
                self.resyncs += 1;
                for bridge in missing.iter().map(OccupantJid::as_str) {
                    self.table.missing(bridge, now);
                    self.ledger.knows(Known::Missing, bridge, true);
                }
            }
            BreweryEvent::Refused { why, .. } => {
                self.refused += 1;
                self.refusal = why.to_string();
            }
            BreweryEvent::Cut { occupant, bytes } => panic!("{bytes} bytes of {occupant:?} are not read"),
            _ => {}
        }
    }

    /// Checks all bridges by their presences, every half second. Not without a connection, and not after we stood still.
    fn check(&mut self) {
        let pause = self.checked.elapsed();
        if pause < Duration::from_millis(500) {
            return;
        }
        self.checked = Instant::now();
        let all: Vec<String> = self.ledger.present().cloned().collect();
        for bridge in all {
            let now = self.now();
            if self.connected && pause < self.size.silence / 2 {
                let (outcome, evacuation) = self.table.check_presence(&bridge, now).unwrap();
                assert_eq!(evacuation, None, "{bridge}");
                self.ledger.knows(Known::Silent, &bridge, outcome == HealthOutcome::TimedOut);
            }
            let flat = self.view(&bridge).is_some_and(|view| view.flat);
            self.ledger.knows(Known::Flat, &bridge, flat);
        }
    }
}
