//! Bridges that log in to a real XMPP server and publish what a real one publishes, and the parts of shards as their
//! health is asked; all of them misbehave on command.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::xmpp::{BreweryClient, BreweryEvent, BreweryFeed, ClientOptions, Command, XmppError};

mod figures;
mod shard;

pub use figures::{JvbFigures, JvbOptions};
pub use shard::{Behaviour, FocusFigures, Part, ShardStandIn};

/// A bridge that is none: it has no media, only the figures it is told to have.
///
/// Dropping it cuts its connection, as [`die`](Self::die) does.
#[derive(Debug)]
pub struct Jvb {
    shared: Arc<Shared>,
    joined: watch::Receiver<Joined>,
    connection: JoinHandle<()>,
    publisher: JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Joined {
    now: bool,
    refused: Option<XmppError>,
}

#[derive(Debug)]
struct Shared {
    figures: Mutex<JvbFigures>,
    published: Notify,
    stop: Notify,
}

impl Shared {
    fn figures(&self) -> MutexGuard<'_, JvbFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Jvb {
    /// Starts a bridge whose nick and account are those of `client`. It comes back by itself after a lost connection,
    /// as a bridge does.
    pub fn start(client: ClientOptions, options: JvbOptions) -> Self {
        let figures = JvbFigures::new(client.login.nick.clone(), options);
        let (orders, commands) = mpsc::channel(16);
        let (client, feed) = BreweryClient::new(client);
        let client = client.with_commands(figures.payload(), Some(true), commands);
        let shared = Arc::new(Shared { figures: Mutex::new(figures), published: Notify::new(), stop: Notify::new() });
        let (tell, joined) = watch::channel(Joined::default());
        let connection = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move { client.run(shared.stop.notified()).await }
        });
        let publisher = tokio::spawn(publish(Arc::clone(&shared), feed, orders, tell));
        Self { shared, joined, connection, publisher }
    }

    /// Waits until the bridge is in the room.
    ///
    /// # Errors
    ///
    /// Why a try failed that no waiting mends, such as a wrong password.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn joined(&self) -> Result<(), XmppError> {
        let mut joined = self.joined.clone();
        let reached = joined.wait_for(|it| it.now || it.refused.as_ref().is_some_and(XmppError::is_lasting)).await;
        match reached {
            Ok(it) if it.now => Ok(()),
            Ok(it) => Err(it.refused.clone().unwrap_or(XmppError::Left)),
            Err(_) => Err(XmppError::Left),
        }
    }

    /// Whether the bridge is in the room.
    pub fn is_joined(&self) -> bool {
        self.joined.borrow().now
    }

    /// Changes the figures; they are published with the next presence.
    pub fn change<T>(&self, change: impl FnOnce(&mut JvbFigures) -> T) -> T {
        change(&mut self.shared.figures())
    }

    /// Publishes now instead of waiting for the next interval.
    pub fn publish(&self) {
        self.shared.published.notify_one();
    }

    /// Starts a conference of so many participants.
    pub fn add_conference(&self, participants: u32) -> u64 {
        self.change(|figures| figures.add_conference(participants))
    }

    /// Ends a conference.
    pub fn end_conference(&self, id: u64) {
        self.change(|figures| figures.end_conference(id));
    }

    /// Drains the bridge, or ends draining.
    pub fn drain(&self, on: bool) {
        self.change(|figures| figures.drain = on);
    }

    /// Whether the bridge is healthy: the figure, and the answer to health checks.
    pub fn set_healthy(&self, on: bool) {
        self.change(|figures| figures.healthy = on);
    }

    /// Begins the graceful shutdown: when nobody is left, the bridge says so for
    /// [`JvbOptions::shutting_down_delay`] and leaves.
    pub fn shut_down_gracefully(&self) {
        self.change(|figures| figures.graceful = true);
    }

    /// The figures stand still although presences go on, as in a bridge whose statistics thread died.
    pub fn freeze(&self, on: bool) {
        self.change(|figures| figures.freeze(on));
    }

    /// Nothing is published any more although the connection stands, as in a stopped process.
    pub fn hang(&self, on: bool) {
        self.change(|figures| figures.hanging = on);
    }

    /// Cuts the connection without a word, as a crash does.
    pub fn die(self) {
        drop(self);
    }

    /// Leaves the room and logs out.
    ///
    /// # Cancel safety
    ///
    /// The bridge leaves in any case: politely, or by a cut connection.
    pub async fn leave(mut self) {
        self.shared.stop.notify_one();
        let _ = (&mut self.connection).await;
    }

    /// Waits until the bridge has gone by itself, after a graceful shutdown.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts the connection.
    pub async fn gone(mut self) {
        let _ = (&mut self.connection).await;
    }
}

impl Drop for Jvb {
    fn drop(&mut self) {
        self.connection.abort();
        self.publisher.abort();
    }
}

async fn publish(
    shared: Arc<Shared>,
    mut feed: BreweryFeed,
    orders: mpsc::Sender<Command>,
    tell: watch::Sender<Joined>,
) {
    let period = shared.figures().options.interval.max(Duration::from_millis(1));
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            event = feed.next() => match event {
                None => return,
                Some(BreweryEvent::Resynced { .. }) => {
                    tell.send_replace(Joined { now: true, refused: None });
                    continue;
                }
                Some(BreweryEvent::Disconnected { why, .. } | BreweryEvent::Refused { why, .. }) => {
                    tell.send_replace(Joined { now: false, refused: Some(why) });
                    continue;
                }
                Some(_) => continue,
            },
            _ = ticks.tick() => {}
            () = shared.published.notified() => {}
        }
        let (payload, healthy, hanging, over) = {
            let mut figures = shared.figures();
            let over = figures.advance(Instant::now());
            (figures.payload(), figures.healthy, figures.hanging, over)
        };
        if over {
            shared.stop.notify_one();
            continue;
        }
        let mut told = vec![Command::Health(if hanging { None } else { Some(healthy) })];
        if !hanging {
            told.push(Command::Publish(payload));
        }
        for command in told {
            // A client that is behind gets the next figures instead; waiting here would hold up its feed.
            if let Err(mpsc::error::TrySendError::Closed(_)) = orders.try_send(command) {
                return;
            }
        }
    }
}
