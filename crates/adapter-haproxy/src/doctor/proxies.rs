//! Frontends and backends: modes, names, timeouts, headers, cookies.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{ConfigLine, Edit, SectionKind, quote_word};
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
        scaled(part, found);
    }
}

/// The weight of a server from which on an agent's percentages mean something.
const SCALABLE: u32 = 10;

/// Servers whose weight an agent scales: HAProxy counts in whole weights, and rounds down.
fn scaled(part: &Part<'_>, found: &mut Vec<Finding>) {
    let shared = part.default_servers();
    for server in part.servers() {
        let words: Vec<&str> = shared.of(server).chain(server.words.iter().skip(3).map(|word| &*word.text)).collect();
        let last = |name: &str, other: &str| words.iter().rev().find(|word| **word == name || **word == other).copied();
        let at = words.iter().rposition(|word| *word == "weight");
        let weight = at.map_or(Some(1), |at| words.get(at + 1).and_then(|word| word.parse::<u32>().ok()));
        let Some(weight) = weight.filter(|weight| (1..SCALABLE).contains(weight)) else { continue };
        if last("agent-check", "no-agent-check") != Some("agent-check") {
            continue;
        }
        let name = server.word(1);
        let text = format!(
            "server {name} has a weight of {weight}: what its agent says of it moves in steps of {} %, and less than one \
             of them is 0, which ends new work",
            100_u32.div_ceil(weight)
        );
        let help = "multiply the weights of all servers of the backend by the same number: 100 in place of 1";
        found.push(Finding::new("BLC-H037", part.file, server.number, text, help));
        // The others are told of by the help.
        return;
    }
}

/// Servers by name: HAProxy does not start while one of them cannot be resolved.
fn names(part: &Part<'_>, found: &mut Vec<Finding>) {
    let shared = part.default_servers();
    for server in part.servers().filter(|line| line.position("init-addr").is_none() && !line.words[2].variable) {
        if shared.of(server).any(|word| word == "init-addr") {
            continue;
        }
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
    let edits = numbers(part).unwrap_or_default().into_iter().map(|(line, id)| append(line, &format!("id {id}")));
    let edits: Vec<_> = edits.collect();
    let text = format!(
        "{}: servers without id are known by their position; taking one out moves rooms of others",
        part.title()
    );
    let help = "give each server an id and never use one again";
    let finding = Finding::new("BLC-H029", part.file, first.number, text, help);
    found.push(if edits.is_empty() { finding } else { finding.with_fix(edits) });
}

/// The servers without an id, each with the one HAProxy gives it: no room moves when it is written down. `None` where
/// the lines do not tell.
fn numbers<'a>(part: &Part<'a>) -> Option<Vec<(&'a ConfigLine, u32)>> {
    if part.body.iter().any(|line| line.keyword().starts_with('.') || line.keyword() == "server-template") {
        return None;
    }
    let stated = |line: &ConfigLine| line.after("id").map(|id| id.text.parse::<u32>().ok());
    let taken: BTreeSet<u32> = part.servers().filter_map(stated).collect::<Option<_>>()?;
    let mut out = Vec::new();
    // The counter moves with every line, whether or not the line has an id of its own.
    let mut next = 1;
    for line in part.servers() {
        if stated(line).is_none() {
            while taken.contains(&next) {
                next += 1;
            }
            out.push((line, next));
        }
        next += 1;
    }
    Some(out)
}

fn cookies(part: &Part<'_>, found: &mut Vec<Finding>) {
    let Some(cookie) = part.setting(&["cookie"]).filter(|_| part.kind != SectionKind::Frontend) else { return };
    if part.mode != "http" {
        let text = format!("{}: cookies need mode http", part.title());
        found.push(Finding::new("BLC-H035", part.file, part.head.number, text, "write mode http"));
        return;
    }
    if cookie.position("dynamic").is_some() {
        return;
    }
    let shared = part.default_servers();
    for server in part.servers().filter(|line| line.position("cookie").is_none() && line.position("backup").is_none()) {
        if shared.of(server).any(|word| word == "cookie") {
            continue;
        }
        let name = server.word(1);
        let text = format!("server {name} has no cookie value: nobody is kept on it");
        let finding = Finding::new("BLC-H035", part.file, server.number, text, format!("add cookie {name}"));
        let value = quote_word(name).ok();
        let edit = value.map(|value| append(server, &format!("cookie {value}")));
        found.push(match edit {
            Some(edit) => finding.with_fix([edit]),
            None => finding,
        });
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
    let shared: BTreeMap<_, _> =
        scene.of_kind(SectionKind::Defaults).map(|part| (part.body.as_ptr_range().start, part)).collect();
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
        let wait = format!("timeout {name} {value}");
        // One line in their defaults does for all; without defaults each proxy gets its own.
        let mut homes: Vec<(&Part<'_>, Vec<Edit>)> = Vec::new();
        let (mut seen, mut bare) = (BTreeSet::new(), BTreeMap::new());
        for part in missing {
            let home = shared.get(&part.defaults.as_ptr_range().start).copied();
            let edit = |part: &Part<'_>| below(part.file, part.head, &wait);
            match home {
                Some(home) => {
                    if seen.insert(home.body.as_ptr_range().start) {
                        homes.push((home, vec![edit(home)]));
                    }
                }
                None => {
                    let at = *bare.entry(part.file.name()).or_insert(homes.len());
                    match homes.get_mut(at) {
                        Some((_, edits)) => edits.push(edit(part)),
                        None => homes.push((part, vec![edit(part)])),
                    }
                }
            }
        }
        let text = match name {
            "tunnel" => {
                "no timeout tunnel: a websocket lives as long as timeout server, however busy its room is".to_owned()
            }
            "http-request" => "no timeout http-request: a client may take for ever to send its request".into(),
            _ => format!("no timeout {name}: connections may hang for ever"),
        };
        for (home, edits) in homes {
            found.push(Finding::new(rule, home.file, home.head.number, text.clone(), &*wait).with_fix(edits));
        }
    }
}
