//! The runtime API of real HAProxy, of every release found.

mod bench;
mod commands;
pub(crate) mod faults;
pub(crate) mod live;
mod maps;
mod master;
mod probe;
mod tables;

use adapter_haproxy::runtime::{Command, RefusalKind, RuntimeError, ServerName};

fn name(text: &str) -> ServerName {
    text.parse().unwrap()
}

/// A raw command of the test's own.
fn raw(line: &str) -> Command {
    Command::raw(line).unwrap()
}

fn refused(result: Result<impl std::fmt::Debug, RuntimeError>) -> RefusalKind {
    let error = result.unwrap_err();
    error.refusal().unwrap_or_else(|| panic!("{error}")).kind()
}
