//! What is wrong with a trace.

use std::io;

use thiserror::Error;

/// A trace that cannot be read, or not further.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TraceError {
    /// Another file.
    #[error("this is no trace: it does not begin with \"haproxy trace\"")]
    NotATrace,
    /// A trace of a later version.
    #[error("this is a trace of version {found:?}, and only 1 is read: use the program that wrote it")]
    Version {
        /// The version it names, cut.
        found: String,
    },
    /// A record that is none.
    #[error("the record at byte {offset} of the file is damaged: {fault}")]
    Damaged {
        /// Where it begins.
        offset: u64,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A capture that does not tell what a trace needs.
    #[error("entry {entry} of the capture cannot be used: {fault}")]
    Capture {
        /// Which one, from 0.
        entry: usize,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The file cannot be read.
    #[error("the trace cannot be read")]
    Io(#[from] io::Error),
}
