//! The folders that recordings are played from: a published and an unpublished tree, changed by one at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

#[cfg(feature = "s3")]
use super::bucket::{BucketLeftover, BucketLock, RecordingBucket};
use super::files::{FilesError, RecordingFiles};
use super::import::Manifest;
use super::record::Recording;

mod carry;
mod check;
mod copy;
mod scan;
mod small;

pub use check::{CheckReport, Finding, FindingKind, RecordingKeeper};

pub(crate) use scan::Placed;

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
/// folder sees to that, and in a bucket an object besides. A folder moves by one rename; where the trees are on
/// different file systems, it is copied, compared byte for byte, and only then removed where it was.
#[derive(Clone)]
pub struct RecordingTrees(Arc<Trees>);

struct Trees {
    home: Home,
    work: PathBuf,
    turn: Arc<Mutex<()>>,
}

/// Where the trees are.
#[derive(Debug)]
enum Home {
    Disk(Disk),
    #[cfg(feature = "s3")]
    Bucket(RecordingBucket),
}

/// Trees of folders.
#[derive(Clone, Debug)]
struct Disk {
    published: PathBuf,
    unpublished: PathBuf,
}

impl Disk {
    fn tree(&self, published: bool) -> &Path {
        if published { &self.published } else { &self.unpublished }
    }

    /// Where a format of a recording belongs.
    fn place(&self, published: bool, format: &str, record_id: &str) -> PathBuf {
        self.tree(published).join(format).join(record_id)
    }

    /// Where the files of a format are now; the published tree is looked at first.
    fn folder(&self, record_id: &str, format: &str) -> Option<PathBuf> {
        [true, false].into_iter().map(|published| self.place(published, format, record_id)).find(|p| p.is_dir())
    }
}

/// Something that a process left that was killed.
#[derive(Clone, Debug)]
pub(crate) enum Leftover {
    Folder(PathBuf),
    #[cfg(feature = "s3")]
    InBucket(BucketLeftover),
}

impl fmt::Debug for RecordingTrees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingTrees").field("home", &self.0.home).field("work", &self.0.work).finish()
    }
}

/// The right to change the trees, and the index in step with them.
#[derive(Debug)]
pub(crate) struct TreeGuard {
    // In this order: other machines first, then other processes.
    #[cfg(feature = "s3")]
    _bucket: Option<BucketLock>,
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

/// Does what differs between folders and a bucket: the one where it may block, the other as it is.
macro_rules! at_home {
    ($trees:expr, |$disk:ident| $on_disk:expr, |$bucket:ident| $in_bucket:expr) => {
        match &$trees.0.home {
            Home::Disk(disk) => {
                let $disk = disk.clone();
                $trees.blocking(move || $on_disk).await
            }
            #[cfg(feature = "s3")]
            Home::Bucket($bucket) => $in_bucket.await,
        }
    };
}

impl RecordingTrees {
    /// Trees below these folders, and a folder to unpack archives in. They are made when something is put there.
    ///
    /// All three should be on one file system, so that a recording moves by a rename.
    pub fn new(published: impl Into<PathBuf>, unpublished: impl Into<PathBuf>, work: impl Into<PathBuf>) -> Self {
        let disk = Disk { published: published.into(), unpublished: unpublished.into() };
        Self(Arc::new(Trees { home: Home::Disk(disk), work: work.into(), turn: Arc::default() }))
    }

    /// Trees in a bucket, as `PREFIX/published/FORMAT/RECORDID` and `PREFIX/unpublished/FORMAT/RECORDID`, and a folder
    /// on this machine to unpack archives in.
    ///
    /// What was sent is compared with what is there before the archive is removed. What moves from tree to tree is
    /// copied by the server and compared before it is removed where it was: publishing takes the longer the larger a
    /// recording is.
    #[cfg(feature = "s3")]
    pub fn in_bucket(bucket: RecordingBucket, work: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Trees { home: Home::Bucket(bucket), work: work.into(), turn: Arc::default() }))
    }

    /// The folder archives are unpacked in.
    pub(crate) fn work(&self) -> &Path {
        &self.0.work
    }

    /// Where a format of a recording belongs: a folder, or an address in the bucket.
    pub(crate) fn place(&self, published: bool, format: &str, record_id: &str) -> PathBuf {
        match &self.0.home {
            Home::Disk(disk) => disk.place(published, format, record_id),
            #[cfg(feature = "s3")]
            Home::Bucket(bucket) => bucket.address(&bucket.place(published, format, record_id)).into(),
        }
    }

    /// Waits until nobody else changes the trees; none may until the answer is dropped.
    ///
    /// # Errors
    ///
    /// [`FilesError`] when the lock cannot be made, or somebody else holds it for too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future locks nothing, but a bucket for its lease.
    pub(crate) async fn lock(&self) -> Result<TreeGuard, FilesError> {
        let deadline = Instant::now() + PATIENCE;
        let busy = || FilesError::Io {
            path: self.0.work.display().to_string(),
            why: "somebody else has been changing the recordings for too long; try again".to_owned(),
        };
        let turn = self.0.turn.clone().lock_owned();
        let turn = tokio::time::timeout_at(deadline, turn).await.map_err(|_| busy())?;
        let file = lock_file(&self.0.work, "trees.lock", deadline, busy).await?;
        #[cfg(feature = "s3")]
        let in_bucket = match &self.0.home {
            Home::Disk(_) => None,
            Home::Bucket(bucket) => bucket.lock(deadline).await?,
        };
        Ok(TreeGuard {
            #[cfg(feature = "s3")]
            _bucket: in_bucket,
            _file: Some(file),
            _turn: turn,
        })
    }

    /// Runs what blocks where it may.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, FilesError> {
        let path = self.0.work.display().to_string();
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|e| Err(FilesError::Io { path, why: format!("the work on it broke off: {e}") }))
    }

    /// Puts an unpacked format into its tree, in the place of an older one. That one goes only when the new one was
    /// found whole where it belongs, or in a bucket beside it; whatever fails before leaves it there.
    pub(crate) async fn take_in(
        &self,
        unpacked: &Path,
        files: &Arc<Manifest>,
        published: bool,
        format: &str,
        id: &str,
    ) -> Result<(), FilesError> {
        let (from, all, name, record) = (unpacked.to_owned(), files.clone(), format.to_owned(), id.to_owned());
        at_home!(self, |disk| disk.take_in(&from, &all, published, &name, &record), |bucket| bucket
            .take_in(&from, &all, published, &name, &record))
    }

    /// Brings a format into its tree. What is there already stays, and what the other tree has besides goes when
    /// nothing is lost by that. Of two that differ both stay, and that is an error.
    pub(crate) async fn put_right(&self, id: &str, format: &str, published: bool) -> Result<(), FilesError> {
        let (id, format) = (id.to_owned(), format.to_owned());
        at_home!(self, |disk| disk.put_right(&id, &format, published), |bucket| bucket
            .put_right(&id, &format, published))
    }

    /// Like [`put_right`](Self::put_right), but `false` when two differ.
    pub(crate) async fn put_right_if_same(&self, id: &str, format: &str, published: bool) -> Result<bool, FilesError> {
        if !self.are_same(id, format).await? {
            return Ok(false);
        }
        self.put_right(id, format, published).await.map(|()| true)
    }

    /// Whether a format is the same in both trees, if it is in both.
    pub(crate) async fn are_same(&self, id: &str, format: &str) -> Result<bool, FilesError> {
        let (id, format) = (id.to_owned(), format.to_owned());
        at_home!(self, |disk| disk.are_same(&id, &format), |bucket| bucket.are_same(&id, &format))
    }

    /// Removes one format of a recording from one tree.
    pub(crate) async fn remove_one(&self, published: bool, format: &str, id: &str) -> Result<(), FilesError> {
        let (id, format) = (id.to_owned(), format.to_owned());
        at_home!(self, |disk| disk.remove_one(published, &format, &id), |bucket| bucket
            .remove_one(published, &format, &id))
    }

    /// Every recording and format in the trees.
    pub(crate) async fn scan(&self) -> Result<BTreeMap<String, BTreeMap<String, Placed>>, FilesError> {
        at_home!(self, |disk| disk.scan(), |bucket| bucket.scan())
    }

    /// The formats of one recording in the trees.
    pub(crate) async fn look(&self, id: &str) -> Result<BTreeMap<String, Placed>, FilesError> {
        let id = id.to_owned();
        at_home!(self, |disk| disk.look(&id), |bucket| bucket.look(&id))
    }

    /// What was on its way in or out when a process was killed. Whoever holds the lock knows that nobody is moving it
    /// any more.
    pub(crate) async fn leftovers(&self) -> Result<Vec<Leftover>, FilesError> {
        match &self.0.home {
            Home::Disk(disk) => {
                let disk = disk.clone();
                let found = self.blocking(move || disk.leftovers()).await?;
                Ok(found.into_iter().map(Leftover::Folder).collect())
            }
            #[cfg(feature = "s3")]
            Home::Bucket(bucket) => Ok(bucket.leftovers().await?.into_iter().map(Leftover::InBucket).collect()),
        }
    }

    /// Ends what [`leftovers`](Self::leftovers) found: a folder whose replacement never came is put back.
    pub(crate) async fn settle(&self, left: &Leftover) -> Result<(), FilesError> {
        match left {
            Leftover::Folder(path) => {
                let path = path.clone();
                self.blocking(move || carry::settle(&path)).await
            }
            #[cfg(feature = "s3")]
            Leftover::InBucket(left) => match &self.0.home {
                Home::Bucket(bucket) => bucket.settle(left).await,
                Home::Disk(_) => Ok(()),
            },
        }
    }

    /// Where a leftover is.
    pub(crate) fn place_of(&self, left: &Leftover) -> PathBuf {
        match left {
            Leftover::Folder(path) => path.clone(),
            #[cfg(feature = "s3")]
            Leftover::InBucket(BucketLeftover::Place(key) | BucketLeftover::Upload(key, _)) => match &self.0.home {
                Home::Bucket(bucket) => bucket.address(key).into(),
                Home::Disk(_) => key.into(),
            },
        }
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
        let id = &recording.record_id;
        // All of them are looked for before the first one moves.
        for format in &recording.formats {
            if !self.has(id, &format.format).await? {
                return Err(FilesError::Missing { record_id: id.clone(), format: format.format.clone() });
            }
        }
        for format in &recording.formats {
            self.put_right(id, &format.format, published).await?;
        }
        Ok(())
    }

    async fn delete(&self, record_id: &str) -> Result<(), FilesError> {
        let id = record_id.to_owned();
        at_home!(self, |disk| disk.remove_all(&id), |bucket| bucket.remove_all(&id))
    }

    async fn has(&self, record_id: &str, format: &str) -> Result<bool, FilesError> {
        if !is_name(record_id) || !is_name(format) {
            return Ok(false);
        }
        let (id, format) = (record_id.to_owned(), format.to_owned());
        at_home!(self, |disk| Ok(disk.folder(&id, &format).is_some()), |bucket| bucket.has(&id, &format))
    }

    async fn read(&self, record_id: &str, format: &str, name: &str, most: u64) -> Result<Option<Vec<u8>>, FilesError> {
        if !is_name(record_id) || !is_name(format) || !is_name(name) {
            return Ok(None);
        }
        let (id, format, name) = (record_id.to_owned(), format.to_owned(), name.to_owned());
        at_home!(
            self,
            |disk| disk.folder(&id, &format).map_or(Ok(None), |folder| small::read(&folder.join(name), most)),
            |bucket| bucket.read(&id, &format, &name, most)
        )
    }

    async fn write(&self, record_id: &str, format: &str, name: &str, bytes: Vec<u8>) -> Result<(), FilesError> {
        let missing = || FilesError::Missing { record_id: record_id.to_owned(), format: format.to_owned() };
        if !is_name(record_id) || !is_name(format) || !is_name(name) {
            return Err(missing());
        }
        let (lost, id, format, name) = (missing(), record_id.to_owned(), format.to_owned(), name.to_owned());
        at_home!(
            self,
            |disk| disk.folder(&id, &format).map_or(Err(lost), |folder| small::write(&folder, &name, &bytes)),
            |bucket| bucket.write(&id, &format, &name, bytes)
        )
    }
}
