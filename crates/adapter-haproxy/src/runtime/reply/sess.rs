//! Sessions.

use super::super::error::ReplyError;
use super::numbered;

/// One session of `show sess`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionLine {
    /// What names it, a pointer.
    pub pointer: String,
    /// Where it comes from.
    pub source: String,
    /// Its frontend; `GLOBAL` is a runtime socket.
    pub frontend: String,
    /// Its backend, if it has one.
    pub backend: Option<String>,
    /// Its server, if it has one.
    pub server: Option<String>,
    /// Its age, as in `1m2s`.
    pub age: String,
}

impl SessionLine {
    /// Reads the answer to `show sess`.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for a line without a pointer.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ReplyError> {
        numbered(text).filter(|(_, line)| !line.is_empty()).map(|(n, line)| Self::read(n, line)).collect()
    }

    /// Reads one line.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for a line without a pointer or a frontend.
    pub fn read(n: usize, line: &str) -> Result<Self, ReplyError> {
        let error = || ReplyError::new(n, line, "0x…: proto= src= fe= be= srv= …");
        let (pointer, rest) = line.split_once(": ").ok_or_else(error)?;
        if !pointer.starts_with("0x") {
            return Err(error());
        }
        let value = |name: &str| rest.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let some = |name| value(name).filter(|v| !v.starts_with('<')).map(str::to_owned);
        Ok(Self {
            pointer: pointer.to_owned(),
            source: value("src").unwrap_or_default().to_owned(),
            frontend: value("fe").ok_or_else(error)?.to_owned(),
            backend: some("be"),
            server: some("srv"),
            age: value("age").unwrap_or_default().to_owned(),
        })
    }
}
