//! What happens in a brewery, told in words.

use std::time::Instant;

use adapter_jitsi::{BreweryEvent, FocusSettings, LeaveReason, OccupantJid, XmppError};

use super::{Kind, Link, Pool};

const ROOM: &str = "JvbBrewery@internal.auth.meet.example";

fn presence(nick: &str, stats: &[(&str, &str)]) -> Vec<u8> {
    let stats: String = stats.iter().map(|(name, value)| format!("<stat name='{name}' value='{value}'/>")).collect();
    format!(
        "<presence from='{ROOM}/{nick}'><stats xmlns='http://jitsi.org/protocol/colibri'>{stats}</stats></presence>"
    )
    .into_bytes()
}

fn kinds(happened: &[super::Happening]) -> Vec<(Kind, String)> {
    happened.iter().map(|it| (it.kind, it.text.clone())).collect()
}

#[test]
fn states_are_told_when_they_change() {
    let mut pool = Pool::new(ROOM, FocusSettings::default()).unwrap();
    let told = pool.seen(&presence("jvb1", &[("stress_level", "0.1"), ("drain", "false"), ("conferences", "3")]));
    assert_eq!(kinds(&told), [(Kind::Joined, "is new: ready".to_owned())]);
    assert!(pool.seen(&presence("jvb1", &[("stress_level", "0.2"), ("conferences", "4")])).is_empty());
    let told = pool.seen(&presence("jvb1", &[("stress_level", "0.9"), ("conferences", "4")]));
    assert_eq!(kinds(&told)[0].1, "ready -> overloaded (stress 0.90, corrected 0.90)");
    let told = pool.seen(&presence("jvb1", &[("shutting_down", "true")]));
    assert!(told[0].evacuate && told[0].text.starts_with("overloaded -> shutting-down"));
    let ranking = pool.ranking();
    assert_eq!(ranking[0].1.conferences, None, "the last presence says nothing of conferences");
    assert_eq!(pool.resolve("jvb1").as_deref(), Some("jvbbrewery@internal.auth.meet.example/jvb1"));
    assert_eq!(pool.resolve(&format!("{ROOM}/jvb1")), pool.resolve("jvb1"));
    assert_eq!(pool.resolve("jvb2"), None);
    assert_eq!(kinds(&pool.seen(b"<presence"))[0].0, Kind::Unreadable);
}

#[test]
fn our_own_loss_is_no_loss_of_bridges() {
    let mut pool = Pool::new(ROOM, FocusSettings::default()).unwrap();
    pool.seen(&presence("jvb1", &[("drain", "false"), ("healthy", "false")]));
    let why = XmppError::Lost { why: "reset".to_owned() };
    let told = pool.take(&BreweryEvent::Disconnected { since: Instant::now(), why });
    assert_eq!(told[0].kind, Kind::Disconnected);
    assert!(pool.check().is_empty(), "nothing is checked without a connection");
    let occupant = OccupantJid::parse(&format!("{ROOM}/jvb1")).unwrap();
    let back = BreweryEvent::Resynced { away: None, present: vec![occupant.clone()], added: vec![], missing: vec![] };
    pool.take(&back);
    assert_eq!(pool.link, Link::Up);
    let told = pool.check();
    assert!(told[0].evacuate && told[0].text.starts_with("ready -> failed"), "{told:?}");
    let missing = vec![occupant.clone()];
    let told =
        pool.take(&BreweryEvent::Resynced { away: None, present: vec![], added: vec![], missing: missing.clone() });
    assert_eq!(told.len(), 1, "failed is graver than missing");
    let told = pool.take(&BreweryEvent::BridgeLeft { occupant, reason: LeaveReason::Left });
    assert_eq!((told[0].kind, told[0].evacuate), (Kind::Lost, true));
    assert!(pool.ranking().is_empty());
    pool.seen(&presence("jvb1", &[("drain", "false")]));
    let told = pool.take(&BreweryEvent::Resynced { away: None, present: vec![], added: vec![], missing });
    assert!(told[1].text.starts_with("ready -> missing") && !told[1].evacuate, "{told:?}");
    assert!(pool.seen(&presence("jvb1", &[]))[0].text.starts_with("missing -> ready"));
}
