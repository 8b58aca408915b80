//! `demo`: a real Prosody, eight pretended bridges and a morning's conferences, in seconds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use adapter_jitsi::testing::{Jvb, JvbOptions};
use adapter_jitsi::{BreweryClient, FocusSettings, PlainStrategy};

use crate::cli::DemoOptions;
use crate::pool::{Link, Pool};
use crate::{say, show};
use console::{Exit, Failure};

mod focus;
mod ledger;
mod morning;
mod prosody;

use focus::Focus;
use ledger::Ledger;
use morning::{Conference, morning};
use prosody::{Prosody, ROOM};

const BRIDGES: usize = 8;
const REGIONS: [&str; 2] = ["eu", "us"];
/// How often the bridges publish. A real one does it every five seconds.
const PUBLISH: Duration = Duration::from_millis(250);
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The morning, in minutes after eight.
const MINUTES: u32 = 180;
const DEATH: u32 = 70;
const DRAIN: u32 = 120;

fn failed(what: &str, e: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the demo cannot go on: {what}")).cause(e)
}

/// Plays the morning; with `--keep` everything stays until it is interrupted.
pub(crate) async fn run(options: DemoOptions) -> Result<Exit, Failure> {
    let mut played = false;
    let exit = tokio::select! {
        done = play(&options, &mut played) => done,
        () = console::signalled() => Err(Failure::failed("interrupted")),
    };
    // What is kept is ended by a signal, and that is no failure.
    if played { Ok(Exit::Done) } else { exit }
}

async fn play(options: &DemoOptions, played: &mut bool) -> Result<Exit, Failure> {
    let began = Instant::now();
    let tell = |text: &str| {
        say(&format!("{:>6.1} s  {text}\n", began.elapsed().as_secs_f64()));
    };
    let server = Prosody::start().await?;
    tell(&format!("prosody listens at {}, in a folder of its own", server.address()));
    let bridges = bridges(&server).await?;
    tell(&format!("{BRIDGES} pretended bridges are in {ROOM}, four of region eu, four of us"));

    let (client, feed) = BreweryClient::new(server.options("picker", "picker")?);
    let watching = tokio::spawn(client.run(std::future::pending()));
    let mut focus = Focus::new(Pool::new(ROOM, settings())?, feed, bridges);
    focus.until("the bridges to be seen", |focus| focus.pool.link == Link::Up && focus.present() == BRIDGES).await?;
    tell("the picker sees all of them");

    let step = Duration::from_millis(if options.fast { 8 } else { 25 });
    let conferences = morning(&REGIONS);
    tell(&format!("08:00  {} conferences come and go until 11:00", conferences.len()));
    for minute in 0..MINUTES {
        match minute {
            DEATH => {
                let victim = focus.busiest()?;
                let load = focus.load(&victim);
                focus.kill(&victim);
                tell(&format!("{}  {} dies with {load}", clock(minute), show::nick(&victim)));
            }
            DRAIN => {
                let victim = focus.busiest()?;
                let load = focus.load(&victim);
                focus.drain(&victim);
                tell(&format!("{}  {} is drained, with {load}", clock(minute), show::nick(&victim)));
            }
            _ => {}
        }
        focus.minute(minute, &conferences)?;
        for text in focus.news() {
            tell(&format!("{}  {text}", clock(minute)));
        }
        focus.pass(step).await?;
    }
    // On a busy machine the news of the last hour may still be under way.
    focus.until("the death and the drain to be seen", |focus| focus.ledger().has_seen_all()).await?;
    // The last minute's figures have not been published yet.
    focus.pass(PUBLISH * 2).await?;
    for text in focus.news() {
        tell(&format!("{}  {text}", clock(MINUTES)));
    }
    let table = show::bridges(&focus.pool.ranking());
    say(&format!("\n{table}\n{}", focus.ledger().summary(conferences.len())));
    focus.ledger().verdict()?;
    tell("done: nobody was placed on a bridge that was known to be gone or draining");
    *played = true;
    if options.keep {
        say(&format!(
            "\nEverything stays until Ctrl-C. In another terminal:\n\n  export JITSI_PICKER_SERVER={} \
             JITSI_PICKER_ACCOUNT={} \\\n    JITSI_PICKER_ROOM={ROOM} JITSI_PICKER_PASSWORD_FILE={}\n",
            server.address(),
            server.account(),
            server.password_file().display(),
        ));
        std::future::pending::<()>().await;
    }
    watching.abort();
    Ok(Exit::Done)
}

/// Jicofo's, on the clock of the morning.
fn settings() -> FocusSettings {
    let mut settings = FocusSettings::default();
    settings.strategy = PlainStrategy::RegionBased.into();
    settings.octo = true;
    // So long a placement counts beside the reported stress: 20 s of a real focus.
    settings.rampup = PUBLISH * 2;
    settings
}

async fn bridges(server: &Prosody) -> Result<BTreeMap<String, Jvb>, Failure> {
    let mut all = BTreeMap::new();
    for n in 1..=BRIDGES {
        let nick = format!("jvb{n}");
        let mut options = JvbOptions::default();
        options.interval = PUBLISH;
        options.region = REGIONS.get((n - 1) % REGIONS.len()).map(|region| (*region).to_owned());
        options.participant_stress = 0.004;
        all.insert(format!("{ROOM}/{nick}"), Jvb::start(server.options("jvb", &nick)?, options));
    }
    for (id, jvb) in &all {
        match tokio::time::timeout(PATIENCE, jvb.joined()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(failed(&format!("{} cannot join", show::nick(id)), e)),
            Err(_) => return Err(Failure::timed_out(format!("{} does not get into the room", show::nick(id)))),
        }
    }
    Ok(all)
}

/// Minutes after eight as a clock shows them.
fn clock(minute: u32) -> String {
    format!("{:02}:{:02}", 8 + minute / 60, minute % 60)
}
