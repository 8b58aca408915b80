//! What each call does and answers.
use std::borrow::Cow;

use super::meeting::{Attendee, FakeMeeting, element, number, truth};
use super::mode::Mode;
use super::state::FakeState;

/// Meetings one fake keeps at most.
const MEETING_LIMIT: usize = 1_000_000;
const OPEN: &str = "<response><returncode>SUCCESS</returncode>";
const CLOSE: &str = "</response>";
pub(super) const NOT_FOUND: &str = "We could not find a meeting with that meeting ID";

/// Decoded parameters: those of the query, then those of a form body.
pub(super) type Params<'a> = [(Cow<'a, str>, Cow<'a, str>)];

/// An answer before it is put into HTTP.
#[derive(Debug)]
pub(super) enum Answer {
    Document(String),
    Json(String),
    Redirect(String),
}

/// One call that came with a right checksum.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) name: &'a str,
    pub(super) is_post: bool,
    pub(super) params: &'a Params<'a>,
    /// The body, unless it was a form.
    pub(super) body: &'a [u8],
    pub(super) port: u16,
}

impl Call<'_> {
    /// First value of a parameter.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        first(self.params, name)
    }

    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.param(name).filter(|value| !value.trim().is_empty())
    }

    /// Does the call.
    pub(super) fn run(&self, state: &mut FakeState) -> Answer {
        let document = match self.name {
            "" => index(),
            "getMeetings" => meetings(state),
            "getRecordings" => success(|out| {
                out.push_str("<recordings/>");
                element(out, "messageKey", "noRecordings");
                element(out, "message", "There are no recordings for the meeting(s).");
            }),
            "hooks/create" | "hooks/list" | "hooks/destroy" => self.hooks(state),
            "getJoinUrl" | "feedback" => return self.session(state),
            "create" | "join" | "isMeetingRunning" | "getMeetingInfo" | "end" | "insertDocument"
            | "sendChatMessage" => match self.filled("meetingID") {
                None => failed("missingParamMeetingID", "You must specify a meeting ID for the meeting."),
                Some(id) => return self.of_meeting(id, state),
            },
            _ => failed("unsupportedRequest", "This request is not supported."),
        };
        Answer::Document(document)
    }

    fn of_meeting(&self, id: &str, state: &mut FakeState) -> Answer {
        Answer::Document(match self.name {
            "create" => self.create(id, state),
            "join" => return self.join(id, state),
            "isMeetingRunning" => {
                let running = state.meetings.get(id).is_some_and(FakeMeeting::is_running);
                success(|out| element(out, "running", truth(running)))
            }
            "getMeetingInfo" => match state.meetings.get_mut(id) {
                None => failed("notFound", NOT_FOUND),
                Some(meeting) => success(|out| out.push_str(meeting.xml())),
            },
            "insertDocument" => match state.meetings.get_mut(id) {
                None => failed("notFound", NOT_FOUND),
                Some(_) if !self.is_post || self.body.is_empty() => failed("invalidRequest", "no document"),
                Some(meeting) => {
                    meeting.documents.push(self.body.to_vec());
                    success(|out| {
                        element(out, "messageKey", "");
                        element(out, "message", "Presentation is being uploaded");
                    })
                }
            },
            "sendChatMessage" => self.chat(id, state),
            _ => end(id, state),
        })
    }

    fn create(&self, id: &str, state: &mut FakeState) -> String {
        let (key, message) = match state.meetings.get(id) {
            Some(meeting) => {
                let differs = |name: &str, have: &str| self.filled(name).is_some_and(|given| given != have);
                if differs("attendeePW", &meeting.attendee_pw) || differs("moderatorPW", &meeting.moderator_pw) {
                    let text = "A meeting already exists with that meeting ID.  Please use a different meeting ID.";
                    return failed("idNotUnique", text);
                }
                let text = "This conference was already in existence and may currently be in progress.";
                ("duplicateWarning", text)
            }
            None if *state.rules.mode("create") == Mode::Full || state.meetings.len() >= MEETING_LIMIT => {
                return failed("tooManyMeetings", "This server takes no more meetings.");
            }
            None if self.is_lost_breakout(state) => {
                return failed("noParentMeeting", "The meeting of this breakout room does not run here.");
            }
            None => {
                let now = state.clock.now_ms();
                let meeting = FakeMeeting::new(id, self.kept(), self.body.to_vec(), now, &mut state.chance);
                state.meetings.insert(id.to_owned(), meeting);
                state.created += 1;
                ("", "")
            }
        };
        let Some(meeting) = state.meetings.get(id) else { return failed("internalError", "no meeting") };
        success(|out| {
            element(out, "meetingID", id);
            element(out, "internalMeetingID", &meeting.internal_id);
            element(out, "parentMeetingID", "bbb-none");
            element(out, "attendeePW", &meeting.attendee_pw);
            element(out, "moderatorPW", &meeting.moderator_pw);
            number(out, "createTime", meeting.create_time);
            element(out, "voiceBridge", &meeting.voice_bridge);
            element(out, "dialNumber", "613-555-1234");
            element(out, "createDate", &meeting.date());
            element(out, "hasUserJoined", truth(meeting.is_running()));
            element(out, "duration", meeting.duration());
            element(out, "hasBeenForciblyEnded", "false");
            element(out, "messageKey", key);
            element(out, "message", message);
        })
    }

    /// A breakout room lives where its parent does, or not at all.
    fn is_lost_breakout(&self, state: &FakeState) -> bool {
        self.param("isBreakout") == Some("true")
            && !self.filled("parentMeetingID").is_some_and(|parent| state.meetings.contains_key(parent))
    }

    /// The parameters a meeting remembers: without the checksum, each name once.
    fn kept(&self) -> Vec<(String, String)> {
        let mut kept: Vec<(String, String)> = Vec::with_capacity(self.params.len());
        for (name, value) in self.params {
            if name != "checksum" && !kept.iter().any(|(have, _)| have == name) {
                kept.push((name.to_string(), value.to_string()));
            }
        }
        kept
    }

    fn join(&self, id: &str, state: &mut FakeState) -> Answer {
        let refuse = |key: &str, message: &str| Answer::Document(failed(key, message));
        let Some(meeting) = state.meetings.get_mut(id) else { return refuse("notFound", NOT_FOUND) };
        let Some(name) = self.filled("fullName") else {
            let text = "You must specify a name for the attendee who will be joining the meeting.";
            return refuse("missingParamFullName", text);
        };
        if self.filled("createTime").is_some_and(|given| given.parse() != Ok(meeting.create_time)) {
            let text = "The createTime parameter submitted mismatches with the current meeting.";
            return refuse("mismatchCreateTimeParam", text);
        }
        let moderator = match (self.filled("role"), self.filled("password")) {
            (Some(role), _) => role.eq_ignore_ascii_case("moderator"),
            (None, password) => password == Some(meeting.moderator_pw.as_str()),
        };
        meeting.participants = meeting.participants.saturating_add(1);
        meeting.moderators = meeting.moderators.saturating_add(u32::from(moderator));
        // The list is for looking at; the counts go on without it.
        if meeting.joined.len() < 1_000 {
            let user = format!("w_{}", state.chance.word(12));
            meeting.joined.push(Attendee { user, name: name.to_owned(), moderator });
        }
        meeting.xml = None;
        let token = state.chance.word(16);
        if state.sessions.len() < 10_000 {
            state.sessions.insert(token.clone(), id.to_owned());
        }
        let url = format!("http://127.0.0.1:{}/html5client/?sessionToken={token}", self.port);
        if self.param("redirect") != Some("false") {
            return Answer::Redirect(url);
        }
        Answer::Document(success(|out| {
            element(out, "messageKey", "successfullyJoined");
            element(out, "message", "You have joined successfully.");
            element(out, "meeting_id", &meeting.internal_id);
            element(out, "session_token", &token);
            element(out, "url", &url);
        }))
    }
}

/// First value of a parameter.
pub(super) fn first<'a>(params: &'a Params<'_>, name: &str) -> Option<&'a str> {
    params.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_ref())
}

fn index() -> String {
    success(|out| {
        element(out, "version", "2.0");
        element(out, "apiVersion", "2.0");
        element(out, "bbbVersion", "3.0.4");
        out.push_str("<graphqlWebsocketUrl/><graphqlApiUrl/>");
    })
}

fn meetings(state: &mut FakeState) -> String {
    if state.meetings.is_empty() {
        return success(|out| {
            out.push_str("<meetings/>");
            element(out, "messageKey", "noMeetings");
            element(out, "message", "no meetings were found on this server");
        });
    }
    let mut out = String::with_capacity(state.meetings.len() * 1_300);
    out.push_str(OPEN);
    out.push_str("<meetings>");
    for meeting in state.meetings.values_mut() {
        out.push_str("<meeting>");
        out.push_str(meeting.xml());
        out.push_str("</meeting>");
    }
    out.push_str("</meetings>");
    out.push_str(CLOSE);
    out
}

fn end(id: &str, state: &mut FakeState) -> String {
    if state.meetings.remove(id).is_none() {
        let text = format!("{NOT_FOUND} - perhaps the meeting is not yet running?");
        return failed("notFound", &text);
    }
    state.ended.push(id.to_owned());
    success(|out| {
        element(out, "messageKey", "sentEndMeetingRequest");
        let text = "A request to end the meeting was sent.  Please wait a few seconds, and then use the getMeetingInfo or \
                    isMeetingRunning API calls to verify that it was ended.";
        element(out, "message", text);
    })
}

pub(super) fn success(fill: impl FnOnce(&mut String)) -> String {
    let mut out = String::with_capacity(1_024);
    out.push_str(OPEN);
    fill(&mut out);
    out.push_str(CLOSE);
    out
}

/// A failure document.
pub(super) fn failed(key: &str, message: &str) -> String {
    let mut out = String::from("<response><returncode>FAILED</returncode>");
    element(&mut out, "messageKey", key);
    element(&mut out, "message", message);
    out.push_str(CLOSE);
    out
}

/// Puts padding into a document.
pub(super) fn padded(mut document: String, size: usize) -> String {
    if document.ends_with(CLOSE) {
        document.truncate(document.len() - CLOSE.len());
        document.push_str("<pad>");
        document.extend(std::iter::repeat_n('x', size.min(1 << 30)));
        document.push_str("</pad>");
        document.push_str(CLOSE);
    }
    document
}
