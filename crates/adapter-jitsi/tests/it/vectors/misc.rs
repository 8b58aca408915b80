//! `misc.json`: pins, moves, texts, groups, windows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use adapter_jitsi::{
    BridgeTable, ConferenceOn, FocusSettings, LoadMeasurement, Moving, Pins, RegionGroups, moves, read_bool,
    read_number,
};
use serde_json::Value;

use super::Tally;

pub(super) fn check(folder: &Path, name: &str) -> Tally {
    let file = super::json(folder, name);
    let mut tally = Tally::default();
    for (kind, cases) in file.as_object().unwrap() {
        if kind == "note" {
            continue;
        }
        let one = match kind.as_str() {
            "pins" => pins,
            "move_endpoints" => move_endpoints,
            "numbers" => numbers,
            "booleans" => booleans,
            "region_groups" => region_groups,
            "recent_window" => recent_window,
            "stress_report" => stress_report,
            _ => panic!("{name}: unknown kind {kind:?}"),
        };
        for case in cases.as_array().unwrap() {
            one(case, &mut tally);
        }
    }
    tally
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

fn whole(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

fn pins(case: &Value, tally: &mut Tally) {
    let id = text(case, "id");
    let (mut pins, mut now) = (Pins::new(), Duration::ZERO);
    for step in case["steps"].as_array().unwrap() {
        match text(step, "op") {
            "pin" => {
                let lasting = Duration::from_secs(60 * whole(step, "minutes"));
                pins.pin(text(step, "room"), text(step, "version"), lasting, now).unwrap();
            }
            "unpin" => {
                pins.unpin(text(step, "room"));
            }
            "elapse" => now += Duration::from_millis(whole(step, "ms")),
            "get" => {
                let got = pins.get(text(step, "room"), now).map(|version| &**version);
                tally.check(id, got, step["expect"].as_str());
            }
            "count" => tally.check(id, pins.count(now) as u64, whole(step, "expect")),
            other => panic!("{id}: unknown step {other:?}"),
        }
    }
}

fn move_endpoints(case: &Value, tally: &mut Tally) {
    let id = text(case, "id");
    let size =
        |pair: &Value| ConferenceOn::new(pair[0].as_str().unwrap(), u32::try_from(pair[1].as_u64().unwrap()).unwrap());
    let list: Vec<ConferenceOn> = case["endpoints_per_conference"].as_array().unwrap().iter().map(size).collect();
    let moving = match (case["move"].as_i64(), case["fraction"].as_f64()) {
        (Some(count), None) => Moving::Count(count),
        (None, Some(share)) => Moving::Fraction(share),
        _ => panic!("{id}: neither a number nor a fraction"),
    };
    let done = moves(&list, moving);
    let expect = &case["expect"];
    tally.check(id, done.iter().map(|m| u64::from(m.endpoints)).sum(), whole(expect, "moved"));
    tally.check(id, done.len() as u64, whole(expect, "conferences"));
    // A conference that loses nobody is not among the moves.
    let per = expect["per_conference"].as_object().unwrap();
    let want: BTreeMap<&str, u64> =
        per.iter().map(|(room, n)| (room.as_str(), n.as_u64().unwrap())).filter(|(_, n)| *n > 0).collect();
    tally.check(id, done.iter().map(|m| (&*m.room, u64::from(m.endpoints))).collect(), want);
}

fn numbers(case: &Value, tally: &mut Tally) {
    let want = match &case["value"] {
        Value::String(name) => Some(name.parse::<f64>().unwrap()),
        other => other.as_f64(),
    };
    let got = read_number(text(case, "text"));
    tally.check(case, got.map(|n| n.to_string()), want.map(|n| n.to_string()));
}

fn booleans(case: &Value, tally: &mut Tally) {
    tally.check(case, Some(read_bool(text(case, "text"))), case["value"].as_bool());
}

fn region_groups(case: &Value, tally: &mut Tally) {
    let groups = groups(&case["config"]);
    let group = groups.group(case["region"].as_str());
    let mut got: Vec<&str> = group.iter().collect();
    got.sort_unstable();
    let mut want: Vec<&str> = case["group"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
    want.sort_unstable();
    tally.that(want.iter().all(|region| group.contains(region)), || format!("{case}: not contained"));
    tally.check(case, got, want);
}

pub(super) fn groups(config: &Value) -> RegionGroups {
    let names = |group: &Value| -> Vec<String> {
        group.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    RegionGroups::new(config.as_array().unwrap().iter().map(names))
}

fn recent_window(case: &Value, tally: &mut Tally) {
    assert_eq!(whole(case, "bucket_ms"), 100, "{case}");
    let mut settings = FocusSettings::default();
    settings.rampup = Duration::from_millis(whole(case, "rampup_ms"));
    let mut table = BridgeTable::try_new(settings).unwrap();
    let at = |name| Duration::from_millis(whole(case, name));
    table.add(&"b".into(), Duration::ZERO).unwrap();
    table.placed("b", 1, at("added_at_ms"));
    let counted = table.view("b", at("now_ms")).unwrap().recent == 1;
    tally.check(case, Some(counted), case["counted"].as_bool());
}

fn stress_report(case: &Value, tally: &mut Tally) {
    let [threshold, recovery] = ["load_threshold", "recovery_threshold"].map(|name| case[name].as_f64().unwrap());
    let number = |name: &str| case[name].as_f64().unwrap_or_else(|| panic!("no {name} in {case}"));
    let (by, load) = match text(case, "measurement") {
        "cpu-usage" => (LoadMeasurement::Cpu { threshold, recovery }, number("cpu") + number("steal")),
        "packet-rate" => (LoadMeasurement::PacketRate { threshold, recovery }, number("load")),
        other => panic!("unknown measurement {other:?}"),
    };
    let (got, want) = (by.stress(load), number("stress"));
    tally.that((got - want).abs() < 1e-9, || format!("{case}: {got}"));
    tally.check(case, Some(by.overloaded(load, false)), case["overloaded"].as_bool());
}
