//! A stick store that is HAProxy's stick table too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{BackendId, Binding, Claim, StickError, StickKey, StickPage, StickStore, Want};

use super::error::PeerNodeError;
use super::mirror::Pin;
use super::names::NOBODY;
use super::node::{Inner, PeerNode};
use super::options::{PeerServer, PeerTableOptions};
use super::shelf::Shelf;
use super::status::count;

/// A stick store that is one table with those of HAProxys.
///
/// Another store stands behind it and decides: it answers every call, so a claim is as atomic as there, and what it
/// promises about restarts and about several processes holds here. Nodes of one mesh share a store (Redis); with a
/// store of its own each, two nodes would contradict each other.
///
/// - **Ours are taught.** What is claimed or moved here is told to every HAProxy at once, with the server's name and, if
///   it is known, its number; a release un-pins. What is used here is told again after each quarter of its life.
/// - **Theirs are learned.** What a HAProxy places is claimed in the store for the server it chose. What it uses lives
///   on in the store.
/// - **Conflicts** are settled by one rule: *what the store holds stays, and whoever said otherwise is told so*, at once
///   and once more a second later, since HAProxys may have told each other meanwhile. Each is counted
///   ([`PeerTableStatus::conflicts`](super::PeerTableStatus::conflicts)) and told
///   ([`NodeEvent::Conflict`](super::NodeEvent::Conflict)). The rule has one exception, if
///   [servers can be unusable](PeerTableOptions::with_serving): a room whose server is moves to where a HAProxy put it.
/// - **Without the store** (it cannot be asked) what is known stays. What HAProxys place then is passed on as they told
///   it, and claimed when the store is back.
///
/// Entries end when they are not used for as long as the table says, here as there; a life can be lengthened, never
/// shortened. What was released while a HAProxy was away comes back with it, until its time is over.
///
/// Keys that the table cannot have (too long, or no address in a table of addresses) are bound in the store only.
#[derive(Clone)]
pub struct PeerStickStore {
    inner: Arc<Inner>,
    shelf: Arc<Shelf>,
}

impl std::fmt::Debug for PeerStickStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerStickStore").field("table", &self.shelf.options.name).finish_non_exhaustive()
    }
}

impl PeerStickStore {
    /// This table of a node that does not run yet, with the store that decides.
    ///
    /// # Errors
    /// If the node runs, or the table has a store already.
    pub fn new(node: &PeerNode, options: PeerTableOptions, store: Arc<dyn StickStore>) -> Result<Self, PeerNodeError> {
        Ok(Self { inner: node.inner.clone(), shelf: node.add(options, store)? })
    }

    /// Knows a server from now on, as HAProxy names and numbers it. Entries that tell a number alone, as those of
    /// `set table`, are passed by until somebody has said whose it is.
    pub fn know_server(&self, server: &PeerServer) {
        self.shelf.known().names.know(server);
    }

    /// The store holds this, for so long if that is known.
    fn note(&self, key: &StickKey, binding: &Binding, ttl: Option<Duration>) {
        self.inner.note(&self.shelf, key, binding, ttl);
    }
}

impl Inner {
    /// The store holds this: whoever does not know it is told.
    fn note(&self, shelf: &Shelf, key: &StickKey, binding: &Binding, ttl: Option<Duration>) {
        let Some(bytes) = shelf.bytes(key.as_str()) else { return count(&shelf.counts.untaught) };
        let (now, life) = (self.now(), shelf.life_ms());
        let asked = ttl.map_or(life, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let mut known = shelf.known();
        let server = known.names.of_backend(&binding.backend);
        let Some(server) = server else { return count(&shelf.counts.untaught) };
        let touched = known.mirror.touch(&bytes, server, binding.stamp, ttl.map_or(0, |_| asked), now);
        drop(known);
        match touched {
            Some((row, true)) => self.announce(shelf, row, 0),
            Some((_, false)) => {}
            None => {
                let until = now.saturating_add(asked);
                self.pin(shelf, &bytes, Pin { server, stamp: binding.stamp, until, knows: 0, stored: true });
            }
        }
    }

    /// What the store holds for the servers that are known.
    pub(super) async fn read_store(&self, shelf: &Shelf) -> Result<(), StickError> {
        let backends = shelf.known().names.backends();
        for backend in &backends {
            let mut from = None;
            loop {
                let page = shelf.store.list(backend, from.as_deref()).await?;
                for (key, binding) in &page.entries {
                    self.note(shelf, key, binding, None);
                }
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl StickStore for PeerStickStore {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        let found = self.shelf.store.get(key, extend).await?;
        if let Some(binding) = &found {
            self.note(key, binding, extend);
        }
        Ok(found)
    }

    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        let claim = self.shelf.store.claim(key, want, ttl).await?;
        match &claim {
            Claim::Won(binding) => self.note(key, binding, Some(ttl)),
            Claim::Held(binding) => self.note(key, binding, None),
            Claim::Closed => {}
        }
        Ok(claim)
    }

    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        let claim = self.shelf.store.rebind(key, seen, want, ttl).await?;
        match &claim {
            Claim::Won(binding) => self.note(key, binding, Some(ttl)),
            Claim::Held(binding) => self.note(key, binding, None),
            Claim::Closed => {}
        }
        Ok(claim)
    }

    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        let renewed = self.shelf.store.renew(key, seen, ttl).await?;
        if renewed {
            self.note(key, seen, Some(ttl));
        }
        Ok(renewed)
    }

    async fn confirm(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.shelf.store.confirm(key, seen).await
    }

    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        let released = self.shelf.store.release(key, seen).await?;
        if released && let Some(bytes) = self.shelf.bytes(key.as_str()) {
            let now = self.inner.now();
            let server = self.shelf.known().names.of_backend(&seen.backend);
            if let Some(server) = server {
                self.shelf.released(&bytes, server, now);
            }
            let until = now.saturating_add(self.shelf.life_ms());
            let pin = Pin { server: NOBODY, stamp: seen.stamp, until, knows: 0, stored: true };
            self.inner.pin(&self.shelf, &bytes, pin);
        }
        Ok(released)
    }

    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        self.shelf.store.close(backend, closed).await
    }

    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        let page = self.shelf.store.list(backend, from).await?;
        // Whoever reads all of the store has it taught.
        for (key, binding) in &page.entries {
            self.note(key, binding, None);
        }
        Ok(page)
    }

    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        self.shelf.store.count(backend).await
    }
}
