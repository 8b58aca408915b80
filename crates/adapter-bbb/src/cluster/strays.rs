//! Second copies of meetings: ended where nobody is in them.

use std::collections::{HashMap, HashSet};

use balancer_core::BackendId;

use super::{Cluster, Stray};
use crate::store::MeetingRecord;

impl Cluster {
    /// Ends every meeting that runs on a server although it is settled on another, if nobody is in it there.
    ///
    /// Such copies are left behind by a create that nobody heard an answer of, or by one whose process was killed. One
    /// with people in it gets everybody when nobody is in the other one; else it is named in the log and left alone: they
    /// would be thrown out. So is one that a Scalelite
    /// bound, since the age of its binding is not known. The answer is what was left.
    pub(super) async fn end_strays(&self, strays: Vec<Stray>, bound: &[MeetingRecord]) -> Vec<Stray> {
        if strays.is_empty() {
            return strays;
        }
        let mut left = Vec::new();
        let homes: HashMap<&str, &MeetingRecord> = bound.iter().map(|m| (m.id.as_str(), m)).collect();
        let mut silent: HashSet<BackendId> = HashSet::new();
        for stray in strays {
            let Some(home) = homes.get(stray.meeting.as_str()) else { continue };
            if stray.people > 0 && home.binding.stamp > 0 && self.resolve(&stray, home).await {
                continue;
            }
            if stray.people > 0 || home.binding.stamp == 0 {
                let people = stray.people;
                tracing::warn!(backend = %stray.server, people, "a meeting runs here although it lives on another server");
                left.push(stray);
                continue;
            }
            match self.server(&stray.server) {
                Some(server) if !silent.contains(&stray.server) => {
                    // It may have moved here since the lists were made.
                    let same = |look: crate::store::Look| look.meeting.is_some_and(|m| m.binding == home.binding);
                    if !self.store.look(&stray.meeting).await.is_ok_and(same) {
                        continue;
                    }
                    if self.end_on(&server, &stray.meeting, &home.moderator_pw, true).await {
                        let at = &stray.server;
                        tracing::info!(backend = %at, "an empty copy of a meeting was ended: it lives on another server");
                    } else {
                        // The next sweep tries again.
                        silent.insert(stray.server.clone());
                        left.push(stray);
                    }
                }
                _ => left.push(stray),
            }
        }
        left
    }
}
