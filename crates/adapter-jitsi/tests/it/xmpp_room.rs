//! Bridges in a room of a real Prosody.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use adapter_jitsi::testing::Jvb;
use adapter_jitsi::{BreweryEvent, LeaveReason};

use super::prosody::{Observer, Prosody, Setup, figures, quick, soon};

#[tokio::test]
async fn a_taken_nick_is_followed_by_the_next() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    let mut first = Observer::start(server.options("focus", "same"));
    first.resynced().await;
    let bridge = server.bridge("same");
    soon(bridge.joined()).await.unwrap();
    let nick = first
        .until("the bridge", |event| match event {
            BreweryEvent::BridgeSeen { occupant, .. } => Some(occupant.nick().to_owned()),
            _ => None,
        })
        .await;
    assert_eq!(nick, "same-2");
}

#[tokio::test]
async fn figures_arrive_and_a_killed_bridge_has_left() {
    let Some(server) = Prosody::start(&Setup { tls: true, ..Setup::default() }) else { return };
    let (one, two) = (server.bridge("jvb1"), server.bridge("jvb2"));
    soon(one.joined()).await.unwrap();
    soon(two.joined()).await.unwrap();
    let mut observer = Observer::start(server.options("balancer", "observer"));
    let resync = observer.resynced().await;
    assert_eq!(resync.present, ["jvb1", "jvb2"]);
    assert_eq!(resync.added, resync.present);
    one.add_conference(41);
    one.drain(true);
    one.publish();
    observer
        .until("the figures", |event| match event {
            BreweryEvent::BridgeSeen { occupant, stanza, replayed: false } if occupant.nick() == "jvb1" => {
                let figures = figures(&stanza);
                (figures["stress_level"] == "0.4100" && figures["drain"] == "true").then_some(())
            }
            _ => None,
        })
        .await;
    let began = Instant::now();
    two.die();
    let left = observer
        .until("the leave", |event| match event {
            BreweryEvent::BridgeLeft { occupant, reason } => Some((occupant.nick().to_owned(), reason)),
            _ => None,
        })
        .await;
    println!("a killed bridge was seen to leave after {:?}", began.elapsed());
    assert_eq!(left, ("jvb2".to_owned(), LeaveReason::Left));
    observer.stop().await;
}

#[tokio::test]
async fn a_graceful_shutdown_ends_with_a_leave() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    let mut options = quick();
    options.shutting_down_delay = Duration::from_millis(300);
    let bridge = Jvb::start(server.options("jvb", "jvb1"), options);
    soon(bridge.joined()).await.unwrap();
    let mut observer = Observer::start(server.options("balancer", "observer"));
    observer.resynced().await;
    let room = bridge.add_conference(3);
    bridge.shut_down_gracefully();
    let says = |name: &'static str| {
        move |event| match event {
            BreweryEvent::BridgeSeen { stanza, .. } => (figures(&stanza)[name] == "true").then_some(()),
            BreweryEvent::BridgeLeft { .. } => panic!("left before {name}"),
            _ => None,
        }
    };
    observer.until("graceful", says("graceful_shutdown")).await;
    bridge.end_conference(room);
    observer.until("shutting down", says("shutting_down")).await;
    observer.until("the leave", |event| matches!(event, BreweryEvent::BridgeLeft { .. }).then_some(())).await;
    soon(bridge.gone()).await;
}

#[tokio::test]
async fn a_hanging_bridge_is_silent_and_a_frozen_one_repeats_itself() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    let (hanging, frozen) = (server.bridge("hanging"), server.bridge("frozen"));
    soon(hanging.joined()).await.unwrap();
    soon(frozen.joined()).await.unwrap();
    let mut options = server.options("balancer", "observer");
    // More than the frozen one may be late.
    options.patience.silence = Duration::from_secs(5);
    let mut observer = Observer::start(options);
    observer.resynced().await;
    frozen.freeze(true);
    frozen.add_conference(50);
    frozen.publish();
    hanging.hang(true);
    let mut last = None;
    let (mut repeats, mut silent) = (0, false);
    observer
        .until("silence and repetition", |event| match event {
            BreweryEvent::BridgeSeen { occupant, stanza, .. } if occupant.nick() == "frozen" => {
                let stats = figures(&stanza);
                repeats = if last.as_ref() == Some(&stats) { repeats + 1 } else { 0 };
                last = Some(stats);
                (silent && repeats >= 3).then_some(())
            }
            BreweryEvent::BridgeSilent { occupant, quiet } => {
                assert_eq!(occupant.nick(), "hanging");
                assert!(quiet >= Duration::from_secs(5), "{quiet:?}");
                silent = true;
                (repeats >= 3).then_some(())
            }
            _ => None,
        })
        .await;
    hanging.hang(false);
    observer
        .until("the voice", |event| match event {
            BreweryEvent::BridgeSeen { occupant, .. } => (occupant.nick() == "hanging").then_some(()),
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn a_room_full_of_bridges() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    let began = Instant::now();
    let mut options = quick();
    // Everybody is told of everybody's: more would keep a slow server busy with nothing else.
    options.interval = Duration::from_secs(10);
    let nicks: Vec<String> = (0..50).map(|number| format!("jvb{number:02}")).collect();
    let start = |nick: &String| Jvb::start(server.options("jvb", nick), options.clone());
    let bridges: Vec<Jvb> = nicks.iter().map(start).collect();
    for bridge in &bridges {
        soon(bridge.joined()).await.unwrap();
    }
    println!("50 bridges were in the room after {:?}", began.elapsed());
    let mut observer = Observer::start(server.options("balancer", "observer"));
    assert_eq!(observer.resynced().await.present, nicks);
    let mut live = HashSet::new();
    observer
        .until("a fresh presence of each", |event| {
            if let BreweryEvent::BridgeSeen { occupant, replayed: false, .. } = event {
                live.insert(occupant);
            }
            (live.len() == 50).then_some(())
        })
        .await;
    bridges.into_iter().for_each(Jvb::die);
    let mut left = HashSet::new();
    observer
        .until("all leaves", |event| {
            if let BreweryEvent::BridgeLeft { occupant, .. } = event {
                left.insert(occupant);
            }
            (left.len() == 50).then_some(())
        })
        .await;
    assert_eq!(left, live);
    observer.stop().await;
}
