//! How a command ends: exit codes, and errors with their cause and a hint.

use std::fmt;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Done = 0,
    /// It failed, or there is no bridge.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No answer in time.
    TimedOut = 5,
}

impl Exit {
    /// The code for the operating system.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

/// Why a command failed, in one line, with its cause and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    what: String,
    cause: Option<String>,
    hint: Option<String>,
}

impl Failure {
    fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), cause: None, hint: None }
    }

    /// An ordinary failure, exit code 1.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what)
    }

    /// A wrong command line, exit code 2.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Nothing came in time, exit code 5.
    pub(crate) fn timed_out(what: impl Into<String>) -> Self {
        Self::new(Exit::TimedOut, what)
    }

    /// With its cause.
    pub(crate) fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// With what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if let Some(cause) = &self.cause {
            write!(f, "\n  cause: {cause}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}
