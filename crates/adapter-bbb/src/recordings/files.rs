//! What the calls need of the folders that recordings are in, and of protected playback.

use std::fmt;

use async_trait::async_trait;

use super::record::Recording;

/// Why files could not be moved, removed or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A format of the recording is in no tree.
    #[error("the format {format} of recording {record_id} is neither among the published nor the unpublished files")]
    Missing {
        /// The recording.
        record_id: String,
        /// The format.
        format: String,
    },
    /// The file system refused.
    #[error("{path}: {why}")]
    Io {
        /// The path.
        path: String,
        /// What was refused.
        why: String,
    },
    /// The bucket refused, or cannot be reached.
    #[error("{place}: {why}")]
    Bucket {
        /// Where in which bucket of which server.
        place: String,
        /// What went wrong, and what to do about it.
        why: String,
    },
}

/// The folders of recordings: `TREE/FORMAT/RECORDID`, in a published and an unpublished tree.
///
/// # Cancel safety
///
/// What was begun is carried to its end, or done again by repeating it.
#[async_trait]
pub trait RecordingFiles: fmt::Debug + Send + Sync {
    /// Keeps everybody else from changing files, until the answer is dropped: whoever changes files and index holds it
    /// over both, so that nobody sees them disagree. The other functions do not take it themselves.
    ///
    /// To be safe against a kill between the two, the index is changed first when a recording is to be seen no longer
    /// (unpublished, deleted), and last when it is to be seen.
    ///
    /// # Errors
    ///
    /// [`FilesError`] when somebody else holds it for too long.
    async fn hold(&self) -> Result<Box<dyn Send>, FilesError>;

    /// Moves each format's folder into the published or the unpublished tree. One that is there already is fine; of one
    /// that is in both, the one in the other tree goes when nothing is lost by that.
    ///
    /// # Errors
    ///
    /// [`FilesError`] when a format is in neither, differs in both, or the file system refuses.
    async fn publish(&self, recording: &Recording, published: bool) -> Result<(), FilesError>;

    /// Removes the recording's folders from both trees, whatever their formats; nothing there is fine.
    ///
    /// # Errors
    ///
    /// [`FilesError`] when the file system refuses.
    async fn delete(&self, record_id: &str) -> Result<(), FilesError>;

    /// Whether there is anything of a format; `false` as well when a name is none that a folder could have.
    ///
    /// # Errors
    ///
    /// [`FilesError`] when nobody can tell.
    async fn has(&self, record_id: &str, format: &str) -> Result<bool, FilesError>;

    /// A small file of a format, wherever the format is now, of so many bytes at most; `None` when it is not there.
    ///
    /// # Errors
    ///
    /// [`FilesError`] when it cannot be read, or is longer.
    async fn read(&self, record_id: &str, format: &str, name: &str, most: u64) -> Result<Option<Vec<u8>>, FilesError>;

    /// Writes a small file where the format is now: whole or not at all.
    ///
    /// # Errors
    ///
    /// [`FilesError`] when it cannot be written, or there is nothing of the format.
    async fn write(&self, record_id: &str, format: &str, name: &str, bytes: Vec<u8>) -> Result<(), FilesError>;
}

/// Gives out what lets somebody play a protected recording once.
#[async_trait]
pub trait PlaybackTokens: fmt::Debug + Send + Sync {
    /// One fresh token for each pair of a recording and a format, in their order.
    ///
    /// # Errors
    ///
    /// Words about what went wrong, for the log.
    async fn issue(&self, of: &[(&str, &str)]) -> Result<Vec<String>, String>;
}
