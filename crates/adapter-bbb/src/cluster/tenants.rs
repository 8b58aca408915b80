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
/// Thousands of tenants take a shared store some time, in which it does nothing else: at most one part in so many.
const SHARE: u32 = 50;
/// However long that takes, it is believed no longer than this.
const LONGEST: Duration = Duration::from_secs(5);
/// How long the last ones are used while the store is out of reach.
const STALE: Duration = Duration::from_secs(600);

/// All tenants as last read, those first that their names lead to.
pub(crate) type Book = Arc<Vec<Arc<TenantRecord>>>;

/// What was read last, and when somebody last tried to read it.
#[derive(Debug)]
struct Read {
    book: Book,
    at: Instant,
    tried: Instant,
    /// How long it is believed.
    fresh: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Known {
    read: Mutex<Option<Read>>,
    reading: tokio::sync::Mutex<()>,
}

/// How long is believed what took so long to read.
fn fresh(took: Duration) -> Duration {
    took.saturating_mul(SHARE).clamp(FRESH, LONGEST)
}

impl Known {
    /// What was read last, unless that is too long ago, and whether nobody need ask again yet.
    fn last(&self) -> Option<(Book, bool)> {
        let known = lock(&self.read);
        let last = known.as_ref().filter(|read| read.at.elapsed() < STALE)?;
        Some((last.book.clone(), last.tried.elapsed() < last.fresh))
    }
}

impl Cluster {
    /// All tenants, at most a second old, or a few where there are thousands; while the store is out of reach, as they
    /// were read last. One at a time asks a store that is slow, and nobody who can do with what was read last waits for
    /// him.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked and nothing was read lately.
    pub(crate) async fn tenants(&self) -> Result<Book, StickError> {
        let last = match self.tenants.last() {
            Some((book, true)) => return Ok(book),
            last => last.map(|(book, _)| book),
        };
        let _one = match (self.tenants.reading.try_lock(), last) {
            (Ok(one), _) => one,
            (Err(_), Some(book)) => return Ok(book),
            (Err(_), None) => self.tenants.reading.lock().await,
        };
        if let Some((book, true)) = self.tenants.last() {
            return Ok(book);
        }
        let now = Instant::now();
        match self.patiently(self.store.tenant_store().tenants()).await {
            Ok(all) => {
                let book: Book = Arc::new(all.into_iter().map(Arc::new).collect());
                *lock(&self.tenants.read) =
                    Some(Read { book: book.clone(), at: now, tried: now, fresh: fresh(now.elapsed()) });
                Ok(book)
            }
            Err(e) if is_away(&e) => {
                if let Some(read) = lock(&self.tenants.read).as_mut() {
                    read.tried = Instant::now();
                }
                self.tenants.last().map(|(book, _)| book).ok_or(e)
            }
            Err(e) => Err(e),
        }
    }

    /// The next question reads them anew.
    pub(crate) fn forget_tenants(&self) {
        *lock(&self.tenants.read) = None;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_to_read_is_read_less_often() {
        let rows = [(0, 1000), (1, 1000), (20, 1000), (33, 1650), (100, 5000), (9_000, 5000)];
        for (took, ms) in rows {
            assert_eq!(fresh(Duration::from_millis(took)), Duration::from_millis(ms), "{took}");
        }
    }
}
