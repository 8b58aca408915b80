//! `presence.json` and the stanzas it names.

use std::path::Path;
use std::time::Duration;

use adapter_jitsi::{BridgeTable, FocusSettings, Occupant, Presence, PresenceError, Seen, read_presence};
use serde_json::{Value, json};

use super::Tally;

pub(super) fn check(folder: &Path, name: &str) -> Tally {
    let file = super::json(folder, name);
    let room = file["room"].as_str().unwrap();
    let mut tally = Tally::default();
    for case in file["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let path = folder.join(case["file"].as_str().unwrap());
        if !path.exists() {
            println!("NOT THERE: {}", path.display());
            tally.that(true, String::new);
            continue;
        }
        let stanza = std::fs::read(&path).unwrap();
        one(id, &stanza, room, &case["expect"], &mut tally);
    }
    tally
}

/// A stanza by itself: it can be read, or it says where it is broken. One that `presence.json` does not name fails.
pub(super) fn check_stanza(folder: &Path, name: &str) -> Tally {
    let mut tally = Tally::default();
    let stanza = std::fs::read(folder.join(name)).unwrap();
    let room = "jvbbrewery@internal.auth.meet.example";
    let read = read_presence(&stanza, room);
    tally.that(!matches!(read, Err(PresenceError::NotPresence)), || format!("{name}: {read:?}"));
    if folder.join("presence.json").exists() {
        let list = super::json(folder, "presence.json");
        let named = list["cases"].as_array().unwrap().iter().any(|case| case["file"] == name);
        tally.that(named, || format!("{name}: not named by presence.json"));
    }
    tally
}

fn occupant(expect: &Value) -> Occupant {
    let text = |name: &str| expect[name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned();
    Occupant { room: text("room"), nick: text("nick") }
}

fn one(id: &str, stanza: &[u8], room: &str, expect: &Value, tally: &mut Tally) {
    let kind = expect["kind"].as_str().unwrap();
    let read = read_presence(stanza, room);
    let read = match (kind, read) {
        ("not-well-formed", read) => {
            let broken = matches!(read, Err(PresenceError::Malformed { .. }));
            return tally.that(broken, || format!("{id}: {read:?}"));
        }
        (_, Err(error)) => return tally.that(false, || format!("{id}: {error}")),
        (_, Ok(read)) => read,
    };
    match (kind, &read) {
        ("update", Presence::Update { from, report }) => {
            tally.check(id, from, &occupant(expect));
            tally.check(id, report.len(), usize::try_from(expect["stat_count"].as_u64().unwrap()).unwrap());
            let mut table = BridgeTable::try_new(FocusSettings::default()).unwrap();
            let seen = table.apply(&read, Duration::ZERO).unwrap();
            tally.that(matches!(seen, Seen::Updated(update) if update.added), || format!("{id}: {seen:?}"));
            let view = table.view(&from.to_string(), Duration::ZERO).unwrap();
            super::selection::state(id, &view, &expect["bridge"], tally);
        }
        ("leave", Presence::Leave { from }) => tally.check(id, from, &occupant(expect)),
        ("ignore", Presence::Ignore { from, .. }) => tally.check(id, from.as_ref(), Some(&occupant(expect))),
        ("error", Presence::Error { condition }) => tally.check(id, &json!(condition), &expect["condition"]),
        ("update" | "leave" | "ignore" | "error", _) => tally.that(false, || format!("{id}: {read:?}")),
        _ => panic!("{id}: unknown kind {kind:?}"),
    }
}
