//! The recordings of a balancer: their index, their files, and who gives out tokens for protected ones.

use std::sync::Arc;

use super::files::{FilesError, PlaybackTokens, RecordingFiles};
use super::index::{IndexError, RecordingIndex, TENANT_KEY};
use super::record::{Recording, RecordingState};

/// How the calls about recordings behave.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordingOptions {
    /// Whether `getRecordings` must name meetings or recordings (`GET_RECORDINGS_API_FILTERED`). Default off.
    pub filtered: bool,
    /// Whether recordings may be protected (`PROTECTED_RECORDINGS_ENABLED`). Default off.
    pub protected: bool,
    /// At most so many recordings are listed at once: the newest ones. Default 100,000.
    pub most: u64,
}

impl Default for RecordingOptions {
    fn default() -> Self {
        Self { filtered: false, protected: false, most: 100_000 }
    }
}

/// The recordings of a balancer.
#[derive(Debug)]
pub struct Recordings {
    pub(crate) index: Arc<dyn RecordingIndex>,
    pub(crate) files: Option<Arc<dyn RecordingFiles>>,
    pub(crate) tokens: Option<Arc<dyn PlaybackTokens>>,
    pub(crate) options: RecordingOptions,
}

/// The index or the folders refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The folders.
    #[error(transparent)]
    Files(#[from] FilesError),
}

impl Recordings {
    /// Recordings of this index: without folders they are listed and updated, and neither published nor deleted.
    #[must_use]
    pub fn new(index: Arc<dyn RecordingIndex>) -> Self {
        Self { index, files: None, tokens: None, options: RecordingOptions::default() }
    }

    /// The same with the folders they are in, which follow the index when it is changed.
    #[must_use]
    pub fn with_files(mut self, files: Arc<dyn RecordingFiles>) -> Self {
        self.files = Some(files);
        self
    }

    /// The same with tokens for protected recordings.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Arc<dyn PlaybackTokens>) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// The same with other options.
    #[must_use]
    pub fn with_options(mut self, options: RecordingOptions) -> Self {
        self.options = options;
        self
    }

    /// The index.
    #[must_use]
    pub fn index(&self) -> &Arc<dyn RecordingIndex> {
        &self.index
    }

    /// The recordings of these ids that belong to this tenant, if there are tenants.
    pub(crate) async fn of_tenant(&self, ids: &[String], tenant: Option<&str>) -> Result<Vec<Recording>, IndexError> {
        let mut found = self.index.find(ids).await?;
        found.retain(|r| tenant.is_none_or(|tenant| r.meta(TENANT_KEY) == Some(tenant)));
        Ok(found)
    }

    /// The folders, without which nothing is changed that they would have to follow.
    fn folders(&self) -> Result<&Arc<dyn RecordingFiles>, FilesError> {
        let unknown = || FilesError::Io { path: "recordings".into(), why: "their folders are not configured".into() };
        self.files.as_ref().ok_or_else(unknown)
    }

    /// Publishes or unpublishes recordings, their files with them: the index is changed first when they are to be seen
    /// no longer, and last when they are to be seen.
    pub(crate) async fn publish(&self, all: &[Recording], published: bool) -> Result<(), KeepError> {
        let files = self.folders()?;
        let _held = files.hold().await?;
        // Looked at again: somebody else may have changed them until now.
        let ids: Vec<String> = all.iter().map(|r| r.record_id.clone()).collect();
        let now = self.index.find(&ids).await?;
        for r in now.iter().filter(|r| is_shown(r) && r.published != published) {
            for f in &r.formats {
                if !files.has(&r.record_id, &f.format).await? {
                    let (record_id, format) = (r.record_id.clone(), f.format.clone());
                    return Err(FilesError::Missing { record_id, format }.into());
                }
            }
            if published {
                files.publish(r, true).await?;
                self.index.set_published(&r.record_id, true).await?;
            } else {
                self.index.set_published(&r.record_id, false).await?;
                files.publish(r, false).await?;
            }
        }
        Ok(())
    }

    /// Deletes recordings, and then their files in every tree.
    pub(crate) async fn delete(&self, all: &[Recording]) -> Result<(), KeepError> {
        let files = self.folders()?;
        let _held = files.hold().await?;
        for r in all {
            self.index.mark_deleted(&r.record_id).await?;
            files.delete(&r.record_id).await?;
        }
        Ok(())
    }
}

/// Whether somebody may publish or unpublish it.
pub(crate) fn is_shown(r: &Recording) -> bool {
    matches!(r.state, Some(RecordingState::Published | RecordingState::Unpublished))
}
