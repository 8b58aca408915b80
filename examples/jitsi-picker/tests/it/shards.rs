//! `shards` against a running `serve --shards` and pretended Jitsis.

use std::time::{Duration, Instant};

use adapter_jitsi::testing::{Behaviour, Part, ShardStandIn};

use crate::served::{Folder, PATIENCE, Picker, stanza, until};
use crate::{command, run};

const HEAD: &str = "dead_after = 1\nregion_groups = [[\"eu\", \"uk\"]]\n[health]\ninterval = 0.1\ntimeout = 10\n\
                    rise = 2\nfall = 2\n";

/// The time to live of rooms, to be waited for: a busy machine may keep a focus from being asked for a while.
const TTL: &str = "ttl = 12\n";

/// Three shards, on a store of this kind, and a picker.
async fn world(store: &str, more: &str) -> (Folder, Vec<ShardStandIn>, Picker) {
    let folder = Folder::new();
    let store = store.replace("FOLDER", &folder.0.display().to_string());
    let mut text = format!("store = \"{store}\"\n{more}{HEAD}");
    let mut jitsis = Vec::new();
    for (id, region) in [("eu-1", "eu"), ("eu-2", "eu"), ("us-1", "us")] {
        let jitsi = ShardStandIn::start(id).await.unwrap();
        text.push_str(&stanza(id, region, &jitsi));
        jitsis.push(jitsi);
    }
    let config = folder.put("shards.toml", &text);
    let picker = Picker::start(&config, 0);
    (folder, jitsis, picker)
}

/// `POST` or `GET` to a picker, by a bare connection.
fn call(picker: &Picker, method: &str, target: &str) -> (u16, serde_json::Value) {
    send(picker, method, target, "localhost")
}

/// The same by this name, and whatever headers stand behind it.
fn send(picker: &Picker, method: &str, target: &str, host: &str) -> (u16, serde_json::Value) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(picker.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_else(|_| body.into()))
}

fn bind(picker: &Picker, room: &str, region: &str) -> String {
    let (status, answer) = call(picker, "POST", &format!("/shard?room={room}&region={region}"));
    assert_eq!(status, 200, "{answer}");
    answer["shard"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_placed_explained_planned_and_exported() {
    let (_folder, _jitsis, picker) = world("memory", "").await;
    let (status, looked) = call(&picker, "GET", "/shard?url=/acme/Standup&region=us");
    assert_eq!((status, &looked["shard"], &looked["bound"]), (200, &"us-1".into(), &false.into()), "{looked}");
    assert_eq!(bind(&picker, "acme/Standup", "us"), "us-1");
    let (_, again) = call(&picker, "POST", "/shard?url=https%3A%2F%2Fmeet.example%2Facme%2Fhttp-bind%3Froom%3DSTANDUP");
    assert_eq!(
        (&again["shard"], &again["outcome"], &again["room"]),
        (&"us-1".into(), &"sticky".into(), &"acme/standup".into())
    );
    assert_eq!(call(&picker, "POST", "/shard?url=/libs/app.js").0, 400);
    assert_eq!(call(&picker, "GET", "/shard").0, 400);
    assert_eq!(call(&picker, "GET", "/order?shard=us-1&to=drain").0, 405);
    assert_eq!(call(&picker, "POST", "/order?shard=us-1&to=gone").0, 400);
    assert_eq!(call(&picker, "GET", "/pick?conference=a").0, 404, "no brewery is watched");
    // A page that the operator's browser shows gives no orders, and reads nothing by a name it made up.
    let (status, answer) =
        send(&picker, "POST", "/order?shard=us-1&to=maint", "localhost\r\nOrigin: http://evil.example");
    assert_eq!((status, &answer["error"]), (403, &"browser".into()), "{answer}");
    let (status, answer) = send(&picker, "GET", "/pins", "evil.example:8990");
    assert_eq!((status, &answer["error"]), (421, &"host".into()), "{answer}");
    let homes: Vec<String> = (0..20).map(|n| bind(&picker, &format!("r{n}"), "uk")).collect();
    assert!(homes.iter().all(|home| home.starts_with("eu-")), "the group's");

    let ran = picker.shards(&["explain", "acme/Standup", "--region", "uk"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("room acme/standup: us-1 (sticky hit)") && ran.out.contains("near it: eu"), "{}", ran.out);
    let ran = picker.shards(&["plan", "drain", "us-1", "add", "uk-1", "--region", "uk"]);
    assert!(ran.out.contains("21 rooms: 21 stay, 0 move") && ran.out.ends_with("Nothing was changed.\n"), "{ran:?}");
    let plan = picker.json(&["plan", "remove", "us-1"]);
    assert_eq!((&plan["totals"]["moved"], &plan["rooms"].as_array().unwrap().len()), (&1.into(), &21));
    let ran = picker.shards(&["plan", "drain", "mars"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let ran = picker.shards(&["plan", "drian", "eu-1"]);
    assert!(ran.code == 2 && ran.err.contains("did you mean"), "{ran:?}");

    let ran = picker.shards(&["export"]);
    assert_eq!((ran.out.lines().count(), ran.code), (22, 0));
    assert!(ran.out.contains("\n%2Facme%2Fstandup us-1\n"), "{}", ran.out);
    assert_eq!(picker.json(&["export"])["pins"].as_array().unwrap().len(), 21);

    let list = picker.shards(&["list"]);
    // How they divide depends on when each shard was looked at last.
    let on = homes.iter().filter(|home| *home == "eu-1").count();
    let head = "SHARD   REGION   STATE   HEALTH   WEIGHT   ROOMS";
    let want = format!("{head}\neu-1    eu       ready   up          100   {on:>5}\n");
    assert!(list.out.starts_with(&want), "{}", list.out);
    let (status, metrics) = call(&picker, "GET", "/metrics");
    let metrics = metrics.as_str().unwrap();
    assert_eq!(status, 200);
    for line in [
        "balancer_shard_rooms{backend=\"us-1\"} 1",
        "balancer_shard_part_up{backend=\"eu-1\",part=\"focus\"} 1",
        "balancer_shard_decisions_total{outcome=\"sticky\"} 1",
        "balancer_shard_state{backend=\"eu-2\",state=\"ready\",health=\"up\"} 1",
        "balancer_store_up 1",
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{line} in {metrics}");
    }
    assert!(!metrics.contains("standup"), "no room in a label");
    assert_eq!(call(&picker, "GET", "/readyz").0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_drain_die_and_return() {
    let (folder, jitsis, picker) = world("file:FOLDER/rooms", TTL).await;
    for name in ["algebra", "biology"] {
        assert_eq!(bind(&picker, name, "us"), "us-1");
    }
    // A drain names what is left; the focus keeps a room that nobody asks for, until it ends.
    let lists = |names: &[&str]| {
        let rooms = names.iter().map(|name| format!("{name}@conference.x")).collect();
        jitsis[2].change(|focus| focus.rooms = rooms);
    };
    lists(&["algebra", "biology"]);
    let ran = picker.shards(&["drain", "us-1", "--dry-run"]);
    assert!(ran.out.contains("2 rooms would go on") && ran.out.contains("\n  algebra\n  biology\n"), "{ran:?}");
    let ran = picker.shards(&["drain", "us-1", "--wait", "--deadline", "1"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("still has 2 rooms after 1 s") && ran.err.contains("algebra, biology"), "{ran:?}");
    assert!(bind(&picker, "chemistry", "us").starts_with("eu-"));
    assert_eq!(bind(&picker, "algebra", "eu"), "us-1", "it goes on");
    let ran = picker.shards(&["maint", "us-1"]);
    assert!(ran.code == 3 && ran.err.contains("--force"), "{ran:?}");
    lists(&["algebra"]);
    let began = Instant::now();
    until("the room that ended is forgotten", || picker.shard("us-1")["rooms"] == 1).await;
    while began.elapsed() < Duration::from_secs(14) {
        assert_eq!(picker.shard("us-1")["rooms"], 1, "the focus still lists it");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // Orders survive a restart of the picker.
    let config = folder.0.join("shards.toml").display().to_string();
    let killed = picker.process;
    killed.signal("-KILL");
    drop(killed);
    let picker = Picker::start(&config, 0);
    assert_eq!((&picker.shard("us-1")["state"], &picker.shard("us-1")["rooms"]), (&"drain".into(), &1.into()));
    lists(&[]);
    let ran = picker.shards(&["drain", "us-1", "--wait", "--deadline", "60"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "OK\nus-1 has no rooms\n"), "{ran:?}");
    let ran = picker.shards(&["uncordon", "us-1"]);
    assert_eq!(ran.out, "OK\nus-1 takes new rooms\n");
    assert_eq!(bind(&picker, "dance", "us"), "us-1");

    // A part fails: named, with its words; then the shard is dead and its room moves.
    jitsis[2].behave(Part::Bosh, Behaviour::Fails(503));
    until("it is dead", || picker.shard("us-1")["health"] == "dead").await;
    let ran = picker.shards(&["status"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("us-1 is dead: bosh: wrong answer: ") && ran.out.contains("status 503"), "{}", ran.out);
    until("its room has moved", || picker.shard("us-1")["rooms"] == 0).await;
    let moved = bind(&picker, "dance", "us");
    assert!(moved.starts_with("eu-"));
    jitsis[2].behave(Part::Bosh, Behaviour::Well);
    until("it is up again", || picker.shard("us-1")["health"] == "up").await;
    assert_eq!((bind(&picker, "dance", "us"), bind(&picker, "english", "us")), (moved, "us-1".to_owned()));
    lists(&["english"]);
    assert_eq!(picker.shards(&["status"]).code, 0);

    // Taken out of the file: read anew, and what it had is let go of.
    let text = std::fs::read_to_string(folder.0.join("shards.toml")).unwrap();
    let shorter = text.rsplit_once("[[shard]]").unwrap().0;
    folder.put("shards.toml", shorter);
    picker.process.signal("-HUP");
    until("it is gone", || !picker.shards(&["list"]).out.contains("us-1")).await;
    assert_eq!(call(&picker, "POST", "/shard?room=english").0, 503);
    let ran = picker.shards(&["forget", "eu-1"]);
    assert!(ran.code == 1 && ran.err.contains("is among the shards"), "{ran:?}");
    let ran = picker.shards(&["forget", "us-1"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "OK\n1 room let go of\n"), "{ran:?}");
    assert!(bind(&picker, "english", "us").starts_with("eu-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_room_is_named_until_its_second_shard_is_out_of_service() {
    let (_folder, jitsis, picker) = world("memory", TTL).await;
    assert_eq!(bind(&picker, "algebra", "us"), "us-1");
    for jitsi in [&jitsis[2], &jitsis[0]] {
        jitsi.change(|focus| focus.rooms = vec!["algebra@conference.x".to_owned()]);
    }
    let words = "room algebra is on eu-1 too: people are apart";
    until("it is seen", || picker.shards(&["status"]).out.contains(words)).await;
    let ran = picker.shards(&["status"]);
    assert!(ran.code == 1 && ran.out.contains(words), "{ran:?}");
    let ran = picker.shards(&["maint", "eu-1"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    until("nobody is parted by it any more", || picker.shards(&["status"]).code == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_shards_share_two_hundred_rooms() {
    let folder = Folder::new();
    let config = folder.put("shards.toml", "[[shard]]\nid = \"a\"\n[[shard]]\nid = \"b\"\n");
    let picker = Picker::start(&config, 0);
    let rooms: Vec<String> = (0..200).map(|n| format!("Room-{n}")).collect();
    let homes: Vec<String> = rooms.iter().map(|room| bind(&picker, room, "")).collect();
    for (room, home) in rooms.iter().zip(&homes) {
        assert_eq!(bind(&picker, &room.to_lowercase(), "eu"), *home, "{room}");
    }
    let on_a = homes.iter().filter(|home| *home == "a").count();
    assert_eq!(on_a, 100);
    println!("shards: 200 rooms, 400 answers, {on_a} rooms on one of two shards: 0 rooms on both");
}

#[test]
fn what_is_wrong_with_a_file_or_a_picker_is_said() {
    let folder = Folder::new();
    let example = run(&["shards", "example"], &[]);
    let config = folder.put("shards.toml", &example.out);
    let ran = run(&["serve", "--shards", &config], &[]);
    assert!(ran.code == 1 && ran.err.contains("REDIS_PASSWORD is not set"), "{ran:?}");
    let config = folder.put("shards.toml", "stoer = \"memory\"\n");
    let ran = run(&["serve", "--shards", &config], &[]);
    assert!(
        ran.code == 1 && ran.err.contains("shards.toml:1: ") && ran.err.contains("did you mean \"store\"?"),
        "{ran:?}"
    );
    let ran = run(&["serve", "--shards", "/nonexistent"], &[]);
    assert!(ran.code == 1 && ran.err.contains("shards example"), "{ran:?}");
    let ran = run(&["shards", "list"], &[("JITSI_PICKER_URL", "http://127.0.0.1:1")]);
    assert!(ran.code == 1 && ran.err.contains("cannot be reached") && ran.err.contains("serve --shards"), "{ran:?}");
    let ran = run(&["shards", "list", "--url", "https://x"], &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let mut help = command(&["shards", "drain", "--help"], &[]);
    assert!(help.output().unwrap().status.success());
}
