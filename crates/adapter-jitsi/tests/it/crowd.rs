//! Many bridges and conferences on a real Prosody while bridges, the server and our own connection fail:
//! `cargo xtask soak bridges`.

use std::time::{Duration, Instant};

use super::prosody::{Observer, Prosody, Setup, soon};
use super::proxy::{Proxy, Way};

mod focus;
mod ledger;

use focus::Focus;
use ledger::Known;

const REGIONS: [&str; 3] = ["eu", "us", "ap"];

/// How much of it, and how fast.
#[derive(Clone, Copy)]
struct Size {
    bridges: usize,
    /// Conferences that run at a time, of three participants each.
    conferences: usize,
    /// How many bridges each fault befalls.
    victims: usize,
    /// How often bridges publish. A real one does it every 5 s.
    publish: Duration,
    /// When a bridge counts as silent. Jicofo takes 45 s.
    silence: Duration,
    /// When figures that stand still are called flat.
    flat: Duration,
    /// How long bridges may take to come back after the server did.
    grace: Duration,
    /// For how long our own connection is cut, one time after the other.
    cuts: &'static [u64],
    /// How many are placed to see that nobody comes to a bridge.
    sample: u64,
}

async fn crowd(size: Size) {
    let Some(mut server) = Prosody::start(&Setup::default()) else { return };
    let proxy = Proxy::start(server.port).await;
    let mut options = server.options("balancer", "observer");
    options.server = proxy.address.to_string();
    (options.patience.grace, options.patience.silence) = (size.grace, size.silence);
    let mut focus = Focus::new(size, Observer::start(options));
    let all: Vec<String> = (0..size.bridges).map(|n| focus.start(&server, n)).collect();
    let number = |bridge: &String| all.iter().position(|it| it == bridge).unwrap();
    for bridge in &all {
        soon(focus.jvb(bridge).joined()).await.unwrap();
    }
    focus.until("all bridges are seen", |focus| focus.ledger.present().count() == size.bridges).await;
    focus.until("all conferences run", |focus| focus.running() >= size.conferences).await;
    focus.placing("calm", size.sample).await;

    let dead = focus.busiest(size.victims).await;
    for bridge in &dead {
        focus.kill(bridge, true);
    }
    focus.until("the dead are removed", |focus| focus.ledger.knows_all()).await;
    focus.placing("nobody comes to them", size.sample).await;

    let hot = focus.busiest(size.victims).await;
    for bridge in &hot {
        focus.ledger.does(Known::Overloaded, bridge);
        focus.jvb(bridge).change(|figures| figures.stress = Some(0.97));
    }
    focus.until("the overloaded are known", |focus| focus.ledger.knows_all()).await;
    focus.placing("nobody comes to them", size.sample).await;

    let drained = focus.busiest(size.victims).await;
    for bridge in &drained {
        focus.ledger.does(Known::Draining, bridge);
        focus.jvb(bridge).drain(true);
    }
    focus.until("the drained are known", |focus| focus.ledger.knows_all()).await;
    focus.placing("nobody comes to them", size.sample).await;

    let frozen = focus.busiest(size.victims).await;
    let others: Vec<String> = focus.ledger.good().filter(|bridge| !frozen.contains(bridge)).cloned().collect();
    let came = |focus: &Focus, to: &[String]| to.iter().map(|bridge| focus.ledger.on(bridge)).sum::<u64>();
    let before = (came(&focus, &frozen), came(&focus, &others));
    for bridge in &frozen {
        focus.ledger.does(Known::Flat, bridge);
        focus.jvb(bridge).freeze(true);
    }
    focus.until("those whose figures stand still are known", |focus| focus.ledger.knows_all()).await;
    focus.placing("they are used all the same", size.sample).await;
    let share = |now: u64, before: u64, count: usize| (now - before) as f64 / count as f64;
    let frozen_got = share(came(&focus, &frozen), before.0, frozen.len());
    let others_got = share(came(&focus, &others), before.1, others.len());

    let hung = focus.busiest(size.victims).await;
    for bridge in &hung {
        focus.ledger.does(Known::Silent, bridge);
        focus.jvb(bridge).hang(true);
    }
    focus.until("the silent are known", |focus| focus.ledger.knows_all()).await;
    focus.placing("nobody comes to them", size.sample).await;

    let before: Vec<u64> = dead.iter().map(|bridge| focus.ledger.on(bridge)).collect();
    for bridge in &dead {
        focus.start(&server, number(bridge));
    }
    for bridge in hot.iter().chain(&drained).chain(&frozen).chain(&hung) {
        let jvb = focus.jvb(bridge);
        jvb.change(|figures| figures.stress = None);
        jvb.drain(false);
        jvb.freeze(false);
        jvb.hang(false);
    }
    focus.well("all are well again", size.bridges).await;
    focus
        .until("the revived are used", |focus| {
            dead.iter().zip(&before).all(|(bridge, before)| focus.ledger.on(bridge) > *before)
        })
        .await;

    let victim = focus.busiest(1).await.remove(0);
    let resyncs = focus.resyncs;
    server.kill();
    focus.kill(&victim, false);
    focus.until("the server is lost", |focus| !focus.connected()).await;
    focus.placing("it goes on without the server", size.sample).await;
    assert_eq!(focus.ledger.present().count(), size.bridges, "a lost server is no lost bridge");
    server.resume();
    focus.until("it is back", |focus| focus.resyncs > resyncs).await;
    focus.until("the one that died is removed", |focus| focus.ledger.knows_all()).await;
    focus.well("the others are back", size.bridges - 1).await;
    focus.start(&server, number(&victim));
    focus.well("all are well again", size.bridges).await;

    for seconds in size.cuts {
        let victims = focus.busiest(size.victims).await;
        let (resyncs, cut) = (focus.resyncs, Instant::now());
        proxy.set(Way::Cut);
        focus.until("our own connection is cut", |focus| !focus.connected()).await;
        for bridge in &victims {
            focus.kill(bridge, false);
        }
        let away = Duration::from_secs(*seconds);
        focus.until(&format!("it is cut for {seconds} s"), |_| cut.elapsed() >= away).await;
        assert_eq!(focus.ledger.present().count(), size.bridges, "our loss is no lost bridge");
        proxy.set(Way::Open);
        focus.until("we are back", |focus| focus.resyncs > resyncs).await;
        focus.placing("nobody comes to those who died meanwhile", size.sample).await;
        focus.until("they are removed", |focus| focus.ledger.knows_all()).await;
        for bridge in &victims {
            focus.start(&server, number(bridge));
        }
        focus.well("all are well again", size.bridges).await;
    }

    let ledger = &focus.ledger;
    println!(
        "\n{} bridges that publish every {:?}, {} conferences, {} at a time; {} placements, {} of them moves, {} while \
         nothing was heard; {} found no bridge at first",
        size.bridges,
        size.publish,
        focus.conferences,
        focus.running(),
        ledger.placed,
        ledger.moved,
        ledger.blind,
        ledger.refused
    );
    print!("{}", ledger.delays());
    println!("a bridge with frozen figures got {frozen_got:.0} participants while others got {others_got:.0}");
    println!(
        "placed on a bridge known to be gone, missing, silent, draining or overloaded: {}",
        ledger.violations.len()
    );
    assert!(ledger.violations.is_empty(), "{:?}", &ledger.violations[..ledger.violations.len().min(10)]);
    assert!(focus.resyncs >= 2 + size.cuts.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_placed_on_a_bridge_known_to_be_gone() {
    let ms = Duration::from_millis;
    crowd(Size {
        bridges: 15,
        conferences: 100,
        victims: 1,
        publish: ms(200),
        silence: ms(2000),
        flat: ms(1000),
        grace: ms(1500),
        cuts: &[1],
        sample: 40,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it lasts five minutes: cargo xtask soak bridges"]
async fn fifty_bridges_and_two_thousand_conferences() {
    let seconds = Duration::from_secs;
    crowd(Size {
        bridges: 50,
        conferences: 2000,
        victims: 3,
        publish: seconds(5),
        silence: seconds(15),
        flat: seconds(20),
        grace: seconds(15),
        cuts: &[5, 60],
        sample: 600,
    })
    .await;
}
