//! Our session in the place of a HAProxy that was recorded.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::peers::{
    Control, Entry, Hello, Message, MessageCutter, PeerEvent, PeerOptions, PeerSession, TableDefinition, Update,
};

#[derive(Debug)]
pub(super) struct StandIn {
    session: PeerSession,
    now: Instant,
    cutter: MessageCutter,
    greeting: usize,
    /// The updates it was given, in order, by table.
    given: HashMap<u64, Vec<u32>>,
    /// The last one it acknowledged.
    acknowledged: HashMap<u64, u32>,
    requests: usize,
    confirms: usize,
    /// What HAProxy did of these.
    its_requests: usize,
    its_confirms: usize,
}

impl StandIn {
    pub(super) fn calling(hello: &Hello, text: &str) -> Result<Self, String> {
        let options = PeerOptions::new(hello.calling.as_str()).with_pid(hello.pid).with_minor(hello.minor);
        let now = Instant::now();
        let mut session = PeerSession::connect(options, &hello.called, now);
        let greeting = session.take_output();
        if greeting != text.as_bytes() {
            return Err(format!("our session greets {:?}", String::from_utf8_lossy(&greeting)));
        }
        Ok(Self::new(session, now, 0))
    }

    pub(super) fn called(hello: &Hello) -> Self {
        let now = Instant::now();
        let known = vec![hello.calling.clone()];
        Self::new(PeerSession::accept(PeerOptions::new(hello.called.as_str()), known, now), now, 4)
    }

    fn new(session: PeerSession, now: Instant, greeting: usize) -> Self {
        Self {
            session,
            now,
            cutter: MessageCutter::default(),
            greeting,
            given: HashMap::new(),
            acknowledged: HashMap::new(),
            requests: 0,
            confirms: 0,
            its_requests: 0,
            its_confirms: 0,
        }
    }

    /// What the other side sent.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.session.receive(bytes, self.now);
        if self.greeting == 0 {
            self.note();
        }
    }

    /// The recorded answer to the greeting; ours must be the same.
    pub(super) fn greeted(&mut self, answer: &[u8]) -> Result<(), String> {
        let mut output = self.session.take_output();
        let rest = output.split_off(self.greeting.min(output.len()));
        self.greeting = 0;
        self.cutter.push(&rest);
        self.note();
        if output == answer { Ok(()) } else { Err(format!("our session answers {}", String::from_utf8_lossy(&output))) }
    }

    fn note(&mut self) {
        self.cutter.push(&self.session.take_output());
        while let Ok(Some(message)) = self.cutter.cut() {
            match message {
                Message::Ack { table, update } => {
                    self.acknowledged.insert(table, update);
                }
                Message::Control(Control::ResyncRequest) => self.requests += 1,
                Message::Control(Control::ResyncConfirm) => self.confirms += 1,
                _ => {}
            }
        }
    }

    pub(super) fn given(&mut self, table: u64, id: u32) {
        self.given.entry(table).or_default().push(id);
    }

    pub(super) fn define(&mut self, table: &TableDefinition) -> Result<(), String> {
        self.session.define(table.clone()).map_err(|e| e.to_string())
    }

    /// Teaches what HAProxy taught: key and data are the same bytes, and so is what is left of its life.
    pub(super) fn teach(
        &mut self,
        table: u64,
        update: &Update,
        entry: &Entry,
        server_key: Option<&[u8]>,
    ) -> Result<(), String> {
        self.note();
        let remaining = update.remaining.map(|ms| Duration::from_millis(u64::from(ms)));
        let id = self.session.teach(table, entry, server_key, remaining).map_err(|e| e.to_string())?;
        let mut cutter = MessageCutter::default();
        cutter.push(&self.session.take_output());
        while let Some(message) = cutter.cut().map_err(|e| e.to_string())? {
            if let Message::Update(ours) = message {
                let same = ours.body == update.body && ours.remaining == update.remaining && ours.id == Some(id);
                return if same { Ok(()) } else { Err(format!("our session sends {ours:?}")) };
            }
        }
        Err("our session sends nothing".to_owned())
    }

    /// HAProxy acknowledged this update: our session was given it, and has acknowledged it or a later one.
    pub(super) fn acknowledged(&mut self, table: u64, update: u32, modern: bool) -> Result<(), String> {
        let given = self.given.get(&table).map(Vec::as_slice).unwrap_or_default();
        let Some(place) = given.iter().position(|id| *id == update) else {
            // Development releases of 3.x swap bytes in the numbers of updates that came without one.
            return if modern && !given.is_empty() { Ok(()) } else { Err(format!("given were {given:?}")) };
        };
        let ours = self.acknowledged.get(&table);
        match ours.and_then(|ours| given.iter().rposition(|id| id == ours)) {
            Some(last) if last >= place => Ok(()),
            _ => Err(format!("our session acknowledged {ours:?} of {given:?}")),
        }
    }

    pub(super) fn control(&mut self, control: Control) -> Result<(), String> {
        match control {
            Control::ResyncRequest => {
                self.its_requests += 1;
                let events = std::iter::from_fn(|| self.session.poll_event());
                let open = events.filter(|event| matches!(event, PeerEvent::Open { .. })).count();
                if self.requests >= self.its_requests { Ok(()) } else { Err(format!("ours asks not; {open} open")) }
            }
            Control::ResyncConfirm => {
                self.its_confirms += 1;
                if self.confirms >= self.its_confirms { Ok(()) } else { Err("ours does not confirm".to_owned()) }
            }
            Control::ResyncFinished | Control::ResyncPartial => {
                self.session.end_lesson(control == Control::ResyncFinished);
                let sent = self.session.take_output();
                if sent == [0, if control == Control::ResyncFinished { 1 } else { 2 }] {
                    Ok(())
                } else {
                    Err(format!("our session ends with {sent:02x?}"))
                }
            }
            Control::Heartbeat => Ok(()),
        }
    }
}
