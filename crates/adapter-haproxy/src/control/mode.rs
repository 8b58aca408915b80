//! Where the places of rooms are written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where the place of a room is written, so that HAProxy sends people there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mode {
    /// In an entry of a map that `use-server` looks rooms up in.
    #[default]
    Map,
    /// Nowhere in HAProxy: it asks an agent ([`spoe::Placer`](crate::spoe)) for each request.
    Spoe,
    /// In an entry of its stick table, taught by a peer ([`peers`](crate::peers)).
    Peers,
}

impl Mode {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Spoe => "spoe",
            Self::Peers => "peers",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Map, Self::Spoe, Self::Peers];
        all.into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no mode: map, spoe or peers"))
    }
}
