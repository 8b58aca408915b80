//! The index of one process: in memory, or in one file besides.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use balancer_core::WallClock;
use tokio::sync::Mutex;

use super::index::{IndexError, RecordingChange, RecordingIndex, RecordingPage, RecordingQuery, TENANT_KEY};
use super::record::{Recording, RecordingState};

#[cfg(feature = "file")]
mod disk;

/// The index of recordings of one process: what several processes share belongs into Postgres. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalRecordings {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Held while a change is made, on disk too: changes follow one another.
    writing: Arc<Mutex<()>>,
    rows: RwLock<Rows>,
    name: String,
    clock: WallClock,
    #[cfg(feature = "file")]
    disk: Option<disk::Disk>,
}

/// Recordings by id.
type Rows = BTreeMap<String, Row>;

/// One recording, with its place among those that began at the same time: the one indexed last has the largest.
#[derive(Clone, Debug)]
struct Row {
    place: u64,
    recording: Arc<Recording>,
}

impl LocalRecordings {
    /// An index in memory: nothing survives a restart.
    #[must_use]
    pub fn memory() -> Self {
        let inner = Inner {
            writing: Arc::default(),
            rows: RwLock::default(),
            name: "memory".to_owned(),
            clock: WallClock::system(),
            #[cfg(feature = "file")]
            disk: None,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Runs a change to its end, even when its caller goes away: `f` gets what is stored and says what to store.
    async fn change<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Rows, i64) -> (Vec<Recording>, T) + Send + 'static,
    ) -> Result<T, IndexError> {
        let inner = self.inner.clone();
        let held = inner.writing.clone().lock_owned().await;
        let work = tokio::spawn(async move {
            let _held = held;
            let now = i64::try_from(inner.clock.now_ms()).unwrap_or(i64::MAX);
            let (changed, out) = f(&inner.rows.read().unwrap_or_else(PoisonError::into_inner), now);
            inner.store(changed).await.map(|()| out)
        });
        work.await.unwrap_or_else(|e| Err(self.inner.lost("the change was broken off", Some(Box::new(e)))))
    }
}

impl Inner {
    fn lost(&self, why: &str, source: Option<Box<dyn std::error::Error + Send + Sync>>) -> IndexError {
        IndexError::Lost { target: self.name.clone(), why: why.to_owned(), source }
    }

    /// First on the disk, if there is one, then for those who read.
    async fn store(&self, changed: Vec<Recording>) -> Result<(), IndexError> {
        let rows: Vec<Row> = {
            let known = self.rows.read().unwrap_or_else(PoisonError::into_inner);
            let mut next = known.values().map(|row| row.place + 1).max().unwrap_or(0);
            let place = |id: &str| known.get(id).map(|row| row.place);
            let placed = changed.into_iter().map(|recording| {
                let place = place(&recording.record_id).unwrap_or_else(|| {
                    next += 1;
                    next - 1
                });
                Row { place, recording: Arc::new(recording) }
            });
            placed.collect()
        };
        #[cfg(feature = "file")]
        if let Some(disk) = &self.disk {
            disk.write(&rows).await.map_err(|e| self.lost(&e.to_string(), Some(Box::new(e))))?;
        }
        let mut known = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(rows.into_iter().map(|row| (row.recording.record_id.clone(), row)));
        Ok(())
    }

    /// What `f` makes of every row.
    fn read<T>(&self, f: impl FnOnce(&Rows) -> T) -> T {
        f(&self.rows.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is stored after `new` came in.
fn imported(old: Option<&Recording>, new: Recording) -> Recording {
    let Some(old) = old else { return new };
    let mut now = Recording { metadata: old.metadata.clone(), formats: old.formats.clone(), ..new.clone() };
    for m in new.metadata {
        now.set_meta(m.key, m.value);
    }
    for format in new.formats {
        let Some(known) = now.formats.iter_mut().find(|known| known.format == format.format) else {
            now.formats.push(format);
            continue;
        };
        let mut pictures = std::mem::take(&mut known.thumbnails);
        pictures.retain(|old| format.thumbnails.iter().all(|new| new.sequence != old.sequence));
        pictures.extend(format.thumbnails.iter().cloned());
        pictures.sort_by_key(|picture| picture.sequence);
        *known = format;
        known.thumbnails = pictures;
    }
    if old.publish_updated && old.state != Some(RecordingState::Deleted) {
        (now.publish_updated, now.published, now.state) = (true, old.published, old.state);
    }
    now
}

#[async_trait]
impl RecordingIndex for LocalRecordings {
    async fn list(&self, query: &RecordingQuery) -> Result<RecordingPage, IndexError> {
        let sought = query.sought();
        let mut found: Vec<Row> =
            self.inner.read(|rows| rows.values().filter(|row| sought.passes(&row.recording)).cloned().collect());
        // None is less than any start, so it comes last.
        found.sort_by_key(|row| Reverse((row.recording.start_ms, row.place)));
        let whole = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let page = found.iter().skip(whole(query.offset)).take(query.limit.map_or(usize::MAX, whole));
        Ok(RecordingPage { recordings: page.map(|row| (*row.recording).clone()).collect() })
    }

    async fn find(&self, record_ids: &[String]) -> Result<Vec<Recording>, IndexError> {
        let find = |rows: &Rows| record_ids.iter().filter_map(|id| rows.get(id)).cloned().collect::<Vec<_>>();
        let mut found: Vec<Recording> = self.inner.read(find).iter().map(|row| (*row.recording).clone()).collect();
        found.sort_by(|a, b| a.record_id.cmp(&b.record_id));
        found.dedup_by(|a, b| a.record_id == b.record_id);
        Ok(found)
    }

    async fn ids(&self, after: &str, limit: usize) -> Result<Vec<(String, bool)>, IndexError> {
        Ok(self.inner.read(|rows| {
            let rest = rows.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
            let there = rest.filter(|(_, row)| row.recording.state != Some(RecordingState::Deleted));
            there.take(limit).map(|(id, row)| (id.clone(), row.recording.published)).collect()
        }))
    }

    async fn import(&self, recording: &Recording) -> Result<Recording, IndexError> {
        let new = recording.clone();
        self.change(move |rows, _| {
            let now = imported(rows.get(&new.record_id).map(|row| &*row.recording), new);
            (vec![now.clone()], now)
        })
        .await
    }

    async fn set_published(&self, record_id: &str, published: bool) -> Result<bool, IndexError> {
        let id = record_id.to_owned();
        self.change(move |rows, _| {
            let shown = [Some(RecordingState::Published), Some(RecordingState::Unpublished)];
            let Some(row) = rows.get(&id).filter(|row| shown.contains(&row.recording.state)) else {
                return (Vec::new(), false);
            };
            let mut now = (*row.recording).clone();
            (now.published, now.publish_updated) = (published, true);
            now.state = Some(RecordingState::of_published(published));
            (vec![now], true)
        })
        .await
    }

    async fn update(
        &self,
        record_ids: &[String],
        tenant: Option<&str>,
        change: &RecordingChange,
    ) -> Result<bool, IndexError> {
        let (ids, tenant, change) = (record_ids.to_vec(), tenant.map(str::to_owned), change.clone());
        self.change(move |rows, _| {
            let of_tenant =
                |row: &&Row| tenant.as_deref().is_none_or(|tenant| row.recording.meta(TENANT_KEY) == Some(tenant));
            let found: Option<Vec<&Row>> = ids.iter().map(|id| rows.get(id).filter(of_tenant)).collect();
            let Some(found) = found else { return (Vec::new(), false) };
            let changed = found.into_iter().map(|row| {
                let mut now = (*row.recording).clone();
                change.apply(&mut now);
                now
            });
            (changed.collect(), true)
        })
        .await
    }

    async fn mark_deleted(&self, record_id: &str) -> Result<bool, IndexError> {
        let id = record_id.to_owned();
        self.change(move |rows, now_ms| {
            let Some(row) = rows.get(&id) else { return (Vec::new(), false) };
            let mut now = (*row.recording).clone();
            now.metadata.clear();
            now.formats.clear();
            (now.published, now.state) = (false, Some(RecordingState::Deleted));
            now.deleted_ms = now.deleted_ms.or(Some(now_ms));
            (vec![now], true)
        })
        .await
    }

    async fn add_to_tenant(&self, tenant: &str) -> Result<u64, IndexError> {
        let tenant = tenant.to_owned();
        self.change(move |rows, _| {
            let is_there = |row: &&Row| row.recording.state != Some(RecordingState::Deleted);
            let without = rows.values().filter(is_there).filter(|row| row.recording.meta(TENANT_KEY).is_none());
            let changed: Vec<Recording> = without
                .map(|row| {
                    let mut now = (*row.recording).clone();
                    now.set_meta(TENANT_KEY, &*tenant);
                    now
                })
                .collect();
            let many = changed.len() as u64;
            (changed, many)
        })
        .await
    }

    async fn check(&self) -> Result<(), IndexError> {
        Ok(())
    }

    fn describe(&self) -> String {
        self.inner.name.clone()
    }
}
