//! What a stick table teaches. Pure.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::book::{Book, Stray, Why, Wish};
use super::judge::Verdict;

/// An entry of a table: somebody came to a room at a server.
#[derive(Clone, Debug)]
pub(super) struct Use {
    pub(super) room: Arc<str>,
    pub(super) server: Arc<str>,
    pub(super) used_ms: u64,
}

/// What one process makes of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Here {
    /// It sends requests there.
    pub(super) usable: bool,
    /// When it last did not, in milliseconds since the epoch.
    pub(super) down_ms: u64,
    /// The verdict of all.
    pub(super) verdict: Verdict,
}

/// When the table was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    /// How long the store keeps what it is told.
    pub(super) ttl: Duration,
}

/// Takes in the uses one process knows of; says what to ask of the store.
pub(super) fn learn(
    book: &mut Book,
    process: usize,
    uses: Vec<Use>,
    here: impl Fn(&str) -> Option<Here>,
    at: Moment,
) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let mut astray = HashSet::new();
    for Use { room, server, used_ms } in uses {
        let Some(there) = here(&server) else { continue };
        let Some(known) = book.get_mut(&room) else {
            // What leads to a server that is down is placed anew with the next request, and learned then.
            if there.usable {
                wishes.push(Wish::Claim { room, server, why: Why::Learned });
            }
            continue;
        };
        if *known.server() == *server {
            if used_ms > known.used_ms {
                known.used_ms = used_ms;
                if at.now.duration_since(known.renewed) >= at.ttl / 8 {
                    wishes.push(Wish::Renew { room, seen: known.binding.clone() });
                }
            }
            continue;
        }
        // An entry of before the room was placed says nothing of now.
        if used_ms <= known.binding.stamp || !there.usable {
            continue;
        }
        let home = here(known.server()).unwrap_or_default();
        let left = !home.usable || home.down_ms >= known.binding.stamp;
        if left && used_ms >= home.down_ms && home.verdict != Verdict::Doubtful {
            let seen = known.binding.clone();
            wishes.push(Wish::Move { room: room.clone(), seen, server: server.clone(), why: Why::Followed });
        }
        known.strays.insert(process, Stray { server, used_ms });
        astray.insert(room);
    }
    book.keep_strays(process, &astray);
    wishes
}

#[cfg(test)]
mod tests {
    use balancer_core::{Binding, Token};

    use super::super::book::Told;
    use super::*;

    fn uses(room: &str, server: &str, used_ms: u64) -> Vec<Use> {
        vec![Use { room: room.into(), server: server.into(), used_ms }]
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_is_believed_where_haproxy_had_to_decide() {
        let now = Instant::now();
        let at = Moment { now, ttl: Duration::from_secs(80) };
        let mut book = Book::default();
        let well = |_: &str| Some(Here { usable: true, down_ms: 0, verdict: Verdict::Up });
        let seen = learn(&mut book, 0, uses("a", "s1", 10), well, at);
        assert_eq!(seen, [Wish::Claim { room: "a".into(), server: "s1".into(), why: Why::Learned }]);
        let binding = Binding { backend: "s1".into(), token: Token(1), stamp: 20 };
        book.take(Told::Bound { room: "a".into(), binding: binding.clone(), ours: Some(Why::Learned) }, now, 20);
        // An old entry elsewhere is nothing, a young one is a stray, though no reason to move.
        assert!(learn(&mut book, 1, uses("a", "s2", 19), well, at).is_empty());
        assert!(book.get("a").unwrap().strays.is_empty());
        assert!(learn(&mut book, 1, uses("a", "s2", 30), well, at).is_empty());
        assert_eq!(book.get("a").unwrap().strays[&1].used_ms, 30);
        // Where the home was down, HAProxy has moved it, and there it stays.
        let blip = |server: &str| Some(Here { down_ms: if server == "s1" { 25 } else { 0 }, ..well(server).unwrap() });
        let followed = Wish::Move { room: "a".into(), seen: binding, server: "s2".into(), why: Why::Followed };
        assert_eq!(learn(&mut book, 1, uses("a", "s2", 30), blip, at), std::slice::from_ref(&followed));
        let down = |server: &str| {
            let verdict = Verdict::Down;
            Some(if server == "s1" { Here { usable: false, down_ms: 25, verdict } } else { well(server).unwrap() })
        };
        assert_eq!(learn(&mut book, 1, uses("a", "s2", 30), down, at), [followed]);
        // One of several that cannot see its home decides nothing.
        let doubt = |server: &str| {
            let verdict = Verdict::Doubtful;
            Some(if server == "s1" { Here { usable: false, down_ms: 25, verdict } } else { well(server).unwrap() })
        };
        assert!(learn(&mut book, 1, uses("a", "s2", 30), doubt, at).is_empty());
        // What the table no longer has is no stray.
        assert!(learn(&mut book, 1, Vec::new(), well, at).is_empty());
        assert!(book.get("a").unwrap().strays.is_empty());
        // Nobody knows the server: nothing.
        assert!(learn(&mut book, 1, uses("b", "s9", 30), |_| None, at).is_empty());
        // Use is told to the store now and then.
        let later = Moment { now: now + Duration::from_secs(10), ..at };
        assert!(matches!(learn(&mut book, 0, uses("a", "s1", 40), well, later)[..], [Wish::Renew { .. }]));
        assert!(learn(&mut book, 0, uses("a", "s1", 40), well, later).is_empty());
    }
}
