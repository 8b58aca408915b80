//! `/metrics`: the text that Prometheus reads.

use std::fmt::Write as _;

use super::desk::{BOUNDS, Desk};
use crate::pool::{Link, state};
use crate::show::nick;

const STATES: [&str; 7] = ["ready", "overloaded", "drain", "graceful", "shutting-down", "missing", "failed"];

/// What is said of this program itself.
pub(super) fn build() -> String {
    format!(
        "# HELP balancer_build_info The version.\n# TYPE balancer_build_info gauge\n\
         balancer_build_info{{version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// All figures as of now.
pub(super) fn render(desk: &mut Desk) -> String {
    let ranking = desk.pool.ranking();
    let now = desk.pool.now();
    let counts = desk.pool.table.counts(now);
    let mut out = build();
    // Writing to a string cannot fail.
    let head = |out: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    head(&mut out, "balancer_brewery_up", "gauge", "Whether the brewery is heard.");
    let _ = writeln!(out, "balancer_brewery_up {}", u8::from(desk.pool.link == Link::Up));
    head(&mut out, "balancer_backends", "gauge", "Bridges by state.");
    for word in STATES {
        let count = ranking.iter().filter(|(view, _)| state(view) == word).count();
        let _ = writeln!(out, "balancer_backends{{pool=\"jvb\",state=\"{word}\"}} {count}");
    }
    head(&mut out, "balancer_backend_load", "gauge", "Corrected stress, 1 is all a bridge can bear.");
    for (view, _) in &ranking {
        let _ = writeln!(out, "balancer_backend_load{{backend=\"{}\"}} {}", label(&view.id), view.corrected_stress);
    }
    head(&mut out, "balancer_backend_data_age_seconds", "gauge", "Age of a bridge's figures.");
    for (view, _) in &ranking {
        let age = view.age_ms.map_or(f64::NAN, |ms| ms as f64 / 1000.0);
        let _ = writeln!(out, "balancer_backend_data_age_seconds{{backend=\"{}\"}} {age}", label(&view.id));
    }
    head(&mut out, "balancer_backends_lost_total", "counter", "Bridges gone without having said so.");
    let _ = writeln!(out, "balancer_backends_lost_total {}", counts.lost);
    head(&mut out, "balancer_rooms", "gauge", "Conferences that were placed here and have not ended.");
    let _ = writeln!(out, "balancer_rooms {}", desk.conferences());
    head(&mut out, "balancer_decisions_total", "counter", "Placements by outcome and reason.");
    for ((outcome, reason), count) in &desk.decisions {
        let labels = format!("pool=\"jvb\",outcome=\"{outcome}\",reason=\"{reason}\"");
        let _ = writeln!(out, "balancer_decisions_total{{{labels}}} {count}");
    }
    head(&mut out, "balancer_decision_duration_seconds", "histogram", "How long a placement took.");
    let (counts, above, sum) = &desk.took;
    let mut total = 0;
    for (bound, count) in BOUNDS.iter().zip(counts) {
        total += count;
        let _ = writeln!(out, "balancer_decision_duration_seconds_bucket{{le=\"{bound}\"}} {total}");
    }
    total += above;
    let _ = writeln!(out, "balancer_decision_duration_seconds_bucket{{le=\"+Inf\"}} {total}");
    let _ = writeln!(out, "balancer_decision_duration_seconds_sum {sum}");
    let _ = writeln!(out, "balancer_decision_duration_seconds_count {total}");
    out
}

/// A nick as the value of a label.
fn label(id: &balancer_core::BackendId) -> String {
    nick(id.as_str()).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
