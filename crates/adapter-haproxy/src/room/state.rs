//! The OAuth `state` of an edumeet login: base-64 of a JSON object that names the room.

use serde_json::Value;

use super::query::{decode, text};

/// The room inside an OAuth `state`, given as it stands in the query or in a form.
///
/// Decoded once (`+` stays), white space dropped, either base-64 alphabet, padding or none, UTF-8 or else Latin-1, a
/// JSON object with a member `roomId` that is text or an integer. The state is not signed: it routes, it proves nothing.
pub fn room_from_state(raw: &[u8]) -> Option<String> {
    let decoded = decode(raw);
    let json = text(&base64(&decoded)?);
    let Value::Object(members) = serde_json::from_str(&json).ok()? else { return None };
    match members.get("roomId")? {
        Value::String(room) if !room.is_empty() => Some(room.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// Both alphabets, padding optional, white space dropped; anything else is refused.
fn base64(raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(raw.len() / 4 * 3);
    let (mut bits, mut held, mut digits, mut padded) = (0_u32, 0_u32, 0_usize, 0_usize);
    for &b in raw {
        let value = match b {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'=' => {
                padded += 1;
                continue;
            }
            _ if padded > 0 => return None,
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        digits += 1;
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(((bits >> held) & 0xff).to_le_bytes()[0]);
            bits &= (1 << held) - 1;
        }
    }
    let whole = digits % 4 != 1 && padded <= 2 && (padded == 0 || (digits + padded) % 4 == 0);
    whole.then_some(out)
}
