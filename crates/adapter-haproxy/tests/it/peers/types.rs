//! Keys of every type, several tables at once, TLS, and whom a node refuses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adapter_haproxy::peers::{
    KeyType, PeerNode, PeerNodeError, PeerNodeOptions, PeerServer, PeerStickStore, PeerTableOptions, PinnedEntry,
};
use balancer_core::{MemoryStore, StickKey, StickStore, Token, Want};

use super::mesh::{Node, Plan, word};
use crate::haproxy::until;
use crate::runtime::live::binaries;

/// A table: its name, how HAProxy is told of it, its type, keys of the store, and as HAProxy shows them.
type Table = (&'static str, &'static str, KeyType, [&'static str; 2], [&'static str; 2]);

/// One of each type.
fn tables() -> [Table; 5] {
    [
        ("numbers", "integer", KeyType::Integer, ["7", "4294967295"], ["7", "4294967295"]),
        ("v4", "ip", KeyType::Ipv4, ["10.0.0.1", "192.0.2.7"], ["10.0.0.1", "192.0.2.7"]),
        ("v6", "ipv6", KeyType::Ipv6, ["2001:db8::1", "::1"], ["2001:db8::1", "::1"]),
        ("bytes", "binary len 4", KeyType::Binary, ["00010203", "ff00ff00"], ["00010203", "FF00FF00"]),
        ("words", "string len 8", KeyType::String, ["a", "12345678"], ["a", "12345678"]),
    ]
}

/// What a node knows of a table.
fn pins(node: &Node, table: &str) -> BTreeMap<String, String> {
    node.node.entries(table).into_iter().map(|entry| (entry.key, entry.server)).collect()
}

#[test]
fn keys_of_every_type_in_several_tables() {
    for binary in binaries() {
        let mut plan = Plan::new(1, 2);
        for (name, kind, ..) in tables() {
            plan.more.push_str(&format!(
                "backend {name}\n stick-table type {kind} size 1k expire 1h store server_id,server_key,gpc0 peers mesh\n"
            ));
        }
        let mut lb = plan.start(0, &binary);
        let start = |at: usize| {
            let mut stores = Vec::new();
            let node = Node::start_with(plan.options(at), Plan::table(), Arc::new(MemoryStore::default()), |node| {
                for (name, _, kind, ..) in tables() {
                    let options = PeerTableOptions::new(name).with_key_type(kind);
                    let options = options.with_server(PeerServer::new("s7").with_id(7));
                    stores.push(PeerStickStore::new(node, options, Arc::new(MemoryStore::default())).unwrap());
                }
            });
            (node, stores)
        };
        let (node, stores) = start(0);
        let peer = |node: &Node| node.status().peers.into_iter().find(|peer| peer.name == "lb1").unwrap();
        until("it has heard everything", || peer(&node).lessons_in > 0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (store, (name, _, kind, keys, shown)) in stores.iter().zip(tables()) {
            for (n, key) in keys.iter().enumerate() {
                let want = Want { backend: format!("s{n}").as_str().into(), token: Token(1) };
                let key = StickKey::new(*key).unwrap();
                runtime.block_on(store.claim(&key, &want, Duration::from_secs(600))).unwrap();
            }
            // What no such table can have is bound in the store alone.
            let odd = StickKey::new("neither a number nor an address").unwrap();
            let want = Want { backend: "s1".into(), token: Token(2) };
            runtime.block_on(store.claim(&odd, &want, Duration::from_secs(600))).unwrap();
            until(&format!("all of {name} are taught"), || lb.haproxy.entries(name) == keys.len());
            let told = lb.haproxy.order(&format!("show table {name}"));
            for (n, key) in shown.iter().enumerate() {
                let line = told.lines().find(|line| word(line, "key").is_some_and(|k| k.eq_ignore_ascii_case(key)));
                let line = line.unwrap_or_else(|| panic!("no {key}: {told}"));
                assert_eq!(word(line, "server_key"), Some(format!("s{n}")), "{line}");
                let left: u64 = word(line, "exp").unwrap().parse().unwrap();
                assert!((500_000..=600_000).contains(&left), "{line}");
            }
            // The other way; HAProxy cannot be told binary keys.
            if kind != KeyType::Binary {
                lb.haproxy.order(&format!("set table {name} key {} data.gpc0 5", shown[0]));
                let room = if kind == KeyType::Integer { "9" } else { shown[1] };
                lb.haproxy.order(&format!("set table {name} key {room} data.gpc0 1"));
            }
            assert_eq!(node.node.entries(name).len(), keys.len(), "counters are no pins");
        }
        // What HAProxy places, by number.
        for (name, _, kind, ..) in tables().into_iter().filter(|table| table.2 != KeyType::Binary) {
            let key = match kind {
                KeyType::Integer => "77",
                KeyType::Ipv4 => "10.7.7.7",
                KeyType::Ipv6 => "2001:db8::7",
                _ => "seven",
            };
            lb.haproxy.order(&format!("set table {name} key {key} data.server_id 7"));
            let is = |entry: &PinnedEntry| entry.key == key && entry.server == "s7";
            until(&format!("{key} of {name} is learned"), || node.node.entries(name).iter().any(is));
        }
        let untaught = || node.status().tables.iter().map(|table| table.untaught).sum::<u64>();
        until("what cannot be told is counted", || untaught() >= 5);
        // Who comes later hears all of it, binary keys too, from HAProxy alone: the other is gone.
        let before = tables().map(|(name, ..)| pins(&node, name));
        node.stop();
        let (node, _stores) = start(1);
        for ((name, ..), before) in tables().into_iter().zip(before) {
            until(&format!("all of {name} is learned"), || pins(&node, name) == before);
        }
        assert_eq!(lb.home("x"), lb.home("x"));
        node.stop();
    }
}

#[test]
fn what_is_public_is_refused_without_tls() {
    let public: SocketAddr = "192.0.2.1:10000".parse().unwrap();
    let everywhere: SocketAddr = "0.0.0.0:10000".parse().unwrap();
    let node = || PeerNodeOptions::new("rust1");
    for options in [
        node().with_listen(public),
        node().with_listen(everywhere),
        node().with_peer("lb1", "192.0.2.1:10000".parse().unwrap()),
        node().with_peer("lb1", "[2001:db8::1]:10000".parse().unwrap()),
    ] {
        let error = PeerNode::new(options.clone()).unwrap_err();
        assert!(matches!(&error, PeerNodeError::Public { .. }), "{error}");
        assert!(error.to_string().contains("neither password nor encryption"), "{error}");
        PeerNode::new(options.with_plain_anywhere(true)).unwrap();
    }
    let twice = node().with_caller("lb1").with_caller("lb1");
    assert!(matches!(PeerNode::new(twice), Err(PeerNodeError::Twice { .. })));
    assert!(matches!(PeerNode::new(node().with_caller("rust1")), Err(PeerNodeError::Twice { .. })));
    assert!(matches!(PeerNode::new(node().with_caller("a b")), Err(PeerNodeError::Name { .. })));
}

#[cfg(feature = "peers-tls")]
mod tls {
    use adapter_haproxy::peers::PeerTls;
    use real_servers::Authority;

    use super::*;
    use crate::haproxy::Place;

    #[test]
    fn both_ways_within_tls_and_nobody_else() {
        let (ours, others) = (Authority::new("peers"), Authority::new("others"));
        let ((own, key), (theirs, their_key)) = (ours.sign("127.0.0.1"), ours.sign("127.0.0.1"));
        let (authority, (stranger, stranger_key)) = (ours.pem, others.sign("127.0.0.1"));
        let tls = PeerTls::new(authority.as_bytes(), own.as_bytes(), key.as_bytes()).unwrap();
        for binary in binaries() {
            let built = std::process::Command::new(&binary).arg("-vv").output().unwrap();
            if !String::from_utf8_lossy(&built.stdout).contains("Built with OpenSSL") {
                println!("skipped: {} has no TLS", binary.display());
                continue;
            }
            for called in [true, false] {
                let files = Place::new();
                std::fs::write(files.path("lb.pem"), format!("{theirs}{their_key}")).unwrap();
                std::fs::write(files.path("ca.pem"), &authority).unwrap();
                let ssl = format!("ssl crt {} ca-file {} verify required", files.path("lb.pem"), files.path("ca.pem"));
                let mut plan = Plan::new(1, 1);
                plan.ssl = ssl;
                let mut lb = plan.start(0, &binary);
                // Who does not call is called.
                let options = if called {
                    plan.options(0)
                } else {
                    let port = plan.nodes[0].1;
                    PeerNodeOptions::new("rust1").with_listen(([127, 0, 0, 1], port).into()).with_caller("lb1")
                };
                let node = Node::start(options.with_tls(tls.clone()), Plan::table(), Arc::new(MemoryStore::default()));
                node.connected();
                node.claim("secret", "mm2");
                until("it is taught", || lb.pins().contains_key("secret"));
                assert_eq!(lb.home("secret"), "mm2");
                let home = lb.home("other");
                until("it is learned", || node.stored("other").as_deref() == Some(&home));
                drop(node);

                // A certificate of another authority is none.
                let bad = PeerTls::new(authority.as_bytes(), stranger.as_bytes(), stranger_key.as_bytes()).unwrap();
                let plain = plan.options(0);
                let node = Node::start(plain.with_tls(bad), Plan::table(), Arc::new(MemoryStore::default()));
                until("it is refused", || node.status().peers[0].failures > 0);
                assert_eq!(node.status().peers[0].lessons_in, 0);
            }
        }
        for (authority, own, key) in [("", &*own, &*key), (&authority, "", &key), (&authority, &own, "")] {
            assert!(PeerTls::new(authority.as_bytes(), own.as_bytes(), key.as_bytes()).is_err());
        }
        assert!(PeerTls::new(authority.as_bytes(), own.as_bytes(), stranger_key.as_bytes()).is_err());
    }
}
