//! The two plain kinds of stickiness, each in its smallest correct form.

use super::HaproxyConfig;
use super::backend::{BackendSection, Balance, CookieStick};
use super::frontend::{Bind, FrontendSection};
use super::server::ServerLine;
use super::table::{PeersSection, StickRule, StickTable};
use crate::version::HaproxyVersion;

/// Web servers with a session of their own, each visitor kept on one by a cookie. A server without a cookie value gets
/// its name as one.
pub fn cookie_sample(version: HaproxyVersion, bind: Bind, servers: Vec<ServerLine>) -> HaproxyConfig {
    let mut config = HaproxyConfig::new(version);
    let mut front = FrontendSection::new("mywebapp", "webservers");
    let tls = bind.tls.is_some();
    front.binds.push(bind);
    let mut back = BackendSection::new("webservers", Balance::RoundRobin);
    let mut cookie = CookieStick::new("SERVER");
    cookie.secure = tls;
    back.cookie = Some(cookie);
    back.servers = servers;
    for server in &mut back.servers {
        server.cookie.get_or_insert_with(|| server.name.clone());
    }
    config.frontends.push(front);
    config.backends.push(back);
    config
}

/// The same by the visitor's address, in a table that all peers share and that outlives a reload. Everybody behind one
/// address goes to one server: take it where no cookie can be had. A peers section without tables gets one.
pub fn source_sample(
    version: HaproxyVersion,
    bind: Bind,
    servers: Vec<ServerLine>,
    peers: PeersSection,
) -> HaproxyConfig {
    let mut config = HaproxyConfig::new(version);
    let mut front = FrontendSection::new("mywebapp", "webservers");
    front.binds.push(bind);
    let mut peers = peers;
    if peers.tables.is_empty() {
        peers.tables.push(("sticky-sessions".into(), StickTable::sources()));
    }
    let mut back = BackendSection::new("webservers", Balance::RoundRobin);
    back.shared_table = peers.tables.first().map(|(table, _)| format!("{}/{table}", peers.name));
    back.sticks = vec![StickRule::Source];
    back.servers = servers;
    config.peers.push(peers);
    config.frontends.push(front);
    config.backends.push(back);
    config
}
