//! `selection-*.json`: scenarios of one focus, step by step, by the table alone and through a pool.

use std::path::Path;
use std::time::Duration;

use adapter_jitsi::{
    BridgeClock, BridgePool, BridgeReport, BridgeStrategy, BridgeTable, BridgeView, ColibriAnswer, Conference,
    ConferenceBridge, FocusSettings, Gate, HealthOutcome, NoBridge, PlainStrategy, SelectionStrategy, SharedBridges,
};
use balancer_core::{Ask, BackendId, PoolOptions, StickKey};
use serde_json::Value;
use tokio::time::Instant;

use super::Tally;

pub(super) fn check(folder: &Path, name: &str) -> Tally {
    let file = super::json(folder, name);
    let mut tally = Tally::default();
    // Time stands still unless a step passes it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        for scenario in file["scenarios"].as_array().unwrap() {
            let mut play = Play::new(scenario);
            for (n, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
                play.step(n, step, &mut tally).await;
            }
        }
    });
    tally
}

fn plain(config: &Value, name: &str) -> PlainStrategy {
    config[name].as_str().unwrap_or("Single").parse().unwrap()
}

fn millis(config: &Value, name: &str, set: &mut Duration) {
    if let Some(ms) = config[name].as_u64() {
        *set = Duration::from_millis(ms);
    }
}

fn cap(config: &Value, name: &str, set: &mut Option<u32>) {
    if let Some(cap) = config[name].as_i64() {
        *set = u32::try_from(cap).ok();
    }
}

fn settings(config: &Value) -> FocusSettings {
    const KEYS: [&str; 15] = [
        "strategy",
        "participant_strategy",
        "visitor_strategy",
        "octo_enabled",
        "allow_mixed_versions",
        "local_region",
        "region_groups",
        "max_bridge_participants",
        "max_bridge_participants_per_interval",
        "average_participant_stress",
        "stress_threshold",
        "failure_reset_threshold_ms",
        "participant_rampup_interval_ms",
        "ice_failure_detection",
        "note",
    ];
    for key in config.as_object().unwrap().keys() {
        assert!(KEYS.contains(&key.as_str()), "unknown setting {key:?}");
    }
    let mut s = FocusSettings::default();
    s.strategy = match config["strategy"].as_str() {
        Some("Visitor") => SelectionStrategy::Visitor {
            participants: plain(config, "participant_strategy"),
            visitors: plain(config, "visitor_strategy"),
        },
        _ => plain(config, "strategy").into(),
    };
    s.octo = config["octo_enabled"].as_bool().unwrap_or(false);
    s.mixed_versions = config["allow_mixed_versions"].as_bool().unwrap_or(false);
    s.local_region = config["local_region"].as_str().map(Into::into);
    if config["region_groups"].is_array() {
        s.region_groups = super::misc::groups(&config["region_groups"]);
    }
    cap(config, "max_bridge_participants", &mut s.max_participants);
    cap(config, "max_bridge_participants_per_interval", &mut s.max_per_interval);
    s.average_participant_stress = config["average_participant_stress"].as_f64().unwrap_or(0.01);
    s.stress_threshold = config["stress_threshold"].as_f64().unwrap_or(0.8);
    millis(config, "failure_reset_threshold_ms", &mut s.failure_reset);
    millis(config, "participant_rampup_interval_ms", &mut s.rampup);
    let ice = &config["ice_failure_detection"];
    if ice.is_object() {
        s.ice_failures.enabled = ice["enabled"].as_bool().unwrap_or(false);
        s.ice_failures.threshold = ice["threshold"].as_f64().unwrap_or(0.1);
        s.ice_failures.min_endpoints = ice["min_endpoints"].as_u64().map_or(30, |n| u32::try_from(n).unwrap());
        millis(ice, "interval_ms", &mut s.ice_failures.interval);
        millis(ice, "timeout_ms", &mut s.ice_failures.timeout);
    }
    s
}

struct Play {
    id: String,
    start: Instant,
    table: SharedBridges,
    pool: BridgePool,
}

impl Play {
    fn new(scenario: &Value) -> Self {
        let start = Instant::now();
        let table = SharedBridges::new(BridgeTable::try_new(settings(&scenario["config"])).unwrap());
        let strategy = BridgeStrategy::new(table.clone(), BridgeClock::new(start, Duration::ZERO));
        let pool = BridgePool::with_query(Box::new(strategy), PoolOptions::default());
        Self { id: scenario["id"].as_str().unwrap().to_owned(), start, table, pool }
    }

    fn now(&self) -> Duration {
        Instant::now() - self.start
    }

    fn follow(&self) {
        self.table.follow(&self.pool).unwrap();
    }

    async fn step(&mut self, n: usize, step: &Value, tally: &mut Tally) {
        let what = format!("{} step {n}", self.id);
        let now = self.now();
        match step["op"].as_str().unwrap() {
            "presence" | "remove" => {
                self.table.with(|table| act(table, &what, step, now));
                self.follow();
            }
            "elapse" => tokio::time::advance(Duration::from_millis(step["ms"].as_u64().unwrap())).await,
            "health" | "endpoint_added" | "endpoints_removed" | "restart_request" => {
                self.table.with(|table| act(table, &what, step, now));
            }
            "select" => {
                let conference = conference(step);
                let (direct, gate) =
                    self.table.with(|table| (table.select(&conference, now), table.gate(&conference, now)));
                let got = direct.as_ref().ok().map(|choice| choice.bridge.to_string());
                decide(&what, got.as_deref(), step, tally);
                let pooled = self.by_pool(gate, &conference);
                tally.check(format!("{what} by the pool"), pooled, got);
            }
            _ => self.table.with(|table| look(table, &what, step, now, tally)),
        }
    }

    fn by_pool(&self, gate: Result<Gate, NoBridge>, conference: &Conference) -> Option<String> {
        match gate {
            Err(_) => None,
            Ok(Gate::Keep(id)) => Some(id.to_string()),
            Ok(Gate::Open) => {
                let key = StickKey::new("room").unwrap();
                let ask = Ask::with_query(&key, conference);
                self.pool.choose(&ask, 0, |bridge| balancer_core::Backend::id(&**bridge).to_string())
            }
            Ok(other) => panic!("{other:?}"),
        }
    }
}

/// Something happens.
fn act(table: &mut BridgeTable, what: &str, step: &Value, now: Duration) {
    let bridge = step["bridge"].as_str().unwrap();
    let count = step["count"].as_u64().map_or(1, |n| u32::try_from(n).unwrap());
    match step["op"].as_str().unwrap() {
        "presence" => {
            let id = BackendId::from(bridge);
            table.add(&id, now).unwrap();
            if let Some(stats) = step["stats"].as_object() {
                let report = BridgeReport::from_stats(stats.iter().map(|(k, v)| (k, v.as_str().unwrap())));
                table.update(&id, &report, now).unwrap();
            }
        }
        "remove" => drop(table.remove(bridge, now)),
        "health" => match step["result"].as_str().unwrap() {
            "passed" => drop(table.checked(bridge, HealthOutcome::Passed, now)),
            "failed" => drop(table.checked(bridge, HealthOutcome::Failed, now)),
            "timeout" => drop(table.checked(bridge, HealthOutcome::TimedOut, now)),
            "colibri_error" => drop(table.answered(bridge, &ColibriAnswer::TimedOut, now)),
            other => panic!("{what}: unknown result {other:?}"),
        },
        "endpoint_added" => table.placed(bridge, count, now),
        "endpoints_removed" => table.left(bridge, count, now),
        _ => (0..count).for_each(|_| table.restart_requested(bridge, now)),
    }
}

/// Something is looked at.
fn look(table: &mut BridgeTable, what: &str, step: &Value, now: Duration, tally: &mut Tally) {
    match step["op"].as_str().unwrap() {
        "strategy_select" => {
            let list: Vec<BackendId> =
                step["bridges"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().into()).collect();
            let relays = step["allow_multi_bridge"].as_bool().unwrap_or(true);
            let got = table.select_among(&list, &conference(step), relays, now);
            decide(what, got.as_ref().ok().map(|choice| choice.bridge.as_str()), step, tally);
        }
        "compare" => {
            let got = table.compare(step["a"].as_str().unwrap(), step["b"].as_str().unwrap(), now).unwrap();
            tally.check(what, Some(got as i64), step["expect"].as_i64());
        }
        "state" => {
            let bridge = step["bridge"].as_str().unwrap();
            let view = table.view(bridge, now).unwrap_or_else(|| panic!("{what}: {bridge} is not there"));
            state(what, &view, &step["expect"], tally);
        }
        "counts" => {
            let counts = table.counts(now);
            for (name, want) in step["expect"].as_object().unwrap() {
                let got: Value = match name.as_str() {
                    "operational" => counts.operational.into(),
                    "known" => counts.known.into(),
                    "lost" => counts.lost.into(),
                    "has_non_overloaded" => (counts.overloaded < counts.known).into(),
                    _ => panic!("{what}: unknown count {name:?}"),
                };
                tally.check(format!("{what} {name}"), &got, want);
            }
        }
        other => panic!("{what}: unknown step {other:?}"),
    }
}

fn conference(step: &Value) -> Conference {
    let mut conference = Conference::new();
    for used in step["conference"].as_array().into_iter().flatten() {
        let count = |name: &str, default| used[name].as_u64().map_or(default, |n| u32::try_from(n).unwrap());
        let bridge = ConferenceBridge::new(used["bridge"].as_str().unwrap(), count("participants", 1))
            .of_visitors(used["visitor"].as_bool().unwrap_or(false))
            .recent(count("recent", 0));
        conference = conference.on(bridge);
    }
    let participant = &step["participant"];
    if let Some(region) = participant["region"].as_str() {
        conference = conference.in_region(region);
    }
    if participant["visitor"].as_bool() == Some(true) {
        conference = conference.for_visitor();
    }
    match step["version"].as_str() {
        Some(version) => conference.pinned_to(version),
        None => conference,
    }
}

fn decide(what: &str, got: Option<&str>, step: &Value, tally: &mut Tally) {
    let has = |name: &str| step.get(name).is_some();
    assert!(has("expect") || has("expect_one_of") || has("expect_not"), "{what}: nothing expected");
    if has("expect") {
        tally.check(what, got, step["expect"].as_str());
    }
    if let Some(all) = step["expect_one_of"].as_array() {
        let among = got.is_some_and(|got| all.iter().any(|one| one == got));
        tally.that(among, || format!("{what}: {got:?}, expected one of {all:?}"));
    }
    if has("expect_jid_order") {
        tally.check(what, got, step["expect_jid_order"].as_str());
    }
    if has("expect_not") {
        tally.that(got != step["expect_not"].as_str(), || format!("{what}: {got:?}"));
    }
}

/// A bridge as it should be.
pub(super) fn state(what: &str, view: &BridgeView, expect: &Value, tally: &mut Tally) {
    for (name, want) in expect.as_object().unwrap() {
        let label = || format!("{what} {name}");
        let mut number = |got: f64| match want {
            Value::String(text) => tally.check(label(), got.to_string(), text.parse::<f64>().unwrap().to_string()),
            _ => {
                let near = want.as_f64().is_some_and(|want| (got - want).abs() < 1e-9);
                tally.that(near, || format!("{}: {got}, expected {want}", label()));
            }
        };
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        let got: Value = match name.as_str() {
            "stress" => {
                number(view.stress);
                continue;
            }
            "corrected_stress" => {
                number(view.corrected_stress);
                continue;
            }
            "average_participant_stress" => {
                number(view.average_participant_stress);
                continue;
            }
            "drain" => view.drain.into(),
            "graceful_shutdown" => view.graceful_shutdown.into(),
            "shutting_down" => view.shutting_down.into(),
            "healthy" => view.healthy.into(),
            "operational" => view.operational.into(),
            "overloaded" => view.overloaded.into(),
            "failing_ice" => view.failing_ice.into(),
            "endpoints" => view.endpoints.into(),
            "endpoint_restart_requests" => view.endpoint_restart_requests.into(),
            "region" => text(&view.region).into(),
            "relay_id" => text(&view.relay_id).into(),
            "version" => text(&view.version).into(),
            "release" => text(&view.release).into(),
            "full_version" => text(&view.full_version).into(),
            _ => panic!("{what}: unknown state {name:?}"),
        };
        tally.check(label(), &got, want);
    }
}
