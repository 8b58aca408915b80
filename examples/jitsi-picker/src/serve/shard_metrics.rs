//! The figures of shards for `/metrics`.

use std::fmt::Write as _;

use balancer_core::Backend;
use tokio::time::Instant;

use super::shards::ShardDesk;

/// All figures as of now.
pub(super) async fn render(desk: &ShardDesk) -> String {
    let mut out = String::new();
    let view = desk.shards.pool().view(Instant::now());
    // Writing to a string cannot fail.
    let mut family = |name: &str, kind: &str, help: &str, lines: &[(String, f64)]| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let of = |labels: &str| format!("{{{labels}}}");
    // Ids have no character that would have to be escaped.
    let named = |id: &balancer_core::BackendId| format!("{{backend=\"{id}\"}}");
    let states: Vec<_> = view
        .iter()
        .map(|it| (format!("{{backend=\"{}\",state=\"{}\",health=\"{}\"}}", it.backend.id(), it.admin, it.health), 1.0))
        .collect();
    family("balancer_shard_state", "gauge", "What was ordered and what was measured, by shard.", &states);
    let open: Vec<_> = view.iter().map(|it| (named(it.backend.id()), f64::from(u8::from(it.open)))).collect();
    family("balancer_shard_open", "gauge", "Whether a shard takes new rooms.", &open);
    let load: Vec<_> = view.iter().map(|it| (named(it.backend.id()), it.expected as f64 / 1000.0)).collect();
    family("balancer_shard_load", "gauge", "Expected load, in participants or rooms at weight 100.", &load);
    let mut rooms = Vec::new();
    for it in &view {
        if let Some(count) = desk.count(it.backend.id()).await {
            rooms.push((named(it.backend.id()), count as f64));
        }
    }
    family("balancer_shard_rooms", "gauge", "Rooms that are bound to a shard.", &rooms);
    let parts: Vec<_> = view
        .iter()
        .filter_map(|it| Some((it.backend.id(), desk.probe.seen(it.backend.id())?)))
        .flat_map(|(id, seen)| {
            let up = |result: bool| f64::from(u8::from(result));
            seen.parts
                .into_iter()
                .map(move |part| (format!("{{backend=\"{id}\",part=\"{}\"}}", part.part), up(part.result.is_ok())))
        })
        .collect();
    family("balancer_shard_part_up", "gauge", "Whether a part passed its last probe.", &parts);
    let counts = desk.counts();
    let decisions: Vec<_> =
        counts.decisions.iter().map(|(outcome, n)| (of(&format!("outcome=\"{outcome}\"")), *n as f64)).collect();
    family("balancer_shard_decisions_total", "counter", "Rooms asked for, by what came of it.", &decisions);
    let plain = |value: f64| [(String::new(), value)];
    family("balancer_shard_rooms_moved_total", "counter", "Rooms moved off shards.", &plain(counts.moved as f64));
    let help = "Rooms bound anew since their focus has them.";
    family("balancer_shard_rooms_restored_total", "counter", help, &plain(counts.restored as f64));
    let split: usize = counts.split.values().map(Vec::len).sum();
    family("balancer_split_rooms", "gauge", "Rooms that two shards have.", &plain(split as f64));
    family(
        "balancer_store_up",
        "gauge",
        "Whether the stick table answers.",
        &plain(f64::from(u8::from(counts.lost.is_none()))),
    );
    out
}
