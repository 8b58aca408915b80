//! `log-lines.json`.

use std::path::Path;

use adapter_jitsi::{LogLevel, read_log_line};
use serde_json::{Value, json};

use super::Tally;

pub(super) fn check(folder: &Path, name: &str) -> Tally {
    let file = super::json(folder, name);
    let mut tally = Tally::default();
    for case in file["cases"].as_array().unwrap() {
        let text = case["line"].as_str().unwrap();
        let line = read_log_line(text);
        let level = line.as_ref().and_then(|line| line.level).map(LogLevel::as_str);
        tally.check(format_args!("level of {text}"), level, case["level"].as_str());
        let event = line.as_ref().and_then(|line| line.event.as_ref());
        tally.check(format_args!("event of {text}"), event.map(|e| e.kind.as_str()), case["event"].as_str());
        for (field, want) in case["fields"].as_object().unwrap() {
            let bridge = event.and_then(|event| event.bridge.as_ref());
            let got: Value = match (event, field.as_str()) {
                (None, _) => Value::Null,
                (Some(_), "bridge") => json!(bridge.map(|b| b.nick)),
                (Some(_), "version") => json!(bridge.and_then(|b| b.version)),
                (Some(_), "relay_id") => json!(bridge.and_then(|b| b.relay_id)),
                (Some(_), "region") => json!(bridge.and_then(|b| b.region)),
                (Some(_), "stress") => json!(bridge.and_then(|b| b.stress)),
                (Some(e), "reported_stress") => json!(e.reported_stress),
                (Some(e), "participant_region") => json!(e.participant_region),
                (Some(e), "visitor") => json!(e.visitor),
                (Some(e), "reason") => json!(e.reason),
                (Some(e), "endpoint") => json!(e.endpoint),
                (Some(e), "endpoints") => json!(e.endpoints),
                (Some(e), "conferences") => json!(e.conferences),
                (Some(_), "room") => json!(line.as_ref().and_then(|line| line.room)),
                (_, other) => panic!("{text}: unknown field {other:?}"),
            };
            tally.check(format_args!("{field} of {text}"), &got, want);
        }
    }
    tally
}
