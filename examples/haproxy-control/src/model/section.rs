//! The lines of a configuration that have a say in the choice of a server.

use adapter_haproxy::{ConfigFile, ConfigLine, ConfigSection, SectionKind};

use console::Failure;
use console::did_you_mean;

use super::server::Server;
use super::{Line, Model};

/// Lines that are taken in as they are.
const KNOWN: [&str; 11] = [
    "balance",
    "hash-type",
    "hash-balance-factor",
    "hash-preserve-affinity",
    "fullconn",
    "cookie",
    "stick-table",
    "stick",
    "use-server",
    "force-persist",
    "ignore-persist",
];
/// Options that are.
const OPTIONS: [&str; 3] = ["allbackups", "persist", "redispatch"];
/// Lines that bring servers of which nothing can be said.
const UNKNOWN: [&str; 2] = ["server-template", "dispatch"];

/// A section with its file.
type Found<'a> = (&'a ConfigFile, &'a ConfigSection);

impl Model {
    /// Takes in the lines and servers of this backend, those of its defaults first.
    pub(super) fn read_section(&mut self, files: &[ConfigFile], name: &str) -> Result<(), Failure> {
        let ((file, section), defaults) = find(files, name)?;
        let mut shared: Vec<(String, &ConfigLine)> = Vec::new();
        for (file, section) in defaults.into_iter().chain([(file, section)]) {
            for line in file.lines_of(section).iter().skip(1) {
                let place = format!("{}:{}", file.name(), line.number);
                let word = line.keyword();
                if word == ".if" {
                    self.notes.push(format!("{place}: lines under a condition are taken as if it held"));
                }
                if section.kind == SectionKind::Defaults && word == "server" {
                    continue;
                }
                if UNKNOWN.contains(&word) || (word == "option" && line.word(1) == "transparent") {
                    let what = format!("{place}: {word} brings servers of which nothing can be said");
                    return Err(Failure::failed(what).hint("write its servers as lines of their own"));
                }
                let optional =
                    ["option", "no"].contains(&word) && line.words.iter().any(|w| OPTIONS.contains(&&*w.text));
                let is_ours = KNOWN.contains(&word) || optional || matches!(word, "server" | "default-server");
                if !is_ours {
                    continue;
                }
                if line.words.iter().any(|word| word.variable) {
                    let what = format!("{place}: what its environment variable says is known to HAProxy alone");
                    return Err(Failure::failed(what).hint("write the value into a copy of the file"));
                }
                match word {
                    "default-server" => shared.push((place, line)),
                    "server" => {
                        let mut server = Server::from_line(&place, line)?;
                        for (place, line) in &shared {
                            server.apply(place, &line.words[1..])?;
                        }
                        server.apply(&place, line.words.get(3..).unwrap_or_default())?;
                        self.servers.push(server);
                    }
                    _ => {
                        let text = String::from_utf8_lossy(file.text_of(line)).into_owned();
                        let words = line.words.iter().map(|word| word.text.clone()).collect();
                        self.lines.push(Line { place, text, words });
                    }
                }
            }
        }
        Ok(())
    }

    /// Says which rules may change a request before it is balanced.
    pub(super) fn note_rewrites(&mut self, files: &[ConfigFile], name: Option<&str>) {
        let Some(Ok(((file, section), _))) = name.map(|name| find(files, name)) else { return };
        let changes =
            ["set-uri", "set-path", "set-pathq", "set-query", "replace-", "set-header", "set-method", "set-src"];
        for line in file.lines_of(section) {
            if line.keyword() == "http-request" && changes.iter().any(|change| line.word(1).starts_with(change)) {
                let (file, number, what) = (file.name(), line.number, line.word(1));
                self.notes.push(format!("{file}:{number}: {what} is left out: requests are taken as they are given"));
            }
        }
    }
}

/// The backend of this name, and the defaults that hold for it.
fn find<'a>(files: &'a [ConfigFile], name: &str) -> Result<(Found<'a>, Option<Found<'a>>), Failure> {
    let mut last: Option<Found<'a>> = None;
    let mut named: Vec<(&str, Found<'a>)> = Vec::new();
    let mut known: Vec<&str> = Vec::new();
    for file in files {
        for section in file.sections() {
            let own = section.name.as_deref().unwrap_or_default();
            match section.kind {
                SectionKind::Defaults => {
                    last = Some((file, section));
                    named.push((own, (file, section)));
                }
                SectionKind::Backend | SectionKind::Listen if own == name => {
                    let head = file.lines_of(section).first();
                    let defaults = match head.and_then(|head| head.after("from")) {
                        Some(from) => named.iter().rev().find(|(name, _)| *name == from.text).map(|(_, found)| *found),
                        None => last,
                    };
                    return Ok(((file, section), defaults));
                }
                SectionKind::Backend | SectionKind::Listen => known.push(own),
                _ => {}
            }
        }
    }
    let meant = did_you_mean(name, known.iter().copied());
    known.truncate(20);
    let hint = format!("there are: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") });
    Err(Failure::failed(format!("no backend is called {name:?}{meant}")).hint(hint))
}

/// The words of a line that comes from an option.
pub(super) fn split(place: &str, text: &str) -> Result<Vec<String>, Failure> {
    let odd = || Failure::usage(format!("{place} is no single line that can be read"));
    let file = ConfigFile::parse(place, format!("{text}\n")).map_err(|e| Failure::usage(e.to_string()))?;
    let [line] = file.lines() else { return Err(odd()) };
    if line.fault.is_some() || line.words.len() < 2 {
        return Err(odd());
    }
    Ok(line.words.iter().map(|word| word.text.clone()).collect())
}

/// The words that define a stick table of another section: `SECTION` or `SECTION/TABLE`.
pub(super) fn shared_table(files: &[ConfigFile], name: &str) -> Option<String> {
    let (section_name, table) = name.split_once('/').map_or((name, None), |(section, table)| (section, Some(table)));
    for file in files {
        for section in file.sections().iter().filter(|section| section.name.as_deref() == Some(section_name)) {
            for line in file.lines_of(section) {
                let from = match table {
                    None if line.keyword() == "stick-table" => 1,
                    Some(table) if line.starts(&["table", table]) && section.kind == SectionKind::Peers => 2,
                    _ => continue,
                };
                let words: Vec<&str> = line.words.get(from..)?.iter().map(|word| &*word.text).collect();
                return Some(format!("stick-table {}", words.join(" ")));
            }
        }
    }
    None
}
