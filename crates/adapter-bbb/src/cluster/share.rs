//! Which of several processes polls which server: decided from who is live and what the last polls said, the same by
//! everybody. Pure; the leases that keep two from doing so at once are the store's.

use std::time::Duration;

use balancer_core::SimpleRing;

use crate::store::{Peer, SharedPoll};

/// Points of each process on the ring.
const POINTS: u32 = 100;

/// How often processes speak up, and how long one may be silent before others do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) every: Duration,
    pub(super) silence: Duration,
}

impl Beat {
    /// A share must be taken over within two intervals: at most one of them passes in silence.
    pub(super) fn of(poll_interval: Duration) -> Self {
        let silence = poll_interval.clamp(Duration::from_millis(200), Duration::from_secs(15));
        Self { every: (silence / 4).min(Duration::from_secs(2)), silence }
    }
}

/// What a process has to do with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Others poll it.
    None,
    /// It polls the server and stores what it finds.
    Poll,
    /// It polls the server to form an opinion: whoever polls it says that it fails, or this process failed to reach it.
    Opinion,
}

/// The processes that are live, as this one sees them.
#[derive(Clone, Debug)]
pub(super) struct Members {
    me: u64,
    ids: Vec<u64>,
    ring: SimpleRing,
}

fn ring(ids: impl Iterator<Item = u64>) -> SimpleRing {
    SimpleRing::new(ids.map(|id| id.to_string()), POINTS)
}

impl Members {
    /// Those heard of within this time, and this process in any case.
    pub(super) fn of(me: u64, peers: &[Peer], silence: Duration) -> Self {
        let live = peers.iter().filter(|p| p.silent <= silence).map(|p| p.process);
        let mut ids: Vec<u64> = live.chain([me]).collect();
        ids.sort_unstable();
        ids.dedup();
        let ring = ring(ids.iter().copied());
        Self { me, ids, ring }
    }

    /// The owner of a server among those not named.
    fn owner(&self, server: &str, without: &[u64]) -> Option<u64> {
        if !self.ids.iter().any(|id| without.contains(id)) {
            return self.ring.owner(server)?.parse().ok();
        }
        // A ring without them gives their servers to those who would own them next, and moves no others.
        ring(self.ids.iter().copied().filter(|id| !without.contains(id))).owner(server)?.parse().ok()
    }

    /// What this process has to do with a server.
    ///
    /// It belongs to its owner on the ring of those who do not doubt it, or of all when everybody does. A server that
    /// is online and failed its last poll is polled by the next one on the ring as well, whose opinion decides. Who
    /// fails to reach a server goes on trying.
    pub(super) fn duty(&self, server: &str, poll: &SharedPoll, online: bool, fails_here: bool) -> Duty {
        let poller = self.owner(server, &poll.doubters).or_else(|| self.owner(server, &[]));
        if poller.is_none_or(|poller| poller == self.me) {
            return Duty::Poll;
        }
        let second = || {
            let mut without = poll.doubters.clone();
            without.extend(poller);
            self.owner(server, &without) == Some(self.me)
        };
        if fails_here || (poll.failed && online && second()) { Duty::Opinion } else { Duty::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(ids: &[u64]) -> Vec<Peer> {
        ids.iter().map(|id| Peer::new(*id, Duration::ZERO)).collect()
    }

    fn members(me: u64, ids: &[u64]) -> Members {
        Members::of(me, &peers(ids), Duration::from_secs(1))
    }

    fn pollers(ids: &[u64], server: &str, poll: &SharedPoll) -> Vec<(u64, Duty)> {
        let duty = |id: &u64| (*id, members(*id, ids).duty(server, poll, true, false));
        ids.iter().map(duty).filter(|(_, duty)| *duty != Duty::None).collect()
    }

    fn doubted(by: &[u64]) -> SharedPoll {
        SharedPoll { failed: true, doubters: by.to_vec(), ..SharedPoll::default() }
    }

    #[test]
    fn every_server_has_one_poller_and_shares_are_alike() {
        let ids = [11, 22, 33, 44];
        let mut counts = [0_u32; 4];
        for n in 0..1_000 {
            let found = pollers(&ids, &format!("s{n}"), &SharedPoll::default());
            let [(id, Duty::Poll)] = found[..] else { panic!("s{n}: {found:?}") };
            counts[ids.iter().position(|i| *i == id).unwrap()] += 1;
        }
        assert!(counts.iter().all(|n| (150..=350).contains(n)), "{counts:?}");
    }

    #[test]
    fn a_dead_one_leaves_its_share_and_moves_no_other() {
        let (all, left) = ([1, 2, 3], [1, 3]);
        for n in 0..300 {
            let server = format!("s{n}");
            let (before, after) = (pollers(&all, &server, &doubted(&[])), pollers(&left, &server, &doubted(&[])));
            if before[0].0 != 2 && before[0].1 == Duty::Poll {
                assert!(after.contains(&before[0]), "{server}: {before:?} {after:?}");
            }
        }
    }

    #[test]
    fn a_failing_server_gets_a_second_opinion_and_a_doubted_one_another_poller() {
        let ids = [1, 2, 3];
        for n in 0..100 {
            let server = format!("s{n}");
            let owner = pollers(&ids, &server, &SharedPoll::default())[0].0;
            let failing = pollers(&ids, &server, &doubted(&[]));
            assert_eq!(failing.len(), 2);
            assert!(failing.contains(&(owner, Duty::Poll)));
            let second = failing.iter().find(|(id, _)| *id != owner).unwrap();
            assert_eq!(second.1, Duty::Opinion);
            // The one that was asked takes over, and a third one is asked.
            let moved = pollers(&ids, &server, &doubted(&[owner]));
            assert!(moved.contains(&(second.0, Duty::Poll)) && moved.len() == 2, "{moved:?}");
            assert!(!moved.iter().any(|(id, _)| *id == owner));
            // Everybody doubts it: it stays with its owner.
            assert_eq!(pollers(&ids, &server, &doubted(&ids)), [(owner, Duty::Poll)]);
            // What is offline needs no second opinion.
            let offline = |id: u64| members(id, &ids).duty(&server, &doubted(&[]), false, false);
            assert_eq!(ids.iter().filter(|id| offline(**id) != Duty::None).count(), 1);
        }
    }

    #[test]
    fn who_fails_to_reach_a_server_goes_on_trying() {
        let ids = [1, 2];
        for n in 0..20 {
            let server = format!("s{n}");
            let duties = ids.map(|id| members(id, &ids).duty(&server, &SharedPoll::default(), true, true));
            assert!(duties.contains(&Duty::Poll) && duties.contains(&Duty::Opinion));
        }
    }

    #[test]
    fn one_alone_polls_everything_and_a_silent_one_counts_for_nobody() {
        let silent = [Peer::new(1, Duration::ZERO), Peer::new(2, Duration::from_millis(1_001))];
        let one = Members::of(1, &silent, Duration::from_secs(1));
        assert_eq!((&one.ids[..], &Members::of(1, &[], Duration::ZERO).ids[..]), (&[1][..], &[1][..]));
        assert_eq!(one.duty("s", &doubted(&[1, 2]), true, false), Duty::Poll);
    }

    #[test]
    fn silence_is_found_within_an_interval() {
        for (interval, every, silence) in [(60_000, 2_000, 15_000), (4_000, 1_000, 4_000), (100, 50, 200)] {
            let beat = Beat::of(Duration::from_millis(interval));
            assert_eq!(beat, Beat { every: Duration::from_millis(every), silence: Duration::from_millis(silence) });
        }
    }
}
