//! Placements of conference rooms by their raw keys, in several layouts of servers; the keys of recorded requests.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Tally;
use crate::balance::{BackendSpec, Expression, Predictor, Request, ServerSpec, Version};

pub(super) fn play(file: &Value) -> Tally {
    let about = file["about"].as_str().unwrap();
    let version: Version = about.split(' ').find_map(|word| word.parse().ok()).expect("the text names the version");
    let mut tally = Tally::default();
    let layouts: BTreeMap<&String, &Value> = file["layouts"].as_object().unwrap().iter().collect();
    assert!(!layouts.is_empty());
    for (layout, v) in layouts {
        let mut spec = BackendSpec::new(version);
        spec.line("balance url_param roomId").unwrap();
        spec.line("hash-type consistent").unwrap();
        for s in v["servers"].as_array().unwrap() {
            let id = u32::try_from(s["id"].as_u64().unwrap()).unwrap();
            let weight = u16::try_from(s["weight"].as_u64().unwrap()).unwrap();
            spec.server(ServerSpec::new(s["name"].as_str().unwrap()).id(id).weight(weight));
        }
        let mut haproxy = Predictor::new(spec).unwrap();
        for (room, want) in v["choice"].as_object().unwrap() {
            let got = haproxy.route(&Request::get(format!("/?roomId={room}")));
            tally.check(&format!("{layout}: {room}"), &got.server(), &want.as_str());
        }
    }
    tally
}

/// The keys that the sample configuration takes from requests, on the HAProxy they were recorded with.
pub(super) fn keys(file: &Value) -> Tally {
    let version = Version::release(2, 6, 12);
    let raw = Expression::parse("url_param(roomId)").unwrap();
    let state = Expression::parse(r#"url_param(state),url_dec,b64dec,field(8,'\"')"#).unwrap();
    // The sample's rules: any roomId parameter, or a path below the callback.
    let path = Expression::parse("path").unwrap();
    let mut tally = Tally::default();
    for v in file["vectors"].as_array().unwrap() {
        let request = Request::get(v["target"].as_str().unwrap()).method(v["method"].as_str().unwrap());
        let refused = request.is_refused(version);
        let key = |expression: &Expression| {
            let sample = expression.value(&request, version).filter(|_| !refused);
            sample.map(crate::balance::Sample::into_binary)
        };
        let id = &v["id"];
        if let Some(status) = v.get("status") {
            tally.check(&format!("{id}: refused"), &refused, &(*status == 400));
        }
        if let Some(want) = v.get("haproxy_raw_key") {
            tally.check(&format!("{id}: raw key"), &key(&raw), &want.as_str().map(|text| text.as_bytes().to_vec()));
        }
        if let Some(want) = v.get("haproxy_matches") {
            // Whether what it takes is the room that a balancer should go by; an empty one is none.
            let room = v["room"].as_str().map(|room| room.as_bytes().to_vec());
            let taken = key(&state).filter(|key| !key.is_empty());
            tally.check(&format!("{id}: matches"), &(taken == room), &want.as_bool().unwrap());
        }
        if let Some(want) = v.get("sample_backend") {
            let is_callback = key(&path).is_some_and(|path| path.starts_with(b"/auth/callback"));
            let goes_to_rooms = key(&raw).is_some() || is_callback;
            let to = if goes_to_rooms { "letsmeet-room-backend" } else { "letsmeet-backend" };
            tally.check(&format!("{id}: backend"), &Some(to).filter(|_| !refused), &want.as_str());
        }
        if let Some(want) = v.get("haproxy_key_hex") {
            let hex = key(&state).map(|key| key.iter().map(|c| format!("{c:02x}")).collect::<String>());
            tally.check(&format!("{id}: key of the state"), &hex.as_deref(), &want.as_str());
            let text = key(&state).and_then(|key| String::from_utf8(key).ok());
            tally.check(&format!("{id}: its text"), &text.as_deref(), &v["haproxy_key"].as_str());
        }
    }
    assert!(tally.checked > 0, "nothing in it");
    tally
}
