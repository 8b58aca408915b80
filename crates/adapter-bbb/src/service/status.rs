//! The status table as data.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{BbbService, json as answer};
use crate::client::host_of;
use crate::server::MILLI;

impl BbbService {
    pub(super) fn status(&self) -> Response<Bytes> {
        let cluster = &self.cluster;
        let views = cluster.pool.view(Instant::now());
        let servers: Vec<Value> = cluster
            .records()
            .into_iter()
            .map(|r| {
                let view = views.iter().find(|v| balancer_core::Backend::id(&*v.backend) == &r.id);
                let host = host_of(&r.url);
                json!({
                    "id": r.id,
                    "url": r.url,
                    "host": host,
                    "state": r.state.as_str(),
                    "online": r.online,
                    "health": view.map(|v| v.health),
                    "meetings": r.figures.meetings,
                    "users": r.figures.users,
                    "largest_meeting": r.figures.largest_meeting,
                    "videos": r.figures.videos,
                    "load": r.load,
                    // Loads stay far below 2^52 thousandths, so nothing is lost.
                    "expected_load": view.map_or(0.0, |v| v.expected as f64 / MILLI),
                    "load_multiplier": r.multiplier(),
                    "bbb_version": r.bbb_version.as_deref().unwrap_or(""),
                    "tag": r.tag.as_deref().unwrap_or(""),
                    "secret_changing": r.old_secret.is_some(),
                    "age_seconds": view.and_then(|v| v.age).map(|a| a.as_secs_f64()),
                    "stale": view.is_some_and(|v| v.stale),
                })
            })
            .collect();
        let twice: Vec<Value> = cluster
            .found_twice()
            .into_iter()
            .map(|t| {
                json!({
                    "meeting": t.meeting,
                    "stays": t.stays,
                    "other": t.other,
                    "verdict": t.verdict.as_str(),
                    "found_ms": t.found_ms,
                })
            })
            .collect();
        let strays: Vec<Value> = cluster
            .strays()
            .into_iter()
            .map(|s| json!({ "meeting": s.meeting, "server": s.server, "people": s.people }))
            .collect();
        let value = json!({
            "servers": servers,
            "found_twice": twice,
            "strays": strays,
            "polls": cluster.poll_share(),
            "known_meetings": cluster.known_count(),
            "process": cluster.process_id().to_string(),
            "processes": cluster.processes(),
            "next_poll_seconds": cluster.next_poll(),
            "store": cluster.store.describe(),
            "load_formula": cluster.options.formula.to_string(),
            "uptime_seconds": cluster.started.elapsed().as_secs(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        answer(StatusCode::OK, &value)
    }
}
