//! The shards behind `serve`: probed, synchronised with other pickers, their rooms kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adapter_jitsi::{Kept, Shard, ShardError, ShardEvent, ShardProbe, Shards, focus_rooms};
use balancer_core::{Admin, Backend, BackendId, Event, Health, HealthProbe, Monitor, MonitorOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::complain;
use crate::shards::Config;
use console::{Failure, counted, printable};

/// How often orders, signs of life and deaths are looked for; more often where a shard is dead sooner.
const SYNC: Duration = Duration::from_secs(1);
/// The longest time between two lists of a focus.
const KEEP: Duration = Duration::from_secs(60);
/// How long the table may be lost before nobody should be sent here.
const STALE: Duration = Duration::from_secs(60);
/// How long a list of conferences may take.
const LIST: Duration = Duration::from_secs(10);
/// How long the first look at the shards may take.
const FIRST: Duration = Duration::from_secs(15);

/// The desk.
pub(super) struct ShardDesk {
    /// The shards.
    pub(super) shards: Shards,
    /// How their parts are.
    pub(super) probe: Arc<ShardProbe>,
    /// Where rooms are kept, in words.
    pub(super) place: String,
    monitor: Monitor<Shard>,
    file: PathBuf,
    /// What the counters say.
    pub(super) counts: Mutex<Counts>,
}

/// What happened so far.
#[derive(Default)]
pub(super) struct Counts {
    /// Placements by outcome.
    pub(super) decisions: BTreeMap<&'static str, u64>,
    /// Rooms moved away from dead shards and those in maintenance.
    pub(super) moved: u64,
    /// Rooms that were bound anew because their focus has them.
    pub(super) restored: u64,
    /// By shard: rooms that it has although they live elsewhere.
    pub(super) split: BTreeMap<BackendId, Vec<String>>,
    /// Since when the table is lost, and why.
    pub(super) lost: Option<(Instant, String)>,
}

impl ShardDesk {
    /// Of this file.
    pub(super) fn open(file: &Path) -> Result<Arc<Self>, Failure> {
        let config = Config::read(file)?;
        let shards = Shards::try_new(config.shards.clone(), config.store()?, config.options.clone())
            .map_err(|e| Failure::failed(format!("{} cannot be used", file.display())).cause(e))?;
        let probe = Arc::new(ShardProbe::default().with_timeout(config.timeout));
        // Each part has its own limit, and the focus is asked three things.
        let options = MonitorOptions::new(config.rules).timeout(config.timeout * 2);
        let asked: Arc<dyn HealthProbe<Shard>> = Arc::clone(&probe) as _;
        let monitor = Monitor::new(Arc::clone(shards.pool()), asked, options);
        let (place, file, counts) = (config.place(), file.to_owned(), Mutex::default());
        Ok(Arc::new(Self { shards, probe, place, monitor, file, counts }))
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many rooms a shard has; not known while the table is lost, without waiting for it.
    pub(super) async fn count(&self, id: &BackendId) -> Option<u64> {
        let lost = self.counts().lost.is_some();
        if lost { None } else { self.shards.balancer().store().count(id).await.ok() }
    }

    /// Whether anything is asked of the shards.
    fn is_probed(&self) -> bool {
        self.shards.pool().members().iter().any(|member| !member.backend().addresses().is_empty())
    }

    /// Other shards. Whether any is asked decides what one may do that was never asked, so that stays as it is.
    fn replace(&self, config: Config) -> Result<(), Failure> {
        let failed = || Failure::failed(format!("{} is not taken over", self.file.display()));
        if config.is_probed() != self.is_probed() {
            let why = "the first addresses of shards, or the last ones, come or go";
            return Err(failed().cause(why).hint("start it anew"));
        }
        self.shards.replace(config.shards).map_err(|e| failed().cause(e))
    }

    /// Others must hear that we see a shard up, well before they would call it dead.
    fn pace(&self) -> Duration {
        SYNC.min(self.shards.options().dead_after / 4)
    }

    /// A first look at every shard and at the orders there are.
    pub(super) async fn begin(&self) {
        if self.is_probed() {
            let _ = timeout(FIRST, self.monitor.poll_now()).await;
        }
        self.sync().await;
    }

    /// Works until told to stop.
    pub(super) async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let keep = KEEP.min(self.shards.options().ttl / 4);
        let (mut syncs, mut keeps) = (interval(self.pace()), interval(keep));
        for ticks in [&mut syncs, &mut keeps] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut hangups = signal(SignalKind::hangup()).ok();
        let work = async {
            tokio::join!(
                async {
                    if self.is_probed() {
                        self.monitor.run(std::future::pending()).await;
                    }
                },
                self.tell(),
                async {
                    loop {
                        syncs.tick().await;
                        self.sync().await;
                    }
                },
                async {
                    loop {
                        keeps.tick().await;
                        self.keep().await;
                    }
                },
                async {
                    while let Some(signal) = &mut hangups
                        && signal.recv().await.is_some()
                    {
                        self.reload();
                    }
                },
            );
        };
        tokio::select! {
            () = work => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        // It would be forgotten by itself.
        let _ = timeout(SYNC, self.shards.farewell()).await;
    }

    /// Says what changes in the pool.
    async fn tell(&self) {
        let mut events = self.shards.pool().subscribe();
        loop {
            match events.recv().await {
                Ok(event) => {
                    let level = match &event {
                        Event::Health { to: Health::Up, .. } | Event::Stale { stale: false, .. } => 6,
                        Event::Health { .. } | Event::Stale { .. } | Event::OwnNetwork { .. } => 4,
                        _ => 6,
                    };
                    complain(&format!("<{level}>shard {}", printable(&event.to_string())));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn sync(&self) {
        let done = self.shards.sync().await;
        self.note(done.as_ref().err());
        for event in done.unwrap_or_default() {
            match event {
                ShardEvent::Moved { shard, rooms, left } => {
                    self.counts().moved += rooms;
                    let rooms = counted(usize::try_from(rooms).unwrap_or(usize::MAX), "room");
                    complain(&format!("<4>{rooms} moved away from {shard}, {left} left"));
                }
                ShardEvent::Ordered { shard, to } => complain(&format!("<6>{shard} is set to {to} by another picker")),
                ShardEvent::Died { shard, down } => {
                    complain(&format!("<4>{shard} is dead: down for {:.0} s, seen by nobody", down.as_secs_f64()));
                }
                _ => {}
            }
        }
    }

    /// Notes whether the table answers; says so when that changes.
    fn note(&self, error: Option<&ShardError>) {
        let mut counts = self.counts();
        match (error, counts.lost.is_some()) {
            (Some(error), known) => {
                let why = error.to_string();
                if !known {
                    complain(&format!("<3>the stick table is lost, known rooms stay: {}", printable(&why)));
                }
                let since = counts.lost.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                counts.lost = Some((since, why));
            }
            (None, true) => {
                counts.lost = None;
                complain("<6>the stick table answers again");
            }
            (None, false) => {}
        }
    }

    /// Keeps the rooms that each focus lists; of one that cannot tell, all.
    async fn keep(&self) {
        let mut looked = BTreeSet::new();
        for member in self.shards.pool().members() {
            let (id, holds) =
                (member.backend().id(), member.admin() != Admin::Maint && member.health() != Health::Dead);
            let Some(focus) = member.backend().addresses().focus.as_ref().filter(|_| holds) else { continue };
            looked.insert(id.clone());
            let done = match focus_rooms(focus, LIST).await {
                Ok(rooms) => self.shards.keep(id, &rooms).await,
                Err(_) => self.shards.keep_all(id).await.map(|_| Kept::default()),
            };
            let Ok(kept) = done else { continue };
            let split: Vec<String> = kept.split.iter().map(|room| room.as_str().to_owned()).collect();
            let mut counts = self.counts();
            counts.restored += kept.restored;
            if counts.split.get(id).is_some_and(|before| *before == split) {
                continue;
            }
            if let Some(room) = split.first() {
                let (count, room) = (counted(split.len(), "room"), printable(room));
                complain(&format!("<3>{id} has {count} that live elsewhere, {room} for one: people are apart"));
            }
            counts.split.insert(id.clone(), split);
        }
        // What is dead, out of service or out of the file parts nobody any more.
        self.counts().split.retain(|id, _| looked.contains(id));
    }

    /// Reads the shards of the file anew; everything else of it counts at the next start.
    fn reload(&self) {
        match Config::read(&self.file).and_then(|config| self.replace(config)) {
            Ok(()) => complain(&format!("<6>the shards of {} are read anew", self.file.display())),
            Err(failure) => complain(&format!("<3>{failure}")),
        }
    }

    /// Why nobody should be sent here now, if so.
    pub(super) fn unready(&self) -> Option<String> {
        if let Some((since, why)) = &self.counts().lost
            && since.elapsed() >= STALE
        {
            return Some(format!("the stick table is lost for {:.0} s: {why}", since.elapsed().as_secs_f64()));
        }
        (self.shards.pool().open_count() == 0).then(|| "no shard takes rooms".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_not_probed_for_the_first_time_while_it_runs() {
        let file = std::env::temp_dir().join(format!("jitsi-picker-reload-{}.toml", std::process::id()));
        let put = |text: &str| std::fs::write(&file, text).unwrap();
        put("[[shard]]\nid = \"a\"\n");
        let desk = ShardDesk::open(&file).unwrap();
        let known = |id: &str| desk.shards.pool().member(id).is_some();
        put("[[shard]]\nid = \"a\"\n[[shard]]\nid = \"b\"\nweb = \"127.0.0.1:1\"\n");
        desk.reload();
        assert!(known("a") && !known("b"), "nobody would ask it, and it would take rooms");
        put("[[shard]]\nid = \"c\"\n");
        desk.reload();
        assert!(known("c") && !known("a"));
        std::fs::remove_file(&file).unwrap();
    }
}
