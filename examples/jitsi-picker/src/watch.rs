//! `watch`: the bridges as they are, again and again, and what happens to them.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use adapter_jitsi::FollowStart;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::cli::{Output, WatchArgs};
use crate::live::{Live, Moment};
use crate::log::{self, News, Told};
use crate::pool::{Happening, Kind, Link, Pool};
use crate::{say, show};
use console::{Exit, Failure};

/// How many of the last happenings stand below the table.
const EVENTS: usize = 12;

/// Watches until it is interrupted, or for as long as it is told.
pub(crate) async fn run(args: &WatchArgs) -> Result<Exit, Failure> {
    let brewery = &args.look.brewery;
    if !brewery.presences.is_empty() {
        return Err(Failure::usage("recorded presences do not change").hint("`jitsi-picker rank` shows them"));
    }
    if let Some(path) = args.log.as_deref().filter(|_| !brewery.is_named()) {
        return log_alone(args, path).await;
    }
    // What was written before is told better by the brewery.
    let mut news = args.log.as_deref().map(|path| log::follow(path, FollowStart::End)).transpose()?;
    let mut live = Live::start(&args.look, args.every, args.seconds)?;
    let (mut screen, mut told) = (Screen::new(args.look.output), Told::default());
    loop {
        let reading = tokio::select! {
            moment = live.next() => match moment? {
                Moment::Over => break,
                Moment::Told(happened, joined) => {
                    let reading = screen.tell(happened);
                    reading && (!joined || screen.draw(&mut live.pool))
                }
                // Before anything is known an empty table would only mislead.
                Moment::Tick(happened) => screen.tell(happened) && (!live.heard || screen.draw(&mut live.pool)),
            },
            it = next(&mut news) => screen.news(&it, &mut told),
        };
        if !reading {
            break;
        }
    }
    live.end().await
}

/// The next of the log; waits for ever where there is none any more.
async fn next(news: &mut Option<mpsc::Receiver<News>>) -> News {
    let it = match news {
        Some(lines) => lines.recv().await.unwrap_or(News::End),
        None => std::future::pending().await,
    };
    if matches!(it, News::End) {
        *news = None;
    }
    it
}

/// Shows what the log tells, for there is no brewery.
async fn log_alone(args: &WatchArgs, path: &Path) -> Result<Exit, Failure> {
    let mut news = Some(log::follow(path, FollowStart::Beginning)?);
    let (mut screen, mut told) = (Screen::new(args.look.output), Told::default());
    let mut ticks = interval(Duration::from_secs(args.every));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // However long it takes to read what there is, all of that counts.
    let mut end = None;
    let mut signal = std::pin::pin!(console::signalled());
    let mut drawn = 0;
    loop {
        let reading = tokio::select! {
            biased;
            () = &mut signal => break,
            _ = ticks.tick() => {
                let fresh = std::mem::replace(&mut drawn, told.lines) != told.lines;
                !fresh || screen.draw_log(&told, path)
            }
            it = next(&mut news) => {
                if matches!(it, News::Read) {
                    end = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
                }
                let over = matches!(it, News::End);
                let reading = screen.news(&it, &mut told);
                if over {
                    break;
                }
                reading
            }
            () = async { match end { Some(end) => sleep_until(end).await, None => std::future::pending().await } } => break,
        };
        if !reading {
            return Ok(Exit::Done);
        }
    }
    if drawn != told.lines || told.lines == 0 {
        screen.draw_log(&told, path);
    }
    if told.lines > 0 && told.known == 0 {
        let what = format!("{} is not the log of a focus: none of its lines is one of jicofo's", log::name(path));
        return Err(Failure::failed(what).hint("jicofo writes to /var/log/jitsi/jicofo.log, or to its container's log"));
    }
    Ok(Exit::Done)
}

struct Screen {
    output: Output,
    terminal: bool,
    events: VecDeque<String>,
}

impl Screen {
    fn new(output: Output) -> Self {
        Self { output, terminal: std::io::stdout().is_terminal(), events: VecDeque::new() }
    }

    /// Whether somebody still reads.
    fn news(&mut self, it: &News, told: &mut Told) -> bool {
        let happened = match it {
            News::Line(line) => told.line(line),
            News::File(what) => Some(Happening::of(Kind::LogFile, None, what.as_str())),
            News::Read | News::End => None,
        };
        self.tell(happened.into_iter().collect())
    }

    /// Whether somebody still reads.
    fn tell(&mut self, happened: Vec<Happening>) -> bool {
        for it in happened {
            if self.output == Output::Json {
                let line = json!({
                    "type": "event",
                    "unix_ms": show::unix_ms(),
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
            let line = format!("{}  {}\n", show::time_of_day(show::unix_ms()), show::happening(&it));
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
            let line =
                json!({ "type": "bridges", "unix_ms": show::unix_ms(), "connected": connected, "bridges": bridges });
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
        self.put(&head, &show::bridges(&ranking))
    }

    /// Whether somebody still reads.
    fn draw_log(&self, told: &Told, path: &Path) -> bool {
        if self.output == Output::Json {
            let unix_ms = show::unix_ms();
            return say(&format!("{}\n", json!({ "type": "log", "unix_ms": unix_ms, "told": told.json() })));
        }
        let lines = console::counted(usize::try_from(told.known).unwrap_or(usize::MAX), "line");
        let name = console::printable(&log::name(path));
        self.put(&format!("{lines} of a focus in {name}\n"), &told.table())
    }

    fn put(&self, head: &str, table: &str) -> bool {
        if self.terminal {
            let events: String = self.events.iter().map(String::as_str).collect();
            return say(&format!("\x1b[H\x1b[2J{head}\n{table}\n{events}"));
        }
        say(&format!("\n{head}{table}\n"))
    }
}
