//! Calls about hooks, chat and sessions.

use super::calls::{Answer, Call, NOT_FOUND, failed, success};
use super::meeting::{element, truth};
use super::state::FakeState;

/// Hooks and feedbacks one fake keeps at most.
const LIMIT: usize = 10_000;
/// The longest chat message a server takes.
const MAX_MESSAGE: usize = 500;

/// A hook on a fake.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FakeHook {
    /// The fake's own number of it.
    pub id: u64,
    /// Where events would go.
    pub url: String,
    /// The only meeting it hears of.
    pub meeting: Option<String>,
    /// The only events it hears of.
    pub events: Option<String>,
    /// Whether it gets raw events.
    pub raw: bool,
}

impl Call<'_> {
    pub(super) fn hooks(&self, state: &mut FakeState) -> String {
        match self.name {
            "hooks/create" => self.create_hook(state),
            "hooks/destroy" => match self.filled("hookID").map(str::parse::<u64>) {
                None => failed("missingParamHookID", "You must specify a hookID in the parameters."),
                Some(id) => {
                    let before = state.hooks.len();
                    state.hooks.retain(|hook| Ok(hook.id) != id);
                    if state.hooks.len() == before {
                        return failed("destroyMissingHook", "The hook informed was not found.");
                    }
                    success(|out| element(out, "removed", "true"))
                }
            },
            _ => success(|out| {
                let asked = self.param("meetingID");
                out.push_str("<hooks>");
                let hears = |own: &Option<String>| own.is_none() || asked.is_none() || own.as_deref() == asked;
                for hook in state.hooks.iter().filter(|hook| hears(&hook.meeting)) {
                    let number = hook.id.to_string();
                    out.push_str("<hook>");
                    element(out, "hookID", &number);
                    out.push_str(&format!("<callbackURL><![CDATA[{}]]></callbackURL>", hook.url));
                    if let Some(meeting) = &hook.meeting {
                        out.push_str(&format!("<meetingID><![CDATA[{meeting}]]></meetingID>"));
                    }
                    if let Some(events) = &hook.events {
                        element(out, "eventID", events);
                    }
                    element(out, "permanentHook", "false");
                    element(out, "rawData", truth(hook.raw));
                    out.push_str("</hook>");
                }
                out.push_str("</hooks>");
            }),
        }
    }

    fn create_hook(&self, state: &mut FakeState) -> String {
        let Some(url) = self.filled("callbackURL") else {
            return failed("missingParamCallbackURL", "You must specify a callbackURL in the parameters.");
        };
        if let Some(hook) = state.hooks.iter().find(|hook| hook.url == url) {
            let number = hook.id.to_string();
            return success(|out| {
                element(out, "hookID", &number);
                element(out, "messageKey", "duplicateWarning");
                element(out, "message", "There is already a hook for this callback URL.");
            });
        }
        if state.hooks.len() >= LIMIT {
            return failed("createHookError", "An error happened while creating your hook. Check the logs.");
        }
        state.last_hook += 1;
        let own = |name| self.filled(name).map(str::to_owned);
        let hook = FakeHook {
            id: state.last_hook,
            url: url.to_owned(),
            meeting: own("meetingID"),
            events: own("eventID"),
            raw: self.param("getRaw").is_some_and(|raw| raw.eq_ignore_ascii_case("true")),
        };
        let (number, raw) = (hook.id.to_string(), hook.raw);
        state.hooks.push(hook);
        success(|out| {
            element(out, "hookID", &number);
            element(out, "permanentHook", "false");
            element(out, "rawData", truth(raw));
        })
    }

    pub(super) fn chat(&self, id: &str, state: &mut FakeState) -> String {
        let Some(meeting) = state.meetings.get_mut(id) else { return failed("notFound", NOT_FOUND) };
        let Some(message) = self.filled("message").filter(|message| message.chars().count() <= MAX_MESSAGE) else {
            return failed("invalidMessage", "The message must have between 1 and 500 characters.");
        };
        let from = self.filled("userName").unwrap_or("System");
        if meeting.chat.len() < 1_000 {
            meeting.chat.push((from.to_owned(), message.to_owned()));
        }
        success(|_| {})
    }

    /// Sessions are answered in JSON, as the client of a server expects it.
    pub(super) fn session(&self, state: &mut FakeState) -> Answer {
        let token = self.filled("sessionToken").unwrap_or_default();
        let json = |text: &str| Answer::Json(text.to_owned());
        if !state.sessions.contains_key(token) {
            return json(
                r#"{"response":{"returncode":"FAILED","messageKey":"missingSession","message":"Could not find the session"}}"#,
            );
        }
        if self.name == "feedback" {
            if !self.is_post {
                return Answer::Document(failed("unsupportedRequest", "This request is not supported."));
            }
            if state.feedback.len() < LIMIT {
                state.feedback.push(String::from_utf8_lossy(self.body).into_owned());
            }
            return json(r#"{"status":"ok"}"#);
        }
        let fresh = state.chance.word(16);
        let meeting = state.sessions.get(token).cloned().unwrap_or_default();
        if state.sessions.len() < LIMIT {
            state.sessions.insert(fresh.clone(), meeting);
        }
        let url = format!("http://127.0.0.1:{}/html5client/?sessionToken={fresh}", self.port);
        Answer::Json(format!(r#"{{"response":{{"returncode":"SUCCESS","url":"{url}"}}}}"#))
    }
}
