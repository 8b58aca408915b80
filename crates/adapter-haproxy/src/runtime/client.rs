//! A connection to a live HAProxy, kept as long as that is safe.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::codec::Framing;
use super::command::Command;
use super::error::{Refusal, ReplyError, RuntimeError, shown};
use super::limit::{Limit, later};
use super::reply::{Info, Reply};
use super::session::{Level, SessionEvent, SessionLimits};

mod address;
mod ask;
mod change;
mod link;
mod options;
mod process;

pub use address::{RuntimeAddress, WorkerTarget};
pub use change::RemoveOptions;
pub(super) use link::{Broken, Link, Sink, Why};
pub use options::ClientOptions;
pub(crate) use process::Pinned;
pub use process::Process;

#[derive(Debug, Default)]
struct State {
    link: Option<Link>,
    process: Option<Process>,
    generation: u64,
    /// When the process was last looked at.
    looked: Option<Instant>,
}

/// Asks and orders one HAProxy. Calls wait for one another; share it behind an `Arc`.
///
/// It connects at the first call and again when it must. A question whose connection is lost before any answer is asked
/// once more; an order is not, unless nothing of it was sent: see [`RuntimeError::maybe_done`].
#[derive(Debug)]
pub struct Client {
    address: RuntimeAddress,
    options: ClientOptions,
    state: Mutex<State>,
}

impl Client {
    /// A client of the runtime socket at this address. Nothing is sent yet.
    pub fn new(address: RuntimeAddress, options: ClientOptions) -> Self {
        Self { address, options, state: Mutex::default() }
    }

    /// Where it connects to.
    pub fn address(&self) -> &RuntimeAddress {
        &self.address
    }

    /// How it behaves.
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    fn call_limit(&self) -> Limit {
        Limit { began: Instant::now(), total: self.options.deadline, silence: self.options.deadline }
    }

    fn dump_limit(&self) -> Limit {
        Limit { began: Instant::now(), total: self.options.dump_deadline, silence: self.options.deadline }
    }

    /// Lets go of the connection, so that the next call meets the process that listens now.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropped while it waits for a call under way, nothing has changed.
    pub async fn renew(&self) {
        let mut state = self.state.lock().await;
        state.link = None;
        state.looked = None;
    }

    /// The process that answers now. Connects if need be.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`] if nobody answers.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn process(&self) -> Result<Process, RuntimeError> {
        let limit = self.call_limit();
        let mut state = self.lock(limit, "show info").await?;
        self.meet(&mut state, limit).await?;
        state.process.clone().ok_or_else(|| self.lost("show info", false))
    }

    /// Makes sure that the process which listens now is still that one, over a connection of its own: what was ordered
    /// since is then in the memory of a process that serves, not of one on its way out.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::NewProcess`] if it is another one; [`RuntimeError`] if nobody answers.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn confirm(&self, process: &Process) -> Result<(), RuntimeError> {
        self.confirm_pin(process.pin()).await
    }

    pub(crate) async fn confirm_pin(&self, was: Pinned) -> Result<(), RuntimeError> {
        self.renew().await;
        let now = self.process().await?;
        if now.generation == was.generation {
            return Ok(());
        }
        Err(RuntimeError::NewProcess { address: self.address.to_string(), was: was.pid, is: now.pid })
    }

    /// One command. The answer is what the command calls success.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped after an order was sent, the order may be carried out; the connection is given up.
    pub async fn call(&self, command: &Command) -> Result<Reply, RuntimeError> {
        self.call_of(command, None).await
    }

    /// An order: one command, of whose answer only success counts.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call).
    pub async fn order(&self, command: &Command) -> Result<(), RuntimeError> {
        self.call(command).await.map(drop)
    }

    pub(crate) async fn call_of(&self, command: &Command, pinned: Option<Pinned>) -> Result<Reply, RuntimeError> {
        let commands = std::slice::from_ref(command);
        let mut replies = self.call_within(commands, pinned, self.call_limit()).await?;
        Ok(replies.pop().ok_or_else(|| self.lost(command.line(), false))??)
    }

    /// Many commands, sent without waiting for each answer; the answers in order, refusals among them. All are sent,
    /// whatever the answers say.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`] if not all were answered; those before may have been carried out.
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call), for each of them.
    pub async fn call_all(&self, commands: &[Command]) -> Result<Vec<Result<Reply, Refusal>>, RuntimeError> {
        self.call_within(commands, None, self.dump_limit()).await
    }

    pub(super) async fn call_all_of(
        &self,
        commands: &[Command],
        pinned: Pinned,
    ) -> Result<Vec<Result<Reply, Refusal>>, RuntimeError> {
        self.call_within(commands, Some(pinned), self.dump_limit()).await
    }

    async fn call_within(
        &self,
        commands: &[Command],
        pinned: Option<Pinned>,
        limit: Limit,
    ) -> Result<Vec<Result<Reply, Refusal>>, RuntimeError> {
        let mut replies = vec![Reply::default(); commands.len()];
        let mut sink = |i: usize, event: SessionEvent<'_>| {
            if let SessionEvent::Line(line) = event
                && let Some(reply) = replies.get_mut(i)
            {
                reply.push(line);
            }
            ControlFlow::Continue(())
        };
        let level = self.run(commands, pinned, limit, &mut sink).await?;
        let taken = commands.iter().zip(replies).map(|(command, reply)| match command.accept(&reply) {
            Ok(_) => Ok(reply),
            Err(refusal) => Err(refusal.at_level(level)),
        });
        Ok(taken.collect())
    }

    /// One question whose answer may be long: each line is handed over as it comes, and none is kept. The limits are
    /// [`dump_deadline`](ClientOptions::dump_deadline) and [`max_answer`](ClientOptions::max_answer). `Break` ends it:
    /// the connection is given up. Answers how many lines were handed over.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`]; lines may have been handed over before.
    ///
    /// # Cancel safety
    ///
    /// Safe: the connection is given up.
    pub async fn lines<F>(&self, command: &Command, each: F) -> Result<u64, RuntimeError>
    where
        F: FnMut(&str) -> ControlFlow<()> + Send,
    {
        self.lines_of(command, None, each).await
    }

    pub(super) async fn lines_of<F>(
        &self,
        command: &Command,
        pinned: Option<Pinned>,
        mut each: F,
    ) -> Result<u64, RuntimeError>
    where
        F: FnMut(&str) -> ControlFlow<()> + Send,
    {
        let mut count = 0_u64;
        let mut refused: Option<Reply> = None;
        let mut sink = |_: usize, event: SessionEvent<'_>| {
            let SessionEvent::Line(line) = event else { return ControlFlow::Continue(()) };
            if let Some(refused) = &mut refused {
                refused.push(line);
                return ControlFlow::Continue(());
            }
            // A table refuses in its second line.
            if count == 0 || (count == 1 && line.starts_with(b"# contents not dumped")) {
                let mut first = Reply::default();
                first.push(line);
                if command.accept(&first).is_err() {
                    refused = Some(first);
                    return ControlFlow::Continue(());
                }
            }
            count += 1;
            each(&String::from_utf8_lossy(line))
        };
        let level = self.run(std::slice::from_ref(command), pinned, self.dump_limit(), &mut sink).await?;
        if let Some(reply) = refused {
            command.accept(&reply).map_err(|refusal| refusal.at_level(level))?;
        }
        Ok(count)
    }

    /// Reads an answer that is not understood as an error of this command.
    fn misread(&self, command: &Command) -> impl Fn(ReplyError) -> RuntimeError + use<> {
        let line = command.line().to_owned();
        move |e| RuntimeError::Reply(e.of(&line))
    }

    async fn lock(&self, limit: Limit, command: &str) -> Result<MutexGuard<'_, State>, RuntimeError> {
        if let Ok(state) = self.state.try_lock() {
            return Ok(state);
        }
        timeout_at(limit.end(), self.state.lock()).await.map_err(|_| self.too_late(command, limit.total, false))
    }

    /// Sends commands; answers the level of the socket.
    async fn run(
        &self,
        commands: &[Command],
        pinned: Option<Pinned>,
        limit: Limit,
        sink: Sink<'_>,
    ) -> Result<Option<Level>, RuntimeError> {
        let Some(first) = commands.first() else { return Ok(None) };
        let mut state = self.lock(limit, first.line()).await?;
        let heard = AtomicBool::new(false);
        let mut watched = |i: usize, event: SessionEvent<'_>| {
            heard.store(true, Ordering::Relaxed);
            sink(i, event)
        };
        let mut again = true;
        if pinned.is_some() && matches!(self.address, RuntimeAddress::Worker { .. }) {
            // `@1` is whoever it is now.
            state.looked = None;
        }
        loop {
            self.meet(&mut state, limit).await?;
            let level = state.process.as_ref().map(|p| p.level);
            if let (Some(was), Some(process)) = (pinned, &state.process)
                && was.generation != process.generation
            {
                let address = self.address.to_string();
                return Err(RuntimeError::NewProcess { address, was: was.pid, is: process.pid });
            }
            let result = match &self.address {
                RuntimeAddress::Worker { master, target } => {
                    self.through_master(master, *target, commands, limit, &mut watched).await
                }
                _ => {
                    // Taken out, so that a dropped future leaves no half-read answer behind.
                    let Some(mut link) = state.link.take() else { return Err(self.lost(first.line(), false)) };
                    let result = link.exchange("", commands, limit.end(), limit.silence, &mut watched).await;
                    if result.is_ok() {
                        link.used = Instant::now();
                        state.link = Some(link);
                    }
                    result
                }
            };
            match result {
                Ok(()) => return Ok(level),
                Err(broken) if matches!(broken.why, Why::Stopped) => return Ok(level),
                Err(broken) => {
                    let safe = !broken.sent || commands.iter().all(|c| !c.writes());
                    if again && safe && broken.is_lost() && !heard.load(Ordering::Relaxed) {
                        again = false;
                        continue;
                    }
                    return Err(self.error(&broken, commands, limit));
                }
            }
        }
    }

    /// Sends each command over a connection of its own.
    async fn through_master(
        &self,
        master: &RuntimeAddress,
        target: WorkerTarget,
        commands: &[Command],
        limit: Limit,
        sink: Sink<'_>,
    ) -> Result<(), Broken> {
        let prefix = target.prefix();
        for (i, command) in commands.iter().enumerate() {
            let mut link = self.open(master, Framing::Close, limit).await.map_err(|mut b| {
                b.sent = i > 0;
                b
            })?;
            let one = std::slice::from_ref(command);
            let mut sink = |_: usize, event: SessionEvent<'_>| sink(i, event);
            let result = link.exchange(&prefix, one, limit.end(), limit.silence, &mut sink).await;
            result.map_err(|mut broken| {
                broken.at = i;
                broken.sent |= i > 0;
                broken
            })?;
        }
        Ok(())
    }

    /// Opens a connection, waiting for a process that is not there.
    pub(super) async fn open(&self, address: &RuntimeAddress, framing: Framing, limit: Limit) -> Result<Link, Broken> {
        let limits = SessionLimits { max_answer: self.options.max_answer, ..SessionLimits::default() };
        let patience = later(Instant::now(), self.options.come_back).min(limit.end());
        let mut pause = Duration::from_millis(2);
        loop {
            match timeout_at(limit.end(), Link::open(address, framing, limits, self.options.recorder.as_ref())).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(e)) => {
                    let next = Instant::now() + pause;
                    if next > patience {
                        return Err(Broken::new(Why::Connect(e)));
                    }
                    sleep_until(next).await;
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
                Err(_) => return Err(Broken::new(Why::Deadline(limit.total))),
            }
        }
    }

    /// Makes sure that there is a connection young enough, and that the process at its end is known.
    async fn meet(&self, state: &mut State, limit: Limit) -> Result<(), RuntimeError> {
        let now = Instant::now();
        let young =
            |link: &Link| now < later(link.used, self.options.idle) && now < later(link.born, self.options.max_age);
        let looked = state.looked.is_some_and(|at| now < later(at, self.options.max_age));
        let via_master = matches!(self.address, RuntimeAddress::Worker { .. });
        if looked && (via_master || state.link.as_ref().is_some_and(young)) {
            return Ok(());
        }
        state.link = None;
        let mut tries = 0_u32;
        let patience = later(now, self.options.come_back);
        loop {
            let commands = [Command::show_info(), Command::show_level()];
            let mut replies = [Reply::default(), Reply::default()];
            let mut sink = |i: usize, event: SessionEvent<'_>| {
                if let (SessionEvent::Line(line), Some(reply)) = (event, replies.get_mut(i)) {
                    reply.push(line);
                }
                ControlFlow::Continue(())
            };
            let result = match &self.address {
                RuntimeAddress::Worker { master, target } => {
                    self.through_master(master, *target, &commands[..1], limit, &mut sink).await.map(|()| None)
                }
                address => match self.open(address, Framing::Prompt, limit).await {
                    Ok(mut link) => {
                        let end = limit.end();
                        link.exchange("", &commands, end, limit.silence, &mut sink).await.map(|()| Some(link))
                    }
                    Err(broken) => Err(broken),
                },
            };
            let link = match result {
                Ok(link) => link,
                // A process that stops closes what it has just accepted.
                Err(broken) if broken.is_lost() && tries < 20 && Instant::now() < patience => {
                    tries += 1;
                    sleep_until(Instant::now() + Duration::from_millis(5)).await;
                    continue;
                }
                Err(broken) => return Err(self.error(&broken, &commands, limit)),
            };
            let [info, level] = &replies;
            let text = commands[0].accept(info)?;
            let info = Info::parse(text).map_err(self.misread(&commands[0]))?;
            if info.is_stopping() && Instant::now() + Duration::from_millis(5) < patience.min(limit.end()) {
                // On its way out: another process may take over at any moment.
                sleep_until(Instant::now() + Duration::from_millis(5)).await;
                continue;
            }
            let level = match link {
                Some(_) => level.text().parse().map_err(self.misread(&commands[1]))?,
                None => Level::Admin,
            };
            let known = |p: &Process| p.pid == info.pid() && p.started == info.started();
            if !state.process.as_ref().is_some_and(known) {
                state.generation += 1;
            }
            state.process = Some(Process {
                pid: info.pid(),
                started: info.started(),
                version: info.version(),
                version_text: info.version_text().to_owned(),
                level,
                stopping: info.is_stopping(),
                generation: state.generation,
            });
            state.looked = Some(Instant::now());
            state.link = link;
            return Ok(());
        }
    }

    fn lost(&self, command: &str, maybe_done: bool) -> RuntimeError {
        RuntimeError::Lost { address: self.address.to_string(), command: shown(command), maybe_done }
    }

    fn too_late(&self, command: &str, after: Duration, maybe_done: bool) -> RuntimeError {
        RuntimeError::Deadline { address: self.address.to_string(), command: shown(command), after, maybe_done }
    }

    pub(super) fn error(&self, broken: &Broken, commands: &[Command], limit: Limit) -> RuntimeError {
        let command = commands.get(broken.at).map(|c| c.line()).unwrap_or_default();
        let maybe_done = broken.sent && commands.iter().any(Command::writes);
        let address = self.address.to_string();
        match &broken.why {
            Why::Connect(e) => RuntimeError::Connect { address, source: std::io::Error::new(e.kind(), e.to_string()) },
            Why::Lost | Why::Stopped => self.lost(command, maybe_done),
            Why::Deadline(after) => self.too_late(command, (*after).min(limit.total), maybe_done),
            Why::Session(source) => RuntimeError::Session { address, source: source.clone() },
        }
    }

    pub(super) fn limit_of(&self, total: Duration) -> Limit {
        Limit { began: Instant::now(), total, silence: total }
    }
}
