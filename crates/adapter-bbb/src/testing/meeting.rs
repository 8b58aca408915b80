//! The meetings a fake keeps, and their XML.
use std::fmt::Write as _;
use std::time::Duration;

use super::sign::sha1_hex;

/// A meeting to put on a fake without a `create`: see [`super::FakeBbb::put_meeting`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct MeetingSpec {
    /// The meeting id as front-ends know it.
    pub id: String,
    /// People in it, moderators included.
    pub participants: u32,
    /// Moderators among them.
    pub moderators: u32,
    /// Cameras switched on.
    pub videos: u32,
    /// How long ago it was created.
    pub age: Duration,
    /// Whether it is a breakout room.
    pub breakout: bool,
    /// Parameters of the create that never was, such as `name`, `moderatorPW` or `meta_x`.
    pub params: Vec<(String, String)>,
}

impl MeetingSpec {
    /// An empty meeting, created now.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    /// Sets participants (moderators included), moderators and cameras.
    #[must_use]
    pub fn people(mut self, participants: u32, moderators: u32, videos: u32) -> Self {
        (self.participants, self.moderators, self.videos) = (participants, moderators, videos);
        self
    }

    /// Sets how long ago the meeting was created.
    #[must_use]
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Makes it a breakout room.
    #[must_use]
    pub fn breakout(mut self) -> Self {
        self.breakout = true;
        self
    }

    /// Adds a parameter of the create.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.push((name.into(), value.into()));
        self
    }
}

/// One person who joined.
#[derive(Debug, Clone)]
pub(super) struct Attendee {
    pub(super) user: String,
    pub(super) name: String,
    pub(super) moderator: bool,
}

/// A meeting on a fake.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FakeMeeting {
    /// The meeting id as front-ends know it.
    pub id: String,
    /// Text of the parameter `name`.
    pub name: String,
    /// The server's own id: differs between two meetings with the same id.
    pub internal_id: String,
    /// Milliseconds since 1970.
    pub create_time: u64,
    /// Password of attendees.
    pub attendee_pw: String,
    /// Password of moderators.
    pub moderator_pw: String,
    /// Dial-in number.
    pub voice_bridge: String,
    /// People in it, moderators included.
    pub participants: u32,
    /// Moderators among them.
    pub moderators: u32,
    /// Cameras switched on.
    pub videos: u32,
    /// Whether it is a breakout room.
    pub breakout: bool,
    /// Parameters of the create in their order, without the checksum; of a repeated name only the first.
    pub params: Vec<(String, String)>,
    /// Body of the create.
    pub body: Vec<u8>,
    /// Bodies of the documents inserted later.
    pub documents: Vec<Vec<u8>>,
    /// Chat messages from outside: who is said to have written them, and what.
    pub chat: Vec<(String, String)>,
    pub(super) joined: Vec<Attendee>,
    pub(super) xml: Option<String>,
}

impl FakeMeeting {
    pub(super) fn new(
        id: &str,
        params: Vec<(String, String)>,
        body: Vec<u8>,
        created: u64,
        chance: &mut Chance,
    ) -> Self {
        let find = |name: &str| params.iter().find(|(have, _)| have == name).map(|(_, value)| value.clone());
        let filled = |name: &str| find(name).filter(|value| !value.is_empty());
        Self {
            id: id.to_owned(),
            name: find("name").unwrap_or_default(),
            internal_id: format!("{}-{created}", sha1_hex(id)),
            create_time: created,
            attendee_pw: filled("attendeePW").unwrap_or_else(|| chance.word(8)),
            moderator_pw: filled("moderatorPW").unwrap_or_else(|| chance.word(8)),
            voice_bridge: filled("voiceBridge").unwrap_or_else(|| (10_000 + chance.next() % 89_999).to_string()),
            participants: 0,
            moderators: 0,
            videos: 0,
            breakout: find("isBreakout").is_some_and(|is| is == "true"),
            params,
            body,
            documents: Vec::new(),
            chat: Vec::new(),
            joined: Vec::new(),
            xml: None,
        }
    }

    /// Whether somebody is in it.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.participants > 0
    }

    /// First value of a parameter of the create.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The children of a `meeting` element; kept until something changes.
    pub(super) fn xml(&mut self) -> &str {
        if self.xml.is_none() {
            self.xml = Some(self.render());
        }
        self.xml.as_deref().unwrap_or_default()
    }

    fn render(&self) -> String {
        let mut out = String::with_capacity(1_200);
        element(&mut out, "meetingName", &self.name);
        element(&mut out, "meetingID", &self.id);
        element(&mut out, "internalMeetingID", &self.internal_id);
        number(&mut out, "createTime", self.create_time);
        element(&mut out, "createDate", &self.date());
        element(&mut out, "voiceBridge", &self.voice_bridge);
        element(&mut out, "dialNumber", "613-555-1234");
        element(&mut out, "attendeePW", &self.attendee_pw);
        element(&mut out, "moderatorPW", &self.moderator_pw);
        element(&mut out, "running", truth(self.is_running()));
        element(&mut out, "duration", self.duration());
        element(&mut out, "hasUserJoined", truth(self.is_running() || !self.joined.is_empty()));
        element(&mut out, "recording", "false");
        element(&mut out, "hasBeenForciblyEnded", "false");
        number(&mut out, "startTime", self.create_time);
        number(&mut out, "endTime", 0);
        number(&mut out, "participantCount", u64::from(self.participants));
        number(&mut out, "listenerCount", 0);
        number(&mut out, "voiceParticipantCount", 0);
        number(&mut out, "videoCount", u64::from(self.videos));
        number(&mut out, "maxUsers", 0);
        number(&mut out, "moderatorCount", u64::from(self.moderators));
        out.push_str("<attendees>");
        for person in &self.joined {
            out.push_str("<attendee>");
            element(&mut out, "userID", &person.user);
            element(&mut out, "fullName", &person.name);
            element(&mut out, "role", if person.moderator { "MODERATOR" } else { "VIEWER" });
            out.push_str("</attendee>");
        }
        out.push_str("</attendees><metadata>");
        for (name, value) in &self.params {
            if let Some(key) = name.strip_prefix("meta_").filter(|key| is_name(key)) {
                element(&mut out, &key.to_lowercase(), value);
            }
        }
        out.push_str("</metadata>");
        element(&mut out, "isBreakout", truth(self.breakout));
        out
    }

    pub(super) fn date(&self) -> String {
        date(self.create_time)
    }

    pub(super) fn duration(&self) -> &str {
        self.param("duration").filter(|value| !value.is_empty()).unwrap_or("0")
    }
}

/// Whether a metadata key can be the name of an element.
fn is_name(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

pub(super) fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

pub(super) fn element(out: &mut String, name: &str, text: &str) {
    out.push('<');
    out.push_str(name);
    out.push('>');
    escape(out, text);
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

pub(super) fn number(out: &mut String, name: &str, value: u64) {
    // Writing to a String does not fail.
    let _ = write!(out, "<{name}>{value}</{name}>");
}

fn escape(out: &mut String, text: &str) {
    if !text.bytes().any(|byte| matches!(byte, b'&' | b'<' | b'>' | 0..=31)) {
        out.push_str(text);
        return;
    }
    for each in text.chars() {
        match each {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' | '\n' => out.push(each),
            '\r' => out.push_str("&#13;"),
            '\0'..='\u{1f}' => out.push('\u{fffd}'),
            _ => out.push(each),
        }
    }
}

/// The date form of the servers, in UTC: `Sat Nov 21 06:52:53 UTC 2026`.
fn date(millis: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = millis / 1_000;
    let days = seconds / 86_400;
    let (mut year, mut rest) = (1970, days);
    // At most 400 years are counted one by one; a wilder clock shows the last of them.
    while year < 2370 {
        let length = 365 + u64::from(is_leap(year));
        if rest < length {
            break;
        }
        rest -= length;
        year += 1;
    }
    let mut month = 0;
    for (index, length) in
        [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].iter().enumerate()
    {
        month = index;
        if rest < *length {
            break;
        }
        rest -= length;
    }
    let weekday = DAYS[usize::try_from(days % 7).unwrap_or_default()];
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{weekday} {} {:02} {hour:02}:{minute:02}:{second:02} UTC {year}", MONTHS[month], rest + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// A small generator for tokens, passwords and numbers of a fake.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn word(&mut self, length: usize) -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        (0..length).map(|_| char::from(LETTERS[usize::try_from(self.next() % 32).unwrap_or_default()])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_like_those_of_a_server() {
        assert_eq!(date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(date(1_795_243_973_000), "Sat Nov 21 06:52:53 UTC 2026");
        assert_eq!(date(1_709_164_800_000), "Thu Feb 29 00:00:00 UTC 2024");
        assert!(date(u64::MAX).ends_with("2370"));
    }

    #[test]
    fn text_is_escaped_and_metadata_names_are_elements() {
        let spec = [("name".to_owned(), "<b>&\u{1}".to_owned()), ("meta_A-b".to_owned(), "1>0".to_owned())];
        let params = spec.into_iter().chain([("meta_1 x".to_owned(), "no".to_owned())]).collect();
        let mut meeting = FakeMeeting::new("m", params, Vec::new(), 0, &mut Chance::new(1));
        let xml = meeting.xml();
        assert!(xml.contains("<meetingName>&lt;b&gt;&amp;\u{fffd}</meetingName>"), "{xml}");
        assert!(xml.contains("<metadata><a-b>1&gt;0</a-b></metadata>"), "{xml}");
    }
}
