//! What is left out of traces: found in the bytes as they come, and overwritten with its length kept.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::record::{Protocol, Side};

mod peers;
mod runtime;
mod spoe;

use peers::PeersMask;
use runtime::RuntimeMask;
use spoe::SpoeMask;

const MASK: u8 = b'*';

/// How many bytes may wait for the rest of their frame.
const MAX_WAITING: usize = 2 << 20;

/// Names in clear: arguments of messages, or tables.
pub(super) type Clear = Arc<BTreeSet<String>>;

/// What to look for in what one connection says.
#[derive(Debug)]
pub(super) enum Mask {
    /// Nothing: there are no secrets in it.
    Nothing,
    Spoe(SpoeMask),
    Peers(PeersMask),
    Runtime(RuntimeMask),
}

impl Mask {
    /// For a connection opened by that side, of which these names are in clear.
    pub(super) fn new(protocol: Protocol, by: Side, clear: Clear) -> Self {
        match protocol {
            Protocol::Peers => Self::Peers(PeersMask::new(clear, by)),
            Protocol::Spoe => Self::Spoe(SpoeMask::new(clear)),
            Protocol::Runtime => Self::Runtime(RuntimeMask::new()),
            Protocol::AgentCheck => Self::Nothing,
        }
    }

    /// What may be kept now: less than these bytes where the rest of a frame is waited for, more once it is there.
    pub(super) fn pass(&mut self, side: Side, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        match (self, side) {
            (Self::Spoe(mask), Side::Haproxy) => mask.heard(&mut out),
            (Self::Peers(mask), Side::Haproxy) => mask.heard(&mut out),
            (Self::Runtime(mask), Side::Us) => mask.said(&mut out),
            (Self::Runtime(mask), Side::Haproxy) => mask.heard(&mut out),
            _ => {}
        }
        out
    }

    /// What waited for the rest of its frame, which does not come.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        match self {
            Self::Spoe(mask) => mask.rest(),
            Self::Peers(mask) => mask.rest(),
            Self::Nothing | Self::Runtime(_) => Vec::new(),
        }
    }
}

/// What is kept of all that HAProxy says, for tests.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn masked(protocol: Protocol, by: Side, clear: Clear, parts: &mut dyn Iterator<Item = &[u8]>) -> Vec<u8> {
    let mut mask = Mask::new(protocol, by, clear);
    let mut kept: Vec<u8> = parts.flat_map(|part| mask.pass(Side::Haproxy, part)).collect();
    kept.extend(mask.rest());
    kept
}

fn fill(bytes: &mut [u8], range: Range<usize>) {
    if let Some(bytes) = bytes.get_mut(range) {
        bytes.fill(MASK);
    }
}

/// What the bytes at the front are.
enum Cut {
    /// Not a whole frame yet.
    More,
    /// A frame of this length.
    Frame(usize),
    /// None, and nor is what follows; so much of it tells why.
    Broken(usize),
}

/// Bytes that wait for the rest of their frame.
#[derive(Debug, Default)]
struct Frames {
    waiting: Vec<u8>,
    /// No frame can be found any more.
    lost: bool,
}

impl Frames {
    /// The whole frames that are there now, in the place of the bytes that came; each is masked when it is cut.
    fn pass(&mut self, bytes: &mut Vec<u8>, mut cut: impl FnMut(&mut [u8]) -> Cut) {
        if self.lost {
            return bytes.fill(MASK);
        }
        self.waiting.append(bytes);
        let mut done = 0;
        while let Some(rest) = self.waiting.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let len = rest.len();
            let broken = match cut(rest) {
                Cut::Frame(frame) => {
                    done += frame.clamp(1, len);
                    continue;
                }
                Cut::More if len <= MAX_WAITING => break,
                Cut::More => 0,
                Cut::Broken(told) => told,
            };
            fill(rest, broken.min(len)..len);
            self.lost = true;
            done += len;
        }
        *bytes = self.waiting.drain(..done).collect();
    }

    /// What waits, of which so much tells nothing.
    fn rest(&mut self, told: usize) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.waiting);
        let len = rest.len();
        fill(&mut rest, told.min(len)..len);
        rest
    }
}
