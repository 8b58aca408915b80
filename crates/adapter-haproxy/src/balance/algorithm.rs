//! The `balance` and `hash-type` lines.

use super::error::SpecError;
use super::hash::HashFunction;
use super::key::KeyRule;
use super::version::Version;

/// What a `balance` line orders.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Balance {
    /// `roundrobin`, the default before 3.3-dev8.
    RoundRobin,
    /// `static-rr`.
    StaticRr,
    /// `leastconn`.
    LeastConn,
    /// `first`.
    First,
    /// `random`: by chance, so every usable server is possible.
    Random {
        /// How often chance draws; the less loaded of those drawn is taken. 2 unless written.
        draws: u32,
    },
    /// By the hash of a key.
    Key(KeyRule),
}

impl Balance {
    /// Reads what follows the word `balance`.
    ///
    /// # Errors
    ///
    /// [`SpecError::Syntax`] and [`SpecError::Unsupported`].
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        Self::from_words(&super::words::words(text)?)
    }

    pub(crate) fn from_words(words: &[String]) -> Result<Self, SpecError> {
        if let Some(rule) = KeyRule::from_words(words)? {
            return Ok(Self::Key(rule));
        }
        let unsupported = |what: &str| SpecError::Unsupported { text: words.join(" "), what: what.to_owned() };
        Ok(match words {
            [one] => match one.as_str() {
                "roundrobin" => Self::RoundRobin,
                "static-rr" => Self::StaticRr,
                "leastconn" => Self::LeastConn,
                "first" => Self::First,
                "random" => Self::Random { draws: 2 },
                other if other.starts_with("random(") => {
                    let draws = other.strip_prefix("random(").and_then(|n| n.strip_suffix(')')?.parse().ok());
                    let draws = draws.filter(|n| *n > 0);
                    let bad = || SpecError::Syntax { text: other.to_owned(), why: "needs a positive number of draws" };
                    Self::Random { draws: draws.ok_or_else(bad)? }
                }
                _ => return Err(unsupported("this algorithm")),
            },
            _ => return Err(unsupported("this algorithm")),
        })
    }

    /// What is in force without a `balance` line.
    pub(crate) fn default_of(version: Version) -> Self {
        if version.defaults_to_random() { Self::Random { draws: 2 } } else { Self::RoundRobin }
    }

    /// Whether a server is found by a key and nothing but that key, as long as there is one.
    pub(crate) fn key(&self) -> Option<&KeyRule> {
        match self {
            Self::Key(rule) => Some(rule),
            _ => None,
        }
    }
}

/// What a `hash-type` line orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashType {
    consistent: bool,
    function: HashFunction,
    avalanche: bool,
}

impl HashType {
    /// `map-based`, or `consistent`, with this function; whether its result is mixed once more.
    ///
    /// A line that names no function means sdbm, and with `consistent` its result is mixed; naming sdbm ends that.
    pub const fn new(consistent: bool, function: HashFunction, avalanche: bool) -> Self {
        Self { consistent, function, avalanche }
    }

    /// What follows the word `hash-type`.
    ///
    /// # Errors
    ///
    /// [`SpecError::Syntax`].
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        Self::from_words(&super::words::words(text)?)
    }

    pub(crate) fn from_words(words: &[String]) -> Result<Self, SpecError> {
        let bad = |why| SpecError::Syntax { text: words.join(" "), why };
        let mut words = words.iter().map(String::as_str);
        let consistent = match words.next() {
            Some("map-based") => false,
            Some("consistent") => true,
            _ => return Err(bad("needs map-based or consistent behind hash-type")),
        };
        let Some(name) = words.next() else {
            return Ok(Self::new(consistent, HashFunction::Sdbm, consistent));
        };
        let function = HashFunction::by_name(name).ok_or_else(|| bad("names no hash function of HAProxy"))?;
        match (words.next(), words.next()) {
            (None, None) => Ok(Self::new(consistent, function, false)),
            (Some("avalanche"), None) => Ok(Self::new(consistent, function, true)),
            _ => Err(bad("has a modifier that is not avalanche")),
        }
    }

    /// Whether it is `consistent`.
    pub const fn is_consistent(self) -> bool {
        self.consistent
    }

    /// Its function.
    pub const fn function(self) -> HashFunction {
        self.function
    }

    /// Whether the function's result is mixed once more.
    pub const fn has_avalanche(self) -> bool {
        self.avalanche
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naming_the_function_ends_the_implicit_avalanche() {
        let mixed = |text: &str| HashType::parse(text).unwrap().has_avalanche();
        assert_eq!(HashType::parse("map-based"), Ok(HashType::default()));
        assert!(mixed("consistent") && mixed("consistent crc32 avalanche"));
        assert!(!mixed("consistent sdbm") && !mixed("map-based"));
        for bad in ["", "ring", "consistent md5", "consistent sdbm twice", "consistent sdbm avalanche x"] {
            assert!(HashType::parse(bad).is_err(), "{bad}");
        }
    }
}
