use proptest::prelude::*;

use super::*;

const ONE_LINE: &str = "org.ice4j.ice.harvest.DISABLE_AWS_HARVESTER=true org.ice4j.ice.harvest.STUN_MAPPING_HARVESTER_ADDRESSES=turn.example:443 org.jitsi.videobridge.ENABLE_STATISTICS=true org.jitsi.videobridge.STATISTICS_TRANSPORT=muc org.jitsi.videobridge.xmpp.user.shard.HOSTNAME=localhost org.jitsi.videobridge.xmpp.user.shard.DOMAIN=auth.jtisi.example.org org.jitsi.videobridge.xmpp.user.shard.USERNAME=jvb org.jitsi.videobridge.xmpp.user.shard.PASSWORD=s3cr3tOne org.jitsi.videobridge.xmpp.user.shard.MUC_JIDS=JvbBrewery@internal.auth.jtisi.example.org org.jitsi.videobridge.xmpp.user.shard.MUC_NICKNAME=728f25ec-a170\n";

fn file(name: &str, text: &str) -> JitsiFile {
    JitsiFile::read(name, FileKind::of(name).unwrap(), text.as_bytes()).unwrap()
}

fn rules(found: &[Finding]) -> Vec<(&str, usize)> {
    found.iter().map(|one| (one.rule, one.line)).collect()
}

fn properties(nick: &str, password: &str, more: &str) -> String {
    let shard = "org.jitsi.videobridge.xmpp.user.shard.";
    format!(
        "org.jitsi.videobridge.ENABLE_STATISTICS=true\norg.jitsi.videobridge.STATISTICS_TRANSPORT=muc\n\
         #{shard}HOSTNAME=localhost\n{shard}HOSTNAME=jitsi.example.org\n{shard}DOMAIN=auth.jitsi.example.org\n\
         {shard}USERNAME=jvb\n{shard}PASSWORD={password}\n{shard}MUC_JIDS=JvbBrewery@internal.auth.jitsi.example.org\n\
         {shard}MUC_NICKNAME={nick}\n{more}"
    )
}

#[test]
fn one_line_of_many_properties() {
    let text = format!(
        "{ONE_LINE}org.jitsi.videobridge.DISABLE_TCP_HARVESTER=true org.jitsi.videobridge.xmpp.user.shard.DISABLE_CERTIFICATE_VERIFICATION=true\n"
    );
    assert_eq!(file("a.properties", ONE_LINE).settings.len(), 10);
    let logins = file("a.properties", ONE_LINE).logins();
    let [login] = logins.as_slice() else { panic!("{logins:?}") };
    assert_eq!((&*login.server, &*login.account), ("localhost:5222", "jvb@auth.jtisi.example.org"));
    assert_eq!(login.room, "jvbbrewery@internal.auth.jtisi.example.org");
    assert!(!format!("{login:?}").contains("s3cr3tOne"));
    assert_eq!(file("a.properties", &ONE_LINE.replace("PASSWORD", "PASS")).logins().len(), 0);
    let hosts = [JitsiHost::bridge("jvb1.example.org", vec![file("a.properties", &text)])];
    let doctor = JitsiDoctor::new().with_names(["jitsi.example.org"]);
    let found = doctor.check(&hosts, &[PortSeen::tcp("localhost", 5222, false)]);
    let want = ["BLC-J002", "BLC-J008", "BLC-J013", "BLC-J014"].map(|rule| (rule, 1));
    let more = ["BLC-J002", "BLC-J006", "BLC-J007"].map(|rule| (rule, 2));
    assert_eq!(rules(&found), [&want[..], &more].concat());
    let printed = format!("{hosts:?}{found:?}{}", found.iter().map(ToString::to_string).collect::<String>());
    assert!(!printed.contains("s3cr3tOne"), "{printed}");
    assert!(found[3].text.contains("5222") && found[2].text.contains("jtisi"));
}

#[test]
fn bridges_are_compared() {
    let secret = |text: &str| format!("# sets the secret\n#JVB_SECRET=older\nJVB_SECRET={text}\n");
    let hosts = [
        JitsiHost::bridge(
            "jvb1.example.org",
            vec![
                file("1/config", &secret("alpha")),
                file("1/sip-communicator.properties", &properties("jvb1", "alpha", "")),
            ],
        ),
        JitsiHost::bridge(
            "jvb2.example.org",
            vec![
                file("2/config", &secret("'alpha'")),
                file("2/sip-communicator.properties", &properties("jvb1", "bravo", "")),
            ],
        ),
    ];
    let found = JitsiDoctor::new().check(&hosts, &[]);
    assert_eq!(rules(&found), [("BLC-J009", 3), ("BLC-J010", 7), ("BLC-J011", 9)]);
    assert!(found.iter().all(|one| one.file.starts_with("2/")));
    let printed = format!("{hosts:?}{found:?}");
    assert!(!printed.contains("alpha") && !printed.contains("bravo") && !printed.contains("older"), "{printed}");
    let ports: Vec<_> = JitsiDoctor::new().wanted_ports(&hosts).into_iter().map(|p| (p.target, p.port)).collect();
    assert_eq!(ports.len(), 4);
    assert!(
        ports.contains(&("jitsi.example.org".into(), 5222)) && ports.contains(&("jvb2.example.org".into(), 10_000))
    );
}

#[test]
fn the_newer_form() {
    let jvb = "videobridge {\n  // stats\n  stats { enabled = false }\n  apis.xmpp-client.configs {\n    \"shard\" {\n      \
               hostname = \"xmpp.example.org\", domain: auth.example.org\n      username = jvb\n      \
               password = \"s3cr3t\"\n      muc_jids = \"jvbbrewery@internal.example.org\"\n      \
               muc_nikcname = jvb1\n    }\n  }\n}\n";
    let jicofo = "jicofo.bridge { brewery-jid = \"JvbBrewery@internal.auth.example.org\" }\ninclude \"x\"\na = [1, {b: ${?X}}, \"c\"]";
    let focus = file("jicofo.conf", jicofo);
    assert_eq!(focus.value("a"), Some("1,,c"));
    assert_eq!(focus.value("a.1.b"), Some("${?X}"));
    let hosts = [
        JitsiHost::signalling("xmpp.example.org", vec![focus]),
        JitsiHost::bridge("jvb1.example.org", vec![file("jvb.conf", jvb)]),
    ];
    let found = JitsiDoctor::new().check(&hosts, &[]);
    let want = [("BLC-J003", 3), ("BLC-J012", 6), ("BLC-J015", 9), ("BLC-J016", 10)];
    assert_eq!(rules(&found), want);
    assert!(!format!("{hosts:?}{found:?}").contains("s3cr3t"));
}

#[test]
fn what_is_missing_or_misspelt() {
    let shard = "org.jitsi.videobridge.xmpp.user.shard.";
    let text = format!(
        "org.jitsi.videobridge.STATISTICS_TRANSPROT=muc\n{shard}HOSTNAME=a.example\n{shard}HOSTNAME=b.example\n"
    );
    let host = JitsiHost::bridge("jvb", vec![file("x.properties", &text)]);
    let found = JitsiDoctor::new().check(&[host], &[]);
    let count = |rule| found.iter().filter(|one| one.rule == rule).count();
    let want = [("BLC-J003", 1), ("BLC-J004", 1), ("BLC-J005", 4), ("BLC-J016", 1), ("BLC-J017", 1)];
    for (rule, n) in want {
        assert_eq!(count(rule), n, "{rule}: {found:#?}");
    }
    let ids: std::collections::BTreeSet<_> = JITSI_RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), JITSI_RULES.len());
}

#[test]
fn limits_and_defects() {
    let read = |text: &str| {
        JitsiFile::read("x.conf", FileKind::Hocon, text.as_bytes()).map(|_| ()).map_err(|e| (e.line, e.what))
    };
    assert_eq!(read("a {\n b = 1\n"), Err((1, FileDefect::Open)));
    assert_eq!(read("a = 1\n}"), Err((2, FileDefect::Closed)));
    assert_eq!(read("a = \"1\n"), Err((1, FileDefect::Open)));
    assert_eq!(read("\nabc\n"), Err((2, FileDefect::NoValue)));
    assert_eq!(read(&"a{".repeat(100_000)).unwrap_err().1, FileDefect::TooDeep);
    assert_eq!(read(&format!("a={}", "[".repeat(100_000))).unwrap_err().1, FileDefect::TooDeep);
    assert_eq!(read(&format!("{}a=1", "a.".repeat(100_000))).unwrap_err().1, FileDefect::TooDeep);
    assert_eq!(read(&"a=1\n".repeat(MAX_SETTINGS + 1)).unwrap_err().1, FileDefect::TooMany);
    assert_eq!(read(&" ".repeat(MAX_FILE + 1)).unwrap_err().1, FileDefect::TooLarge);
    let error = JitsiFile::read("x.conf", FileKind::Hocon, b"a {").unwrap_err();
    assert_eq!(Finding::from(&error).rule, "BLC-J001");
}

#[test]
fn prosody_as_far_as_it_is_written_out() {
    let text = r#"-- a comment = 1
--[[ VirtualHost "no.example"
]]
local port, name = 1, "x"
c2s_ports = { 5222; 5223 } interfaces = { "127.0.0.1", "::1" }
ssl = { key = "/k"; certificate = name .. ".crt" }
computed = port + 1
muc.field = 2
VirtualHost "auth.meet.example"
    authentication = 'internal\'hashed'
    https_ports = {}
VirtualHost(name)
Component "internal.auth.meet.example" "muc"
    storage = [==[mem]==]; component_secret = "s3cr3t"
"#;
    let prosody = file("prosody.cfg.lua", text);
    let all: Vec<_> = prosody.settings.iter().map(|one| (&*one.key, &*one.value, one.line)).collect();
    let host = "internal.auth.meet.example";
    let want = [
        ("c2s_ports", "5222,5223", 5),
        ("interfaces", "127.0.0.1,::1", 5),
        ("ssl", "", 6),
        ("computed", "", 7),
        ("VirtualHost", "auth.meet.example", 9),
        ("auth.meet.example.authentication", "internal'hashed", 10),
        ("auth.meet.example.https_ports", "", 11),
        ("VirtualHost", "", 12),
        ("Component.muc", host, 13),
        (&format!("{host}.storage"), "mem", 14),
        (&format!("{host}.component_secret"), "s3cr3t", 14),
    ];
    assert_eq!(all, want);
    assert!(!format!("{prosody:?}").contains("s3cr3t"));
    for program in ["if x then c2s_ports = { 1 } end", "Include \"conf.d/*.cfg.lua\"", "local function f() end"] {
        assert_eq!(file("x.lua", program).settings.len(), 1, "{program}");
    }
    let broken = JitsiFile::read("x.lua", FileKind::Prosody, b"a = 1\nb = \"c\n").unwrap_err();
    assert_eq!((broken.line, broken.what), (2, FileDefect::Open));
    let most = JitsiFile::read("x.lua", FileKind::Prosody, "x ".repeat(200_001).as_bytes()).unwrap_err();
    assert_eq!(most.what, FileDefect::TooMany);
}

#[test]
fn a_bridge_and_its_xmpp_server() {
    let prosody = |hosts: &str| {
        file("jms/prosody.cfg.lua", &format!("interfaces = {{ '127.0.0.1' }}\nc2s_ports = {{ 5223 }}\n{hosts}"))
    };
    let machines = |server: JitsiFile, name: &str| {
        let bridge = file("jvb1/sip-communicator.properties", &properties("jvb1", "alpha", ""));
        [JitsiHost::signalling(name, vec![server]), JitsiHost::bridge("jvb1", vec![bridge])]
    };
    let all = "VirtualHost 'jitsi.example.org' VirtualHost 'auth.jitsi.example.org'\n\
               Component 'internal.auth.jitsi.example.org' 'muc'\n";
    let told = |hosts: &[JitsiHost]| {
        let found = JitsiDoctor::new().check(hosts, &[]);
        found.iter().map(|one| (one.rule, one.file.split('/').next().unwrap().to_owned(), one.line)).collect::<Vec<_>>()
    };
    let port = [("BLC-J020", "jms".to_owned(), 1), ("BLC-J020", "jvb1".to_owned(), 4)];
    assert_eq!(told(&machines(prosody(all), "jms")), port);
    let more = [("BLC-J019", "jvb1".to_owned(), 5), ("BLC-J019", "jvb1".to_owned(), 8)];
    let missing = told(&machines(prosody(""), "jitsi.example.org"));
    assert_eq!(missing, [&port[..], &more].concat());
    // What may stand elsewhere, or is another server's, is not missing.
    assert_eq!(told(&machines(prosody("Include 'conf.d/*.cfg.lua'"), "jitsi.example.org")), []);
    assert_eq!(told(&machines(prosody(""), "another.example.org")), []);
    assert_eq!(told(&machines(file("jms/conf.d/a.cfg.lua", ""), "jitsi.example.org")), []);
    // A slip of the pen is one in any part of the configuration.
    let slip = machines(file("jms/conf.d/a.cfg.lua", "VirtualHost 'auth.jtisi.example.org'"), "jms");
    assert_eq!(told(&slip), [4, 5, 8].map(|line| ("BLC-J013", "jvb1".to_owned(), line)));
}

#[test]
fn localhost_where_it_may_be_right() {
    let text = properties("jvb1", "alpha", "").replace("HOSTNAME=jitsi.example.org", "HOSTNAME=localhost");
    let files = || vec![file("sip-communicator.properties", &text)];
    let rule = |host| JitsiDoctor::new().check(&[host], &[]).first().map(|one| (one.rule, one.line));
    assert_eq!(rule(JitsiHost::signalling("a", files())), None);
    assert_eq!(rule(JitsiHost::bridge("a", files())), Some(("BLC-J008", 4)));
    assert_eq!(rule(JitsiHost::unknown("a", files())), Some(("BLC-J018", 4)));
}

fn any_bytes(bytes: &[u8]) {
    for kind in [FileKind::Properties, FileKind::Shell, FileKind::Hocon, FileKind::Prosody] {
        if let Ok(file) = JitsiFile::read("x", kind, bytes) {
            let hosts = [JitsiHost::bridge("x.example", vec![file.clone()]), JitsiHost::signalling("y", vec![file])];
            let _ = JitsiDoctor::new().with_names(["x.example"]).check(&hosts, &[]);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        any_bytes(&bytes);
    }

    #[test]
    fn no_text_panics(text in "([a.{}\\[\\]=:,\"$\\\\#/\n é]|org\\.jitsi\\.videobridge\\.xmpp\\.user\\.s\\.|HOSTNAME=|MUC_JIDS=|include|--\\[\\[|\\]\\]|VirtualHost |Component |c2s_ports = |if |end |\\$\\{|\"\"\"|\\\\u00){0,60}") {
        any_bytes(text.as_bytes());
    }
}
