//! `rooms.json`.

use std::path::Path;

use adapter_jitsi::{RoomRequestKind, client_room, room_key, room_of};

use super::Tally;

pub(super) fn check(folder: &Path, name: &str) -> Tally {
    let file = super::json(folder, name);
    let mut tally = Tally::default();
    for case in file["normalise"].as_array().unwrap() {
        let raw = case["raw"].as_str().unwrap();
        tally.check(format_args!("client of {raw}"), Some(&*client_room(raw)), case["client"].as_str());
        tally.check(format_args!("key of {raw}"), Some(&*room_key(raw)), case["key"].as_str());
    }
    for case in file["urls"].as_array().unwrap() {
        let url = case["url"].as_str().unwrap();
        let got = room_of(url);
        let kind = match got.kind {
            RoomRequestKind::Page => "page",
            RoomRequestKind::Signal if got.room.is_none() => "signal-no-room",
            RoomRequestKind::Signal => "signal",
            RoomRequestKind::Static => "static",
            RoomRequestKind::Service => "service",
            RoomRequestKind::BridgeChannel => "bridge-channel",
            _ => "another",
        };
        tally.check(format_args!("kind of {url}"), Some(kind), case["kind"].as_str());
        tally.check(format_args!("tenant of {url}"), got.tenant.as_deref(), case["tenant"].as_str());
        tally.check(format_args!("room of {url}"), got.room.as_deref(), case["room"].as_str());
        tally.check(format_args!("key of {url}"), got.key().as_deref(), case["key"].as_str());
    }
    tally
}
