//! Taking servers out of service and back.

use std::time::Duration;

use crate::backend::{Backend, BackendId};
use crate::state::Admin;
use crate::stick::StickError;

use super::{Balancer, RouteError};

/// The longest pause while what is in flight to a server that is removed ends; each is twice the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

impl<B: Backend, Q: ?Sized + Sync + 'static> Balancer<B, Q> {
    /// Stops new rooms on a server everywhere: here at once, and in the stick table for every process.
    ///
    /// # Errors
    ///
    /// [`RouteError::Unknown`] or [`RouteError::Store`]; the local order stands even when the store cannot be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the store's fence unset; repeat the call.
    pub async fn drain(&self, id: &BackendId) -> Result<(), RouteError> {
        self.pool.set_admin(id, Admin::Drain).map_err(|_| RouteError::Unknown { id: id.clone() })?;
        Ok(self.store.close(id, true).await?)
    }

    /// How many rooms and units a draining server still has; 0 means drained.
    ///
    /// # Errors
    ///
    /// [`RouteError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn remaining(&self, id: &BackendId) -> Result<u64, RouteError> {
        let in_flight = self.pool.member(id.as_str()).map_or(0, |m| m.in_flight());
        Ok(self.store.count(id).await? + u64::from(in_flight))
    }

    /// Opens a server to new rooms again, everywhere.
    ///
    /// # Errors
    ///
    /// As [`drain`](Self::drain).
    ///
    /// # Cancel safety
    ///
    /// As [`drain`](Self::drain).
    pub async fn ready(&self, id: &BackendId) -> Result<(), RouteError> {
        self.store.close(id, false).await?;
        self.pool.set_admin(id, Admin::Ready).map_err(|_| RouteError::Unknown { id: id.clone() })?;
        Ok(())
    }

    /// Takes a server out of service for good, with its rooms: nothing is placed on it any more and what is bound to it
    /// is released, so that each of its rooms gets a new server when it is asked for next. Then it leaves the pool.
    /// The answer is how many rooms were released; nobody ends them at the server. To let them end by themselves,
    /// [`drain`](Self::drain) it before and wait until nothing is [`remaining`](Self::remaining).
    ///
    /// Until the last step the server is closed in the stick table and in maintenance here, and what fails on the way
    /// stays so: repeat the call. A server that the pool does not know is removed from the stick table alone. At the end
    /// the stick table forgets that it was closed. Where several processes share the servers, take it out of the pools
    /// of the others first ([`Pool::remove`](crate::Pool::remove)): one that still has it could bind rooms to it again.
    ///
    /// # Errors
    ///
    /// [`RouteError::Store`]; [`RouteError::InUse`] when units are in flight to it for longer than about five seconds,
    /// or bindings remain.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the server closed, with some of its rooms released; repeat the call.
    pub async fn remove(&self, id: &BackendId) -> Result<u64, RouteError> {
        // Not known here is as good as removed here.
        let _ = self.pool.set_admin(id, Admin::Maint);
        self.store.close(id, true).await?;
        let mut released = 0;
        let mut pause = Duration::from_millis(10);
        loop {
            let units = self.pool.member(id.as_str()).map_or(0, |m| m.in_flight());
            let (rooms, gone) = self.release_all(id).await?;
            released += gone;
            // A page may have moved under the sweep: only one that meets nothing has seen the end. And a claim may be
            // on its way, which must meet a closed server.
            if rooms == 0 && units == 0 {
                let _ = self.pool.remove(id);
                self.store.close(id, false).await?;
                return Ok(released);
            }
            if pause > LONGEST_PAUSE {
                return Err(RouteError::InUse { id: id.clone(), rooms, units });
            }
            if units > 0 {
                tokio::time::sleep(pause).await;
            }
            pause *= 2;
        }
    }

    /// Releases what is bound to a server, once through its list: how many were met, and how many released.
    async fn release_all(&self, id: &BackendId) -> Result<(u64, u64), StickError> {
        let (mut seen, mut released) = (0, 0);
        let mut from = None;
        loop {
            let page = self.store.list(id, from.as_deref()).await?;
            for (key, binding) in &page.entries {
                seen += 1;
                released += u64::from(self.store.release(key, binding).await?);
                self.recent.forget(key);
            }
            from = page.next;
            if from.is_none() {
                return Ok((seen, released));
            }
        }
    }
}
