//! Rooms in requests, and the one spelling they are known by.

use unicode_normalization::UnicodeNormalization;

#[cfg(test)]
mod tests;

/// The longest request target that is read, in bytes; a longer one has no room.
pub const MAX_ROOM_TARGET: usize = 32 * 1024;
/// How often a name is decoded at most: clients, portals and proxies each add a layer.
const ROUNDS: usize = 4;

/// What a request to a Jitsi Meet server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RoomRequestKind {
    /// A page with a room.
    Page,
    /// Signalling: BOSH, websocket, conference requests and the like. It may lack a room.
    Signal,
    /// A file.
    Static,
    /// Health and configuration.
    Service,
    /// A channel to a bridge that is named in the path; never routed by room.
    BridgeChannel,
}

/// What [`room_of`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomRequest {
    /// What the request is for.
    pub kind: RoomRequestKind,
    /// The tenant, canonical, its parts joined by `/`.
    pub tenant: Option<String>,
    /// The room, canonical.
    pub room: Option<String>,
}

impl RoomRequest {
    const fn bare(kind: RoomRequestKind) -> Self {
        Self { kind, tenant: None, room: None }
    }

    /// The key all requests of this room share: tenant and room joined by `/`, or the room. `None`: any server will do,
    /// and nothing may be remembered.
    pub fn key(&self) -> Option<String> {
        let room = self.room.as_deref()?;
        Some(self.tenant.as_deref().map_or_else(|| room.to_owned(), |tenant| format!("{tenant}/{room}")))
    }
}

/// The key of a room name: decoded until nothing changes (four times at most), compatibility forms folded, lower case,
/// encoded. All spellings of a room that a browser takes for one have one key.
///
/// ```
/// assert_eq!(adapter_jitsi::room_key("T%25C3%2584st"), adapter_jitsi::room_key("täst"));
/// ```
pub fn room_key(raw: &str) -> String {
    let mut name = raw.to_owned();
    for _ in 0..ROUNDS {
        match decoded(&name) {
            Some(next) if next != name => name = next,
            _ => break,
        }
    }
    folded(&name)
}

/// The local part of a room's JID as the browser client makes it: as [`room_key`], but decoded once.
pub fn client_room(raw: &str) -> String {
    folded(&decoded(raw).unwrap_or_else(|| raw.to_owned()))
}

/// The room of a request target (path and query, or a whole URL): `room=` of signalling requests, else the last part
/// of the path; what stands before it in the path is the tenant. `+` is no blank. Reads any bytes.
///
/// ```
/// use adapter_jitsi::room_of;
///
/// let page = room_of("/Acme/Standup#config.x=1");
/// let socket = room_of("/acme/xmpp-websocket?room=standup");
/// assert_eq!(page.key().as_deref(), Some("acme/standup"));
/// assert_eq!(page.key(), socket.key());
/// ```
pub fn room_of(target: impl AsRef<[u8]>) -> RoomRequest {
    let target = target.as_ref();
    if target.len() > MAX_ROOM_TARGET {
        return RoomRequest::bare(RoomRequestKind::Static);
    }
    let target: String = match std::str::from_utf8(target) {
        Ok(text) => text.to_owned(),
        Err(_) => target.iter().map(|b| char::from(*b)).collect(),
    };
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = match path.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => path,
    };
    let Some(inner) = path.strip_prefix('/') else { return RoomRequest::bare(RoomRequestKind::Static) };
    let folder = inner.ends_with('/');
    let parts: Vec<&str> = inner.strip_suffix('/').unwrap_or(inner).split('/').collect();
    classify(&parts, folder, query)
}

fn classify(parts: &[&str], folder: bool, query: &str) -> RoomRequest {
    use RoomRequestKind as Kind;
    let Some((last, before)) = parts.split_last().filter(|_| !parts.contains(&"")) else {
        return RoomRequest::bare(Kind::Static);
    };
    if before.iter().any(|part| matches!(*part, "colibri-ws" | "colibri-relay-ws")) {
        return RoomRequest::bare(Kind::BridgeChannel);
    }
    let asked = parameter(query, "room").map(room_key).filter(|room| !room.is_empty());
    if let Some(ahead) = signalling(parts) {
        return match asked {
            None if *last == "config.js" => RoomRequest::bare(Kind::Service),
            None => RoomRequest::bare(Kind::Signal),
            room => {
                let prefix = || tenant(parameter(query, "prefix")?.split('/').filter(|part| !part.is_empty()));
                RoomRequest { kind: Kind::Signal, tenant: tenant(ahead.iter().copied()).or_else(prefix), room }
            }
        };
    }
    if parts.len() > 1 && parts[0] == "about" {
        return RoomRequest::bare(Kind::Service);
    }
    let folders = if folder { parts } else { before };
    if folders.iter().any(|part| is_folder(part)) || is_file(last) {
        return RoomRequest::bare(Kind::Static);
    }
    let room = asked.or_else(|| Some(room_key(last)));
    RoomRequest { kind: Kind::Page, tenant: tenant(before.iter().copied()), room }
}

/// What stands before a signalling end point.
fn signalling<'a, 'b>(parts: &'a [&'b str]) -> Option<&'a [&'b str]> {
    let point = |part: &str| matches!(part, "http-bind" | "xmpp-websocket" | "config.js" | "room-size" | "room-info");
    match parts {
        [ahead @ .., "conference-request", version] if version.starts_with('v') => Some(ahead),
        [ahead @ .., "_api", last] if point(last) => Some(ahead),
        [ahead @ .., last] if point(last) => Some(ahead),
        _ => None,
    }
}

fn is_folder(part: &str) -> bool {
    let web = ["libs", "static", "css", "images", "fonts", "lang", "sounds"];
    web.contains(&part) || ["connection_optimization", "transcripts", ".well-known"].contains(&part)
}

fn is_file(name: &str) -> bool {
    let Some((_, end)) = name.rsplit_once('.') else { return false };
    let end = end.to_ascii_lowercase();
    let text = ["js", "css", "map", "html", "htm", "txt", "json", "xml", "wasm", "tflite", "webmanifest"];
    let media = ["ico", "png", "svg", "jpg", "jpeg", "gif", "webp", "wav", "mp3", "opus", "ogg"];
    let fonts = ["woff", "woff2", "ttf"];
    text.contains(&&*end) || media.contains(&&*end) || fonts.contains(&&*end)
}

fn tenant<'a>(parts: impl Iterator<Item = &'a str>) -> Option<String> {
    let keys: Vec<String> = parts.map(room_key).collect();
    (!keys.is_empty()).then(|| keys.join("/"))
}

/// The first value of a parameter, as written.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name || decoded(key).is_some_and(|key| key == name)).map(|(_, value)| value)
}

/// Decodes once as a browser does: `None` unless every `%` is well formed and the result is text.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        out.push(if byte == b'%' { digit()? * 16 + digit()? } else { byte });
    }
    String::from_utf8(out).ok()
}

fn folded(name: &str) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let lower = name.nfkc().collect::<String>().to_lowercase();
    let mut out = String::with_capacity(lower.len());
    for byte in lower.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
    out
}
