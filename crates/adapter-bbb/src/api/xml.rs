//! XML documents of the API: what servers answer, and what we answer.

#[cfg(feature = "http")]
mod hooks;
mod meetings;
mod reply;
mod scan;
mod write;

#[cfg(feature = "http")]
pub(crate) use hooks::{HookEntry, hooks, write_hooks, write_success};
pub use meetings::{MAX_MEETINGS, MeetingEntry, meetings, meetings_up_to};
pub use reply::{Child, Reply};
pub use scan::MAX_DEPTH;
#[cfg(feature = "http")]
pub(crate) use scan::unescape;
#[cfg(feature = "recordings")]
pub(crate) use scan::{Scanner, Step};
#[cfg(feature = "http")]
pub(crate) use write::push_text;
pub(crate) use write::{DECLARATION, push_element};
pub use write::{write_empty_recordings, write_index, write_meetings, write_no_meetings, write_running};

/// A server's answer that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// It is not UTF-8.
    #[error("the answer is not valid UTF-8 at byte {offset}")]
    Utf8 {
        /// Where, in bytes from its start.
        offset: usize,
    },
    /// It is not a well-formed document, or has something a document of the API never has.
    #[error("the answer is not usable XML near byte {offset}: {what}")]
    Malformed {
        /// Where, in bytes from its start.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// It is XML, but has no `response/returncode`.
    #[error("the answer has no returncode: is this the address of a BigBlueButton API?")]
    NoReturncode,
    /// It has more elements than we are ready to hold.
    #[error("the answer has more than {limit} elements of one list")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A list was asked for, and the server refused.
    #[error("the server refused: {}", .key.as_deref().unwrap_or("no messageKey"))]
    Refused {
        /// Its `messageKey`.
        key: Option<String>,
        /// Its `message`.
        message: Option<String>,
    },
}

#[cfg(test)]
mod tests;
