//! The configuration of `run`: one TOML file.

use std::path::{Path, PathBuf};

use adapter_haproxy::control::Mode;
use adapter_haproxy::runtime::RuntimeAddress;
use serde::{Deserialize, Serialize};

use crate::asking::Asking;
use crate::files;
use console::Failure;

mod agents;
mod pem;
mod rooms;
mod store;
mod text;

pub(crate) use agents::{AgentPort, Peers, Spoe};
pub(crate) use rooms::{Load, Place, Rooms};
use store::without_password;
pub(crate) use store::{Store, StoreKind};
pub(crate) use text::{Span, Text};

/// A file to begin with.
pub(crate) const EXAMPLE: &str = include_str!("../control.toml");
/// The largest file that is read, in bytes.
const MAX_LEN: usize = 1024 * 1024;
/// The most processes of one controller.
const MAX_PROCESSES: usize = 64;

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) haproxy: Vec<Process>,
    #[serde(deserialize_with = "rooms::one_or_many", serialize_with = "rooms::as_written")]
    pub(crate) rooms: Vec<Rooms>,
    #[serde(default)]
    pub(crate) store: Store,
    #[serde(default)]
    pub(crate) health: Health,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) probe: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ask: Option<AskServers>,
    #[serde(default, rename = "loop")]
    pub(crate) pace: Pace,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spoe: Option<Spoe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peers: Option<Peers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<AgentPort>,
    #[serde(default)]
    pub(crate) http: Http,
    #[serde(default)]
    pub(crate) log: Log,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) apply: Option<Apply>,
}

/// `[[haproxy]]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Process {
    pub(crate) name: Text,
    pub(crate) runtime: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) master: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state_file: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pins_file: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer_name: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wanted: Option<Text>,
}

/// `[health]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Health {
    pub(crate) decide: Decide,
    pub(crate) grace: Span,
}

impl Default for Health {
    fn default() -> Self {
        Self { decide: Decide::default(), grace: Span::seconds(0) }
    }
}

/// Who says that a server is down.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Decide {
    #[default]
    Haproxy,
    Probes,
    Either,
    Both,
}

/// `[probe]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Probe {
    pub(crate) kind: ProbeKind,
    pub(crate) path: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<Text>,
    pub(crate) statuses: [u16; 2],
    pub(crate) inter: Span,
    pub(crate) fall: u32,
    pub(crate) rise: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Span>,
}

impl Default for Probe {
    fn default() -> Self {
        let (kind, path, inter) = (ProbeKind::Tcp, Text::from("/"), Span::seconds(2));
        Self { kind, path, host: None, statuses: [200, 399], inter, fall: 3, rise: 2, timeout: None }
    }
}

/// How servers are probed.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProbeKind {
    Tcp,
    Http,
}

/// `[ask]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskServers {
    pub(crate) url: Text,
    #[serde(default = "room_id")]
    pub(crate) label: Text,
}

/// `[loop]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pace {
    pub(crate) every: Span,
    pub(crate) learn: Span,
    pub(crate) resync: Span,
}

impl Default for Pace {
    fn default() -> Self {
        Self { every: Span::seconds(1), learn: Span::seconds(1), resync: Span::seconds(60) }
    }
}

/// `[http]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    pub(crate) listen: Text,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "masked")]
    pub(crate) token: Option<Text>,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: Text::from("127.0.0.1:9466"), token: None }
    }
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) level: Level,
    pub(crate) format: Format,
    pub(crate) rooms: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, format: Format::Text, rooms: false }
    }
}

/// What is logged.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How it is logged.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Text,
    Json,
}

/// `[apply]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Apply {
    pub(crate) kind: WantedKind,
    pub(crate) wanted: Text,
    #[serde(default = "eight")]
    pub(crate) max_old_workers: usize,
}

/// What the wanted file describes.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WantedKind {
    Edumeet,
    Shards,
}

fn room_id() -> Text {
    Text::from("room_id")
}

fn eight() -> usize {
    8
}

#[allow(clippy::ref_option, reason = "serde asks for it so")]
fn masked<S: serde::Serializer>(_: &Option<Text>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str("***")
}

/// What a TOML error says, with its line and the word that was meant.
pub(crate) fn toml_failure(name: &str, text: &str, error: &toml::de::Error, hint: &str) -> Failure {
    let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let why = error.message();
    let meant = console::meant_by_serde(why);
    Failure::failed(format!("{name}:{line}: {why}{meant}")).hint(hint)
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, unknown keys, values that cannot be.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let bytes = files::read(path, MAX_LEN)?;
        let text = String::from_utf8(bytes).map_err(|_| Failure::failed(format!("{name} is no UTF-8 text")))?;
        Self::parse(&name, &text)
    }

    /// Reads its text.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let read: Result<Self, _> = toml::from_str(text);
        let settings = read
            .map_err(|error| toml_failure(name, text, &error, "haproxy-control run --example prints all there is"))?;
        settings.validate().map_err(|why| Failure::failed(format!("{name}: {why}")))?;
        Ok(settings)
    }

    fn validate(&self) -> Result<(), String> {
        if self.haproxy.is_empty() || self.haproxy.len() > MAX_PROCESSES {
            return Err(format!("{} [[haproxy]] blocks: there must be 1 to {MAX_PROCESSES}", self.haproxy.len()));
        }
        let mut names: Vec<&str> = self.haproxy.iter().map(|process| process.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two [[haproxy]] blocks are called {:?}", twice[0]));
        }
        if names.iter().any(|name| name.is_empty()) {
            return Err("a [[haproxy]] block has an empty name".to_owned());
        }
        for process in &self.haproxy {
            for (what, address) in [("runtime", Some(&process.runtime)), ("master", process.master.as_ref())] {
                let read: Option<Result<RuntimeAddress, _>> = address.map(|address| address.as_str().parse());
                if let Some(Err(why)) = read {
                    return Err(format!("{what} of haproxy {:?}: {why}", process.name.as_str()));
                }
            }
        }
        let pace = &self.pace;
        for (what, span) in [
            ("loop.every", Some(pace.every)),
            ("loop.learn", Some(pace.learn)),
            ("loop.resync", Some(pace.resync)),
            ("rooms.ttl", self.rooms.iter().map(|rooms| rooms.ttl).min()),
            ("store.timeout", Some(self.store.timeout)),
            ("probe.inter", self.probe.as_ref().map(|probe| probe.inter)),
            ("probe.timeout", self.probe.as_ref().and_then(|probe| probe.timeout)),
        ] {
            if let Some(span) = span.filter(|span| span.get().as_millis() < 10) {
                return Err(format!("{what} is {span}: it must be 10ms at least"));
            }
        }
        self.store.kind()?;
        if let Some([first, last]) = self.probe.as_ref().map(|probe| probe.statuses)
            && first > last
        {
            return Err(format!("probe.statuses is [{first}, {last}]: the first is the lowest that is good"));
        }
        self.ask.as_ref().map_or(Ok(()), Asking::check)?;
        let probes = self.health.decide != Decide::Haproxy;
        if probes && self.probe.is_none() {
            return Err("health.decide asks for probes, but there is no [probe] block".to_owned());
        }
        // Everybody shows that one.
        if self.http.token.as_ref().is_some_and(|token| token.as_str().is_empty()) {
            return Err("http.token is empty: is its variable set to nothing?".to_owned());
        }
        if let Some(listen) = self.listen()?
            && !listen.ip().is_loopback()
            && self.http.token.is_none()
        {
            return Err(format!("http.listen is {listen}, which others can reach: set http.token as well"));
        }
        Ok(())
    }

    /// The same, with this mode for the backends that have none of their own: all that `run` needs is there.
    ///
    /// # Errors
    ///
    /// What a mode needs and is not there, files of certificates that are wrong, addresses that strangers reach.
    pub(crate) fn in_mode(mut self, default: Option<Mode>, name: &str) -> Result<Self, Failure> {
        for rooms in &mut self.rooms {
            rooms.mode = Some(rooms.mode.or(default).unwrap_or_default());
        }
        if self.uses(Mode::Peers)
            && let Some(peers) = &mut self.peers
        {
            peers.read_files().map_err(|why| Failure::failed(format!("{name}: {why}")))?;
        }
        self.validate_modes().map_err(|why| Failure::failed(format!("{name}: {why}")))?;
        Ok(self)
    }

    fn validate_modes(&self) -> Result<(), String> {
        rooms::validate(&self.rooms)?;
        if self.rooms.len() > 1 && self.haproxy.iter().any(|process| process.pins_file.is_some()) {
            return Err("pins_file is one file, and there are several [[rooms]] blocks: take it out, so that each \
                        rooms.map is written where it lies"
                .to_owned());
        }
        if self.uses(Mode::Spoe) {
            self.spoe.clone().unwrap_or_default().address()?;
        }
        if self.uses(Mode::Peers) {
            self.peers.clone().unwrap_or_default().options(&self.haproxy)?;
        }
        self.agent.as_ref().map_or(Ok(()), |agent| agent.address().map(drop))
    }

    /// Whether a backend is in this mode.
    pub(crate) fn uses(&self, mode: Mode) -> bool {
        self.rooms.iter().any(|rooms| rooms.mode() == mode)
    }

    /// Where the API listens, if it does.
    pub(crate) fn listen(&self) -> Result<Option<std::net::SocketAddr>, String> {
        let text = self.http.listen.as_str();
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| format!("http.listen is {text:?}: write ADDRESS:PORT, as 127.0.0.1:9466"))
    }

    /// All that is in force, as TOML, without a secret.
    pub(crate) fn effective(&self) -> Result<String, Failure> {
        let mut shown = self.clone();
        if let [rooms] = &self.rooms[..]
            && rooms.mode() == Mode::Map
        {
            for process in &mut shown.haproxy {
                let path = process.pins_path(rooms).unwrap_or_default();
                process.pins_file = Some(Text::from(&*path.to_string_lossy()));
            }
        }
        shown.spoe = self.uses(Mode::Spoe).then(|| self.spoe.clone().unwrap_or_default());
        shown.peers = self.uses(Mode::Peers).then(|| self.peers.clone().unwrap_or_default());
        shown.store.url = Text::from(without_password(shown.store.url.as_str()).as_str());
        if let Some(ask) = &mut shown.ask {
            ask.url = Text::from(without_password(ask.url.as_str()).as_str());
        }
        toml::to_string(&shown).map_err(|e| Failure::failed("the settings cannot be printed").cause(e))
    }
}

impl Process {
    /// Where its map file is from here, if it is to be written.
    pub(crate) fn pins_path(&self, rooms: &Rooms) -> Option<PathBuf> {
        if rooms.mode() != Mode::Map {
            return None;
        }
        let path = match &self.pins_file {
            Some(path) => path.as_str(),
            None if matches!(self.runtime.as_str().parse(), Ok(RuntimeAddress::Unix(_))) => rooms.map.as_str(),
            None => "",
        };
        Some(path).filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

#[cfg(test)]
mod tests;
