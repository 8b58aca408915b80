use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares with a file of the golden folder; `UPDATE_GOLDEN=1` writes it instead.
fn expect(name: &str, seen: &str) {
    let path = golden().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, seen).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(seen, wanted, "{name}");
}

fn print<T: fmt::Display>(found: &[T]) -> String {
    found.iter().map(|finding| format!("{finding}\n")).collect()
}

fn file(name: &str) -> ConfigFile {
    ConfigFile::parse(name, std::fs::read(golden().join(name)).unwrap()).unwrap()
}

fn doctor() -> Doctor {
    Doctor::new(HaproxyVersion::new(2, 6)).with_host_name("lb1")
}

const FILES: [&str; 8] =
    ["edumeet.cfg", "jitsi.cfg", "cookie.cfg", "peers.cfg", "legacy.cfg", "stats.cfg", "damaged.cfg", "good.cfg"];

#[test]
fn findings_are_as_recorded() {
    for name in FILES {
        let found = doctor().check(&[file(name)]);
        expect(&name.replace(".cfg", ".txt"), &print(&found));
        assert!(found.iter().all(|finding| DOCTOR_RULES.iter().any(|rule| rule.id == finding.rule)));
    }
    assert_eq!(doctor().check(&[file("good.cfg")]), []);
}

#[test]
fn weights_that_an_agent_cannot_scale_are_found_once_a_backend() {
    let found = |lines: &str| {
        let text = format!("backend b\n mode http\n{lines}");
        let found = doctor().check(&[ConfigFile::parse("x.cfg", text).unwrap()]);
        let ours = found.into_iter().filter(|finding| finding.rule == "BLC-H037").map(|finding| finding.to_string());
        ours.collect::<Vec<_>>()
    };
    let agent = "agent-check agent-port 9707";
    let one = found(&format!(" server a 192.0.2.1:80 {agent}\n server b 192.0.2.2:80 {agent} weight 2\n"));
    assert_eq!(one.len(), 1, "{one:?}");
    assert!(one[0].starts_with(
        "x.cfg:3: warning: server a has a weight of 1: what its agent says of it moves in steps of 100 %"
    ));
    assert!(found(&format!(" server a 192.0.2.1:80 weight 4 {agent}\n"))[0].contains("steps of 25 %"));
    assert_eq!(found(&format!(" default-server {agent}\n server a 192.0.2.1:80\n")).len(), 1);
    for good in [
        format!(" server a 192.0.2.1:80 weight 100 {agent}\n server b 192.0.2.2:80 {agent} weight 0\n"),
        format!(" default-server weight 100\n server a 192.0.2.1:80 {agent}\n"),
        format!(" default-server {agent}\n server a 192.0.2.1:80 no-agent-check\n"),
        " server a 192.0.2.1:80\n".to_owned(),
        format!(" server a 192.0.2.1:80 weight x {agent}\n"),
    ] {
        assert_eq!(found(&good), [""; 0], "{good}");
    }
}

#[test]
fn a_key_that_a_nul_byte_cuts_is_found_unless_it_is_refused() {
    let found = |set: &str, table: &str, stick: &str| {
        let text = format!(
            "frontend f\n bind :80\n mode http\n http-request {set}\n default_backend b\nbackend b\n mode http\n \
             stick-table type {table} size 1k expire 1h\n stick {stick}\n"
        );
        let found = doctor().check(&[ConfigFile::parse("x.cfg", text).unwrap()]);
        found.into_iter().filter(|finding| finding.rule == "BLC-H055").map(|finding| finding.to_string()).next()
    };
    let room = "set-var(txn.room) url_param(room),url_dec";
    assert_eq!(
        found(room, "string len 99", "on var(txn.room)").as_deref(),
        Some(
            "x.cfg:9: warning: a NUL byte ends the key in the table: whoever asks for NAME%00x moves the room NAME \
             [BLC-H055]\n    help: refuse it: http-request deny deny_status 400 if { var(txn.room),url_enc -m sub %00 }"
        )
    );
    assert!(found("set-header a b", "string", "store-request url_param(a),url_dec").is_some());
    let copied = format!("{room}\n http-request set-var(txn.key) var(txn.room),lower");
    assert!(found(&copied, "string", "on var(txn.key)").is_some());
    for (set, table, stick) in [
        (room, "string", "match var(txn.room)"),
        (room, "binary", "on var(txn.room)"),
        (room, "string", "on var(txn.other)"),
        (room, "string", "on url_param(room)"),
        (room, "string", "on var(txn.room),url_enc"),
        ("deny if { url_param(room),url_dec,url_enc -m sub %00 }", "string", "on url_param(room),url_dec"),
    ] {
        assert_eq!(found(set, table, stick), None, "{set} {table} {stick}");
    }
}

#[test]
fn what_is_meant_so_is_left_out_unless_it_is_an_error() {
    let rules = |stick: &str, bind: &str| {
        let text = format!(
            "frontend f\n mode tcp\n {bind}\n default_backend b\nbackend b\n mode tcp\n \
             stick-table type ipv6 size 1k\n {stick}\n server s 192.0.2.1:80 id 1\n"
        );
        let found = doctor().check(&[ConfigFile::parse("x", text).unwrap()]);
        let rules = found.iter().map(|finding| finding.rule).filter(|rule| !rule.starts_with("BLC-H02"));
        rules.collect::<Vec<_>>().join(" ")
    };
    let bind = "bind :80";
    assert_eq!(rules("stick on src", bind), "BLC-H047 BLC-H046");
    assert_eq!(rules("stick on src # a school # meant: BLC-H046", bind), "BLC-H047");
    assert_eq!(rules("stick on src # meant: BLC-H046, BLC-H047", bind), "BLC-H047");
    assert_eq!(rules("stick on src # meant: H046 BLC-H04", bind), "BLC-H047 BLC-H046");
    assert!(rules("stick on src", "bind*:80 # meant: BLC-H002").contains("BLC-H002"));
}

/// What hangs on more than the text: the version, the host, files, the time.
#[test]
fn findings_of_circumstances_are_as_recorded() {
    let old = Doctor::new(HaproxyVersion::new(2, 4)).check(&[file("good.cfg")]);
    let unnamed = Doctor::new(HaproxyVersion::new(2, 6)).check(&[file("peers.cfg")]);
    let room = "frontend f\n mode http\n http-request set-var(txn.room) url_param(room),url_dec\n default_backend b\n\
                backend b\n mode http\n stick-table type string len 99 size 1k expire 1h\n stick on var(txn.room)\n";
    let cut = doctor().check(&[ConfigFile::parse("room.cfg", room).unwrap()]);
    let small = "backend b\n mode http\n server a 192.0.2.1:80 weight 2 agent-check agent-port 9707\n";
    let coarse = doctor().check(&[ConfigFile::parse("agent.cfg", small).unwrap()]);
    let rules = ["BLC-H006", "BLC-H037", "BLC-H054", "BLC-H055"];
    let all: Vec<Finding> =
        [old, unnamed, cut, coarse].concat().into_iter().filter(|finding| rules.contains(&finding.rule)).collect();
    expect("circumstances.txt", &print(&all));
    if cfg!(feature = "certificates") {
        let check = |pem, days| {
            let found = certificate(pem, days, &["meet.example.com"]);
            found.into_iter().filter(|finding| ("BLC-H016".."BLC-H021").contains(&finding.rule))
        };
        let pems = [("missing.pem", 0), ("keyless.pem", 0), ("meet.pem", 1), ("day.pem", 0), ("day.pem", 300)];
        let all: Vec<Finding> = pems.into_iter().flat_map(|(pem, days)| check(pem, days)).collect();
        expect("certificates.txt", &print(&all));
    }
}

fn rules_of(text: &str) -> String {
    let found = doctor().check(&[ConfigFile::parse("x", text).unwrap()]);
    found
        .iter()
        .map(|one| format!("{}:{}:{}", one.line, one.level, one.rule.trim_start_matches("BLC-")))
        .collect::<Vec<_>>()
        .join(" ")
}

const WAITS: &str =
    "timeout connect 5s\n timeout client 50s\n timeout server 50s\n timeout http-request 10s\n timeout tunnel 1h\n";

#[test]
fn waits_are_missed_in_the_defaults_that_lack_them() {
    let text = format!(
        "defaults one\n mode http\ndefaults two\n mode http\n {WAITS}frontend f from one\n bind :80\n \
         default_backend b\nbackend b from one\n server s 192.0.2.1:80 id 1\nfrontend g from two\n bind :81\n \
         default_backend b\n"
    );
    assert!(rules_of(&text).starts_with("1:warning:H024 1:warning:H024"), "{}", rules_of(&text));
    let cured = doctor().cure(&ConfigFile::parse("x", text).unwrap()).unwrap();
    assert_eq!((cured.fixed.len(), cured.left), (5, Vec::new()));
    let text = String::from_utf8(cured.bytes).unwrap();
    assert_eq!((text.matches("timeout").count(), text.find("timeout tunnel").is_some()), (10, true), "{text}");
    // Where there are no defaults, one finding mends all proxies.
    let cured = doctor().cure(&ConfigFile::parse("x", "frontend f\n bind :80\nfrontend g\n bind :81\n").unwrap());
    let cured = cured.unwrap();
    assert_eq!((cured.fixed.len(), String::from_utf8_lossy(&cured.bytes).matches("timeout client").count()), (1, 2));
}

#[test]
fn servers_get_the_ids_they_have() {
    let cured = |lines: &str| {
        let text = format!("backend b\n balance source # meant: BLC-H046\n {WAITS}{lines}");
        let cured = doctor().cure(&ConfigFile::parse("x", text).unwrap()).unwrap();
        let text = String::from_utf8(cured.bytes).unwrap();
        let ids = text.lines().filter_map(|line| Some(line.trim().strip_prefix("server ")?.to_owned()));
        ids.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let servers = |ids: [&str; 4]| ids.map(|id| format!(" server s{} 192.0.2.1:80{id}\n", id.len())).concat();
    assert_eq!(cured(&servers(["", " id 10", "", " id 5"])), "1 10 3 5");
    assert_eq!(cured(&servers(["", "", " id 1", ""])), "2 3 1 5");
    assert_eq!(cured(" .if 1\n server a 192.0.2.1:80\n .endif\n server b 192.0.2.2:80\n"), "192.0.2.1:80 192.0.2.2:80");
    assert_eq!(
        cured(" server-template x 2 192.0.2.1:80\n server a 192.0.2.1:80\n server b 192.0.2.2:80\n"),
        "192.0.2.1:80 192.0.2.2:80"
    );
}

#[test]
fn every_default_server_line_counts_for_the_servers_below() {
    let of = |lines: &str| rules_of(&format!("backend b\n mode http\n {WAITS}{lines}"));
    let server = "server s 192.0.2.1:443";
    assert_eq!(of(&format!(" default-server ssl\n default-server check\n {server} verify none\n")), "");
    assert_eq!(of(" default-server check-ssl\n server s 192.0.2.1:80 check verify none\n"), "");
    assert_eq!(of(&format!(" {server}\n default-server ssl verify none\n")), "8:warning:H012");
    assert_eq!(of(&format!(" default-server ssl verify none\n {server} no-ssl\n")), "9:warning:H012");
    assert_eq!(of(" default-server check init-addr none\n default-server inter 1s\n server s a.example:80\n"), "");
    assert_eq!(of(" cookie c insert\n default-server check cookie x\n server s 192.0.2.1:80\n"), "");
}

#[test]
fn a_host_is_named_only_as_every_peers_section_names_it() {
    let fixes = |text: &str| {
        let found = doctor().check(&[ConfigFile::parse("x", text).unwrap()]);
        found.iter().filter(|one| one.rule == "BLC-H050").map(|one| one.fix.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(fixes("peers p\n server a\n"), [true]);
    assert_eq!(fixes("peers p\n server a\npeers q\n server a\n"), [true, true]);
    assert_eq!(fixes("peers p\n server a\npeers q\n server b\n"), [false, false]);
    assert_eq!(fixes("peers p\n server a\\ b\n"), [false]);
}

#[test]
fn words_of_the_environment_are_known() {
    assert_eq!(rules_of("global\n resetenv PATH\n unsetenv X\n presetenv Y 1\n"), "");
    assert_eq!(rules_of("global\n presetenvs Y 1\n"), "2:error:H005");
}

#[test]
fn listeners_of_one_haproxy_share_an_address() {
    let of = |binds: &str| rules_of(&format!("frontend f\n mode tcp\n timeout client 5s\n{binds}"));
    assert_eq!(of(" bind :80\n bind *:80\n"), "5:warning:H015");
    assert_eq!(of(" bind :80\n bind 192.0.2.1:80\n"), "5:note:H015");
    assert_eq!(of(" bind 192.0.2.2:80\n bind 192.0.2.1:80\n"), "");
    assert_eq!(of(" bind :80 interface eth0\n bind :80 interface eth1\n"), "");
}

#[test]
fn every_rule_is_in_a_recording() {
    let texts: String = std::fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let missing: Vec<&str> =
        DOCTOR_RULES.iter().map(|rule| rule.id).filter(|id| !texts.contains(&format!("[{id}]"))).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn files_of_one_haproxy_are_cured_together() {
    let parse = |name: &str, text: &str| ConfigFile::parse(name, text).unwrap();
    let waits = "timeout connect 5s\n timeout client 50s\n timeout server 50s\n timeout http-request 10s\n";
    let base = parse("a.cfg", &format!("defaults\n mode http\n {waits} timeout tunnel 1h\n option httpclose\n"));
    let site = parse("b.cfg", "frontend f\n bind *:433\n default_backend b\nbackend b\n server s 192.0.2.1:80 id 1\n");
    let cured = doctor().cure_all(&[base, site]).unwrap();
    let texts: Vec<String> = cured.iter().map(|one| String::from_utf8_lossy(&one.bytes).into_owned()).collect();
    assert!(!texts[0].contains("httpclose") && texts[1].contains("bind *:443"), "{texts:?}");
    // The defaults of the first file hold for the second.
    assert!(!texts[1].contains("timeout"), "{}", texts[1]);
    assert_eq!(cured.iter().map(|one| one.fixed.len()).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn versions_differ() {
    let levels = |version| {
        let found = Doctor::new(version).check(&[file("legacy.cfg")]);
        let of = |word: &str| found.iter().find(|f| f.text.starts_with(word)).map(|f| f.level);
        (of("nbproc"), of("process"), of("headers behind"))
    };
    use Level::{Error, Warning};
    assert_eq!(levels(HaproxyVersion::new(2, 4)), (Some(Warning), Some(Warning), Some(Warning)));
    assert_eq!(levels(HaproxyVersion::new(2, 6)), (Some(Error), Some(Warning), Some(Warning)));
    assert_eq!(levels(HaproxyVersion::new(2, 8)), (Some(Error), Some(Error), Some(Error)));
    let text = "backend b\n balance hash src\n option transparent\nprogram x\n";
    let rules = |version| {
        let found = Doctor::new(version).check(&[ConfigFile::parse("x", text).unwrap()]);
        found.iter().map(|finding| finding.rule).collect::<Vec<_>>()
    };
    assert_eq!(rules(HaproxyVersion::new(2, 4)), ["BLC-H006"]);
    assert_eq!(rules(HaproxyVersion::new(2, 6)), [""; 0]);
    assert_eq!(rules(HaproxyVersion::new(3, 5)), ["BLC-H004", "BLC-H004"]);
}

#[test]
fn cured_files_are_as_recorded_and_load() {
    for name in ["edumeet.cfg", "jitsi.cfg", "cookie.cfg", "peers.cfg"] {
        let cured = doctor().cure(&file(name)).unwrap();
        let text = String::from_utf8(cured.bytes).unwrap();
        expect(&name.replace(".cfg", ".cured"), &text);
        assert!(cured.left.iter().all(|finding| finding.fix.is_none()), "{:?}", cured.left);
        loads(name, &text);
    }
    // What no writing can cure is taken out by hand here; the rest must load.
    let cured = doctor().cure(&file("legacy.cfg")).unwrap();
    let by_hand = [
        "reqrep",
        "appsession",
        "use_backend nowhere",
        "server b",
        "server a 10.0.0.3",
        "default_backend app\n    server c",
    ];
    let mut text = String::from_utf8(cured.bytes).unwrap().replace("check ssl", "check ssl verify none");
    expect("legacy.cured", &text);
    text = text.replace("    bind 127.0.0.1:8080\n", "").replace("mode tcp\n", "mode http\n    bind 127.0.0.1:8080\n");
    text = text.split_inclusive('\n').filter(|line| !by_hand.iter().any(|word| line.contains(word))).collect();
    text = text.replace("stats socket 0.0.0.0:9999 level admin\n", "\n");
    loads("legacy.cfg", &text);
}

/// HAProxy itself, where there is one, takes the file.
fn loads(name: &str, text: &str) {
    let Some(haproxy) = crate::testing::haproxy() else { return };
    let folder = crate::testing::Folder::new(&format!("doctor-{name}"));
    let pem = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pki/meet.pem");
    let folders = ["/etc/ssl/certs/meet.example.com.pem", "/etc/ssl/edumeet.example.com/edumeet.example.com.pem"];
    let text = folders.iter().fold(text.to_owned(), |text, path| text.replace(path, pem.to_str().unwrap()));
    let text: String = text.split_inclusive('\n').filter(|line| !line.trim_start().starts_with("errorfile")).collect();
    let path = folder.join("haproxy.cfg");
    std::fs::write(&path, &text).unwrap();
    let out = Command::new(haproxy).arg("-c").arg("-f").arg(&path).output().unwrap();
    assert!(out.status.success(), "{name}: {}\n{text}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn logs_are_explained_as_recorded() {
    let text = std::fs::read_to_string(golden().join("start.log")).unwrap();
    let found = explain_log(&text);
    expect("start.txt", &print(&found));
    let first = &found[0];
    assert_eq!((first.cause, &*first.program, first.times), (LogCause::AddressInUse, "haproxy", 1));
    assert_eq!((first.file.as_deref(), first.line), (Some("/etc/haproxy/haproxy.cfg"), Some(30)));
    assert_eq!((first.frontend.as_deref(), first.address.as_deref()), (Some("http-in"), Some("0.0.0.0:80")));
    assert_eq!((found[1].cause, &*found[1].program, found[1].times), (LogCause::AddressInUse, "nginx", 2));
    assert_eq!(explain_log("all is well\n"), []);
}

#[test]
fn two_programs_on_one_port() {
    let haproxy = ConfigFile::parse("h.cfg", "frontend f\n bind :80\n bind 127.0.0.1:81\n").unwrap();
    let nginx = "server { listen 80 default_server; }\nserver {\n  listen [::]:80; # listen 81\n  listen unix:/x;\n}\n";
    let mut all = haproxy_listeners(&haproxy);
    all.extend(nginx_listeners("n.conf", nginx));
    assert_eq!(all.len(), 4);
    let found = listener_clashes(&all);
    assert_eq!(found.iter().map(|f| (&*f.file, f.line)).collect::<Vec<_>>(), [("n.conf", 1)]);
    assert!(found[0].help.contains("move nginx"));
    let names = |text: &str| {
        let all = nginx_listeners("n", text);
        all.into_iter().map(|l| format!("{} {}", l.host, l.port)).collect::<Vec<_>>()
    };
    assert_eq!(
        names("listen 10.0.0.1; listen localhost:8080 ssl; listen ::1;"),
        ["10.0.0.1 80", "localhost 8080", "::1 80"]
    );
}

/// What is found of a certificate so many days after 2026-11-21, when a day's certificate was made.
fn certificate(pem: &str, days: u64, names: &[&str]) -> Vec<Finding> {
    let pki = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pki");
    let reader: FileReader = Arc::new(move |path| std::fs::read(pki.join(path.trim_start_matches("/pki/"))));
    let now = UNIX_EPOCH + Duration::from_secs(1_795_255_200 + days * 86_400);
    let text = format!("global\n crt-base /pki\nfrontend f\n bind :443 ssl crt {pem}\n");
    let doctor = Doctor::new(HaproxyVersion::default()).with_files(reader).with_now(now);
    doctor.with_public_names(names.iter().copied()).check(&[ConfigFile::parse("x", text).unwrap()])
}

#[test]
fn certificate_files() {
    let rules = |pem: &str, days, names: &[&str]| {
        let found = certificate(pem, days, names);
        found.iter().map(|f| f.rule).filter(|rule| ("BLC-H016".."BLC-H021").contains(rule)).collect::<Vec<_>>()
    };
    assert_eq!(rules("missing.pem", 0, &[]), ["BLC-H016"]);
    assert_eq!(rules("keyless.pem", 0, &[]), ["BLC-H017"]);
    assert_eq!(rules("meet.pem", 1, &["meet.example.com", "a.rooms.example.com"]), [""; 0]);
    if cfg!(feature = "certificates") {
        assert_eq!(rules("meet.pem", 1, &["b.a.rooms.example.com"]), ["BLC-H020"]);
        assert_eq!(rules("day.pem", 0, &[]), ["BLC-H019"]);
        assert_eq!(rules("day.pem", 300, &[]), ["BLC-H018"]);
    }
}

proptest! {
    #[test]
    fn nothing_panics(text in "((global|defaults|frontend f|backend b|peers p|userlist u|listen l)\n|[ \t](bind|server|stick|stats|option|reqadd|acl|balance|table|use_backend|timeout|log|user|cookie|localpeer)( (\\*:433|s|ssl|1\\.1\\.1\\.1:443|on|src|socket|admin|if|TRUE|httpchk|X:\\\\ a|url_param\\(a\\)|match|type ip|size 1m|table|b/c|verify|process|id 1|auth a:b|\"\\$\\{X\\}\")){0,5}\n){0,25}") {
        let file = ConfigFile::parse("x", text).unwrap();
        let cured = doctor().cure(&file);
        prop_assert!(cured.is_ok());
        // A cure is one: nothing is mended again and again.
        let left = cured.map(|cured| cured.left.into_iter().filter(|one| one.fix.is_some()).collect::<Vec<_>>());
        prop_assert_eq!(left, Ok(Vec::new()));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let log = explain_log(&String::from_utf8_lossy(&bytes));
        prop_assert!(log.len() <= bytes.len());
        let _ = nginx_listeners("n", &String::from_utf8_lossy(&bytes));
        let file = ConfigFile::parse("x", bytes).unwrap();
        let _ = doctor().check(&[file]);
    }
}
