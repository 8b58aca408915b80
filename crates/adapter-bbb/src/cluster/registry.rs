//! The servers as the store has them, and the pool that follows.

use std::sync::Arc;

use balancer_core::{Admin, Health, Report, StickError};
use tokio::time::Instant;

use super::{Cluster, lock};
use crate::server::{BbbServer, milli};
use crate::store::{Registry, ServerRecord, ServerState};

impl Cluster {
    /// Reads the servers and makes the pool follow.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked; everything stays as it was.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn sync(&self) -> Result<(), StickError> {
        let _one = self.syncing.lock().await;
        let registry = self.store.servers().await?;
        self.apply(registry);
        Ok(())
    }

    /// [`sync`](Self::sync) when the store has changed since.
    pub(crate) async fn sync_if(&self, epoch: u64) -> Result<(), StickError> {
        if lock(&self.known).epoch == Some(epoch) {
            return Ok(());
        }
        self.sync().await
    }

    fn apply(&self, registry: Registry) {
        let mut known = lock(&self.known);
        let mut definitions = Vec::with_capacity(registry.servers.len());
        let mut changed = known.records.len() != registry.servers.len();
        for record in &registry.servers {
            let wanted = BbbServer::new(record);
            match self.pool.member(record.id.as_str()) {
                Some(m) if **m.backend() == wanted => definitions.push(m.backend().clone()),
                _ => {
                    changed = true;
                    definitions.push(Arc::new(wanted));
                }
            }
        }
        if changed && let Err(e) = self.pool.replace(definitions) {
            tracing::error!(error = %e, "the stored servers cannot be used");
            return;
        }
        for record in &registry.servers {
            let before = known.records.get(&record.id);
            self.follow_record(record, before);
        }
        self.follow_polls(&registry);
        known.records = registry.servers.into_iter().map(|r| (r.id.clone(), r)).collect();
        known.epoch = Some(registry.epoch);
        known.read = Some(Instant::now());
        let records = &known.records;
        lock(&self.lists).retain(|id, _| records.contains_key(id));
        lock(&self.failing).retain(|id, _| records.contains_key(id));
        lock(&self.settled).retain(|id| records.get(id).is_some_and(|r| r.online));
    }

    fn follow_record(&self, record: &ServerRecord, before: Option<&ServerRecord>) {
        let id = &record.id;
        let admin = match record.state {
            ServerState::Enabled => Admin::Ready,
            ServerState::Cordoned => Admin::Drain,
            ServerState::Disabled => Admin::Maint,
        };
        // The server is in the pool: `apply` has just put it there.
        let _ = self.pool.set_admin(id, admin);
        let health = self.pool.verdict(id).map(|v| v.health).unwrap_or_default();
        match (record.online, health) {
            // Offline is the shared verdict: the sticks of this server are broken for everybody.
            (false, Health::Dead) => {}
            (false, _) if before.is_none_or(|b| b.online) => {
                let _ = self.pool.declare(id, Health::Dead, "offline by the shared verdict");
            }
            (true, Health::Unknown) => {
                let _ = self.pool.declare(id, Health::Up, "online by the shared verdict");
            }
            // Others reach it, we do not: no new meetings from here, but its meetings stay.
            (true, Health::Dead) => {
                let _ = self.pool.declare(id, Health::Down, "online for others, not answering to us");
            }
            _ => {}
        }
        if before.is_none()
            && let Some(load) = record.load
        {
            let _ = self.pool.report(id, Report::new(Instant::now()).with_cost(milli(load)));
        }
    }
}
