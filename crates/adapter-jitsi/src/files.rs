//! Configuration files of bridges and focuses: read, and checked against each other.

use std::fmt;

mod connection;
mod doctor;
mod hocon;
mod lua;
mod names;
mod properties;
mod rules;
mod server;
#[cfg(test)]
mod tests;

pub use balancer_core::{Level, RuleInfo};
pub use connection::BridgeLogin;
pub use doctor::{Finding, JitsiDoctor, JitsiHost, PortSeen, PortWanted, Transport};
pub use rules::JITSI_RULES;

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 1 << 20;
/// How many settings of one file are read.
pub const MAX_SETTINGS: usize = 10_000;
/// How deep blocks may lie in each other.
pub const MAX_FILE_DEPTH: usize = 64;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// `sip-communicator.properties`: Java properties.
    Properties,
    /// `config`: assignments as a shell reads them.
    Shell,
    /// `jvb.conf`, `jicofo.conf`: HOCON.
    Hocon,
    /// `prosody.cfg.lua` and its parts: of these only the hosts, components, ports and interfaces that are written out.
    /// What a program in it computes is not known and has an empty value here.
    Prosody,
}

impl FileKind {
    /// The kind by the file's name, whatever folder it is in; `None` for other names.
    pub fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        Some(match name {
            "config" => Self::Shell,
            _ if name.ends_with(".properties") => Self::Properties,
            _ if name.ends_with(".conf") => Self::Hocon,
            _ if name.ends_with(".lua") => Self::Prosody,
            _ => return None,
        })
    }
}

/// One setting of a file. Its value is not shown by `Debug` where it may be a secret.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Its name; blocks are joined by dots.
    pub key: String,
    /// Its value, without quotes. A list is its values joined by commas.
    pub value: String,
    /// Its line, from 1.
    pub line: usize,
    /// Whether it is commented out: an older value.
    pub old: bool,
    /// Whether another setting stands before it on its line.
    pub crowded: bool,
}

impl Setting {
    fn new(key: impl Into<String>, value: impl Into<String>, line: usize) -> Self {
        Self { key: key.into(), value: value.into(), line, old: false, crowded: false }
    }

    /// Whether its value is nobody's business.
    pub fn is_secret(&self) -> bool {
        let key = self.key.to_ascii_lowercase();
        ["password", "secret", "passwd", "token", "private"].iter().any(|word| key.contains(word))
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What stands crowded behind a name may hold the secrets of others.
        let hidden = self.is_secret() || self.value.contains('=');
        let value = if hidden { "[hidden]" } else { &self.value };
        let mut out = f.debug_struct("Setting");
        out.field("key", &self.key).field("value", &value).field("line", &self.line);
        out.field("old", &self.old).field("crowded", &self.crowded).finish()
    }
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JitsiFile {
    /// Its name, as findings show it.
    pub name: String,
    /// How it is written.
    pub kind: FileKind,
    /// Its settings in order, older values that are commented out among them.
    pub settings: Vec<Setting>,
}

impl JitsiFile {
    /// Reads a file. Bytes that are no UTF-8 become replacement characters.
    ///
    /// ```
    /// use adapter_jitsi::{FileKind, JitsiFile};
    ///
    /// let text = b"#org.jitsi.videobridge.ENABLE_STATISTICS=false\n\
    ///     org.jitsi.videobridge.ENABLE_STATISTICS=true org.jitsi.videobridge.STATISTICS_TRANSPORT=muc\n";
    /// let file = JitsiFile::read("sip-communicator.properties", FileKind::Properties, text)?;
    /// assert_eq!(file.value("org.jitsi.videobridge.STATISTICS_TRANSPORT"), Some("muc"));
    /// assert_eq!(file.settings.len(), 3);
    /// # Ok::<(), adapter_jitsi::FileError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`FileError`] when the file is too large, has too many settings or too deep blocks, or is no HOCON.
    pub fn read(name: impl Into<String>, kind: FileKind, bytes: &[u8]) -> Result<Self, FileError> {
        let name = name.into();
        let fail = |line, what| FileError { file: name.clone(), line, what };
        if bytes.len() > MAX_FILE {
            return Err(fail(0, FileDefect::TooLarge));
        }
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let settings = match kind {
            FileKind::Properties => properties::read(text),
            FileKind::Shell => properties::read_shell(text),
            FileKind::Hocon => hocon::read(text),
            FileKind::Prosody => lua::read(text),
        };
        let settings = settings.map_err(|(line, what)| fail(line, what))?;
        Ok(Self { name, kind, settings })
    }

    /// The setting of that name that counts: the last one in force.
    pub fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().rev().find(|setting| !setting.old && setting.key == key)
    }

    /// Its value.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.setting(key).map(|setting| &*setting.value)
    }
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
#[non_exhaustive]
pub struct FileError {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub what: FileDefect,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileDefect {
    /// More than [`MAX_FILE`] bytes.
    #[error("larger than {MAX_FILE} bytes, which no configuration is; is it the right file?")]
    TooLarge,
    /// More than [`MAX_SETTINGS`] settings.
    #[error("more than {MAX_SETTINGS} settings; is it the right file?")]
    TooMany,
    /// More than [`MAX_FILE_DEPTH`] blocks in each other.
    #[error("more than {MAX_FILE_DEPTH} blocks within each other; close some")]
    TooDeep,
    /// A block, list or quotation without its end.
    #[error("something opened here or before has no end; close the brace, bracket or quotation mark")]
    Open,
    /// An end without its beginning.
    #[error("a brace or bracket closes what was never opened; remove it")]
    Closed,
    /// A name without a value.
    #[error("a name without a value; write name = value, or name {{ ... }}")]
    NoValue,
}
