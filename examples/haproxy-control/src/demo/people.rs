//! People who come to a lesson, stay, and come again when they are cut off.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adapter_haproxy::testing::{Visitor, ask};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::watch;

use super::ledger::Ledger;
use crate::cli::DemoKind;

/// So soon somebody who could not come in tries again.
const AGAIN: Duration = Duration::from_millis(50);

/// Where all of them go.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) kind: DemoKind,
    /// HAProxy.
    pub(super) address: SocketAddr,
    /// How often each of them asks for the room beside the connection.
    pub(super) polls: Duration,
    ledger: Mutex<Ledger>,
    /// How many are on their way in.
    coming: AtomicUsize,
}

impl Stage {
    pub(super) fn new(kind: DemoKind, address: SocketAddr, polls: Duration) -> Self {
        Self { kind, address, polls, ledger: Mutex::default(), coming: AtomicUsize::new(0) }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many have not been in their room yet.
    pub(super) fn coming(&self) -> usize {
        self.coming.load(Relaxed)
    }
}

/// Somebody who is on the way in.
#[derive(Debug)]
pub(super) struct Coming(Arc<Stage>);

impl Coming {
    pub(super) fn new(stage: Arc<Stage>) -> Self {
        stage.coming.fetch_add(1, Relaxed);
        Self(stage)
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.coming.fetch_sub(1, Relaxed);
    }
}

/// One of the people of a room, until the lesson ends.
pub(super) async fn attend(coming: Coming, room: String, seat: usize, mut ended: watch::Receiver<bool>) {
    let stage = Arc::clone(&coming.0);
    let stay = async {
        let (mut turn, mut coming) = (seat, Some(coming));
        loop {
            let asked = Instant::now();
            let joined = Visitor::join(stage.address, &target(stage.kind, &room, seat, Way::Join)).await;
            let mut visitor = match joined {
                Ok(visitor) => visitor,
                Err(why) => {
                    stage.ledger().failed(&room, asked, &why.to_string());
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            stage.ledger().met(&room, visitor.server(), asked);
            drop(coming.take());
            loop {
                tokio::select! {
                    () = visitor.cut() => break,
                    () = tokio::time::sleep(stage.polls) => {}
                }
                turn += 1;
                let way = if turn.is_multiple_of(2) { Way::Poll } else { Way::Other };
                let asked = Instant::now();
                match ask(stage.address, &target(stage.kind, &room, seat, way)).await {
                    Ok(answer) => stage.ledger().met(&room, &answer.server, asked),
                    Err(why) => stage.ledger().failed(&room, asked, &why.to_string()),
                }
            }
        }
    };
    tokio::select! {
        () = stay => {}
        // Whoever plays the morning has gone, or the lesson has.
        _ = ended.wait_for(|ended| *ended) => {}
    }
}

/// The ways in which a client asks for a room.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// To stay in it.
    Join,
    /// In between.
    Poll,
    /// As another part of the client does: the callback of a login, the request for a focus.
    Other,
}

/// What a client asks for.
fn target(kind: DemoKind, room: &str, seat: usize, way: Way) -> String {
    match kind {
        DemoKind::Edumeet => {
            let name = escaped(room);
            let socket = format!("/socket.io/?peerId=peer{seat}&roomId={name}&EIO=3&transport=");
            match way {
                Way::Join => socket + "websocket",
                Way::Poll => socket + "polling",
                Way::Other => {
                    let state = serde_json::json!({ "peerId": format!("peer{seat}"), "roomId": room });
                    format!("/auth/callback?code=c{seat}&state={}", escaped(&STANDARD.encode(state.to_string())))
                }
            }
        }
        DemoKind::Shards => {
            let (tenant, room) = room.split_once('/').unwrap_or(("", room));
            // People write names as they like.
            let room = if seat.is_multiple_of(2) { room.to_owned() } else { room.to_ascii_uppercase() };
            match way {
                Way::Join => format!("/{tenant}/xmpp-websocket?room={room}"),
                Way::Poll => format!("/{tenant}/http-bind?room={room}"),
                Way::Other => format!("/{tenant}/conference-request/v1?room={room}"),
            }
        }
    }
}

/// As browsers write it into a query.
fn escaped(text: &str) -> String {
    adapter_haproxy::render::pin_key(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use adapter_haproxy::{Affinity, Request, RoomRule, classify};

    use super::*;
    use crate::demo::morning::morning;

    #[test]
    fn all_ways_lead_to_one_room() {
        for (kind, rule) in [(DemoKind::Edumeet, RoomRule::Edumeet3), (DemoKind::Shards, RoomRule::Jitsi)] {
            for lesson in morning(kind) {
                let ways = [Way::Join, Way::Poll, Way::Other];
                let seen = ways.into_iter().flat_map(|way| (0..3).map(move |seat| (way, seat))).map(|(way, seat)| {
                    let target = target(kind, &lesson.room, seat, way);
                    let seen = classify(&rule, &Request::new("GET", &target));
                    assert_eq!(seen.affinity(), Affinity::Pin, "{target}");
                    seen.key()
                });
                let keys: BTreeSet<_> = seen.collect();
                assert_eq!(keys.len(), 1, "{keys:?}");
                if kind == DemoKind::Edumeet {
                    assert_eq!(keys.first(), Some(&Some(lesson.room)));
                }
            }
        }
    }
}
