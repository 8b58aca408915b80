//! Rooms by their own names, over a store that has them percent-encoded, and the other way round.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{BackendId, Binding, Claim, StickError, StickKey, StickPage, StickStore, Want};

use crate::render::{pin_key, unpin_key};

/// Which way a store is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Callers say `big hall`, the store says `big%20hall`.
    Encode,
    /// Callers say `big%20hall`, the store says `big hall`.
    Decode,
}

/// A store whose keys are written otherwise.
///
/// A controller keeps rooms under the keys of its pin map, percent-encoded. Stick tables and messages to agents have
/// the rooms themselves. Seen through this, one store serves both, and what it holds outlives a change of [`Mode`](super::Mode).
/// What a controller keeps beside rooms (orders) is not seen.
#[derive(Clone)]
pub struct RoomKeys {
    store: Arc<dyn StickStore>,
    way: Way,
}

impl fmt::Debug for RoomKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomKeys").field("way", &self.way).finish_non_exhaustive()
    }
}

impl RoomKeys {
    /// Rooms by their own names, over a store that has them percent-encoded.
    pub fn plain_over(store: Arc<dyn StickStore>) -> Self {
        Self { store, way: Way::Encode }
    }

    /// Rooms percent-encoded, over a store that has them by their own names.
    pub fn encoded_over(store: Arc<dyn StickStore>) -> Self {
        Self { store, way: Way::Decode }
    }

    fn inner(&self, key: &StickKey) -> Result<StickKey, StickError> {
        match self.way {
            Way::Encode => StickKey::new(pin_key(key.as_str())),
            Way::Decode => StickKey::new(unpin_key(key.as_str()).unwrap_or_default()),
        }
    }

    fn outer(&self, key: &StickKey) -> Option<StickKey> {
        match self.way {
            Way::Encode => StickKey::new(unpin_key(key.as_str())?).ok(),
            Way::Decode => StickKey::new(pin_key(key.as_str())).ok(),
        }
    }
}

#[async_trait]
impl StickStore for RoomKeys {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        self.store.get(&self.inner(key)?, extend).await
    }

    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.store.claim(&self.inner(key)?, want, ttl).await
    }

    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.store.rebind(&self.inner(key)?, seen, want, ttl).await
    }

    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        self.store.renew(&self.inner(key)?, seen, ttl).await
    }

    async fn confirm(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.store.confirm(&self.inner(key)?, seen).await
    }

    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.store.release(&self.inner(key)?, seen).await
    }

    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        self.store.close(backend, closed).await
    }

    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        let page = self.store.list(backend, from).await?;
        let entries = page.entries.into_iter().filter_map(|(key, binding)| Some((self.outer(&key)?, binding)));
        Ok(StickPage { entries: entries.collect(), next: page.next })
    }

    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        self.store.count(backend).await
    }
}

#[cfg(test)]
mod tests {
    use balancer_core::{MemoryStore, Token};

    use super::*;

    #[tokio::test]
    async fn both_ways_lead_to_the_same_room() {
        let store: Arc<dyn StickStore> = Arc::new(MemoryStore::default());
        let plain = Arc::new(RoomKeys::plain_over(store.clone()));
        let back = RoomKeys::encoded_over(plain.clone());
        let want = Want { backend: "mm1".into(), token: Token(1) };
        let key = |text: &str| StickKey::new(text).unwrap();
        let hour = Duration::from_secs(3600);
        plain.claim(&key("big hall %"), &want, hour).await.unwrap();
        for (store, text) in
            [(&*store, "big%20hall%20%25"), (&*plain as &dyn StickStore, "big hall %"), (&back, "big%20hall%20%25")]
        {
            let bound = store.get(&key(text), None).await.unwrap().unwrap();
            assert_eq!(bound.token, Token(1));
            let listed = store.list(&"mm1".into(), None).await.unwrap().entries;
            assert_eq!(listed[0].0.as_str(), text);
        }
        // Orders are none of the rooms.
        store.claim(&key("!order/mm1"), &want, hour).await.unwrap();
        assert_eq!(plain.list(&"mm1".into(), None).await.unwrap().entries.len(), 1);
        assert!(back.get(&key("!order/mm1"), None).await.is_err());
    }
}
