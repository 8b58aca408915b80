//! The tenants as this process sees them: read from the store, for a moment at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balancer_core::{BackendId, StickError};
use tokio::time::Instant;

use super::{Cluster, Listing, is_away, lock};
use crate::store::TenantRecord;

/// How long what was read is believed: a secret that was taken back opens nothing after this.
const FRESH: Duration = Duration::from_secs(1);
/// How long the last ones are used while the store is out of reach.
const STALE: Duration = Duration::from_secs(600);

/// All tenants as last read, those first that their names lead to.
pub(crate) type Book = Arc<Vec<Arc<TenantRecord>>>;

#[derive(Debug, Default)]
pub(super) struct Known {
    book: Mutex<Option<(Instant, Book)>>,
    reading: tokio::sync::Mutex<()>,
}

impl Known {
    fn younger_than(&self, age: Duration) -> Option<Book> {
        let known = lock(&self.book);
        known.as_ref().filter(|(at, _)| at.elapsed() < age).map(|(_, book)| book.clone())
    }
}

impl Cluster {
    /// All tenants, at most a second old; while the store is out of reach, as they were read last.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked and nothing was read lately.
    pub(crate) async fn tenants(&self) -> Result<Book, StickError> {
        if let Some(book) = self.tenants.younger_than(FRESH) {
            return Ok(book);
        }
        let _one = self.tenants.reading.lock().await;
        if let Some(book) = self.tenants.younger_than(FRESH) {
            return Ok(book);
        }
        match self.store.tenant_store().tenants().await {
            Ok(all) => {
                let book: Book = Arc::new(all.into_iter().map(Arc::new).collect());
                *lock(&self.tenants.book) = Some((Instant::now(), book.clone()));
                Ok(book)
            }
            Err(e) if is_away(&e) => self.tenants.younger_than(STALE).ok_or(e),
            Err(e) => Err(e),
        }
    }

    /// The next question reads them anew.
    pub(crate) fn forget_tenants(&self) {
        *lock(&self.tenants.book) = None;
    }

    /// The tenant of this name, in whatever case.
    pub(crate) async fn tenant_named(&self, name: &str) -> Result<Option<Arc<TenantRecord>>, StickError> {
        Ok(self.tenants().await?.iter().find(|t| t.name.eq_ignore_ascii_case(name)).cloned())
    }

    /// The tenant of this id.
    pub(crate) async fn tenant_of_id(&self, id: &str) -> Result<Option<Arc<TenantRecord>>, StickError> {
        Ok(self.tenants().await?.iter().find(|t| t.id == id).cloned())
    }

    /// People of a tenant on the servers that this process polls.
    pub(crate) fn people_of(&self, tenant: &str) -> u64 {
        lock(&self.lists).values().filter_map(|list| list.tenants.get(tenant)).map(|n| u64::from(*n)).sum()
    }

    /// Tells the store that nobody is on a server that is offline.
    pub(super) async fn note_nobody(&self, server: &BackendId) {
        if !self.live().multitenancy {
            return;
        }
        let nobody = BTreeMap::new();
        if let Err(e) = self.store.tenant_store().note_people(server, &nobody, self.store_ms()).await {
            tracing::warn!(backend = %server, error = %e, "people on a server that is offline go on being counted");
        }
    }

    /// Tells the store how many people of which tenant a poll saw.
    pub(super) async fn note_tenants(&self, server: &BackendId, list: &Listing) -> Result<(), StickError> {
        if !self.live().multitenancy {
            return Ok(());
        }
        let people: BTreeMap<String, u32> = list.tenants.iter().map(|(tenant, n)| (tenant.clone(), *n)).collect();
        self.store.tenant_store().note_people(server, &people, list.began_ms).await
    }
}
