//! Connections to servers.

use super::super::error::ReplyError;
use super::{number, numbered};

/// One line of `show servers conn`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerConns {
    /// The backend.
    pub backend: String,
    /// The server.
    pub server: String,
    /// Connections in use.
    pub used: u64,
    /// Connections kept for reuse.
    pub idle: u64,
    /// Requests being served; 3.x only.
    pub served: Option<u64>,
}

impl ServerConns {
    /// Reads the answer to `show servers conn`, by the names of its columns.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] if a column is missing or no number.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ReplyError> {
        let mut lines = numbered(text);
        let (_, head) = lines.next().unwrap_or((1, ""));
        let names: Vec<&str> = head.strip_prefix("# ").unwrap_or_default().split(' ').collect();
        let place = |name: &str| names.iter().position(|n| *n == name);
        let (Some(0), Some(used), Some(idle)) = (place("bkname/svname"), place("used_cur"), place("idle_cur")) else {
            return Err(ReplyError::new(1, head, "bkname/svname, used_cur and idle_cur among the columns"));
        };
        let served = place("served");
        let mut out = Vec::new();
        for (n, line) in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let figure = |place: usize| {
                number::<u64>(words.get(place).copied().unwrap_or_default(), n, line, "a number in each column")
            };
            let name = words.first().and_then(|name| name.split_once('/'));
            let (backend, server) = name.ok_or_else(|| ReplyError::new(n, line, "backend/server"))?;
            out.push(Self {
                backend: backend.to_owned(),
                server: server.to_owned(),
                used: figure(used)?,
                idle: figure(idle)?,
                served: served.map(figure).transpose()?,
            });
        }
        Ok(out)
    }
}
