//! HAProxy: where it will send a room before it does, what its configuration says, and what is wrong with it.
//!
//! HAProxy keeps everybody of a room on one server only if its configuration says so in a dozen places at once, and
//! when it does not, it does not complain: two halves of a class wait for each other in two rooms of one name. This
//! crate knows what a given release of HAProxy will do with a request, reads the room out of a request as the
//! conference systems write it, finds what is wrong with a configuration and mends what is mere writing, and renders
//! configurations that are right, asks and changes a live HAProxy, and answers what it asks. Everything but the connections
//! (the features `runtime`, `peers` and `agents`) is pure: no sockets, no clock, no files but those a reader is given for.
//!
//! ```
//! use adapter_haproxy::balance::{BackendSpec, Predictor, Request, ServerSpec, Version};
//! use adapter_haproxy::render::{Bind, EdumeetCluster, ServerLine};
//! use adapter_haproxy::{ConfigFile, Doctor, HaproxyVersion};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A configuration that keeps rooms together, and a doctor that finds nothing wrong with it.
//! let version = HaproxyVersion::new(2, 6);
//! let servers = (1..=3).map(|n| ServerLine::new(n, format!("edumeet{n}"), format!("192.0.2.{n}"), 80)).collect();
//! let text = EdumeetCluster::new(version, vec![Bind::port(80)], servers).render()?;
//! assert!(Doctor::new(version).check(&[ConfigFile::parse("haproxy.cfg", text)?]).is_empty());
//!
//! // Where HAProxy 2.6.12 will send a room.
//! let mut backend = BackendSpec::new(Version::release(2, 6, 12));
//! backend.line("balance hash url_param(roomId),url_dec(1)")?;
//! backend.line("hash-type consistent")?;
//! for n in 1..=3 {
//!     backend.server(ServerSpec::new(format!("edumeet{n}")).id(n));
//! }
//! let mut haproxy = Predictor::new(backend)?;
//! let first = haproxy.route(&Request::get("/socket.io/?roomId=big%20hall"));
//! let second = haproxy.route(&Request::get("/socket.io/?peerId=p&roomId=big+hall"));
//! assert_eq!(first.server(), second.server()); // everybody meets there
//! # Ok(())
//! # }
//! ```
//!
//! The program `haproxy-control` among the examples does all of this from a command line.
//!
//! # What there is
//!
//! | Part | Names |
//! | --- | --- |
//! | Exact placement, by release | [`balance`]: [`BackendSpec`](balance::BackendSpec), [`Predictor`](balance::Predictor), [`Version`](balance::Version); as a strategy of a pool, [`HaproxyStrategy`](balance::HaproxyStrategy) |
//! | Room keys of requests | [`classify`], [`RoomRule`], [`Request`], [`Classified`]; [`room_from_state`], [`jitsi_room_key`] |
//! | An existing configuration, every byte of it kept | [`ConfigFile`], [`apply_edits`], [`quote_word`] |
//! | What is wrong with it | [`Doctor`], [`Finding`], [`Cured`], [`DOCTOR_RULES`] |
//! | Who listens where | [`haproxy_listeners`], [`nginx_listeners`], [`listener_clashes`] |
//! | What a failed start meant | [`explain_log`], [`LogFinding`] |
//! | A live HAProxy | [`runtime`]: [`Command`](runtime::Command), [`ServerState`](runtime::ServerState), and with the feature `runtime` `Client`, `MasterClient`, `MapUpdate`, `RuntimeProbe` |
//! | Configurations to write | [`render`]: [`EdumeetCluster`](render::EdumeetCluster), [`JitsiShards`](render::JitsiShards), [`HaproxyConfig`](render::HaproxyConfig), [`pin_map`](render::pin_map) |
//! | Stick tables, heard and taught as a peer | [`peers`]: [`PeerSession`](peers::PeerSession), [`TableDefinition`](peers::TableDefinition), [`Entry`](peers::Entry), and with the feature `peers` `PeerNode` and `PeerStickStore` |
//! | Requests steered as an agent | [`spoe`]: [`AgentSession`](spoe::AgentSession), [`Action`](spoe::Action), and with the feature `agents` `AgentServer`, `Placer` |
//! | Agent checks | [`AgentReply`], [`AgentOrders`], and with the feature `agents` `AgentCheckServer`, `PoolAgent` |
//! | Where agents listen, also one after another | with the feature `agents` `ListenSocket` |
//! | From what runs to what is wanted, shown first | [`reconcile`]: [`plan`](reconcile::plan), [`Wanted`](reconcile::Wanted), [`Running`](reconcile::Running), [`Plan`](reconcile::Plan), and with the feature `runtime` `Client::apply`, `ReloadGate` |
//! | Rooms kept where they are, whatever happens: by a map, as an agent (SPOE) or as a peer | with the feature `control`: `control::Control`, `control::Mode` |
//! | Conversations with HAProxy, kept in a file and played against the decoders | [`trace`]: [`Recorder`](trace::Recorder), [`TraceReader`](trace::TraceReader), [`Replay`](trace::Replay) |
//! | The version a configuration is for | [`HaproxyVersion`] |
//!
//! # Features
//!
//! | Feature | Default | Adds |
//! | --- | --- | --- |
//! | `agents` | no | `spoe::AgentServer` with `spoe::Placer`, and `AgentCheckServer`: agents that a live HAProxy asks |
//! | `certificates` | no | the doctor looks into certificate files: dates and names |
//! | `control` | no | the control loop over live HAProxys; with `runtime` |
//! | `peers` | no | connections of peers, and a stick store that HAProxys share |
//! | `peers-tls` | no | the same within TLS |
//! | `runtime` | no | connections to the runtime API of a live HAProxy and of its master |
//! | `testing` | no | `testing`: room servers that die, hang and drain on command, and people who visit them; every decoder as a function of bytes, for fuzzers |
//!
//! # What is promised
//!
//! - A prediction is the server real HAProxy of that release takes, or it is refused: what is not modelled is an error,
//!   never a guess. The version is a parameter.
//! - Parsing and printing a configuration gives the same bytes. A rule's id never changes its meaning.
//! - What is rendered loads without a warning, whatever the names; what cannot be written is refused.
//! - Nothing panics on any bytes, and memory is bounded by the input.

mod agent_check;
pub mod balance;
#[cfg(test)]
mod captures;
mod config;
#[cfg(feature = "control")]
pub mod control;
mod doctor;
#[cfg(feature = "agents")]
mod listen;
pub mod peers;
#[cfg(any(feature = "agents", feature = "peers"))]
mod reach;
pub mod reconcile;
pub mod render;
mod room;
pub mod runtime;
pub mod spoe;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trace;
mod version;
mod wire;

pub use agent_check::{
    AgentAdmin, AgentHealth, AgentLineError, AgentOrders, AgentReply, MAX_AGENT_LINE, MAX_AGENT_REASON, Order,
    ReadyRule,
};
#[cfg(feature = "agents")]
pub use agent_check::{
    AgentCheckCounters, AgentCheckCounts, AgentCheckOptions, AgentCheckServer, AgentSource, PoolAgent, PoolAgentOptions,
};
pub use config::{
    ConfigError, ConfigFile, ConfigLine, ConfigSection, Edit, LineFault, MAX_CONFIG_LEN, MAX_CONFIG_LINES,
    MAX_LINE_WORDS, SectionKind, Word, apply_edits, quote_word,
};
pub use doctor::{
    Cured, DOCTOR_RULES, Doctor, FileReader, Finding, Fix, Level, Listener, LogCause, LogFinding, MAX_LOG_LEN,
    RuleInfo, explain_log, haproxy_listeners, listener_clashes, nginx_listeners,
};
#[cfg(feature = "agents")]
pub use listen::{ListenAddress, ListenError, ListenSocket};
#[cfg(any(feature = "agents", feature = "peers"))]
pub use reach::is_local_peer;
pub use room::{
    Affinity, Classified, MAX_BODY_LEN, MAX_TARGET_LEN, Request, RequestKind, RoomRule, SourceRule, classify,
    jitsi_client_room, jitsi_room_key, room_from_state,
};
pub use version::{HaproxyVersion, VersionError};
