//! Who listens where: ports, TLS, clashes, the control socket.

use std::collections::BTreeMap;

use crate::config::{ConfigFile, ConfigLine, SectionKind};

use super::scene::{DefaultServers, Part, Scene, remove, replace};
use super::{Finding, Level, RuleInfo};

/// How many listeners of one port are compared with each other.
const SAME_PORT: usize = 1000;

/// An address somebody listens on, with the line that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listener {
    /// The program: `haproxy` or `nginx`.
    pub program: &'static str,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The host: an address, a name, or `*` for all.
    pub host: String,
    /// The port.
    pub port: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    /// Where the port's digits begin and end in the word.
    digits: std::ops::Range<usize>,
}

/// The network addresses of a bind word; ranges of ports, variables, unix and inherited sockets are left out.
pub(super) fn addresses(word: &str) -> Vec<Address> {
    let mut found = Vec::new();
    let mut start = 0;
    for part in word.split(',') {
        let at = start;
        start += part.len() + 1;
        let (family, bare) = part.split_once('@').unwrap_or(("ipv4", part));
        if !matches!(family, "ipv4" | "ipv6" | "tcp" | "tcp4" | "tcp6") || bare.starts_with('/') || bare.contains('$') {
            continue;
        }
        let Some((host, port)) = bare.rsplit_once(':') else { continue };
        let Ok(number) = port.parse() else { continue };
        let host = host.trim_matches(['[', ']']);
        let host = match (host, family) {
            ("", "ipv6" | "tcp6") => "::",
            ("", _) => "*",
            _ => host,
        };
        let end = at + part.len();
        found.push(Address { host: host.to_owned(), port: number, digits: end - port.len()..end });
    }
    found
}

pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

pub(super) fn check(scene: &Scene<'_>, found: &mut Vec<Finding>) {
    let mut globals = scene.of_kind(SectionKind::Global);
    let lenient = globals.any(|global| global.own(&["ssl-server-verify", "none"]).next().is_some());
    for part in scene.proxies() {
        for bind in part.binds() {
            ports(part, bind, found);
        }
        let shared = part.default_servers();
        for server in part.servers() {
            tls_to(part, server, &shared, lenient, found);
        }
    }
    for part in scene.of_kind(SectionKind::Global) {
        for line in part.own(&["stats", "socket"]) {
            socket(part, line, found);
        }
    }
    let listeners: Vec<Listener> = scene.files.iter().flat_map(haproxy_listeners).collect();
    found.extend(listener_clashes(&listeners));
}

fn ports(part: &Part<'_>, bind: &ConfigLine, found: &mut Vec<Finding>) {
    let Some(word) = bind.words.get(1).filter(|word| !word.variable) else { return };
    let ssl = bind.position("ssl").is_some();
    for address in addresses(&word.text) {
        if address.port == 433 {
            let text = "port 433: browsers ask for 443".to_owned();
            let mut finding =
                Finding::new("BLC-H010", part.file, bind.number, text, "write 443, if that is what is meant");
            if word.span.len() == word.text.len() {
                let mut fixed = word.text.clone();
                fixed.replace_range(address.digits.clone(), "443");
                finding = finding.with_fix([replace(bind, 1, fixed)]);
            }
            found.push(finding);
        }
        if address.port == 443 && !ssl && part.mode == "http" && bind.position("accept-proxy").is_none() {
            let text = "port 443 without ssl: browsers begin with TLS and are not understood".to_owned();
            let help = "add ssl crt /PATH/FULL.pem alpn h2,http/1.1, or mode tcp to pass TLS on";
            found.push(Finding::new("BLC-H011", part.file, bind.number, text, help));
        }
    }
}

fn tls_to(part: &Part<'_>, server: &ConfigLine, shared: &DefaultServers<'_>, lenient: bool, found: &mut Vec<Finding>) {
    let own = server.words.iter().skip(3).map(|word| &*word.text);
    let words: Vec<&str> = shared.of(server).chain(own).collect();
    let has = |word: &str| words.contains(&word);
    // The last one counts.
    let on = |word: &str| {
        let last = words.iter().rev().find(|other| other.strip_prefix("no-").unwrap_or(other) == word);
        last.is_some_and(|last| *last == word)
    };
    let (ssl, verify) = (on("ssl"), has("verify"));
    let name = server.word(1);
    let port = server.word(2).rsplit_once(':').map_or("", |(_, port)| port);
    if port == "443" && !ssl && part.mode == "http" {
        let text = format!("server {name} listens for TLS on 443 and is sent plain HTTP");
        let help = "add ssl verify required ca-file @system-ca (and sni), or send to its plain port";
        found.push(Finding::new("BLC-H012", part.file, server.number, text, help));
    }
    if ssl && !verify && !has("ca-file") && !lenient {
        let text = format!("server {name} has ssl and nothing about verification: HAProxy does not start");
        let help = "add verify required ca-file FILE, or verify none if you mean that";
        found.push(Finding::new("BLC-H013", part.file, server.number, text, help));
    }
    if let Some(at) = server.position("verify").filter(|_| !ssl && !on("check-ssl")) {
        let text = format!("verify has no effect on server {name}: it is not asked for TLS");
        let finding = Finding::new("BLC-H014", part.file, server.number, text, "delete it, or add ssl");
        found.push(finding.with_fix([remove(server, at, at + 2)]));
    }
}

fn socket(part: &Part<'_>, line: &ConfigLine, found: &mut Vec<Finding>) {
    let admin = line.after("level").is_some_and(|level| level.text == "admin");
    let open = addresses(line.word(2)).iter().any(|address| !is_loopback(&address.host));
    if open {
        let rights = if admin { "change everything" } else { "read everything" };
        let text = format!("whoever reaches {} may {rights}: the control socket knows no password", line.word(2));
        let help = "bind it to a file or to 127.0.0.1";
        found.push(Finding::new("BLC-H021", part.file, line.number, text, help));
    }
    let world =
        line.after("mode").is_some_and(|mode| mode.text.len() >= 3 && mode.text.ends_with(['2', '3', '6', '7']));
    if world {
        let text = format!("every user of this host may write to {}", line.word(2));
        found.push(Finding::new("BLC-H021", part.file, line.number, text, "mode 660 and group haproxy"));
    }
}

/// Every network address a configuration listens on: binds, peers, the control socket.
pub fn haproxy_listeners(file: &ConfigFile) -> Vec<Listener> {
    let mut found = Vec::new();
    for section in file.sections() {
        for line in file.lines_of(section) {
            let word = match section.kind {
                SectionKind::Global if line.starts(&["stats", "socket"]) => line.words.get(2),
                // On an interface or in a namespace of its own it is in nobody's way.
                SectionKind::Frontend | SectionKind::Listen | SectionKind::Peers
                    if line.keyword() == "bind"
                        && line.position("interface").is_none()
                        && line.position("namespace").is_none() =>
                {
                    line.words.get(1)
                }
                _ => None,
            };
            for address in word.filter(|word| !word.variable).map(|word| addresses(&word.text)).unwrap_or_default() {
                let Address { host, port, .. } = address;
                found.push(Listener { program: "haproxy", file: file.name().into(), line: line.number, host, port });
            }
        }
    }
    found
}

/// The `listen` lines of an nginx configuration, one file at a time.
pub fn nginx_listeners(file: &str, text: &str) -> Vec<Listener> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("");
        for statement in line.split([';', '{', '}']) {
            let mut words = statement.split_whitespace();
            let (Some("listen"), Some(word)) = (words.next(), words.next()) else { continue };
            let (host, port) = word.rsplit_once(':').filter(|(host, _)| !host.is_empty()).unwrap_or(("*", word));
            let port = match (port.trim_end_matches(']').parse(), word.parse::<std::net::IpAddr>().is_ok()) {
                (Ok(port), false) => port,
                _ => 80,
            };
            let host = if word.parse::<std::net::IpAddr>().is_ok() { word } else { host.trim_matches(['[', ']']) };
            if !host.starts_with("unix") {
                found.push(Listener { program: "nginx", file: file.into(), line: at + 1, host: host.into(), port });
            }
        }
    }
    found
}

/// Listeners that cannot both have their address, each named once with the one before it. Two `listen` lines of one
/// nginx share an address by design.
pub fn listener_clashes(listeners: &[Listener]) -> Vec<Finding> {
    let wild = |host: &str| matches!(host, "*" | "0.0.0.0" | "::");
    let mut found = Vec::new();
    let mut ports: BTreeMap<u16, Vec<&Listener>> = BTreeMap::new();
    for late in listeners {
        let others = ports.entry(late.port).or_default();
        let clash = others.iter().find(|early| {
            let same = early.host == late.host
                || (wild(&early.host) && wild(&late.host) && early.host != "::" && late.host != "::");
            let covered =
                (wild(&early.host) || wild(&late.host)) && early.host.contains("::") == late.host.contains("::");
            let both_nginx = early.program == "nginx" && late.program == "nginx";
            (same || covered) && !both_nginx
        });
        let Some(early) = clash else {
            if others.len() < SAME_PORT {
                others.push(late);
            }
            continue;
        };
        let alone = (early.program, late.program) == ("haproxy", "haproxy");
        // HAProxy starts with both: the system then deals connections out, or gives them to the closer address.
        let (level, so, help) = match (alone, wild(&early.host) == wild(&late.host)) {
            (true, true) => {
                let so = "chance decides which of them gets a connection";
                (Level::Warning, so, "give one of them another port or address, or delete it")
            }
            (true, false) => (
                Level::Note,
                "the one of all addresses gets what is left",
                "if that is meant, nothing; else delete one",
            ),
            (false, _) => (
                RuleInfo::level_of(super::DOCTOR_RULES, "BLC-H015"),
                "the second to start cannot",
                "move nginx to another port in all of its files and name that port in HAProxy's server lines",
            ),
        };
        let text = format!(
            "{} listens on {}:{} here and {} on {}:{} at {}:{}: {so}",
            late.program, late.host, late.port, early.program, early.host, early.port, early.file, early.line
        );
        found.push(Finding {
            rule: "BLC-H015",
            level,
            file: late.file.clone(),
            line: late.line,
            text,
            help: help.into(),
            fix: None,
        });
    }
    found
}
