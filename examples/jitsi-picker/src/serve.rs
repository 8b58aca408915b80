//! `serve`: the picker as a service over HTTP, until it is told to stop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adapter_jitsi::BreweryFeed;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::ServeArgs;
use crate::pool::Happening;
use crate::{complain, say, show};
use console::{Exit, Failure};

mod desk;
mod http;
mod metrics;

use desk::Desk;

/// How long requests under way may take after the order to stop.
const GRACE: Duration = Duration::from_secs(10);

/// What all requests share.
#[derive(Clone)]
struct Shared(Arc<Mutex<Desk>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    if !args.brewery.presences.is_empty() {
        return Err(Failure::usage("recorded presences cannot be served").hint("`jitsi-picker select` reads them"));
    }
    let (pool, feed, client) = args.brewery.watch(args.focus.settings()?)?;
    let listener = TcpListener::bind(args.bind).await.map_err(|e| {
        Failure::failed(format!("{} cannot be listened at", args.bind))
            .cause(e)
            .hint("--bind ADDRESS:PORT names another")
    })?;
    let at = listener.local_addr().map_or(args.bind, |at| at);
    let desk = Desk::new(pool, Duration::from_secs(args.forget));
    let shared = Shared(Arc::new(Mutex::new(desk)));
    let (stop, stopping) = watch::channel(false);
    let stopped = |mut on: watch::Receiver<bool>| async move {
        // An error means that the sender is gone, which is a stop as well.
        let _ = on.wait_for(|stop| *stop).await;
    };
    let watching = tokio::spawn(client.run(stopped(stopping.clone())));
    let following = tokio::spawn(follow(shared.clone(), feed));
    let serving = tokio::spawn(http::serve(listener, shared, stopping, GRACE));
    say(&format!("listening at http://{at}\n"));
    crate::signalled().await;
    complain("stopping: requests under way are finished first");
    let _ = stop.send(true);
    let _ = serving.await;
    let _ = watching.await;
    let _ = following.await;
    Ok(Exit::Done)
}

/// Takes in what the brewery tells, until its client ends.
async fn follow(shared: Shared, mut feed: BreweryFeed) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let happened = tokio::select! {
            event = feed.next() => match event {
                Some(event) => shared.lock().take(&event),
                None => return,
            },
            _ = ticks.tick() => shared.lock().tick(),
        };
        for it in &happened {
            log(it);
        }
    }
}

/// One line on standard error, with the level that systemd reads.
fn log(it: &Happening) {
    let level = if it.kind.is_warning() { 4 } else { 6 };
    complain(&format!("<{level}>{} {}", it.kind.code(), console::printable(&show::happening(it))));
}
