//! Releases of HAProxy, and what differs between them where servers are chosen.

use std::fmt;
use std::str::FromStr;

/// A release of HAProxy: `2.6.12`, `3.5-dev5`. Development versions come before the release of the same number.
///
/// What HAProxy chooses depends on it, so it is always stated and never guessed. Text behind the number, such as a
/// distribution's `-1+deb12u4`, is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u16,
    minor: u16,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    Dev(u16),
    Release(u16),
}

/// A text is no version of HAProxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no HAProxy version: write it like 2.6.12 or 3.5-dev5")]
pub struct VersionError {
    text: String,
}

/// How the nodes of a server on the consistent ring are numbered with `hash-key id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RingBase {
    /// The id times 4096: everything but the releases below.
    Spaced,
    /// The mixed id: 3.0.0 up to 3.3-dev9, and the maintenance releases of 3.0 to 3.2 of that time.
    Mixed,
}

impl Version {
    /// A release, such as 2.6.12.
    pub const fn release(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, stage: Stage::Release(patch) }
    }

    /// A development version, such as 3.5-dev5.
    pub const fn dev(major: u16, minor: u16, number: u16) -> Self {
        Self { major, minor, stage: Stage::Dev(number) }
    }

    /// The branch, such as (2, 6).
    pub const fn branch(self) -> (u16, u16) {
        (self.major, self.minor)
    }

    /// How this release numbers the nodes of its ring; `None` where the release does not tell: maintenance releases of
    /// 3.0 and 3.1 (a later one of each brought the fix), and development versions of 3.0.
    ///
    /// Rooms move when an upgrade crosses this line.
    pub fn ring_base(self) -> Option<RingBase> {
        match (self.branch(), self.stage) {
            ((3, 0), Stage::Release(0)) | ((3, 1), Stage::Dev(_) | Stage::Release(0)) => Some(RingBase::Mixed),
            ((3, 0 | 1), _) => None,
            ((3, 2), Stage::Release(n)) if n >= 7 => Some(RingBase::Spaced),
            ((3, 2), _) => Some(RingBase::Mixed),
            ((3, 3), Stage::Dev(n)) if n < 10 => Some(RingBase::Mixed),
            _ => Some(RingBase::Spaced),
        }
    }

    /// `hash-type ... none`.
    pub(crate) fn has_function_none(self) -> bool {
        self.branch() >= (2, 9)
    }

    /// With function `none`, a sample is read as text and not as its binary form.
    pub(crate) fn reads_numbers_as_text(self) -> bool {
        self >= Self::dev(3, 4, 13)
    }

    /// `hash-key addr` and `addr-port`.
    pub(crate) fn has_hash_keys(self) -> bool {
        self.branch() >= (3, 0)
    }

    /// `hash-key id32` and `guid`.
    pub(crate) fn has_wide_hash_keys(self) -> bool {
        self >= Self::dev(3, 4, 13)
    }

    /// `hash-preserve-affinity`.
    pub(crate) fn has_affinity(self) -> bool {
        self.branch() >= (3, 2)
    }

    /// `leastconn` breaks ties by chance.
    pub(crate) fn ties_by_chance(self) -> bool {
        self.branch() >= (3, 2)
    }

    /// `roundrobin` treats a server of a new weight like one that comes.
    pub(crate) fn weight_rejoins(self) -> bool {
        self.branch() >= (3, 2)
    }

    /// `random` is the default and not `roundrobin`.
    pub(crate) fn defaults_to_random(self) -> bool {
        self >= Self::dev(3, 3, 8)
    }

    /// A parameter in a request body is checked byte by byte; before, its first byte was checked again and again.
    pub(crate) fn checks_every_body_byte(self) -> bool {
        match self.branch() {
            (3, 0) => self > Self::release(3, 0, 0),
            branch => branch >= (2, 8),
        }
    }

    /// A server back from maintenance counts those it takes from the backend's queue, and takes none without a limit.
    pub(crate) fn counts_grabbed(self) -> bool {
        self.checks_every_body_byte()
    }

    /// With the last usable server, those who wait for any are refused; and nobody waits while nobody is served.
    pub(crate) fn empties_queue(self) -> bool {
        self.checks_every_body_byte()
    }

    /// `word()` gives nothing for a missing word; before, an empty value.
    pub(crate) fn fails_missing_word(self) -> bool {
        self.branch() >= (2, 8)
    }

    /// `hdr_ip` accepts `[v6]`.
    pub(crate) fn accepts_brackets(self) -> bool {
        self.branch() >= (2, 8)
    }

    /// The path of `http://host` is `/`; before, there was none.
    pub(crate) fn has_implied_path(self) -> bool {
        self.branch() >= (2, 8)
    }

    /// `http://host?query` is accepted, with an empty path; before, it was answered 400.
    pub(crate) fn accepts_empty_path(self) -> bool {
        self.branch() >= (3, 5)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let bad = || VersionError { text: text.chars().take(64).collect() };
        let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
        let (major, rest) = text.trim().split_once('.').ok_or_else(bad)?;
        let (minor, rest) = rest.split_at(digits(rest));
        let number = |s: &str| s.get(..digits(s)).and_then(|d| d.parse().ok()).ok_or_else(bad);
        let stage = if let Some(n) = rest.strip_prefix("-dev") {
            Stage::Dev(number(n)?)
        } else if let Some(n) = rest.strip_prefix('.') {
            Stage::Release(number(n)?)
        } else {
            return Err(bad());
        };
        Ok(Self { major: major.parse().map_err(|_| bad())?, minor: minor.parse().map_err(|_| bad())?, stage })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage {
            Stage::Dev(n) => write!(f, "{}.{}-dev{n}", self.major, self.minor),
            Stage::Release(n) => write!(f, "{}.{}.{n}", self.major, self.minor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_haproxy_prints() {
        for (text, want) in [
            ("2.6.12", Version::release(2, 6, 12)),
            ("2.6.12-1+deb12u4", Version::release(2, 6, 12)),
            ("3.5-dev5", Version::dev(3, 5, 5)),
            ("3.5-dev5-abc123", Version::dev(3, 5, 5)),
        ] {
            assert_eq!(text.parse(), Ok(want), "{text}");
            assert_eq!(want.to_string().parse(), Ok(want));
        }
        for text in ["", "2", "2.6", "x.6.1", "2.6.", "2.6-dev", "2.6.99999", ".6.1"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
        assert!(Version::dev(3, 5, 5) < Version::release(3, 5, 0));
    }

    #[test]
    fn knows_the_ring_of_its_release() {
        for (text, want) in [
            ("2.6.12", Some(RingBase::Spaced)),
            ("3.0.0", Some(RingBase::Mixed)),
            ("3.0.5", None),
            ("3.2.6", Some(RingBase::Mixed)),
            ("3.2.7", Some(RingBase::Spaced)),
            ("3.3-dev9", Some(RingBase::Mixed)),
            ("3.3-dev10", Some(RingBase::Spaced)),
            ("3.5-dev5", Some(RingBase::Spaced)),
        ] {
            assert_eq!(text.parse::<Version>().unwrap().ring_base(), want, "{text}");
        }
    }
}
