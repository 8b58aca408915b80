//! How a client behaves.

use std::time::Duration;

use super::super::codec::MAX_ANSWER;
use super::super::command::MAX_REQUEST;
use crate::trace::Recorder;

/// How a client behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOptions {
    /// The limit for a call, connecting and waiting for other calls included. Default 5 s.
    pub deadline: Duration,
    /// The limit for long dumps and for maps replaced; between two lines of a dump `deadline` holds. Default 60 s.
    pub dump_deadline: Duration,
    /// How long a call waits for a process that is not there to come back, within its deadline. Default 500 ms.
    pub come_back: Duration,
    /// A connection idle for longer is not used again. Default 50 ms.
    ///
    /// After a reload the old process answers on connections it has until they end, and does not end before they do.
    /// So none is used for long; a new one costs some 0.1 ms. It is closed by the next call: one that makes none for a
    /// while ends with [`Client::renew`](super::Client::renew), lest it keep an old process alive.
    pub idle: Duration,
    /// A connection older than that is not used again. Default 1 s.
    pub max_age: Duration,
    /// The most bytes of one answer. Default 256 MiB.
    pub max_answer: u64,
    /// The most bytes of one command with its payload. Default [`MAX_REQUEST`]; less for a smaller `tune.bufsize`.
    pub max_request: usize,
    /// Keeps what is asked and answered in a trace. Default not.
    pub recorder: Option<Recorder>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            dump_deadline: Duration::from_secs(60),
            come_back: Duration::from_millis(500),
            idle: Duration::from_millis(50),
            max_age: Duration::from_secs(1),
            max_answer: MAX_ANSWER,
            max_request: MAX_REQUEST,
            recorder: None,
        }
    }
}

impl ClientOptions {
    /// With this limit for a call.
    #[must_use]
    pub fn with_deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// With this limit for long dumps and for maps replaced.
    #[must_use]
    pub fn with_dump_deadline(mut self, limit: Duration) -> Self {
        self.dump_deadline = limit;
        self
    }

    /// Waits this long for a process that is not there.
    #[must_use]
    pub fn with_come_back(mut self, limit: Duration) -> Self {
        self.come_back = limit;
        self
    }

    /// Keeps connections for so long, idle and at all.
    #[must_use]
    pub fn with_keep(mut self, idle: Duration, max_age: Duration) -> Self {
        self.idle = idle;
        self.max_age = max_age;
        self
    }

    /// Reads answers of that many bytes at most.
    #[must_use]
    pub fn with_max_answer(mut self, bytes: u64) -> Self {
        self.max_answer = bytes;
        self
    }

    /// Sends commands of that many bytes at most.
    #[must_use]
    pub fn with_max_request(mut self, bytes: usize) -> Self {
        self.max_request = bytes.min(MAX_REQUEST);
        self
    }

    /// Keeps what is asked and answered in a trace. What is about certificates, variables or captured requests is masked.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }
}
