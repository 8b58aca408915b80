//! Stick tables and the peers that share them.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{ConfigLine, SectionKind, quote_word};

use super::Finding;
use super::scene::{Part, Scene, append, below, replace};

pub(super) fn check(scene: &Scene<'_>, host: Option<&str>, found: &mut Vec<Finding>) {
    let v6 =
        scene.proxies().flat_map(Part::binds).any(|bind| bind.word(1).contains("::") || bind.word(1).contains("ipv6@"));
    let known = known(scene);
    for part in scene.proxies() {
        let own = part.own(&["stick-table"]).next().is_some();
        for line in part.own(&["stick-table"]) {
            table(part, line, v6, found);
            if let Some(word) = line.after("peers")
                && !known.contains(&format!("{}/", word.text))
            {
                let text = format!("there is no peers section {}", word.text);
                found.push(Finding::new("BLC-H052", part.file, line.number, text, "add it, or correct the name"));
            }
        }
        for line in part.body.iter().filter(|line| line.keyword() == "stick") {
            reference(&known, part, own, line, found);
        }
    }
    let global = scene.of_kind(SectionKind::Global).next();
    let said = scene.of_kind(SectionKind::Global).flat_map(|global| global.own(&["localpeer"])).last();
    let everywhere = everywhere(scene);
    for part in scene.of_kind(SectionKind::Peers) {
        for line in part.own(&["table"]) {
            table(part, line, v6, found);
        }
        peers(part, global, said, host, &everywhere, found);
    }
}

/// The members of a peers section.
fn members<'a>(part: &Part<'a>) -> Vec<&'a ConfigLine> {
    part.body.iter().filter(|line| matches!(line.keyword(), "peer" | "server") && line.words.len() > 1).collect()
}

/// The names that every peers section has: only of these can the host be one.
fn everywhere<'a>(scene: &Scene<'a>) -> BTreeSet<&'a str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sections = 0;
    for part in scene.of_kind(SectionKind::Peers) {
        sections += 1;
        let names: BTreeSet<&str> = members(part).iter().map(|line| line.word(1)).collect();
        names.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
    }
    counts.into_iter().filter(|(_, count)| *count == sections).map(|(name, _)| name).collect()
}

/// Tables by the names rules call them; peers sections as `NAME/`.
fn known(scene: &Scene<'_>) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for part in &scene.parts {
        if part.kind == SectionKind::Peers {
            known.insert(format!("{}/", part.name));
            known.extend(part.own(&["table"]).map(|line| format!("{}/{}", part.name, line.word(1))));
        } else if part.kind.is_proxy() && part.own(&["stick-table"]).next().is_some() {
            known.insert(part.name.to_owned());
        }
    }
    known
}

fn reference(known: &BTreeSet<String>, part: &Part<'_>, own: bool, line: &ConfigLine, found: &mut Vec<Finding>) {
    let Some(word) = line.after("table") else {
        if !own {
            let text = format!("{} has no stick-table for this rule", part.title());
            let help = "add stick-table type string len 256 size 100000 expire 8h, or name one: table NAME";
            found.push(Finding::new("BLC-H052", part.file, line.number, text, help));
        }
        return;
    };
    if !known.contains(&word.text) && !word.variable {
        let text = format!("there is no table {}", word.text);
        found.push(Finding::new("BLC-H052", part.file, line.number, text, "add it, or correct the name"));
    }
}

fn table(part: &Part<'_>, line: &ConfigLine, v6: bool, found: &mut Vec<Finding>) {
    let kind = line.after("type").map_or("", |word| &word.text);
    if line.position("expire").is_none() {
        let life = if kind == "string" { "8h" } else { "30m" };
        let text =
            "no expire: entries stay until the table is full, then the oldest go, rooms in use among them".to_owned();
        let finding = Finding::new("BLC-H047", part.file, line.number, text, format!("add expire {life}"));
        found.push(finding.with_fix([append(line, &format!("expire {life}"))]));
    }
    if let Some(size) = line.after("size")
        && let Some(entries) = large(&size.text)
    {
        let text =
            format!("size {} is {entries} entries, not bytes; full, they take about {} MB", size.text, entries / 4000);
        let help = "write the number of entries you expect at once, say 100k";
        found.push(Finding::new("BLC-H048", part.file, line.number, text, help));
    }
    if kind == "ip" && v6 {
        let text = "type ip holds IPv4 addresses alone: clients of the IPv6 listener get no entry".to_owned();
        let finding = Finding::new("BLC-H053", part.file, line.number, text, "type ipv6 holds both");
        let at = line.position("type").map(|at| replace(line, at + 1, "ipv6"));
        found.push(finding.with_fix(at.into_iter().collect::<Vec<_>>()));
    }
}

/// Sizes written in millions and more, as those who think of bytes do.
fn large(size: &str) -> Option<u64> {
    let digits = size.trim_end_matches(['m', 'M', 'g', 'G']);
    let shift = match &size[digits.len()..] {
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn peers(
    part: &Part<'_>,
    global: Option<&Part<'_>>,
    said: Option<&ConfigLine>,
    host: Option<&str>,
    everywhere: &BTreeSet<&str>,
    found: &mut Vec<Finding>,
) {
    let members = members(part);
    let number = part.head.number;
    let local = said.map(|line| line.word(1)).or(host);
    let names: Vec<&str> = members.iter().map(|line| line.word(1)).collect();
    let bare: Vec<&str> = members.iter().filter(|line| line.words.len() == 2).map(|line| line.word(1)).collect();
    // The one without an address is meant to be this host: then one line in the global section says so.
    let meant = (bare.len() == 1).then(|| bare[0]).or_else(|| (names.len() == 1).then(|| names[0]));
    let plain = |name: &&str| quote_word(name).is_ok_and(|quoted| quoted == **name);
    let meant = meant.filter(plain).filter(|name| everywhere.contains(name));
    let cure = |finding: Finding| match (meant, global, said) {
        (Some(name), Some(global), None) => {
            finding.with_fix([below(global.file, global.head, &format!("localpeer {name}"))])
        }
        (Some(name), None, None) => {
            finding.with_fix([crate::config::Edit { range: 0..0, text: format!("global\n    localpeer {name}\n") }])
        }
        (Some(name), _, Some(line)) => finding.with_fix([replace(line, 1, name)]),
        _ => finding,
    };
    match local {
        Some(local) if !names.contains(&local) => {
            let text = format!(
                "no peer is named {local}, as this host is: HAProxy drops peers {} with a warning and shares nothing",
                part.name
            );
            let help = match meant {
                Some(name) => {
                    format!("say in global that this host is {name}: localpeer {name} (or start with -L {name})")
                }
                None => format!("add the line server {local}, without an address"),
            };
            found.push(cure(Finding::new("BLC-H050", part.file, number, text, help)));
        }
        Some(_) => {}
        None => {
            let text = format!("peers {} counts only where the host is named {}", part.name, names.join(" or "));
            let help = "say who this host is: localpeer NAME in global";
            found.push(cure(Finding::new("BLC-H054", part.file, number, text, help)));
        }
    }
    if names.len() == 1 {
        let text = format!("peers {} has one member: tables survive a reload, and are shared with nobody", part.name);
        let help = "add server NAME ADDRESS:PORT for each other HAProxy, the same section on all of them";
        found.push(Finding::new("BLC-H051", part.file, number, text, help));
    }
}
