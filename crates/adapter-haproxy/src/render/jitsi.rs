//! Several Jitsi Meet shards behind one name.

use std::time::Duration;

use super::backend::{BackendSection, Balance, HttpCheck, UseServer};
use super::condition::{Acl, Condition};
use super::frontend::{Bind, FrontendSection, SetVar, UseBackend};
use super::server::ServerLine;
use super::table::{PeersSection, StickRule, StickTable};
use super::{HaproxyConfig, RenderError};
use crate::version::HaproxyVersion;

/// What shards of Jitsi Meet need to be told. A room is on one shard: by pin, else by table, else by hash; without pins
/// that has a limit of one and a half times the mean. The table learns a room from signalling alone: a page that is only looked at pins
/// nothing.
///
/// The key is `/` and the path of the room, tenant included, decoded and in lower case: `/acme/standup`. HAProxy knows
/// lower case for ASCII alone and no compatibility forms, so `TÄST` and `täst` differ here; pin such rooms, or let the
/// control plane place them. An encoded slash in a room name is a slash here: such a room shares a key with another. A room with a
/// NUL byte in it is refused, since the table would take it for another one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JitsiShards {
    /// The HAProxy it is for.
    pub version: HaproxyVersion,
    /// Listeners; with TLS on one of them, plain requests are sent there.
    pub binds: Vec<Bind>,
    /// The web servers of the shards, each with an id that is never used again.
    pub shards: Vec<ServerLine>,
    /// The HAProxys that share the table; one alone keeps it over reloads.
    pub peers: Option<PeersSection>,
    /// A map file of pinned rooms.
    pub pins: Option<String>,
    /// The check of a shard.
    pub check: HttpCheck,
}

impl JitsiShards {
    /// These shards behind these listeners, checked by `/about/health`.
    pub fn new(version: HaproxyVersion, binds: Vec<Bind>, shards: Vec<ServerLine>) -> Self {
        let mut check = HttpCheck::new("/about/health");
        check.statuses = "200".into();
        Self { version, binds, shards, peers: None, pins: None, check }
    }

    /// The configuration, open for changes before it is rendered.
    pub fn config(&self) -> HaproxyConfig {
        let mut config = HaproxyConfig::new(self.version);
        let mut front = FrontendSection::new("jitsi", "any");
        front.binds = self.binds.clone();
        front.redirect_https = self.binds.iter().any(|bind| bind.tls.is_some());
        let ends = ["/http-bind", "/xmpp-websocket", "/config.js", "/room-size", "/conference-request/v1"];
        let folders =
            ["libs", "static", "css", "images", "fonts", "lang", "sounds", "colibri-ws", ".well-known", "about"];
        let files = [".js", ".css", ".json", ".html", ".txt", ".ico", ".png", ".svg", ".map", ".wasm", ".mp3", ".opus"];
        front.acls = vec![
            Acl::new("signal", "path_end", ends),
            Acl::new("named", "url_param(room)", ["1:"]).with_flags(["-m", "len"]),
            Acl::new("folder", "path_dir", folders),
            Acl::new("file", "path_end", files),
            Acl::new("root", "path", ["/"]),
            Acl::new("has_room", "var(txn.room)", ["1:"]).with_flags(["-m", "len"]),
            Acl::nul_in_room(),
        ];
        front.variables = variables();
        front.refused = vec![Condition::all(["has_nul"])];
        front.uses = vec![UseBackend::Named { name: "shards".into(), when: Condition::all(["has_room"]) }];

        let ten = Duration::from_secs(10);
        let mut shards = BackendSection::new("shards", Balance::Variable("room".into()));
        // A limit depends on who is there now: what the control plane and every HAProxy shall choose alike is without.
        shards.balance_factor = self.pins.is_none().then_some(150);
        shards.table = Some(StickTable::rooms());
        shards.peers = self.peers.as_ref().map(|peers| peers.name.clone());
        shards.sticks = vec![StickRule::StoredWhen { key: "room".into(), when: "signal".into() }];
        shards.pins = self.pins.as_ref().map(|file| UseServer::pinned("room", file));
        shards.check = Some(self.check.clone());
        shards.check_times = (ten, 2, 3);
        shards.servers = self.shards.clone();
        let mut any = BackendSection::new("any", Balance::RoundRobin);
        any.check = Some(self.check.clone());
        any.check_times = (ten, 2, 3);
        any.servers = self.shards.clone();

        config.peers.extend(self.peers.clone());
        config.frontends.push(front);
        config.backends.extend([shards, any]);
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

fn variables() -> Vec<SetVar> {
    let all = |acls: &[&str]| Condition::all(acls.iter().copied());
    let page = ["!signal", "!folder", "!file", "!root"];
    let named_page = ["!signal", "!folder", "!file", "!root", "named"];
    let signals = r#"regsub("/(http-bind|xmpp-websocket|config\.js|room-size|conference-request/v1)$","")"#;
    let mut variables = Vec::new();
    // Decoded as often as clients and portals encode it. A decoder that fails leaves what was there before.
    for decoded in ["lower", "url_dec,lower", "url_dec,url_dec,lower"] {
        variables.push(SetVar::new("path", format!("path,{decoded}")));
        variables.push(SetVar::new("named", format!("url_param(room),{decoded}")).when(all(&["named"])));
    }
    let path = |rest: &str| format!("var(txn.path),{rest}");
    variables.extend([
        // Signalling: the tenant is in the path, the room in the query.
        SetVar::new("room", path(&format!("{signals},concat(/,txn.named)"))).when(all(&["signal", "named"])),
        SetVar::new("signal", "bool(true)").when(all(&["signal", "named"])),
        // A page: both are in the path, unless the query names the room.
        SetVar::new("room", path(r#"regsub("/$","")"#)).when(all(&page)),
        SetVar::new("room", path(r#"regsub("/[^/]*/*$",""),concat(/,txn.named)"#)).when(all(&named_page)),
    ]);
    variables
}
