//! One connection: from the head of the stream to presences in a room. No sockets, no clock, no await.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use super::backoff::later;
use super::error::XmppError;
use super::jid::OccupantJid;
use super::leave::LeaveReason;
use super::login::LoginOptions;
use super::ns;
use super::sasl::Sasl;
use super::stanza::{Element, Scope, StanzaError, escape};
use super::stream::{StreamItem, StreamReader};

mod iq;
mod login;
mod room;

use iq::error_condition;

/// What carries the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A connection that never leaves this machine; nothing is encrypted.
    Loopback,
    /// Anything else: STARTTLS before anything secret is said.
    StartTls,
}

/// What a session wants done, in this order.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Send this.
    Send(Bytes),
    /// Do the TLS handshake now, then call [`Session::secured`].
    StartTls,
    /// Something happened in the room.
    Signal(Signal),
    /// The session is over: close the connection.
    End(XmppError),
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A login may stand in it.
            Self::Send(bytes) => write!(f, "Send({} bytes)", bytes.len()),
            Self::StartTls => f.write_str("StartTls"),
            Self::Signal(signal) => f.debug_tuple("Signal").field(signal).finish(),
            Self::End(error) => f.debug_tuple("End").field(error).finish(),
        }
    }
}

/// What happened in the room, on this connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// We are in the room; everybody who was there before has been named.
    Joined {
        /// Who we are there.
        me: OccupantJid,
        /// The room was empty and came into being with us.
        created: bool,
    },
    /// A presence of somebody else.
    Seen {
        /// Whose.
        occupant: OccupantJid,
        /// Whether it carries a bridge's statistics.
        stats: bool,
        /// The stanza as it came; its default namespace is `jabber:client`.
        stanza: Bytes,
    },
    /// Somebody else left.
    Left {
        /// Who.
        occupant: OccupantJid,
        /// How.
        reason: LeaveReason,
    },
    /// A stanza was above a limit and is not read.
    Cut {
        /// Whose it was, when its first tag says so.
        occupant: Option<OccupantJid>,
        /// Its length in bytes.
        bytes: u64,
    },
}

#[derive(Debug)]
enum Step {
    /// Head and features are due; whether we are logged in.
    Features(bool),
    /// The answer to STARTTLS is due.
    Proceed,
    /// The TLS handshake is under way.
    Handshake,
    Login(Sasl),
    Bind,
    Join,
    Joined,
    Leaving,
    Ended,
}

impl Step {
    const fn name(&self) -> &'static str {
        match self {
            Self::Features(_) => "opening the stream",
            Self::Proceed | Self::Handshake => "starting tls",
            Self::Login(_) => "logging in",
            Self::Bind => "binding a resource",
            Self::Join => "joining the room",
            Self::Joined => "being in the room",
            Self::Leaving | Self::Ended => "leaving the room",
        }
    }
}

/// One connection as a state machine: bytes and time in, [`Action`]s out. No bytes make it panic.
#[derive(Debug)]
pub struct Session {
    options: LoginOptions,
    channel: Channel,
    nonce: [u8; 18],
    reader: StreamReader,
    scope: Scope,
    step: Step,
    /// The current step must be done by then; in the room, the ping must be answered by then.
    until: Instant,
    /// When something was received last.
    heard: Instant,
    pinged: bool,
    number: u64,
    /// Which of the nicks we try.
    nick: usize,
    me: Option<OccupantJid>,
    payload: String,
    health: Option<bool>,
    actions: VecDeque<Action>,
}

impl Session {
    /// Begins: the head of the stream is the first action. The nonce must be unpredictable.
    pub fn new(options: LoginOptions, channel: Channel, nonce: [u8; 18], payload: &str, now: Instant) -> Self {
        let until = later(now, options.step_timeout);
        let mut session = Self {
            reader: StreamReader::new(options.limits),
            options,
            channel,
            nonce,
            scope: Scope::default(),
            step: Step::Features(false),
            until,
            heard: now,
            pinged: false,
            number: 0,
            nick: 0,
            me: None,
            payload: payload.to_owned(),
            health: None,
            actions: VecDeque::new(),
        };
        session.open();
        session
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether we are in the room.
    pub fn is_joined(&self) -> bool {
        matches!(self.step, Step::Joined)
    }

    /// When [`tick`](Self::tick) is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.step {
            Step::Ended => None,
            Step::Joined if !self.pinged => Some(later(self.heard, self.options.ping_after)),
            _ => Some(self.until),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.step {
            Step::Joined if !self.pinged => self.ping(now),
            Step::Joined => self.end(XmppError::Timeout { step: "waiting for the answer to a ping" }),
            Step::Leaving => self.goodbye(),
            _ => self.end(XmppError::Timeout { step: self.step.name() }),
        }
    }

    /// These bytes were received, in clear or through TLS.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        if matches!(self.step, Step::Ended) {
            return;
        }
        self.heard = now;
        self.reader.push(bytes);
        loop {
            if matches!(self.step, Step::Ended) {
                return;
            }
            if matches!(self.step, Step::Handshake) {
                // Whoever adds something in clear behind the answer wants it to count as encrypted.
                if !self.reader.is_between() {
                    self.unexpected("bytes in clear behind the answer to starttls");
                }
                return;
            }
            match self.reader.take() {
                Ok(None) => return,
                Ok(Some(item)) => self.item(item, now),
                Err(error) => self.end(error.into()),
            }
        }
    }

    /// The connection was closed by the other side, or broke.
    pub fn closed(&mut self, why: &str) {
        self.end(XmppError::Lost { why: why.to_owned() });
    }

    /// The TLS handshake is done: from now on all bytes go through it.
    pub fn secured(&mut self, now: Instant) {
        if matches!(self.step, Step::Handshake) {
            self.advance(Step::Features(false), now);
            self.channel = Channel::Loopback;
            self.reader = StreamReader::new(self.options.limits);
            self.open();
        }
    }

    /// Replaces what our presence carries, XML elements ready to be sent, and publishes it when we are in the room.
    pub fn publish(&mut self, payload: &str) {
        self.payload.clear();
        self.payload.push_str(payload);
        if matches!(self.step, Step::Joined)
            && let Some(me) = &self.me
        {
            self.number += 1;
            let stanza = format!("<presence to='{}' id='p{}'>{payload}</presence>", escape(me.as_str()), self.number);
            self.send(stanza);
        }
    }

    /// How we answer Jitsi's health checks: passed, failed, or not at all (the default).
    pub fn set_health(&mut self, health: Option<bool>) {
        self.health = health;
    }

    /// Leaves the room and closes the stream.
    pub fn leave(&mut self, now: Instant) {
        match (&self.step, &self.me) {
            (Step::Joined, Some(me)) => {
                let stanza = format!("<presence to='{}' type='unavailable'/>", escape(me.as_str()));
                self.send(stanza);
                self.advance(Step::Leaving, now);
                self.until = later(now, self.options.leave_timeout);
            }
            (Step::Leaving | Step::Ended, _) => {}
            _ => self.goodbye(),
        }
    }

    fn goodbye(&mut self) {
        self.send("</stream:stream>".to_owned());
        self.end(XmppError::Left);
    }

    fn open(&mut self) {
        self.send(format!(
            "<?xml version='1.0'?><stream:stream to='{}' version='1.0' xml:lang='en' xmlns='{}' xmlns:stream='{}'>",
            escape(self.options.account.domain()),
            ns::CLIENT,
            ns::STREAM
        ));
    }

    fn send(&mut self, text: String) {
        self.actions.push_back(Action::Send(text.into()));
    }

    fn signal(&mut self, signal: Signal) {
        self.actions.push_back(Action::Signal(signal));
    }

    fn end(&mut self, error: XmppError) {
        if !matches!(self.step, Step::Ended) {
            self.step = Step::Ended;
            self.actions.push_back(Action::End(error));
        }
    }

    fn unexpected(&mut self, what: &str) {
        let what = what.chars().take(100).collect();
        self.end(XmppError::Unexpected { step: self.step.name(), what });
    }

    fn advance(&mut self, step: Step, now: Instant) {
        self.step = step;
        self.until = later(now, self.options.step_timeout);
    }

    fn item(&mut self, item: StreamItem, now: Instant) {
        match item {
            StreamItem::Head(head) => match Element::parse_head(&head) {
                Ok((head, scope)) if head.is("stream", ns::STREAM) => self.scope = scope,
                Ok(_) => self.unexpected("not the head of a stream"),
                Err(error) => self.end(error.into()),
            },
            StreamItem::Stanza(bytes) => match Element::parse(&bytes, &self.scope) {
                Ok(stanza) => self.stanza(&stanza, bytes, now),
                Err(StanzaError::TooMuch { .. }) if self.in_room() => {
                    let end = bytes.iter().position(|&byte| byte == b'>').map_or(0, |at| at + 1);
                    self.cut(bytes.get(..end).unwrap_or_default(), bytes.len() as u64);
                }
                Err(error) => self.end(error.into()),
            },
            StreamItem::Skipped { tag, bytes } if self.in_room() => self.cut(&tag, bytes),
            StreamItem::Skipped { bytes, .. } => self.unexpected(&format!("a stanza of {bytes} bytes")),
            StreamItem::Close => {
                self.send("</stream:stream>".to_owned());
                let left = matches!(self.step, Step::Leaving);
                self.end(if left { XmppError::Left } else { XmppError::Closed { condition: "closed".to_owned() } });
            }
        }
    }

    fn in_room(&self) -> bool {
        matches!(self.step, Step::Join | Step::Joined | Step::Leaving)
    }

    fn cut(&mut self, tag: &[u8], bytes: u64) {
        let empty = [tag.strip_suffix(b">").unwrap_or(tag), b"/>"].concat();
        let element = Element::parse(&empty, &self.scope).ok();
        let from = element.as_ref().and_then(|element| element.attribute("from"));
        let occupant = from.and_then(|from| OccupantJid::parse(from).ok());
        self.signal(Signal::Cut { occupant, bytes });
    }

    fn stanza(&mut self, stanza: &Element, bytes: Bytes, now: Instant) {
        if stanza.is("error", ns::STREAM) {
            self.end(XmppError::Closed { condition: condition(stanza, ns::STREAM_ERRORS) });
            return;
        }
        match &mut self.step {
            Step::Features(logged_in) => {
                let logged_in = *logged_in;
                if !stanza.is("features", ns::STREAM) {
                    self.unexpected(stanza.name());
                } else if logged_in {
                    self.bind(stanza, now);
                } else if self.channel == Channel::StartTls {
                    self.start_tls(stanza, now);
                } else {
                    self.log_in(stanza, now);
                }
            }
            Step::Proceed if stanza.is("proceed", ns::TLS) => {
                self.advance(Step::Handshake, now);
                self.actions.push_back(Action::StartTls);
            }
            Step::Proceed if stanza.is("failure", ns::TLS) => self.end(XmppError::NoTls),
            Step::Login(sasl) if stanza.is("challenge", ns::SASL) => match sasl.challenge(stanza.text()) {
                Ok(answer) => self.send(format!("<response xmlns='{}'>{answer}</response>", ns::SASL)),
                Err(error) => self.end(error.into()),
            },
            Step::Login(sasl) if stanza.is("success", ns::SASL) => match sasl.success(stanza.text()) {
                Ok(()) => {
                    self.advance(Step::Features(true), now);
                    self.reader.restart();
                    self.open();
                }
                Err(error) => self.end(error.into()),
            },
            Step::Login(_) if stanza.is("failure", ns::SASL) => {
                let condition = condition(stanza, ns::SASL);
                self.end(super::sasl::SaslError::Refused { condition }.into());
            }
            Step::Bind if stanza.is("iq", ns::CLIENT) && stanza.attribute("id") == Some("bind") => {
                if stanza.attribute("type") == Some("result") {
                    self.join(now);
                } else {
                    self.end(XmppError::Bind { condition: error_condition(stanza) });
                }
            }
            Step::Bind | Step::Join | Step::Joined | Step::Leaving if stanza.namespace() == ns::CLIENT => {
                match stanza.name() {
                    "iq" => self.iq(stanza),
                    "presence" => self.presence(stanza, bytes, now),
                    // The subject of the room, and whatever somebody says in it.
                    _ => {}
                }
            }
            Step::Ended => {}
            _ => self.unexpected(stanza.name()),
        }
    }
}

/// The name of the first element of this namespace, with the text beside it.
fn condition(of: &Element, namespace: &str) -> String {
    let mut parts = of.children().iter().filter(|child| child.namespace() == namespace);
    let text = parts.clone().find(|child| child.name() == "text").map(Element::text).filter(|text| !text.is_empty());
    let name = parts.find(|child| child.name() != "text").map_or("undefined-condition", Element::name);
    let whole = match text {
        Some(text) => format!("{name} ({text})"),
        None => name.to_owned(),
    };
    whole.chars().filter(|char| !char.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests;
