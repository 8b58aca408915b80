//! What a stick table teaches. Pure.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::book::{Book, Room, Stray, Why, Wish};

/// An entry of a table: somebody came to a room at a server.
#[derive(Clone, Debug)]
pub(super) struct Use {
    pub(super) room: Arc<str>,
    pub(super) server: Arc<str>,
    pub(super) used_ms: u64,
}

/// When a server was of no use to a process, in milliseconds since the epoch. It may have begun somewhat later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Away {
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
}

impl Away {
    pub(super) fn overlaps(self, other: Self) -> bool {
        self.from_ms <= other.until_ms && other.from_ms <= self.until_ms
    }
}

/// When the table was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    /// How long the store keeps what it is told.
    pub(super) ttl: Duration,
}

/// Takes in the uses one process knows of; says what to ask of the store. `usable`: whether that process sends requests to
/// a server, if it knows it.
pub(super) fn learn(
    book: &mut Book,
    process: usize,
    uses: Vec<Use>,
    usable: impl Fn(&str) -> Option<bool>,
    at: Moment,
) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let mut astray = HashSet::new();
    for Use { room, server, used_ms } in uses {
        let Some(usable) = usable(&server) else { continue };
        let Some(known) = book.get_mut(&room) else {
            // What leads to a server that is down is placed anew with the next request, and learned then.
            if usable {
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
        if used_ms <= known.binding.stamp || !usable {
            continue;
        }
        known.strays.insert(process, Stray { server, used_ms });
        astray.insert(room);
    }
    book.keep_strays(process, &astray);
    wishes
}

/// Where HAProxy has put a room because its server was away: there the people are who came last, and there it is to stay.
/// `away` tells when that server last was, for a process whose word all others confirm.
pub(super) fn followed(known: &Room, away: impl Fn(usize) -> Option<Away>) -> Option<&Stray> {
    let stamp = known.binding.stamp;
    let put = |(process, stray): &(&usize, &Stray)| {
        // Somebody may have come to its own server since.
        stray.used_ms > known.used_ms.max(stamp)
            && away(**process).is_some_and(|away| away.until_ms >= stamp && stray.used_ms >= away.from_ms)
    };
    known.strays.iter().filter(put).map(|(_, stray)| stray).max_by_key(|stray| stray.used_ms)
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
        let well = |_: &str| Some(true);
        let seen = learn(&mut book, 0, uses("a", "s1", 10), well, at);
        assert_eq!(seen, [Wish::Claim { room: "a".into(), server: "s1".into(), why: Why::Learned }]);
        let binding = Binding { backend: "s1".into(), token: Token(1), stamp: 20 };
        book.take(Told::Bound { room: "a".into(), binding, ours: Some(Why::Learned) }, now, 20);
        // An old entry elsewhere is nothing, a young one is a stray, though no reason to move.
        assert!(learn(&mut book, 1, uses("a", "s2", 19), well, at).is_empty());
        assert!(book.get("a").unwrap().strays.is_empty());
        assert!(learn(&mut book, 1, uses("a", "s2", 30), well, at).is_empty());
        let room = book.get("a").unwrap().clone();
        assert_eq!(room.strays[&1].used_ms, 30);
        assert_eq!(followed(&room, |_| None), None, "its server was there, or one of several could not see it");
        // Where the home was away, HAProxy has moved it, and there it stays, however long ago that was.
        for (from_ms, until_ms, follows) in
            [(25, 28, true), (25, 90, true), (0, 20, true), (30, 30, true), (31, 40, false), (0, 19, false)]
        {
            let found = followed(&room, |process| (process == 1).then_some(Away { from_ms, until_ms }));
            assert_eq!(found.is_some(), follows, "{from_ms} to {until_ms}");
        }
        // Unless somebody has come home since.
        let all = |_| Some(Away { from_ms: 25, until_ms: 28 });
        let mut home = room.clone();
        home.used_ms = 31;
        assert_eq!(followed(&home, all), None);
        // Of two places the last one counts.
        let mut two = room.clone();
        two.strays.insert(0, Stray { server: "s3".into(), used_ms: 33 });
        assert_eq!(followed(&two, all).map(|stray| &*stray.server), Some("s3"));
        let before = Away { from_ms: 10, until_ms: 19 };
        assert!(!before.overlaps(all(0).unwrap()) && before.overlaps(Away { from_ms: 19, until_ms: 30 }));
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
