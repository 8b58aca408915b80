//! How a command ends: exit codes, and errors with their cause and a hint.

use std::fmt;

use crate::text::{lines, printable};

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done, nothing is wrong.
    Done = 0,
    /// It failed, or what was looked at is wrong.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Refused for safety, such as removing a server with running meetings.
    Refused = 3,
    /// Done for some, not for others.
    Partly = 4,
    /// No answer in time.
    TimedOut = 5,
}

// That of clap as well.
const _: () = assert!(Exit::Usage as u8 == 2);

impl Exit {
    /// The code for the operating system.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// Why a command failed, in one line, with its cause and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What failed, and where.
    pub what: String,
    /// Why, if known.
    pub cause: Option<String>,
    /// What to do, if known.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), cause: None, hint: None }
    }

    /// An ordinary failure, exit code 1.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what)
    }

    /// A wrong command line, exit code 2.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Nothing came in time, exit code 5.
    pub fn timed_out(what: impl Into<String>) -> Self {
        Self::new(Exit::TimedOut, what)
    }

    /// With its cause.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |text: &str| lines(text).trim_end().replace('\n', "\n    ");
        write!(f, "error: {}", printable(&self.what))?;
        if let Some(cause) = &self.cause {
            write!(f, "\n  cause: {}", part(cause))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", part(hint))?;
        }
        Ok(())
    }
}

/// What a command prints when it did its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output; ends with a line break unless empty.
    pub out: String,
    /// For standard error, each a line.
    pub notes: Vec<String>,
    /// How the process ends.
    pub exit: Exit,
}

impl Outcome {
    /// This text, and success.
    pub fn done(out: impl Into<String>) -> Self {
        Self { out: out.into(), notes: Vec::new(), exit: Exit::Done }
    }

    /// Nothing but a remark on standard error, and success.
    pub fn note(note: impl Into<String>) -> Self {
        Self::done("").with_notes([note.into()])
    }

    /// With these remarks on standard error.
    #[must_use]
    pub fn with_notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// Ending like this.
    #[must_use]
    pub fn ending(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_why_and_what_to_do() {
        let bare = Failure::usage("--id 0\u{1b}[2J");
        assert_eq!((bare.to_string().as_str(), bare.exit.code()), ("error: --id 0\\u{1b}[2J", 2));
        let whole = Failure::timed_out("a").cause("b\n[ALERT]\tc\u{7}").hint("d");
        assert_eq!(whole.to_string(), "error: a\n  cause: b\n    [ALERT]    c\\u{7}\n  hint: d");
    }

    #[test]
    fn outcomes_add_up() {
        let outcome = Outcome::note("one").with_notes(["two".to_owned()]).ending(Exit::Partly);
        assert_eq!((outcome.out.as_str(), outcome.notes.len(), outcome.exit), ("", 2, Exit::Partly));
    }
}
