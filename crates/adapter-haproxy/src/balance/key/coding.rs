//! Percent and base64 codes with HAProxy's own ideas of what is valid.

fn hex(c: u8) -> Option<u8> {
    char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// Percent-decodes. A plus sign is a space behind a question mark, or everywhere in a form. A `%` without two hex
/// digits fails the whole; a NUL byte of the input ends it.
pub(crate) fn url_decode(text: &[u8], form: bool) -> Option<Vec<u8>> {
    let mut form = form;
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().take_while(|c| *c != 0);
    while let Some(c) = bytes.next() {
        out.push(match c {
            b'+' if form => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'?' => {
                form = true;
                c
            }
            c => c,
        });
    }
    Some(out)
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The value of a character of the standard alphabet.
fn standard(c: u8) -> Option<u8> {
    Some(match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// Decodes base64. Each group of four stands alone, so padding may occur inside; `X===` adds nothing.
pub(crate) fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.chunks_exact(4) {
        let [a, b, c, d] = *group else { return None };
        let a = standard(a)?;
        match (standard(b), standard(c), standard(d)) {
            (Some(b), Some(c), Some(d)) => out.extend([a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]),
            (Some(b), Some(c), None) if d == b'=' => out.extend([a << 2 | b >> 4, b << 4 | c >> 2]),
            (Some(b), None, None) if (c, d) == (b'=', b'=') => out.push(a << 2 | b >> 4),
            (None, None, None) if group[1..] == *b"===" => {}
            _ => return None,
        }
    }
    Some(out)
}

/// Decodes the url-safe base64 without padding. A written `=` counts as 63.
pub(crate) fn base64url_decode(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() % 4 == 1 {
        return None;
    }
    let value = |c: u8| match c {
        b'-' => Some(62),
        b'_' | b'=' => Some(63),
        b'+' | b'/' => None,
        c => standard(c),
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0u32, 0);
    for c in text {
        bits = (bits << 6) | u32::from(value(*c)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xff).unwrap_or(0));
        }
    }
    Some(out)
}

/// Encodes base64 with padding.
pub(crate) fn base64_encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4u32 {
            let six = (bits >> (18 - 6 * i)) & 63;
            out.push(if i as usize <= group.len() { STANDARD[six as usize] } else { b'=' });
        }
    }
    out
}

/// Hexadecimal in capitals.
pub(crate) fn hex_encode(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    bytes.iter().flat_map(|c| [DIGITS[usize::from(c >> 4)], DIGITS[usize::from(c & 15)]]).collect()
}
