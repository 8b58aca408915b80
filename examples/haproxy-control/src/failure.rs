//! How a command ends: exit codes, and errors with their cause and a hint.

use std::fmt;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Refused for safety, such as removing a server with running meetings.
    Refused = 3,
    /// Done for some servers, not for others.
    Partly = 4,
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
    /// What failed, and where.
    pub(crate) what: String,
    /// Why, if known.
    pub(crate) cause: Option<String>,
    /// What to do, if known.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure with this exit code.
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
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

    /// With its cause.
    pub(crate) fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
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

/// What a command prints when it did its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// For standard output; ends with a line break unless empty.
    pub(crate) out: String,
    /// For standard error.
    pub(crate) note: Option<String>,
    /// How the process ends.
    pub(crate) exit: Exit,
}

impl Outcome {
    /// This text, and success.
    pub(crate) fn done(out: impl Into<String>) -> Self {
        Self { out: out.into(), note: None, exit: Exit::Done }
    }

    /// Nothing but a remark on standard error, and success.
    pub(crate) fn note(note: impl Into<String>) -> Self {
        Self { out: String::new(), note: Some(note.into()), exit: Exit::Done }
    }
}
