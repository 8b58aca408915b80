//! Who we are on a connection.

use crate::peers::codec::MAX_MESSAGE;

/// Who we are.
#[derive(Clone, Debug)]
pub struct PeerOptions {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) minor: u32,
    pub(super) learn: bool,
    pub(super) max_message: usize,
}

impl PeerOptions {
    /// A peer of this name, as the `peers` section of the other side lists it.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), pid: std::process::id(), minor: 1, learn: true, max_message: MAX_MESSAGE }
    }

    /// The process shown to the other side; default our own.
    #[must_use]
    pub fn with_pid(mut self, pid: u32) -> Self {
        self.pid = pid;
        self
    }

    /// The version within 2 we call with, 0 or 1; default 1. Use 0 after [`HelloStatus::VERSION`](crate::peers::HelloStatus::VERSION).
    #[must_use]
    pub fn with_minor(mut self, minor: u32) -> Self {
        self.minor = minor.min(1);
        self
    }

    /// Whether to ask for everything the other side knows; default yes.
    #[must_use]
    pub fn with_learning(mut self, learn: bool) -> Self {
        self.learn = learn;
        self
    }

    /// The longest message taken, in bytes; default [`MAX_MESSAGE`].
    #[must_use]
    pub fn with_max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }
}
