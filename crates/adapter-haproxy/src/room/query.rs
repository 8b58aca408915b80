//! Request targets, parameters and percent signs.

use std::borrow::Cow;

use super::MAX_TARGET_LEN;

/// A request target taken apart; borrowed, nothing decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) path: &'a [u8],
    pub(super) query: &'a [u8],
    /// A `#` in a target: no client sends it, HAProxy refuses it.
    pub(super) fragment: bool,
}

impl<'a> Target<'a> {
    /// Reads origin form and absolute form. Too long a target is read as empty.
    pub(super) fn read(target: &'a [u8]) -> Self {
        let target = if target.len() > MAX_TARGET_LEN { b"" } else { target };
        let (target, fragment) = match target.iter().position(|&b| b == b'#') {
            Some(at) => (&target[..at], true),
            None => (target, false),
        };
        let target = without_authority(target);
        let (path, query) = match target.iter().position(|&b| b == b'?') {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (target, &b""[..]),
        };
        Self { path, query, fragment }
    }
}

fn without_authority(target: &[u8]) -> &[u8] {
    if target.starts_with(b"/") {
        return target;
    }
    let Some(at) = target.windows(3).position(|part| part == b"://") else { return target };
    let rest = &target[at + 3..];
    match rest.iter().position(|&b| b == b'/' || b == b'?') {
        Some(slash) => &rest[slash..],
        None => b"/",
    }
}

/// The raw value of the first parameter of that name which has one; separated by `&` alone.
pub(super) fn param<'a>(query: &'a [u8], name: &str) -> Option<&'a [u8]> {
    query.split(|&b| b == b'&').find_map(|pair| {
        let at = pair.iter().position(|&b| b == b'=')?;
        let found = decode(&pair[..at]);
        (&*found == name.as_bytes()).then(|| &pair[at + 1..])
    })
}

/// A parameter as web servers read it: `+` is a blank, then decoded once; kept as it is if that gives no text.
pub(super) fn room_text(query: &[u8], name: &str) -> Option<String> {
    let raw = param(query, name)?;
    let spaced: Vec<u8> = raw.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
    let text = text(&spaced);
    Some(decode_text(&text).unwrap_or(text)).filter(|text| !text.is_empty())
}

/// Decodes `%XX` where it is well formed and leaves the rest.
pub(super) fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'%') {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        match escaped(raw, at) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(raw[at]);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// Decodes once as a browser does: nothing at all unless every `%` is well formed and the result is UTF-8.
pub(super) fn decode_text(raw: &str) -> Option<String> {
    let bytes = raw.as_bytes();
    let sound = bytes.iter().enumerate().all(|(at, &b)| b != b'%' || escaped(bytes, at).is_some());
    if !sound {
        return None;
    }
    String::from_utf8(decode(bytes).into_owned()).ok()
}

/// Bytes as text: UTF-8, else one character a byte.
pub(super) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&b| char::from(b)).collect(),
    }
}

fn escaped(raw: &[u8], at: usize) -> Option<u8> {
    if raw.get(at) != Some(&b'%') {
        return None;
    }
    let digit = |offset: usize| char::from(*raw.get(at + offset)?).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(1)? * 16 + digit(2)?)
}
