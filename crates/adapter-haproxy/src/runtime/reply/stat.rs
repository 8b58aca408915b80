//! The table of statistics.

use std::sync::Arc;

use super::super::error::ReplyError;
use super::numbered;
use super::status::ServerStatus;

/// What a line of statistics is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatKind {
    /// A frontend.
    Frontend,
    /// A backend as a whole.
    Backend,
    /// A server.
    Server,
    /// A listener.
    Listener,
}

/// The columns of this release, by name: after the first hundred every release has its own order.
#[derive(Debug, PartialEq, Eq)]
pub struct StatColumns {
    names: Vec<String>,
}

impl StatColumns {
    /// The names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }
}

/// One line of statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatRow {
    columns: Arc<StatColumns>,
    fields: Vec<Box<str>>,
}

impl StatRow {
    /// One figure, by the name of its column; `None` if the release has no such column or it is empty here.
    pub fn field(&self, name: &str) -> Option<&str> {
        let text: &str = self.fields.get(self.columns.place(name)?)?;
        Some(text).filter(|t| !t.is_empty())
    }

    /// One figure that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    /// All figures, in the order of the columns, empty ones too.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns.names.iter().map(String::as_str).zip(self.fields.iter().map(|f| &**f))
    }

    /// The proxy.
    pub fn proxy(&self) -> &str {
        self.field("pxname").unwrap_or_default()
    }

    /// The server, or `FRONTEND`, `BACKEND`.
    pub fn name(&self) -> &str {
        self.field("svname").unwrap_or_default()
    }

    /// What it is about.
    pub fn kind(&self) -> Option<StatKind> {
        match self.field("type")? {
            "0" => Some(StatKind::Frontend),
            "1" => Some(StatKind::Backend),
            "2" => Some(StatKind::Server),
            "3" => Some(StatKind::Listener),
            _ => None,
        }
    }

    /// The status.
    pub fn status(&self) -> ServerStatus {
        ServerStatus::of(self.field("status").unwrap_or_default())
    }

    /// Whether this is the line of that server.
    pub fn is_server(&self, backend: &str, server: &str) -> bool {
        self.kind() == Some(StatKind::Server) && self.proxy() == backend && self.name() == server
    }
}

/// The answer to `show stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatTable {
    columns: Arc<StatColumns>,
    rows: Vec<StatRow>,
}

impl StatTable {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] without the line of names, or for a line with more figures than names or an open quote.
    pub fn parse(text: &str) -> Result<Self, ReplyError> {
        let mut lines = numbered(text);
        let (_, head) = lines.next().unwrap_or((1, ""));
        let names = head.strip_prefix("# ").ok_or_else(|| ReplyError::new(1, head, "# and the names of columns"))?;
        let names = names.strip_suffix(',').unwrap_or(names).split(',').map(str::to_owned).collect();
        let columns = Arc::new(StatColumns { names });
        let mut rows = Vec::new();
        for (n, line) in lines {
            let fields = cut(line).ok_or_else(|| ReplyError::new(n, line, "figures between commas"))?;
            if fields.len() != columns.names.len() {
                return Err(ReplyError::new(n, line, "as many figures as there are columns"));
            }
            rows.push(StatRow { columns: columns.clone(), fields });
        }
        Ok(Self { columns, rows })
    }

    /// The columns of this release.
    pub fn columns(&self) -> &StatColumns {
        &self.columns
    }

    /// The lines.
    pub fn rows(&self) -> &[StatRow] {
        &self.rows
    }

    /// The line of a server.
    pub fn server(&self, backend: &str, server: &str) -> Option<&StatRow> {
        self.rows.iter().find(|row| row.is_server(backend, server))
    }
}

/// Cuts a line at its commas, outside quotes; the last one ends the line.
fn cut(line: &str) -> Option<Vec<Box<str>>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut text = String::new();
            let mut inside = quoted;
            loop {
                let (before, after) = inside.split_once('"')?;
                text.push_str(before);
                match after.strip_prefix('"') {
                    Some(more) => {
                        text.push('"');
                        inside = more;
                    }
                    None => {
                        inside = after;
                        break;
                    }
                }
            }
            fields.push(text.into_boxed_str());
            match inside.strip_prefix(',') {
                Some(after) => rest = after,
                None if inside.is_empty() => return Some(fields),
                None => return None,
            }
        } else {
            let (field, after) = match rest.split_once(',') {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            };
            fields.push(field.into());
            match after {
                Some(after) => rest = after,
                None => return Some(fields),
            }
        }
        if rest.is_empty() {
            return Some(fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_commas() {
        let fields = |line| cut(line).map(|f| f.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        assert_eq!(fields("a,,\"b, \"\"c\"\"\",d,").unwrap(), ["a", "", "b, \"c\"", "d"]);
        assert_eq!(fields("a,\"b\"").unwrap(), ["a", "b"]);
        assert!(fields("a,\"b").is_none());
        assert!(fields("\"b\"x,").is_none());
        let table = StatTable::parse("# pxname,svname,type,status,weight,\nb,s,2,UP 1/3,5,").unwrap();
        let row = table.server("b", "s").unwrap();
        assert_eq!((row.status(), row.number("weight"), row.field("none")), (ServerStatus::Up, Some(5), None));
        assert!(StatTable::parse("No such").is_err() && StatTable::parse("# a,b,\n1,").is_err());
    }
}
