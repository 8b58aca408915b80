//! Commands about stick tables.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Command, CommandError, Expect, Level, check_name, shown, word_of};

/// How a filter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableTest {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// At most.
    Le,
    /// At least.
    Ge,
    /// Less.
    Lt,
    /// More.
    Gt,
}

impl fmt::Display for TableTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Le => "le",
            Self::Ge => "ge",
            Self::Lt => "lt",
            Self::Gt => "gt",
        })
    }
}

/// The key of an entry, of the table's type: a wrong one is taken for `0.0.0.0` by 2.6.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableKey {
    /// Of a table of strings; cut to the table's `len`.
    Text(String),
    /// Of a table of integers.
    Integer(u32),
    /// Of a table of `ip`.
    V4(Ipv4Addr),
    /// Of a table of `ipv6`.
    V6(Ipv6Addr),
}

impl TableKey {
    fn text(&self) -> Result<String, CommandError> {
        Ok(match self {
            Self::Text(text) => {
                word_of("table key", text)?;
                text.clone()
            }
            Self::Integer(n) => n.to_string(),
            Self::V4(address) => address.to_string(),
            Self::V6(address) => address.to_string(),
        })
    }

    /// The type of table it is for, as `show table` names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Integer(_) => "integer",
            Self::V4(_) => "ip",
            Self::V6(_) => "ipv6",
        }
    }
}

/// Which entries of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TableFilter {
    /// All.
    #[default]
    All,
    /// The one of this key.
    Key(TableKey),
    /// Those with all of these figures: data type, comparison, number. At most four. Names cannot be compared.
    Data(Vec<(String, TableTest, u64)>),
}

fn check_table(table: &str) -> Result<(), CommandError> {
    if let Some((section, name)) = table.split_once('/') {
        check_name("peers section", section)?;
        return check_name("table", name);
    }
    check_name("table", table)
}

fn check_data(name: &str) -> Result<(), CommandError> {
    let what = "data type";
    if name.is_empty() {
        return Err(CommandError::Empty { what });
    }
    if name == "server_key" {
        let why = "HAProxy compares and stores numbers only; teach it over the peers protocol";
        return Err(CommandError::Reserved { what, text: name.to_owned(), why });
    }
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '[' | ']' | '(' | ')');
    match name.chars().find(|c| !good(*c)) {
        Some(found) => Err(CommandError::Character { what, text: shown(name), found, why: "no data type has" }),
        None => Ok(()),
    }
}

fn filtered(mut command: Command, filter: &TableFilter) -> Result<Command, CommandError> {
    match filter {
        TableFilter::All => {}
        TableFilter::Key(key) => command = command.word("key").word(&key.text()?),
        TableFilter::Data(tests) => {
            let count = tests.len() as u64;
            if !(1..=4).contains(&count) {
                return Err(CommandError::Range { what: "number of filters", value: count, min: 1, max: 4 });
            }
            for (name, test, number) in tests {
                check_data(name)?;
                command = command.word(&format!("data.{name}")).word(&test.to_string()).word(&number.to_string());
            }
        }
    }
    command.fits()
}

impl Command {
    /// The stick tables there are.
    pub fn show_tables() -> Self {
        Self::read("show table").at(Level::Operator)
    }

    /// Entries of a table; for a key that is not there the answer is empty. 3.x lists in no order.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if a word cannot be sent, or for no filter or more than four.
    pub fn show_table(table: &str, filter: &TableFilter) -> Result<Self, CommandError> {
        check_table(table)?;
        filtered(Self::read(format!("show table {table}")).at(Level::Operator), filter)
    }

    /// Creates or changes an entry. When HAProxy refuses a figure the entry exists nevertheless, with those before it:
    /// clear it. The key must be of the table's type, which the client checks. `server_key` cannot be set.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if a word cannot be sent.
    pub fn set_table(table: &str, key: &TableKey, data: &[(&str, u64)]) -> Result<Self, CommandError> {
        check_table(table)?;
        let line = format!("set table {table} key");
        let mut command = Self::new(line, Expect::Silence, Level::Admin).word(&key.text()?);
        for (name, number) in data {
            check_data(name)?;
            command = command.word(&format!("data.{name}")).word(&number.to_string());
        }
        command.fits()
    }

    /// Deletes entries, except those in use. Peers are not told.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if a word cannot be sent, or for no filter or more than four.
    pub fn clear_table(table: &str, filter: &TableFilter) -> Result<Self, CommandError> {
        check_table(table)?;
        filtered(Self::order(format!("clear table {table}")), filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = |c: Result<Command, CommandError>| c.unwrap().line().to_owned();
        let key = TableKey::Text("big hall; 1".into());
        assert_eq!(
            line(Command::set_table("lb/rooms", &key, &[("server_id", 2)])),
            "set table lb/rooms key big\\ hall\\;\\ 1 data.server_id 2"
        );
        let tests = vec![("gpc0".to_owned(), TableTest::Gt, 1), ("server_id".to_owned(), TableTest::Eq, 2)];
        assert_eq!(
            line(Command::clear_table("rooms", &TableFilter::Data(tests.clone()))),
            "clear table rooms data.gpc0 gt 1 data.server_id eq 2"
        );
        for bad in [vec![], vec![tests[0].clone(); 5], vec![("server_key".to_owned(), TableTest::Eq, 1)]] {
            assert!(Command::show_table("rooms", &TableFilter::Data(bad)).is_err());
        }
        assert!(Command::show_table("a b", &TableFilter::All).is_err());
        assert!(Command::set_table("rooms", &key, &[("gpc0 1", 1)]).is_err());
    }
}
