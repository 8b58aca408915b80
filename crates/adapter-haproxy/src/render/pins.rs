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

/// The room of such a key; `None` if it is none, or no text.
pub fn unpin_key(key: &str) -> Option<String> {
    let mut bytes = key.bytes();
    let mut room = Vec::with_capacity(key.len());
    while let Some(byte) = bytes.next() {
        room.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_lowercase());
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => byte,
            _ => return None,
        });
    }
    // Only what is written as we write it: two keys of one room would be two rooms.
    String::from_utf8(room).ok().filter(|room| pin_key(room) == key)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_come_back_as_rooms(room in ".*", any in ".*") {
            let key = pin_key(&room);
            prop_assert_eq!(unpin_key(&key), Some(room));
            if let Some(room) = unpin_key(&any) {
                prop_assert_eq!(pin_key(&room), any);
            }
        }
    }
}
