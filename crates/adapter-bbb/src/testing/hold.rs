//! Gates that keep one call inside the server until a test lets it go.
use tokio::sync::oneshot;

use super::state::LoggedRequest;

/// Where a held call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before it takes effect.
    Before,
    /// It took effect; the answer waits.
    Answer,
}

/// The server's end of a [`Held`].
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) call: String,
    pub(super) stage: Stage,
    arrived: oneshot::Sender<LoggedRequest>,
    released: oneshot::Receiver<()>,
}

impl Gate {
    pub(super) fn new(call: &str, stage: Stage) -> (Self, Held) {
        let (arrived, arrival) = oneshot::channel();
        let (release, released) = oneshot::channel();
        (Self { call: call.to_owned(), stage, arrived, released }, Held { arrival, release })
    }

    /// Whether somebody still waits at the other end.
    pub(super) fn is_live(&self) -> bool {
        !self.arrived.is_closed()
    }

    /// Tells the test, then waits for it.
    pub(super) async fn pass(self, request: LoggedRequest) {
        // A test that gave up lets the call go on.
        let _ = self.arrived.send(request);
        let _ = self.released.await;
    }
}

/// One call to come, kept inside the server: made by [`super::FakeBbb::hold`] and [`super::FakeBbb::hold_answer`].
///
/// Dropping it lets the call go on.
#[derive(Debug)]
#[must_use = "dropping it lets the call go on"]
pub struct Held {
    arrival: oneshot::Receiver<LoggedRequest>,
    release: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the call is inside the server and returns it; `None` when none can come any more, because the fake
    /// was dropped, or when it was returned before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; it can be awaited again.
    pub async fn arrived(&mut self) -> Option<LoggedRequest> {
        if self.arrival.is_terminated() {
            return None;
        }
        (&mut self.arrival).await.ok()
    }

    /// Lets the call go on. A call that has not come yet will pass without a stop.
    pub fn release(self) {
        // The connection may be gone by now; then nothing waits.
        let _ = self.release.send(());
    }
}
