//! `serve`: the picker as a service over HTTP, until it is told to stop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adapter_jitsi::BreweryFeed;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::ServeArgs;
use crate::pool::Happening;
use crate::{complain, say, show};
use console::{Exit, Failure};

mod desk;
mod guard;
mod http;
mod metrics;
mod shard_metrics;
mod shard_routes;
mod shards;

use desk::Desk;
use guard::Guard;
use shards::ShardDesk;

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

/// What is served: bridges, shards or both.
#[derive(Clone)]
struct Served {
    bridges: Option<Shared>,
    shards: Option<Arc<ShardDesk>>,
    guard: Arc<Guard>,
}

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    if !args.brewery.presences.is_empty() {
        return Err(Failure::usage("recorded presences cannot be served").hint("`jitsi-picker select` reads them"));
    }
    let shards = match &args.shards {
        Some(file) => Some(ShardDesk::open(file)?),
        None => None,
    };
    // Shards need no brewery; where one is named, bridges are told as well.
    let brewery = match shards.is_some() && !args.brewery.is_named() {
        true => None,
        false => Some(args.brewery.watch(args.focus.settings()?)?),
    };
    let listener = TcpListener::bind(args.bind).await.map_err(|e| {
        Failure::failed(format!("{} cannot be listened at", args.bind))
            .cause(e)
            .hint("--bind ADDRESS:PORT names another")
    })?;
    let at = listener.local_addr().map_or(args.bind, |at| at);
    let guard = Arc::new(Guard::new(at, &args.host));
    let (stop, stopping) = watch::channel(false);
    let mut working = JoinSet::new();
    let bridges = brewery.map(|(pool, feed, client)| {
        let desk = Desk::new(pool, Duration::from_secs(args.forget));
        let shared = Shared(Arc::new(Mutex::new(desk)));
        working.spawn(client.run(stopped(stopping.clone())));
        working.spawn(follow(shared.clone(), feed));
        shared
    });
    if let Some(desk) = &shards {
        // The first answers should rest on a look at every shard.
        desk.begin().await;
        working.spawn(Arc::clone(desk).run(stopping.clone()));
    }
    let serving = tokio::spawn(http::serve(listener, Served { bridges, shards, guard }, stopping, GRACE));
    say(&format!("listening at http://{at}\n"));
    console::signalled().await;
    complain("stopping: requests under way are finished first");
    let _ = stop.send(true);
    let _ = serving.await;
    while working.join_next().await.is_some() {}
    Ok(Exit::Done)
}

async fn stopped(mut on: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = on.wait_for(|stop| *stop).await;
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
