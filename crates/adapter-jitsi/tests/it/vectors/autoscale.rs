//! `autoscale.json`.

use std::path::Path;
use std::time::Duration;

use adapter_jitsi::{GroupKind, GroupState, ScalingMetric, ScalingSettings, autoscale};
use serde_json::Value;

use super::Tally;

pub(super) fn check(folder: &Path, name: &str) -> Tally {
    let file = super::json(folder, name);
    let mut tally = Tally::default();
    for case in file["cases"].as_array().unwrap() {
        one(case, &mut tally);
    }
    tally
}

fn one(case: &Value, tally: &mut Tally) {
    let id = case["id"].as_str().unwrap();
    let options = &case["group"]["scalingOptions"];
    let whole = |name: &str| u32::try_from(options[name].as_u64().unwrap()).unwrap();
    let number = |name: &str| options[name].as_f64().unwrap();
    let mut settings = ScalingSettings::default();
    settings.kind = GroupKind::read(case["group"]["type"].as_str().unwrap()).unwrap();
    settings.enabled = case["group"]["enableAutoScale"].as_bool().unwrap();
    (settings.min, settings.max, settings.desired) = (whole("minDesired"), whole("maxDesired"), whole("desiredCount"));
    (settings.up_by, settings.down_by) = (whole("scaleUpQuantity"), whole("scaleDownQuantity"));
    (settings.up_at, settings.down_at) = (number("scaleUpThreshold"), number("scaleDownThreshold"));
    (settings.up_periods, settings.down_periods) = (whole("scaleUpPeriodsCount"), whole("scaleDownPeriodsCount"));
    settings.period = Duration::from_secs(u64::from(whole("scalePeriod")));
    let time = |value: &Value| Duration::from_millis(value.as_u64().unwrap());
    let metric = |value: &Value| {
        let instance = value["instanceId"].as_str().unwrap();
        ScalingMetric::new(instance, time(&value["timestamp"]), value["value"].as_f64().unwrap())
    };
    let metrics: Vec<_> = case["metrics"].as_array().unwrap().iter().map(metric).collect();
    let mut state = GroupState::of(u32::try_from(case["count"].as_u64().unwrap()).unwrap());
    state.grace = case["grace_active"].as_bool().unwrap();
    let got = autoscale(&settings, state, &metrics, time(&case["now_ms"]));
    let want = &case["expect"];
    tally.check(format_args!("{id}: processed"), Some(got.processed), want["processed"].as_bool());
    tally.check(format_args!("{id}: desired"), Some(u64::from(got.desired)), want["desired"].as_u64());
    tally.check(format_args!("{id}: grace"), Some(got.grace_started), want["grace_started"].as_bool());
    let periods = want["period_metrics"].as_array();
    tally.check(format_args!("{id}: any periods"), got.periods.is_some(), periods.is_some());
    if let (Some(got), Some(want)) = (got.periods, periods) {
        tally.check(format_args!("{id}: periods"), got.len(), want.len());
        for (k, (got, want)) in got.iter().zip(want).enumerate() {
            let close = (got - want.as_f64().unwrap()).abs() < 1e-6;
            tally.that(close, || format!("{id}: period {k}: {got}, expected {want}"));
        }
    }
}
