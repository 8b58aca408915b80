//! A brewery that is watched for as long as a command runs.

use std::pin::Pin;
use std::time::Duration;

use adapter_jitsi::BreweryFeed;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::cli::LookArgs;
use crate::pool::{Happening, Link, Pool};
use console::{Exit, Failure};

/// What came next.
#[derive(Debug)]
pub(crate) enum Moment {
    /// Something happened; whether we have just come into the room.
    Told(Vec<Happening>, bool),
    /// It is time to look, and this was seen by looking.
    Tick(Vec<Happening>),
    /// The time is up, or a signal came.
    Over,
}

/// A brewery, its bridges and the clock of the command.
pub(crate) struct Live {
    /// The bridges.
    pub(crate) pool: Pool,
    /// Whether we were ever in the room.
    pub(crate) heard: bool,
    feed: BreweryFeed,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    ticks: Interval,
    seconds: Option<u64>,
    /// An end is set for the room to be joined, then for what is watched.
    end: Option<Instant>,
    signal: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Live {
    /// Begins; a tick comes every so many seconds, and the end so many after the room was joined.
    pub(crate) fn start(look: &LookArgs, every: u64, seconds: Option<u64>) -> Result<Self, Failure> {
        let (pool, feed, client) = look.brewery.watch(look.focus.settings()?)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(client.run(async move {
            // An error means that nobody is interested any more.
            let _ = stopped.await;
        }));
        let mut ticks = interval(Duration::from_secs(every));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = seconds.map(|_| Instant::now() + Duration::from_secs(look.brewery.wait));
        let signal = Box::pin(console::signalled());
        Ok(Self { pool, heard: false, feed, stop, running, ticks, seconds, end, signal })
    }

    /// What comes next.
    ///
    /// # Errors
    ///
    /// When the connection is given up.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Moment, Failure> {
        let end = self.end;
        tokio::select! {
            // What came and what is due when the time is up is not left out.
            biased;
            () = self.signal.as_mut() => Ok(Moment::Over),
            _ = self.ticks.tick() => Ok(Moment::Tick(self.pool.check())),
            event = self.feed.next() => {
                let event = event.ok_or_else(|| Failure::failed("the connection ended"))?;
                let up = self.pool.link == Link::Up;
                let happened = self.pool.take(&event);
                let joined = self.pool.link == Link::Up && !up;
                if joined {
                    if !self.heard {
                        self.end = self.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
                    }
                    self.heard = true;
                    self.ticks.reset();
                }
                Ok(Moment::Told(happened, joined))
            }
            () = async { match end { Some(end) => sleep_until(end).await, None => std::future::pending().await } } => {
                Ok(Moment::Over)
            }
        }
    }

    /// Leaves the room.
    pub(crate) async fn end(self) -> Result<Exit, Failure> {
        drop((self.stop, self.feed));
        let _ = self.running.await;
        if self.heard { Ok(Exit::Done) } else { Err(Failure::timed_out("the room was never joined")) }
    }
}
