//! Losing the connection, and what must not be read from it.

use std::time::{Duration, Instant};

use adapter_jitsi::BreweryEvent;

use super::prosody::{Observer, Prosody, Setup, soon};
use super::proxy::{Proxy, Way};

async fn disconnected(observer: &mut Observer) {
    observer
        .until("the loss", |event| match event {
            BreweryEvent::Disconnected { why, .. } => {
                println!("lost: {why}");
                Some(())
            }
            BreweryEvent::BridgeLeft { occupant, .. } => panic!("{occupant} is said to have left"),
            _ => None,
        })
        .await;
}

/// Cuts the observer's connection for a while: nobody has left meanwhile, and who did is told after.
async fn cut(server: &Prosody, away: Duration) {
    let (stays, dies) = (server.bridge("stays"), server.bridge("dies"));
    soon(stays.joined()).await.unwrap();
    soon(dies.joined()).await.unwrap();
    let proxy = Proxy::start(server.port).await;
    let mut options = server.options("balancer", "observer");
    options.server = proxy.address.to_string();
    options.patience.grace = Duration::from_millis(500);
    let mut observer = Observer::start(options);
    assert_eq!(observer.resynced().await.present, ["dies", "stays"]);
    let cut = Instant::now();
    proxy.set(Way::Cut);
    disconnected(&mut observer).await;
    println!("the cut was noticed after {:?}", cut.elapsed());
    let lost = Instant::now();
    dies.die();
    let comes = server.bridge("comes");
    soon(comes.joined()).await.unwrap();
    tokio::time::sleep_until((lost + away).into()).await;
    for event in observer.came() {
        assert!(matches!(event, BreweryEvent::Refused { .. }), "{event:?}");
    }
    proxy.set(Way::Open);
    let resync = observer.resynced().await;
    println!("back after {:?}, unheard for {:?}", lost.elapsed(), resync.away);
    assert!(resync.away.is_some_and(|unheard| unheard >= away), "{resync:?}");
    assert_eq!(resync.present, ["comes", "stays"]);
    assert_eq!(resync.added, ["comes"]);
    assert_eq!(resync.missing, ["dies"]);
    let left = observer
        .until("the leave", |event| match event {
            BreweryEvent::BridgeLeft { occupant, .. } => Some(occupant.nick().to_owned()),
            _ => None,
        })
        .await;
    assert_eq!(left, "dies");
    observer.stop().await;
}

#[tokio::test]
async fn our_connection_is_cut_for_five_seconds() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    cut(&server, Duration::from_secs(5)).await;
}

#[tokio::test]
#[ignore = "it lasts a minute, for longer waits between tries than in five seconds: cargo xtask soak jitsi"]
async fn our_connection_is_cut_for_a_minute() {
    let Some(server) = Prosody::start(&Setup { tls: true, ..Setup::default() }) else { return };
    cut(&server, Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_passes_is_noticed_by_a_ping() {
    let Some(server) = Prosody::start(&Setup::default()) else { return };
    let bridge = server.bridge("jvb1");
    soon(bridge.joined()).await.unwrap();
    let proxy = Proxy::start(server.port).await;
    let mut options = server.options("balancer", "observer");
    options.server = proxy.address.to_string();
    options.login.ping_after = Duration::from_millis(500);
    options.login.ping_timeout = Duration::from_secs(5);
    let mut observer = Observer::start(options);
    observer.resynced().await;
    bridge.hang(true);
    // In silence pings are answered: nothing is lost, for longer than one may be without an answer.
    let quiet = tokio::time::timeout(
        Duration::from_secs(8),
        observer.until("a loss", |event| matches!(event, BreweryEvent::Disconnected { .. }).then_some(())),
    );
    assert!(quiet.await.is_err(), "lost although pings pass");
    proxy.set(Way::Held);
    disconnected(&mut observer).await;
    proxy.set(Way::Open);
    assert_eq!(observer.resynced().await.present, ["jvb1"]);
    observer.stop().await;
}

async fn restart(orderly: bool) {
    let Some(mut server) = Prosody::start(&Setup::default()) else { return };
    let bridges = [server.bridge("jvb1"), server.bridge("jvb2"), server.bridge("jvb3")];
    for bridge in &bridges {
        soon(bridge.joined()).await.unwrap();
    }
    let mut options = server.options("balancer", "observer");
    // However slowly the server goes on from the leaves to the end of our connection.
    options.patience.hold = Duration::from_secs(20);
    let mut observer = Observer::start(options);
    assert_eq!(observer.resynced().await.present.len(), 3);
    if orderly {
        server.stop()
    } else {
        server.kill()
    }
    disconnected(&mut observer).await;
    server.resume();
    let began = Instant::now();
    let resync = observer.resynced().await;
    println!("back {:?} after the restart: {resync:?}", began.elapsed());
    assert_eq!(resync.present.len() + resync.missing.len(), 3, "{resync:?}");
    // All come back within the grace, so nobody has left.
    for bridge in &bridges {
        soon(bridge.joined()).await.unwrap();
    }
    let mut back: Vec<_> = resync.present;
    while back.len() < 3 {
        let nick = observer
            .until("the bridges", |event| match event {
                BreweryEvent::BridgeSeen { occupant, .. } => Some(occupant.nick().to_owned()),
                BreweryEvent::BridgeLeft { occupant, .. } => panic!("{occupant} is said to have left"),
                _ => None,
            })
            .await;
        if !back.contains(&nick) {
            back.push(nick);
        }
    }
    observer.stop().await;
}

#[tokio::test]
async fn the_server_is_killed_and_started_again() {
    restart(false).await;
}

#[tokio::test]
async fn the_server_shuts_down_in_order_and_comes_back() {
    restart(true).await;
}
