//! The description in TOML.

use serde::Deserialize;

use crate::settings::toml_failure;
use console::Failure;

/// Everything that can be described; what a kind does not know is refused when it is built.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    pub(super) haproxy: Option<String>,
    #[serde(default)]
    pub(super) listen: Vec<Listen>,
    #[serde(default)]
    pub(super) server: Vec<Server>,
    pub(super) pins: Option<String>,
    #[serde(default)]
    pub(super) hold_pins: bool,
    #[serde(default)]
    pub(super) tenants: bool,
    pub(super) check: Option<Check>,
    pub(super) peers: Option<Peers>,
    pub(super) offload: Option<Asking>,
    #[serde(default)]
    pub(super) resolvers: Vec<Resolvers>,
    #[serde(default)]
    pub(super) global: Global,
    #[serde(default)]
    pub(super) timeouts: Waits,
    pub(super) stats: Option<Stats>,
    #[serde(default)]
    pub(super) extra: Extra,
}

/// `[[listen]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listen {
    pub(super) port: u16,
    pub(super) host: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) alpn: Option<Vec<String>>,
    #[serde(default)]
    pub(super) accept_proxy: bool,
}

/// `[[server]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) host: String,
    #[serde(default = "eighty")]
    pub(super) port: u16,
    pub(super) id: u32,
    pub(super) weight: Option<u16>,
    pub(super) max_connections: Option<u32>,
    #[serde(default = "yes")]
    pub(super) check: bool,
    pub(super) cookie: Option<String>,
    pub(super) tls: Option<String>,
    pub(super) tls_name: Option<String>,
    pub(super) agent_host: Option<String>,
    pub(super) agent_port: Option<u16>,
    pub(super) agent_send: Option<String>,
    pub(super) resolvers: Option<String>,
    #[serde(default)]
    pub(super) backup: bool,
    #[serde(default)]
    pub(super) send_proxy: bool,
}

/// `[check]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    pub(super) path: String,
    pub(super) host: Option<String>,
    pub(super) statuses: Option<String>,
}

/// `[peers]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peers {
    #[serde(default = "mates")]
    pub(super) name: String,
    pub(super) local: String,
    pub(super) certificate: Option<String>,
    pub(super) authority: Option<String>,
    pub(super) member: Vec<Peer>,
}

/// `[[peers.member]]`, `[[offload.agent]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) port: u16,
}

/// `[offload]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asking {
    pub(super) file: String,
    #[serde(default)]
    pub(super) fail: Fail,
    #[serde(default = "place")]
    pub(super) message: String,
    #[serde(default = "fifty")]
    pub(super) patience_ms: u64,
    pub(super) agent: Vec<Peer>,
}

/// What becomes of a room without an answer.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fail {
    #[default]
    Open,
    Closed,
}

/// `[[resolvers]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolvers {
    pub(super) name: String,
    #[serde(default)]
    pub(super) servers: Vec<String>,
}

/// `[global]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Global {
    pub(super) log: Option<String>,
    pub(super) max_connections: Option<u32>,
    pub(super) threads: Option<u16>,
    pub(super) socket: Option<String>,
    pub(super) chroot: Option<String>,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
}

/// `[timeouts]`, in seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Waits {
    pub(super) connect: Option<f64>,
    pub(super) client: Option<f64>,
    pub(super) server: Option<f64>,
    pub(super) tunnel: Option<f64>,
    pub(super) http_request: Option<f64>,
    pub(super) queue: Option<f64>,
}

/// `[stats]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stats {
    pub(super) port: u16,
    pub(super) host: Option<String>,
    pub(super) uri: Option<String>,
    #[serde(default)]
    pub(super) user: Vec<StatsUser>,
    #[serde(default)]
    pub(super) admin: bool,
    #[serde(default)]
    pub(super) metrics: bool,
}

/// `[[stats.user]]`; never printed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatsUser {
    pub(super) name: String,
    pub(super) hash: String,
}

impl std::fmt::Debug for StatsUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatsUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `[extra]`: lines taken over as they are.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Extra {
    #[serde(default)]
    pub(super) global: Vec<String>,
    #[serde(default)]
    pub(super) defaults: Vec<String>,
    #[serde(default)]
    pub(super) frontend: Vec<String>,
    #[serde(default)]
    pub(super) backend: Vec<String>,
}

fn eighty() -> u16 {
    80
}

fn yes() -> bool {
    true
}

fn place() -> String {
    "place".to_owned()
}

fn fifty() -> u64 {
    50
}

fn mates() -> String {
    "mates".to_owned()
}

/// Reads a description; `${NAME}` in the hash of a user is taken from the environment.
pub(super) fn read(name: &str, text: &str) -> Result<Spec, Failure> {
    let mut spec: Spec = toml::from_str(text)
        .map_err(|error| toml_failure(name, text, &error, "render KIND --example prints all there is"))?;
    for user in spec.stats.iter_mut().flat_map(|stats| &mut stats.user) {
        if let Some(variable) = user.hash.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            let unset = |_| Failure::failed(format!("{name}: the hash of user {}: {variable} is not set", user.name));
            user.hash = std::env::var(variable).map_err(unset)?;
        }
    }
    Ok(spec)
}
