//! From the spool into the trees and the index: nothing is removed that was not found whole in its new place.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::files::FilesError;
use super::index::{CallbackRow, IndexError, RecordingIndex, TENANT_KEY};
use super::record::Recording;
use super::tree::{RecordingTrees, lock_file};
use crate::cluster::Cluster;

mod archive;
mod figures;
mod metadata;
mod one;
mod spool;
mod uploads;
mod watch;

pub(crate) use archive::Manifest;
#[cfg(feature = "s3")]
pub(crate) use archive::Unpacked;
pub use archive::{ArchiveError, ArchiveLimits};
pub use metadata::MetadataError;
pub(crate) use spool::waiting;

pub(crate) use figures::Figures;

use spool::Stamp;

/// How long an importer waits for another one before it leaves the work to that one.
const TURN: Duration = Duration::from_secs(1);

/// How an importer works; the defaults are Scalelite's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Where archives arrive, as `*.tar`.
    pub spool: PathBuf,
    /// What an archive may unpack to.
    pub limits: ArchiveLimits,
    /// Whether what comes in stays unpublished until somebody publishes it. Default off.
    pub unpublished: bool,
    /// Whether playing what comes in for the first time needs a token. Default off.
    pub protected: bool,
    /// How often the spool is looked at. Default 60 s.
    pub poll: Duration,
    /// Whether the spool is looked at as well when something arrives in it. Default on; where the file system tells of
    /// nothing, as over a network, the polls go on all the same.
    pub events: bool,
}

impl ImportOptions {
    /// Defaults, for this spool.
    pub fn new(spool: impl Into<PathBuf>) -> Self {
        Self {
            spool: spool.into(),
            limits: ArchiveLimits::default(),
            unpublished: false,
            protected: false,
            poll: Duration::from_secs(60),
            events: true,
        }
    }
}

/// Tells those who wait for it that a recording is ready.
#[async_trait]
pub trait RecordingNews: fmt::Debug + Send + Sync {
    /// A recording came in; `noted` is what the index had noted for its meeting. The news counts as handed on when this
    /// returns: it has to survive a restart from then on.
    ///
    /// # Errors
    ///
    /// Words about what went wrong. The archive stays then, and is imported again later.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the news handed on or not.
    async fn ready(&self, recording: &Recording, noted: Option<CallbackRow>) -> Result<(), String>;
}

/// By the callbacks of a cluster: to the address that the `create` of the meeting named, as this balancer or, in a
/// database shared with it, Scalelite has noted it.
#[async_trait]
impl RecordingNews for Cluster {
    async fn ready(&self, recording: &Recording, noted: Option<CallbackRow>) -> Result<(), String> {
        let (meeting, record) = (recording.meeting_id.as_str(), recording.record_id.as_str());
        let tenant = recording.meta(TENANT_KEY).filter(|_| self.live().multitenancy);
        let told = self.recording_of_tenant_ready(tenant, meeting, record).await.map_err(|e| e.to_string())?;
        let Some(url) = noted.and_then(|noted| noted.recording_ready_url).filter(|_| !told) else { return Ok(()) };
        self.recording_ready_at(url, meeting, record, tenant.map(str::to_owned)).await.map_err(|e| e.to_string())
    }
}

/// Nobody waits for news.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNews;

#[async_trait]
impl RecordingNews for NoNews {
    async fn ready(&self, _: &Recording, _: Option<CallbackRow>) -> Result<(), String> {
        Ok(())
    }
}

/// Why an import did not happen, or not as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The archive cannot be unpacked.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A format's `metadata.xml` cannot be used.
    #[error("{folder}: {source}")]
    Metadata {
        /// The format's folder in the archive.
        folder: String,
        /// What is wrong.
        source: MetadataError,
    },
    /// The archive has something that no import would keep.
    #[error("{path}: {why}")]
    Stray {
        /// Its path in the archive.
        path: String,
        /// Why it has no place.
        why: &'static str,
    },
    /// The trees cannot be changed.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The index cannot be changed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index has something else than what was put into it.
    #[error("the index does not say of recording {record_id} what was written to it")]
    Unconfirmed {
        /// The recording.
        record_id: String,
    },
    /// The news cannot be handed on.
    #[error("the news that recording {record_id} is ready cannot be handed on: {why}")]
    News {
        /// The recording.
        record_id: String,
        /// Why.
        why: String,
    },
    /// Another process imports from this spool.
    #[error("another process is importing from this spool")]
    Busy,
}

impl ImportError {
    /// Whether the same archive fails in the same way again, however often it is tried.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Archive(e) => e.is_lasting(),
            Self::Metadata { .. } | Self::Stray { .. } => true,
            // An index that cannot be used says nothing about the archive.
            Self::Index(e) => matches!(e, IndexError::Refused { .. }),
            _ => false,
        }
    }
}

/// What became of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportOutcome {
    /// Everything in it is in its place, and it is gone.
    Imported,
    /// It stays in the spool.
    Kept {
        /// Why.
        why: String,
        /// Whether only another archive would help: it is not tried again by itself until it changes.
        lasting: bool,
    },
}

/// What became of one archive of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// The archive's file name.
    pub archive: String,
    /// The recordings that came in, with their formats: some may have come in although the archive stays.
    pub recordings: Vec<(String, Vec<String>)>,
    /// What became of it.
    pub outcome: ImportOutcome,
}

/// Imports what arrives in a spool.
#[derive(Debug)]
pub struct Importer {
    options: ImportOptions,
    trees: RecordingTrees,
    index: Arc<dyn RecordingIndex>,
    news: Arc<dyn RecordingNews>,
    /// Archives that failed for good, as they were then, and why.
    failed: Mutex<HashMap<PathBuf, (Stamp, String)>>,
    figures: Figures,
}

impl Importer {
    /// An importer from a spool into these trees and this index.
    pub fn new(
        options: ImportOptions,
        trees: RecordingTrees,
        index: Arc<dyn RecordingIndex>,
        news: Arc<dyn RecordingNews>,
    ) -> Self {
        Self { options, trees, index, news, failed: Mutex::default(), figures: Figures::default() }
    }

    /// The spool.
    pub fn spool(&self) -> &Path {
        &self.options.spool
    }

    /// What it did since the process began.
    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Imports what is in the spool now, one archive after the other. An archive that failed for good is passed over
    /// until it changes, unless `again`.
    ///
    /// # Errors
    ///
    /// [`ImportError`] when the spool or the folder to work in cannot be used, or [`ImportError::Busy`]. What is wrong
    /// with an archive is in its report.
    ///
    /// # Cancel safety
    ///
    /// The archive that is being imported is carried to its end all the same; the others wait for the next time.
    pub async fn import_now(self: &Arc<Self>, again: bool) -> Result<Vec<ImportReport>, ImportError> {
        self.import_until(again, &Arc::default()).await
    }

    /// [`import_now`](Self::import_now) that begins with no further archive when told to stop.
    async fn import_until(
        self: &Arc<Self>,
        again: bool,
        stop: &Arc<AtomicBool>,
    ) -> Result<Vec<ImportReport>, ImportError> {
        let (this, told) = (self.clone(), stop.clone());
        let _stops = StopOnDrop(stop.clone());
        let work = tokio::spawn(async move { this.import_all(again, &told).await });
        work.await.unwrap_or_else(|e| Err(self.broken(&e.to_string())))
    }

    fn broken(&self, why: &str) -> ImportError {
        let path = self.options.spool.display().to_string();
        FilesError::Io { path, why: format!("the import broke off: {why}") }.into()
    }

    async fn import_all(&self, again: bool, stop: &Arc<AtomicBool>) -> Result<Vec<ImportReport>, ImportError> {
        // One importer at a time, of all processes: who comes second would only do the same.
        let _turn = lock_file(self.trees.work(), "import.lock", Instant::now() + TURN, || ImportError::Busy).await?;
        self.tidy_up().await?;
        let mut reports = Vec::new();
        let waiting = self.archives().await?;
        let mut failed = self.failed.lock().await;
        failed.retain(|path, _| waiting.iter().any(|(waiting, _)| waiting == path));
        self.figures.waiting(waiting.len());
        for (path, stamp) in waiting {
            if stop.load(Relaxed) {
                break;
            }
            let archive = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !again && let Some((_, why)) = failed.get(&path).filter(|(then, _)| *then == stamp) {
                let outcome = ImportOutcome::Kept { why: why.clone(), lasting: true };
                reports.push(ImportReport { archive, recordings: Vec::new(), outcome });
                continue;
            }
            let began = Instant::now();
            let (recordings, done) = self.import_one(&path).await;
            self.figures.one(&done, recordings.len(), stamp.size(), began.elapsed());
            let outcome = match done {
                Ok(()) => {
                    failed.remove(&path);
                    self.figures.left();
                    tracing::info!(archive, recordings = recordings.len(), "an archive was imported");
                    ImportOutcome::Imported
                }
                Err(e) => {
                    let (why, lasting) = (chain(&e), e.is_lasting());
                    if lasting {
                        failed.insert(path, (stamp, why.clone()));
                        tracing::error!(archive, reason = %why, "an archive cannot be imported; it stays in the spool");
                    } else {
                        tracing::warn!(archive, reason = %why, "an archive is not imported yet; it stays in the spool");
                    }
                    ImportOutcome::Kept { why, lasting }
                }
            };
            reports.push(ImportReport { archive, recordings, outcome });
        }
        if again {
            // Somebody asks: what he put there under a wrong name would be missed without a word.
            let spool = self.options.spool.clone();
            for (archive, why) in self.trees.blocking(move || spool::strays(&spool)).await? {
                let outcome = ImportOutcome::Kept { why: why.to_owned(), lasting: true };
                reports.push(ImportReport { archive, recordings: Vec::new(), outcome });
            }
        }
        Ok(reports)
    }
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// What went wrong, with its causes.
fn chain(e: &dyn std::error::Error) -> String {
    let mut said = e.to_string();
    let mut below = e.source();
    while let Some(cause) = below {
        let cause_said = cause.to_string();
        // Some say their cause themselves.
        if !said.contains(&cause_said) {
            said.push_str(": ");
            said.push_str(&cause_said);
        }
        below = cause.source();
    }
    said
}
