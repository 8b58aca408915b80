//! Meetings that run on two servers, as after a lost store: which one stays is decided by rule, and told.
//!
//! The rule: the one with people in it, else the older, else the first by the server's id. A meeting that everybody is
//! led to and that has people in it stays whatever the other copy is.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use balancer_core::{BackendId, Claim};

use super::{Cluster, Stray, lock};
use crate::api::{Params, Reply, signed_url};
use crate::server::BbbServer;
use crate::store::MeetingRecord;

/// How many are kept for the status.
const KEPT: usize = 100;

/// One copy of a meeting, as the rule sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) server: BackendId,
    pub(super) people: u32,
    /// By the server's clock, in milliseconds since the epoch.
    pub(super) created_ms: u64,
}

impl Copy {
    /// Whether this copy stays rather than the other one. Pure, and never true both ways.
    pub(super) fn beats(&self, other: &Self) -> bool {
        let rank = |c: &Self| (c.people == 0, c.created_ms);
        (rank(self), &self.server) < (rank(other), &other.server)
    }
}

/// What was done about a meeting on two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Everybody is led to the copy that was found, which has people in it or is older.
    Moved,
    /// Everybody is led where they were before; the other copy is ended as soon as nobody is in it.
    Kept,
}

impl Verdict {
    /// As one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Kept => "kept",
        }
    }
}

/// A meeting that was found on two servers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Twice {
    /// The meeting's id.
    pub meeting: String,
    /// Where everybody is led from here on.
    pub stays: BackendId,
    /// Where the other copy runs.
    pub other: BackendId,
    /// What was done.
    pub verdict: Verdict,
    /// When it was found by the store's clock, in milliseconds since the epoch.
    pub found_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    last: Mutex<VecDeque<Twice>>,
    moved: AtomicU64,
    kept: AtomicU64,
}

impl Cluster {
    /// Meetings that this process found on two servers, the last hundred, oldest first.
    pub fn found_twice(&self) -> Vec<Twice> {
        lock(&self.twice.last).iter().cloned().collect()
    }

    /// How often a meeting was found on two servers and moved, and how often it stayed.
    pub(crate) fn twice_counts(&self) -> [(Verdict, u64); 2] {
        [(Verdict::Moved, self.twice.moved.load(Relaxed)), (Verdict::Kept, self.twice.kept.load(Relaxed))]
    }

    /// Notes a meeting on two servers; each pair once, until it is another way round.
    pub(super) fn note_twice(&self, meeting: &str, stays: &BackendId, other: &BackendId, verdict: Verdict) {
        let mut last = lock(&self.twice.last);
        let same = |t: &&Twice| t.meeting == meeting && t.stays == *stays && t.other == *other;
        if last.iter().any(|t| same(&t)) {
            return;
        }
        match verdict {
            Verdict::Moved => &self.twice.moved,
            Verdict::Kept => &self.twice.kept,
        }
        .fetch_add(1, Relaxed);
        tracing::warn!(%stays, %other, verdict = verdict.as_str(), "a meeting was found on two servers");
        last.retain(|t| t.meeting != meeting);
        if last.len() >= KEPT {
            last.pop_front();
        }
        let (stays, other) = (stays.clone(), other.clone());
        last.push_back(Twice { meeting: meeting.to_owned(), stays, other, verdict, found_ms: self.store_ms() });
    }

    /// A copy as its server tells of it now; `None` when it is not there, or the server does not answer.
    async fn copy_at(&self, server: &BbbServer, id: &str) -> Option<Copy> {
        let mut params = Params::new();
        params.push("meetingID", id);
        let secret = self.secret_for(server).await;
        let url = signed_url(server.url(), "getMeetingInfo", &params, secret.expose(), self.options.outgoing);
        let bytes = self.client.call(&url, None, true).await.ok()?;
        let reply = Reply::parse(&bytes).ok().filter(Reply::is_success)?;
        let number = |name: &str| reply.text(name).and_then(|t| t.trim().parse::<u64>().ok());
        let people = number("participantCount").unwrap_or_default();
        Some(Copy {
            server: balancer_core::Backend::id(server).clone(),
            people: u32::try_from(people).unwrap_or(u32::MAX),
            created_ms: number("createTime").unwrap_or(u64::MAX),
        })
    }

    /// A copy with people in it runs where nobody is led to. If nobody is in the one everybody is led to, they are led
    /// to this one from here on. `true` when it was moved.
    pub(super) async fn resolve(&self, stray: &Stray, home: &MeetingRecord) -> bool {
        let at = (self.server(&home.binding.backend), self.server(&stray.server));
        let (Some(home_server), Some(other_server)) = at else { return false };
        let takes =
            self.record(&stray.server).is_some_and(|r| r.online && r.state != crate::store::ServerState::Disabled);
        let Some(other) = self.copy_at(&other_server, &stray.meeting).await else { return false };
        let here = self.copy_at(&home_server, &stray.meeting).await;
        // A server that does not answer now may have people in it.
        let empty = here.as_ref().is_some_and(|here| here.people == 0);
        if !(takes && empty && other.people > 0) {
            self.note_twice(&stray.meeting, &home.binding.backend, &stray.server, Verdict::Kept);
            return false;
        }
        match self.bind_found(&stray.meeting, &stray.server, None, Some(&home.binding)).await {
            Ok(Claim::Won(_)) => {
                self.note_twice(&stray.meeting, &stray.server, &home.binding.backend, Verdict::Moved);
                true
            }
            Ok(_) => false,
            Err(e) => {
                tracing::warn!(error = %e, "a meeting on two servers cannot be bound where people are");
                false
            }
        }
    }

    /// Drops what has been settled since: no copy is left.
    pub(super) fn forget_settled(&self, left: &[Stray], grown_older_than: u64) {
        let open: HashSet<&str> = left.iter().map(|s| s.meeting.as_str()).collect();
        lock(&self.twice.last).retain(|t| open.contains(t.meeting.as_str()) || t.found_ms >= grown_older_than);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(server: &str, people: u32, created_ms: u64) -> Copy {
        Copy { server: server.into(), people, created_ms }
    }

    #[test]
    fn people_stay_then_the_older_then_the_first_by_id() {
        let order = [
            copy("z", 3, 10),
            copy("c", 1, 20),
            copy("y", 0, 5),
            copy("a", 0, 6),
            copy("b", 0, 6),
            copy("a", 0, u64::MAX),
        ];
        for (i, a) in order.iter().enumerate() {
            for (j, b) in order.iter().enumerate() {
                assert_eq!(a.beats(b), i < j, "{a:?} {b:?}");
            }
        }
    }
}
