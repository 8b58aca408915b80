//! Map files that pin rooms to servers.

use super::RenderError;
use super::writer::name;

/// A room key as it stands in a pin map and in the runtime API's `set map`: percent-encoded, so that neither blanks nor
/// line feeds can break the line. HAProxy makes the same of the room with its converter `url_enc`.
pub fn pin_key(room: &str) -> String {
    let mut out = String::with_capacity(room.len());
    for byte in room.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A pin map: each room and the server it stays on, one a line.
///
/// # Errors
///
/// [`RenderError::Name`] for a server that cannot be one, [`RenderError::Value`] for an empty room,
/// [`RenderError::Twice`] for a room that is there twice.
pub fn pin_map<'a>(pins: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<String, RenderError> {
    let mut keys = Vec::new();
    let mut out = String::from("# room, percent-encoded, and its server\n");
    for (room, server) in pins {
        let key = pin_key(room);
        if key.is_empty() {
            let help = "a room has a name";
            return Err(RenderError::Value { what: "room", value: String::new(), help });
        }
        out.push_str(&format!("{key} {}\n", name("server", server)?));
        keys.push(key);
    }
    super::once("room", keys.iter())?;
    Ok(out)
}
