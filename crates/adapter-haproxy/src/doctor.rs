//! What is wrong with a configuration, where, and what to write instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{ConfigError, ConfigFile, Edit, apply_edits};
use crate::version::HaproxyVersion;

mod certificate;
mod listen;
mod log;
mod options;
mod proxies;
mod rules;
mod scene;
mod spelling;
mod stats;
mod sticky;
mod tables;
#[cfg(test)]
mod tests;
mod words;

pub use balancer_core::{Level, RuleInfo};
pub use listen::{Listener, haproxy_listeners, listener_clashes, nginx_listeners};
pub use log::{LogCause, LogFinding, MAX_LOG_LEN, explain_log};
pub use rules::DOCTOR_RULES;

use scene::Scene;

/// One defect. Prints as `file:line: level: text [id]` and a line of help.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The rule, an id that never changes its meaning.
    pub rule: &'static str,
    /// How bad it is.
    pub level: Level,
    /// The file it is in.
    pub file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub help: String,
    /// The change that cures it, where that is a matter of writing alone.
    pub fix: Option<Fix>,
}

/// A change of the finding's file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fix {
    /// The bytes to replace, in the file as it was checked.
    pub edits: Vec<Edit>,
}

impl Finding {
    pub(crate) fn new(
        rule: &'static str,
        file: &ConfigFile,
        line: usize,
        text: String,
        help: impl Into<String>,
    ) -> Self {
        let level = RuleInfo::level_of(DOCTOR_RULES, rule);
        Self { rule, level, file: file.name().to_owned(), line, text, help: help.into(), fix: None }
    }

    fn at(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    fn with_fix(mut self, edits: impl Into<Vec<Edit>>) -> Self {
        self.fix = Some(Fix { edits: edits.into() });
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = format!("{}:{}", self.file, self.line);
        write!(f, "{place}: {}: {} [{}]\n    help: {}", self.level, self.text, self.rule, self.help)
    }
}

/// Reads a file that a configuration names.
pub type FileReader = Arc<dyn Fn(&str) -> io::Result<Vec<u8>> + Send + Sync>;

/// Checks configurations for one version of HAProxy.
///
/// A warning or a note about a line is left out where a comment on that line says that it is meant so:
/// `stick on src # meant: BLC-H046`. Errors are never left out.
///
/// ```
/// use adapter_haproxy::{ConfigFile, Doctor, HaproxyVersion};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = ConfigFile::parse("lb.cfg", "frontend web\n    bind*:443 ssl crt a.pem\n    option httpclose\n")?;
/// let doctor = Doctor::new(HaproxyVersion::new(2, 6));
/// for finding in doctor.check(&[file.clone()]) {
///     println!("{finding}"); // lb.cfg:2: error: bind*:443 is one word: ... [BLC-H002]
/// }
/// let cured = String::from_utf8(doctor.cure(&file)?.bytes)?;
/// assert!(cured.contains("bind *:443 ssl") && !cured.contains("httpclose"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Doctor {
    version: HaproxyVersion,
    host: Option<String>,
    names: Vec<String>,
    reader: Option<FileReader>,
    now: Option<SystemTime>,
}

impl fmt::Debug for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, host, names, reader: _, now } = self;
        let mut out = f.debug_struct("Doctor");
        out.field("version", version).field("host", host).field("names", names).field("now", now);
        out.finish_non_exhaustive()
    }
}

/// What [`Doctor::cure`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cured {
    /// The file with every fix applied.
    pub bytes: Vec<u8>,
    /// What was fixed, in order.
    pub fixed: Vec<Finding>,
    /// What is left for a person.
    pub left: Vec<Finding>,
}

impl Doctor {
    /// A doctor for a version. Without the settings below it looks at the text alone.
    pub const fn new(version: HaproxyVersion) -> Self {
        Self { version, host: None, names: Vec::new(), reader: None, now: None }
    }

    /// Says the name of the host HAProxy runs on (or what `-L` says), which one peer must carry.
    #[must_use]
    pub fn with_host_name(mut self, name: impl Into<String>) -> Self {
        self.host = Some(name.into());
        self
    }

    /// Says the names people use, which every certificate file must cover together. Needs the feature `certificates`.
    #[must_use]
    pub fn with_public_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Looks at certificate files too, through this reader.
    #[must_use]
    pub fn with_files(mut self, reader: FileReader) -> Self {
        self.reader = Some(reader);
        self
    }

    /// Says what time it is, for the dates in certificates. Needs the feature `certificates`.
    #[must_use]
    pub const fn with_now(mut self, now: SystemTime) -> Self {
        self.now = Some(now);
        self
    }

    /// Everything found in the files of one HAProxy, given in the order it loads them; by file and line.
    pub fn check(&self, files: &[ConfigFile]) -> Vec<Finding> {
        let scene = Scene::of(files);
        let mut found = Vec::new();
        for file in files {
            words::check(self.version, file, &mut found);
        }
        listen::check(&scene, &mut found);
        certificate::check(self, &scene, &mut found);
        proxies::check(self.version, &scene, &mut found);
        stats::check(&scene, &mut found);
        sticky::check(&scene, &mut found);
        tables::check(&scene, self.host.as_deref(), &mut found);
        let meant = meant(files);
        found.retain(|one| one.level == Level::Error || !meant.contains(&(&*one.file, one.line, one.rule)));
        let order = |name: &str| files.iter().position(|file| file.name() == name);
        found.sort_by(|a, b| (order(&a.file), a.line, a.rule).cmp(&(order(&b.file), b.line, b.rule)));
        found
    }

    /// Applies every fix of one file, again until none is left (eight rounds at most).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the cured file can no longer be read.
    pub fn cure(&self, file: &ConfigFile) -> Result<Cured, ConfigError> {
        let mut cured = self.cure_all(std::slice::from_ref(file))?;
        Ok(cured.pop().unwrap_or_else(|| Cured { bytes: file.print(), fixed: Vec::new(), left: Vec::new() }))
    }

    /// Applies every fix of the files of one HAProxy, seen together and given in the order it loads them, each by a name
    /// of its own; again until none is left (eight rounds at most). One answer a file, in order.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a cured file can no longer be read.
    pub fn cure_all(&self, files: &[ConfigFile]) -> Result<Vec<Cured>, ConfigError> {
        let mut current = files.to_vec();
        let mut fixed: Vec<Vec<Finding>> = vec![Vec::new(); files.len()];
        for _ in 0..8 {
            let found = self.check(&current);
            let mut changed = false;
            for (file, fixed) in current.iter_mut().zip(&mut fixed) {
                let mine = found.iter().filter(|finding| finding.file == file.name());
                let mut edits: Vec<Edit> = Vec::new();
                let mut touched: BTreeMap<usize, usize> = BTreeMap::new();
                for finding in mine {
                    let Some(fix) = &finding.fix else { continue };
                    // What overlaps waits for the next round, on the text as it is then.
                    let free = |edit: &Edit| {
                        let before = touched.range(..edit.range.end.max(edit.range.start + 1)).next_back();
                        before.is_none_or(|(_, end)| *end <= edit.range.start)
                    };
                    if fix.edits.iter().all(free) {
                        for edit in &fix.edits {
                            let end = touched.entry(edit.range.start).or_default();
                            *end = edit.range.end.max(*end);
                        }
                        edits.extend(fix.edits.iter().cloned());
                        fixed.push(finding.clone());
                    }
                }
                if !edits.is_empty() {
                    changed = true;
                    *file = ConfigFile::parse(file.name(), apply_edits(file.bytes(), &edits)?)?;
                }
            }
            if !changed {
                break;
            }
        }
        let left = self.check(&current);
        let left_in = |file: &ConfigFile| left.iter().filter(|finding| finding.file == file.name()).cloned().collect();
        let cured =
            |(file, fixed): (&ConfigFile, Vec<Finding>)| Cured { bytes: file.print(), fixed, left: left_in(file) };
        Ok(current.iter().zip(fixed).map(cured).collect())
    }
}

/// File, line and rule of what comments say is meant so: `# meant: BLC-H046, BLC-H053`.
fn meant(files: &[ConfigFile]) -> BTreeSet<(&str, usize, &'static str)> {
    let mut all = BTreeSet::new();
    for file in files {
        for line in file.lines() {
            let comment = line.comment.clone().and_then(|range| file.bytes().get(range));
            let comment = comment.and_then(|bytes| std::str::from_utf8(bytes).ok());
            let Some((_, named)) = comment.and_then(|text| text.split_once("meant:")) else { continue };
            for word in named.split([' ', ',', '\t']) {
                let rule = DOCTOR_RULES.iter().find(|rule| rule.id == word);
                all.extend(rule.map(|rule| (file.name(), line.number, rule.id)));
            }
        }
    }
    all
}
