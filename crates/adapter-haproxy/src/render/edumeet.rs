//! A cluster of edumeet room servers.

use super::backend::{BackendSection, Balance, UseServer};
use super::condition::{Acl, Condition};
use super::frontend::{Bind, FrontendSection, SetVar, UseBackend};
use super::server::ServerLine;
use super::table::{PeersSection, StickRule, StickTable};
use super::{HaproxyConfig, RenderError};
use crate::version::HaproxyVersion;

/// What an edumeet cluster needs to be told. Everybody of a room comes to one server: by pin, else by table, else by
/// hash, all on the decoded room name, which login callbacks give as well, posted ones included. A room with a NUL byte
/// in it is refused: the table would take it for the room of the name before that byte.
///
/// HAProxy cannot turn Latin-1 into UTF-8: a login callback of a 3.x room named `café` (and one that writes the letter as
/// `\u00e9`) has another key than its signalling. Pin both ([`pin_key`](super::pin_key) of the UTF-8 name, and `caf%E9`) where such names occur.
/// What is edumeet's own stays in its configuration: `turnAPIKey` and `turnAPIURI`, the sessions in Redis, and
/// `trustProxy`, which has to name this HAProxy.
///
/// ```
/// use adapter_haproxy::HaproxyVersion;
/// use adapter_haproxy::render::{Bind, EdumeetCluster, ServerLine};
///
/// # fn main() -> Result<(), adapter_haproxy::render::RenderError> {
/// let servers = (1..=3).map(|n| ServerLine::new(n, format!("edumeet{n}"), format!("192.0.2.{n}"), 80)).collect();
/// let cluster = EdumeetCluster::new(HaproxyVersion::new(2, 6), vec![Bind::port(80)], servers);
/// assert!(cluster.render()?.contains("balance hash var(txn.room)"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EdumeetCluster {
    /// The HAProxy it is for.
    pub version: HaproxyVersion,
    /// Listeners; with TLS on one of them, plain requests are sent there.
    pub binds: Vec<Bind>,
    /// The room servers, each with an id that is never used again.
    pub servers: Vec<ServerLine>,
    /// The HAProxys that share the table; one alone keeps it over reloads.
    pub peers: Option<PeersSection>,
    /// A map file of pinned rooms.
    pub pins: Option<String>,
    /// Part of the key is the host asked for, as 4.x has rooms per tenant.
    pub tenants: bool,
}

impl EdumeetCluster {
    /// A cluster of these servers behind these listeners.
    pub const fn new(version: HaproxyVersion, binds: Vec<Bind>, servers: Vec<ServerLine>) -> Self {
        Self { version, binds, servers, peers: None, pins: None, tenants: false }
    }

    /// The configuration, open for changes before it is rendered.
    pub fn config(&self) -> HaproxyConfig {
        let mut config = HaproxyConfig::new(self.version);
        let mut front = FrontendSection::new("edumeet", "pages");
        front.binds = self.binds.clone();
        front.redirect_https = self.binds.iter().any(|bind| bind.tls.is_some());
        front.buffer_request = true;
        front.acls = vec![
            Acl::new("callback", "path_beg", ["/auth/callback"]),
            Acl::new("named", "url_param(roomId)", ["1:"]).with_flags(["-m", "len"]),
            Acl::new("has_state", "var(txn.state)", [""; 0]).with_flags(["-m", "found"]),
            Acl::new("has_json", "var(txn.json)", ["{"]).with_flags(["-m", "sub"]),
            Acl::new("has_room", "var(txn.room)", ["1:"]).with_flags(["-m", "len"]),
            Acl::nul_in_room(),
        ];
        front.variables = variables(self.tenants);
        front.refused = vec![Condition::all(["has_nul"])];
        front.uses = vec![UseBackend::Named { name: "rooms".into(), when: Condition::all(["has_room"]) }];

        let mut rooms = BackendSection::new("rooms", Balance::Variable("room".into()));
        rooms.table = Some(StickTable::rooms());
        rooms.peers = self.peers.as_ref().map(|peers| peers.name.clone());
        rooms.sticks = vec![StickRule::Variable("room".into())];
        rooms.pins = self.pins.as_ref().map(|file| UseServer::pinned("room", file));
        rooms.servers = self.servers.clone();
        let mut pages = BackendSection::new("pages", Balance::LeastConn);
        pages.servers = self.servers.clone();

        config.peers.extend(self.peers.clone());
        config.frontends.push(front);
        config.backends.extend([rooms, pages]);
        config
    }

    /// The configuration file.
    ///
    /// # Errors
    ///
    /// [`RenderError`], as [`HaproxyConfig::render`].
    pub fn render(&self) -> Result<String, RenderError> {
        self.config().render()
    }
}

fn variables(tenants: bool) -> Vec<SetVar> {
    let all = |acls: &[&str]| Condition::all(acls.iter().copied());
    let no_blanks = r#"regsub("[[:space:]]","",g)"#;
    let json = "var(txn.json),json_query('$.roomId')";
    let mut variables = vec![
        SetVar::new("room", "url_param(roomId),url_dec(1)").when(all(&["named"])),
        // The state as the query has it, else as a posted form has it; a plus is a plus.
        SetVar::new("state", format!("url_param(state),url_dec,{no_blanks}")).when(all(&["callback"])),
        SetVar::new("state", format!("req.body_param(state),url_dec,{no_blanks}"))
            .when(all(&["callback", "!has_state"])),
        // Either alphabet, with padding or without.
        SetVar::new("json", "var(txn.state),b64dec").when(all(&["callback", "has_state"])),
        SetVar::new("json", "var(txn.state),ub64dec").when(all(&["callback", "has_state", "!has_json"])),
        SetVar::new("room", json).when(all(&["callback", "has_json"])),
    ];
    if tenants {
        let host = "req.hdr(host),field(1,:),lower,concat(/,txn.room)";
        variables.push(SetVar::new("room", host).when(all(&["has_room"])));
    }
    variables
}
