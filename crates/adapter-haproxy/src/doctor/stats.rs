//! The statistics page and passwords.

use crate::config::{ConfigLine, SectionKind};

use super::Finding;
use super::listen::{addresses, is_loopback};
use super::scene::{Part, Scene, rewrite};

/// Folders the client of a conference system serves files from.
const FILES: [&str; 8] = ["/static/", "/config/", "/images/", "/sounds/", "/libs/", "/css/", "/fonts/", "/lang/"];
const KNOWN: [&str; 13] = [
    "password",
    "admin",
    "haproxy",
    "changeme",
    "secret",
    "test",
    "stats",
    "123456",
    "12345678",
    "root",
    "pass",
    "letmein",
    "mypassword",
];

pub(super) fn check(scene: &Scene<'_>, found: &mut Vec<Finding>) {
    for part in scene.proxies() {
        page(part, found);
    }
    for part in scene.of_kind(SectionKind::Defaults) {
        passwords(part, found);
    }
    for part in scene.of_kind(SectionKind::Userlist) {
        for line in part.own(&["user"]) {
            let Some(word) = line.after("insecure-password").filter(|word| !word.variable) else { continue };
            let text = format!("the password of user {} stands here in plain text", line.word(1));
            let help = "write `password` and the output of mkpasswd -m sha-512";
            found.push(Finding::new("BLC-H034", part.file, line.number, text, help));
            known(part, line, line.word(1), &word.text, found);
        }
    }
}

fn page(part: &Part<'_>, found: &mut Vec<Finding>) {
    passwords(part, found);
    let public = part.binds().any(|bind| addresses(bind.word(1)).iter().any(|address| !is_loopback(&address.host)));
    for line in part.own(&["stats", "admin"]) {
        let always = line.word(2) == "if" && matches!(line.word(3), "TRUE" | "HTTP") && line.words.len() == 4;
        if always {
            let text = "everybody who gets past the password may stop servers here";
            let help = "allow it to this host alone: stats admin if { src 127.0.0.0/8 ::1 }";
            let fix = rewrite(line, 3, 4, "{ src 127.0.0.0/8 ::1 }");
            found.push(Finding::new("BLC-H030", part.file, line.number, text.into(), help).with_fix([fix]));
        }
    }
    let enabled = part.body.iter().find(|line| line.starts(&["stats", "enable"]) || line.starts(&["stats", "uri"]));
    let Some(first) = enabled else { return };
    if let Some(line) = part.own(&["stats", "uri"]).last() {
        let path = line.word(2);
        let shared = part.targets().next().is_some();
        if shared && FILES.iter().any(|folder| path.starts_with(folder)) {
            let text =
                format!("{path} lies in a folder of the application: its file of that name can no longer be read");
            let help = "take a path the application does not have, better a listener of its own on 127.0.0.1";
            found.push(Finding::new("BLC-H032", part.file, line.number, text, help));
        }
    }
    let guarded = part.setting(&["stats", "auth"]).is_some() || part.setting(&["stats", "http-request"]).is_some();
    if public && !guarded {
        let text = format!("the statistics page of {} asks for no password", part.title());
        let help = "add stats http-request auth unless { http_auth(LIST) }, or bind to 127.0.0.1; \
                    if the page then cannot be reached from outside, look at the firewall: ufw allow PORT";
        found.push(Finding::new("BLC-H033", part.file, first.number, text, help));
    }
}

fn passwords(part: &Part<'_>, found: &mut Vec<Finding>) {
    for line in part.own(&["stats", "auth"]) {
        if line.words.get(2).is_some_and(|word| !word.variable)
            && let Some((user, password)) = line.word(2).split_once(':')
        {
            known(part, line, user, password, found);
        }
    }
}

/// The password itself is never said.
fn known(part: &Part<'_>, line: &ConfigLine, user: &str, password: &str, found: &mut Vec<Finding>) {
    let lower = password.to_ascii_lowercase();
    if password.len() < 6 || lower == user.to_ascii_lowercase() || KNOWN.contains(&&*lower) {
        let text = format!("the password of user {user} is one of those everybody tries first");
        let help = "take a long random one: openssl rand -hex 16";
        found.push(Finding::new("BLC-H031", part.file, line.number, text, help));
    }
}
