//! Advice for people and for programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::mind::{Advice, Said, is_waiting};
use crate::cli::By;
use console::Cell;

/// An advisor's name.
pub(super) const fn name(by: By) -> &'static str {
    match by {
        By::Ours => "ours",
        By::Autoscaler => "autoscaler",
    }
}

/// What follows if it stays like that.
pub(super) type Later = Option<(Duration, Said)>;

/// One look, with a table.
pub(super) fn whole(advice: &Advice, later: &Later) -> String {
    let row = |said: &Said| {
        vec![
            Cell::text(name(said.by)),
            Cell::text(&said.steps.text()),
            Cell::count(said.usable.into()),
            Cell::count(said.needed.into()),
            Cell::number(Some(format!("{:.2}", said.mean))),
            Cell::text(said.because),
        ]
    };
    let headers = ["BY", "ADVICE", "THERE", "NEEDED", "STRESS", "BECAUSE"];
    let mut text = console::table(&headers, &[row(&advice.ours), row(&advice.autoscaler)]);
    if is_waiting(&advice.ours)
        && let Some((wait, said)) = later
    {
        let then = console::printable(&said.steps.text());
        text.push_str(&format!("\nif it stays like that for {} s, ours will be: {then}\n", wait.as_secs()));
    }
    let rows: Vec<Vec<Cell>> = advice
        .regions
        .iter()
        .map(|(region, usable, open)| {
            let region = region.as_deref().unwrap_or_default();
            vec![Cell::text(region), Cell::count((*usable).into()), Cell::count((*open).into())]
        })
        .collect();
    text.push_str(&format!("\n{}", console::table(&["REGION", "THERE", "NOT OVERLOADED"], &rows)));
    text
}

/// One change, as a line of what goes on.
pub(super) fn line(time: &str, said: &Said) -> String {
    let Said { by, steps, because, needed, usable, mean, .. } = said;
    let steps = console::printable(&steps.text());
    format!("{time}  {}: {steps} ({because}; {usable} there, {needed} needed, stress {mean:.2})\n", name(*by))
}

/// One advisor's words.
pub(super) fn said(said: &Said) -> Value {
    json!({
        "by": name(said.by),
        "action": said.steps.action(),
        "add": said.steps.add,
        "undrain": said.steps.undrain,
        "drain": said.steps.drain,
        "stop": said.steps.stop,
        "reason": said.code,
        "because": said.because,
        "needed": said.needed,
        "usable": said.usable,
        "mean": said.mean,
        "predicted": said.predicted,
    })
}

/// One look.
pub(super) fn json(advice: &Advice, later: &Later, unix_ms: Option<u64>) -> Value {
    let region = |(region, usable, open): &(Option<String>, u32, u32)| json!({ "region": region, "usable": usable, "open": open });
    let later = later.as_ref().map(|(wait, then)| json!({ "after_seconds": wait.as_secs(), "ours": said(then) }));
    json!({
        "type": "advice",
        "unix_ms": unix_ms,
        "ours": said(&advice.ours),
        "autoscaler": said(&advice.autoscaler),
        "regions": advice.regions.iter().map(region).collect::<Vec<_>>(),
        "later": later,
    })
}
