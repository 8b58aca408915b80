//! From the description to the typed configuration.

use std::time::Duration;

use adapter_haproxy::HaproxyVersion;
use adapter_haproxy::render::{
    AgentCheck, AgentPlace, AgentsSection, Bind, BindTls, ControlSocket, EdumeetCluster, HaproxyConfig, HttpCheck,
    JitsiShards, LogTarget, Offload, OnNoAnswer, PeerLine, PeersSection, PeersTls, ResolversSection, ServerLine,
    ServerTls, StatsPage, User, Userlist, cookie_sample, source_sample,
};

use crate::cli::Kind;

use super::spec::{Asking, Check, Fail, Global, Listen, Peers, Server, Spec, Stats, Waits};

/// The configuration, or why there can be none.
pub(super) fn config(kind: Kind, version: HaproxyVersion, spec: &Spec) -> Result<HaproxyConfig, String> {
    if spec.listen.is_empty() || spec.server.is_empty() {
        return Err("at least one [[listen]] and one [[server]] are needed".into());
    }
    let rooms = matches!(kind, Kind::Edumeet | Kind::Shards);
    let refused = [
        ("pins", spec.pins.is_some() && !rooms),
        ("hold_pins", spec.hold_pins && !rooms),
        ("tenants", spec.tenants && kind != Kind::Edumeet),
        ("[peers]", spec.peers.is_some() && kind == Kind::Cookie),
        ("[offload]", spec.offload.is_some() && !rooms),
    ];
    if let Some((what, _)) = refused.into_iter().find(|(_, given)| *given) {
        return Err(format!("{what} has no meaning for {kind:?}: take it out").to_lowercase());
    }
    let servers = spec.server.iter().map(server).collect::<Result<Vec<_>, _>>()?;
    let peers = spec.peers.as_ref().map(peers).transpose()?;
    let mut binds: Vec<Bind> = spec.listen.iter().map(bind).collect();
    let mut config = match kind {
        Kind::Edumeet => {
            let mut cluster = EdumeetCluster::new(version, binds, servers);
            (cluster.peers, cluster.pins, cluster.tenants) = (peers, spec.pins.clone(), spec.tenants);
            cluster.config()
        }
        Kind::Shards => {
            let mut shards = JitsiShards::new(version, binds, servers);
            (shards.peers, shards.pins) = (peers, spec.pins.clone());
            shards.config()
        }
        Kind::Cookie | Kind::Source => {
            let more = binds.split_off(1);
            let first = binds.remove(0);
            let mut config = match peers {
                None if kind == Kind::Source => {
                    return Err("[peers] is needed: with this host alone in it, the table outlives a reload".into());
                }
                Some(peers) => source_sample(version, first, servers, peers),
                None => cookie_sample(version, first, servers),
            };
            let tls = spec.listen.iter().any(|listen| listen.certificate.is_some());
            for front in &mut config.frontends {
                front.binds.extend(more.iter().cloned());
                front.redirect_https = tls;
            }
            for cookie in config.backends.iter_mut().filter_map(|back| back.cookie.as_mut()) {
                cookie.secure = tls;
            }
            config
        }
    };
    if spec.hold_pins {
        for back in config.backends.iter_mut().filter(|back| back.pins.is_some()) {
            back.redispatch = false;
            back.pins.iter_mut().for_each(|pins| pins.hold = true);
        }
    }
    if let Some(given) = &spec.offload {
        offload(&mut config, given)?;
    }
    if let Some(given) = &spec.check {
        config.backends.iter_mut().for_each(|back| back.check = Some(check(given)));
    }
    for given in &spec.resolvers {
        let mut section = ResolversSection::new(&given.name);
        section.servers = given.servers.iter().map(|text| name_server(text)).collect::<Result<_, _>>()?;
        config.resolvers.push(section);
    }
    global(&mut config, &spec.global);
    waits(&mut config, &spec.timeouts)?;
    if let Some(given) = &spec.stats {
        stats(&mut config, given);
    }
    config.global.extra.extend(spec.extra.global.iter().cloned());
    config.defaults.extra.extend(spec.extra.defaults.iter().cloned());
    config.frontends.iter_mut().for_each(|front| front.extra.extend(spec.extra.frontend.iter().cloned()));
    config.backends.iter_mut().for_each(|back| back.extra.extend(spec.extra.backend.iter().cloned()));
    Ok(config)
}

fn bind(listen: &Listen) -> Bind {
    let mut bind = Bind::port(listen.port);
    bind.host.clone_from(&listen.host);
    bind.tls = listen.certificate.as_ref().map(|file| {
        let mut tls = BindTls::new(file);
        if let Some(alpn) = &listen.alpn {
            tls.alpn.clone_from(alpn);
        }
        tls
    });
    bind.accept_proxy = listen.accept_proxy;
    bind
}

fn server(given: &Server) -> Result<ServerLine, String> {
    let mut line = ServerLine::new(given.id, &given.name, &given.host, given.port);
    line.weight = given.weight;
    line.max_connections = given.max_connections;
    line.check = given.check;
    line.cookie.clone_from(&given.cookie);
    line.resolvers.clone_from(&given.resolvers);
    line.backup = given.backup;
    line.send_proxy = given.send_proxy;
    let name = given.tls_name.clone();
    line.tls = match given.tls.as_deref() {
        None | Some("none") => ServerTls::None,
        Some("unverified") => ServerTls::Unverified,
        Some("verified") => ServerTls::Verified { ca_file: "@system-ca".into(), name },
        Some(file) if file.starts_with('/') => ServerTls::Verified { ca_file: file.into(), name },
        Some(other) => {
            let ways = "write none, verified, unverified, or the path of a file with authorities";
            return Err(format!("server {}: tls {other:?} is not known: {ways}", given.name));
        }
    };
    line.agent = given.agent_port.map(|port| {
        let mut agent = AgentCheck::new(port);
        agent.send.clone_from(&given.agent_send);
        agent.host.clone_from(&given.agent_host);
        agent
    });
    if line.agent.is_none() && (given.agent_send.is_some() || given.agent_host.is_some()) {
        return Err(format!("server {}: agent_send and agent_host need agent_port", given.name));
    }
    Ok(line)
}

fn peers(given: &Peers) -> Result<PeersSection, String> {
    let members = given.member.iter().map(|peer| PeerLine::new(&peer.name, &peer.host, peer.port)).collect();
    let mut section = PeersSection::new(&given.name, &given.local, members);
    section.tls = match (&given.certificate, &given.authority) {
        (Some(certificate), Some(authority)) => Some(PeersTls::new(certificate, authority)),
        (None, None) => None,
        _ => return Err("[peers] has one of certificate and authority: TLS among peers needs both".into()),
    };
    Ok(section)
}

/// The name of the engine, and of the backend of its agents.
pub(super) const ENGINE: &str = "placement";
const AGENTS: &str = "placement-agents";

fn offload(config: &mut HaproxyConfig, given: &Asking) -> Result<(), String> {
    if given.agent.is_empty() {
        return Err("[offload] has no [[offload.agent]]: say where `haproxy-control run --mode spoe` listens".into());
    }
    if given.patience_ms == 0 {
        return Err("offload.patience_ms of 0 is not possible: HAProxy would wait for no answer".into());
    }
    let agents = given.agent.iter().map(|agent| (agent.name.clone(), AgentPlace::Tcp(agent.host.clone(), agent.port)));
    config.agents.push(AgentsSection::new(AGENTS, agents.collect()));
    let mut offload = Offload::new(ENGINE, &given.file, AGENTS, "room").on_no_answer(match given.fail {
        Fail::Open => OnNoAnswer::Balance,
        Fail::Closed => OnNoAnswer::Refuse,
    });
    offload.message.clone_from(&given.message);
    offload.processing = Duration::from_millis(given.patience_ms);
    // Of the backends of these kinds the first has the rooms.
    if let Some(rooms) = config.backends.first_mut() {
        // A limit depends on who is there now: whoever moves rooms has to choose as HAProxy does.
        rooms.balance_factor = None;
        rooms.offload = Some(offload);
    }
    Ok(())
}

fn check(given: &Check) -> HttpCheck {
    let mut check = HttpCheck::new(&given.path);
    check.host.clone_from(&given.host);
    if let Some(statuses) = &given.statuses {
        check.statuses.clone_from(statuses);
    }
    check
}

fn name_server(text: &str) -> Result<(String, u16), String> {
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Ok((address.ip().to_string(), address.port()));
    }
    let address = text.parse::<std::net::IpAddr>().map_err(|_| format!("name server {text:?} is no address"))?;
    Ok((address.to_string(), 53))
}

fn global(config: &mut HaproxyConfig, given: &Global) {
    let global = &mut config.global;
    if let Some(log) = &given.log {
        global.logs = if log == "stdout" { vec![LogTarget::stdout()] } else { vec![LogTarget::syslog(log)] };
    }
    global.max_connections = given.max_connections.or(global.max_connections);
    global.threads = given.threads.or(global.threads);
    global.sockets.extend(given.socket.as_ref().map(ControlSocket::admin));
    global.chroot.clone_from(&given.chroot);
    let group = given.group.as_ref().or(given.user.as_ref());
    global.user = given.user.clone().zip(group.cloned());
}

fn waits(config: &mut HaproxyConfig, given: &Waits) -> Result<(), String> {
    let to = &mut config.defaults.timeouts;
    let all = [
        ("connect", given.connect, &mut to.connect),
        ("client", given.client, &mut to.client),
        ("server", given.server, &mut to.server),
        ("tunnel", given.tunnel, &mut to.tunnel),
        ("http_request", given.http_request, &mut to.http_request),
        ("queue", given.queue, &mut to.queue),
    ];
    for (name, seconds, place) in all {
        let Some(seconds) = seconds else { continue };
        let wait = Duration::try_from_secs_f64(seconds).ok().filter(|wait| !wait.is_zero());
        *place = wait.ok_or_else(|| format!("timeouts.{name} of {seconds} s is not possible"))?;
    }
    Ok(())
}

fn stats(config: &mut HaproxyConfig, given: &Stats) {
    let mut page = StatsPage::new(given.port);
    page.bind.host = given.host.clone().or(page.bind.host);
    if let Some(uri) = &given.uri {
        page.uri.clone_from(uri);
    }
    (page.admin, page.metrics) = (given.admin, given.metrics);
    if !given.user.is_empty() {
        let users = given.user.iter().map(|user| User::hashed(&user.name, &user.hash)).collect();
        config.userlists.push(Userlist::new("operators", users));
        page.users = Some("operators".into());
    }
    config.stats.push(page);
}
