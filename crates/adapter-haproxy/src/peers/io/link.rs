//! One connection: between a socket, the session, the tables and the store.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::fresh::Job;
use super::line::Line;
use super::node::Inner;
use super::shelf::Shelf;
use super::status::NodeEvent;
use crate::peers::handshake::HelloStatus;
use crate::peers::session::{CloseReason, HeardPins, PeerEvent, PeerSession};
use crate::peers::table::TableDefinition;
use crate::trace::{Protocol, Side, Tape};

/// How many bytes are read at once.
const READ: usize = 128 * 1024;
/// When all of what a peer told was read, unless more came.
const CATCH_UP: Duration = Duration::from_millis(2);
/// The same within its lesson, and for how long of that the store waits at most.
const LULL: Duration = Duration::from_millis(100);
const HOLD: Duration = PATIENCE;
/// A peer that takes nothing for that long is gone.
const STALLED: Duration = Duration::from_secs(10);
/// A peer that was asked for everything and says nothing for that long is told all.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A table of the peer that is one of ours.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) shelf: Arc<Shelf>,
    /// How long an entry lives, in milliseconds.
    pub(super) ttl: u64,
}

/// One connection.
pub(super) struct Link<'n> {
    pub(super) inner: &'n Inner,
    pub(super) session: PeerSession,
    jobs: &'n [mpsc::Sender<Job>],
    pub(super) shelves: Vec<Arc<Shelf>>,
    place: Option<OwnedSemaphorePermit>,
    /// The peer, as it called itself, before its first word after that.
    greeted: Option<String>,
    /// The peer we called.
    called: Option<&'n Line>,
    /// The peer, and the number of this connection with it.
    pub(super) peer: Option<(usize, u64)>,
    pub(super) desks: BTreeMap<u64, Desk>,
    /// How it is told of each table.
    pub(super) taught: Vec<TableDefinition>,
    /// Where going through everything is: table and slot.
    pub(super) scan: Option<(usize, usize)>,
    /// Whether it ends a lesson that was asked for.
    pub(super) lesson: bool,
    /// Whether one was asked for on this connection.
    asked: bool,
    /// When it begins although the peer has not told everything.
    patience: Option<Instant>,
    /// How long the store waits for its first lesson to end.
    held: Option<Instant>,
    /// What it told, not looked at yet.
    heard: HeardPins,
    /// For each of those who ask the store.
    pub(super) pending: Vec<VecDeque<Job>>,
    why: Option<String>,
    tape: Option<Tape>,
}

/// What the store was not asked is told it later.
impl Drop for Link<'_> {
    fn drop(&mut self) {
        for job in self.pending.iter().flatten() {
            match job {
                Job::Fresh(fresh) => fresh.postpone(),
                Job::Told(_) => drop(self.inner.told.fetch_sub(1, Ordering::Relaxed)),
            }
        }
    }
}

impl<'n> Link<'n> {
    pub(super) fn new(inner: &'n Inner, session: PeerSession, jobs: &'n [mpsc::Sender<Job>]) -> Self {
        Self {
            inner,
            session,
            jobs,
            shelves: inner.shelves(),
            place: None,
            greeted: None,
            called: None,
            peer: None,
            desks: BTreeMap::new(),
            taught: Vec::new(),
            scan: None,
            lesson: false,
            asked: false,
            patience: None,
            held: None,
            heard: HeardPins::default(),
            pending: jobs.iter().map(|_| VecDeque::new()).collect(),
            why: None,
            tape: None,
        }
    }

    /// With a place among those that are not known yet.
    pub(super) fn with_place(mut self, place: OwnedSemaphorePermit) -> Self {
        self.place = Some(place);
        self
    }

    /// A connection that we opened.
    pub(super) fn to(mut self, line: &'n Line) -> Self {
        self.called = Some(line);
        self
    }

    pub(super) fn line(&self) -> Option<(&'n Line, u64)> {
        let (at, generation) = self.peer?;
        self.inner.lines.get(at).map(|line| (line, generation))
    }

    /// Until the connection ends. Why it never was one, if it was not; a peer that was greeted is told goodbye to.
    pub(super) async fn drive<S>(mut self, stream: S, stopped: &mut watch::Receiver<bool>) -> Option<String>
    where
        S: AsyncRead + AsyncWrite,
    {
        if let Some(recorder) = &self.inner.options.recorder {
            let (by, with) = match self.called {
                Some(line) => (Side::Us, line.name.as_str()),
                None => (Side::Haproxy, "a caller"),
            };
            let tables = self.shelves.iter().map(|shelf| shelf.options.name.as_str());
            self.tape = Some(recorder.tape(Protocol::Peers, by, with, tables));
        }
        let why = match self.exchange(stream, stopped).await {
            Ok(()) => self.why.take().unwrap_or_else(|| "closed by the peer".to_owned()),
            Err(error) => error.to_string(),
        };
        let Some((line, generation)) = self.line() else { return Some(why) };
        if line.end(Some(generation), why.clone()) {
            self.inner.tell(NodeEvent::Lost { peer: line.name.clone(), why });
        }
        None
    }

    async fn exchange<S: AsyncRead + AsyncWrite>(
        &mut self,
        stream: S,
        stopped: &mut watch::Receiver<bool>,
    ) -> io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut buffer = vec![0; READ];
        let (mut out, mut sent) = (Vec::new(), 0);
        let mut moved = Instant::now();
        // While the peer tells everything, or more than is read at once, the store waits, so that processors are there
        // for hearing it.
        let mut behind = None;
        loop {
            self.hear();
            if !self.session.is_learning() && self.held.take().is_some() {
                behind = None;
            }
            if behind.is_none() {
                self.hand_over();
            }
            self.fill(out.len() - sent);
            if sent == out.len() {
                sent = 0;
                self.session.swap_output(&mut out);
                moved = Instant::now();
            }
            let current = self.line().is_none_or(|(line, generation)| line.is_current(generation));
            if !current {
                self.why = Some("it is connected anew".to_owned());
            }
            if self.session.is_over() || !current || *stopped.borrow() {
                if current && !self.session.is_over() {
                    self.why = Some("we stop".to_owned());
                    self.fill(0);
                }
                out.drain(..sent);
                out.extend(self.session.take_output());
                if let Some(tape) = &mut self.tape {
                    tape.said(&out);
                }
                let _ = timeout(LAST_WORDS, async {
                    writer.write_all(&out).await?;
                    writer.shutdown().await
                })
                .await;
                return Ok(());
            }
            let writing = sent < out.len();
            let stalled = writing.then(|| moved + STALLED);
            let deadline = self.session.deadline().map(Instant::from_std);
            let deadline = [deadline, stalled, self.patience, behind].into_iter().flatten().min();
            let waiting = self.pending.iter().position(|jobs| !jobs.is_empty());
            let wake = self.line().map(|(line, _)| &line.wake);
            tokio::select! {
                // Always: HAProxy gives a connection up that stands still for five seconds.
                read = reader.read(&mut buffer) => match read? {
                    0 => return Ok(()),
                    len => {
                        let (now, bytes) = (Instant::now(), buffer.get(..len).unwrap_or_default());
                        if let Some(tape) = &mut self.tape {
                            tape.heard(bytes);
                        }
                        self.session.feed(bytes, now.into_std());
                        let lesson = self.held.is_some_and(|until| now < until);
                        let lull = if lesson { LULL } else { CATCH_UP };
                        behind = (lesson || len == READ).then(|| now + lull);
                    }
                },
                written = writer.write(out.get(sent..).unwrap_or_default()), if writing => match written? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    len => {
                        if let Some(tape) = &mut self.tape {
                            tape.said(out.get(sent..sent + len).unwrap_or_default());
                        }
                        sent += len;
                        moved = Instant::now();
                        if sent == out.len() {
                            writer.flush().await?;
                        }
                    }
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.session.tick(Instant::now().into_std());
                    behind = None;
                    if stalled.is_some_and(|at| at <= Instant::now()) {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "it reads nothing"));
                    }
                    if self.patience.is_some_and(|at| at <= Instant::now()) {
                        self.begin_scan();
                    }
                }
                () = woken(wake), if wake.is_some() => {}
                permit = reserve(self.jobs, waiting), if waiting.is_some() && behind.is_none() => {
                    let job = waiting.and_then(|at| self.pending.get_mut(at)?.pop_front());
                    if let (Some(permit), Some(job)) = (permit, job) {
                        permit.send(job);
                    }
                }
                _ = stopped.changed() => {}
            }
        }
    }

    /// Gives what waits for the store to those who ask it.
    fn hand_over(&mut self) {
        for (waiting, jobs) in self.pending.iter_mut().zip(self.jobs) {
            while !waiting.is_empty()
                && let Ok(permit) = jobs.try_reserve()
                && let Some(job) = waiting.pop_front()
            {
                permit.send(job);
            }
        }
    }

    /// What happened on the session.
    fn hear(&mut self) {
        let now = Instant::now().into_std();
        loop {
            let event = self.session.advance(&mut self.heard, now);
            let mut heard = std::mem::take(&mut self.heard);
            self.learn(&heard);
            heard.clear();
            self.heard = heard;
            let Some(event) = event else { break };
            // A peer that called while we did sends a greeting and nothing else on the connection it has given up: it
            // must not end the other one.
            if !matches!(event, PeerEvent::Open { .. } | PeerEvent::Closed(_))
                && let Some(peer) = self.greeted.take()
            {
                self.open(&peer);
            }
            match event {
                PeerEvent::Open { peer, .. } => self.greeted = Some(peer),
                PeerEvent::Table(definition) => self.table(&definition),
                PeerEvent::Learnt { .. } => {
                    self.inner.complete.store(true, Ordering::SeqCst);
                    if let Some((line, _)) = self.line() {
                        line.lessons_in.fetch_add(1, Ordering::Relaxed);
                        self.inner.tell(NodeEvent::Learnt { peer: line.name.clone() });
                    }
                    if self.patience.is_some() {
                        self.begin_scan();
                    }
                }
                PeerEvent::Asked => {
                    // What was told on this connection before the first lesson ends has arrived, and need not be again.
                    if std::mem::replace(&mut self.asked, true) {
                        self.forget(None);
                        self.scan = None;
                    }
                    if self.scan.is_none() {
                        self.begin_scan();
                    }
                    self.lesson = true;
                }
                PeerEvent::Taught => {
                    if let Some((line, _)) = self.line() {
                        line.lessons_out.fetch_add(1, Ordering::Relaxed);
                        self.inner.tell(NodeEvent::Taught { peer: line.name.clone() });
                    }
                }
                // What is learned is not told as events here.
                PeerEvent::Acknowledged { .. } | PeerEvent::Learned { .. } => {}
                PeerEvent::Closed(reason) => self.closed(&reason),
            }
        }
    }

    fn open(&mut self, peer: &str) {
        let Some(at) = self.inner.lines.iter().position(|line| line.name == peer) else { return };
        let Some(line) = self.inner.lines.get(at) else { return };
        self.place = None;
        self.peer = Some((at, line.begin()));
        self.forget(None);
        self.taught = self.shelves.iter().map(|shelf| shelf.definition()).collect();
        for definition in &self.taught {
            // There are fewer than the session takes.
            let _ = self.session.define(definition.clone());
        }
        self.patience = Some(Instant::now() + PATIENCE);
        self.held = Some(Instant::now() + HOLD);
        self.inner.tell(NodeEvent::Open { peer: peer.to_owned() });
    }

    /// The peer knows nothing of this table any more, or of any.
    fn forget(&self, only: Option<usize>) {
        let Some((line, _)) = self.line() else { return };
        for shelf in self.shelves.iter().filter(|shelf| only.is_none_or(|only| only == shelf.at)) {
            shelf.known().mirror.forget_peer(line.bit);
        }
    }

    fn begin_scan(&mut self) {
        self.patience = None;
        self.scan = Some((0, 0));
    }

    fn closed(&mut self, reason: &CloseReason) {
        let called = self.peer.is_none();
        if let (CloseReason::Refused(HelloStatus::VERSION), Some(line)) = (reason, self.called) {
            line.minor.store(0, Ordering::Relaxed);
        }
        self.why = Some(match reason {
            CloseReason::Refused(status) => format!("it refuses us with {status}: {}", remedy(*status)),
            CloseReason::Unwelcome(status) => format!("we refuse it with {status}"),
            CloseReason::Invalid(error) => error.to_string(),
            CloseReason::NoGreeting(error) => error.to_string(),
            CloseReason::Complained(_) => "it holds that we break the protocol".to_owned(),
            CloseReason::Silent if called => "no greeting within five seconds".to_owned(),
            CloseReason::Silent => "not a word for five seconds".to_owned(),
        });
    }

    /// The peer says what a table of its is.
    fn table(&mut self, definition: &TableDefinition) {
        let Some(shelf) = self.shelves.iter().find(|shelf| shelf.options.name == definition.name()).cloned() else {
            return;
        };
        self.desks.remove(&definition.id());
        if definition.key_type() != shelf.options.kind {
            if let Some((line, _)) = self.line() {
                let (table, peer) = (shelf.options.name.clone(), line.name.clone());
                self.inner.tell(NodeEvent::OtherKeys { table, peer });
            }
            return;
        }
        let ours = shelf.taught(definition);
        if ours.bits() == 0 {
            return;
        }
        let ttl = shelf.ttl_ms(definition);
        shelf.known().definition = Some(ours.clone());
        if let Some(taught) = self.taught.get_mut(shelf.at)
            && *taught != ours
        {
            // What it was told before of keys of another kind or length it has ignored.
            let ignored = (taught.key_type(), taught.key_len()) != (ours.key_type(), ours.key_len());
            *taught = ours.clone();
            let _ = self.session.define(ours);
            if ignored {
                self.forget(Some(shelf.at));
                if self.patience.is_none() {
                    self.scan = Some((0, 0));
                }
            }
        }
        self.desks.insert(definition.id(), Desk { shelf, ttl });
    }
}

/// What to do about a refusal.
fn remedy(status: HelloStatus) -> &'static str {
    match status {
        HelloStatus::WRONG_NAME => "it has another name (localpeer, or -L)",
        HelloStatus::UNKNOWN_PEER => "its peers section does not list our name",
        HelloStatus::LATER => "it asks to call later",
        HelloStatus::VERSION => "it speaks another version",
        _ => "is it the port of a peers section?",
    }
}

async fn woken(wake: Option<&tokio::sync::Notify>) {
    match wake {
        Some(wake) => wake.notified().await,
        None => std::future::pending().await,
    }
}

async fn reserve(jobs: &[mpsc::Sender<Job>], at: Option<usize>) -> Option<mpsc::Permit<'_, Job>> {
    at.and_then(|at| jobs.get(at))?.reserve().await.ok()
}
