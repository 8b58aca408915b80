//! Placements of conference rooms by their raw keys, in several layouts of servers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Tally;
use crate::balance::{BackendSpec, Predictor, Request, ServerSpec, Version};

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
