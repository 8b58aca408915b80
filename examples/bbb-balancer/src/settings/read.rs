//! From text to values, collecting what is wrong.

use std::time::Duration;

use super::keys::{KEYS, Key, Show};
use super::report::shown;
use super::sources::{Found, Sources};

/// Reads settings one by one, and keeps the errors for the end, so that all are told at once.
pub(super) struct Reader<'s> {
    sources: &'s Sources,
    pub(super) errors: Vec<String>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(sources: &'s Sources) -> Self {
        Self { sources, errors: Vec::new() }
    }

    /// The value as it stands.
    pub(super) fn found(&self, name: &str) -> Found {
        self.sources.find(known(name))
    }

    /// A text, if there is one.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        Some(self.found(name).text).filter(|text| !text.is_empty())
    }

    /// The value, or why it cannot be and what it should be.
    pub(super) fn with<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let found = self.found(name);
        match read(&found.text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.refuse(name, &why);
                None
            }
        }
    }

    /// Notes that this setting cannot be used.
    pub(super) fn refuse(&mut self, name: &str, why: &str) {
        let key = known(name);
        let found = self.sources.find(key);
        let value = if key.show == Show::Plain { format!(" {:?}", shown(key, &found.text)) } else { String::new() };
        self.errors.push(format!("{name}{value} ({}): {why}", found.source));
    }

    pub(super) fn number(&mut self, name: &str, least: u32, most: u32) -> u32 {
        self.with(name, |text| in_range(text.parse().ok(), least, most)).unwrap_or(least)
    }

    /// A whole number as a size or count.
    pub(super) fn count(&mut self, name: &str, least: u32, most: u32) -> usize {
        usize::try_from(self.number(name, least, most)).unwrap_or(usize::MAX)
    }

    pub(super) fn switch(&mut self, name: &str) -> bool {
        self.with(name, boolean).unwrap_or_default()
    }

    /// Seconds, with a fraction, above zero and at most so many.
    pub(super) fn seconds(&mut self, name: &str, most: f64) -> Duration {
        self.with(name, |text| {
            let range = || format!("must be a number of seconds above 0 and at most {most}");
            let number: f64 = text.parse().map_err(|_| range())?;
            if number > 0.0 && number <= most { Ok(Duration::from_secs_f64(number)) } else { Err(range()) }
        })
        .unwrap_or_default()
    }

    /// Bytes: `65536`, `64KiB`, `1MiB`; `k`, `M` and `G` are the same units.
    pub(super) fn bytes(&mut self, name: &str, least: usize, most: usize) -> usize {
        self.with(name, |text| {
            let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
            let unit = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
                "" | "b" => 1,
                "k" | "kb" | "kib" => 1 << 10,
                "m" | "mb" | "mib" => 1 << 20,
                "g" | "gb" | "gib" => 1 << 30,
                _ => 0,
            };
            let bytes = digits.parse::<usize>().ok().filter(|_| unit > 0).and_then(|n| n.checked_mul(unit));
            match bytes {
                Some(bytes) if (least..=most).contains(&bytes) => Ok(bytes),
                _ => Err(format!("must be a size from {least} to {most} bytes, such as 65536, 64KiB or 1MiB")),
            }
        })
        .unwrap_or(least)
    }
}

/// A switch: `true` or `false`, and their usual other spellings.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

fn in_range(number: Option<u32>, least: u32, most: u32) -> Result<u32, String> {
    match number {
        Some(n) if n >= least && n <= most => Ok(n),
        _ => Err(format!("must be a whole number from {least} to {most}")),
    }
}

/// The setting of a name that stands in this program.
fn known(name: &str) -> &'static Key {
    let key = super::keys::key(name);
    debug_assert!(key.is_some(), "no setting {name}");
    key.unwrap_or(&KEYS[0])
}
