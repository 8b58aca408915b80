//! A stick store in this process's memory.

use std::time::Duration;

use async_trait::async_trait;

use super::clock::{LONGEST_TTL, Ticks, WallClock, millis};
use super::table::{At, NoJournal, Table, Time};
use super::{Binding, Claim, StickError, StickKey, StickPage, StickStore, Want};
use crate::backend::BackendId;

/// Settings of a [`MemoryStore`].
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    shards: usize,
    capacity: usize,
    cache: bool,
    clock: WallClock,
    tokio_clock: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            shards: default_shards(),
            capacity: 1_000_000,
            cache: false,
            clock: WallClock::system(),
            tokio_clock: false,
        }
    }
}

impl MemoryOptions {
    /// The defaults: four shards per processor, 1,000,000 entries, refuses when full.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many independently locked parts the table has: 1 to 65,536, by default four for each processor, rounded up
    /// to a power of two.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// The most entries kept, by default 1,000,000. Expired entries make room before anything is refused.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Declares the table a cache, by default not: when full, the entry nearest to its expiry is dropped instead of
    /// the new one refused. A live room that loses its entry may be placed a second time, elsewhere.
    #[must_use]
    pub fn cache(mut self, cache: bool) -> Self {
        self.cache = cache;
        self
    }

    /// Lets expiry run on [`tokio::time::Instant`], which tests can pause. By default it runs on the machine's coarse
    /// monotonic clock, which is at most some milliseconds behind and read in a fifth of the time.
    #[must_use]
    pub fn tokio_clock(mut self) -> Self {
        self.tokio_clock = true;
        self
    }

    /// The clock that gives stamps; by default the system's, some milliseconds exact.
    #[must_use]
    pub fn wall_clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }
}

/// Bindings of one process, in a table of independently locked shards.
///
/// Every verb exists as a plain function too (`claim_now` and so on): nothing here ever waits for anything but a
/// short lock. No runtime is needed; with [`MemoryOptions::tokio_clock`] paused time in tests applies.
/// Nothing runs in the background: expired entries are ignored when read and cleared by later operations.
///
/// Expiry is exact to a millisecond or, by the coarse clock, to a few. An extension that would move a deadline by less
/// than a thousandth of the time to live is left out.
///
/// [`list`](StickStore::list) looks at every entry, shard by shard, unless a shard has none of that server: an order by
/// server would cost every claim, and listings are asked for by drains and people.
#[derive(Debug)]
pub struct MemoryStore {
    table: Table,
    ticks: Ticks,
    clock: WallClock,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

impl MemoryStore {
    /// An empty table.
    pub fn new(options: MemoryOptions) -> Self {
        let MemoryOptions { shards, capacity, cache, clock, tokio_clock } = options;
        let ticks = if tokio_clock { Ticks::tokio() } else { Ticks::coarse() };
        Self { table: Table::new(shards, capacity, cache), ticks, clock }
    }

    /// How many live entries a table declared a cache has dropped for lack of room.
    pub fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    /// How many entries are stored, expired ones that were not cleared yet among them.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn at(&self, ttl: Duration) -> At {
        let (now, coarse) = self.ticks.read();
        At { now, until: deadline(now, ttl), wall_ms: self.clock.now_ms_by(coarse) }
    }

    /// [`StickStore::get`] without waiting.
    pub fn get_now(&self, key: &StickKey, extend: Option<Duration>) -> Option<Binding> {
        let now = self.ticks.now();
        let until = extend.map(|ttl| deadline(now, ttl));
        self.table.get(key, now, until, &NoJournal).map(|(binding, _)| binding)
    }

    /// [`StickStore::claim`] without waiting.
    ///
    /// # Errors
    ///
    /// [`StickError::Full`] when the table is full and not declared a cache.
    pub fn claim_now(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.put(key, None, want, ttl)
    }

    /// [`StickStore::rebind`] without waiting.
    ///
    /// # Errors
    ///
    /// [`StickError::Full`] when nothing is stored for `key`, the table is full and not declared a cache.
    pub fn rebind_now(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.put(key, Some(seen), want, ttl)
    }

    #[inline]
    fn put(&self, key: &StickKey, seen: Option<&Binding>, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        match self.table.put(key, seen, want, self.at(ttl), &NoJournal) {
            Some((claim, _)) => Ok(claim),
            None => Err(self.table.full()),
        }
    }

    /// [`StickStore::renew`] without waiting.
    pub fn renew_now(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> bool {
        self.table.renew(key, seen, self.at(ttl), &NoJournal).0
    }

    /// [`StickStore::release`] without waiting.
    pub fn release_now(&self, key: &StickKey, seen: &Binding) -> bool {
        self.table.release(key, seen, self.ticks.now(), &NoJournal).0
    }

    /// [`StickStore::close`] without waiting.
    pub fn close_now(&self, backend: &BackendId, closed: bool) {
        self.table.close(backend, closed, || ());
    }

    /// [`StickStore::count`] without waiting.
    pub fn count_now(&self, backend: &BackendId) -> u64 {
        self.table.count(backend, self.ticks.now(), &NoJournal)
    }

    /// [`StickStore::list`] without waiting.
    ///
    /// # Errors
    ///
    /// [`StickError::Config`] when `from` is not a position of this store.
    pub fn list_now(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        self.table.list(backend, from, self.ticks.now())
    }
}

fn default_shards() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.saturating_mul(4).next_power_of_two()
}

/// No time to live is cut to nothing.
fn millis_up(ttl: Duration) -> Time {
    millis(ttl.saturating_add(Duration::from_nanos(999_999)))
}

fn deadline(now: Time, ttl: Duration) -> Time {
    now.saturating_add(millis_up(ttl.min(LONGEST_TTL)))
}

#[async_trait]
impl StickStore for MemoryStore {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        Ok(self.get_now(key, extend))
    }

    fn at_hand(&self, key: &str, extend: Option<Duration>) -> Option<Binding> {
        let now = self.ticks.now();
        self.table.get_named(key, now, extend.map(|ttl| deadline(now, ttl)))
    }

    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.claim_now(key, want, ttl)
    }

    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.rebind_now(key, seen, want, ttl)
    }

    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        Ok(self.renew_now(key, seen, ttl))
    }

    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        Ok(self.release_now(key, seen))
    }

    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        self.close_now(backend, closed);
        Ok(())
    }

    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        self.list_now(backend, from)
    }

    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        Ok(self.count_now(backend))
    }
}
