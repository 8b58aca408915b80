use balancer_core::{Backend, LoadModel, Report, Weight};
use tokio::time::Instant;

use super::*;

#[test]
fn ids_regions_and_addresses_are_checked() {
    for id in ["", ":up", "-a", "a b", "a/b", "ä", &"x".repeat(65)] {
        assert!(matches!(Shard::try_new(id), Err(ShardError::Id { .. })), "{id:?}");
    }
    let shard = Shard::try_new("eu-1.meet_a").unwrap();
    assert_eq!((shard.region(), shard.weight(), shard.bridges()), (None, Weight::new(100), 1));
    assert!(shard.clone().with_region("e\nu").is_err());
    assert_eq!(shard.clone().with_region("").unwrap().region(), None);
    let with = |web: &str| {
        let addresses = ShardAddresses { web: Some(web.to_owned()), ..ShardAddresses::default() };
        shard.clone().with_addresses(addresses).map_err(|e| e.to_string())
    };
    for web in ["10.0.0.1:80", "web.example:8080", "[::1]:80"] {
        assert!(with(web).is_ok(), "{web}");
    }
    for web in ["", "10.0.0.1", "http://web:80", "web:0", "web:x", ":80", "user@web:80", "web:80/", "web :80"] {
        assert!(with(web).unwrap_err().contains("web ="), "{web}");
    }
}

#[test]
fn room_jids_become_the_keys_of_requests() {
    let rooms = FocusRooms::of([
        "standup@conference.meet.example",
        "[Acme]Standup@conference.meet.example",
        "t%c3%a4st@conference.meet.example/nick",
        "0c1b@breakout.meet.example",
        "nobody",
        "@conference.meet.example",
    ]);
    let keys: Vec<&str> = rooms.keys().map(|key| key.as_str()).collect();
    assert_eq!(keys, ["acme/standup", "standup", "t%c3%a4st"]);
    for (jid, url) in [("[acme]standup@c.x", "/acme/Standup"), ("t%c3%a4st@c.x", "/http-bind?room=T%C3%84st")] {
        assert_eq!(FocusRooms::of([jid]).keys().next().unwrap(), &Shards::room(url).unwrap(), "{url}");
    }
    assert_eq!(FocusRooms::parse(br#"["a@c.x", 7, "b@c.x"]"#).unwrap().keys().len(), 2);
    assert!(FocusRooms::parse(br#"{"a":1}"#).unwrap_err().contains("no json list"));
}

#[test]
fn rooms_are_read_from_names_paths_and_urls() {
    for (text, key) in [
        ("Standup", "standup"),
        ("acme/Standup", "acme/standup"),
        ("/Standup", "standup"),
        ("https://meet.example/acme/Standup?jwt=x", "acme/standup"),
        ("T%C3%84st", "t%c3%a4st"),
    ] {
        assert_eq!(Shards::room(text).unwrap().as_str(), key, "{text}");
    }
    for text in ["", "/", "/http-bind", "/libs/app.js", "/colibri-ws/jvb1/a/b"] {
        assert!(matches!(Shards::room(text), Err(ShardError::NoRoom)), "{text}");
    }
    assert!(matches!(Shards::room(&"ä".repeat(400)), Err(ShardError::Store(_))));
}

#[test]
fn load_is_for_the_weight_and_overloaded_bridges_count() {
    let model = ShardLoad::default();
    let shard = |weight| Shard::try_new("a").unwrap().with_weight(Weight::new(weight));
    let report = Report::new(Instant::now()).with_users(40).with_rooms(8);
    assert_eq!(model.cost(&shard(100), &report), 40_000);
    assert_eq!(model.cost(&shard(200), &report), 20_000);
    assert_eq!(model.size(&shard(50)), 10_000);
    let by_rooms = ShardLoad { unit: ShardUnit::Rooms, ..model };
    assert_eq!((by_rooms.cost(&shard(100), &report), by_rooms.size(&shard(100))), (8_000, 1_000));
    let half = report.clone().with_fact("overloaded_ratio", 0.5);
    assert_eq!(model.cost(&shard(100), &half), 540_000);
    for odd in [f64::NAN, f64::INFINITY, -1.0] {
        assert!(model.cost(&shard(0), &report.clone().with_fact("overloaded_ratio", odd)) < u64::MAX);
    }
    assert!(!model.knows(&Report::new(Instant::now()).with_rooms(1)));
}
