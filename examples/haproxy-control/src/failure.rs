//! How a command ends: exit codes, and errors with their cause and a hint.

use std::fmt;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done, nothing is wrong.
    Done = 0,
    /// It failed, or what was looked at is wrong.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Done for some keys, not for others.
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

    /// A program that did not answer, exit code 5.
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
        write!(f, "error: {}", crate::table::printable(&self.what))?;
        if let Some(cause) = &self.cause {
            write!(f, "\n  cause: {}", crate::table::lines(cause).trim_end().replace('\n', "\n    "))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", crate::table::printable(hint))?;
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
    pub(crate) notes: Vec<String>,
    /// How the process ends.
    pub(crate) exit: Exit,
}

impl Outcome {
    /// This text, and success.
    pub(crate) fn done(out: impl Into<String>) -> Self {
        Self { out: out.into(), notes: Vec::new(), exit: Exit::Done }
    }

    /// With these remarks on standard error.
    pub(crate) fn with_notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// Ending like this.
    pub(crate) fn ending(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}
