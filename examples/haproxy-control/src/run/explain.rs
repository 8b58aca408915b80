//! Where the place of a room is written, and what there is beside the controller.

use adapter_haproxy::AgentCheckCounters;
use adapter_haproxy::control::{Mode, RoomReport};
use adapter_haproxy::peers::PeerNode;
use adapter_haproxy::spoe::{AgentCounters, Explanation};
use balancer_core::{Outcome, StickKey};
use serde::Serialize;
use serde_json::{Value, json};

use super::part::Part;

/// A place where it is written on which server a room is.
#[derive(Serialize)]
pub(super) struct Written {
    /// `map entry`, `stick entry` or `SPOE decision`.
    what: &'static str,
    /// Of which process; none for a decision, which holds for all.
    #[serde(rename = "in")]
    at: Option<String>,
    /// The server it names.
    server: Option<String>,
    /// Whether this process is connected as a peer, where that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_connected: Option<bool>,
    /// The number of the decision, as HAProxy logs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<u64>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Every candidate.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<Value>,
}

/// Where the place of a room is written, by the mode of its backend.
pub(super) fn written(
    part: &Part,
    node: Option<&PeerNode>,
    peers: &[(String, String)],
    of: &RoomReport,
) -> Vec<Written> {
    let entry = |what, process: &str, server: &Option<String>| Written {
        what,
        at: Some(process.to_owned()),
        server: server.clone(),
        peer_connected: None,
        decision: None,
        why: None,
        candidates: None,
    };
    let mut all = Vec::new();
    if let Some(placer) = &part.placer
        && let Ok(room) = StickKey::new(of.room.as_str())
    {
        // The last one, and before it the one that brought the room to its server.
        let mut told = placer.explanations(&room);
        let last = told.pop();
        let brought = |one: &Explanation| !matches!(one.outcome, Outcome::Sticky | Outcome::Refused);
        let placed = told.into_iter().rev().find(brought).filter(|_| !last.as_ref().is_some_and(brought));
        all.extend(placed.into_iter().chain(last).map(decision));
    }
    let connected = node.map(PeerNode::status);
    for process in &of.processes {
        match part.mode {
            Mode::Map if process.pin.is_some() => all.push(entry("map entry", &process.process, &process.pin)),
            Mode::Peers => {
                let name = peers.iter().find(|(name, _)| *name == process.process).map(|(_, peer)| peer.as_str());
                let peer = connected.iter().flat_map(|node| &node.peers).find(|peer| Some(peer.name.as_str()) == name);
                let one = entry("stick entry", &process.process, &process.table);
                all.push(Written { peer_connected: peer.map(|peer| peer.connected), ..one });
            }
            _ if process.table.is_some() => all.push(entry("stick entry", &process.process, &process.table)),
            _ => {}
        }
    }
    all
}

fn decision(told: Explanation) -> Written {
    Written {
        what: "SPOE decision",
        at: None,
        server: told.server.as_ref().map(ToString::to_string),
        peer_connected: None,
        decision: Some(told.id),
        why: Some(match &told.refusal {
            Some(why) => format!("{}: {why}", told.outcome),
            None => told.outcome.to_string(),
        }),
        candidates: told.decision.and_then(|decision| serde_json::to_value(decision).ok()),
    }
}

/// What an agent has done for a backend, and on its connections.
pub(super) fn spoe(part: &Part, counters: Option<&AgentCounters>) -> Option<Value> {
    let placed = part.placer.as_ref()?.counts();
    let agent = counters.map(AgentCounters::read).unwrap_or_default();
    Some(json!({
        "connections": agent.open,
        "health_checks": agent.health_checks,
        "late": agent.late,
        "placed": placed.placed,
        "kept": placed.kept,
        "moved": placed.moved,
        "adopted": placed.adopted,
        "conflicts": placed.conflicts,
        "refused": placed.refused,
    }))
}

/// What agent checks have been answered.
pub(super) fn agent(counters: Option<&AgentCheckCounters>) -> Option<Value> {
    let counts = counters?.read();
    Some(json!({
        "answered": counts.answered,
        "unknown": counts.unknown,
        "lost": counts.lost,
        "turned_away": counts.turned_away,
    }))
}
