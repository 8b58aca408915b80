//! Conversations recorded by other means, as records.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::error::TraceError;
use super::record::{Happened, MAX_BYTES, Protocol, Record, Side};

/// Reads a capture in JSON: `events` of peers, `scenarios` of agents or the `transcript` of a runtime socket, with bytes
/// as hexadecimal digits or as text. Between two HAProxys the one that called stands for us.
///
/// # Errors
/// [`TraceError::Capture`] at what is none of these, or has no bytes or direction where it should.
pub fn read_capture(file: &Value) -> Result<Vec<Record>, TraceError> {
    let mut tape = Tape::default();
    let list = |name: &str| file.get(name).and_then(Value::as_array).map(Vec::as_slice);
    if let Some(events) = list("events") {
        for event in events {
            tape.peers(event)?;
        }
    } else if let Some(scenarios) = list("scenarios") {
        for (number, scenario) in scenarios.iter().enumerate() {
            let name = scenario["name"].as_str().unwrap_or("?");
            for frame in scenario["frames"].as_array().into_iter().flatten() {
                tape.spoe(frame, number, name)?;
            }
        }
    } else if let Some(transcript) = list("transcript") {
        for entry in transcript {
            tape.runtime(entry)?;
        }
    } else {
        return Err(tape.fault("it has neither events nor scenarios nor a transcript"));
    }
    for connection in tape.open.into_values() {
        tape.records.push(Record::new(tape.at, connection, Happened::Closed));
    }
    Ok(tape.records)
}

#[derive(Default)]
struct Tape {
    records: Vec<Record>,
    entries: usize,
    at: Duration,
    open: HashMap<String, u64>,
    connections: u64,
}

impl Tape {
    fn fault(&self, fault: &'static str) -> TraceError {
        TraceError::Capture { entry: self.entries.saturating_sub(1), fault }
    }

    fn happened(&mut self, connection: u64, what: Happened) {
        self.records.push(Record::new(self.at, connection, what));
    }

    /// The connection of this name, opened if it is new.
    fn connection(&mut self, name: &str, protocol: Protocol, by: Side, with: &str) -> u64 {
        if let Some(known) = self.open.get(name) {
            return *known;
        }
        self.connections += 1;
        self.open.insert(name.to_owned(), self.connections);
        self.happened(self.connections, Happened::Opened { protocol, by, with: with.to_owned() });
        self.connections
    }

    fn say(&mut self, connection: u64, side: Side, bytes: &[u8]) {
        for part in bytes.chunks(MAX_BYTES) {
            self.happened(connection, Happened::Said { side, bytes: part.to_vec() });
        }
    }

    fn close(&mut self, name: &str) {
        if let Some(connection) = self.open.remove(name) {
            self.happened(connection, Happened::Closed);
        }
    }

    /// The time and the bytes of an entry; no bytes where a connection was closed or a loop cut.
    fn begin(&mut self, entry: &Value) -> Result<Option<Vec<u8>>, TraceError> {
        self.entries += 1;
        let at = entry["t"].as_f64().and_then(|t| Duration::try_from_secs_f64(t).ok());
        self.at = at.unwrap_or(self.at);
        if entry["close"] == true || !entry["cut"].is_null() {
            return Ok(None);
        }
        let bytes = entry["hex"].as_str().and_then(bytes);
        bytes.map(Some).ok_or_else(|| self.fault("it has no bytes"))
    }

    fn peers(&mut self, event: &Value) -> Result<(), TraceError> {
        let bytes = self.begin(event)?;
        let name = event["conn"].as_str().ok_or_else(|| self.fault("it has no connection"))?;
        let Some(bytes) = bytes else {
            self.close(name);
            return Ok(());
        };
        let opener = name.split("-to-").next().unwrap_or_default();
        let from = event["dir"].as_str().and_then(|dir| dir.split_once('>'));
        let (from, _) = from.ok_or_else(|| self.fault("it has no direction"))?;
        let side = if from == opener { Side::Us } else { Side::Haproxy };
        let connection = self.connection(name, Protocol::Peers, Side::Us, name);
        self.say(connection, side, &bytes);
        Ok(())
    }

    fn spoe(&mut self, frame: &Value, scenario: usize, with: &str) -> Result<(), TraceError> {
        let bytes = self.begin(frame)?;
        let name = format!("{scenario} {}", frame["conn"]);
        let Some(bytes) = bytes else {
            if frame["close"] == true {
                self.close(&name);
            }
            return Ok(());
        };
        let side = match frame["dir"].as_str() {
            Some("haproxy>agent") => Side::Haproxy,
            Some("agent>haproxy") => Side::Us,
            _ => return Err(self.fault("it has no direction")),
        };
        let connection = self.connection(&name, Protocol::Spoe, Side::Haproxy, with);
        self.say(connection, side, &bytes);
        Ok(())
    }

    fn runtime(&mut self, entry: &Value) -> Result<(), TraceError> {
        self.entries += 1;
        let (Some(send), Some(recv)) = (entry["send"].as_str(), entry["recv"].as_str()) else {
            return Err(self.fault("it has no send and recv"));
        };
        let took = entry["ms"].as_f64().and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
        let socket = entry["socket"].as_str().unwrap_or("admin");
        let connection = self.connection("", Protocol::Runtime, Side::Us, socket);
        self.say(connection, Side::Us, send.as_bytes());
        self.at = self.at.saturating_add(took.unwrap_or_default());
        self.say(connection, Side::Haproxy, recv.as_bytes());
        self.close("");
        Ok(())
    }
}

/// Bytes written as hexadecimal digits.
pub(crate) fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
