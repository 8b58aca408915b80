//! Values of settings: texts that may name the environment, and durations.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};

/// A text; `${NAME}` in it is taken from the environment as it is read. Never in `Debug`: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Text(String);

impl Text {
    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        expand(&text, |name| std::env::var(name).ok()).map(Self).map_err(D::Error::custom)
    }
}

/// Puts variables in their places.
fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, left) = after.split_once('}').ok_or("a ${ without its }")?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(format!("${{{name}}} is no name of a variable"));
        }
        out.push_str(before);
        out.push_str(&value(name).ok_or_else(|| format!("the variable {name} is not set"))?);
        rest = left;
    }
    out.push_str(rest);
    Ok(out)
}

/// A duration, written as `500ms`, `2s`, `10m`, `8h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(Duration);

impl Span {
    /// So many seconds.
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The duration.
    pub(crate) const fn get(self) -> Duration {
        self.0
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let odd = || format!("{text:?} is no duration: write a number and a unit, as 500ms, 2s, 10m or 8h");
        let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(odd)?;
        let (number, unit) = text.split_at(end);
        let number: u64 = number.parse().map_err(|_| odd())?;
        let each = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(odd()),
        };
        // A year is enough for anything here, and adds up nowhere.
        let most = 366 * 86_400_000;
        number.checked_mul(each).filter(|ms| *ms <= most).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(odd)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        match [(3_600_000, "h"), (60_000, "m"), (1_000, "s")]
            .into_iter()
            .find(|(each, _)| ms > 0 && ms.is_multiple_of(*each))
        {
            Some((each, unit)) => write!(f, "{}{unit}", ms / each),
            None => write!(f, "{ms}ms"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_back_as_they_were_written() {
        for text in ["500ms", "2s", "10m", "8h", "0ms", "90s", "1500ms"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        for odd in ["", "5", "s", "5 s", "-1s", "5x", "99999999999999999999s", "400d"] {
            assert!(odd.parse::<Span>().is_err(), "{odd}");
        }
    }

    #[test]
    fn variables_take_their_places() {
        let value = |name: &str| (name == "A").then(|| "x$y".to_owned());
        assert_eq!(expand("1${A}2${A}$", value).unwrap(), "1x$y2x$y$");
        for odd in ["${B}", "${", "${}", "${A B}"] {
            assert!(expand(odd, value).is_err(), "{odd}");
        }
    }
}
