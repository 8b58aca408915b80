//! Frontends and backends: modes, names, timeouts, headers, cookies.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{ConfigLine, SectionKind};
use crate::version::HaproxyVersion;

use super::scene::{Part, Scene, append, below, replace};
use super::{Finding, Level};

pub(super) fn check(version: HaproxyVersion, scene: &Scene<'_>, found: &mut Vec<Finding>) {
    duplicates(version, scene, found);
    timeouts(scene, found);
    for part in scene.proxies() {
        targets(scene, part, found);
        headers(part, found);
        servers(part, found);
        cookies(part, found);
        names(part, found);
    }
}

/// Servers by name: HAProxy does not start while one of them cannot be resolved.
fn names(part: &Part<'_>, found: &mut Vec<Finding>) {
    if part.setting(&["default-server"]).is_some_and(|line| line.position("init-addr").is_some()) {
        return;
    }
    for server in part.servers().filter(|line| line.position("init-addr").is_none() && !line.words[2].variable) {
        let address = server.word(2);
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let name =
            host.starts_with(|c: char| c.is_ascii_alphanumeric()) && host.contains(|c: char| c.is_ascii_alphabetic());
        if !name || host.contains(['@', '/']) || host == "localhost" || host.parse::<std::net::IpAddr>().is_ok() {
            continue;
        }
        let text = format!("HAProxy does not start while {host} cannot be resolved");
        let finding = Finding::new("BLC-H036", part.file, server.number, text, "add init-addr last,libc,none");
        found.push(finding.with_fix([append(server, "init-addr last,libc,none")]));
    }
}

fn targets(scene: &Scene<'_>, part: &Part<'_>, found: &mut Vec<Finding>) {
    for (line, name) in part.targets() {
        let Some(backend) = scene.backend(name) else {
            let text = format!("{} sends to backend {name}, which is not there", part.title());
            found.push(Finding::new("BLC-H027", part.file, line.number, text, "add it, or correct the name"));
            continue;
        };
        let (here, there) = (part.mode, backend.mode);
        if here != there {
            let text = format!("{} is in mode {here} and {} in mode {there}", part.title(), backend.title());
            let help = "write one mode for both, in the defaults section";
            let finding = Finding::new("BLC-H026", part.file, line.number, text, help);
            // A TCP frontend may be lifted to HTTP by its backend; the other way there is none.
            found.push(if here == "tcp" { finding.at(Level::Warning) } else { finding });
        }
    }
}

fn duplicates(version: HaproxyVersion, scene: &Scene<'_>, found: &mut Vec<Finding>) {
    let mut proxies: BTreeMap<&str, &Part<'_>> = BTreeMap::new();
    for part in scene.proxies() {
        if let Some(early) = proxies.insert(part.name, part) {
            let text = format!(
                "{} has the name of {} at {}:{}",
                part.title(),
                early.title(),
                early.file.name(),
                early.head.number
            );
            let finding =
                Finding::new("BLC-H028", part.file, part.head.number, text, "give every proxy a name of its own");
            let front = |part: &Part<'_>| part.kind == SectionKind::Frontend;
            let back = |part: &Part<'_>| part.kind == SectionKind::Backend;
            let sides = (front(part) && back(early)) || (back(part) && front(early));
            found.push(if sides && !version.has(3, 3) { finding.at(Level::Warning) } else { finding });
        }
        let conditional = part.body.iter().any(|line| line.keyword().starts_with('.'));
        let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for server in part.servers().filter(|_| !conditional) {
            let id = server.after("id").map(|id| ("id", id.text.as_str()));
            for key in [Some(("name", server.word(1))), id].into_iter().flatten() {
                if let Some(line) = seen.insert(key, server.number) {
                    let text = format!("{}: the server {} {} is also on line {line}", part.title(), key.0, key.1);
                    let help = "every server has a name and an id of its own, and an id is never used again";
                    found.push(Finding::new("BLC-H028", part.file, server.number, text, help));
                }
            }
        }
    }
}

fn servers(part: &Part<'_>, found: &mut Vec<Finding>) {
    let balance = part.setting(&["balance"]).map_or("", |line| line.word(1));
    let hashed = super::sticky::is_hash(balance);
    let stuck = part.body.iter().any(|line| line.keyword() == "stick");
    let without: Vec<&ConfigLine> = part.servers().filter(|line| line.position("id").is_none()).collect();
    let Some(first) = without.first().filter(|_| (stuck || hashed) && part.servers().count() > 1) else { return };
    let taken: BTreeSet<u32> = part.servers().filter_map(|line| line.after("id")?.text.parse().ok()).collect();
    let mut free = (1..).filter(|id| !taken.contains(id));
    let edits: Vec<_> = without.iter().map(|line| append(line, &format!("id {}", free.next().unwrap_or(1)))).collect();
    let text = format!(
        "{}: servers without id are known by their position; taking one out moves rooms of others",
        part.title()
    );
    let help = "give each server an id and never use one again";
    found.push(Finding::new("BLC-H029", part.file, first.number, text, help).with_fix(edits));
}

fn cookies(part: &Part<'_>, found: &mut Vec<Finding>) {
    let Some(cookie) = part.setting(&["cookie"]).filter(|_| part.kind != SectionKind::Frontend) else { return };
    if part.mode != "http" {
        let text = format!("{}: cookies need mode http", part.title());
        found.push(Finding::new("BLC-H035", part.file, part.head.number, text, "write mode http"));
        return;
    }
    if cookie.position("dynamic").is_some() || part.setting(&["default-server", "cookie"]).is_some() {
        return;
    }
    for server in part.servers().filter(|line| line.position("cookie").is_none() && line.position("backup").is_none()) {
        let name = server.word(1);
        let text = format!("server {name} has no cookie value: nobody is kept on it");
        let finding = Finding::new("BLC-H035", part.file, server.number, text, format!("add cookie {name}"));
        found.push(finding.with_fix([append(server, &format!("cookie {name}"))]));
    }
}

fn headers(part: &Part<'_>, found: &mut Vec<Finding>) {
    let vouched = |line: &&ConfigLine| {
        let name = line.word(2).to_ascii_lowercase();
        line.keyword() == "http-request" && (name == "x-forwarded-proto" || name == "x-forwarded-host")
    };
    for line in part.body.iter().filter(vouched).filter(|line| line.word(1) == "add-header") {
        let text = format!("a client can send its own {}: both arrive", line.word(2));
        let finding =
            Finding::new("BLC-H022", part.file, line.number, text, "replace what the client sent: set-header");
        found.push(finding.with_fix([replace(line, 1, "set-header")]));
    }
    let first = part.body.iter().find(vouched);
    let sets =
        |line: &ConfigLine| line.keyword() == "http-request" && line.word(2).eq_ignore_ascii_case("x-forwarded-for");
    if let Some(line) =
        first.filter(|_| part.setting(&["option", "forwardfor"]).is_none() && !part.body.iter().any(sets))
    {
        let text = format!("{}: servers see the balancer's address as the client's", part.title());
        let help = "add option forwardfor, and name the balancer in the application (edumeet: trustProxy)";
        let finding = Finding::new("BLC-H023", part.file, line.number, text, help);
        found.push(finding.with_fix([below(part.file, line, "option forwardfor")]));
    }
}

fn timeouts(scene: &Scene<'_>, found: &mut Vec<Finding>) {
    let shared = scene.of_kind(SectionKind::Defaults).last();
    let waits = [
        ("connect", "5s", "BLC-H024", Some("contimeout")),
        ("server", "50s", "BLC-H024", Some("srvtimeout")),
        ("client", "50s", "BLC-H024", Some("clitimeout")),
        ("tunnel", "1h", "BLC-H025", None),
        ("http-request", "10s", "BLC-H025", None),
    ];
    for (name, value, rule, old) in waits {
        let missing = scene.proxies().filter(|part| {
            let (front, back) = (part.kind != SectionKind::Backend, part.kind != SectionKind::Frontend);
            let needed = match name {
                "client" => front,
                "http-request" => front && part.mode == "http",
                "tunnel" => back && part.mode == "http" && part.servers().next().is_some(),
                _ => back && part.servers().next().is_some(),
            };
            needed && part.setting(&["timeout", name]).is_none() && old.is_none_or(|old| part.setting(&[old]).is_none())
        });
        let parts: Vec<&Part<'_>> = missing.collect();
        let Some(first) = parts.first() else { continue };
        let text = match name {
            "tunnel" => {
                "no timeout tunnel: a websocket lives as long as timeout server, however busy its room is".into()
            }
            "http-request" => "no timeout http-request: a client may take for ever to send its request".into(),
            _ => format!("no timeout {name}: connections may hang for ever"),
        };
        let wait = format!("timeout {name} {value}");
        // One line in the defaults does for all; without defaults each proxy gets its own.
        let home = shared.unwrap_or(first);
        let homes = shared.map_or(parts.clone(), |shared| vec![shared]);
        let here = homes.iter().filter(|part| part.file.name() == home.file.name());
        let edits: Vec<_> = here.map(|part| below(part.file, part.head, &wait)).collect();
        found.push(Finding::new(rule, home.file, home.head.number, text, wait).with_fix(edits));
    }
}
