//! One connection, seen from the agent: bytes in, events and bytes out. Knows no socket and no clock.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use thiserror::Error;

use super::asked::Messages;
use super::frame::{
    Action, Frame, FrameCutter, FrameError, Incoming, MAX_ACTIONS, MAX_FRAME, MIN_FRAME, Message, put_frame,
};
use super::hello::{AgentHello, Disconnect, HaproxyHello};
use super::reply::Reply;
use super::status::Status;

/// How many bytes of room for output are kept between answers.
#[cfg(feature = "agents")]
const KEPT: usize = 64 << 10;

/// What an agent offers.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    max_frame_size: u32,
    capabilities: Option<String>,
    open_queries: usize,
}

/// Frames of up to 16,380 bytes, pipelining, 1,024 open queries.
impl Default for AgentOptions {
    fn default() -> Self {
        Self { max_frame_size: 16_380, capabilities: Some("pipelining".to_owned()), open_queries: 1024 }
    }
}

impl AgentOptions {
    /// The largest frame, in bytes, from 256 to [`MAX_FRAME`]; default 16,380. HAProxy's own size applies if it is
    /// smaller.
    #[must_use]
    pub fn with_max_frame_size(mut self, bytes: u32) -> Self {
        self.max_frame_size = bytes.clamp(MIN_FRAME, MAX_FRAME);
        self
    }

    /// Whether HAProxy may ask again before it has an answer; default yes.
    #[must_use]
    pub fn with_pipelining(mut self, pipelining: bool) -> Self {
        self.capabilities = Some(if pipelining { "pipelining" } else { "" }.to_owned());
        self
    }

    /// Says nothing of capabilities, which every HAProxy takes for none.
    #[must_use]
    pub fn without_capabilities(mut self) -> Self {
        self.capabilities = None;
        self
    }

    /// The most queries without an answer, at least 1; default 1,024. One more ends the connection.
    #[must_use]
    pub fn with_open_queries(mut self, most: usize) -> Self {
        self.open_queries = most.max(1);
        self
    }
}

/// Which query an answer is for. Belongs to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    stream: u64,
    frame: u64,
}

impl Ticket {
    /// HAProxy's number of the stream.
    pub fn stream(&self) -> u64 {
        self.stream
    }

    /// HAProxy's number of the question within the stream.
    pub fn frame(&self) -> u64 {
        self.frame
    }
}

/// What happened on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// HAProxy greeted and was greeted.
    Hello(HaproxyHello),
    /// A health check greeted and was greeted; the connection is over once the output is written.
    HealthCheck,
    /// HAProxy asks. [Answer](AgentSession::answer) in any order, soon: it waits some milliseconds only.
    Query {
        /// To answer with.
        ticket: Ticket,
        /// What it tells.
        messages: Vec<Message>,
    },
    /// HAProxy leaves; write the output and close.
    Left(Disconnect),
    /// The connection is of no use any more; HAProxy is told so in the output. Write it and close.
    Refused {
        /// What HAProxy is told.
        status: Status,
        /// What was wrong with its frame, if one was.
        cause: Option<FrameError>,
    },
}

/// What happened on the connection, questions left where they stand.
#[derive(Debug)]
pub(super) enum Next {
    /// HAProxy asks; its messages are [here](AgentSession::messages) until more is pushed.
    Query {
        ticket: Ticket,
        place: Range<usize>,
    },
    Event(Event),
}

/// Mixes the two numbers of a ticket. They are HAProxy's own, and few are open at a time: nobody gains by having them
/// collide.
#[derive(Default)]
struct TicketHasher(u64);

impl Hasher for TicketHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0 ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Greeting,
    Open,
    Over,
}

/// One connection of HAProxy to an agent.
///
/// Give it what was read ([`receive`](Self::receive)), take what happened ([`poll_event`](Self::poll_event)) and what
/// is to be written ([`take_output`](Self::take_output)), and close when it [is over](Self::is_over). Time limits are
/// the caller's: a greeting should come within a second, an idle connection may stay as long as HAProxy keeps it.
#[derive(Debug)]
pub struct AgentSession {
    options: AgentOptions,
    cutter: FrameCutter,
    stage: Stage,
    max_frame_size: u32,
    open: HashSet<Ticket, BuildHasherDefault<TicketHasher>>,
    /// One more that is open: most are answered before the next is looked at.
    newest: Option<Ticket>,
    events: VecDeque<Event>,
    output: Vec<u8>,
}

impl AgentSession {
    /// A connection just accepted.
    pub fn new(options: AgentOptions) -> Self {
        Self {
            max_frame_size: options.max_frame_size,
            // HAProxy's greeting may be as large as its own frames, which are not known yet.
            cutter: FrameCutter::new(MAX_FRAME.min(options.max_frame_size.max(16_384))),
            options,
            stage: Stage::Greeting,
            open: HashSet::default(),
            newest: None,
            events: VecDeque::new(),
            output: Vec::new(),
        }
    }

    /// These bytes were read, any number of them. Bytes after the end are not looked at.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.push(bytes);
        while let Some(next) = self.next() {
            let event = match next {
                Next::Query { ticket, place } => Event::Query { ticket, messages: self.messages(place).to_vec() },
                Next::Event(event) => event,
            };
            self.events.push_back(event);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if !self.is_over() {
            self.cutter.push(bytes);
        }
    }

    /// Where what is read is to be appended. Until [`next`](Self::next) says that there is no more, what was appended is
    /// not looked at.
    #[cfg(feature = "agents")]
    pub(super) fn input(&mut self) -> &mut Vec<u8> {
        self.cutter.input()
    }

    /// What happened next by the bytes that were pushed.
    pub(super) fn next(&mut self) -> Option<Next> {
        if self.is_over() {
            return None;
        }
        self.open.extend(self.newest.take());
        let place = match self.cutter.cut_place() {
            Ok(place) => place?,
            Err(error) => return Some(self.refuse(error.status(), Some(error))),
        };
        match Incoming::decode(self.cutter.at(place.clone())) {
            Ok(Incoming::Notify { stream, frame, messages }) => {
                let place = place.end - messages.len()..place.end;
                Some(self.ask(Ticket { stream, frame }, place))
            }
            Ok(Incoming::Other(frame)) => Some(self.take(frame)),
            Err(error) => Some(self.refuse(error.status(), Some(error))),
        }
    }

    /// The messages at this place of [`Next::Query`].
    pub(super) fn messages(&self, place: Range<usize>) -> Messages<'_> {
        Messages::known(self.cutter.at(place))
    }

    fn ask(&mut self, ticket: Ticket, place: Range<usize>) -> Next {
        if self.stage != Stage::Open {
            self.refuse(Status::INVALID, None)
        } else if self.open.len() >= self.options.open_queries {
            self.refuse(Status::RESOURCES, None)
        } else if self.open.contains(&ticket) {
            self.refuse(Status::INVALID, None)
        } else {
            self.newest = Some(ticket);
            Next::Query { ticket, place }
        }
    }

    fn take(&mut self, frame: Frame) -> Next {
        match (self.stage, frame) {
            (Stage::Greeting, Frame::HaproxyHello(hello)) => self.greet(hello),
            (_, Frame::HaproxyDisconnect(why)) => {
                self.send(&Frame::AgentDisconnect(Disconnect::new(Status::NORMAL)));
                self.finish(Event::Left(why))
            }
            _ => self.refuse(Status::INVALID, None),
        }
    }

    fn greet(&mut self, hello: HaproxyHello) -> Next {
        let Some(versions) = &hello.versions else { return self.refuse(Status::NO_VERSION, None) };
        let Some(offered) = hello.max_frame_size else { return self.refuse(Status::NO_FRAME_SIZE, None) };
        if !versions.split(',').any(|version| version.trim() == "2.0") {
            return self.refuse(Status::UNSUPPORTED_VERSION, None);
        }
        if offered < MIN_FRAME {
            return self.refuse(Status::BAD_FRAME_SIZE, None);
        }
        self.max_frame_size = offered.min(self.options.max_frame_size);
        self.cutter.set_limit(self.max_frame_size);
        self.send(&Frame::AgentHello(AgentHello::new(self.max_frame_size, self.options.capabilities.clone())));
        if hello.health_check == Some(true) {
            self.finish(Event::HealthCheck)
        } else {
            self.stage = Stage::Open;
            Next::Event(Event::Hello(hello))
        }
    }

    /// Answers a query. No actions means no opinion: HAProxy goes on as if it had not asked.
    ///
    /// # Errors
    /// If the query is not open (any more), or the answer exceeds what was agreed on; the query then stays open.
    pub fn answer(&mut self, ticket: Ticket, actions: Vec<Action>) -> Result<(), AnswerError> {
        self.reply(ticket, &Reply::from(actions))
    }

    /// [`answer`](Self::answer) with what is written already.
    ///
    /// # Errors
    /// As there.
    pub fn reply(&mut self, ticket: Ticket, reply: &Reply) -> Result<(), AnswerError> {
        let Ticket { stream, frame } = ticket;
        if self.newest == Some(ticket) {
            self.newest = None;
        } else if !self.open.remove(&ticket) {
            return Err(AnswerError::NotOpen { stream, frame });
        }
        let start = self.output.len();
        put_frame(&mut self.output, 103, (stream, frame), |out| out.extend_from_slice(reply.bytes()));
        let (len, most) = (self.output.len() - start - 4, usize::try_from(self.max_frame_size).unwrap_or(usize::MAX));
        if reply.len() > MAX_ACTIONS || len > most {
            self.output.truncate(start);
            self.open.insert(ticket);
            return Err(AnswerError::TooBig { len, most, count: reply.len() });
        }
        Ok(())
    }

    /// Leaves, for this reason. Requests that wait go on at once.
    pub fn disconnect(&mut self, why: Disconnect) {
        if !self.is_over() {
            self.send(&Frame::AgentDisconnect(why));
            self.end();
        }
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What is to be written, in the order of the calls that caused it. Write a greeting whole: one release of HAProxy
    /// ended connections whose greeting came in pieces.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// What is to be written, left where it is until it [was](Self::written).
    #[cfg(feature = "agents")]
    pub(super) fn output(&self) -> &[u8] {
        &self.output
    }

    /// All output was written. The room it took is kept for more, unless it was much.
    #[cfg(feature = "agents")]
    pub(super) fn written(&mut self) {
        self.output.clear();
        self.output.shrink_to(KEPT);
    }

    /// Whether the connection is to be closed once the output is written.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// How many bytes wait for the rest of their frame.
    pub fn pending(&self) -> usize {
        self.cutter.pending()
    }

    /// Queries without an answer.
    pub fn open_queries(&self) -> usize {
        self.open.len() + usize::from(self.newest.is_some())
    }

    fn refuse(&mut self, status: Status, cause: Option<FrameError>) -> Next {
        self.send(&Frame::AgentDisconnect(Disconnect::new(status)));
        self.finish(Event::Refused { status, cause })
    }

    fn finish(&mut self, event: Event) -> Next {
        self.end();
        Next::Event(event)
    }

    fn end(&mut self) {
        self.stage = Stage::Over;
        self.open.clear();
        self.newest = None;
    }

    fn send(&mut self, frame: &Frame) {
        self.output.extend(frame.encode());
    }
}

/// An answer that cannot be sent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// Nobody asked, or nobody waits any more.
    #[error("query {stream}/{frame} is not open: answer each query once, on its own connection")]
    NotOpen {
        /// HAProxy's number of the stream.
        stream: u64,
        /// HAProxy's number of the question.
        frame: u64,
    },
    /// Longer than agreed on.
    #[error("an answer of {count} actions and {len} bytes exceeds {most} bytes or {MAX_ACTIONS} actions: say less")]
    TooBig {
        /// Its length in bytes.
        len: usize,
        /// The most that was agreed on.
        most: usize,
        /// Its actions.
        count: usize,
    },
}
