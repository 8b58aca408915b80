//! `watch`: the bridges as they are, again and again, and what happens to them.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::cli::{Output, WatchArgs};
use crate::pool::{Happening, Link, Pool};
use crate::{say, show};
use console::{Exit, Failure};

/// How many of the last happenings stand below the table.
const EVENTS: usize = 12;

/// Watches until it is interrupted, or for as long as it is told.
pub(crate) async fn run(args: &WatchArgs) -> Result<Exit, Failure> {
    if !args.brewery.presences.is_empty() {
        return Err(Failure::usage("recorded presences do not change").hint("`jitsi-picker rank` shows them"));
    }
    let (mut pool, mut feed, client) = args.brewery.watch(args.focus.settings()?)?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(client.run(async move {
        // An error means that nobody is interested any more.
        let _ = stopped.await;
    }));
    let mut screen = Screen { output: args.output, terminal: std::io::stdout().is_terminal(), events: VecDeque::new() };
    let mut ticks = interval(Duration::from_secs(args.every));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // An end is set for the room to be joined, then for what is watched.
    let mut end = args.seconds.map(|_| Instant::now() + Duration::from_secs(args.brewery.wait));
    let mut signal = std::pin::pin!(crate::signalled());
    let mut heard = false;
    loop {
        let reading = tokio::select! {
            event = feed.next() => match event {
                Some(event) => {
                    let up = pool.link == Link::Up;
                    let happened = pool.take(&event);
                    let mut reading = screen.tell(happened);
                    if pool.link == Link::Up && !up {
                        if !heard {
                            end = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
                        }
                        heard = true;
                        reading = reading && screen.draw(&mut pool);
                        ticks.reset();
                    }
                    reading
                }
                None => return Err(Failure::failed("the connection ended")),
            },
            _ = ticks.tick() => {
                let happened = pool.check();
                // Before anything is known an empty table would only mislead.
                screen.tell(happened) && (!heard || screen.draw(&mut pool))
            }
            () = async { match end { Some(end) => sleep_until(end).await, None => std::future::pending().await } } => break,
            () = &mut signal => break,
        };
        if !reading {
            break;
        }
    }
    drop((stop, feed));
    let _ = running.await;
    if heard { Ok(Exit::Done) } else { Err(Failure::timed_out("the room was never joined")) }
}

struct Screen {
    output: Output,
    terminal: bool,
    events: VecDeque<String>,
}

impl Screen {
    /// Whether somebody still reads.
    fn tell(&mut self, happened: Vec<Happening>) -> bool {
        for it in happened {
            if self.output == Output::Json {
                let line = json!({
                    "type": "event",
                    "unix_ms": unix_ms(),
                    "event": it.kind.code(),
                    "bridge": it.bridge.as_deref().map(show::nick),
                    "jid": it.bridge,
                    "text": it.text,
                });
                if !say(&format!("{line}\n")) {
                    return false;
                }
                continue;
            }
            let line = format!("{}  {}\n", time_of_day(), show::happening(&it));
            if !self.terminal {
                if !say(&line) {
                    return false;
                }
                continue;
            }
            if self.events.len() == EVENTS {
                self.events.pop_front();
            }
            self.events.push_back(line);
        }
        true
    }

    /// Whether somebody still reads.
    fn draw(&self, pool: &mut Pool) -> bool {
        let ranking = pool.ranking();
        if self.output == Output::Json {
            let bridges: Vec<Value> = ranking.iter().map(|(view, figures)| show::json(view, figures)).collect();
            let connected = pool.link == Link::Up;
            let line = json!({ "type": "bridges", "unix_ms": unix_ms(), "connected": connected, "bridges": bridges });
            return say(&format!("{line}\n"));
        }
        let bridges = console::counted(ranking.len(), "bridge");
        let head = match &pool.link {
            Link::Up => format!("{bridges}\n"),
            Link::Connecting => "not in the room yet\n".to_owned(),
            Link::Lost { since, why } => {
                let why = console::printable(why);
                format!("{bridges} as known {:.0} s ago: {why}\n", since.elapsed().as_secs_f64())
            }
        };
        let table = show::bridges(&ranking);
        if self.terminal {
            let events: String = self.events.iter().map(String::as_str).collect();
            return say(&format!("\x1b[H\x1b[2J{head}\n{table}\n{events}"));
        }
        say(&format!("\n{head}{table}\n"))
    }
}

fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn unix_ms() -> u64 {
    u64::try_from(unix().as_millis()).unwrap_or(u64::MAX)
}

/// In UTC.
fn time_of_day() -> String {
    let seconds = unix().as_secs();
    format!("{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}
