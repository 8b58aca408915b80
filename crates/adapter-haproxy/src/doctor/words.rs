//! Lines that cannot be read and words that are gone.

use crate::config::{ConfigFile, ConfigLine, ConfigSection, Edit, LineFault, SectionKind, quote_word};
use crate::version::HaproxyVersion;

use super::options::{option, too_new};
use super::scene::{delete, rewrite};
use super::spelling::{glued, misspelt};
use super::{Finding, Level};

/// A word, when it went, what to write instead in words, and as text.
pub(super) type Gone = (&'static str, (u16, u16), &'static str, Option<&'static str>);

/// First words: when they went, what to write instead, and how that is written by itself (`*` for the other words).
const GONE: [Gone; 30] = [
    ("nbproc", (2, 5), "delete it; threads (nbthread) have taken its place", Some("")),
    ("reqadd", (2, 1), "http-request add-header NAME VALUE", None),
    ("rspadd", (2, 1), "http-response add-header NAME VALUE", None),
    ("reqdel", (2, 1), "http-request del-header NAME", None),
    ("reqidel", (2, 1), "http-request del-header NAME", None),
    ("rspdel", (2, 1), "http-response del-header NAME", None),
    ("rspidel", (2, 1), "http-response del-header NAME", None),
    ("reqrep", (2, 1), "http-request replace-path or replace-header", None),
    ("reqirep", (2, 1), "http-request replace-path or replace-header with (?i)", None),
    ("rsprep", (2, 1), "http-response replace-header", None),
    ("rspirep", (2, 1), "http-response replace-header with (?i)", None),
    ("reqdeny", (2, 1), "http-request deny if { ... }", None),
    ("reqideny", (2, 1), "http-request deny if { ... -i ... }", None),
    ("rspdeny", (2, 1), "http-response deny if { ... }", None),
    ("rspideny", (2, 1), "http-response deny if { ... -i ... }", None),
    ("reqallow", (2, 1), "http-request allow if { ... }", None),
    ("reqiallow", (2, 1), "http-request allow if { ... -i ... }", None),
    ("reqpass", (2, 1), "delete it; http-request rules see one header at a time", None),
    ("reqipass", (2, 1), "delete it; http-request rules see one header at a time", None),
    ("reqtarpit", (2, 1), "http-request tarpit if { ... }", None),
    ("reqitarpit", (2, 1), "http-request tarpit if { ... -i ... }", None),
    ("block", (2, 1), "http-request deny, with the same condition", Some("http-request deny *")),
    ("contimeout", (2, 1), "timeout connect", Some("timeout connect *")),
    ("clitimeout", (2, 1), "timeout client", Some("timeout client *")),
    ("srvtimeout", (2, 1), "timeout server", Some("timeout server *")),
    ("redispatch", (2, 1), "option redispatch", Some("option redispatch")),
    (
        "monitor-net",
        (2, 5),
        "http-request return status 200 if { src NET }",
        Some("http-request return status 200 if { src * }"),
    ),
    ("grace", (2, 5), "delete it; reloads hand the listeners over", Some("")),
    ("appsession", (1, 6), "a stick table on the cookie: stick on cookie(NAME)", None),
    ("bind-process", (2, 7), "delete it; there is one process", Some("")),
];

pub(super) fn check(version: HaproxyVersion, file: &ConfigFile, found: &mut Vec<Finding>) {
    for section in file.sections() {
        for line in file.lines_of(section) {
            unreadable(file, line, found);
            if line.words.is_empty() || section.kind == SectionKind::Preamble {
                continue;
            }
            if !(gone(version, file, section, line, found) || glued(file, line, found)) {
                misspelt(file, section, line, found);
            }
            option(version, file, line, found);
            too_new(version, file, line, found);
        }
    }
}

/// This first word went at some time.
pub(super) fn is_gone(word: &str) -> bool {
    GONE.iter().any(|(gone, ..)| *gone == word)
}

fn unreadable(file: &ConfigFile, line: &ConfigLine, found: &mut Vec<Finding>) {
    let Some(fault) = line.fault else { return };
    let (text, help) = match fault {
        LineFault::OpenQuote => {
            ("a quote is not closed", "close it on this line; a quote that is meant is written \\' or \\\"")
        }
        LineFault::OpenEscape => ("the line ends in a backslash", "lines cannot be continued: write it as one"),
        LineFault::BadEscape => {
            ("\\x wants two hexadecimal digits", "write \\x41, or \\\\x for the characters themselves")
        }
        LineFault::TooManyWords => ("more than 64 words", "split it: several acl lines of one name count as one"),
        LineFault::Nul => ("a NUL byte: HAProxy reads no further", "remove it; the file may be damaged"),
        LineFault::NoLineFeed => {
            ("the last line has no line feed, so the file looks cut off", "end it with a line feed")
        }
    };
    let mut finding = Finding::new("BLC-H001", file, line.number, text.into(), help);
    if fault == LineFault::NoLineFeed {
        finding = finding.with_fix([Edit { range: line.span.end..line.span.end, text: "\n".into() }]);
    }
    found.push(finding);
}

/// The words behind the keyword, as they are written.
fn rest(file: &ConfigFile, line: &ConfigLine) -> String {
    let (Some(first), Some(last)) = (line.words.get(1), line.words.last()) else { return String::new() };
    String::from_utf8_lossy(&file.bytes()[first.span.start..last.span.end]).into_owned()
}

fn gone(
    version: HaproxyVersion,
    file: &ConfigFile,
    section: &ConfigSection,
    line: &ConfigLine,
    found: &mut Vec<Finding>,
) -> bool {
    let number = line.number;
    let word = line.keyword();
    if word.chars().all(|c| c == '.' || c == '…') {
        let text = format!("{word} stands for something that was left out");
        let finding = Finding::new("BLC-H003", file, number, text, "put the missing lines here or delete it");
        found.push(finding.with_fix([delete(line)]));
        return true;
    }
    if matches!(word, "program" | "dispatch" | "transparent" | "master-worker") && version.has(3, 3) {
        let help = match word {
            "program" => "run the program by itself, as a service of the system",
            "dispatch" => "write a server",
            "transparent" => "a server with the address 0.0.0.0",
            _ => "start HAProxy with -W instead",
        };
        if word == "program" || version.has(3, 5) {
            found.push(Finding::new("BLC-H004", file, number, format!("{word} is no longer supported"), help));
            return true;
        }
    }
    let Some((_, (major, minor), help, write)) = GONE.iter().find(|(gone, ..)| *gone == word) else { return false };
    if section.kind == SectionKind::Userlist {
        return false;
    }
    let text = format!("{word} was removed in HAProxy {major}.{minor}");
    let mut finding = Finding::new("BLC-H004", file, number, text, *help);
    if !version.has(*major, *minor) {
        finding = finding.at(Level::Warning);
    }
    let edit = match (word, write) {
        (_, Some("")) => Some(delete(line)),
        (_, Some(write)) => Some(rewrite(line, 0, line.words.len(), write.replace('*', &rest(file, line)))),
        ("reqadd" | "rspadd", None) => add_header(file, line),
        ("reqdel" | "reqidel" | "rspdel" | "rspidel", None) => del_header(line),
        _ => None,
    };
    found.push(match edit {
        Some(edit) => finding.with_fix([edit]),
        None => finding,
    });
    true
}

/// `reqadd Name:\ value [if ...]` in today's words. Headers a proxy vouches for are set, not added.
fn add_header(file: &ConfigFile, line: &ConfigLine) -> Option<Edit> {
    let (name, value) = line.word(1).split_once(':')?;
    let request = line.keyword() == "reqadd";
    let verb =
        if request && name.to_ascii_lowercase().starts_with("x-forwarded-") { "set-header" } else { "add-header" };
    let side = if request { "http-request" } else { "http-response" };
    let value = value.trim().replace('%', "%%");
    let (name, value) = (quote_word(name).ok()?, quote_word(&value).ok()?);
    let condition = line.words.get(2).map_or("", |_| " ");
    let end = line.words.last().map(|word| word.span.end)?;
    let start = line.words.get(2).map_or(end, |word| word.span.start);
    let condition = format!("{condition}{}", String::from_utf8_lossy(&file.bytes()[start..end]));
    Some(rewrite(line, 0, line.words.len(), format!("{side} {verb} {name} {value}{condition}")))
}

/// `reqidel ^Name:` where the pattern is a plain name.
fn del_header(line: &ConfigLine) -> Option<Edit> {
    let name = line.word(1).strip_prefix('^')?;
    let name = name.trim_end_matches([' ', '*', '.']).trim_end_matches(':');
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let side = if line.keyword().starts_with("req") { "http-request" } else { "http-response" };
    (plain && line.words.len() == 2).then(|| rewrite(line, 0, 2, format!("{side} del-header {name}")))
}
