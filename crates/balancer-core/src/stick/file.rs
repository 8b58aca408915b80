//! A stick store in one local file, for one process that must not forget across restarts.

mod area;
mod owner;
mod rows;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;

pub use area::{FileTable, TableChange};

use self::owner::Owner;
use self::writer::{Core, Write};
use super::clock::{LONGEST_TTL, WallClock, millis};
use super::table::{At, Journal};
use super::{Binding, Claim, StickError, StickKey, StickPage, StickStore, Want};
use crate::backend::BackendId;

/// Settings of a [`FileStore`].
#[derive(Clone, Debug)]
pub struct FileOptions {
    capacity: usize,
    cache_bytes: usize,
    sweep_every: Duration,
    clock: WallClock,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            capacity: 1_000_000,
            cache_bytes: 64 * 1024 * 1024,
            sweep_every: Duration::from_secs(1),
            clock: WallClock::system(),
        }
    }
}

impl FileOptions {
    /// The defaults: 1,000,000 bindings, 64 MiB of page cache, a sweep each second, the system's clock.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most bindings kept, by default 1,000,000; more are refused, but what a file holds already is taken over.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Memory for pages of the file, in bytes, by default 64 MiB.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// How often expired rows are removed and extensions made durable, by default each second; at least 10 ms.
    #[must_use]
    pub fn sweep_every(mut self, every: Duration) -> Self {
        self.sweep_every = every.max(Duration::from_millis(10));
        self
    }

    /// The clock of stamps and of expiry; by default the system's.
    #[must_use]
    pub fn wall_clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }
}

/// Bindings in one local file, read from memory and written in groups.
///
/// One thread takes everything that waits to be written, commits it in one transaction that is forced to the disk,
/// and then answers everybody: an answered write survives the end of the process. Readers are served from memory,
/// and are never told of a binding that is not on the disk yet. Expiry is kept as wall clock time, so it goes on
/// while the process is down. An extension by [`StickStore::get`] reaches the file with the next commit or sweep, one
/// by less than a thousandth of the time to live is left out;
/// [`StickStore::renew`] waits for the disk.
///
/// One process owns a file at a time (`PATH.lock` beside it says which). Dropping the store and every
/// [`FileTable`] of it writes what is outstanding and gives the file up; that blocks for one commit. After a failed
/// write the store refuses everything until it is opened again.
pub struct FileStore {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
    // Given up last, when the thread has closed the database.
    _owner: Owner,
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.shut();
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has already marked the store as failed.
            let _ = thread.join();
        }
    }
}

impl FileStore {
    /// Opens the file, or makes it, and reads all of it into memory. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`StickError::Refused`] when another process owns the file, naming it; [`StickError::Corrupt`] when the file
    /// is damaged or something else; [`StickError::Config`] when it cannot be opened or made.
    pub fn open(path: impl AsRef<Path>, options: &FileOptions) -> Result<Self, StickError> {
        let path = path.as_ref().to_path_buf();
        let owner = Owner::take(&path, &options.clock)?;
        let (core, database) = writer::open(&path, options)?;
        let core = Arc::new(core);
        let thread = std::thread::Builder::new().name("stick-file".to_owned()).spawn({
            let core = Arc::clone(&core);
            move || core.run(database)
        });
        let thread = thread.map_err(|error| StickError::Config {
            what: format!("writer thread of {}", path.display()),
            why: format!("cannot be started: {error}"),
        })?;
        Ok(Self { inner: Arc::new(Inner { core, thread: Some(thread), path, _owner: owner }) })
    }

    /// A key/value area of this name in the same file, for what an adapter keeps beside the bindings.
    ///
    /// Areas of different names are apart; the same name is the same area. It keeps the file open.
    pub fn table(&self, name: impl Into<Arc<str>>) -> FileTable {
        FileTable::new(Arc::clone(&self.inner), name.into())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    fn core(&self) -> &Core {
        &self.inner.core
    }

    fn at(&self, ttl: Duration) -> At {
        let now = self.core().clock.now_ms();
        At { now, until: deadline(now, ttl), wall_ms: now }
    }

    async fn put(
        &self,
        key: &StickKey,
        seen: Option<&Binding>,
        want: &Want,
        ttl: Duration,
    ) -> Result<Claim, StickError> {
        let core = self.core();
        let _place = core.place().await?;
        let (claim, seq) = core.table.put(key, seen, want, self.at(ttl), core).ok_or_else(|| core.table.full())?;
        core.durable(seq).await?;
        Ok(claim)
    }
}

fn deadline(now: u64, ttl: Duration) -> u64 {
    now.saturating_add(millis(ttl.min(LONGEST_TTL)))
}

impl Journal for Core {
    type Seq = u64;

    fn put(&self, key: &StickKey, binding: &Binding, until: u64) -> u64 {
        self.write(Write::Stick(key.clone(), Some((binding.clone(), until))))
    }

    fn extended(&self, key: &StickKey, binding: &Binding, until: u64) {
        self.write_later(key, binding, until);
    }

    fn gone(&self, key: &StickKey) -> u64 {
        self.write(Write::Stick(key.clone(), None))
    }
}

#[async_trait]
impl StickStore for FileStore {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        let core = self.core();
        core.check()?;
        let now = core.clock.now_ms();
        let Some((binding, seq)) = core.table.get(key, now, extend.map(|ttl| deadline(now, ttl)), core) else {
            return Ok(None);
        };
        core.durable(seq).await?;
        Ok(Some(binding))
    }

    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.put(key, None, want, ttl).await
    }

    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.put(key, Some(seen), want, ttl).await
    }

    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        let core = self.core();
        let _place = core.place().await?;
        let (done, seq) = core.table.renew(key, seen, self.at(ttl), core);
        core.durable(seq).await?;
        Ok(done)
    }

    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        let core = self.core();
        let _place = core.place().await?;
        let (done, seq) = core.table.release(key, seen, core.clock.now_ms(), core);
        core.durable(seq).await?;
        Ok(done)
    }

    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        let core = self.core();
        let _place = core.place().await?;
        let seq = core.table.close(backend, closed, || core.write(Write::Closed(backend.clone(), closed)));
        core.durable(seq).await
    }

    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        self.core().check()?;
        self.core().table.list(backend, from, self.core().clock.now_ms())
    }

    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        let core = self.core();
        core.check()?;
        Ok(core.table.count(backend, core.clock.now_ms(), core))
    }
}
