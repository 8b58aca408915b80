//! Questions to us and answers to ours.

use std::time::Instant;

use super::Session;
use crate::xmpp::backoff::later;
use crate::xmpp::error::XmppError;
use crate::xmpp::leave::LeaveReason;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, escape};

impl Session {
    pub(super) fn ping(&mut self, now: Instant) {
        let Some(me) = self.me.clone() else { return };
        self.pinged = true;
        self.until = later(now, self.options.ping_timeout);
        self.number += 1;
        // A ping to ourselves through the room tells whether the room still knows us.
        self.send(format!(
            "<iq type='get' id='ping{}' to='{}'><ping xmlns='{}'/></iq>",
            self.number,
            escape(me.as_str()),
            ns::PING
        ));
    }

    pub(super) fn iq(&mut self, iq: &Element) {
        let id = iq.attribute("id").unwrap_or_default();
        match iq.attribute("type") {
            Some("get" | "set") => self.answer(iq, id),
            Some("result" | "error") if self.pinged && id == format!("ping{}", self.number) => {
                self.pinged = false;
                if iq.attribute("type") == Some("error") && error_condition(iq) == "not-acceptable" {
                    self.end(XmppError::Removed { room: self.options.room.to_string(), reason: LeaveReason::Left });
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, iq: &Element, id: &str) {
        let to = match iq.attribute("from") {
            Some(from) => format!(" to='{}'", escape(from)),
            None => String::new(),
        };
        let asked = iq.children().first();
        let is = |name, namespace| asked.is_some_and(|asked| asked.is(name, namespace));
        let failed = match self.health {
            _ if is("ping", ns::PING) => None,
            Some(true) if is("healthcheck", ns::HEALTH) => None,
            Some(false) if is("healthcheck", ns::HEALTH) => Some(("wait", "internal-server-error")),
            _ => Some(("cancel", "service-unavailable")),
        };
        let id = escape(id);
        let answer = match failed {
            None => format!("<iq type='result' id='{id}'{to}/>"),
            Some((kind, condition)) => format!(
                "<iq type='error' id='{id}'{to}><error type='{kind}'><{condition} xmlns='{}'/></error></iq>",
                ns::STANZA_ERRORS
            ),
        };
        self.send(answer);
    }
}

/// The condition of a stanza of type `error`, without its text.
pub(super) fn error_condition(stanza: &Element) -> String {
    let error = stanza.child("error", ns::CLIENT);
    let condition = error.and_then(|error| {
        error.children().iter().find(|child| child.namespace() == ns::STANZA_ERRORS && child.name() != "text")
    });
    condition.map_or("undefined-condition", Element::name).chars().take(80).collect()
}
