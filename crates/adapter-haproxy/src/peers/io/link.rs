//! One connection: between a socket, the session, the tables and the store.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::judge::Told;
use super::line::Line;
use super::mirror::{Heard, Lesson};
use super::names::NOBODY;
use super::node::Inner;
use super::shelf::{Shelf, bytes_of};
use super::status::{NodeEvent, count};
use crate::peers::entry::Entry;
use crate::peers::handshake::HelloStatus;
use crate::peers::session::{CloseReason, PeerEvent, PeerSession};
use crate::peers::table::TableDefinition;
use crate::trace::{Protocol, Side, Tape};

/// How many bytes are prepared before they are written.
const AHEAD: usize = 128 * 1024;
/// How many entries may wait for the store, some hundred bytes each, before no more is read. A lesson is taken as fast
/// as it is told: HAProxy gives a connection up that stands still for five seconds.
const MAX_PENDING: usize = 1_000_000;
/// How long nothing is read then, so that neither side holds the other for dead.
const PAUSE: Duration = Duration::from_secs(1);
/// How many bytes are read at once.
const READ: usize = 64 * 1024;
/// A peer that takes nothing for that long is gone.
const STALLED: Duration = Duration::from_secs(10);
/// A peer that was asked for everything and says nothing for that long is told all.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A table of the peer that is one of ours.
#[derive(Debug)]
struct Desk {
    shelf: Arc<Shelf>,
    /// How long an entry lives, in milliseconds.
    ttl: u64,
}

/// One connection.
pub(super) struct Link<'n> {
    inner: &'n Inner,
    session: PeerSession,
    jobs: &'n [mpsc::Sender<Vec<Told>>],
    shelves: Vec<Arc<Shelf>>,
    place: Option<OwnedSemaphorePermit>,
    /// The peer, as it called itself, before its first word after that.
    greeted: Option<String>,
    /// The peer we called.
    called: Option<&'n Line>,
    /// The peer, and the number of this connection with it.
    peer: Option<(usize, u64)>,
    desks: BTreeMap<u64, Desk>,
    /// How it is told of each table.
    taught: Vec<TableDefinition>,
    /// Where going through everything is: table and slot.
    scan: Option<(usize, usize)>,
    /// Whether it ends a lesson that was asked for.
    lesson: bool,
    /// When it begins although the peer has not told everything.
    patience: Option<Instant>,
    pending: Vec<Vec<Told>>,
    why: Option<String>,
    tape: Option<Tape>,
}

impl<'n> Link<'n> {
    pub(super) fn new(inner: &'n Inner, session: PeerSession, jobs: &'n [mpsc::Sender<Vec<Told>>]) -> Self {
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
            patience: None,
            pending: jobs.iter().map(|_| Vec::new()).collect(),
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

    fn line(&self) -> Option<(&'n Line, u64)> {
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
        let (mut moved, mut heard) = (Instant::now(), Instant::now());
        loop {
            self.hear();
            self.hand_over();
            self.fill(out.len() - sent);
            if sent == out.len() {
                (out, sent) = (self.session.take_output(), 0);
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
            let full = self.pending.iter().map(Vec::len).sum::<usize>() >= MAX_PENDING;
            let paused = Some(heard + PAUSE).filter(|end| full && *end > Instant::now());
            let reading = paused.is_none();
            let deadline = self.session.deadline().map(Instant::from_std);
            let deadline = [deadline, stalled, self.patience, paused].into_iter().flatten().min();
            let waiting = self.pending.iter().position(|told| !told.is_empty());
            let wake = self.line().map(|(line, _)| &line.wake);
            tokio::select! {
                read = reader.read(&mut buffer), if reading => match read? {
                    0 => return Ok(()),
                    len => {
                        heard = Instant::now();
                        let bytes = buffer.get(..len).unwrap_or_default();
                        if let Some(tape) = &mut self.tape {
                            tape.heard(bytes);
                        }
                        self.session.receive(bytes, heard.into_std());
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
                    if stalled.is_some_and(|at| at <= Instant::now()) {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "it reads nothing"));
                    }
                    if self.patience.is_some_and(|at| at <= Instant::now()) {
                        self.begin_scan();
                    }
                }
                () = woken(wake), if wake.is_some() => {}
                permit = reserve(self.jobs, waiting), if waiting.is_some() => {
                    if let (Some(permit), Some(told)) = (permit, waiting.and_then(|at| self.pending.get_mut(at))) {
                        permit.send(std::mem::take(told));
                    }
                }
                _ = stopped.changed() => {}
            }
        }
    }

    /// What happened on the session.
    fn hear(&mut self) {
        while let Some(event) = self.session.poll_event() {
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
                PeerEvent::Learned { table, entry, server_key, remaining, .. } => {
                    self.learned(table, entry, server_key.as_deref(), remaining);
                }
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
                    self.forget(None);
                    self.begin_scan();
                    self.lesson = true;
                }
                PeerEvent::Taught => {
                    if let Some((line, _)) = self.line() {
                        line.lessons_out.fetch_add(1, Ordering::Relaxed);
                        self.inner.tell(NodeEvent::Taught { peer: line.name.clone() });
                    }
                }
                PeerEvent::Acknowledged { .. } => {}
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
            // What it was told before under another definition it has ignored.
            *taught = ours.clone();
            let _ = self.session.define(ours);
            self.forget(Some(shelf.at));
            if self.patience.is_none() {
                self.scan = Some((0, 0));
            }
        }
        self.desks.insert(definition.id(), Desk { shelf, ttl });
    }

    fn learned(&mut self, table: u64, entry: Entry, server_key: Option<&[u8]>, remaining: Option<Duration>) {
        let Some((line, _)) = self.line() else { return };
        line.updates_in.fetch_add(1, Ordering::Relaxed);
        let Some(Desk { shelf, ttl }) = self.desks.get(&table) else { return };
        let id = entry.server_id().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
        let ttl = remaining.map_or(*ttl, |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let key = bytes_of(entry.into_key());
        let now = self.inner.now();
        let mut known = shelf.known();
        let server = match server_key.map(std::str::from_utf8) {
            Some(Ok("")) => Some(NOBODY),
            Some(Ok(name)) => {
                let server = known.names.of_key(name);
                if let Some(server) = server {
                    known.names.saw(server, id);
                }
                server
            }
            // Counters of a key that is pinned nowhere.
            None if id == 0 => return,
            None => known.names.of_id(id),
            Some(Err(_)) => None,
        };
        let Some(server) = server else {
            drop(known);
            return count(&shelf.counts.unknown);
        };
        let heard = known.mirror.hear(&key, server, line.bit, ttl, now);
        drop(known);
        if heard == Heard::Known {
            return;
        }
        let worker = usize::try_from(std::hash::BuildHasher::hash_one(&self.inner.hasher, &key)).unwrap_or(0);
        let worker = worker % self.pending.len().max(1);
        let (shelf, renewal) = (shelf.clone(), heard == Heard::Stale);
        if let Some(pending) = self.pending.get_mut(worker) {
            let peer = self.peer.map(|(at, _)| at);
            pending.push(Told { shelf, key: key.into(), server, peer, ttl, renewal });
        }
    }

    /// Gives what waits for the store to those who ask it.
    fn hand_over(&mut self) {
        for (told, jobs) in self.pending.iter_mut().zip(self.jobs) {
            if !told.is_empty()
                && let Ok(permit) = jobs.try_reserve()
            {
                permit.send(std::mem::take(told));
            }
        }
    }

    /// Prepares what the peer does not know yet, as much as is sent at once; this many bytes wait already.
    fn fill(&mut self, waiting: usize) {
        let Some((line, _)) = self.line() else { return };
        if !self.session.is_open() {
            return;
        }
        let now = self.inner.now();
        let mut lessons = Vec::new();
        while self.session.output_len() + waiting < AHEAD {
            lessons.clear();
            if let Some((table, row)) = line.next() {
                let Some(shelf) = self.shelves.get(table).cloned() else { continue };
                let row = row as usize;
                shelf.known().mirror.lessons(row..row + 1, line.bit, 1, now, &mut lessons);
                self.teach(&shelf, &lessons, line, now);
            } else if line.take_all() {
                self.scan = Some((0, 0));
            } else if let Some((table, slot)) = self.scan {
                let Some(shelf) = self.shelves.get(table).cloned() else {
                    self.scan = None;
                    if std::mem::take(&mut self.lesson) {
                        self.session.end_lesson(self.inner.complete.load(Ordering::SeqCst));
                    }
                    continue;
                };
                let (next, slots) = {
                    let mirror = &mut shelf.known().mirror;
                    let slots = mirror.slots();
                    (mirror.lessons(slot..(slot + 65_536).min(slots), line.bit, 256, now, &mut lessons), slots)
                };
                self.scan = Some(if next >= slots { (table + 1, 0) } else { (table, next) });
                self.teach(&shelf, &lessons, line, now);
            } else {
                break;
            }
        }
    }

    fn teach(&mut self, shelf: &Arc<Shelf>, lessons: &[Lesson], line: &Line, now: u64) {
        let Some(definition) = self.taught.get(shelf.at) else { return };
        let expire = u64::try_from(definition.expire().as_millis()).unwrap_or(u64::MAX);
        let told: Vec<_> = {
            let names = &shelf.known().names;
            lessons.iter().map(|lesson| (lesson, names.key(lesson.server), names.id(lesson.server))).collect()
        };
        for (lesson, name, id) in told {
            // A full life needs no word.
            let left = lesson.until.saturating_sub(now);
            let left = Some(Duration::from_millis(left)).filter(|_| expire == 0 || left + 1000 < expire);
            match self.session.teach_pin(shelf.number(), &lesson.key, id, name.as_bytes(), left) {
                Ok(_) => line.updates_out.fetch_add(1, Ordering::Relaxed),
                Err(_) => shelf.counts.untaught.fetch_add(1, Ordering::Relaxed),
            };
        }
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

async fn reserve(jobs: &[mpsc::Sender<Vec<Told>>], at: Option<usize>) -> Option<mpsc::Permit<'_, Vec<Told>>> {
    at.and_then(|at| jobs.get(at))?.reserve().await.ok()
}
