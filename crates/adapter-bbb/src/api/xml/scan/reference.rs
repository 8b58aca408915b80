//! References to characters: the entities that XML defines, and numbers.

use std::borrow::Cow;

/// The character that a reference of this name stands for: one of XML's own five entities, or a number.
pub(super) fn resolve(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |digits| (digits, 16));
            // What numbers are read with takes a sign, XML does not.
            let code = u32::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))?;
            return char::from_u32(code).filter(|char| is_xml_char(*char));
        }
    })
}

/// The text that this stands for; `None` if it has a `&` that begins no known reference.
pub(crate) fn unescape(text: &str) -> Option<Cow<'_, str>> {
    let Some((head, tail)) = text.split_once('&') else { return Some(Cow::Borrowed(text)) };
    let mut whole = head.to_owned();
    for piece in tail.split('&') {
        let (name, rest) = piece.split_once(';')?;
        whole.push(resolve(name)?);
        whole.push_str(rest);
    }
    Some(Cow::Owned(whole))
}

/// Whether XML 1.0 allows this character.
pub(crate) const fn is_xml_char(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}
