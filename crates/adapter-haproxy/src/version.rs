//! The HAProxy version a configuration is for.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A version of HAProxy, as far as features depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HaproxyVersion {
    major: u16,
    minor: u16,
}

impl HaproxyVersion {
    /// A version by its first two numbers.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// At least that version.
    pub const fn has(self, major: u16, minor: u16) -> bool {
        self.major > major || (self.major == major && self.minor >= minor)
    }
}

/// The version of most current distributions: 2.6.
impl Default for HaproxyVersion {
    fn default() -> Self {
        Self::new(2, 6)
    }
}

impl From<crate::balance::Version> for HaproxyVersion {
    fn from(exact: crate::balance::Version) -> Self {
        let (major, minor) = exact.branch();
        Self::new(major, minor)
    }
}

impl fmt::Display for HaproxyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The text names no version.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{text:?} names no HAProxy version: write it as 2.6 or as haproxy -v prints it")]
pub struct VersionError {
    text: String,
}

/// Reads `2.6`, `2.8.25-5cf5d0683`, or a line of `haproxy -v`.
impl FromStr for HaproxyVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let found = text.split_whitespace().find_map(|word| {
            let (major, rest) = word.split_once('.')?;
            let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
            Some(Self::new(major.parse().ok()?, minor.parse().ok()?))
        });
        found.ok_or_else(|| VersionError { text: text.chars().take(80).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, expected) in [
            ("2.6", "2.6"),
            ("2.8.25-5cf5d0683", "2.8"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6"),
            ("3.5-dev5", "3.5"),
        ] {
            assert_eq!(text.parse::<HaproxyVersion>().unwrap().to_string(), expected);
        }
        assert!("two".parse::<HaproxyVersion>().is_err());
        assert!(HaproxyVersion::new(3, 0).has(2, 8) && !HaproxyVersion::new(2, 4).has(2, 6));
    }
}
