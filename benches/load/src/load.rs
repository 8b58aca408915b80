//! Drives one kind of request over many connections and measures.
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::client::{Connection, Reply, Target};
use crate::process::{Usage, Watched};

/// What a right answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// SUCCESS with the element `running`.
    Running,
    /// A redirect to a server or its client.
    Redirect,
    /// SUCCESS that names a new meeting.
    Created,
    /// SUCCESS with at least this many meetings.
    Meetings(usize),
    /// SUCCESS.
    Success,
}

impl Expect {
    /// `floor` is the length of a list that was counted once; later ones are judged by their length.
    fn fault(self, reply: &Reply<'_>, floor: &Cell<usize>) -> Option<String> {
        let fits = match self {
            Self::Redirect => {
                let known = |url: &str| url.contains("/join?") || url.contains("sessionToken=");
                matches!(reply.status, 302 | 303 | 307) && reply.location.is_some_and(known)
            }
            Self::Running => success(reply) && has(reply.body, b"<running>"),
            Self::Created => {
                success(reply) && has(reply.body, b"<internalMeetingID>") && !has(reply.body, b"duplicateWarning")
            }
            Self::Success => success(reply),
            Self::Meetings(least) => {
                success(reply)
                    && match floor.get() {
                        0 if count(reply.body, b"<internalMeetingID>") < least => false,
                        0 => {
                            floor.set(reply.body.len() - reply.body.len() / 20);
                            true
                        }
                        floor => reply.body.len() >= floor,
                    }
            }
        };
        (!fits).then(|| {
            let body = String::from_utf8_lossy(&reply.body[..reply.body.len().min(300)]);
            format!("HTTP {} {}", reply.status, body.replace(['\n', '\r'], " "))
        })
    }
}

fn success(reply: &Reply<'_>) -> bool {
    reply.status == 200 && has(&reply.body[..reply.body.len().min(256)], b"<returncode>SUCCESS</returncode>")
}

fn has(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|part| part == text)
}

fn count(body: &[u8], text: &[u8]) -> usize {
    body.windows(text.len()).filter(|part| *part == text).count()
}

/// Requests of one kind.
pub(crate) struct Batch {
    pub(crate) requests: Vec<Vec<u8>>,
    /// Whether each request is sent at most once; otherwise they go round.
    pub(crate) once: bool,
    pub(crate) expect: Expect,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) elapsed: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// CPU time of the balancer, if its process is known.
    pub(crate) cpu: Option<Duration>,
    /// CPU time of its Redis, if it has one.
    pub(crate) redis: Option<Duration>,
    /// Resident memory of the balancer afterwards, in KiB.
    pub(crate) resident: Option<u64>,
    /// How many requests of the batch were begun, the warm-up included.
    pub(crate) begun: usize,
}

impl Outcome {
    /// CPU time of the balancer and its Redis.
    pub(crate) fn all_cpu(&self) -> Option<Duration> {
        Some(self.cpu? + self.redis.unwrap_or_default())
    }
}

/// When a run ends.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// After this time, or when requests sent once run out.
    Time { warm_up: Duration, measured: Duration },
    /// When every request was sent once.
    Done,
}

struct Run {
    batch: Batch,
    next: Cell<usize>,
    floor: Cell<usize>,
    latencies: RefCell<Vec<u32>>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
}

/// Sends the batch over `connections` connections.
pub(crate) async fn drive(
    target: &Target,
    batch: Batch,
    connections: usize,
    until: Until,
    watched: Option<Watched>,
) -> Outcome {
    let run = Rc::new(Run {
        batch,
        next: Cell::new(0),
        floor: Cell::new(0),
        latencies: RefCell::new(Vec::with_capacity(1 << 16)),
        errors: Cell::new(0),
        first_error: RefCell::new(None),
    });
    let mut open: Vec<Connection> = (0..connections).map(|_| Connection::new(target.addr)).collect();
    if let Until::Time { warm_up, .. } = until {
        open = round(&run, open, Some(Instant::now() + warm_up)).await;
        run.latencies.borrow_mut().clear();
    }
    let usage = || {
        let redis = watched.and_then(|watched| watched.redis);
        (watched.and_then(|watched| Usage::of(watched.balancer)), redis.and_then(Usage::of))
    };
    let (before, redis_before) = usage();
    let began = Instant::now();
    let end = match until {
        Until::Time { measured, .. } => Some(began + measured),
        Until::Done => None,
    };
    drop(round(&run, open, end).await);
    let elapsed = began.elapsed();
    let (after, redis_after) = usage();
    let spent = |before: Option<Usage>, after: Option<Usage>| Some(after?.cpu.saturating_sub(before?.cpu));
    let mut latencies = run.latencies.take();
    latencies.sort_unstable();
    let at = |percent: usize| {
        let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        Duration::from_nanos(latencies.get(index).copied().map_or(0, |ticks| u64::from(ticks) * TICK))
    };
    Outcome {
        requests: u64::try_from(latencies.len()).unwrap_or(u64::MAX),
        errors: run.errors.get(),
        first_error: run.first_error.take(),
        elapsed,
        p50: at(50),
        p99: at(99),
        cpu: spent(before, after),
        redis: spent(redis_before, redis_after),
        resident: after.map(|after| after.resident),
        begun: run.next.get().min(run.batch.requests.len()),
    }
}

/// Unit in which latencies are kept, in nanoseconds.
const TICK: u64 = 100;

/// Runs every connection until the end and hands them back.
async fn round(run: &Rc<Run>, open: Vec<Connection>, end: Option<Instant>) -> Vec<Connection> {
    let local = LocalSet::new();
    let tasks: Vec<_> = open.into_iter().map(|one| local.spawn_local(work(Rc::clone(run), one, end))).collect();
    local
        .run_until(async {
            let mut back = Vec::with_capacity(tasks.len());
            for task in tasks {
                // A connection whose task broke is left out; its errors are counted.
                back.extend(task.await.ok());
            }
            back
        })
        .await
}

async fn work(run: Rc<Run>, mut connection: Connection, end: Option<Instant>) -> Connection {
    let count = run.batch.requests.len();
    let mut now = Instant::now();
    while end.is_none_or(|end| now < end) {
        let index = run.next.get();
        if count == 0 || ((run.batch.once || end.is_none()) && index >= count) {
            break;
        }
        run.next.set(index + 1);
        let fault = match connection.exchange(&run.batch.requests[index % count]).await {
            Ok(reply) => run.batch.expect.fault(&reply, &run.floor),
            Err(error) => Some(error.to_string()),
        };
        let done = Instant::now();
        let ticks = u64::try_from((done - now).as_nanos()).unwrap_or(u64::MAX) / TICK;
        run.latencies.borrow_mut().push(u32::try_from(ticks).unwrap_or(u32::MAX));
        now = done;
        if let Some(fault) = fault {
            run.errors.set(run.errors.get() + 1);
            run.first_error.borrow_mut().get_or_insert(fault);
            // A server that refuses everything at once is not hammered.
            tokio::task::yield_now().await;
        }
    }
    connection
}

#[cfg(test)]
mod tests {
    use adapter_bbb::testing::{FakeBbb, FakeOptions, MeetingSpec, Mode};

    use super::*;

    async fn sent(fake: &FakeBbb, call: &str, query: &str, expect: Expect, times: usize) -> Outcome {
        let target = Target::parse(&fake.base(), fake.secret()).unwrap();
        let requests = vec![target.get(call, query); times];
        let watched = Watched { balancer: std::process::id(), redis: Some(std::process::id()) };
        drive(&target, Batch { requests, once: true, expect }, 4, Until::Done, Some(watched)).await
    }

    #[tokio::test]
    async fn right_answers_are_counted_and_measured() {
        let fake = FakeBbb::start(FakeOptions::new("s")).await.unwrap();
        fake.put_meeting(MeetingSpec::new("m"));
        for (call, query, expect) in [
            ("isMeetingRunning", "meetingID=m", Expect::Running),
            ("join", "meetingID=m&fullName=A", Expect::Redirect),
            ("getMeetings", "", Expect::Meetings(1)),
            ("end", "meetingID=m", Expect::Success),
        ] {
            let times = if call == "end" { 1 } else { 50 };
            let outcome = sent(&fake, call, query, expect, times).await;
            assert_eq!((outcome.requests, outcome.errors), (times as u64, 0), "{call} {:?}", outcome.first_error);
            assert!(
                outcome.p50 <= outcome.p99
                    && outcome.cpu.is_some()
                    && outcome.redis.is_some()
                    && outcome.resident > Some(100)
            );
        }
        assert_eq!(sent(&fake, "create", "meetingID=n", Expect::Created, 1).await.errors, 0);
        assert_eq!(fake.count("isMeetingRunning"), 50);
    }

    #[tokio::test]
    async fn wrong_answers_are_errors() {
        let fake = FakeBbb::start(FakeOptions::new("s")).await.unwrap();
        fake.put_meeting(MeetingSpec::new("m"));
        let join = "meetingID=m&fullName=A";
        for (call, query, expect) in [
            ("getMeetings", "", Expect::Meetings(2)),
            ("join", "meetingID=other", Expect::Redirect),
            ("create", "meetingID=m", Expect::Created),
            ("end", "meetingID=other", Expect::Success),
        ] {
            assert_eq!(sent(&fake, call, query, expect, 8).await.errors, 8, "{call}");
        }
        for mode in [Mode::Cut, Mode::Reset, Mode::Html502, Mode::Empty, Mode::Garbage, Mode::failed("a", "b")] {
            fake.set_mode_for(&["join"], mode.clone());
            let outcome = sent(&fake, "join", join, Expect::Redirect, 8).await;
            assert_eq!((outcome.requests, outcome.errors), (8, 8), "{mode:?}");
            assert!(outcome.first_error.is_some());
        }
        fake.set_mode_for(&["join"], Mode::Drip(Duration::ZERO));
        assert_eq!(sent(&fake, "join", join, Expect::Redirect, 8).await.errors, 0);
    }
}
