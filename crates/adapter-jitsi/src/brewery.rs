//! The brewery: the room in which bridges advertise themselves, one presence at a time.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

mod report;
mod value;

pub use report::{BridgeReport, MAX_TEXT};
pub use value::{read_bool, read_number};

/// Longest presence that is read, in bytes.
pub const MAX_PRESENCE: usize = 1 << 20;
/// How deeply elements of a presence may be nested.
pub const MAX_PRESENCE_DEPTH: usize = 32;
/// The most attributes that one element may have.
pub const MAX_ATTRIBUTES: usize = 64;
/// The most statistics that one presence may bring.
pub const MAX_STATS: usize = 4096;

const CLIENT: &str = "jabber:client";
const COLIBRI: &str = "http://jitsi.org/protocol/colibri";
const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// Who sent a presence: an occupant of a room. Its name is the identity of a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Occupant {
    /// The room, in lower case.
    pub room: String,
    /// The nickname, exactly as sent.
    pub nick: String,
}

impl Occupant {
    /// Reads `room/nick`, divided at the first slash. `None` without a nickname.
    pub fn parse(jid: &str) -> Option<Self> {
        let (room, nick) = jid.split_once('/')?;
        (!room.is_empty() && !nick.is_empty()).then(|| Self { room: room.to_lowercase(), nick: nick.to_owned() })
    }
}

impl std::fmt::Display for Occupant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.room, self.nick)
    }
}

/// What one presence says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// A bridge is there and says how it is.
    Update {
        /// The bridge.
        from: Occupant,
        /// What it says.
        report: BridgeReport,
    },
    /// An occupant left, whatever it was: by itself, kicked, renamed, or because the room ended.
    Leave {
        /// Who.
        from: Occupant,
    },
    /// Nothing to do with bridges: another occupant, another room, another kind of presence.
    Ignore {
        /// Who, if it was an occupant of a room.
        from: Option<Occupant>,
        /// Whether it is our own presence: from now on the room is complete.
        own: bool,
    },
    /// The server refused to let us in.
    Error {
        /// Its condition, such as `conflict` (the nickname is taken) or `not-allowed` (the room must be made first).
        condition: String,
    },
}

/// A presence that could not be read. The stream it came from is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PresenceError {
    /// It is too long.
    #[error("a presence of {len} bytes is longer than {MAX_PRESENCE}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// It is not UTF-8.
    #[error("the presence is not valid UTF-8 at byte {offset}")]
    Utf8 {
        /// Where, in bytes from its start.
        offset: usize,
    },
    /// It is not well-formed, or has what XMPP forbids: a document type, a processing instruction, a comment.
    #[error("the presence is not usable XML near byte {offset}: {what}")]
    Malformed {
        /// Where, in bytes from its start.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// It brings too many statistics.
    #[error("the presence has more than {MAX_STATS} statistics")]
    TooMany,
    /// It is another stanza.
    #[error("a presence stanza expected")]
    NotPresence,
}

/// Reads one presence stanza as an occupant of `room` receives it. Rooms are compared without regard to case.
///
/// # Errors
///
/// What is wrong with the stanza; nothing of it counts then.
///
/// # Examples
///
/// ```
/// use adapter_jitsi::{Presence, read_presence};
///
/// let stanza = "<presence from='jvbbrewery@internal.auth.meet.example/jvb1'>\
///     <stats xmlns='http://jitsi.org/protocol/colibri'><stat name='stress_level' value='0.25'/></stats></presence>";
/// let read = read_presence(stanza.as_bytes(), "JvbBrewery@internal.auth.meet.example")?;
/// let Presence::Update { from, report } = read else { panic!("a bridge expected") };
/// assert_eq!((from.nick.as_str(), report.stress()), ("jvb1", Some(0.25)));
/// # Ok::<(), adapter_jitsi::PresenceError>(())
/// ```
pub fn read_presence(stanza: &[u8], room: &str) -> Result<Presence, PresenceError> {
    if stanza.len() > MAX_PRESENCE {
        return Err(PresenceError::TooLong { len: stanza.len() });
    }
    let text = std::str::from_utf8(stanza).map_err(|e| PresenceError::Utf8 { offset: e.valid_up_to() })?;
    let mut reading = Reading::default();
    let mut reader = NsReader::from_str(text);
    let config = reader.config_mut();
    config.check_end_names = true;
    config.allow_unmatched_ends = false;
    config.allow_dangling_amp = false;
    config.expand_empty_elements = true;
    loop {
        let offset = usize::try_from(reader.buffer_position()).unwrap_or(text.len());
        let malformed = |what| PresenceError::Malformed { offset, what };
        let depth = reading.path.len();
        let (namespace, event) = reader.read_resolved_event().map_err(|_| malformed("not well-formed"))?;
        match event {
            Event::Start(tag) => {
                if depth == MAX_PRESENCE_DEPTH {
                    return Err(malformed("nested too deeply"));
                }
                if depth == 0 && reading.done {
                    return Err(malformed("a second stanza"));
                }
                let namespace = match namespace {
                    ResolveResult::Bound(Namespace(name)) => Some(name.to_owned()),
                    ResolveResult::Unbound => None,
                    ResolveResult::Unknown(_) => return Err(malformed("a prefix without a namespace")),
                };
                reading
                    .open(namespace.as_deref(), &tag)
                    .map_err(|e| e.unwrap_or_else(|| malformed("bad attributes")))?;
            }
            Event::End(_) => {
                reading.path.pop().ok_or(malformed("an end tag too many"))?;
                reading.done |= reading.path.is_empty();
            }
            Event::Text(text) if depth == 0 && !text.trim().is_empty() => {
                return Err(malformed("text outside the stanza"));
            }
            Event::GeneralRef(name) => {
                let known = matches!(&*name, "amp" | "lt" | "gt" | "quot" | "apos");
                if depth == 0 || !(known || name.resolve_char_ref().is_ok_and(|c| c.is_some())) {
                    return Err(malformed("an unknown entity"));
                }
            }
            Event::CData(_) if depth == 0 => return Err(malformed("text outside the stanza")),
            Event::Text(_) | Event::CData(_) => {}
            Event::Decl(_) if offset == 0 => {}
            Event::Decl(_) | Event::PI(_) => return Err(malformed("a processing instruction")),
            Event::Comment(_) => return Err(malformed("a comment")),
            Event::DocType(_) => return Err(malformed("a document type")),
            Event::Empty(_) => return Err(malformed("not well-formed")),
            Event::Eof if depth > 0 => return Err(malformed("it ends too early")),
            Event::Eof if !reading.done => return Err(malformed("it is empty")),
            Event::Eof => return Ok(reading.finish(room)),
        }
    }
}

/// Which element is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Presence,
    Stats,
    User,
    Error,
    Other,
}

#[derive(Debug, Default)]
struct Reading {
    path: Vec<Open>,
    done: bool,
    from: Option<String>,
    kind: Option<String>,
    report: Option<BridgeReport>,
    condition: Option<String>,
    own: bool,
}

impl Reading {
    /// An element begins. `Err(None)` when its attributes are not sound.
    fn open(&mut self, namespace: Option<&str>, tag: &BytesStart<'_>) -> Result<(), Option<PresenceError>> {
        let name = tag.local_name();
        let name: &str = name.as_ref();
        let mut values = Values::default();
        for (n, attribute) in tag.attributes().with_checks(true).enumerate() {
            if n == MAX_ATTRIBUTES {
                return Err(None);
            }
            let attribute = attribute.map_err(|_| None)?;
            if attribute.value.contains('<') {
                return Err(None);
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| None)?;
            let place = match attribute.key.0 {
                "from" => &mut values.from,
                "type" => &mut values.kind,
                "name" => &mut values.name,
                "value" => &mut values.value,
                "code" => &mut values.code,
                _ => continue,
            };
            *place = Some(value.into_owned());
        }
        let within = (self.path.last().copied(), self.path.len());
        let open = match (within, namespace, name) {
            ((None, _), None | Some(CLIENT), "presence") => {
                self.from = values.from;
                self.kind = values.kind;
                Open::Presence
            }
            ((None, _), ..) => return Err(Some(PresenceError::NotPresence)),
            // The first of several counts.
            ((Some(Open::Presence), _), Some(COLIBRI), "stats") if self.report.is_none() => {
                self.report = Some(BridgeReport::default());
                Open::Stats
            }
            ((Some(Open::Presence), _), Some(MUC_USER), "x") => Open::User,
            ((Some(Open::Presence), _), None | Some(CLIENT), "error") => Open::Error,
            ((Some(Open::Stats), _), Some(COLIBRI), "stat") => {
                if let (Some(report), Some(name), Some(value)) = (&mut self.report, values.name, values.value) {
                    report.push(&name, &value);
                    if report.len() > MAX_STATS {
                        return Err(Some(PresenceError::TooMany));
                    }
                }
                Open::Other
            }
            ((Some(Open::User), _), Some(MUC_USER), "status") => {
                self.own |= values.code.as_deref() == Some("110");
                Open::Other
            }
            ((Some(Open::Error), _), Some(STANZAS), condition) if condition != "text" => {
                self.condition.get_or_insert_with(|| condition.to_owned());
                Open::Other
            }
            _ => Open::Other,
        };
        self.path.push(open);
        Ok(())
    }

    fn finish(self, room: &str) -> Presence {
        if self.kind.as_deref() == Some("error") {
            let condition = self.condition.unwrap_or_else(|| "undefined-condition".to_owned());
            return Presence::Error { condition };
        }
        let from = self.from.as_deref().and_then(Occupant::parse);
        let Some(from) = from else {
            return Presence::Ignore { from: None, own: self.own };
        };
        if from.room != room.to_lowercase() {
            return Presence::Ignore { from: Some(from), own: self.own };
        }
        match (self.kind.as_deref(), self.report) {
            (Some("unavailable"), _) => Presence::Leave { from },
            (None, Some(report)) => Presence::Update { from, report },
            _ => Presence::Ignore { from: Some(from), own: self.own },
        }
    }
}

/// The attributes that matter anywhere.
#[derive(Debug, Default)]
struct Values {
    from: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    value: Option<String>,
    code: Option<String>,
}

#[cfg(test)]
mod tests;
