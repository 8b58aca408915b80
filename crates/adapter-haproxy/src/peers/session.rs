//! One connection: bytes and time in, events and bytes out. Knows no socket and reads no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::codec::{Control, MAX_MESSAGE, Message, MessageCutter, PeersError, PeersFault, Update};
use super::dictionary::{NamesReceived, NamesSent};
use super::entry::{Datum, Entry};
use super::handshake::{Hello, HelloStatus};
use super::table::{DataType, TableDefinition};

mod event;
#[cfg(feature = "peers")]
mod heard;
mod options;
#[cfg(feature = "peers")]
mod pin;

pub use event::{CloseReason, PeerEvent, TeachError};
#[cfg(feature = "peers")]
pub(super) use heard::{HeardPin, HeardPins};
pub use options::PeerOptions;

/// The most tables a side may define on one connection.
pub const MAX_TABLES: usize = 1024;

/// After that long without a word from us we say that we live; HAProxy gives up after five seconds.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// After that long without a word the other side is gone; HAProxy speaks every three seconds.
const SILENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Stage {
    /// We called this peer.
    Calling(String),
    /// We are called by one of these.
    Called(Vec<String>),
    Open,
    Over,
}

/// Our side of one table.
#[derive(Debug)]
struct Lectern {
    definition: TableDefinition,
    /// What it stores beside a server, if anything.
    #[cfg(feature = "peers")]
    other: Option<DataType>,
    next: u32,
    acknowledged: u32,
}

/// The other side's of one.
#[derive(Debug)]
struct Desk {
    definition: TableDefinition,
    /// What it stores, in order.
    #[cfg(feature = "peers")]
    data: Vec<DataType>,
    last: u32,
}

impl Lectern {
    fn new(definition: TableDefinition, next: u32, acknowledged: u32) -> Self {
        #[cfg(feature = "peers")]
        let other = definition.data().find(|data| ![DataType::SERVER_ID, DataType::SERVER_KEY].contains(data));
        Self {
            definition,
            #[cfg(feature = "peers")]
            other,
            next,
            acknowledged,
        }
    }
}

impl Desk {
    fn new(definition: TableDefinition, last: u32) -> Self {
        #[cfg(feature = "peers")]
        let data = definition.data().collect();
        Self {
            definition,
            #[cfg(feature = "peers")]
            data,
            last,
        }
    }
}

/// One connection between us and one HAProxy.
///
/// Give it what was read ([`receive`](Self::receive)) and the time ([`tick`](Self::tick), not later than
/// [`deadline`](Self::deadline)); take what happened ([`poll_event`](Self::poll_event)) and what is to be written
/// ([`take_output`](Self::take_output)); close when it [is over](Self::is_over). After a lost connection wait a random
/// time of up to two seconds, or two peers that call each other at once go on doing so.
#[derive(Debug)]
pub struct PeerSession {
    options: PeerOptions,
    stage: Stage,
    minor: u32,
    greeting: Vec<u8>,
    cutter: MessageCutter,
    heard: NamesReceived,
    told: NamesSent,
    desks: BTreeMap<u64, Desk>,
    desk: Option<u64>,
    unacknowledged: BTreeSet<u64>,
    lecterns: BTreeMap<u64, Lectern>,
    lectern: Option<u64>,
    learning: bool,
    read: Instant,
    written: Instant,
    events: VecDeque<PeerEvent>,
    output: Vec<u8>,
    #[cfg(feature = "peers")]
    scratch: Vec<u8>,
}

impl PeerSession {
    /// A connection that we opened, to the peer of this name.
    pub fn connect(options: PeerOptions, called: &str, now: Instant) -> Self {
        let mut hello = Hello::new(called, options.name.as_str(), options.pid);
        hello.minor = options.minor;
        let mut session = Self::new(options, Stage::Calling(called.to_owned()), now);
        session.output.extend_from_slice(hello.to_string().as_bytes());
        session
    }

    /// A connection that was opened to us; one of these peers may have.
    pub fn accept(options: PeerOptions, known: Vec<String>, now: Instant) -> Self {
        Self::new(options, Stage::Called(known), now)
    }

    fn new(options: PeerOptions, stage: Stage, now: Instant) -> Self {
        Self {
            minor: options.minor,
            cutter: MessageCutter::new(options.max_message),
            options,
            stage,
            greeting: Vec::new(),
            heard: NamesReceived::new(),
            told: NamesSent::new(),
            desks: BTreeMap::new(),
            desk: None,
            unacknowledged: BTreeSet::new(),
            lecterns: BTreeMap::new(),
            lectern: None,
            learning: false,
            read: now,
            written: now,
            events: VecDeque::new(),
            output: Vec::new(),
            #[cfg(feature = "peers")]
            scratch: Vec::new(),
        }
    }

    /// These bytes were read, any number of them. What came in them is acknowledged at the end.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        if self.is_over() {
            return;
        }
        self.take_in(bytes, now);
        while self.step(Self::take_next) {}
        self.acknowledge(now);
    }

    fn take_in(&mut self, bytes: &[u8], now: Instant) {
        if self.is_over() {
            return;
        }
        if matches!(self.stage, Stage::Open) {
            self.cutter.push(bytes);
        } else {
            self.greeting.extend_from_slice(bytes);
            self.greet();
        }
        if matches!(self.stage, Stage::Open) {
            self.read = now;
        }
    }

    /// Takes the next message; whether there was one.
    fn step(&mut self, take: impl FnOnce(&mut Self) -> Result<bool, PeersError>) -> bool {
        if !matches!(self.stage, Stage::Open) {
            return false;
        }
        take(self).unwrap_or_else(|error| {
            self.send(&Message::Error(error.complaint()));
            self.close(CloseReason::Invalid(error));
            false
        })
    }

    fn take_next(&mut self) -> Result<bool, PeersError> {
        let Some(message) = self.cutter.cut()? else { return Ok(false) };
        self.take(message)?;
        Ok(true)
    }

    /// Everything that has come was taken.
    fn acknowledge(&mut self, now: Instant) {
        for table in std::mem::take(&mut self.unacknowledged) {
            if let Some(desk) = self.desks.get(&table) {
                Message::Ack { table, update: desk.last }.encode(&mut self.output);
            }
        }
        if !self.output.is_empty() {
            self.written = now;
        }
    }

    fn greet(&mut self) {
        let done = match &self.stage {
            Stage::Calling(called) => HelloStatus::decode(&self.greeting).map(|answer| {
                answer.map(|(status, len)| match status {
                    HelloStatus::OK => Ok((called.clone(), self.options.minor, len)),
                    refused => Err(CloseReason::Refused(refused)),
                })
            }),
            Stage::Called(known) => Hello::decode(&self.greeting).map(|hello| {
                hello.map(|(hello, len)| {
                    if hello.called != self.options.name {
                        Err(CloseReason::Unwelcome(HelloStatus::WRONG_NAME))
                    } else if !known.contains(&hello.calling) {
                        Err(CloseReason::Unwelcome(HelloStatus::UNKNOWN_PEER))
                    } else {
                        Ok((hello.calling, hello.minor, len))
                    }
                })
            }),
            Stage::Open | Stage::Over => return,
        };
        let called = matches!(self.stage, Stage::Called(_));
        match done {
            Ok(None) => {}
            Ok(Some(Ok((peer, minor, len)))) => {
                if called {
                    self.answer(HelloStatus::OK);
                }
                self.stage = Stage::Open;
                self.minor = minor;
                let greeting = std::mem::take(&mut self.greeting);
                self.cutter.push(greeting.get(len..).unwrap_or_default());
                self.events.push_back(PeerEvent::Open { peer, minor });
                if self.options.learn {
                    self.learning = true;
                    self.send(&Message::Control(Control::ResyncRequest));
                }
            }
            Ok(Some(Err(reason))) => {
                if let CloseReason::Unwelcome(status) = reason {
                    self.answer(status);
                }
                self.close(reason);
            }
            Err(error) => {
                if called {
                    self.answer(error.status());
                }
                self.close(CloseReason::NoGreeting(error));
            }
        }
    }

    fn answer(&mut self, status: HelloStatus) {
        self.output.extend_from_slice(format!("{status}\n").as_bytes());
    }

    fn take(&mut self, message: Message) -> Result<(), PeersError> {
        match message {
            Message::Control(Control::ResyncRequest) => self.events.push_back(PeerEvent::Asked),
            Message::Control(end @ (Control::ResyncFinished | Control::ResyncPartial)) => {
                self.send(&Message::Control(Control::ResyncConfirm));
                self.learning = false;
                self.events.push_back(PeerEvent::Learnt { complete: end == Control::ResyncFinished });
            }
            Message::Control(Control::ResyncConfirm) => self.events.push_back(PeerEvent::Taught),
            Message::Control(Control::Heartbeat) => {}
            Message::Error(complaint) => self.close(CloseReason::Complained(complaint)),
            Message::Define(definition) => self.define_desk(definition)?,
            Message::Switch { table } if self.desks.contains_key(&table) => self.desk = Some(table),
            Message::Switch { .. } => return Err(PeersFault::NoTable.into()),
            Message::Update(update) => self.learn(&update)?,
            Message::Ack { table, update } => self.acknowledged(table, update),
            Message::Unknown { class: 255, .. } => return Err(PeersFault::Reserved.into()),
            Message::Unknown { .. } => {}
        }
        Ok(())
    }

    fn define_desk(&mut self, definition: TableDefinition) -> Result<(), PeersError> {
        let id = definition.id();
        self.desk = Some(id);
        let full = self.desks.len() >= MAX_TABLES;
        match self.desks.get_mut(&id) {
            Some(desk) if desk.definition == definition => return Ok(()),
            None if full => return Err(PeersFault::TooManyTables(MAX_TABLES).into()),
            known => {
                let last = known.map_or(0, |desk| desk.last);
                self.desks.insert(id, Desk::new(definition.clone(), last));
            }
        }
        self.events.push_back(PeerEvent::Table(definition));
        Ok(())
    }

    fn learn(&mut self, update: &Update) -> Result<(), PeersError> {
        let desk = self.desk.and_then(|id| self.desks.get_mut(&id)).ok_or(PeersFault::NoTable)?;
        let entry = Entry::decode(&desk.definition, &update.body)?;
        let server_key = match entry.get(DataType::SERVER_KEY) {
            Some(Datum::Name(name)) => self.heard.resolve(name)?,
            _ => None,
        };
        // What cannot be taken is not acknowledged.
        desk.last = update.id.unwrap_or_else(|| desk.last.wrapping_add(1));
        let table = desk.definition.id();
        self.unacknowledged.insert(table);
        self.events.push_back(PeerEvent::Learned {
            table,
            entry,
            server_key,
            remaining: update.remaining.map(|ms| Duration::from_millis(u64::from(ms))),
            lesson: self.learning,
        });
        Ok(())
    }

    /// An acknowledgement of what we never sent is none: 3.5-dev5 swaps the bytes of some.
    fn acknowledged(&mut self, table: u64, update: u32) {
        let Some(lectern) = self.lecterns.get_mut(&table) else { return };
        let sent = lectern.next.wrapping_sub(1);
        let (ahead, behind) = (update.wrapping_sub(lectern.acknowledged), sent.wrapping_sub(lectern.acknowledged));
        if ahead != 0 && ahead <= behind {
            lectern.acknowledged = update;
            self.events.push_back(PeerEvent::Acknowledged { table, update });
        }
    }

    /// Defines a table of ours: a copy of what the other side told of it, under any number of our own. HAProxy ignores
    /// what differs from its own in name, type or length.
    ///
    /// # Errors
    /// If there are too many.
    pub fn define(&mut self, definition: TableDefinition) -> Result<(), TeachError> {
        let id = definition.id();
        if self.lecterns.len() >= MAX_TABLES && !self.lecterns.contains_key(&id) {
            return Err(TeachError::TooManyTables);
        }
        if self.lectern == Some(id) {
            self.lectern = None;
        }
        let (next, acknowledged) = self.lecterns.get(&id).map_or((1, 0), |l| (l.next, l.acknowledged));
        self.lecterns.insert(id, Lectern::new(definition, next, acknowledged));
        Ok(())
    }

    /// Tells an entry of a table defined before, and gives the number of the update. A name of a server beats the
    /// number in the entry; an empty one un-pins. What is left of a life is told if version 2.1 was agreed on; the
    /// table's own time holds otherwise.
    ///
    /// # Errors
    /// If the connection is not open, the table not defined, or the entry does not fit it; nothing is sent then.
    pub fn teach(
        &mut self,
        table: u64,
        entry: &Entry,
        server_key: Option<&[u8]>,
        remaining: Option<Duration>,
    ) -> Result<u32, TeachError> {
        if !matches!(self.stage, Stage::Open) {
            return Err(TeachError::NotOpen);
        }
        let lectern = self.lecterns.get_mut(&table).ok_or(TeachError::NoTable { table })?;
        // Whether it fits is tried with a name that costs no number.
        let plain = entry.clone().without_name();
        let len = plain.encode(&lectern.definition)?.len() + server_key.map_or(0, |name| name.len() + 32);
        if len > self.options.max_message.min(MAX_MESSAGE).saturating_sub(16) {
            return Err(TeachError::TooLong { len });
        }
        let entry = match server_key.filter(|_| lectern.definition.holds(DataType::SERVER_KEY)) {
            Some(name) => plain.with(DataType::SERVER_KEY, Datum::Name(self.told.refer(name))),
            None => plain,
        };
        let body = entry.encode(&lectern.definition)?;
        if self.lectern != Some(table) {
            Message::Define(lectern.definition.clone()).encode(&mut self.output);
            self.lectern = Some(table);
        }
        let id = lectern.next;
        lectern.next = id.wrapping_add(1);
        let remaining = remaining.filter(|_| self.minor >= 1);
        let remaining = remaining.map(|left| u32::try_from(left.as_millis()).unwrap_or(u32::MAX));
        self.send(&Message::Update(Update::new(Some(id), remaining, body)));
        Ok(id)
    }

    /// Ends what [`PeerEvent::Asked`] began; `complete` if we know everything there is to know.
    pub fn end_lesson(&mut self, complete: bool) {
        if matches!(self.stage, Stage::Open) {
            let end = if complete { Control::ResyncFinished } else { Control::ResyncPartial };
            self.send(&Message::Control(end));
        }
    }

    /// When [`tick`](Self::tick) is due; `None` once the connection is over.
    pub fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Over => None,
            Stage::Open => Some((self.read + SILENCE).min(self.written + HEARTBEAT)),
            Stage::Calling(_) | Stage::Called(_) => Some(self.read + SILENCE),
        }
    }

    /// It is that late now.
    pub fn tick(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        if now.saturating_duration_since(self.read) >= SILENCE {
            return self.close(CloseReason::Silent);
        }
        if matches!(self.stage, Stage::Open) && now.saturating_duration_since(self.written) >= HEARTBEAT {
            self.send(&Message::Control(Control::Heartbeat));
            self.written = now;
        }
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// What is to be written. Take it before a lesson grows beyond what you want to hold.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// The same, for a buffer that is empty again.
    #[cfg(feature = "peers")]
    pub(super) fn swap_output(&mut self, out: &mut Vec<u8>) {
        out.clear();
        std::mem::swap(out, &mut self.output);
    }

    /// How many bytes are to be written.
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// How many bytes wait for the rest of their message.
    pub fn pending(&self) -> usize {
        self.cutter.pending() + self.greeting.len()
    }

    /// Whether entries may be taught.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Whether the connection is to be closed once the output is written.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    fn close(&mut self, reason: CloseReason) {
        self.stage = Stage::Over;
        self.events.push_back(PeerEvent::Closed(reason));
    }

    fn send(&mut self, message: &Message) {
        message.encode(&mut self.output);
    }
}
