//! The files seen together: which defaults a proxy has, its mode, its servers; and small edits.

use std::collections::BTreeMap;

use crate::config::{ConfigFile, ConfigLine, Edit, SectionKind};

/// Several files of one HAProxy.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) files: &'a [ConfigFile],
    pub(super) parts: Vec<Part<'a>>,
    backends: BTreeMap<&'a str, usize>,
}

/// A section in its file, with the defaults that apply to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) file: &'a ConfigFile,
    pub(super) kind: SectionKind,
    pub(super) name: &'a str,
    pub(super) head: &'a ConfigLine,
    pub(super) body: &'a [ConfigLine],
    /// `http` or `tcp`, its own or its defaults'.
    pub(super) mode: &'a str,
    /// The lines of its defaults: their very body.
    pub(super) defaults: &'a [ConfigLine],
}

impl<'a> Scene<'a> {
    pub(super) fn of(files: &'a [ConfigFile]) -> Self {
        let mut parts: Vec<Part<'a>> = Vec::new();
        let mut backends = BTreeMap::new();
        // Defaults apply to what follows them: the last ones, or those of a name.
        let mut last: &[ConfigLine] = &[];
        let mut named: BTreeMap<&str, &'a [ConfigLine]> = BTreeMap::new();
        for file in files {
            for section in file.sections() {
                let Some((head, body)) = file.lines_of(section).split_first() else { continue };
                let (kind, name) = (section.kind, section.name.as_deref().unwrap_or(""));
                let defaults = match head.after("from") {
                    _ if !kind.is_proxy() => &[],
                    Some(from) => named.get(&*from.text).copied().unwrap_or_default(),
                    None => last,
                };
                match kind {
                    SectionKind::Preamble => continue,
                    SectionKind::Defaults => {
                        last = body;
                        named.insert(name, body);
                    }
                    SectionKind::Backend | SectionKind::Listen => {
                        backends.entry(name).or_insert(parts.len());
                    }
                    _ => {}
                }
                let mut part = Part { file, kind, name, head, body, mode: "tcp", defaults };
                part.mode = part.setting(&["mode"]).map_or("tcp", |line| line.word(1));
                parts.push(part);
            }
        }
        Self { files, parts, backends }
    }

    pub(super) fn of_kind(&self, kind: SectionKind) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(move |part| part.kind == kind)
    }

    pub(super) fn proxies(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(|part| part.kind.is_proxy())
    }

    /// A proxy that can be a target of `use_backend`.
    pub(super) fn backend(&self, name: &str) -> Option<&Part<'a>> {
        self.parts.get(*self.backends.get(name)?)
    }
}

impl<'a> Part<'a> {
    /// The section as it is named in a sentence.
    pub(super) fn title(&self) -> String {
        if self.name.is_empty() {
            self.head.keyword().to_owned()
        } else {
            format!("{} {}", self.head.keyword(), self.name)
        }
    }

    /// Its own lines that begin with these words.
    pub(super) fn own<'s>(&self, words: &'s [&'s str]) -> impl Iterator<Item = &'a ConfigLine> + use<'a, 's> {
        self.body.iter().filter(move |line| line.starts(words))
    }

    /// The line that counts: its own last one, else the last one of its defaults.
    pub(super) fn setting(&self, words: &[&str]) -> Option<&'a ConfigLine> {
        self.body.iter().rev().chain(self.defaults.iter().rev()).find(|line| line.starts(words))
    }

    pub(super) fn servers(&self) -> impl Iterator<Item = &'a ConfigLine> + use<'a> {
        self.body.iter().filter(|line| line.keyword() == "server" && line.words.len() >= 3)
    }

    /// Its `default-server` lines and those of its defaults.
    pub(super) fn default_servers(&self) -> DefaultServers<'a> {
        let lines = |lines: &'a [ConfigLine]| lines.iter().filter(|line| line.keyword() == "default-server").collect();
        DefaultServers { shared: lines(self.defaults), own: lines(self.body) }
    }

    pub(super) fn binds(&self) -> impl Iterator<Item = &'a ConfigLine> + use<'a> {
        self.body.iter().filter(|line| line.keyword() == "bind" && line.words.len() >= 2)
    }

    /// Backends it sends to, by fixed name: the line and the place of the name.
    pub(super) fn targets(&self) -> impl Iterator<Item = (&'a ConfigLine, &'a str)> + use<'a> {
        let named = |line: &&ConfigLine| matches!(line.keyword(), "use_backend" | "default_backend");
        let fixed = |(line, name): &(&'a ConfigLine, &'a str)| {
            !name.is_empty() && !name.contains('%') && !line.words[1].variable
        };
        self.body.iter().filter(named).map(|line| (line, line.word(1))).filter(fixed)
    }
}

/// How many `default-server` lines before a server are looked at.
const SHARED: usize = 32;

/// What servers are without saying so.
pub(super) struct DefaultServers<'a> {
    shared: Vec<&'a ConfigLine>,
    own: Vec<&'a ConfigLine>,
}

impl<'a> DefaultServers<'a> {
    /// What is said of this server, word by word: by the lines of the defaults, and by those above it.
    pub(super) fn of(&self, server: &ConfigLine) -> impl Iterator<Item = &'a str> {
        let above = self.own.partition_point(|line| line.number < server.number);
        let last = |lines: &[&'a ConfigLine]| lines[lines.len().saturating_sub(SHARED)..].to_vec();
        let lines = [last(&self.shared), last(&self.own[..above])].concat();
        lines.into_iter().flat_map(|line| line.words.iter().skip(1)).map(|word| &*word.text)
    }
}

/// Takes the whole line away.
pub(super) fn delete(line: &ConfigLine) -> Edit {
    Edit { range: line.span.clone(), text: String::new() }
}

/// Writes another word in place of this one.
pub(super) fn replace(line: &ConfigLine, at: usize, text: impl Into<String>) -> Edit {
    let range = line.words.get(at).map_or(line.span.start..line.span.start, |word| word.span.clone());
    Edit { range, text: text.into() }
}

/// Writes other words in place of these, from one place to before another.
pub(super) fn rewrite(line: &ConfigLine, from: usize, to: usize, text: impl Into<String>) -> Edit {
    let mut edit = replace(line, from, text);
    if let Some(last) = to.checked_sub(1).and_then(|at| line.words.get(at)) {
        edit.range.end = last.span.end.max(edit.range.start);
    }
    edit
}

/// Takes words away together with the blanks before them.
pub(super) fn remove(line: &ConfigLine, from: usize, to: usize) -> Edit {
    let mut edit = rewrite(line, from, to, "");
    if let Some(before) = from.checked_sub(1).and_then(|at| line.words.get(at)) {
        edit.range.start = before.span.end;
    }
    edit
}

/// Adds words behind the last one.
pub(super) fn append(line: &ConfigLine, text: &str) -> Edit {
    let end = line.words.last().map_or(line.span.start, |word| word.span.end);
    Edit { range: end..end, text: format!(" {text}") }
}

/// Adds a line below, indented as a setting of a section.
pub(super) fn below(file: &ConfigFile, line: &ConfigLine, text: &str) -> Edit {
    let end = line.span.start + file.text_of(line).len();
    let own = line.words.first().map_or(0, |word| word.span.start - line.span.start);
    let own = String::from_utf8_lossy(&file.text_of(line)[..own]).into_owned();
    let indent = if SectionHead::is(line) { format!("{own}    ") } else { own };
    Edit { range: end..end, text: format!("\n{indent}{text}") }
}

struct SectionHead;

impl SectionHead {
    fn is(line: &ConfigLine) -> bool {
        matches!(line.keyword(), "global" | "defaults" | "frontend" | "backend" | "listen" | "peers")
    }
}
