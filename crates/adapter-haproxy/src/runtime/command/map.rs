//! Commands about maps.

use super::{Command, CommandError, Expect, Level, MAX_REQUEST, check_characters, shown, word_of};

/// One line of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapEntry {
    key: String,
    value: String,
}

impl MapEntry {
    /// An entry. The value may have blanks inside, the key may not: maps are shown without quotes.
    ///
    /// # Errors
    ///
    /// [`CommandError`] for an empty key or value, a control character, a blank in the key or at an end of the value,
    /// or a key that begins with `#`, which HAProxy takes for a reference.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Result<Self, CommandError> {
        let (key, value) = (key.into(), value.into());
        check_key(&key)?;
        let what = "map value";
        if value.is_empty() {
            return Err(CommandError::Empty { what });
        }
        check_characters(what, &value)?;
        if value.trim_matches(' ').len() != value.len() {
            let why = "blanks at its ends are lost";
            return Err(CommandError::Reserved { what, text: shown(&value), why });
        }
        if value.split(' ').next_back().is_some_and(|word| word.starts_with("<<")) {
            let why = "HAProxy would read a payload after it";
            return Err(CommandError::Reserved { what, text: shown(&value), why });
        }
        let this = Self { key, value };
        if this.len() + 200 > MAX_REQUEST {
            return Err(CommandError::TooLong { what: "map entry", len: this.len(), max: MAX_REQUEST - 200 });
        }
        Ok(this)
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Bytes of its line in a payload, with the line feed.
    pub(in crate::runtime) fn len(&self) -> usize {
        self.key.len() + self.value.len() + 2
    }

    fn push_line(&self, payload: &mut String) {
        payload.push_str(&self.key);
        payload.push(' ');
        payload.push_str(&self.value);
        payload.push('\n');
    }
}

fn check_key(key: &str) -> Result<(), CommandError> {
    let what = "map key";
    word_of(what, key)?;
    let reserved = |why| Err(CommandError::Reserved { what, text: shown(key), why });
    if key.starts_with('#') {
        return reserved("HAProxy takes what begins with # for a reference");
    }
    if key.contains(' ') {
        return reserved("a blank in it cannot be told from the one before the value");
    }
    Ok(())
}

fn check_map(map: &str) -> Result<(), CommandError> {
    word_of("map", map)?;
    if map.starts_with('@') {
        let why = "HAProxy would take it for a version";
        return Err(CommandError::Reserved { what: "map", text: shown(map), why });
    }
    Ok(())
}

/// `word map [@version] file`.
fn about(verb: &str, map: &str, version: Option<u32>, expect: Expect) -> Result<Command, CommandError> {
    check_map(map)?;
    let version = version.map(|v| format!(" @{v}")).unwrap_or_default();
    let level = if expect == Expect::Data { Level::User } else { Level::Operator };
    Ok(Command::new(format!("{verb} map{version}"), expect, level).word(map))
}

impl Command {
    /// The maps there are.
    pub fn show_maps() -> Self {
        Self::read("show map")
    }

    /// The entries of a map: of the version in force, or of one prepared.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if the map's name cannot be sent.
    pub fn show_map(map: &str, version: Option<u32>) -> Result<Self, CommandError> {
        about("show", map, version, Expect::Data)?.fits()
    }

    /// What a map makes of this value.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if a word cannot be sent.
    pub fn get_map(map: &str, value: &str) -> Result<Self, CommandError> {
        word_of("value", value)?;
        about("get", map, None, Expect::Data)?.word(value).fits()
    }

    /// Adds an entry behind those there are; one of the same key before it wins.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if a word cannot be sent.
    pub fn add_map(map: &str, entry: &MapEntry) -> Result<Self, CommandError> {
        // Only a payload keeps blanks in a value.
        Self::add_map_entries(map, None, std::slice::from_ref(entry))
    }

    /// Adds entries, to the version in force or to one prepared. They must fit into [`MAX_REQUEST`] bytes.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if they do not fit, there are none, or the map's name cannot be sent.
    pub fn add_map_entries(map: &str, version: Option<u32>, entries: &[MapEntry]) -> Result<Self, CommandError> {
        if entries.is_empty() {
            return Err(CommandError::Empty { what: "list of map entries" });
        }
        let mut payload = String::with_capacity(entries.iter().map(MapEntry::len).sum());
        for entry in entries {
            entry.push_line(&mut payload);
        }
        about("add", map, version, Expect::Silence)?.with_payload(payload).fits()
    }

    /// Changes the value of every entry with this key.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if a word cannot be sent.
    pub fn set_map(map: &str, entry: &MapEntry) -> Result<Self, CommandError> {
        about("set", map, None, Expect::Silence)?.word(&entry.key).word(&entry.value).fits()
    }

    /// Deletes every entry with this key.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if a word cannot be sent.
    pub fn del_map(map: &str, key: &str) -> Result<Self, CommandError> {
        check_key(key)?;
        about("del", map, None, Expect::Silence)?.word(key).fits()
    }

    /// Deletes every entry of the version in force, or drops a version prepared.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if the map's name cannot be sent.
    pub fn clear_map(map: &str, version: Option<u32>) -> Result<Self, CommandError> {
        about("clear", map, version, Expect::Silence)?.fits()
    }

    /// Begins a new version. It stays in memory until it is committed or cleared.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if the map's name cannot be sent.
    pub fn prepare_map(map: &str) -> Result<Self, CommandError> {
        about("prepare", map, None, Expect::Says(&["New version created: "]))?.fits()
    }

    /// Puts a prepared version in force, in one step.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if the map's name cannot be sent.
    pub fn commit_map(map: &str, version: u32) -> Result<Self, CommandError> {
        about("commit", map, Some(version), Expect::Silence)?.fits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let entry = MapEntry::new("/join", "rooms with blanks").unwrap();
        let add = Command::add_map("/etc/lb/p.map", &entry).unwrap();
        assert_eq!(add.line(), "add map /etc/lb/p.map");
        let mut bytes = vec![];
        add.encode(&mut bytes);
        assert_eq!(bytes, b"add map /etc/lb/p.map <<\n/join rooms with blanks\n\n");
        assert_eq!(bytes.len(), add.encoded_len());
        assert_eq!(Command::commit_map("p", 3).unwrap().line(), "commit map @3 p");
        for (key, value) in [("", "v"), ("k", ""), ("#1", "v"), ("a b", "v"), ("k", "v\n"), ("k", " v"), ("k", "a <<")]
        {
            assert!(MapEntry::new(key, value).is_err(), "{key:?} {value:?}");
        }
        assert!(Command::show_map("@1", None).is_err());
        assert!(Command::add_map_entries("p", None, &[]).is_err());
        let many = vec![entry; 1000];
        assert!(matches!(Command::add_map_entries("p", None, &many), Err(CommandError::TooLong { .. })));
    }
}
