//! The folders that recordings are played from: a published and an unpublished tree, changed by one at a time.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::files::{FilesError, RecordingFiles};
use super::record::Recording;

mod carry;
mod check;
mod copy;
mod scan;

pub use check::{CheckReport, Finding, FindingKind, RecordingKeeper};

use scan::Placed;

/// How long somebody waits for the trees while another one changes them.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often another process's lock is tried.
const LOOK: Duration = Duration::from_millis(25);
/// How folders begin that are on their way in or out.
const HIDDEN: char = '.';
const INCOMING: &str = ".incoming";
const OUTGOING: &str = ".outgoing";
const REPLACED: &str = ".replaced";

/// The published and the unpublished tree, `TREE/FORMAT/RECORDID`, and a folder to work in. Cheap to clone.
///
/// One at a time changes the trees, also of several processes that share the folders: a lock on a file in the work
/// folder sees to that. A folder moves by one rename; where the trees are on different file systems, it is copied,
/// compared byte for byte, and only then removed where it was.
#[derive(Clone)]
pub struct RecordingTrees(Arc<Trees>);

struct Trees {
    published: PathBuf,
    unpublished: PathBuf,
    work: PathBuf,
    turn: Arc<Mutex<()>>,
}

impl fmt::Debug for RecordingTrees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingTrees")
            .field("published", &self.0.published)
            .field("unpublished", &self.0.unpublished)
            .field("work", &self.0.work)
            .finish()
    }
}

/// The right to change the trees, and the index in step with them.
#[derive(Debug)]
pub(crate) struct TreeGuard {
    // In this order: other processes first.
    _file: Option<File>,
    _turn: OwnedMutexGuard<()>,
}

/// Whether a text can name a recording or a format: a plain folder name that is not hidden.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=200).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with([HIDDEN, '-'])
}

pub(crate) fn io_error(path: &Path, e: &io::Error) -> FilesError {
    FilesError::Io { path: path.display().to_string(), why: e.to_string() }
}

impl RecordingTrees {
    /// Trees below these folders, and a folder to unpack archives in. They are made when something is put there.
    ///
    /// All three should be on one file system, so that a recording moves by a rename.
    pub fn new(published: impl Into<PathBuf>, unpublished: impl Into<PathBuf>, work: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Trees {
            published: published.into(),
            unpublished: unpublished.into(),
            work: work.into(),
            turn: Arc::default(),
        }))
    }

    /// The folder archives are unpacked in.
    pub(crate) fn work(&self) -> &Path {
        &self.0.work
    }

    fn tree(&self, published: bool) -> &Path {
        if published { &self.0.published } else { &self.0.unpublished }
    }

    /// Where a format of a recording belongs.
    pub(crate) fn place(&self, published: bool, format: &str, record_id: &str) -> PathBuf {
        self.tree(published).join(format).join(record_id)
    }

    /// Waits until nobody else changes the trees; none may until the answer is dropped.
    ///
    /// # Errors
    ///
    /// [`FilesError`] when the lock cannot be made, or somebody else holds it for too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future locks nothing.
    pub(crate) async fn lock(&self) -> Result<TreeGuard, FilesError> {
        let deadline = Instant::now() + PATIENCE;
        let busy = || FilesError::Io {
            path: self.0.work.display().to_string(),
            why: "somebody else has been changing the recordings for too long; try again".to_owned(),
        };
        let turn = self.0.turn.clone().lock_owned();
        let turn = tokio::time::timeout_at(deadline, turn).await.map_err(|_| busy())?;
        Ok(TreeGuard { _file: Some(lock_file(&self.0.work, "trees.lock", deadline, busy).await?), _turn: turn })
    }

    /// Runs what blocks where it may.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, FilesError> {
        let this = self.clone();
        let path = self.0.work.display().to_string();
        let done = tokio::task::spawn_blocking(move || work(&this)).await;
        done.unwrap_or_else(|e| Err(FilesError::Io { path, why: format!("the work on it broke off: {e}") }))
    }
}

/// A lock on a file of the work folder, tried until the deadline.
pub(crate) async fn lock_file<E: From<FilesError>>(
    work: &Path,
    name: &'static str,
    deadline: Instant,
    busy: impl Fn() -> E,
) -> Result<File, E> {
    let path = work.join(name);
    let opened = {
        let (work, path) = (work.to_owned(), path.clone());
        tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&work)?;
            File::options().create(true).truncate(false).write(true).open(&path)
        })
    };
    let opened = opened.await.map_err(io::Error::other).flatten();
    let file = opened.map_err(|e| io_error(&path, &e))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(LOOK).await,
            Err(TryLockError::WouldBlock) => return Err(busy()),
            Err(TryLockError::Error(e)) => return Err(io_error(&path, &e).into()),
        }
    }
}

#[async_trait]
impl RecordingFiles for RecordingTrees {
    async fn hold(&self) -> Result<Box<dyn Send>, FilesError> {
        Ok(Box::new(self.lock().await?))
    }

    async fn publish(&self, recording: &Recording, published: bool) -> Result<(), FilesError> {
        let id = recording.record_id.clone();
        let formats: Vec<String> = recording.formats.iter().map(|f| f.format.clone()).collect();
        self.blocking(move |trees| {
            // All of them are looked for before the first one moves.
            for format in &formats {
                if trees.folder(&id, format).is_none() {
                    return Err(FilesError::Missing { record_id: id, format: format.clone() });
                }
            }
            formats.iter().try_for_each(|format| trees.put_right(&id, format, published))
        })
        .await
    }

    async fn delete(&self, record_id: &str) -> Result<(), FilesError> {
        let id = record_id.to_owned();
        self.blocking(move |trees| trees.remove_all(&id)).await
    }

    fn folder(&self, record_id: &str, format: &str) -> Option<PathBuf> {
        if !is_name(record_id) || !is_name(format) {
            return None;
        }
        [true, false].into_iter().map(|published| self.place(published, format, record_id)).find(|p| p.is_dir())
    }
}
