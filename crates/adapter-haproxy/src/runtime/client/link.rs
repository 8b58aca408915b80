//! One open connection.

use std::future::{Future, poll_fn};
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::codec::Framing;
use super::super::command::Command;
use super::super::limit::later;
use super::super::session::{Session, SessionError, SessionEvent, SessionLimits};
use super::RuntimeAddress;
use crate::trace::{Protocol, Recorder, Side, Tape};

/// What takes events: the place of the command among those sent, and what happened to it.
pub(in crate::runtime) type Sink<'a> = &'a mut (dyn FnMut(usize, SessionEvent<'_>) -> ControlFlow<()> + Send);

const READ: usize = 64 << 10;

/// Why an exchange did not end well.
#[derive(Debug)]
pub(in crate::runtime) enum Why {
    /// Nobody there.
    Connect(io::Error),
    /// The other side closed, or broke off.
    Lost,
    /// The time was up.
    Deadline(Duration),
    /// The bytes are wrong.
    Session(SessionError),
    /// Whoever takes the lines has had enough.
    Stopped,
}

/// How far an exchange came.
#[derive(Debug)]
pub(in crate::runtime) struct Broken {
    pub(in crate::runtime) why: Why,
    /// The command that was not answered.
    pub(in crate::runtime) at: usize,
    /// Whether anything of the commands was written.
    pub(in crate::runtime) sent: bool,
}

impl Broken {
    pub(in crate::runtime) fn new(why: Why) -> Self {
        Self { why, at: 0, sent: false }
    }

    pub(in crate::runtime) fn is_lost(&self) -> bool {
        matches!(self.why, Why::Lost)
    }
}

#[derive(Debug)]
enum Io {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Io {
    async fn open(address: &RuntimeAddress) -> io::Result<Self> {
        match address {
            RuntimeAddress::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
            RuntimeAddress::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str()).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            RuntimeAddress::Worker { .. } => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "a worker has no socket of its own behind a master"))
            }
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(s) => Pin::new(s).poll_read(context, buffer),
            Self::Tcp(s) => Pin::new(s).poll_read(context, buffer),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Unix(s) => Pin::new(s).poll_write(context, bytes),
            Self::Tcp(s) => Pin::new(s).poll_write(context, bytes),
        }
    }

    /// Says that nothing more will be sent.
    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(s) => Pin::new(s).poll_shutdown(context),
            Self::Tcp(s) => Pin::new(s).poll_shutdown(context),
        }
    }
}

/// A connection and what was asked over it.
#[derive(Debug)]
pub(in crate::runtime) struct Link {
    io: Io,
    session: Session,
    /// Whether a master waits for us to say that nothing more comes.
    finish: bool,
    buffer: Vec<u8>,
    /// Armed for the end of this wait or an earlier one, and looked at again then: to arm it for each answer costs more
    /// than to read the answer.
    alarm: Pin<Box<Sleep>>,
    pub(in crate::runtime) born: Instant,
    pub(in crate::runtime) used: Instant,
    tape: Option<Tape>,
}

impl Link {
    pub(in crate::runtime) async fn open(
        address: &RuntimeAddress,
        framing: Framing,
        limits: SessionLimits,
        recorder: Option<&Recorder>,
    ) -> io::Result<Self> {
        let io = Io::open(address).await?;
        let now = Instant::now();
        let session = Session::new(framing, limits);
        let mut tape = recorder.map(|recorder| recorder.tape(Protocol::Runtime, Side::Us, &address.to_string(), []));
        if let Some(tape) = &mut tape {
            tape.said(session.transmit());
        }
        let finish = framing == Framing::Close;
        // A master answers one command, mostly a short one.
        let room = if finish { READ / 8 } else { READ };
        Ok(Self {
            io,
            session,
            finish,
            buffer: vec![0; room],
            alarm: Box::pin(sleep_until(now)),
            born: now,
            used: now,
            tape,
        })
    }

    /// Sends these commands and takes all answers.
    pub(in crate::runtime) async fn exchange(
        &mut self,
        prefix: &str,
        commands: &[Command],
        end: Instant,
        silence: Duration,
        sink: Sink<'_>,
    ) -> Result<(), Broken> {
        let began = Instant::now();
        let (mut next, mut answered, mut sent) = (0, 0, false);
        let mut heard = began;
        loop {
            let low = self.session.is_low();
            while low
                && self.session.has_room()
                && let Some(command) = commands.get(next)
            {
                let before = self.session.transmit().len();
                self.session.submit(prefix, command);
                if let Some(tape) = &mut self.tape {
                    tape.said(self.session.transmit().get(before..).unwrap_or_default());
                }
                next += 1;
            }
            let broken = |why, answered, sent| Err(Broken { why, at: answered, sent });
            let until = end.min(later(heard, silence));
            let Some(read) = self.step(&mut sent, until).await else {
                return broken(Why::Deadline(until - began), answered, sent);
            };
            let mut flow = ControlFlow::Continue(());
            let mut take = |event: SessionEvent<'_>| {
                if flow.is_continue() {
                    flow = sink(answered, event);
                }
                if matches!(event, SessionEvent::End { .. }) {
                    answered += 1;
                }
            };
            match read {
                Ok(0) => {
                    let result = self.session.closed(&mut take);
                    return match result {
                        Ok(()) if answered == commands.len() => Ok(()),
                        Ok(()) | Err(SessionError::Closed) => broken(Why::Lost, answered, sent),
                        Err(e) => broken(Why::Session(e), answered, sent),
                    };
                }
                Ok(n) => {
                    let bytes = self.buffer.get(..n).unwrap_or_default();
                    if let Some(tape) = &mut self.tape {
                        tape.heard(bytes);
                    }
                    if let Err(e) = self.session.receive(bytes, &mut take) {
                        return broken(Why::Session(e), answered, sent);
                    }
                    if flow.is_break() {
                        return broken(Why::Stopped, answered, sent);
                    }
                    heard = Instant::now();
                    if answered == commands.len() && self.session.is_idle() {
                        return Ok(());
                    }
                    if heard >= end {
                        return broken(Why::Deadline(end - began), answered, sent);
                    }
                }
                Err(_) => return broken(Why::Lost, answered, sent),
            }
        }
    }

    /// Writes what there is to write and waits for something to read; the bytes read are in the buffer. `None` if the
    /// time is up.
    async fn step(&mut self, sent: &mut bool, until: Instant) -> Option<io::Result<usize>> {
        let Self { io, session, buffer, finish, alarm, .. } = self;
        if alarm.is_elapsed() || alarm.deadline() > until {
            alarm.as_mut().reset(until);
        }
        let mut broken = false;
        poll_fn(|context| {
            while !broken && !session.transmit().is_empty() {
                match io.poll_write(context, session.transmit()) {
                    Poll::Ready(Ok(n)) => {
                        *sent |= n > 0;
                        session.transmitted(n);
                    }
                    // A last answer may have come before it closed.
                    Poll::Ready(Err(_)) => broken = true,
                    Poll::Pending => break,
                }
            }
            if *finish && session.transmit().is_empty() {
                // A master keeps the connection otherwise, and a prompt of its own would not tell answers apart.
                match io.poll_finish(context) {
                    Poll::Ready(result) => {
                        *finish = false;
                        broken |= result.is_err();
                    }
                    Poll::Pending => {}
                }
            }
            let mut into = ReadBuf::new(buffer);
            match io.poll_read(context, &mut into) {
                Poll::Ready(result) => return Poll::Ready(Some(result.map(|()| into.filled().len()))),
                Poll::Pending if broken => return Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into()))),
                Poll::Pending => {}
            }
            while alarm.as_mut().poll(context).is_ready() {
                if Instant::now() >= until {
                    return Poll::Ready(None);
                }
                alarm.as_mut().reset(until);
            }
            Poll::Pending
        })
        .await
    }
}
