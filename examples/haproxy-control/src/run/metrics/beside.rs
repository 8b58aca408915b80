//! Figures of what HAProxy asks, and of its peers.

use adapter_haproxy::AgentCheckCounters;
use adapter_haproxy::peers::PeerNode;
use adapter_haproxy::spoe::AgentCounters;

use super::{Lines, label};
use crate::run::part::Part;

/// What a backend's agent answered.
pub(super) fn placed(out: &mut Lines, part: &Part) {
    let Some(placer) = &part.placer else { return };
    let (pool, counts) = (label(&part.name), placer.counts());
    out.head("balancer_spoe_decisions_total", "counter", "What HAProxy's questions about rooms came to.");
    for (outcome, count) in [
        ("placed", counts.placed),
        ("kept", counts.kept),
        ("moved", counts.moved),
        ("adopted", counts.adopted),
        ("left-alone", counts.left_alone),
        ("stale", counts.stale),
        ("taken-back", counts.taken_back),
        ("refused", counts.refused),
        ("unreadable", counts.unreadable),
    ] {
        out.line("balancer_spoe_decisions_total", &format!("pool=\"{pool}\",outcome=\"{outcome}\""), count);
    }
    let help = "Rooms that HAProxy's stick table had elsewhere than the store.";
    out.head("balancer_spoe_conflicts_total", "counter", help);
    out.line("balancer_spoe_conflicts_total", &format!("pool=\"{pool}\""), counts.conflicts);
}

/// Connections of HAProxys that ask.
pub(super) fn spoe(out: &mut Lines, counters: Option<&AgentCounters>) {
    let Some(counters) = counters else { return };
    let counts = counters.read();
    out.head("balancer_spoe_connections", "gauge", "Connections over which HAProxy may ask.");
    out.line("balancer_spoe_connections", "", counts.open);
    out.head("balancer_spoe_answers_total", "counter", "Answers to HAProxy, by what was in them.");
    for (result, count) in [
        ("opinion", counts.opinions),
        ("none", counts.without_opinion.saturating_sub(counts.late + counts.overloaded)),
        ("late", counts.late),
        ("overloaded", counts.overloaded),
    ] {
        out.line("balancer_spoe_answers_total", &format!("result=\"{result}\""), count);
    }
    out.head("balancer_spoe_health_checks_total", "counter", "Health checks of HAProxys that were greeted.");
    out.line("balancer_spoe_health_checks_total", "", counts.health_checks);
}

/// Peers, and the tables shared with them.
pub(super) fn peers(out: &mut Lines, node: Option<&PeerNode>) {
    let Some(node) = node else { return };
    let status = node.status();
    out.head("balancer_peer_up", "gauge", "Whether a peer is connected.");
    out.head("balancer_peer_updates_total", "counter", "Entries told by a peer and to it.");
    out.head("balancer_peer_connections_total", "counter", "Connections with a peer that came to be.");
    for peer in &status.peers {
        let name = format!("peer=\"{}\"", label(&peer.name));
        out.line("balancer_peer_up", &name, u8::from(peer.connected));
        out.line("balancer_peer_connections_total", &name, peer.connections);
        for (direction, count) in [("in", peer.updates_in), ("out", peer.updates_out)] {
            out.line("balancer_peer_updates_total", &format!("{name},direction=\"{direction}\""), count);
        }
    }
    out.head("balancer_peers_entries", "gauge", "Entries of a table that is shared with peers.");
    out.head("balancer_peers_events_total", "counter", "What became of entries that peers told.");
    for table in &status.tables {
        let name = format!("table=\"{}\"", label(&table.name));
        out.line("balancer_peers_entries", &name, table.entries);
        for (event, count) in [
            ("learned", table.learned),
            ("conflict", table.conflicts),
            ("moved", table.moved),
            ("closed", table.closed),
            ("unknown", table.unknown),
            ("untaught", table.untaught),
            ("unanswered", table.unanswered),
        ] {
            out.line("balancer_peers_events_total", &format!("{name},event=\"{event}\""), count);
        }
    }
}

/// Agent checks.
pub(super) fn agent(out: &mut Lines, counters: Option<&AgentCheckCounters>) {
    let Some(counters) = counters else { return };
    let counts = counters.read();
    out.head("balancer_agent_checks_total", "counter", "Agent checks of HAProxys, by result.");
    for (result, count) in [
        ("answered", counts.answered),
        ("unknown", counts.unknown),
        ("lost", counts.lost),
        ("turned-away", counts.turned_away),
    ] {
        out.line("balancer_agent_checks_total", &format!("result=\"{result}\""), count);
    }
}
