//! A socket with a session, and nothing of a node.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use adapter_haproxy::peers::{PeerEvent, PeerOptions, PeerSession};

use super::mesh::Plan;

/// A bare socket that is let in, and what it reads.
pub(super) struct Bare {
    pub(super) stream: TcpStream,
    pub(super) session: PeerSession,
}

impl Bare {
    pub(super) fn greet(plan: &Plan) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", plan.lbs[0].1)).unwrap();
        stream.set_nodelay(true).unwrap();
        let session = PeerSession::connect(PeerOptions::new("rust1").with_learning(false), "lb1", Instant::now());
        let mut bare = Self { stream, session };
        bare.flush();
        bare.until(|event| matches!(event, PeerEvent::Open { .. }));
        bare
    }

    fn flush(&mut self) {
        let out = self.session.take_output();
        self.stream.write_all(&out).unwrap();
    }

    /// Reads until this happens.
    pub(super) fn until(&mut self, so: impl Fn(&PeerEvent) -> bool) {
        let mut buffer = vec![0; 65_536];
        loop {
            while let Some(event) = self.session.poll_event() {
                if so(&event) {
                    return;
                }
                assert!(!matches!(event, PeerEvent::Closed(_)), "{event:?}");
            }
            let len = self.stream.read(&mut buffer).unwrap();
            assert!(len > 0, "closed");
            self.session.receive(&buffer[..len], Instant::now());
        }
    }
}
