//! What only this host can tell: its name, whether addresses are free, whether names resolve.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, TcpListener, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use adapter_haproxy::{ConfigFile, Level, SectionKind, haproxy_listeners};

use super::Item;

/// How long name servers are waited for, all names together.
const PATIENCE: Duration = Duration::from_secs(15);
/// The most names that are looked up, and addresses that are tried.
const MOST: usize = 200;

/// The name of this host, as HAProxy sees it.
pub(super) fn name() -> Option<String> {
    let text =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name = text.ok()?.trim().to_owned();
    (!name.is_empty()).then_some(name)
}

/// Tries to listen where HAProxy will; what another program has, or what is not allowed.
pub(super) fn try_binds(files: &[ConfigFile]) -> Vec<Item> {
    let mut found = Vec::new();
    let mut tried = BTreeSet::new();
    for listener in files.iter().flat_map(haproxy_listeners) {
        let host = if listener.host == "*" { "0.0.0.0" } else { &listener.host };
        // Names are a matter of --resolve.
        let Ok(address) = host.parse::<IpAddr>() else { continue };
        if tried.len() >= MOST || !tried.insert((address, listener.port)) {
            continue;
        }
        let Err(error) = TcpListener::bind((address, listener.port)) else { continue };
        let place =
            format!("{}:{}", if address.is_ipv6() { format!("[{address}]") } else { host.to_owned() }, listener.port);
        let (rule, level, text, help) = match error.kind() {
            io::ErrorKind::AddrInUse => {
                let help = format!(
                    "see who has it: ss -ltnp 'sport = :{}'; an HAProxy that runs already gives it up on reload",
                    listener.port
                );
                ("BLC-C002", Level::Error, format!("{place} is taken by another program"), help)
            }
            io::ErrorKind::PermissionDenied => {
                let help = "ports below 1024 need root or CAP_NET_BIND_SERVICE: start it as a service of the system";
                ("BLC-C003", Level::Note, format!("{place} needs rights this user does not have"), help.to_owned())
            }
            _ => {
                let help = "ip address shows this host's; a floating one needs net.ipv4.ip_nonlocal_bind=1";
                ("BLC-C003", Level::Warning, format!("{place} cannot be had: {error}"), help.to_owned())
            }
        };
        let (file, line, rule) = (listener.file, listener.line, rule.to_owned());
        found.push(Item { rule, level, file, line, text, help, mendable: false });
    }
    found
}

/// Looks up every name of a server or peer.
pub(super) fn resolve(files: &[ConfigFile]) -> Vec<Item> {
    let mut names: BTreeMap<String, Vec<(&str, usize, bool)>> = BTreeMap::new();
    for file in files {
        for section in file.sections() {
            for line in file.lines_of(section) {
                let proxy = matches!(section.kind, SectionKind::Backend | SectionKind::Listen);
                let peers = section.kind == SectionKind::Peers;
                if !(line.words.len() >= 3 && (proxy || peers) && matches!(line.keyword(), "server" | "peer")) {
                    continue;
                }
                if line.words[2].variable {
                    continue;
                }
                let Some(name) = host_name(line.word(2)) else { continue };
                // It starts without an address when told so.
                let later = line.after("init-addr").is_some_and(|word| word.text.split(',').any(|way| way == "none"));
                if names.len() < MOST || names.contains_key(name) {
                    names.entry(name.to_owned()).or_default().push((file.name(), line.number, later));
                }
            }
        }
    }
    let (tell, told) = mpsc::channel();
    for name in names.keys().cloned() {
        let tell = tell.clone();
        // The system's resolver blocks; threads that wait longer than we do end with the process.
        thread::spawn(move || {
            let failed = (&*name, 0).to_socket_addrs().err().map(|error| error.to_string());
            let _ = tell.send((name, failed));
        });
    }
    drop(tell);
    let mut answers: BTreeMap<String, Option<String>> = BTreeMap::new();
    let end = Instant::now() + PATIENCE;
    while let Ok((name, failed)) = told.recv_timeout(end.saturating_duration_since(Instant::now())) {
        answers.insert(name, failed);
    }
    let mut found = Vec::new();
    for (name, places) in &names {
        let why = match answers.get(name) {
            Some(None) => continue,
            Some(Some(why)) => why.clone(),
            None => format!("no answer in {} s", PATIENCE.as_secs()),
        };
        for (file, line, later) in places {
            let level = if *later { Level::Warning } else { Level::Error };
            let help = if *later {
                "the server stays down until it does: look at the name and at DNS"
            } else {
                "look at the name and at DNS, or start without it: init-addr last,libc,none on the line"
            };
            let (rule, file, line) = ("BLC-C004".to_owned(), (*file).to_owned(), *line);
            let text = format!("{name} does not resolve here: {why}");
            found.push(Item { rule, level, file, line, text, help: help.to_owned(), mendable: false });
        }
    }
    found
}

/// The name in `name:port`; nothing for addresses and sockets.
fn host_name(word: &str) -> Option<&str> {
    let (family, bare) = word.split_once('@').unwrap_or(("", word));
    if !matches!(family, "" | "ipv4" | "ipv6" | "tcp" | "tcp4" | "tcp6") || bare.starts_with('/') {
        return None;
    }
    let is_address = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if is_address(bare) {
        return None;
    }
    let host = bare.rsplit_once(':').map_or(bare, |(host, _)| host);
    (!host.is_empty() && host != "*" && !is_address(host)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_addresses() {
        for (word, want) in [
            ("bbb1.example.com:80", Some("bbb1.example.com")),
            ("ipv4@a:80", Some("a")),
            ("a", Some("a")),
            ("192.0.2.1:80", None),
            ("192.0.2.1", None),
            ("[2001:db8::1]:80", None),
            ("2001:db8::1", None),
            ("unix@/run/x", None),
            ("/run/x", None),
            (":80", None),
            ("*:80", None),
        ] {
            assert_eq!(host_name(word), want, "{word}");
        }
    }

    #[test]
    fn a_taken_port_is_found() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let text = format!("frontend f\n bind 127.0.0.1:{port}\n bind 192.0.2.77:{port}\n");
        let found = try_binds(&[ConfigFile::parse("a.cfg", text).unwrap()]);
        let seen: Vec<_> = found.iter().map(|item| (&*item.rule, item.line)).collect();
        assert_eq!(seen, [("BLC-C002", 2), ("BLC-C003", 3)], "{found:?}");
    }
}
