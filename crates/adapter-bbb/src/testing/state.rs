//! What a fake remembers: meetings, counters, requests.
use std::collections::{BTreeMap, VecDeque};

use balancer_core::WallClock;

use super::hold::{Gate, Stage};
use super::meeting::{Chance, FakeMeeting};
use super::mode::Rules;
use super::outside::FakeHook;

/// Requests kept in the log unless told otherwise.
pub(super) const LOG_LIMIT: usize = 10_000;
/// Distinct call names counted; what comes after them is counted together under `*`.
const CALL_LIMIT: usize = 256;

/// One request as it arrived.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoggedRequest {
    /// `GET` or `POST`.
    pub method: String,
    /// Call name, such as `create`; empty for the version probe.
    pub call: String,
    /// The query string as sent, checksum included; bytes that are not UTF-8 are replaced.
    pub query: String,
    /// Decoded parameters of the query, then of a form body, repeats included.
    pub params: Vec<(String, String)>,
    /// Header names in lower case, and their values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the checksum was right (always, for the version probe).
    pub checksum_ok: bool,
}

impl LoggedRequest {
    /// First value of a parameter: the one that counts.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// First value of a header; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// The inside of a fake, read by [`super::FakeBbb::inspect`] and [`super::FakeBbb::wait_for`].
#[derive(Debug)]
pub struct FakeState {
    pub(super) meetings: BTreeMap<String, FakeMeeting>,
    pub(super) hooks: Vec<FakeHook>,
    pub(super) last_hook: u64,
    /// Meetings by session token.
    pub(super) sessions: BTreeMap<String, String>,
    pub(super) feedback: Vec<String>,
    pub(super) ended: Vec<String>,
    pub(super) created: u64,
    pub(super) connections: u64,
    pub(super) open: u64,
    pub(super) bad_checksums: u64,
    pub(super) requests: u64,
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) log: VecDeque<LoggedRequest>,
    pub(super) log_limit: usize,
    pub(super) rules: Rules,
    pub(super) gates: Vec<Gate>,
    pub(super) chance: Chance,
    pub(super) clock: WallClock,
}

impl FakeState {
    pub(super) fn new(seed: u64, clock: WallClock) -> Self {
        Self {
            meetings: BTreeMap::new(),
            hooks: Vec::new(),
            last_hook: 0,
            sessions: BTreeMap::new(),
            feedback: Vec::new(),
            ended: Vec::new(),
            created: 0,
            connections: 0,
            open: 0,
            bad_checksums: 0,
            requests: 0,
            counts: BTreeMap::new(),
            log: VecDeque::new(),
            log_limit: LOG_LIMIT,
            rules: Rules::default(),
            gates: Vec::new(),
            chance: Chance::new(seed),
            clock,
        }
    }

    /// A meeting by its id.
    #[must_use]
    pub fn meeting(&self, id: &str) -> Option<&FakeMeeting> {
        self.meetings.get(id)
    }

    /// All meetings, by id.
    pub fn meetings(&self) -> impl ExactSizeIterator<Item = &FakeMeeting> {
        self.meetings.values()
    }

    /// Hooks, in the order in which they were registered.
    #[must_use]
    pub fn hooks(&self) -> &[FakeHook] {
        &self.hooks
    }

    /// Bodies of the feedbacks, oldest first.
    #[must_use]
    pub fn feedback(&self) -> &[String] {
        &self.feedback
    }

    /// Ids of the meetings that were ended by a call, in order.
    #[must_use]
    pub fn ended(&self) -> &[String] {
        &self.ended
    }

    /// How many meetings were ever made by a `create`.
    #[must_use]
    pub fn created_total(&self) -> u64 {
        self.created
    }

    /// How many connections were ever accepted.
    #[must_use]
    pub fn connections_accepted(&self) -> u64 {
        self.connections
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections_open(&self) -> u64 {
        self.open
    }

    /// How many requests came with a wrong checksum.
    #[must_use]
    pub fn bad_checksums(&self) -> u64 {
        self.bad_checksums
    }

    /// How many requests of any call came in.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// How many requests of this call came in; the empty name is the version probe.
    #[must_use]
    pub fn count(&self, call: &str) -> u64 {
        self.counts.get(call).copied().unwrap_or_default()
    }

    /// The requests kept, oldest first.
    pub fn log(&self) -> impl ExactSizeIterator<Item = &LoggedRequest> {
        self.log.iter()
    }

    pub(super) fn tally(&mut self, call: &str, checksum_ok: bool) {
        self.requests += 1;
        self.bad_checksums += u64::from(!checksum_ok);
        if let Some(count) = self.counts.get_mut(call) {
            *count += 1;
        } else {
            let name = if self.counts.len() < CALL_LIMIT { call } else { "*" };
            *self.counts.entry(name.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn record(&mut self, request: LoggedRequest) {
        while self.log.len() >= self.log_limit.max(1) {
            self.log.pop_front();
        }
        if self.log_limit > 0 {
            self.log.push_back(request);
        }
    }

    /// Takes the oldest gate that waits for this call at this stage.
    pub(super) fn gate(&mut self, call: &str, stage: Stage) -> Option<Gate> {
        if self.gates.is_empty() {
            return None;
        }
        self.gates.retain(Gate::is_live);
        let at = self.gates.iter().position(|gate| gate.stage == stage && gate.call == call)?;
        Some(self.gates.remove(at))
    }
}
