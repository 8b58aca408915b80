//! How a shard is, by its parts: stand-ins that misbehave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_jitsi::testing::{Behaviour, Part, ShardStandIn};
use adapter_jitsi::{Shard, ShardOptions, ShardPart, ShardProbe, Shards, focus_rooms};
use balancer_core::{
    Backend, Event, Health, HealthProbe, HealthRules, MemoryStore, Monitor, MonitorOptions, ProbeError,
};

fn probe() -> ShardProbe {
    ShardProbe::default().with_timeout(Duration::from_secs(20))
}

/// For parts that hang.
fn hasty() -> ShardProbe {
    ShardProbe::default().with_timeout(Duration::from_millis(500))
}

fn shard(id: &str, stand_in: &ShardStandIn) -> Shard {
    Shard::try_new(id).unwrap().with_addresses(stand_in.addresses()).unwrap()
}

#[tokio::test]
async fn a_sound_shard_tells_its_figures() {
    let jitsi = ShardStandIn::start("eu-1").await.unwrap();
    jitsi.change(|focus| {
        focus.rooms = vec!["a@conference.x".to_owned(), "b@conference.x".to_owned()];
        (focus.participants, focus.stress, focus.failed) = (31, vec![0.2, 0.9, 0.4, 0.5], 1);
    });
    let (probe, target) = (probe(), shard("eu-1", &jitsi));
    let report = probe.probe(&target).await.unwrap();
    assert_eq!((report.rooms, report.users), (Some(2), Some(31)));
    let fact = |name: &str| report.facts.iter().find(|(known, _)| &**known == name).map(|(_, value)| *value);
    assert_eq!(
        (fact("overloaded_ratio"), fact("stress"), fact("operational_bridges")),
        (Some(0.25), Some(0.5), Some(4.0))
    );
    let seen = probe.seen(target.id()).unwrap();
    assert_eq!((seen.parts.len(), seen.bridges), (5, Some((4, 5))));
    assert!(seen.parts.iter().all(|part| part.result.is_ok()));
    // What is below /debug may be closed.
    jitsi.change(|focus| focus.debug = false);
    assert_eq!(probe.probe(&target).await.unwrap().facts.len(), 1);
    let focus = target.addresses().focus.clone().unwrap();
    let closed = focus_rooms(&focus, Duration::from_secs(30)).await.unwrap_err();
    assert!(closed.to_string().contains("status 404"), "{closed}");
    jitsi.change(|focus| focus.debug = true);
    assert_eq!(focus_rooms(&focus, Duration::from_secs(30)).await.unwrap().keys().len(), 2);
    // A large one's list is longer than any other answer.
    jitsi.change(|focus| {
        focus.rooms = (0..50_000).map(|n| format!("meeting-of-the-morning-{n}@conference.meet.example")).collect();
    });
    assert_eq!(focus_rooms(&focus, Duration::from_secs(30)).await.unwrap().keys().len(), 50_000);
    // The same counted by a brewery that is watched.
    let watched = probe.with_bridges(Box::new(|_| Some((0, 3))));
    let few = watched.probe(&target).await.unwrap_err();
    assert!(few.to_string().contains("bridges: wrong answer: 0 of 3 bridges are operational"), "{few}");
}

#[tokio::test]
async fn each_part_that_fails_is_named() {
    let jitsi = ShardStandIn::start("eu-1").await.unwrap();
    let (sound, hasty, target) = (probe(), hasty(), shard("eu-1", &jitsi));
    let end = Instant::now() + Duration::from_secs(60);
    let parts = [
        (Part::Web, ShardPart::Web),
        (Part::Bosh, ShardPart::Bosh),
        (Part::Xmpp, ShardPart::Xmpp),
        (Part::Focus, ShardPart::Focus),
    ];
    let mut met = 0;
    for (told, part) in parts {
        for behaviour in [Behaviour::Fails(503), Behaviour::Hangs, Behaviour::Gone, Behaviour::Garbage] {
            jitsi.behave(told, behaviour);
            let probe = if behaviour == Behaviour::Hangs { &hasty } else { &sound };
            loop {
                let error = probe.probe(&target).await.unwrap_err();
                assert!(error.to_string().contains(&format!("{part}: ")), "{part} {behaviour:?}: {error}");
                let seen = probe.seen(target.id()).unwrap();
                let failed = seen.parts.iter().filter(|it| it.result.is_err()).map(|it| it.part);
                let failed: Vec<ShardPart> = failed.collect();
                // While one hangs, others may be late on a busy machine.
                if behaviour == Behaviour::Hangs && failed != [part] && Instant::now() < end {
                    continue;
                }
                assert_eq!(failed, [part], "{behaviour:?}");
                assert!(error.answered(), "the others prove our network: {error}");
                break;
            }
            jitsi.behave(told, Behaviour::Well);
            while sound.probe(&target).await.is_err() {}
            met += 1;
        }
    }
    // Two at once are both named, and silence of all of them is silence.
    jitsi.behave(Part::Web, Behaviour::Fails(500));
    jitsi.change(|focus| focus.stress.clear());
    let error = sound.probe(&target).await.unwrap_err().to_string();
    assert!(error.contains("web: ") && error.contains("bridges: ") && error.contains("status 500"), "{error}");
    jitsi.behave_all(Behaviour::Hangs);
    let silent = hasty.probe(&target).await.unwrap_err();
    assert!(matches!(silent, ProbeError::Silent(_)), "{silent}");
    println!("shards: {met} failures of single parts, each named");
}

#[tokio::test]
async fn health_has_hysteresis_and_rooms_stay_through_a_blip() {
    let (one, two) = (ShardStandIn::start("a").await.unwrap(), ShardStandIn::start("b").await.unwrap());
    let mut options = ShardOptions::default();
    (options.trust_new, options.settle) = (false, Duration::ZERO);
    let store = Arc::new(MemoryStore::default());
    let shards = Shards::try_new([shard("a", &one), shard("b", &two)], store, options).unwrap();
    let room = Shards::room("standup").unwrap();
    assert!(shards.place(&room, None).await.is_err(), "nobody is known to be up");
    let probe: Arc<dyn HealthProbe<Shard>> = Arc::new(probe());
    let rules = HealthRules::new(2, 2, Duration::from_secs(60));
    let options = MonitorOptions::new(rules).timeout(Duration::from_secs(60));
    let monitor = Monitor::new(Arc::clone(shards.pool()), probe, options);
    monitor.poll_now().await;
    let home = shards.place(&room, None).await.unwrap().shard;
    let stand_in = if home.id().as_str() == "a" { &one } else { &two };
    let mut events = shards.pool().subscribe();
    let mut seen = Vec::new();
    for behaviour in [
        Behaviour::Fails(502),
        Behaviour::Well,
        Behaviour::Fails(502),
        Behaviour::Fails(502),
        Behaviour::Well,
        Behaviour::Well,
    ] {
        stand_in.behave(Part::Bosh, behaviour);
        monitor.poll_now().await;
        seen.push(shards.pool().verdict(home.id()).unwrap().health);
        assert_eq!(shards.place(&room, None).await.unwrap().shard.id(), home.id());
    }
    use Health::{Down, Suspect, Up};
    assert_eq!(seen, [Suspect, Up, Suspect, Down, Down, Up]);
    let mut whys = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::Health { to: Down, why, .. } = event {
            whys.push(why);
        }
    }
    assert!(whys.len() == 1 && whys[0].contains("bosh: ") && whys[0].contains("status 502"), "{whys:?}");
}
