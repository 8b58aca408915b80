//! Where values come from: flags, then the environment, then the file, then defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::keys::{KEYS, Key, Show, key, without_effect};
use crate::nearest::nearest;

/// The largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Where a value came from; the later, the weightier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Nothing was set.
    Default,
    /// The file, and the line.
    File(PathBuf, usize),
    /// The environment.
    Env(&'static str),
    /// The command line.
    Flag(String),
}

impl Source {
    /// How weighty it is.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(..) => 1,
            Self::Env(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// A value with its source.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The text, without blanks around it.
    pub(crate) text: String,
    /// Where it came from.
    pub(crate) source: Source,
}

/// Everything that was given.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    flags: BTreeMap<&'static str, String>,
    env: BTreeMap<String, String>,
    file: BTreeMap<&'static str, Found>,
    /// Names in the file that have no effect, with the reason.
    pub(super) idle: Vec<String>,
}

impl Sources {
    /// Flags by the names of their settings, and the environment.
    pub(crate) fn new(
        flags: impl IntoIterator<Item = (&'static str, String)>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let flags = flags.into_iter().collect();
        let mut env: BTreeMap<String, String> = env.into_iter().collect();
        // An empty one lets every telephone server in.
        env.retain(|name, value| name == "FSAPI_PASSWORD" || !value.trim().is_empty());
        Self { flags, env, ..Self::default() }
    }

    /// The environment, by name; empty counts as not set, but for `FSAPI_PASSWORD`.
    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    /// The names in the environment.
    pub(crate) fn env_names(&self) -> impl Iterator<Item = &str> {
        self.env.keys().map(String::as_str)
    }

    /// The weightiest value of the setting of this name, unless nobody has set it.
    pub(crate) fn set(&self, name: &str) -> Option<String> {
        let found = self.find(key(name)?);
        (found.source != Source::Default).then_some(found.text)
    }

    /// The weightiest value of a setting. An empty value counts as not set.
    pub(crate) fn find(&self, key: &Key) -> Found {
        // 0 leaves the number of threads open, and so does not hide the next name.
        let open = |text: &str| text.is_empty() || (key.name == "threads" && text == "0");
        let flag = self.flags.get(key.name).map(|text| (text, Source::Flag(key.flag())));
        let env = key.env.iter().filter_map(|name| Some((self.env.get(*name)?, Source::Env(name))));
        let file = self.file.get(key.name).map(|found| (&found.text, found.source.clone()));
        let given = flag.into_iter().chain(env).chain(file).find(|(text, _)| !open(text.trim()));
        match given {
            Some((text, source)) => Found { text: text.trim().to_owned(), source },
            None => Found { text: key.default.to_owned(), source: Source::Default },
        }
    }

    /// Adds the values of a file.
    ///
    /// # Errors
    ///
    /// One line for each thing that is wrong with it.
    pub(crate) fn read_file(&mut self, path: &Path) -> Result<(), Vec<String>> {
        let shown = path.display();
        let meta = std::fs::metadata(path)
            .map_err(|e| vec![format!("{shown}: cannot be read: {e}; check the path given with --config")])?;
        if meta.len() > MAX_FILE {
            return Err(vec![format!("{shown}: is larger than 1 MiB, which no configuration is")]);
        }
        let text = std::fs::read_to_string(path).map_err(|e| vec![format!("{shown}: cannot be read: {e}")])?;
        self.read_text(path, &text)
    }

    /// Adds the values of a file's text.
    pub(crate) fn read_text(&mut self, path: &Path, text: &str) -> Result<(), Vec<String>> {
        let shown = path.display();
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let at = e.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(at).filter(|b| *b == b'\n').count();
            vec![format!("{shown}:{line}: {}; the file must be TOML: name = \"value\"", e.message().replace('\n', " "))]
        })?;
        let mut errors = Vec::new();
        for (name, value) in &table {
            let line = line_of(text, name);
            let place = format!("{shown}:{line}");
            let Some(key) = key(name) else {
                let upper = name.to_uppercase();
                if let Some(why) = without_effect(&upper) {
                    self.idle.push(format!("{upper} ({place}) has no effect: {why}"));
                } else {
                    errors.push(unknown(&place, name));
                }
                continue;
            };
            let Some(text) = plain(value) else {
                errors.push(format!("{place}: {name} must be a text, a number, true or false"));
                continue;
            };
            match if matches!(key.show, Show::Secret | Show::Url) { self.expand(&text) } else { Ok(text) } {
                Ok(text) => {
                    let source = Source::File(path.to_owned(), line);
                    self.file.insert(key.name, Found { text, source });
                }
                Err(why) => errors.push(format!("{place}: {name}: {why}")),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Puts the environment in for `${NAME}`.
    fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) =
                after.split_once('}').ok_or_else(|| "`${` has no closing brace: write ${NAME}".to_owned())?;
            let value = self
                .env(name)
                .ok_or_else(|| format!("${{{name}}} is not set: set it in the environment, not empty"))?;
            out.push_str(before);
            out.push_str(value);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(s) => Some(s.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Float(n) => Some(n.to_string()),
        toml::Value::Boolean(b) => Some(b.to_string()),
        _ => None,
    }
}

fn unknown(place: &str, name: &str) -> String {
    let name: String = console::printable(name).chars().take(64).collect();
    match nearest(&name, KEYS.iter().map(|key| key.name)) {
        Some(near) => format!("{place}: unknown setting {name:?}; did you mean {near:?}?"),
        None => format!("{place}: unknown setting {name:?}; `bbb-balancer check` lists all of them"),
    }
}

/// The line on which a name is assigned, counted from 1.
fn line_of(text: &str, name: &str) -> usize {
    let starts = |line: &str| {
        let line = line.trim_start().trim_start_matches(['"', '\'', '[']);
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['=', ' ', '\t', '"', '\'', ']', '.']))
    };
    text.lines().position(starts).map_or(1, |at| at + 1)
}
