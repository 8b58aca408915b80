//! Files of a cluster, checked against each other.

use std::net::TcpListener;

use crate::{Folder, expect, run};

const SHARD: &str = "org.jitsi.videobridge.xmpp.user.shard.";

/// The properties of a bridge, each on its line.
fn bridge(nick: &str, server: &str, port: u16, password: &str) -> String {
    format!(
        "org.jitsi.videobridge.ENABLE_STATISTICS=true\norg.jitsi.videobridge.STATISTICS_TRANSPORT=muc\n\
         {SHARD}HOSTNAME={server}\n{SHARD}PORT={port}\n{SHARD}DOMAIN=auth.jitsi.example.org\n{SHARD}USERNAME=jvb\n\
         {SHARD}PASSWORD={password}\n{SHARD}MUC_JIDS=JvbBrewery@internal.auth.jitsi.example.org\n\
         {SHARD}MUC_NICKNAME={nick}\n"
    )
}

/// A cluster as it comes out of a guide with its slips: what is wrong is found, what is right is not.
fn cluster() -> Folder {
    let folder = Folder::new("check");
    folder.write(
        "jms/etc/prosody/prosody.cfg.lua",
        "VirtualHost \"jitsi.example.org\"\nVirtualHost \"auth.jitsi.example.org\"\n\
         Component \"internal.auth.jitsi.example.org\" \"muc\"\n    component_secret = \"s3cr3t\"\n",
    );
    folder.write(
        "jms/etc/jitsi/jicofo/jicofo.conf",
        "jicofo.bridge.brewery-jid = \"jvbbrewery@internal.auth.jitsi.example.org\"\n",
    );
    let secret = "# sets the secret used to authenticate\nJVB_SECRET=s3cr3tOne\n";
    let put = |name: &str, text: String| {
        folder.write(&format!("{name}/etc/jitsi/videobridge/config"), secret);
        folder.write(&format!("{name}/etc/jitsi/videobridge/sip-communicator.properties"), &text);
    };
    put("jms", bridge("jvb0", "localhost", 5222, "s3cr3tOne"));
    put("jvb1", bridge("jvb1", "jitsi.example.org", 5222, "s3cr3tOne"));
    put("jvb2", bridge("jvb1", "jtisi.example.org", 5222, "s3cr3tTwo"));
    let crowded = bridge("jvb3", "localhost", 5222, "s3cr3tOne").replace('\n', " ");
    put(
        "jvb3",
        format!(
            "{crowded}org.jitsi.videobridge.DISABLE_TCP_HARVESTER=true {SHARD}DISABLE_CERTIFICATE_VERIFICATION=true\n"
        ),
    );
    folder
}

#[test]
fn a_cluster_is_checked() {
    let folder = cluster();
    let all: Vec<String> = ["jms/etc/prosody", "jms/etc/jitsi/jicofo"]
        .map(str::to_owned)
        .into_iter()
        .chain(["jms", "jvb1", "jvb2", "jvb3"].map(|name| format!("{name}/etc/jitsi/videobridge")))
        .map(|name| folder.at(&name))
        .collect();
    let args: Vec<&str> = ["check", "--offline"].into_iter().chain(all.iter().map(String::as_str)).collect();
    let ran = run(&args, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let plain = |text: &str| text.replace(&format!("{}/", folder.0.display()), "");
    expect("check.txt", &plain(&format!("{}{}", ran.out, ran.err)));
    let json = run(&[&args[..], &["-o", "json"]].concat(), &[]);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((value["files"].as_array().unwrap().len(), value["machines"].as_array().unwrap().len()), (10, 4));
    assert_eq!(value["findings"].as_array().unwrap().len(), ran.out.matches("\n    help: ").count());
    for printed in [&ran.out, &ran.err, &json.out, &json.err] {
        assert!(!printed.contains("s3cr3t"), "{printed}");
    }
    // One machine alone, all of it right.
    let ran = run(&["check", "--offline", "--strict", &folder.at("jms/etc/jitsi/videobridge"), &all[0], &all[1]], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("nothing is wrong; 4 files of 1 machine; "), "{ran:?}");
    // The same without the files that tell where the server is.
    let ran = run(&["check", "--offline", &folder.at("jms/etc/jitsi/videobridge")], &[]);
    assert!(ran.code == 0 && ran.out.contains("note: localhost is right only if"), "{ran:?}");
    let ran = run(&["check", "--offline", "--remote", &folder.at("jms/etc/jitsi/videobridge")], &[]);
    assert!(ran.code == 1 && ran.out.contains("[BLC-J008]"), "{ran:?}");
}

#[test]
fn ports_are_tried() {
    let folder = Folder::new("ports");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // On Linux this is the loopback, under a name that is not one of the loopback's.
    let file = folder.write("jvb1/sip-communicator.properties", &bridge("jvb1", "0.0.0.0", port, "x"));
    let ran = run(&["check", "--strict", &file], &[]);
    assert_eq!((ran.code, &*ran.out), (0, "nothing is wrong; 1 file of 1 machine; 1 of 1 port answered\n"), "{ran:?}");
    // Bound, so that nobody else gets it, and not listened at.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = closed.local_addr().unwrap().port();
    let file = folder.write("jvb1/sip-communicator.properties", &bridge("jvb1", "0.0.0.0", port, "x"));
    let ran = run(&["check", &file], &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let want =
        format!("properties:3: error: 0.0.0.0 port {port} (TCP) cannot be reached from here (Connection refused");
    assert!(ran.out.contains(&want) && ran.out.contains("it is for XMPP") && ran.out.contains("[BLC-J014]"), "{ran:?}");
    assert_eq!(run(&["check", "--offline", &file], &[]).code, 0);
    // Somebody who does not answer at all, on the usual port.
    let file = folder.write("jvb2/sip-communicator.properties", &bridge("jvb2", "192.0.2.1", 5222, "x"));
    let ran = run(&["check", "--timeout", "50", &file], &[]);
    assert!(ran.code == 1 && ran.out.contains("192.0.2.1 port 5222 (TCP) cannot be reached"), "{ran:?}");
    // What localhost is there cannot be seen from here.
    let file = folder.write("jvb3/sip-communicator.properties", &bridge("jvb3", "localhost", port, "x"));
    let ran = run(&["check", &file], &[]);
    assert!(ran.code == 0 && ran.out.contains("no port to be tried from here"), "{ran:?}");
}

#[test]
fn what_is_not_read_is_said() {
    let folder = Folder::new("unread");
    let other = folder.write("a/notes.txt", "x");
    let ran = run(&["check", &other], &[]);
    assert!(ran.code == 2 && ran.err.contains("prosody.cfg.lua"), "{ran:?}");
    let broken = folder.write("a/jvb.conf", "videobridge {\n");
    let ran = run(&["check", &other, &broken], &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("jvb.conf:1: error: ") && ran.out.contains("[BLC-J001]"), "{ran:?}");
    assert!(ran.err.contains("notes.txt is not looked at"), "{ran:?}");
    let ran = run(&["check", "/nonexistent/config"], &[]);
    assert!(ran.code == 1 && ran.err.contains("/nonexistent/config cannot be read"), "{ran:?}");
    let rules = run(&["check", "--rules"], &[]);
    assert!(rules.code == 0 && rules.out.lines().count() > 20 && rules.out.contains("BLC-J014"), "{rules:?}");
    let json: serde_json::Value = serde_json::from_str(&run(&["check", "--rules", "-o", "json"], &[]).out).unwrap();
    assert_eq!(json["rules"].as_array().unwrap().len(), rules.out.lines().count() - 1);
}

#[test]
fn the_adapters_own_prosody_is_read() {
    let file = format!("{}/../../crates/adapter-jitsi/tests/vectors/prosody.cfg.lua", env!("CARGO_MANIFEST_DIR"));
    let ran = run(&["check", "--strict", &file], &[]);
    assert!(ran.code == 0 && ran.out.starts_with("nothing is wrong"), "{ran:?}");
}

/// What a package installs on one machine is right: nothing is found.
#[test]
fn an_ordinary_installation_is_right() {
    let folder = Folder::new("ordinary");
    let shard = SHARD;
    folder.write(
        "etc/jitsi/videobridge/sip-communicator.properties",
        &format!(
            "org.ice4j.ice.harvest.DISABLE_AWS_HARVESTER=true\n\
             org.ice4j.ice.harvest.STUN_MAPPING_HARVESTER_ADDRESSES=stun.example.net:443\n\
             org.jitsi.videobridge.ENABLE_STATISTICS=true\norg.jitsi.videobridge.STATISTICS_TRANSPORT=muc\n\
             {shard}HOSTNAME=localhost\n{shard}DOMAIN=auth.meet.example.com\n{shard}USERNAME=jvb\n\
             {shard}PASSWORD=q8dhW2u1\n{shard}MUC_JIDS=JvbBrewery@internal.auth.meet.example.com\n\
             {shard}MUC_NICKNAME=0a9d2f5e-7c1b-4b1f-9d0e-0c5f4b7a9e11\n"
        ),
    );
    folder.write(
        "etc/jitsi/videobridge/config",
        "# Jitsi Videobridge settings\nJVB_HOSTNAME=meet.example.com\nJVB_HOST=\nJVB_PORT=5347\nJVB_SECRET=q8dhW2u1\n\
         JVB_OPTS=\"--apis=,\"\nJAVA_SYS_PROPS=\"-Dconfig.file=/etc/jitsi/videobridge/jvb.conf -Dx=y\"\n",
    );
    folder.write(
        "etc/jitsi/videobridge/jvb.conf",
        "videobridge {\n    http-servers {\n        public {\n            port = 9090\n        }\n    }\n    websockets \
         {\n        enabled = true\n        domain = \"meet.example.com:443\"\n        tls = true\n    }\n}\n",
    );
    folder
        .write("etc/jitsi/videobridge/logging.properties", "handlers= java.util.logging.ConsoleHandler\n.level=INFO\n");
    folder.write(
        "etc/jitsi/jicofo/jicofo.conf",
        "# Jicofo HOCON configuration.\njicofo {\n  xmpp: {\n    client: {\n      client-proxy: \"focus.meet.example.com\"\n      \
         xmpp-domain: \"meet.example.com\"\n      domain: \"auth.meet.example.com\"\n      username: \"focus\"\n      \
         password: \"w9ZpLr3x\"\n    }\n    trusted-domains: [ \"recorder.meet.example.com\" ]\n  }\n  bridge: {\n    \
         brewery-jid: \"JvbBrewery@internal.auth.meet.example.com\"\n  }\n}\n",
    );
    folder.write(
        "etc/jitsi/jicofo/config",
        "# Jitsi Conference Focus settings\nJICOFO_SECRET=w9ZpLr3x\nJICOFO_OPTS=\"\"\n",
    );
    folder.write(
        "etc/prosody/conf.avail/meet.example.com.cfg.lua",
        "plugin_paths = { \"/usr/share/jitsi-meet/prosody-plugins/\" }\n\n-- domain mapper options\n\
         muc_mapper_domain_base = \"meet.example.com\";\nexternal_service_secret = \"x7\";\n\
         external_services = {\n     { type = \"stun\", host = \"meet.example.com\", port = 3478 },\n};\n\
         cross_domain_bosh = false;\nssl = {\n    protocol = \"tlsv1_2+\";\n    ciphers = \"A:B\"\n}\n\
         unlimited_jids = {\n    \"focus@auth.meet.example.com\",\n    \"jvb@auth.meet.example.com\"\n}\n\
         VirtualHost \"meet.example.com\"\n    authentication = \"jitsi-anonymous\" -- do not delete me\n    \
         modules_enabled = {\n        \"bosh\";\n        \"ping\"; -- Enable mod_ping\n    }\n\
         Component \"conference.meet.example.com\" \"muc\"\n    restrict_room_creation = true\n\
         Component \"internal.auth.meet.example.com\" \"muc\"\n    muc_room_cache_size = 1000\n\
         VirtualHost \"auth.meet.example.com\"\n\
         Component \"focus.meet.example.com\" \"client_proxy\"\n    target_address = \"focus@auth.meet.example.com\"\n\
         Component \"speakerstats.meet.example.com\" \"speakerstats_component\"\n",
    );
    folder.write(
        "etc/prosody/prosody.cfg.lua",
        "admins = { }\nmodules_enabled = {\n    \"roster\";\n    \"tls\";\n}\nif os.getenv(\"X\") then c2s_ports = { 1 } \
         end\ncomponent_ports = { 5347 }\nVirtualHost \"localhost\"\nInclude \"conf.d/*.cfg.lua\"\n",
    );
    let at = |name: &str| folder.at(name);
    let folders = ["etc/jitsi/videobridge", "etc/jitsi/jicofo", "etc/prosody", "etc/prosody/conf.avail"].map(at);
    let args: Vec<&str> =
        ["check", "--offline", "--strict"].into_iter().chain(folders.iter().map(String::as_str)).collect();
    let ran = run(&args, &[]);
    assert!(ran.code == 0 && ran.out.starts_with("nothing is wrong; 8 files of 1 machine"), "{ran:?}");
    // The bridge alone, whose server somebody has to name.
    let name = folder.0.file_name().unwrap().to_string_lossy().into_owned();
    let alone = ["check", "--offline", "--strict", &folders[0]];
    let ran = run(&alone, &[]);
    assert!(ran.code == 0 && ran.out.contains("[BLC-J018]"), "{ran:?}");
    let ran = run(&[&alone[..], &["--signalling", &name]].concat(), &[]);
    assert!(ran.code == 0 && ran.out.starts_with("nothing is wrong"), "{ran:?}");
    let ran = run(&[&alone[..], &["--signalling", &name, "--name", "meat.example.com"]].concat(), &[]);
    assert!(ran.code == 1 && ran.out.matches("[BLC-J013]").count() == 2, "{ran:?}");
}
