//! `[rooms]`: one backend whose rooms are kept, or several.

use std::fmt;

use adapter_haproxy::control::Mode;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::{Span, Text};

/// The most backends of one controller.
const MAX_BACKENDS: usize = 64;

/// `[rooms]` or `[[rooms]]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rooms {
    pub(crate) backend: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<Mode>,
    #[serde(default)]
    pub(crate) with: Vec<Text>,
    #[serde(default = "nothing")]
    pub(crate) map: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<Text>,
    #[serde(default = "eight_hours")]
    pub(crate) ttl: Span,
    #[serde(default = "ten_minutes")]
    pub(crate) idle: Span,
    #[serde(default)]
    pub(crate) place: Place,
    #[serde(default = "least_loaded")]
    pub(crate) strategy: Text,
    #[serde(default)]
    pub(crate) load: Load,
    #[serde(default = "place")]
    pub(crate) message: Text,
}

/// How a new home is chosen.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    #[default]
    Hash,
    Least,
}

/// What counts as load.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Load {
    #[default]
    Rooms,
    Sessions,
}

fn nothing() -> Text {
    Text::from("")
}

fn eight_hours() -> Span {
    Span::seconds(8 * 3600)
}

fn ten_minutes() -> Span {
    Span::seconds(600)
}

fn least_loaded() -> Text {
    Text::from("least-loaded")
}

fn place() -> Text {
    Text::from("place")
}

impl Rooms {
    /// Where places are written.
    pub(crate) fn mode(&self) -> Mode {
        self.mode.unwrap_or_default()
    }

    /// The stick table, if there is one.
    pub(crate) fn table(&self) -> Option<&str> {
        let table = self.table.as_ref().map_or(self.backend.as_str(), |table| table.as_str());
        Some(table).filter(|table| !table.is_empty())
    }

    fn validate(&self) -> Result<(), String> {
        let backend = self.backend.as_str();
        if backend.is_empty() {
            return Err("rooms.backend is empty".to_owned());
        }
        match self.mode() {
            Mode::Map if self.map.as_str().is_empty() => {
                return Err(format!(
                    "rooms.map of {backend} is missing: mode \"map\" writes places into it; or choose \"spoe\" or \"peers\""
                ));
            }
            mode if mode != Mode::Map && !self.map.as_str().is_empty() => {
                return Err(format!("rooms.map of {backend} has no meaning in mode {:?}: take it out", mode.as_str()));
            }
            Mode::Peers if self.table().is_none() => {
                return Err(format!("rooms.table of {backend} is empty: mode \"peers\" writes places into it"));
            }
            _ => {}
        }
        let strategy = self.strategy.as_str();
        if !balancer_core::strategy_names().contains(&strategy) {
            let known = balancer_core::strategy_names().join(", ");
            return Err(format!("rooms.strategy of {backend} is {strategy:?}: there are {known}"));
        }
        if self.message.as_str().is_empty() {
            return Err(format!("rooms.message of {backend} is empty"));
        }
        Ok(())
    }
}

/// Checks each, and all of them together.
pub(super) fn validate(all: &[Rooms]) -> Result<(), String> {
    if all.is_empty() || all.len() > MAX_BACKENDS {
        return Err(format!("{} [[rooms]] blocks: there must be 1 to {MAX_BACKENDS}", all.len()));
    }
    all.iter().try_for_each(Rooms::validate)?;
    let twice = |what: &str, help: &str, of: &dyn Fn(&Rooms) -> Option<String>| {
        let mut seen: Vec<String> = all.iter().filter_map(of).collect();
        seen.sort_unstable();
        match seen.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("two [[rooms]] blocks have the {what} {:?}: {help}", pair[0])),
            None => Ok(()),
        }
    };
    twice("backend", "each is one backend", &|rooms| Some(rooms.backend.as_str().to_owned()))?;
    for (at, rooms) in all.iter().enumerate() {
        let others = all.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other);
        let both = |name: &Text| others.clone().any(|other| other.backend == *name || other.with.contains(name));
        if let Some(name) = rooms.with.iter().find(|name| both(name)) {
            return Err(format!(
                "rooms.with of {} names {:?}, which another [[rooms]] block looks after: two would order it about",
                rooms.backend.as_str(),
                name.as_str()
            ));
        }
    }
    twice("namespace", "rooms of one name would be one room: give each its own", &|rooms| {
        Some(rooms.namespace.as_ref().map_or("", |name| name.as_str()).to_owned())
    })?;
    twice("map", "each has its own", &|rooms| Some(rooms.map.as_str().to_owned()).filter(|map| !map.is_empty()))?;
    twice("message", "the agent knows by it which backend asks", &|rooms| {
        (rooms.mode() == Mode::Spoe).then(|| rooms.message.as_str().to_owned())
    })
}

/// Reads a table, or a list of tables.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Rooms>, D::Error> {
    struct Blocks;

    impl<'de> Visitor<'de> for Blocks {
        type Value = Vec<Rooms>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("[rooms], or [[rooms]] for each backend")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Ok(vec![Rooms::deserialize(MapAccessDeserializer::new(map))?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(rooms) = seq.next_element()? {
                all.push(rooms);
            }
            Ok(all)
        }
    }

    from.deserialize_any(Blocks)
}

/// Writes one as a table, several as a list.
pub(super) fn as_written<S: Serializer>(all: &[Rooms], to: S) -> Result<S::Ok, S::Error> {
    match all {
        [one] => one.serialize(to),
        all => all.serialize(to),
    }
}
