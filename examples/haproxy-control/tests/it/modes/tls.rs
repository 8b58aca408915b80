//! Peers within TLS, and files of certificates that are wrong.

use std::process::Command;

use real_servers::Authority;

use super::site::settings_file;
use super::{Site, Wish, names};
use crate::samples::haproxies;
use crate::{Folder, run_in};

/// A folder with an authority, a certificate of HAProxys, ours, and its key apart.
fn certificates(authority: &Authority) -> Folder {
    let folder = Folder::new("certificates");
    let ((lb, lb_key), (own, key)) = (authority.sign("127.0.0.1"), authority.sign("127.0.0.1"));
    folder.put("ca.pem", &authority.pem).put("lb.pem", format!("{lb}{lb_key}"));
    folder.put("own.pem", format!("{own}{key}")).put("bare.pem", own).put("key.pem", key);
    folder
}

/// The lines of settings that name two files or three.
fn lines(folder: &Folder, certificate: &str, key: &str) -> String {
    let at = folder.display();
    let key = if key.is_empty() { String::new() } else { format!("key = \"{at}/{key}\"\n") };
    format!("authority = \"{at}/ca.pem\"\ncertificate = \"{at}/{certificate}\"\n{key}")
}

#[test]
fn peers_within_tls_are_taught_and_learned_from() {
    for binary in haproxies() {
        let built = Command::new(&binary).arg("-vv").output().unwrap();
        if !String::from_utf8_lossy(&built.stdout).contains("Built with OpenSSL") {
            println!("skipped: {} has no TLS", binary.display());
            continue;
        }
        let ours = Authority::new("peers");
        let folder = certificates(&ours);
        let peers = lines(&folder, "lb.pem", "");
        let own = lines(&folder, "bare.pem", "key.pem");
        let site = Site::start(&binary, &Wish { peers: &peers, own: &own, ..Wish::of("peers", 2) });
        let config = site.folder.get("lb1.cfg");
        assert!(config.contains(" ssl crt ") && !config.contains("    peer "), "{config}");
        let rooms = names("class", 9);
        let homes = site.homes(1, &rooms);
        site.until("all rooms are known", |site| site.status()["rooms"] == 9);
        assert_eq!(site.homes(2, &rooms), homes);
        site.done_ask(&["maint", "mm1"]);
        site.until("it is out", |site| site.server("mm1")["verdict"] == "out" && site.server("mm1")["rooms"] == 0);
        site.until("both HAProxys are taught", |site| {
            [1, 2].iter().all(|lb| site.homes(*lb, &rooms).values().all(|home| home != "mm1"))
        });
        let moved = site.homes(1, &rooms);

        // Renewed by somebody else than the HAProxys trust: read with SIGHUP, and refused by them. Then by theirs.
        let begun = site.log().matches("are in force").count();
        let (strange, key) = Authority::new("others").sign("127.0.0.1");
        folder.put("bare.pem", strange).put("key.pem", key);
        site.signal(0, "-HUP");
        site.until("it is in force", |site| site.log().matches("are in force").count() == begun + 1);
        let connected = |site: &Site| {
            let peers = site.status()["peers"]["peers"].as_array().cloned().unwrap_or_default();
            peers.iter().filter(|peer| peer["connected"] == true).count()
        };
        site.until("it is refused", |site| {
            let peers = site.status()["peers"]["peers"].as_array().cloned().unwrap_or_default();
            connected(site) == 0 && peers.iter().any(|peer| peer["failures"].as_u64() > Some(0))
        });
        assert_eq!(site.homes(2, &rooms), moved, "tables go on");
        let (own, key) = ours.sign("127.0.0.1");
        folder.put("bare.pem", own).put("key.pem", key);
        site.signal(0, "-HUP");
        site.until_peers(0);
        // The same files once more are no news.
        site.signal(0, "-HUP");
        site.until("nothing has changed", |site| site.log().contains("read again: nothing has changed"));
        assert_eq!((site.homes(1, &rooms), connected(&site)), (moved, 2));
        assert_eq!(site.ask(&["splits"]).code, 0);
    }
}

#[test]
fn wrong_files_of_certificates_are_named() {
    let folder = certificates(&Authority::new("peers"));
    let (_, other_key) = Authority::new("peers").sign("127.0.0.1");
    folder.put("other.pem", other_key).put("empty.pem", "").put("junk.pem", b"\xff\x00-----BEGIN CERTIFICATE-----\nx");
    let at = folder.display().to_string();
    let check = |lines: &str| {
        let head = "[[haproxy]]\nname = \"lb1\"\nruntime = \"/nowhere\"\npeer = \"203.0.113.7:10000\"\n";
        let text = format!("{head}[rooms]\nbackend = \"rooms\"\nmode = \"peers\"\n[peers]\n{lines}");
        folder.put(&settings_file(0), text);
        run_in(&folder, &["run", "--config", &settings_file(0), "--check"], "")
    };
    let plain = check("");
    assert!(plain.code == 1 && plain.err.contains("is public") && plain.err.contains("peers.authority"), "{plain:?}");
    for good in [lines(&folder, "own.pem", ""), lines(&folder, "bare.pem", "key.pem")] {
        let ran = check(&good);
        assert!(ran.code == 0 && ran.out.contains("authority = \"") && !ran.out.contains("PRIVATE"), "{ran:?}");
    }
    let named = |setting: &str, file: &str| format!("{setting} = \"{at}/{file}\"\n");
    let authority = named("authority", "ca.pem");
    for (wrong, says) in [
        (authority.clone(), "peers.authority is set and peers.certificate is not".to_owned()),
        (named("key", "key.pem"), "peers.key is set and peers.authority is not".to_owned()),
        (lines(&folder, "missing.pem", ""), format!("peers.certificate: {at}/missing.pem cannot be read")),
        (lines(&folder, "own.pem", "missing.pem"), format!("peers.key: {at}/missing.pem cannot be read")),
        (lines(&folder, "bare.pem", ""), format!("peers.certificate: {at}/bare.pem: the key: ")),
        (lines(&folder, "own.pem", "bare.pem"), format!("peers.key: {at}/bare.pem: the key: ")),
        (lines(&folder, "own.pem", "other.pem"), format!("peers.certificate: {at}/own.pem: the certificate: ")),
        (lines(&folder, "key.pem", "key.pem"), format!("peers.certificate: {at}/key.pem: the certificate: ")),
        (lines(&folder, "empty.pem", "key.pem"), format!("peers.certificate: {at}/empty.pem: the certificate: ")),
        (lines(&folder, "junk.pem", "key.pem"), format!("peers.certificate: {at}/junk.pem: the certificate: ")),
        (
            named("authority", "key.pem") + &named("certificate", "own.pem"),
            format!("peers.authority: {at}/key.pem: the authority: there is no certificate in it"),
        ),
    ] {
        let ran = check(&wrong);
        assert!(ran.code == 1 && ran.err.contains(&says) && !ran.err.contains("PRIVATE"), "{says}: {ran:?}");
    }
    for lines in ["certificate = \"/a.pem\"\n", "authority = \"/a.pem\"\n"] {
        let text = format!(
            "[[listen]]\nport = 80\n[[server]]\nname = \"a\"\nhost = \"192.0.2.1\"\nport = 80\nid = 1\n\
             [peers]\nlocal = \"lb1\"\n{lines}[[peers.member]]\nname = \"lb1\"\nhost = \"127.0.0.1\"\nport = 10000\n"
        );
        let ran = run_in(&folder, &["render", "edumeet", "-", "--no-haproxy", "--haproxy-version", "2.6"], &text);
        assert!(ran.code == 1 && ran.err.contains("needs both"), "{ran:?}");
    }
}
