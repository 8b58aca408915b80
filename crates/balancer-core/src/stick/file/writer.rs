//! The thread that owns the database, and the queue in front of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::area::TableChange;
use super::{FileOptions, owner, rows};
use crate::backend::BackendId;
use crate::stick::table::Table;
use crate::stick::{Binding, StickError, StickKey, WallClock};

const STICKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sticks");
const CLOSED: TableDefinition<'_, &str, ()> = TableDefinition::new("closed");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const AREAS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("areas");
/// The newest stamp given, under this name in `META`.
const STAMP: &str = "stamp";
/// Writers that may wait for the disk at once; more wait for their turn.
const WRITERS: usize = 16_384;
/// Writes that may wait; writers that were given up leave theirs behind.
const WRITES: usize = 4 * WRITERS;
const SHARDS: usize = 64;

/// One thing to write.
pub(super) enum Write {
    Stick(StickKey, Option<(Binding, u64)>),
    Closed(BackendId, bool),
    Area(Arc<str>, Vec<TableChange>),
}

#[derive(Default)]
struct Queue {
    writes: Vec<Write>,
    /// Extensions of entries that nobody waits for; the newest of each key.
    later: HashMap<StickKey, (Binding, u64)>,
    last: u64,
    shut: bool,
}

#[derive(Clone, Default)]
struct Progress {
    done: u64,
    failed: Option<Arc<str>>,
}

pub(super) type Areas = HashMap<String, BTreeMap<String, Vec<u8>>>;

/// What the store and its writer share.
pub(super) struct Core {
    pub(super) table: Table<u64>,
    pub(super) areas: RwLock<Areas>,
    pub(super) clock: WallClock,
    path: String,
    sweep_every: Duration,
    queue: Mutex<Queue>,
    waiting: Condvar,
    progress: watch::Sender<Progress>,
    places: Semaphore,
}

/// Opens the database and reads all of it. A damaged file is an error, never a panic.
pub(super) fn open(path: &Path, options: &FileOptions) -> Result<(Core, Database), StickError> {
    catch_unwind(AssertUnwindSafe(|| read_all(path, options)))
        .unwrap_or_else(|_| Err(corrupt(path, "the database cannot be read")))
}

fn read_all(path: &Path, options: &FileOptions) -> Result<(Core, Database), StickError> {
    let mut database =
        Database::builder().set_cache_size(options.cache_bytes).create(path).map_err(|error| opening(path, error))?;
    match database.check_integrity() {
        Ok(true) => {}
        Ok(false) => tracing::warn!(path = %path.display(), "the file was damaged and has been repaired"),
        Err(error) => return Err(opening(path, error)),
    }
    let core = Core {
        table: Table::new(SHARDS, options.capacity, false),
        areas: RwLock::default(),
        clock: options.clock.clone(),
        path: path.display().to_string(),
        sweep_every: options.sweep_every,
        queue: Mutex::default(),
        waiting: Condvar::new(),
        progress: watch::Sender::new(Progress::default()),
        places: Semaphore::new(WRITERS),
    };
    core.fill(&database).map_err(|why| corrupt(path, &why))?;
    Ok((core, database))
}

fn opening(path: &Path, error: DatabaseError) -> StickError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => owner::refused(path, "another process has it open"),
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => corrupt(path, &error.to_string()),
            _ => StickError::Config {
                what: format!("file {}", path.display()),
                why: format!("{error}; the directory must exist and the file be writable for this process"),
            },
        },
        other => corrupt(path, &other.to_string()),
    }
}

fn corrupt(path: &Path, found: &str) -> StickError {
    StickError::Corrupt {
        target: path.display().to_string(),
        why: format!(
            "damaged, or not a file of this program ({found}); put a backup in its place, or move it away to begin \
             with an empty one"
        ),
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

impl Core {
    fn fill(&self, database: &Database) -> Result<(), String> {
        let make = database.begin_write().map_err(text)?;
        make.open_table(STICKS).map_err(text)?;
        make.open_table(CLOSED).map_err(text)?;
        make.open_table(META).map_err(text)?;
        make.open_table(AREAS).map_err(text)?;
        make.commit().map_err(text)?;

        let read = database.begin_read().map_err(text)?;
        for row in read.open_table(STICKS).map_err(text)?.iter().map_err(text)? {
            let (key, value) = row.map_err(text)?;
            let name = key.value();
            let (binding, until) = rows::decode(value.value()).map_err(|found| format!("{found} under {name:?}"))?;
            let key = StickKey::new(name).map_err(text)?;
            if !self.table.restore(&key, &binding, until) {
                return Err(format!("too many servers to tell {:?} from the others", binding.backend));
            }
        }
        for row in read.open_table(CLOSED).map_err(text)?.iter().map_err(text)? {
            let backend = BackendId::new(row.map_err(text)?.0.value());
            self.table.close(&backend, true, || ());
        }
        if let Some(stamp) = read.open_table(META).map_err(text)?.get(STAMP).map_err(text)? {
            self.table.raise_stamps(stamp.value());
        }
        let mut areas = self.areas.write().unwrap_or_else(PoisonError::into_inner);
        for row in read.open_table(AREAS).map_err(text)?.iter().map_err(text)? {
            let (place, value) = row.map_err(text)?;
            let (area, key) = place.value();
            areas.entry(area.to_owned()).or_default().insert(key.to_owned(), value.value().to_vec());
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails when an earlier write did.
    pub(super) fn check(&self) -> Result<(), StickError> {
        self.failure(&self.progress.borrow())
    }

    fn failure(&self, progress: &Progress) -> Result<(), StickError> {
        match &progress.failed {
            None => Ok(()),
            Some(why) => Err(StickError::Lost {
                target: self.path.clone(),
                why: format!("a write was not done ({why}); check the disk for room and faults, then open it again"),
                source: None,
            }),
        }
    }

    /// A place among the writers that may wait for the disk.
    pub(super) async fn place(&self) -> Result<SemaphorePermit<'_>, StickError> {
        self.check()?;
        let place = self.places.acquire().await.map_err(|error| StickError::Lost {
            target: self.path.clone(),
            why: "the store is closed".to_owned(),
            source: Some(Box::new(error)),
        })?;
        if self.is_crowded() {
            let mut progress = self.progress.subscribe();
            while self.is_crowded() {
                self.check()?;
                // The sender lives as long as the store.
                let _ = progress.changed().await;
            }
        }
        Ok(place)
    }

    fn is_crowded(&self) -> bool {
        self.lock().writes.len() >= WRITES
    }

    /// Queues a write and returns its number.
    pub(super) fn write(&self, write: Write) -> u64 {
        let mut queue = self.lock();
        if let Write::Stick(key, _) = &write {
            queue.later.remove(key);
        }
        queue.writes.push(write);
        queue.last += 1;
        let seq = queue.last;
        drop(queue);
        self.waiting.notify_one();
        seq
    }

    /// Leaves an extension for the next commit.
    pub(super) fn write_later(&self, key: &StickKey, binding: &Binding, until: u64) {
        self.lock().later.insert(key.clone(), (binding.clone(), until));
    }

    /// Waits until a write and all before it are on the disk.
    pub(super) async fn durable(&self, seq: u64) -> Result<(), StickError> {
        {
            let progress = self.progress.borrow();
            if progress.done >= seq {
                return self.failure(&progress);
            }
        }
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|progress| progress.done >= seq || progress.failed.is_some()).await;
        match reached {
            Ok(progress) if progress.done >= seq => Ok(()),
            Ok(progress) => self.failure(&progress),
            // The sender lives as long as the store.
            Err(_) => Ok(()),
        }
    }

    /// Tells the writer to finish what is queued and end.
    pub(super) fn shut(&self) {
        self.lock().shut = true;
        self.waiting.notify_one();
    }

    /// The writer's life.
    pub(super) fn run(&self, database: Database) {
        let ended = catch_unwind(AssertUnwindSafe(|| self.write_all(&database)));
        let why = match ended {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(_) => Some("the writer ended unexpectedly".to_owned()),
        };
        if let Some(why) = why {
            tracing::error!(path = %self.path, %why, "write failed; the store refuses everything until opened again");
            self.progress.send_modify(|progress| progress.failed = Some(why.into()));
        }
        // Closing may touch the file again, which after a failed write may end in a panic of its own.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(database)));
    }

    fn write_all(&self, database: &Database) -> Result<(), String> {
        let mut swept = Instant::now();
        loop {
            let queue = self.lock();
            let idle = |queue: &mut Queue| queue.writes.is_empty() && !queue.shut;
            let waited = self.waiting.wait_timeout_while(queue, self.sweep_every, idle);
            let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if swept.elapsed() >= self.sweep_every {
                drop(queue);
                swept = Instant::now();
                self.table.sweep(self.clock.now_ms(), self);
                queue = self.lock();
            }
            let writes = std::mem::take(&mut queue.writes);
            let later = std::mem::take(&mut queue.later);
            let (last, shut) = (queue.last, queue.shut);
            drop(queue);
            if !writes.is_empty() || !later.is_empty() {
                commit(database, &writes, &later).map_err(text)?;
                self.show(writes);
                self.progress.send_modify(|progress| progress.done = last);
            }
            if shut {
                return Ok(());
            }
        }
    }

    /// Makes committed changes of the areas visible.
    fn show(&self, writes: Vec<Write>) {
        let changed = writes.into_iter().filter_map(|write| match write {
            Write::Area(area, changes) => Some((area, changes)),
            Write::Stick(..) | Write::Closed(..) => None,
        });
        let mut areas = None;
        for (name, changes) in changed {
            let areas = areas.get_or_insert_with(|| self.areas.write().unwrap_or_else(PoisonError::into_inner));
            let area = areas.entry(name.as_ref().to_owned()).or_default();
            for change in changes {
                match change {
                    TableChange::Put(key, value) => area.insert(key, value),
                    TableChange::Delete(key) => area.remove(&key),
                };
            }
        }
    }
}

fn commit(database: &Database, writes: &[Write], later: &HashMap<StickKey, (Binding, u64)>) -> Result<(), redb::Error> {
    let mut work = database.begin_write()?;
    work.set_durability(Durability::Immediate)?;
    {
        let mut sticks = work.open_table(STICKS)?;
        let mut closed = work.open_table(CLOSED)?;
        let mut meta = work.open_table(META)?;
        let mut areas = work.open_table(AREAS)?;
        let mut newest = 0;
        for write in writes {
            match write {
                Write::Stick(key, Some((binding, until))) => {
                    newest = newest.max(binding.stamp);
                    sticks.insert(key.as_str(), rows::encode(binding, *until).as_slice())?;
                }
                Write::Stick(key, None) => {
                    sticks.remove(key.as_str())?;
                }
                Write::Closed(backend, true) => {
                    closed.insert(backend.as_str(), ())?;
                }
                Write::Closed(backend, false) => {
                    closed.remove(backend.as_str())?;
                }
                Write::Area(area, changes) => {
                    for change in changes {
                        match change {
                            TableChange::Put(key, value) => {
                                areas.insert((&**area, key.as_str()), value.as_slice())?;
                            }
                            TableChange::Delete(key) => {
                                areas.remove((&**area, key.as_str()))?;
                            }
                        }
                    }
                }
            }
        }
        for (key, (binding, until)) in later {
            sticks.insert(key.as_str(), rows::encode(binding, *until).as_slice())?;
        }
        let known = meta.get(STAMP)?.map_or(0, |stamp| stamp.value());
        if newest > known {
            meta.insert(STAMP, newest)?;
        }
    }
    work.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_of_those_who_gave_up_hold_the_next_ones_back() {
        let folder = std::env::temp_dir().join(format!("balancer-writer-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (core, database) = open(&folder.join("sticks.redb"), &FileOptions::new()).unwrap();
        let core = Arc::new(core);
        // Nobody writes yet, as behind a disk that hangs.
        for _ in 0..WRITES {
            let place = core.place().await.unwrap();
            core.write(Write::Closed("one".into(), true));
            drop(place);
        }
        let waits = Duration::from_millis(50);
        assert!(tokio::time::timeout(waits, core.place()).await.is_err());
        let writer = std::thread::spawn({
            let core = core.clone();
            move || core.run(database)
        });
        drop(core.place().await.unwrap());
        core.shut();
        writer.join().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
