//! The file behind the index of one process: an acknowledged change survives a kill.

use std::path::Path;
use std::sync::{Arc, RwLock};

use balancer_core::{FileOptions, FileStore, FileTable, StickError, TableChange, WallClock};
use serde::{Deserialize, Serialize};

use super::super::index::IndexError;
use super::super::record::Recording;
use super::{Inner, LocalRecordings, Row, Rows};

const PREFIX: &str = "recording/";

#[derive(Debug)]
pub(super) struct Disk {
    table: FileTable,
}

#[derive(Serialize)]
struct Written<'a> {
    place: u64,
    recording: &'a Recording,
}

#[derive(Deserialize)]
struct Read {
    place: u64,
    recording: Recording,
}

impl Disk {
    /// Writes these rows in one step.
    pub(super) async fn write(&self, rows: &[Row]) -> Result<(), StickError> {
        let put = |row: &Row| {
            // Plain text and numbers always serialise.
            let text = serde_json::to_vec(&Written { place: row.place, recording: &row.recording }).unwrap_or_default();
            TableChange::Put(format!("{PREFIX}{}", row.recording.record_id), text)
        };
        if rows.is_empty() { Ok(()) } else { self.table.batch(rows.iter().map(put).collect()).await }
    }
}

impl LocalRecordings {
    /// An index in one file, which one process at a time may own: an acknowledged change survives a kill.
    ///
    /// # Errors
    ///
    /// [`IndexError::Unusable`] when the file is damaged, owned by another process, or cannot be made.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future opens nothing.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, IndexError> {
        let path = path.as_ref().to_owned();
        let name = path.display().to_string();
        let unusable = |why: String| IndexError::Unusable { target: name.clone(), why };
        let opened = tokio::task::spawn_blocking(move || FileStore::open(path, &FileOptions::new())).await;
        let file = opened.map_err(|e| unusable(e.to_string()))?.map_err(|e| unusable(e.to_string()))?;
        let table = file.table("recordings");
        let mut rows = Rows::new();
        for (key, text) in table.list(PREFIX).await.map_err(|e| unusable(e.to_string()))? {
            let row: Read = serde_json::from_slice(&text).map_err(|e| {
                unusable(format!("entry {key:?} cannot be read: {e}; restore a backup or move the file away"))
            })?;
            let recording = Arc::new(row.recording);
            rows.insert(recording.record_id.clone(), Row { place: row.place, recording });
        }
        let inner = Inner {
            writing: Arc::default(),
            rows: RwLock::new(rows),
            name: format!("file {name}"),
            clock: WallClock::system(),
            disk: Some(Disk { table }),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}
