//! Names that are nearly the same.

use std::collections::BTreeMap;

use super::JitsiHost;
use super::connection::Connection;
use super::doctor::Finding;
use super::server;

/// How many names are compared with each other, at most.
const MAX_NAMES: usize = 1_000;
/// What speaks for a name that is surely right.
const SURE: usize = usize::MAX;

/// One letter more, less, changed, or two exchanged; digits are never a slip, since they number things.
pub(super) fn near(a: &str, b: &str) -> bool {
    if a == b || a.len().min(b.len()) < 3 {
        return false;
    }
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let front = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[front..], &b[front..]);
    let back = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[..a.len() - back], &b[..b.len() - back]);
    if a.iter().chain(b).any(u8::is_ascii_digit) {
        return false;
    }
    match (a.len(), b.len()) {
        (0 | 1, 0 | 1) => true,
        (2, 2) => a[0] == b[1] && a[1] == b[0],
        _ => false,
    }
}

/// A name without the dot at its end, in lower case.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether two host names are the same but for one slip in one label; what one has more at its front does not count.
fn near_hosts(a: &str, b: &str) -> bool {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.rsplit('.').collect(), b.rsplit('.').collect());
    if a.len().min(b.len()) < 2 {
        return false;
    }
    let mut slips = 0;
    for (x, y) in a.iter().zip(&b) {
        if x != y {
            if !near(x, y) {
                return false;
            }
            slips += 1;
        }
    }
    slips == 1
}

/// Whether one name is the other, or lies within it.
fn agree(a: &str, b: &str) -> bool {
    let within =
        |inner: &str, outer: &str| inner.strip_suffix(outer).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    within(a, b) || within(b, a)
}

/// Names in the files that differ from another by one slip. Of two the one that fewer others agree with is told; a name
/// the XMPP server has, or that is said to be right, is.
pub(super) fn slips(known: &[String], hosts: &[JitsiHost], found: &mut Vec<Finding>) {
    let files = || hosts.iter().flat_map(|host| &host.files);
    let sure: Vec<String> =
        known.iter().map(String::as_str).chain(files().flat_map(server::hosts)).map(plain).collect();
    let mut places: Vec<(String, &str, usize)> = Vec::new();
    for one in files().flat_map(Connection::all) {
        let rooms = one.rooms();
        let rooms = rooms.iter().filter_map(|room| Some(("muc_jids", room.split_once('@')?.1)));
        let parts = ["hostname", "domain"].into_iter().filter_map(|part| Some((part, one.value(part)?)));
        for (part, name) in parts.chain(rooms) {
            places.push((plain(name), &one.file.name, one.line(part)));
        }
    }
    // Every name once, with how often it is written, in the order of the files.
    let mut names: Vec<&str> = Vec::new();
    let mut written: BTreeMap<&str, usize> = BTreeMap::new();
    for name in sure.iter().chain(places.iter().map(|(name, ..)| name)) {
        let count = written.entry(name).or_default();
        if *count == 0 && names.len() < MAX_NAMES {
            names.push(name);
        }
        *count += 1;
    }
    let weight = |name: &str| {
        if sure.iter().any(|one| agree(one, name)) {
            return SURE;
        }
        names.iter().filter(|other| agree(other, name)).filter_map(|other| written.get(other)).sum()
    };
    let weights: Vec<usize> = names.iter().map(|name| weight(name)).collect();
    let mut told: Vec<(&str, usize)> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let better = |(other_at, other): &(usize, &&str)| {
            let heavier = (weights[*other_at], at) > (weights[at], *other_at);
            weights[at] != SURE && heavier && near_hosts(name, other)
        };
        let Some((_, other)) = names.iter().enumerate().find(better) else { continue };
        for (_, file, line) in places.iter().filter(|(place, ..)| place == name) {
            if told.contains(&(file, *line)) {
                continue;
            }
            told.push((file, *line));
            let text = format!("{name} and {other} differ by one slip of the pen");
            let help = "write the same name in both places, the right one";
            found.push(Finding::new("BLC-J013", file, *line, text, help));
        }
    }
}
