//! What is decided elsewhere: rooms that somebody else has put on a server, and placements that nobody heard of.

use crate::backend::{Backend, BackendId};
use crate::stick::{Binding, Claim, StickError, StickKey, Token, Want};

use super::{Balancer, ByStore, random};

impl<B: Backend, Q: ?Sized + Sync + 'static> Balancer<B, Q> {
    /// Binds a room to the server where its people are already: where nothing is bound or, with `over`, where exactly that
    /// is. The selector is not asked, and nothing is in flight.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the stick table cannot be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the room bound there; the next request for it meets that.
    pub async fn adopt(&self, key: &StickKey, over: Option<&Binding>, id: &BackendId) -> Result<Claim, StickError> {
        let want = Want { backend: id.clone(), token: Token(random()) };
        let claim = self.claim(&ByStore(&*self.store), key, over, &want).await?;
        // Held under our own token: an earlier attempt, whose answer was lost, had won.
        let claim = match claim {
            Claim::Held(b) if b.token == want.token => Claim::Won(b),
            claim => claim,
        };
        if let Claim::Won(b) | Claim::Held(b) = &claim {
            self.recent.put(key, b);
        }
        Ok(claim)
    }

    /// Takes a placement back that nobody heard of, as it came too late for whoever had asked: the room lives nowhere
    /// again, unless it was bound otherwise meanwhile. Whether it was taken back. Somebody else may have found the room
    /// there before it was.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the stick table cannot be asked; here the room is forgotten all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the room bound.
    pub async fn take_back(&self, key: &StickKey, binding: &Binding) -> Result<bool, StickError> {
        let released = self.store.release(key, binding).await;
        self.recent.forget_binding(key, binding);
        released
    }
}
