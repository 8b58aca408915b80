//! The first list of a server: what runs there although it is bound nowhere is bound at once.

use balancer_core::{BackendId, Claim, StickError, StickKey};

use super::{Cluster, Listing, lock};

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
    /// people are in it. The answer is how many were bound.
    async fn bind_listed(&self, server: &BackendId, list: &Listing) -> Result<usize, StickError> {
        let mut bound = 0;
        let mut running: Vec<_> = list.adoptable.iter().collect();
        running.sort_by_key(|(id, _)| *id);
        for (id, known) in running {
            if StickKey::new(id.as_str()).is_err() {
                continue;
            }
            // One claim after the other: whether another list was first has to be noted before the next one asks.
            let mut empty = self.found_empty.lock().await;
            let busy = list.people.get(id).is_some_and(|people| *people > 0);
            let mut claim = self.bind_found(id, server, Some(known), None).await?;
            if let (Claim::Held(b), true) = (&claim, busy)
                && b.backend != *server
                && empty.get(id) == Some(b)
            {
                claim = self.bind_found(id, server, Some(known), empty.get(id)).await?;
                empty.remove(id);
            }
            if let Claim::Won(binding) = claim {
                bound += 1;
                if !busy {
                    empty.insert(id.clone(), binding);
                }
            }
        }
        Ok(bound)
    }
}
