//! The file behind a local store: changes of many requests reach the disk in one commit, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use balancer_core::{FileOptions, FileStore, FileTable, StickError, TableChange};
use tokio::sync::{Notify, watch};

use super::{LocalStore, State, callbacks, rows, tenants};

/// What the waiters watch: up to where everything is durable, and whether writing has failed for good.
#[derive(Clone, Debug, Default)]
struct Reached {
    seq: u64,
    failed: Option<String>,
}

#[derive(Debug)]
pub(super) struct Disk {
    path: String,
    wake: Arc<Notify>,
    reached: watch::Receiver<Reached>,
    closing: Arc<AtomicBool>,
}

impl Disk {
    pub(super) fn kick(&self) {
        self.wake.notify_one();
    }

    pub(super) async fn reach(&self, seq: u64) -> Result<(), StickError> {
        let mut reached = self.reached.clone();
        let now = reached.wait_for(|r| r.seq >= seq || r.failed.is_some()).await;
        let why = match now {
            Ok(r) => match &r.failed {
                None => return Ok(()),
                Some(why) => why.clone(),
            },
            Err(_) => "its writer has stopped".to_owned(),
        };
        Err(StickError::Lost { target: self.path.clone(), why, source: None })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.closing.store(true, SeqCst);
        self.wake.notify_one();
    }
}

impl LocalStore {
    /// A store in one file: an acknowledged change survives a kill. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the file is damaged, owned by another process, or cannot be written.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future opens nothing.
    pub async fn open(path: impl AsRef<std::path::Path>) -> Result<Arc<Self>, StickError> {
        let path = path.as_ref().to_owned();
        let name = path.display().to_string();
        let opened = tokio::task::spawn_blocking(move || FileStore::open(path, &FileOptions::new())).await;
        let file = opened.map_err(|e| StickError::Lost {
            target: name.clone(),
            why: "opening it was broken off".into(),
            source: Some(Box::new(e)),
        })??;
        let table = file.table("bbb");
        let state = load(&table, &name).await?;
        let wake = Arc::new(Notify::new());
        let closing = Arc::new(AtomicBool::new(false));
        let (tell, reached) = watch::channel(Reached { seq: state.seq, failed: None });
        let disk = Disk { path: name.clone(), wake: wake.clone(), reached, closing: closing.clone() };
        let mut store = Self::memory();
        store.state = std::sync::Mutex::new(state);
        store.name = format!("file {name}");
        store.disk = Some(disk);
        let store = Arc::new(store);
        let weak = Arc::downgrade(&store);
        tokio::spawn(async move {
            // The file stays open as long as this task lives.
            let _file = file;
            loop {
                wake.notified().await;
                let Some(store) = weak.upgrade() else { return };
                let (changes, seq) = {
                    let mut s = store.lock();
                    (std::mem::take(&mut s.dirty), s.seq)
                };
                drop(store);
                let changes: Vec<TableChange> = changes
                    .into_iter()
                    .map(|(key, value)| match value {
                        Some(v) => TableChange::Put(key, v),
                        None => TableChange::Delete(key),
                    })
                    .collect();
                if !changes.is_empty()
                    && let Err(e) = table.batch(changes).await
                {
                    tracing::error!(error = %e, "the data file cannot be written");
                    tell.send_modify(|r| r.failed = Some(e.to_string()));
                    return;
                }
                tell.send_modify(|r| r.seq = r.seq.max(seq));
                if closing.load(SeqCst) {
                    return;
                }
            }
        });
        Ok(store)
    }
}

async fn load(table: &FileTable, name: &str) -> Result<State, StickError> {
    let mut s = State::default();
    let corrupt = |key: &str, e: serde_json::Error| StickError::Corrupt {
        target: name.to_owned(),
        why: format!("entry {key:?} cannot be read: {e}; restore a backup or move the file away"),
    };
    for (key, row) in table.list("server/").await? {
        let record = rows::read_server(&row).map_err(|e| corrupt(&key, e))?;
        s.servers.insert(record.id.clone(), record);
    }
    for (key, _) in table.list("closed/").await? {
        s.closed.insert(key.strip_prefix("closed/").unwrap_or(&key).into());
    }
    for prefix in [callbacks::HOOK, callbacks::REMOVED, callbacks::URLS, callbacks::OUTBOX, callbacks::NEXT] {
        for (key, row) in table.list(prefix).await? {
            s.outside.load(&key, &row).map_err(|e| corrupt(&key, e))?;
        }
    }
    for prefix in [tenants::TENANT, tenants::OWNER] {
        for (key, row) in table.list(prefix).await? {
            s.tenants.load(&key, &row).map_err(|e| corrupt(&key, e))?;
        }
    }
    for (key, row) in table.list("meeting/").await? {
        let held = rows::read_meeting(&row).map_err(|e| corrupt(&key, e))?;
        s.last_stamp = s.last_stamp.max(held.record.binding.stamp);
        if !held.record.voice_bridge.is_empty() {
            s.bridges.insert(held.record.voice_bridge.clone(), held.record.id.clone());
        }
        s.meetings.insert(held.record.id.clone(), held);
    }
    Ok(s)
}
