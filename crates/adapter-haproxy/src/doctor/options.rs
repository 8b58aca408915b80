//! Options that are gone or harmful, and words this version does not know yet.

use crate::config::{ConfigFile, ConfigLine, quote_word};
use crate::version::HaproxyVersion;

use super::scene::{append, delete, remove, replace, rewrite};
use super::words::Gone;
use super::{Finding, Level};

/// Options that are gone.
const OPTIONS: [Gone; 5] = [
    ("forceclose", (2, 0), "delete it, or write option http-keep-alive", Some("")),
    ("http-tunnel", (2, 1), "delete it; upgraded connections are tunnels by themselves", Some("")),
    ("http_proxy", (2, 5), "http-request set-dst and set-uri", None),
    ("transparent", (3, 5), "a server with the address 0.0.0.0", None),
    ("tcpsplice", (2, 1), "option splice-auto", Some("option splice-auto")),
];

/// Words in place of other words that came later than 2.4: the keyword, the word, since when.
const NEW: [(&str, &str, (u16, u16)); 5] = [
    ("balance", "hash", (2, 6)),
    ("mode", "spop", (3, 1)),
    ("mode", "haterm", (3, 4)),
    ("server", "guid", (3, 0)),
    ("server", "ws", (2, 5)),
];

pub(super) fn option(version: HaproxyVersion, file: &ConfigFile, line: &ConfigLine, found: &mut Vec<Finding>) {
    let number = line.number;
    if line.keyword() == "ssl-default-bind-options" && line.position("no-sslv3").is_some() {
        let text = "no-sslv3 says what TLS is not; today's word names the lowest version";
        let edits = line.position("no-sslv3").map(|at| replace(line, at, "ssl-min-ver TLSv1.2"));
        let finding = Finding::new("BLC-H009", file, number, text.into(), "write ssl-min-ver TLSv1.2");
        let written = line.position("ssl-min-ver").is_some();
        found.push(if written { finding } else { finding.with_fix(edits.into_iter().collect::<Vec<_>>()) });
    }
    if line.keyword() != "option" {
        return;
    }
    let name = line.word(1);
    if name == "httpclose" {
        let text = "option httpclose closes every connection after one answer: \
                    each poll of a room pays for a new one, and websockets suffer";
        let help = "keep connections: option http-keep-alive, which is the default";
        found.push(Finding::new("BLC-H007", file, number, text.into(), help).with_fix([replace(
            line,
            1,
            "http-keep-alive",
        )]));
    }
    if name == "httpchk" && line.word(4).contains(['\r', '\n']) {
        hidden_headers(version, file, line, found);
    }
    let Some((_, (major, minor), help, write)) = OPTIONS.iter().find(|(gone, ..)| *gone == name) else { return };
    let removed = version.has(*major, *minor);
    if !removed && *major >= 3 {
        return;
    }
    let text = format!("option {name} was removed in HAProxy {major}.{minor}");
    let finding = Finding::new("BLC-H004", file, number, text, *help);
    let finding = if removed { finding } else { finding.at(Level::Warning) };
    found.push(match write {
        Some("") => finding.with_fix([delete(line)]),
        Some(write) => finding.with_fix([rewrite(line, 0, line.words.len(), *write)]),
        None => finding,
    });
}

fn hidden_headers(version: HaproxyVersion, file: &ConfigFile, line: &ConfigLine, found: &mut Vec<Finding>) {
    let text = "headers behind the version of option httpchk: a warning today, refused from HAProxy 2.8 on";
    let help = "http-check send meth GET uri /PATH ver HTTP/1.1 hdr Host NAME";
    let finding = Finding::new("BLC-H008", file, line.number, text.into(), help);
    let finding = if version.has(2, 8) { finding.at(Level::Error) } else { finding };
    let mut parts = line.word(4).split(['\r', '\n']).filter(|part| !part.is_empty());
    let send = parts.next().and_then(|ver| {
        let mut send = format!(
            "http-check send meth {} uri {} ver {ver}",
            quote_word(line.word(2)).ok()?,
            quote_word(line.word(3)).ok()?
        );
        for header in parts {
            let (name, value) = header.split_once(':')?;
            send.push_str(&format!(" hdr {} {}", quote_word(name.trim()).ok()?, quote_word(value.trim()).ok()?));
        }
        Some(send)
    });
    let Some(send) = send else { return found.push(finding) };
    let indent = String::from_utf8_lossy(&file.bytes()[line.span.start..line.words[0].span.start]).into_owned();
    let edit = rewrite(line, 0, line.words.len(), format!("option httpchk\n{indent}{send}"));
    found.push(finding.with_fix([edit]));
}

pub(super) fn too_new(version: HaproxyVersion, file: &ConfigFile, line: &ConfigLine, found: &mut Vec<Finding>) {
    for (keyword, word, (major, minor)) in NEW {
        let used = match keyword {
            "server" => line.words.iter().skip(3).any(|other| other.text == word),
            _ => line.word(1) == word,
        };
        if line.keyword() == keyword && used && !version.has(major, minor) {
            let text = format!("{keyword} {word} came with HAProxy {major}.{minor}; this is for {version}");
            found.push(Finding::new("BLC-H006", file, line.number, text, "use a newer HAProxy or leave it out"));
        }
    }
    let process = (line.keyword() == "bind").then(|| line.position("process")).flatten();
    if let Some(at) = process {
        let text = "process on a bind line was removed in HAProxy 2.7".to_owned();
        let finding = Finding::new("BLC-H004", file, line.number, text, "delete it; thread takes its place");
        let finding = if version.has(2, 7) { finding } else { finding.at(Level::Warning) };
        found.push(finding.with_fix([remove(line, at, at + 2)]));
    }
    // A check that a server line asks for in an old way.
    if line.keyword() == "server" && line.words.len() == 2 && line.word(1).contains(':') {
        let text = format!("server {} has an address and no name", line.word(1));
        let help = "write server NAME ADDRESS";
        found.push(Finding::new("BLC-H005", file, line.number, text, help).with_fix([append(line, line.word(1))]));
    }
}
