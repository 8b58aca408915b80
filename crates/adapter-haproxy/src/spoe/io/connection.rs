//! One connection of a HAProxy.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::super::hello::Disconnect;
use super::super::reply::Reply;
use super::super::session::{AgentSession, Event, Next, Ticket};
use super::super::status::Status;
use super::counts::EngineCounters;
use super::{Asked, Shared};
use crate::listen::{Duplex, part};
use crate::trace::Tape;

const READ: usize = 32 << 10;

/// Nobody asks over a connection that was silent for so long: it can be left at once.
const QUIET: Duration = Duration::from_millis(5);

/// Which answer of this connection: HAProxy may use the numbers of a ticket again.
type Serial = u64;

#[derive(Default)]
struct Since {
    queries: u64,
    opinions: u64,
    without: u64,
}

pub(super) struct Connection {
    stream: Box<dyn Duplex>,
    session: AgentSession,
    shared: Arc<Shared>,
    engine: Option<(Arc<str>, Arc<EngineCounters>)>,
    /// What was asked and answered since something was written last, for the counters.
    since: Since,
    /// The answer at hand; its memory is used again.
    reply: Reply,
    /// Answers that wait for something.
    tasks: JoinSet<(Ticket, Serial, Option<Reply>)>,
    waiting: HashMap<Ticket, Serial>,
    /// When their time is up, in order.
    deadlines: VecDeque<(Instant, Ticket, Serial)>,
    serial: Serial,
    greeted: bool,
    /// When something was read last, or the connection began.
    heard: Instant,
    /// By when it is left, once the agent ends.
    leave_by: Option<Instant>,
    /// When the alarm rings: for the end of this wait or an earlier one, and then looked at again. To arm it for each
    /// query costs more than to answer one.
    armed: Instant,
    tape: Option<Tape>,
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Duplex>, shared: Arc<Shared>, tape: Option<Tape>) -> Self {
        let now = Instant::now();
        Self {
            stream,
            session: AgentSession::new(shared.options.session.clone()),
            shared,
            engine: None,
            since: Since::default(),
            reply: Reply::new(),
            tasks: JoinSet::new(),
            waiting: HashMap::new(),
            deadlines: VecDeque::new(),
            serial: 0,
            greeted: false,
            heard: now,
            leave_by: None,
            armed: now,
            tape,
        }
    }

    pub(super) async fn run(mut self, mut leaving: watch::Receiver<bool>) {
        self.armed = self.next_deadline();
        let mut alarm = pin!(sleep_until(self.armed));
        let seen = leaving.clone();
        let mut left = pin!(leaving.changed());
        loop {
            self.hear().await;
            while !self.tasks.is_empty()
                && let Some(done) = self.tasks.try_join_next()
            {
                self.finish(done);
            }
            if self.leave_by.is_some() && self.waiting.is_empty() && self.heard.elapsed() > QUIET {
                self.session.disconnect(Disconnect::new(Status::NORMAL));
            }
            if !self.write().await {
                break;
            }
            if self.session.is_over() {
                part(&mut self.stream).await;
                break;
            }
            self.arm(alarm.as_mut());
            let input = self.session.input();
            let before = input.len();
            input.reserve(READ);
            tokio::select! {
                // Reading is nearly always what happens, and is looked at alone then.
                biased;
                read = self.stream.read_buf(input) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {
                        self.heard = Instant::now();
                        if let Some(tape) = &mut self.tape {
                            tape.heard(self.session.input().get(before..).unwrap_or_default());
                        }
                        // Somebody who never stops talking holds nothing up.
                        if self.heard >= self.armed {
                            self.ring();
                        }
                        if self.leave_by.is_none() && seen.has_changed().unwrap_or(true) {
                            self.leave();
                        }
                    }
                },
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => self.finish(done),
                () = alarm.as_mut() => self.ring(),
                _ = &mut left, if self.leave_by.is_none() => self.leave(),
            }
        }
        // What was begun is ended, so that it can be undone.
        self.tasks.detach_all();
    }

    /// Takes what happened, and answers what can be answered at once.
    async fn hear(&mut self) {
        while let Some(next) = self.session.next() {
            let event = match next {
                Next::Query { ticket, place } => {
                    self.since.queries += 1;
                    if !self.answer_at_once(ticket, place.clone()) {
                        self.ask(ticket, place).await;
                    }
                    continue;
                }
                Next::Event(event) => event,
            };
            match event {
                Event::Hello(hello) => {
                    self.greeted = true;
                    let name: Arc<str> = hello.engine_id.unwrap_or_default().into();
                    let counters = self.shared.counters.engine(&name);
                    self.engine = Some((name, counters));
                }
                Event::HealthCheck => self.shared.counters.checked(),
                // Left where it stands, above.
                Event::Query { .. } => {}
                Event::Left(why) => self.shared.counters.left(why.status),
                Event::Refused { status, .. } => self.shared.counters.refused(status),
            }
        }
    }

    /// Whether the query was answered without waiting.
    fn answer_at_once(&mut self, ticket: Ticket, place: Range<usize>) -> bool {
        let mut reply = std::mem::take(&mut self.reply);
        reply.clear();
        let answered = self.shared.answer.answer_at_once(&self.asked(place), &mut reply);
        if answered {
            self.say(ticket, &reply);
        }
        self.reply = reply;
        answered
    }

    fn asked(&self, place: Range<usize>) -> Asked<'_> {
        Asked {
            engine: self.engine.as_ref().map(|(name, _)| name),
            messages: self.session.messages(place),
            deadline: self.heard + self.shared.options.processing,
        }
    }

    async fn ask(&mut self, ticket: Ticket, place: Range<usize>) {
        let asked = self.asked(place);
        let deadline = asked.deadline;
        let mut answer = Arc::clone(&self.shared.answer).answer_asked(&asked);
        // What is ready by now needs no task.
        let at_once = poll_fn(|context| match answer.as_mut().poll(context) {
            Poll::Ready(reply) => Poll::Ready(Some(reply)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(reply) = at_once.await {
            return self.say(ticket, &reply);
        }
        match Arc::clone(&self.shared.running).try_acquire_owned() {
            Ok(place) => {
                self.serial += 1;
                let (serial, longest) = (self.serial, self.shared.options.longest);
                self.waiting.insert(ticket, serial);
                self.deadlines.push_back((deadline, ticket, serial));
                self.tasks.spawn(async move {
                    let reply = timeout(longest, answer).await.ok();
                    drop(place);
                    (ticket, serial, reply)
                });
            }
            Err(_) => {
                self.shared.counters.overloaded();
                self.say(ticket, &Reply::new());
            }
        }
    }

    fn finish(&mut self, done: Result<(Ticket, Serial, Option<Reply>), JoinError>) {
        let Ok((ticket, serial, Some(reply))) = done else { return };
        if self.waiting.get(&ticket) == Some(&serial) {
            self.waiting.remove(&ticket);
            self.say(ticket, &reply);
        }
    }

    fn say(&mut self, ticket: Ticket, reply: &Reply) {
        if self.session.is_over() {
            return;
        }
        if self.session.reply(ticket, reply).is_ok() {
            *if reply.is_empty() { &mut self.since.without } else { &mut self.since.opinions } += 1;
            return;
        }
        // Too long for the frames agreed on: better no opinion than none heard.
        self.shared.counters.too_long();
        self.since.without += 1;
        let _ = self.session.reply(ticket, &Reply::new());
    }

    /// The agent ends.
    fn leave(&mut self) {
        self.leave_by = Some(Instant::now() + self.shared.options.processing);
    }

    /// Counts what happened, before anybody can see it in what is written.
    fn count(&mut self) {
        let Since { queries, opinions, without } = std::mem::take(&mut self.since);
        if let Some((_, counters)) = &self.engine
            && queries > 0
        {
            counters.asked(queries);
        }
        self.shared.counters.answered(opinions, without);
    }

    /// Some time is up.
    fn ring(&mut self) {
        let now = Instant::now();
        while let Some((at, ticket, serial)) = self.deadlines.front().copied() {
            let open = self.waiting.get(&ticket) == Some(&serial);
            if open && at > now {
                break;
            }
            self.deadlines.pop_front();
            if open {
                self.waiting.remove(&ticket);
                self.shared.counters.late();
                self.say(ticket, &Reply::new());
            }
        }
        let within = if self.greeted { self.shared.options.idle } else { self.shared.options.hello };
        if self.leave_by.is_some_and(|at| at <= now) {
            self.session.disconnect(Disconnect::new(Status::NORMAL));
        } else if now.saturating_duration_since(self.heard) >= within {
            self.shared.counters.silent();
            self.session.disconnect(Disconnect::new(Status::TIMEOUT));
        }
    }

    fn next_deadline(&self) -> Instant {
        let within = if self.greeted { self.shared.options.idle } else { self.shared.options.hello };
        let first = self.deadlines.front().map(|(at, ..)| *at);
        [first, self.leave_by].into_iter().flatten().fold(self.heard + within, Instant::min)
    }

    fn arm(&mut self, alarm: Pin<&mut Sleep>) {
        let next = self.next_deadline();
        if next < self.armed || alarm.is_elapsed() {
            self.armed = next;
            alarm.reset(next);
        }
    }

    /// Whether all of it could be written in time.
    async fn write(&mut self) -> bool {
        self.count();
        let (stream, output) = (&mut self.stream, self.session.output());
        if output.is_empty() {
            return true;
        }
        if let Some(tape) = &mut self.tape {
            tape.said(output);
        }
        // As a rule all of it goes at once, and no clock is needed.
        let at_once = poll_fn(|context| match Pin::new(&mut *stream).poll_write(context, output) {
            Poll::Ready(written) => Poll::Ready(written),
            Poll::Pending => Poll::Ready(Ok(0)),
        });
        let Ok(written) = at_once.await else { return false };
        if let Some(rest) = output.get(written..).filter(|rest| !rest.is_empty()) {
            match timeout(self.shared.options.write, stream.write_all(rest)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return false,
                Err(_) => {
                    self.shared.counters.stalled();
                    return false;
                }
            }
        }
        self.session.written();
        true
    }
}
