//! Requests of a Jitsi Meet shard.

use unicode_normalization::UnicodeNormalization;

use super::query::{Target, decode_text, param, text};
use super::{Classified, Request, RequestKind};

/// How often a name is decoded at most: clients, portals and proxies each add a layer.
const ROUNDS: usize = 4;

const CHANNELS: [&str; 2] = ["colibri-ws", "colibri-relay-ws"];
const SIGNALS: [&str; 5] = ["http-bind", "xmpp-websocket", "config.js", "room-size", "room-info"];
const FOLDERS: [&str; 10] = [
    "libs",
    "static",
    "css",
    "images",
    "fonts",
    "lang",
    "sounds",
    "connection_optimization",
    "transcripts",
    ".well-known",
];
const ENDINGS: [&str; 25] = [
    "js",
    "css",
    "map",
    "html",
    "htm",
    "txt",
    "json",
    "ico",
    "png",
    "svg",
    "jpg",
    "jpeg",
    "gif",
    "webp",
    "woff",
    "woff2",
    "ttf",
    "wav",
    "mp3",
    "opus",
    "ogg",
    "wasm",
    "xml",
    "tflite",
    "webmanifest",
];

/// A room name as the browser client puts it into the room's address: decoded once if that gives text, compatibility
/// forms folded, lower case, encoded, lower case.
pub fn jitsi_client_room(raw: &str) -> String {
    fold(&decode_text(raw).unwrap_or_else(|| raw.to_owned()))
}

/// The key of a room name: as [`jitsi_client_room`], but decoded until nothing changes (four times at most), so that
/// no spelling of one room is told apart.
pub fn jitsi_room_key(raw: &str) -> String {
    let mut name = raw.to_owned();
    for _ in 0..ROUNDS {
        match decode_text(&name) {
            Some(decoded) if decoded != name => name = decoded,
            _ => break,
        }
    }
    fold(&name)
}

fn fold(name: &str) -> String {
    let folded = name.nfkc().collect::<String>().to_lowercase();
    let mut out = String::with_capacity(folded.len());
    for byte in folded.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02x}")),
        }
    }
    out
}

pub(super) fn classify(request: &Request<'_>) -> Classified {
    let target = Target::read(request.target);
    let path = text(target.path);
    let named = param(target.query, "room").map(|raw| jitsi_room_key(&text(raw))).filter(|room| !room.is_empty());
    let Some(rest) = path.strip_prefix('/') else { return Classified::new(RequestKind::Static, None, None) };
    let (rest, closed) = match rest.strip_suffix('/') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let parts: Vec<&str> = rest.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Classified::new(RequestKind::Static, None, None);
    }
    let Some((last, before)) = parts.split_last() else { return Classified::new(RequestKind::Static, None, None) };

    if before.iter().any(|part| CHANNELS.contains(part)) {
        return Classified::new(RequestKind::BridgeChannel, None, None);
    }
    if let Some(ahead) = signal(&parts) {
        let Some(room) = named else {
            let kind = if *last == "config.js" { RequestKind::Service } else { RequestKind::Signalling };
            return Classified::new(kind, None, None);
        };
        let tenant = tenant(ahead).or_else(|| {
            let prefix = text(param(target.query, "prefix")?);
            tenant(&prefix.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>())
        });
        return Classified::new(RequestKind::Signalling, tenant, Some(room));
    }
    if parts.len() > 1 && parts[0] == "about" {
        return Classified::new(RequestKind::Service, None, None);
    }
    let folders = if closed { &parts[..] } else { before };
    let ending = last.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&&*ending.to_ascii_lowercase()));
    if ending || folders.iter().any(|part| FOLDERS.contains(part)) {
        return Classified::new(RequestKind::Static, None, None);
    }
    Classified::new(RequestKind::Page, tenant(before), named.or_else(|| Some(jitsi_room_key(last))))
}

/// The parts before the signalling end point, if the path leads to one.
fn signal<'a, 'b>(parts: &'a [&'b str]) -> Option<&'a [&'b str]> {
    match parts {
        [ahead @ .., "_api", last] if SIGNALS.contains(last) => Some(ahead),
        [ahead @ .., "conference-request", version] if version.starts_with('v') => Some(ahead),
        [ahead @ .., last] if SIGNALS.contains(last) => Some(ahead),
        _ => None,
    }
}

fn tenant(parts: &[&str]) -> Option<String> {
    let keys: Vec<String> = parts.iter().map(|part| jitsi_room_key(part)).collect();
    (!keys.is_empty()).then(|| keys.join("/"))
}
