//! The control loop of the demonstration: the one that `run` is, faster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_haproxy::control::{Control, ControlEvent, ControlOptions, ControlledProcess, Order, Sighting, SplitRoom};
use balancer_core::MemoryStore;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::failed;
use super::farm::Farm;
use console::Failure;

/// How often it looks. In earnest it does so every second.
const EVERY: Duration = Duration::from_millis(100);
/// How long it may take to take over, and to carry an order out.
const PATIENCE: Duration = Duration::from_secs(30);

/// A control loop under way; it ends when dropped.
#[derive(Debug)]
pub(super) struct Steward {
    control: Control,
    events: broadcast::Receiver<ControlEvent>,
    running: JoinHandle<()>,
}

impl Steward {
    /// Takes over.
    pub(super) async fn start(farm: &Farm) -> Result<Self, Failure> {
        let [rooms, rest] = farm.backends();
        let pins = farm.path("pins.map");
        let mut options = ControlOptions::new(rooms, &pins);
        options.with = vec![rest.to_owned()];
        (options.every, options.learn) = (EVERY, EVERY);
        options.idle = EVERY * 10;
        let process = ControlledProcess::new("lb1", farm.client()).with_pins_file(pins);
        let control = Control::new(options, vec![process], Arc::new(MemoryStore::default()));
        let events = control.subscribe();
        let run = control.clone();
        let running = tokio::spawn(async move { run.run(std::future::pending()).await });
        let steward = Self { control, events, running };
        steward.until("the control loop to take over", |control| control.unready().is_none()).await?;
        Ok(steward)
    }

    async fn until(&self, what: &str, so: impl Fn(&Control) -> bool) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        while !so(&self.control) {
            if Instant::now() > end {
                let why = self.control.unready().unwrap_or_else(|| "it is at work".to_owned());
                return Err(Failure::timed_out(format!("waited in vain for {what}")).cause(why));
            }
            tokio::time::sleep(EVERY / 4).await;
        }
        Ok(())
    }

    /// What it did since the last call, in words.
    pub(super) fn news(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        loop {
            match self.events.try_recv() {
                Ok(event @ (ControlEvent::Server { .. } | ControlEvent::MovedAll { .. })) => {
                    news.push(event.to_string())
                }
                Ok(event) if event.is_warning() => news.push(event.to_string()),
                // What was missed was told in the log of a real one.
                Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return news,
            }
        }
    }

    /// Lets a server keep what it has and take no more, and waits until that is in force.
    pub(super) async fn drain(&self, server: &str) -> Result<(), Failure> {
        self.control.order(server, Some(Order::Drain)).await.map_err(|e| failed("an order was refused", e))?;
        let in_force = |control: &Control| {
            let servers = control.status().servers;
            servers
                .iter()
                .any(|it| it.name == server && !it.takes_rooms && it.seen.values().all(|s| s.contains("drain")))
        };
        self.until("the drain to be in force", in_force).await
    }

    /// Whether nothing is left on a server, as the loop sees it.
    pub(super) fn is_empty(&self, server: &str) -> bool {
        self.control.remaining(server).empty
    }

    /// Rooms on two servers, by HAProxy's table and map, the store and the servers: server and key of each of theirs.
    pub(super) async fn splits(&self, rooms: Vec<(String, String)>) -> Vec<String> {
        let told: Vec<_> = rooms.into_iter().map(|(server, room)| (server, room, None)).collect();
        let seen = |one: &Sighting| {
            let used = one.used_ms_ago.map(|ms| format!(" {ms} ms ago")).unwrap_or_default();
            format!("{} by {}{used}", one.server, one.by)
        };
        let words = |split: &SplitRoom| {
            let all: Vec<String> = split.seen.iter().map(seen).collect();
            format!("{} is at {}", split.room, all.join(", "))
        };
        self.control.splits(&told).await.rooms.iter().map(words).collect()
    }

    /// Rooms it knows.
    pub(super) fn rooms(&self) -> usize {
        self.control.status().rooms
    }
}

impl Drop for Steward {
    fn drop(&mut self) {
        self.running.abort();
    }
}
