//! The list of meetings of a server, in one pass.

use std::borrow::Cow;
use std::fmt;

use super::ReplyError;
use super::scan::{Gather, Scanner, Step};

/// The default limit on the number of meetings of one server.
pub const MAX_MEETINGS: usize = 20_000;

/// One meeting of a server's list. A number that is missing or cannot be read is 0, a flag `false`.
///
/// `Debug` leaves the element itself out, since there are passwords in it.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeetingEntry<'a> {
    /// The whole `meeting` element as the server wrote it.
    pub raw: &'a [u8],
    /// `meetingID`, empty if missing.
    pub id: Cow<'a, str>,
    /// `participantCount`: everybody, moderators included.
    pub participants: u32,
    /// `moderatorCount`.
    pub moderators: u32,
    /// `videoCount`: shared cameras.
    pub videos: u32,
    /// `createTime`, in milliseconds since 1970.
    pub created_ms: Option<u64>,
    /// `isBreakout`.
    pub breakout: bool,
    /// `running`: somebody has joined.
    pub running: bool,
    /// `hasBeenForciblyEnded`.
    pub forcibly_ended: bool,
    /// `moderatorPW`, empty if missing.
    pub moderator_pw: Cow<'a, str>,
    /// `voiceBridge`, empty if missing.
    pub voice_bridge: Cow<'a, str>,
    /// `metadata/tenant-id`.
    pub tenant: Option<Cow<'a, str>>,
}

impl fmt::Debug for MeetingEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeetingEntry")
            .field("id", &self.id)
            .field("participants", &self.participants)
            .field("moderators", &self.moderators)
            .field("videos", &self.videos)
            .field("created_ms", &self.created_ms)
            .field("breakout", &self.breakout)
            .field("running", &self.running)
            .field("forcibly_ended", &self.forcibly_ended)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// Reads the answer to `getMeetings`, of at most [`MAX_MEETINGS`] meetings.
///
/// # Errors
/// [`ReplyError::Refused`] for a failure document; else as [`Reply::parse`](super::Reply::parse).
pub fn meetings(bytes: &[u8]) -> Result<Vec<MeetingEntry<'_>>, ReplyError> {
    meetings_up_to(bytes, MAX_MEETINGS)
}

/// Like [`meetings`], with another limit.
///
/// # Errors
/// As [`meetings`], and [`ReplyError::TooMany`] above `limit`.
pub fn meetings_up_to(bytes: &[u8], limit: usize) -> Result<Vec<MeetingEntry<'_>>, ReplyError> {
    let mut scanner = Scanner::new(bytes)?;
    let mut walk = Walk { limit, ..Walk::default() };
    let mut text = Gather::default();
    let mut field = None;
    while let Some(step) = scanner.step()? {
        match step {
            Step::Open { name, start } => {
                text.take();
                field = walk.open(scanner.depth(), name, start)?;
            }
            Step::Text(piece) if field.is_some() => text.push(piece),
            Step::Text(_) => {}
            Step::Close { end } => {
                if let Some(field) = field.take() {
                    walk.put(field, text.take(), end)?;
                }
                if scanner.depth() == 2 {
                    walk.close_entry(&scanner, end);
                }
            }
        }
    }
    walk.finish()
}

/// The elements whose text is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Returncode,
    Key,
    Message,
    Id,
    Participants,
    Moderators,
    Videos,
    Created,
    Breakout,
    Running,
    ForciblyEnded,
    ModeratorPw,
    VoiceBridge,
    Tenant,
}

/// Where the walk through the document stands, and what it has found.
#[derive(Default)]
struct Walk<'a> {
    limit: usize,
    entries: Vec<MeetingEntry<'a>>,
    code: Option<Cow<'a, str>>,
    key: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
    in_meetings: bool,
    /// Where the open `meeting` starts.
    meeting: Option<usize>,
    in_metadata: bool,
    /// The fields the open meeting already has, one bit each.
    seen: u16,
}

impl<'a> Walk<'a> {
    /// Notes an opened element; says whether its text is wanted.
    fn open(&mut self, depth: usize, name: &str, start: usize) -> Result<Option<Field>, ReplyError> {
        let field = match (depth, name) {
            (1, "response") => return Ok(None),
            (1, _) => return Err(ReplyError::NoReturncode),
            (2, _) => {
                self.in_meetings = name == "meetings";
                match name {
                    "returncode" => Field::Returncode,
                    "messageKey" => Field::Key,
                    "message" => Field::Message,
                    _ => return Ok(None),
                }
            }
            (3, "meeting") if self.in_meetings => {
                if self.entries.len() == self.limit {
                    return Err(ReplyError::TooMany { limit: self.limit });
                }
                self.entries.push(MeetingEntry::default());
                self.meeting = Some(start);
                self.seen = 0;
                return Ok(None);
            }
            (4, _) if self.meeting.is_some() => {
                self.in_metadata = name == "metadata";
                match name {
                    "meetingID" => Field::Id,
                    "participantCount" => Field::Participants,
                    "moderatorCount" => Field::Moderators,
                    "videoCount" => Field::Videos,
                    "createTime" => Field::Created,
                    "isBreakout" => Field::Breakout,
                    "running" => Field::Running,
                    "hasBeenForciblyEnded" => Field::ForciblyEnded,
                    "moderatorPW" => Field::ModeratorPw,
                    "voiceBridge" => Field::VoiceBridge,
                    _ => return Ok(None),
                }
            }
            (5, "tenant-id") if self.meeting.is_some() && self.in_metadata => Field::Tenant,
            _ => return Ok(None),
        };
        Ok(Some(field))
    }

    /// Keeps the text of a field, which ends at `end`. Of a repeated field of a meeting, the first counts.
    fn put(&mut self, field: Field, text: Cow<'a, str>, end: usize) -> Result<(), ReplyError> {
        let slot = match field {
            Field::Returncode => Some(&mut self.code),
            Field::Key => Some(&mut self.key),
            Field::Message => Some(&mut self.message),
            _ => None,
        };
        if let Some(slot) = slot {
            return match slot.replace(text) {
                None => Ok(()),
                Some(_) => Err(ReplyError::Malformed { offset: end, what: "a repeated element" }),
            };
        }
        let bit = 1 << field as u16;
        let Some(entry) = self.entries.last_mut().filter(|_| self.seen & bit == 0) else { return Ok(()) };
        self.seen |= bit;
        match field {
            Field::Id => entry.id = text,
            Field::Participants => entry.participants = text.trim().parse().unwrap_or_default(),
            Field::Moderators => entry.moderators = text.trim().parse().unwrap_or_default(),
            Field::Videos => entry.videos = text.trim().parse().unwrap_or_default(),
            Field::Created => entry.created_ms = text.trim().parse().ok(),
            Field::Breakout => entry.breakout = text.trim() == "true",
            Field::Running => entry.running = text.trim() == "true",
            Field::ForciblyEnded => entry.forcibly_ended = text.trim() == "true",
            Field::ModeratorPw => entry.moderator_pw = text,
            Field::VoiceBridge => entry.voice_bridge = text,
            Field::Tenant => entry.tenant = Some(text),
            Field::Returncode | Field::Key | Field::Message => {}
        }
        Ok(())
    }

    fn close_entry(&mut self, scanner: &Scanner<'a>, end: usize) {
        if let Some(start) = self.meeting.take()
            && let Some(entry) = self.entries.last_mut()
        {
            entry.raw = scanner.slice(start, end);
        }
    }

    fn finish(self) -> Result<Vec<MeetingEntry<'a>>, ReplyError> {
        if self.code.ok_or(ReplyError::NoReturncode)?.trim() == "SUCCESS" {
            return Ok(self.entries);
        }
        let own = |text: Cow<'a, str>| (!text.trim().is_empty()).then(|| text.into_owned());
        Err(ReplyError::Refused { key: self.key.and_then(own), message: self.message.and_then(own) })
    }
}
