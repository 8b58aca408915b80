//! From a real Prosody into the table of bridges, and back out as a choice.

use std::time::Instant;

use adapter_jitsi::{BreweryEvent, BridgeTable, FocusSettings, Presence, Seen, read_presence};

use super::prosody::{Observer, Prosody, ROOM, Setup, soon};

#[tokio::test]
async fn live_presences_fill_the_table_of_bridges() {
    let Some(server) = Prosody::start(&Setup { tls: true, ..Setup::default() }) else { return };
    let bridges = [server.bridge("jvb1"), server.bridge("jvb2"), server.bridge("JVB/3")];
    for (bridge, people) in bridges.iter().zip([70, 10, 95]) {
        bridge.add_conference(people);
        soon(bridge.joined()).await.unwrap();
    }
    bridges[1].drain(true);
    let mut table = BridgeTable::try_new(FocusSettings::default()).unwrap();
    let mut observer = Observer::start(server.options("balancer", "observer"));
    let began = Instant::now();
    observer
        .until("all figures", |event| {
            if let BreweryEvent::BridgeSeen { occupant, stanza, .. } = event {
                let presence = read_presence(&stanza, ROOM).unwrap();
                let Presence::Update { from, .. } = &presence else { panic!("{presence:?}") };
                assert_eq!(from.to_string(), occupant.as_str(), "both name it alike");
                assert!(matches!(table.apply(&presence, began.elapsed()), Ok(Seen::Updated(_))));
            }
            let views = ["jvb1", "jvb2", "JVB/3"]
                .map(|nick| table.view(&format!("{}/{nick}", ROOM.to_lowercase()), began.elapsed()));
            let [Some(one), Some(two), Some(three)] = views else { return None };
            let loaded = one.stress == 0.7 && two.stress == 0.1 && three.stress == 0.95 && three.overloaded;
            (loaded && !one.drain && two.drain).then_some(())
        })
        .await;
    assert_eq!(table.counts(began.elapsed()).known, 3);
    let [_, two, _] = bridges;
    two.die();
    let gone = observer
        .until("the leave", |event| match event {
            BreweryEvent::BridgeLeft { occupant, .. } => Some(occupant),
            _ => None,
        })
        .await;
    assert!(table.remove(gone.as_str(), began.elapsed()).is_some());
    assert_eq!(table.counts(began.elapsed()).known, 2);
    observer.stop().await;
}
