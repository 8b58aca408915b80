//! Addresses: rooms and the occupants in them.

use std::fmt;
use std::sync::Arc;

/// The longest part of an address, in bytes.
const MAX_PART: usize = 1023;

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JidError {
    /// A part is missing, too long, or has a character it may not have.
    #[error("{text:?} is no address: {what}")]
    Malformed {
        /// What was given, shortened.
        text: String,
        /// What is wrong.
        what: &'static str,
    },
}

fn refused(text: &str, what: &'static str) -> JidError {
    JidError::Malformed { text: text.chars().take(80).collect(), what }
}

fn check_bare(text: &str) -> Result<(), JidError> {
    let Some((local, domain)) = text.split_once('@') else {
        return Err(refused(text, "name@domain expected"));
    };
    if local.is_empty() || domain.is_empty() {
        return Err(refused(text, "name@domain expected"));
    }
    if local.len() > MAX_PART || domain.len() > MAX_PART {
        return Err(refused(text, "a part is longer than 1023 bytes"));
    }
    let bad = |char: char| char.is_whitespace() || char.is_control() || "\"&'/:<>@".contains(char);
    if local.contains(bad) || domain.contains(|char: char| bad(char) && char != ':') {
        return Err(refused(text, "a character that no address may have"));
    }
    Ok(())
}

/// `name@domain`: an account or a room. Written in lower case, as servers do, so that it compares as it should.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BareJid(Arc<str>);

impl BareJid {
    /// Reads `name@domain`.
    ///
    /// # Errors
    ///
    /// [`JidError`] when it is none.
    pub fn new(text: &str) -> Result<Self, JidError> {
        check_bare(text)?;
        Ok(Self(text.to_lowercase().into()))
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before `@`.
    pub fn local(&self) -> &str {
        self.0.split_once('@').map_or("", |(local, _)| local)
    }

    /// What stands behind `@`.
    pub fn domain(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, domain)| domain)
    }
}

impl fmt::Display for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `room@domain/nick`: who a bridge is. The room is in lower case, the nick as given. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OccupantJid {
    text: Arc<str>,
    slash: usize,
}

impl OccupantJid {
    /// Reads `room@domain/nick`, split at the first slash.
    ///
    /// # Errors
    ///
    /// [`JidError`] when it is none.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        let (room, nick) = text.split_once('/').ok_or_else(|| refused(text, "room/nick expected"))?;
        Self::new(&BareJid::new(room)?, nick)
    }

    /// The occupant of this room with this nick.
    ///
    /// # Errors
    ///
    /// [`JidError`] for a nick that is empty or too long.
    pub fn new(room: &BareJid, nick: &str) -> Result<Self, JidError> {
        if nick.is_empty() || nick.len() > MAX_PART || nick.contains(char::is_control) {
            return Err(refused(nick, "a nick has 1 to 1023 bytes and no control characters"));
        }
        Ok(Self { text: format!("{room}/{nick}").into(), slash: room.as_str().len() })
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The room.
    pub fn room(&self) -> &str {
        self.text.get(..self.slash).unwrap_or_default()
    }

    /// The nick, which may hold slashes.
    pub fn nick(&self) -> &str {
        self.text.get(self.slash + 1..).unwrap_or_default()
    }
}

impl fmt::Display for OccupantJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BareJid, OccupantJid};

    #[test]
    fn rooms_compare_in_lower_case_and_nicks_exactly() {
        let one = OccupantJid::parse("JvbBrewery@Internal.Meet/Jvb/1").unwrap();
        assert_eq!((one.room(), one.nick()), ("jvbbrewery@internal.meet", "Jvb/1"));
        assert_eq!(one, OccupantJid::parse("jvbbrewery@internal.meet/Jvb/1").unwrap());
        assert_ne!(one, OccupantJid::parse("jvbbrewery@internal.meet/jvb/1").unwrap());
        assert_eq!(BareJid::new("A@b").unwrap().local(), "a");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "a", "a@", "@b", "a b@c", "a@b@c", "a\"@b", "a/b@c"] {
            assert!(BareJid::new(text).is_err(), "{text}");
        }
        for text in ["a@b", "a@b/", "/x", "a@b/\u{1}"] {
            assert!(OccupantJid::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            if let Ok(occupant) = OccupantJid::parse(&text) {
                prop_assert_eq!(OccupantJid::parse(occupant.as_str()).unwrap(), occupant);
            }
        }
    }
}
