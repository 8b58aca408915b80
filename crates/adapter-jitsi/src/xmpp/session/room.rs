//! The room as one connection sees it.

use std::time::Instant;

use bytes::Bytes;

use super::{Session, Signal, Step, error_condition};
use crate::xmpp::error::XmppError;
use crate::xmpp::jid::OccupantJid;
use crate::xmpp::leave::{LeaveReason, has_status};
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, escape};

impl Session {
    /// Asks to enter the room by the nick whose turn it is.
    pub(super) fn join(&mut self, now: Instant) {
        let nick = match self.nick {
            0 => self.options.nick.clone(),
            number => format!("{}-{}", self.options.nick, number + 1),
        };
        match OccupantJid::new(&self.options.room, &nick) {
            Ok(me) => {
                let to = escape(me.as_str()).into_owned();
                let payload = &self.payload;
                self.send(format!("<presence to='{to}' id='join'><x xmlns='{}'/>{payload}</presence>", ns::MUC));
                self.me = Some(me);
                self.advance(Step::Join, now);
            }
            Err(_) => self.refused("jid-malformed".to_owned()),
        }
    }

    fn refused(&mut self, condition: String) {
        self.end(XmppError::Join { room: self.options.room.to_string(), condition });
    }

    pub(super) fn presence(&mut self, presence: &Element, bytes: Bytes, now: Instant) {
        let Some(me) = self.me.clone() else { return };
        let from = presence.attribute("from").unwrap_or_default();
        if presence.attribute("type") == Some("error") {
            self.error(presence, from, &me, now);
            return;
        }
        let Ok(occupant) = OccupantJid::parse(from) else { return };
        if occupant.room() != me.room() {
            return;
        }
        let mine = has_status(presence, "110") || (occupant == me && matches!(self.step, Step::Joined | Step::Leaving));
        match presence.attribute("type") {
            None if mine => {
                self.me = Some(occupant.clone());
                if matches!(self.step, Step::Join) {
                    self.advance(Step::Joined, now);
                    self.pinged = false;
                    self.signal(Signal::Joined { me: occupant, created: has_status(presence, "201") });
                }
            }
            None => {
                let stats = presence.child("stats", ns::COLIBRI).is_some();
                self.signal(Signal::Seen { occupant, stats, stanza: bytes });
            }
            Some("unavailable") if mine => self.removed(presence, &me),
            Some("unavailable") => {
                self.signal(Signal::Left { occupant, reason: LeaveReason::of(presence) });
            }
            Some(_) => {}
        }
    }

    /// Our own presence became unavailable.
    fn removed(&mut self, presence: &Element, me: &OccupantJid) {
        match (&self.step, LeaveReason::of(presence)) {
            (Step::Leaving, _) => self.goodbye(),
            (_, LeaveReason::Renamed { to: Some(nick) }) => match OccupantJid::new(&self.options.room, &nick) {
                Ok(me) => self.me = Some(me),
                Err(_) => self.unexpected("a nick that is none"),
            },
            (_, reason) => {
                self.end(XmppError::Removed { room: me.room().to_owned(), reason });
            }
        }
    }

    /// A presence of ours was refused.
    fn error(&mut self, presence: &Element, from: &str, me: &OccupantJid, now: Instant) {
        let room = from.split_once('/').map_or(from, |(room, _)| room);
        if room.to_lowercase() != me.room() {
            return;
        }
        let condition = error_condition(presence);
        if matches!(self.step, Step::Join) && condition == "conflict" && self.nick + 1 < self.options.nicks {
            self.nick += 1;
            self.join(now);
        } else if matches!(self.step, Step::Join | Step::Joined) {
            self.refused(condition);
        }
    }
}
