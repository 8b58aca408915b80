//! The first list of a server: what runs there although it is bound nowhere is bound at once.

use balancer_core::{BackendId, Binding, Claim, StickError, StickKey};

use super::twice::{Copy, Verdict};
use super::{Cluster, Listing, lock};

/// A meeting that a first list showed, and its binding.
#[derive(Debug)]
pub(super) struct Found {
    binding: Binding,
    copy: Copy,
}

impl Cluster {
    /// Binds what the first list of a server shows since it appeared here or was offline, so that a store that lost
    /// its meetings splits none: the server takes nothing new before. Later lists need a second one to agree.
    pub(super) async fn bind_first(&self, server: &BackendId, list: &Listing) {
        if lock(&self.settled).contains(server) {
            return;
        }
        // A store that hangs is not the server's failure.
        let limit = self.options.call_time();
        match tokio::time::timeout(limit, self.bind_listed(server, list)).await {
            Ok(Ok(n)) => {
                if n > 0 {
                    tracing::info!(backend = %server, meetings = n, "running meetings that were bound nowhere are bound");
                }
                lock(&self.settled).insert(server.clone());
            }
            Ok(Err(e)) => tracing::warn!(backend = %server, error = %e, "running meetings cannot be bound"),
            Err(_) => tracing::warn!(backend = %server, "running meetings cannot be bound: the store is too slow"),
        }
    }

    /// Binds every meeting of a list that is bound nowhere. One that two first lists show goes to the server where
    /// people are in it, else to the older one. The answer is how many were bound.
    async fn bind_listed(&self, server: &BackendId, list: &Listing) -> Result<usize, StickError> {
        let mut bound = 0;
        let mut running: Vec<_> = list.adoptable.iter().collect();
        running.sort_by_key(|(id, _)| *id);
        for (id, known) in running {
            if StickKey::new(id.as_str()).is_err() {
                continue;
            }
            // One claim after the other: whether another list was first has to be noted before the next one asks.
            let mut found = self.found_first.lock().await;
            let people = list.people.get(id).copied().unwrap_or_default();
            let copy = Copy { server: server.clone(), people, created_ms: known.created_ms };
            let mut claim = self.bind_found(id, server, Some(known), None).await?;
            if let Claim::Held(b) = &claim
                && b.backend != *server
                && let Some(first) = found.get(id).filter(|first| first.binding == *b)
            {
                let other = b.backend.clone();
                if copy.beats(&first.copy) {
                    claim = self.bind_found(id, server, Some(known), Some(&first.binding)).await?;
                    found.remove(id);
                    self.note_twice(id, server, &other, Verdict::Moved);
                } else {
                    self.note_twice(id, &other, server, Verdict::Kept);
                }
            }
            if let Claim::Won(binding) = claim {
                bound += 1;
                found.insert(id.clone(), Found { binding, copy });
            }
        }
        Ok(bound)
    }
}
