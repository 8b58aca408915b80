//! People who come all the time, to rooms that are there and to new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Site;
use crate::control::ask_room;

/// Whom they met.
#[derive(Default)]
pub(super) struct Met {
    /// The servers of each room.
    pub(super) homes: BTreeMap<String, BTreeSet<String>>,
    pub(super) asked: usize,
    pub(super) longest: Duration,
}

impl Met {
    /// Each in one place: no request failed, and no room was on two servers.
    pub(super) fn whole(&self, homes: &BTreeMap<String, String>) {
        for (room, met) in &self.homes {
            assert!(met.len() == 1 && met.iter().all(|server| server.starts_with("mm")), "{room} was on {met:?}");
        }
        for (room, home) in homes {
            assert!(self.homes.get(room).is_none_or(|met| met.contains(home)), "{room}: {:?}", self.homes[room]);
        }
    }
}

/// Two at each HAProxy.
pub(super) struct Crowd {
    over: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    people: Vec<JoinHandle<Met>>,
}

impl Crowd {
    /// They come to these rooms by turns, and to one of their own, which they all find, after each round.
    pub(super) fn come(site: &Site, rooms: &[String]) -> Self {
        let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let fronts: Vec<u16> = site.fronts.iter().flat_map(|front| [*front, *front]).collect();
        let people = fronts.into_iter().enumerate().map(|(who, front)| {
            let (over, count, rooms) = (over.clone(), count.clone(), rooms.to_vec());
            std::thread::spawn(move || {
                let mut met = Met::default();
                for turn in 0.. {
                    let new = [format!("of{who}-{turn}")];
                    for room in rooms.iter().chain(&new).chain(&new) {
                        let began = Instant::now();
                        let home = ask_room(front, room);
                        met.longest = met.longest.max(began.elapsed());
                        met.homes.entry(room.clone()).or_default().insert(home);
                        met.asked += 1;
                        count.fetch_add(1, Relaxed);
                    }
                    if over.load(Relaxed) {
                        break;
                    }
                }
                met
            })
        });
        let people = people.collect();
        Self { over, count, people }
    }

    /// So many more have come.
    pub(super) fn more(&self, site: &Site, requests: usize) {
        let wanted = self.count.load(Relaxed) + requests;
        site.until("people come", |_| self.count.load(Relaxed) >= wanted);
    }

    /// They go.
    pub(super) fn go(self) -> Met {
        self.over.store(true, Relaxed);
        let mut all = Met::default();
        for one in self.people {
            let one = one.join().unwrap();
            for (room, homes) in one.homes {
                all.homes.entry(room).or_default().extend(homes);
            }
            (all.asked, all.longest) = (all.asked + one.asked, all.longest.max(one.longest));
        }
        all
    }
}
