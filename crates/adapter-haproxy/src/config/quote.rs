//! A word as it must be written so that HAProxy reads it back unchanged.

use std::borrow::Cow;

use super::ConfigError;

/// Writes a word so that HAProxy reads back exactly this text: bare where that is safe, in single quotes otherwise.
///
/// # Errors
///
/// [`ConfigError::Unquotable`] for a line feed, a carriage return or a NUL byte.
pub fn quote_word(word: &str) -> Result<Cow<'_, str>, ConfigError> {
    if word.contains(['\n', '\r', '\0']) {
        return Err(ConfigError::Unquotable { word: word.to_owned() });
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=,-*?{}[]()!|&<>;~^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Ok(Cow::Borrowed(word));
    }
    Ok(Cow::Owned(format!("'{}'", word.replace('\'', r"'\''"))))
}
