//! Conversations with HAProxy, kept in a file as they were and read again.
//!
//! A [`Recorder`] writes what peers, agents and runtime sockets say and hear; the connections that can be given one are
//! `PeerNodeOptions`, `AgentServerOptions`, `AgentCheckServer` and `ClientOptions`. It never makes a connection wait: a
//! thread of its own writes, and what comes faster than the disk takes it is left out and said so. A [`TraceReader`]
//! gives the records back, and [`Replay`] plays them against the decoders, a [`ReplayLine`] for each frame.
//!
//! ```
//! use std::time::Duration;
//! use adapter_haproxy::trace::{Happened, Protocol, Record, Replay, Side, TraceReader, write_header};
//!
//! let (mut file, at) = (Vec::new(), Duration::from_millis(2));
//! write_header(&mut file, 0);
//! let opened = Happened::Opened { protocol: Protocol::AgentCheck, by: Side::Haproxy, with: "127.0.0.1".to_owned() };
//! Record::new(at, 1, opened).encode(&mut file);
//! Record::new(at, 1, Happened::Said { side: Side::Us, bytes: b"up 60%\n".to_vec() }).encode(&mut file);
//!
//! let (mut reader, mut replay, mut lines) = (TraceReader::new(&*file)?, Replay::new(), Vec::new());
//! while let Some(record) = reader.next_record()? {
//!     replay.play(&record, &mut |line| lines.push(line.to_string()));
//! }
//! assert!(lines[1].ends_with("agent-check us: reply health=\"up\" percent=60"), "{lines:?}");
//! # Ok::<(), adapter_haproxy::trace::TraceError>(())
//! ```
//!
//! # The file, version 1
//!
//! | Bytes | What |
//! | --- | --- |
//! | `haproxy trace 1\n` | 16 bytes: what it is, and its version |
//! | u64 | when it begins, in milliseconds since 1970 |
//! | records | one after the other, to the end of the file |
//!
//! A record is a length (u32, of the rest, [`MAX_RECORD`] at most), a kind (u8), the microseconds since the beginning and
//! the number of the connection (both of variable length, as in the peers protocol), and what the kind tells. Numbers of
//! fixed length have their high byte first.
//!
//! | Kind | Then |
//! | --- | --- |
//! | 1 opened | protocol (u8: 1 peers, 2 spoe, 3 agent-check, 4 runtime), opened by (u8: 0 HAProxy, 1 us), with whom (text) |
//! | 2, 3 said | bytes of a HAProxy (2), our own (3); cut anywhere |
//! | 4 closed | nothing |
//! | 5 lost | by whom (u8: 0 HAProxy, 1 us), how many bytes (of variable length) that are not in the file |
//! | 6 full | nothing: the file may grow no further |
//!
//! A file that ends within a record is read up to it, and [`TraceReader::cut`] says what is left.
//!
//! # What is not in it
//!
//! Masked, byte for byte by `*` so that frames keep their length:
//!
//! - text that HAProxy sends an agent, but for the arguments of a placer (`room`, `tags`, `region`, `source`, `home`, `at`)
//!   and those named by [`RecorderOptions::with_argument`]: headers, cookies and addresses carry tokens;
//! - keys of stick tables that the node does not keep: they may be session cookies;
//! - runtime commands about certificates, keys, variables, the environment, traces and captured requests, and the answers
//!   to them;
//! - whatever follows a fault, since nobody can tell what it is.
//!
//! Keys of rooms, names and addresses of servers and peers are in clear: keep the file as you keep logs. It is made for
//! its owner alone (mode 0600).

mod capture;
mod error;
mod mask;
mod reader;
mod record;
mod recorder;
mod replay;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use capture::bytes as bytes_of_hex;
pub use capture::read_capture;
pub use error::TraceError;
#[cfg(any(test, feature = "testing"))]
pub(crate) use mask::masked;
pub use reader::TraceReader;
pub use record::{Happened, MAX_RECORD, Protocol, Record, Side, write_header};
pub use recorder::{Recorder, RecorderCounts, RecorderOptions, Tape};
pub use replay::{Field, MAX_TRACED, Replay, ReplayCounts, ReplayLine};
#[cfg(test)]
pub(crate) use replay::{spoe_text, spoe_value};
