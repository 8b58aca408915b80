//! What was asked on one connection, what of it is answered, and until when an answer is waited for. No sockets, no
//! clock: bytes and the time come in, bytes and events go out.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use thiserror::Error;

use super::codec::{Decoder, Framing, MAX_ANSWER, Piece};
use super::command::Command;

/// What a socket may do. Later ones may do what earlier ones may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Look at counters.
    User,
    /// Look at everything, change maps (not on 3.x) and reset counters.
    Operator,
    /// Everything.
    Admin,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// Reads the answer to `show cli level`.
impl FromStr for Level {
    type Err = super::ReplyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "user" => Ok(Self::User),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            other => Err(super::ReplyError::new(1, other, "user, operator or admin")),
        }
    }
}

/// Bytes that are not those of a runtime socket, or too many of them. The connection is of no use afterwards.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The answer is longer than allowed.
    #[error(
        "the answer is longer than {max} bytes: ask for less (one backend, one table, a filter), or raise the limit"
    )]
    TooLarge {
        /// The limit in bytes.
        max: u64,
    },
    /// A line is longer than allowed.
    #[error("a line of the answer is longer than {max} bytes: this is no runtime socket")]
    LineTooLong {
        /// The limit in bytes.
        max: usize,
    },
    /// The socket of a master process.
    #[error("this is the socket of a master process, which takes @1 before a command: use the master client for it")]
    Master,
    /// Something else than HAProxy.
    #[error("this is no runtime socket of HAProxy: it answered {text:?} to the first command")]
    NotHaproxy {
        /// The answer, cut.
        text: String,
    },
    /// An answer to nothing.
    #[error("an answer came that nothing was asked for ({text:?}): the connection is given up")]
    Unasked {
        /// Its first line, cut.
        text: String,
    },
    /// The connection ended before all answers had come.
    #[error("the connection ended before the answer did")]
    Closed,
    /// The time was up.
    #[error("no answer in time")]
    Deadline,
}

/// Limits of one session.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SessionLimits {
    /// The most bytes of one answer. Default [`MAX_ANSWER`].
    pub max_answer: u64,
    /// The most bytes of commands under way, so that neither side waits for the other to read. Default 64 KiB.
    pub window: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { max_answer: MAX_ANSWER, window: 64 << 10 }
    }
}

/// What happened to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent<'a> {
    /// One line of the answer to the oldest unanswered command.
    Line(&'a [u8]),
    /// That answer is whole.
    End {
        /// Whether an empty line closed it.
        terminated: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The prompt was asked for: an empty answer.
    Prompt,
    /// Severities were asked for: any answer.
    Severity,
    /// A caller's command of this many bytes.
    Command(usize),
}

/// One connection's state. Feed it [`receive`](Self::receive), write what [`transmit`](Self::transmit) gives, look at
/// the clock at [`deadline`](Self::deadline).
#[derive(Debug)]
pub struct Session {
    decoder: Decoder,
    framing: Framing,
    asked: VecDeque<Asked>,
    out: Vec<u8>,
    written: usize,
    /// Bytes of commands not answered.
    under_way: usize,
    window: usize,
    deadline: Option<Instant>,
}

impl Session {
    /// A connection just made. With [`Framing::Prompt`] it asks for the prompt and for severities at once.
    pub fn new(framing: Framing, limits: SessionLimits) -> Self {
        let mut session = Self {
            decoder: Decoder::new(framing, limits.max_answer),
            framing,
            asked: VecDeque::new(),
            out: Vec::new(),
            written: 0,
            under_way: 0,
            window: limits.window,
            deadline: None,
        };
        if framing == Framing::Prompt {
            session.out.extend_from_slice(b"prompt\nset severity-output number\n");
            session.asked.extend([Asked::Prompt, Asked::Severity]);
        }
        session
    }

    /// Whether one more command may be sent before answers come: as many bytes as fit, one command at least. A
    /// connection without a prompt takes one.
    pub fn has_room(&self) -> bool {
        match self.framing {
            Framing::Prompt => self.under_way < self.window,
            Framing::Close => self.asked.is_empty(),
        }
    }

    /// Whether so much is answered that it is worth while to send more, rather than a few commands at a time: no more
    /// than half of what may be under way.
    pub fn is_low(&self) -> bool {
        match self.framing {
            Framing::Prompt => self.under_way <= self.window / 2,
            Framing::Close => self.asked.is_empty(),
        }
    }

    /// Sends a command, with a prefix such as `@1 ` for a master.
    pub fn submit(&mut self, prefix: &str, command: &Command) {
        let before = self.out.len();
        self.out.extend_from_slice(prefix.as_bytes());
        command.encode(&mut self.out);
        let len = self.out.len() - before;
        self.under_way += len;
        self.asked.push_back(Asked::Command(len));
    }

    /// Until when answers are waited for; `None` without end.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// When [`check_time`](Self::check_time) has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_idle() { None } else { self.deadline }
    }

    /// Whether the time is up with answers missing.
    ///
    /// # Errors
    ///
    /// [`SessionError::Deadline`] if so.
    pub fn check_time(&self, now: Instant) -> Result<(), SessionError> {
        if self.deadline().is_some_and(|end| now >= end) { Err(SessionError::Deadline) } else { Ok(()) }
    }

    /// Everything asked is answered.
    pub fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// Callers' commands not answered yet.
    pub fn unanswered(&self) -> usize {
        self.asked.iter().filter(|a| matches!(a, Asked::Command(_))).count()
    }

    /// What is to be written.
    pub fn transmit(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    /// That many bytes of it were written.
    pub fn transmitted(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes).min(self.out.len());
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
    }

    /// Reads these bytes; lines and ends of answers go to the sink, in the order of the commands.
    ///
    /// # Errors
    ///
    /// [`SessionError`]: the connection is of no use any more.
    pub fn receive(&mut self, bytes: &[u8], sink: &mut dyn FnMut(SessionEvent<'_>)) -> Result<(), SessionError> {
        let Self { decoder, asked, under_way, framing, .. } = self;
        let mut wrong = None;
        let mut step = |piece: Piece<'_>| {
            answer(piece, asked, under_way, sink, &mut wrong);
            // 2.8 keeps the connection after this, though it was told that nothing more comes.
            if *framing == Framing::Close
                && let Piece::Line(line) = piece
                && line.starts_with(b"Can't find the target")
                && !asked.is_empty()
            {
                answer(Piece::End { terminated: false }, asked, under_way, sink, &mut wrong);
            }
        };
        decoder.read(bytes, &mut step)?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if self.asked.front() == Some(&Asked::Prompt) && self.decoder.rest().ends_with(b"master> ") {
            return Err(SessionError::Master);
        }
        Ok(())
    }

    /// The other side closed the connection.
    ///
    /// # Errors
    ///
    /// [`SessionError::Closed`] if answers are missing.
    pub fn closed(&mut self, sink: &mut dyn FnMut(SessionEvent<'_>)) -> Result<(), SessionError> {
        let Self { decoder, asked, under_way, .. } = self;
        let mut wrong = None;
        if !asked.is_empty() {
            decoder.close(&mut |piece| answer(piece, asked, under_way, sink, &mut wrong));
        }
        match wrong {
            Some(wrong) => Err(wrong),
            None if self.asked.is_empty() => Ok(()),
            None => Err(SessionError::Closed),
        }
    }
}

fn answer(
    piece: Piece<'_>,
    asked: &mut VecDeque<Asked>,
    under_way: &mut usize,
    sink: &mut dyn FnMut(SessionEvent<'_>),
    wrong: &mut Option<SessionError>,
) {
    if wrong.is_some() {
        return;
    }
    let cut = |line: &[u8]| String::from_utf8_lossy(line).chars().take(80).collect::<String>();
    match (piece, asked.front()) {
        (Piece::Line(line), Some(Asked::Prompt)) if line.starts_with(b"master> ") => {
            *wrong = Some(SessionError::Master)
        }
        (Piece::Line(line), Some(Asked::Prompt)) => *wrong = Some(SessionError::NotHaproxy { text: cut(line) }),
        (Piece::Line(_), Some(Asked::Severity)) => {}
        (Piece::Line(line), Some(Asked::Command(_))) => sink(SessionEvent::Line(line)),
        (Piece::Line(b""), None) => {}
        (Piece::Line(line), None) => *wrong = Some(SessionError::Unasked { text: cut(line) }),
        (Piece::End { terminated }, Some(Asked::Command(len))) => {
            *under_way = under_way.saturating_sub(*len);
            asked.pop_front();
            sink(SessionEvent::End { terminated });
        }
        (Piece::End { .. }, Some(_)) => {
            asked.pop_front();
        }
        (Piece::End { .. }, None) => *wrong = Some(SessionError::Unasked { text: String::new() }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn session() -> Session {
        Session::new(Framing::Prompt, SessionLimits::default())
    }

    fn events(session: &mut Session, bytes: &[u8]) -> Result<Vec<String>, SessionError> {
        let mut out = vec![];
        let mut sink = |e: SessionEvent<'_>| {
            out.push(match e {
                SessionEvent::Line(l) => String::from_utf8_lossy(l).into_owned(),
                SessionEvent::End { .. } => "END".to_owned(),
            });
        };
        session.receive(bytes, &mut sink)?;
        Ok(out)
    }

    #[test]
    fn answers_belong_to_commands_in_order() {
        let mut s = session();
        s.submit("", &Command::show_level());
        s.submit("", &Command::show_version());
        assert_eq!(s.transmit(), b"prompt\nset severity-output number\nshow cli level\nshow version\n");
        let all = s.transmit().len();
        s.transmitted(all);
        assert_eq!(s.unanswered(), 2);
        assert_eq!(events(&mut s, b"\n> \n> admin\n\n> 2.6.12\n\n> ").unwrap(), ["admin", "END", "2.6.12", "END"]);
        assert!(s.is_idle() && s.transmit().is_empty());
        assert!(matches!(events(&mut s, b"more\n"), Err(SessionError::Unasked { .. })));
    }

    #[test]
    fn other_sockets_are_told_apart() {
        for bytes in [&b"\nmaster> "[..], b"master> Unknown command\n"] {
            assert_eq!(events(&mut session(), bytes), Err(SessionError::Master));
        }
        assert!(matches!(events(&mut session(), b"HTTP/1.0 400 Bad\r\n"), Err(SessionError::NotHaproxy { .. })));
        assert_eq!(session().closed(&mut |_| {}), Err(SessionError::Closed));
    }

    #[test]
    fn time_is_up_only_while_something_is_missing() {
        let now = Instant::now();
        let mut s = session();
        s.set_deadline(Some(now + Duration::from_secs(1)));
        assert!(s.check_time(now).is_ok());
        assert_eq!(s.check_time(now + Duration::from_secs(1)), Err(SessionError::Deadline));
        events(&mut s, b"\n> \n> ").unwrap();
        assert_eq!(s.deadline(), None);
        assert!(s.check_time(now + Duration::from_secs(1)).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes(bytes: Vec<u8>, commands in 0_usize..4) {
            for framing in [Framing::Prompt, Framing::Close] {
                let mut s = Session::new(framing, SessionLimits::default());
                for _ in 0..commands {
                    s.submit("", &Command::show_version());
                }
                let _ = events(&mut s, &bytes);
                let _ = s.closed(&mut |_| {});
            }
        }
    }
}
