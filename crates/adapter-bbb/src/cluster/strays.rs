//! Second copies of meetings: ended where nobody is in them.

use std::collections::{HashMap, HashSet};

use balancer_core::BackendId;

use super::Cluster;
use crate::store::MeetingRecord;

impl Cluster {
    /// Ends every meeting that runs on a server although it is settled on another, if nobody is in it there.
    ///
    /// Such copies are left behind by a create that nobody heard an answer of, or by one whose process was killed. One
    /// with people in it is named in the log and left alone: they would be thrown out. So is one that a Scalelite
    /// bound, since the age of its binding is not known.
    pub(super) async fn end_strays(&self, strays: &[(String, BackendId, u32)], bound: &[MeetingRecord]) {
        if strays.is_empty() {
            return;
        }
        let homes: HashMap<&str, &MeetingRecord> = bound.iter().map(|m| (m.id.as_str(), m)).collect();
        let mut silent: HashSet<&BackendId> = HashSet::new();
        for (id, at, people) in strays {
            let Some(home) = homes.get(id.as_str()) else { continue };
            if *people > 0 || home.binding.stamp == 0 {
                tracing::warn!(backend = %at, people, "a meeting runs here although it lives on another server");
                continue;
            }
            let Some(server) = self.server(at).filter(|_| !silent.contains(at)) else { continue };
            // It may have moved here since the lists were made.
            let same = |look: crate::store::Look| look.meeting.is_some_and(|m| m.binding == home.binding);
            if !self.store.look(id).await.is_ok_and(same) {
                continue;
            }
            if self.end_on(&server, id, &home.moderator_pw, true).await {
                tracing::info!(backend = %at, "an empty copy of a meeting was ended: it lives on another server");
            } else {
                // The next sweep tries again.
                silent.insert(at);
            }
        }
    }
}
