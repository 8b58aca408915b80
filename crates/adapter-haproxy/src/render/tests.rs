use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::ConfigFile;
use crate::doctor::Doctor;

mod spoe;

const V26: HaproxyVersion = HaproxyVersion::new(2, 6);

fn servers() -> Vec<ServerLine> {
    (1..=3).map(|n| ServerLine::new(n, format!("edumeet{n}"), format!("192.0.2.{n}"), 80)).collect()
}

fn peers() -> PeersSection {
    let members = vec![PeerLine::new("lb1", "127.0.0.1", 10000), PeerLine::new("lb2", "192.0.2.12", 10000)];
    PeersSection::new("lb", "lb1", members)
}

fn binds() -> Vec<Bind> {
    vec![Bind::port(80), Bind::port(443).with_tls(BindTls::new("/etc/ssl/certs/meet.example.com.pem"))]
}

fn edumeet(version: HaproxyVersion) -> HaproxyConfig {
    let mut cluster = EdumeetCluster::new(version, binds(), servers());
    cluster.peers = Some(peers());
    cluster.pins = Some("/etc/haproxy/pins.map".into());
    cluster.config()
}

fn jitsi(version: HaproxyVersion) -> HaproxyConfig {
    let shards = (1..=2).map(|n| ServerLine::new(n, format!("shard{n}"), format!("192.0.2.{n}"), 80));
    let mut shards = JitsiShards::new(version, binds(), shards.collect());
    shards.peers = Some(peers());
    shards.pins = Some("/etc/haproxy/pins.map".into());
    shards.config()
}

/// Everything the model knows, once.
fn full(version: HaproxyVersion) -> HaproxyConfig {
    let mut config = edumeet(version);
    config.global.logs = vec![LogTarget::stdout(), LogTarget::syslog("/dev/log")];
    config.global.threads = Some(2);
    config.global.max_connections = Some(20_000);
    config.global.sockets.push(ControlSocket::admin("/run/haproxy/admin.sock"));
    config.global.extra.push("tune.ssl.default-dh-param 2048".into());
    config.defaults.max_connections = Some(8192);
    config.defaults.error_files.push((503, "/etc/haproxy/errors/503.http".into()));
    config
        .userlists
        .push(Userlist::new("ops", vec![User::hashed("ada", "$6$salt$hash"), User::plain("bob", "it's # \"$x\"")]));
    let mut resolvers = ResolversSection::new("dns");
    resolvers.servers.push(("127.0.0.1".into(), 53));
    config.resolvers.push(resolvers);
    let mut page = StatsPage::new(8404);
    (page.users, page.admin, page.metrics) = (Some("ops".into()), true, true);
    config.stats.push(page);
    let front = &mut config.frontends[0];
    front.headers.push(("X-Note".into(), "100% \"sure\" it's\\here".into()));
    front.acls.push(Acl::new("many", "path", (0..100).map(|n| format!("/a b{n}"))));
    front.uses.push(UseBackend::Mapped {
        sample: "path".into(),
        file: "/etc/haproxy/pins.map".into(),
        default: "pages".into(),
    });
    let back = &mut config.backends[1];
    back.check = Some(HttpCheck::new("/socket.io/?EIO=3&transport=polling"));
    back.cookie = Some(CookieStick::new("SERVER"));
    back.full_connections = Some(4000);
    for server in &mut back.servers {
        server.cookie = Some(server.name.clone());
    }
    let server = &mut back.servers[0];
    (server.weight, server.max_connections) = (Some(100), Some(2000));
    let mut agent = AgentCheck::new(9700);
    (agent.host, agent.send) = (Some("127.0.0.1".into()), Some("edumeet1 it's".into()));
    server.agent = Some(agent);
    server.tls = ServerTls::Verified { ca_file: "@system-ca".into(), name: Some("mm1.example.com".into()) };
    back.servers[1].host = "mm2.example.com".into();
    back.servers[1].resolvers = Some("dns".into());
    back.servers[1].tls = ServerTls::Unverified;
    back.servers[2].host = "2001:db8::3".into();
    (back.servers[2].backup, back.servers[2].send_proxy) = (true, true);
    config
}

/// Everything there is to render, for one version.
fn all(version: HaproxyVersion) -> Vec<(&'static str, HaproxyConfig)> {
    let web =
        || (1..=2).map(|n| ServerLine::new(n, format!("web{n}"), format!("192.168.2.{n}"), 80)).collect::<Vec<_>>();
    let mut tenants = EdumeetCluster::new(version, binds(), servers());
    tenants.tenants = true;
    let secure = || Bind::port(443).with_tls(BindTls::new("/etc/ssl/certs/meet.example.com.pem"));
    let shards = JitsiShards::new(version, vec![Bind::port(80)], servers());
    vec![
        ("edumeet", edumeet(version)),
        ("edumeet-plain", EdumeetCluster::new(version, vec![Bind::port(80)], servers()).config()),
        ("edumeet-tenants", tenants.config()),
        ("jitsi", jitsi(version)),
        ("jitsi-plain", shards.config()),
        ("cookie", cookie_sample(version, Bind::port(80), web())),
        ("cookie-secure", cookie_sample(version, secure(), web())),
        ("source", source_sample(version, Bind::port(80), web(), peers())),
        ("full", full(version)),
    ]
}

#[test]
fn texts_are_as_recorded() {
    let old = HaproxyVersion::new(2, 4);
    let recorded = ["edumeet", "jitsi", "cookie", "source", "full"];
    let mut texts = vec![("edumeet-2.4".to_owned(), edumeet(old))];
    let known = all(V26).into_iter().filter(|(name, _)| recorded.contains(name));
    texts.extend(known.map(|(name, config)| (format!("{name}-2.6"), config)));
    for (name, config) in texts {
        let text = config.render().unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/render-{name}.cfg"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
    }
    assert_eq!(edumeet(V26).render(), edumeet(HaproxyVersion::new(3, 2)).render());
}

#[test]
fn the_doctor_has_nothing_to_say() {
    for version in [(2, 4), (2, 6), (2, 8), (3, 2)] {
        for (name, config) in all(HaproxyVersion::new(version.0, version.1)) {
            let file = ConfigFile::parse(name, config.render().unwrap()).unwrap();
            let found = Doctor::new(config.version).check(&[file]);
            let rules: Vec<&str> = found.iter().map(|finding| finding.rule).collect();
            match name {
                // A plain password was asked for.
                "full" => assert_eq!(rules, ["BLC-H034"]),
                _ => assert_eq!(found, [], "{name}"),
            }
        }
    }
}

#[test]
fn haproxy_takes_them_without_a_warning() {
    let Some(haproxy) = crate::testing::haproxy() else { return };
    let version = crate::testing::version_of(&haproxy);
    let all = all(version);
    for (name, config) in &all {
        accepted(&haproxy, name, &config.render().unwrap());
    }
    println!("{} configurations rendered for {version} and loaded by it: 0 warnings", all.len());
}

/// That HAProxy accepts the text, and warns of nothing.
fn accepted(haproxy: &Path, name: &str, text: &str) {
    let folder = crate::testing::Folder::new(&format!("render-{name}"));
    let (path, mut text) = at_home(&folder, text);
    if !haproxy.starts_with("/usr") {
        // One that was built elsewhere looks for the system's certificates where that system had them.
        text = text.replace("@system-ca", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pki/meet.pem"));
    }
    std::fs::write(&path, &text).unwrap();
    let out = Command::new(haproxy).args(["-c", "-dW", "-f"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    let silent = !said.contains("[WARNING]") && !said.contains("[ALERT]");
    assert!(out.status.success() && silent, "{name}: {said}\n{text}");
}

/// Files that the text names, in a folder of the test.
fn at_home(folder: &Path, text: &str) -> (PathBuf, String) {
    let pem = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pki/meet.pem");
    let pins = folder.join("pins.map");
    std::fs::write(&pins, pin_map([("foo bar", "edumeet2"), ("a\nb", "edumeet1")]).unwrap()).unwrap();
    let page = folder.join("503.http");
    std::fs::write(&page, "HTTP/1.0 503 Service Unavailable\r\n\r\n").unwrap();
    let text = text.replace("/etc/ssl/certs/meet.example.com.pem", pem.to_str().unwrap());
    let text = text.replace("/etc/haproxy/pins.map", pins.to_str().unwrap());
    let text = text.replace("/etc/haproxy/errors/503.http", page.to_str().unwrap());
    let socket = folder.join("admin.sock");
    (folder.join("haproxy.cfg"), text.replace("/run/haproxy/admin.sock", socket.to_str().unwrap()))
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |change: fn(&mut HaproxyConfig)| {
        let mut config = full(V26);
        change(&mut config);
        config.render().unwrap_err().to_string()
    };
    for (change, part) in [
        ((|c| c.backends[0].name = "a b".into()) as fn(&mut HaproxyConfig), "cannot be a name"),
        (|c| c.backends[0].name = "pages".into(), "there twice"),
        (|c| c.frontends[0].default_backend = "nowhere".into(), "backend nowhere, which is not there"),
        (|c| c.backends[0].servers[1].id = 1, "server id 1 is there twice"),
        (|c| c.backends[0].servers[1].id = 0, "server id"),
        (|c| c.backends[0].peers = Some("x".into()), "peers section x"),
        (|c| c.backends[0].table = None, "table"),
        (|c| c.backends[0].servers[0].host = "1.1.1.1 backup".into(), "host"),
        (|c| c.global.extra.push("frontend x".into()), "open a section"),
        (|c| c.global.extra.push("maxconn 1\nfrontend x".into()), "line feed"),
        (|c| c.defaults.extra.push("log-format \"x".into()), "quotes"),
        (|c| c.stats[0].users = None, ""),
        (|c| c.stats[0].users = Some("x".into()), "userlist x"),
        (|c| c.stats[0].bind.host = None, ""),
        (|c| c.peers[0].local = Some("x".into()), "local peer x"),
        (|c| c.backends[1].servers[0].cookie = None, "cookie"),
        (|c| c.defaults.timeouts.tunnel = Duration::ZERO, "24 days"),
        (|c| c.version = HaproxyVersion::new(2, 2), "needs HAProxy 2.4"),
        (|c| c.frontends[0].headers.push(("X".into(), "a\nb".into())), "control characters"),
        (|c| c.frontends[0].variables[0].when = Some(Condition::all(["gone"])), "acl gone"),
    ] {
        if !part.is_empty() {
            let said = refused(change);
            assert!(said.contains(part), "{said} / {part}");
        }
    }
    let mut config = full(V26);
    (config.stats[0].users, config.stats[0].bind.host) = (None, None);
    assert!(config.render().unwrap_err().to_string().contains("open statistics page"));
    assert!(!format!("{:?}", full(V26)).contains("it's # "));
}

type Change<'a> = Box<dyn Fn(&mut HaproxyConfig) + 'a>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_text_breaks_the_escaping(
        names in proptest::collection::vec("[a-z.:_-]{0,4}|if|or|unless|[^a]{0,6}|%\\[|\\$\\{x\\}|'|\"|\\\\|#", 6),
        texts in proptest::collection::vec("\\PC{0,12}|[ '\"\\\\#$%{}\\[\\]|!,()-]{0,8}|if|unless|-f|--|\\|\\||\\}", 8),
    ) {
        // Each name and each text alone, so that one that is refused does not hide the others.
        let changes: Vec<Change<'_>> = vec![
            Box::new(|c| c.frontends[0].name = names[0].clone()),
            Box::new(|c| c.backends[0].servers[0].name = names[1].clone()),
            Box::new(|c| c.peers[0].tables.push((names[2].clone(), StickTable::sources()))),
            Box::new(|c| c.frontends[0].acls.push(Acl::new(names[3].clone(), "path", texts[0..4].to_vec()))),
            Box::new(|c| c.backends[1].cookie = Some(CookieStick::new(names[4].clone()))),
            Box::new(|c| c.frontends[0].variables.push(SetVar::new(names[5].clone(), "src"))),
            Box::new(|c| c.frontends[0].headers.push(("X-A".into(), texts[4].clone()))),
            Box::new(|c| c.backends[0].headers.push(("X-B".into(), texts[5].clone()))),
            Box::new(|c| c.userlists[0].users.push(User::plain("eve", texts[6].clone()))),
            Box::new(|c| if let Some(agent) = &mut c.backends[1].servers[0].agent { agent.send = Some(texts[7].clone()) }),
            Box::new(|c| c.backends[1].servers[1].host = names[0].clone()),
            Box::new(|c| if let Some(check) = &mut c.backends[1].check { check.path = format!("/{}", texts[1]) }),
        ];
        let haproxy = crate::testing::haproxy();
        let version = haproxy.as_deref().map_or(V26, crate::testing::version_of);
        let mut together = full(version);
        for change in &changes {
            let mut alone = full(version);
            change(&mut alone);
            if alone.render().is_ok() {
                let before = together.clone();
                change(&mut together);
                if together.render().is_err() {
                    together = before;
                }
            }
        }
        let text = together.render().unwrap();
        let file = ConfigFile::parse("x", text.clone()).unwrap();
        prop_assert!(file.lines().iter().all(|line| line.fault.is_none()));
        let said = |word: &str| file.lines().iter().any(|line| line.words.iter().any(|seen| seen.text == word));
        for (_, text) in &together.frontends[0].headers {
            prop_assert!(said(&text.replace('%', "%%")));
        }
        if let Some(haproxy) = &haproxy {
            accepted(haproxy, "escaping", &text);
        }
    }
}
