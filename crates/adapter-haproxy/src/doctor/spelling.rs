//! Words glued together or misspelt.

use crate::config::{ConfigFile, ConfigLine, ConfigSection, Edit, SectionKind};

use super::Finding;
use super::scene::replace;

/// First words of sections, for spelling.
const KNOWN: [&str; 88] = [
    "acl",
    "backlog",
    "balance",
    "bind",
    "ca-base",
    "capture",
    "chroot",
    "compression",
    "cookie",
    "cpu-map",
    "crt-base",
    "daemon",
    "backend",
    "defaults",
    "frontend",
    "global",
    "listen",
    "peers",
    "resolvers",
    "node",
    "redirect",
    "nbproc",
    "declare",
    "default-server",
    "default_backend",
    "description",
    "disabled",
    "dispatch",
    "dynamic-cookie-key",
    "email-alert",
    "enabled",
    "errorfile",
    "errorfiles",
    "errorloc",
    "filter",
    "force-persist",
    "fullconn",
    "group",
    "hard-stop-after",
    "hash-balance-factor",
    "hash-type",
    "hold",
    "http-after-response",
    "http-check",
    "http-request",
    "http-response",
    "http-reuse",
    "id",
    "load-server-state-from-file",
    "localpeer",
    "log",
    "log-format",
    "log-tag",
    "lua-load",
    "maxconn",
    "mode",
    "monitor-uri",
    "nameserver",
    "nbthread",
    "no",
    "option",
    "peer",
    "pidfile",
    "presetenv",
    "rate-limit",
    "resetenv",
    "retries",
    "retry-on",
    "server",
    "server-state-file",
    "server-template",
    "setenv",
    "source",
    "ssl-default-bind-ciphers",
    "ssl-default-bind-options",
    "stats",
    "stick",
    "stick-table",
    "table",
    "tcp-check",
    "tcp-request",
    "timeout",
    "ulimit-n",
    "unsetenv",
    "use-server",
    "use_backend",
    "user",
    "userlist",
];

/// `bind*:443`.
pub(super) fn glued(file: &ConfigFile, line: &ConfigLine, found: &mut Vec<Finding>) -> bool {
    let word = line.keyword();
    let Some(rest) = word.strip_prefix("bind").filter(|rest| rest.starts_with(['*', ':', '[', '/', '0', '1', '2']))
    else {
        return false;
    };
    let text = format!("{word} is one word: the blank behind bind is missing");
    let finding = Finding::new("BLC-H002", file, line.number, text, format!("write bind {rest}"));
    let start = line.words[0].span.start + "bind".len();
    found.push(finding.with_fix([Edit { range: start..start, text: " ".into() }]));
    true
}

pub(super) fn misspelt(file: &ConfigFile, section: &ConfigSection, line: &ConfigLine, found: &mut Vec<Finding>) {
    let word = line.keyword();
    let apart = section.kind == SectionKind::Other || word.starts_with('.') || word.len() < 4;
    if apart || KNOWN.contains(&word) || super::words::is_gone(word) {
        return;
    }
    let Some(near) = KNOWN.iter().find(|known| known.len() > 3 && near(word, known)) else { return };
    let text = format!("{word} is not known; did you mean {near}?");
    let finding = Finding::new("BLC-H005", file, line.number, text, format!("write {near}"));
    found.push(finding.with_fix([replace(line, 0, *near)]));
}

/// One letter more, less, changed, or two exchanged.
fn near(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let front = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[front..], &b[front..]);
    let back = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[..a.len() - back], &b[..b.len() - back]);
    match (a.len(), b.len()) {
        (0 | 1, 0 | 1) => true,
        (2, 2) => a[0] == b[1] && a[1] == b[0],
        _ => false,
    }
}
