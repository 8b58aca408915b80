//! Breakout rooms: on the server of the meeting they belong to, whatever its load and whether it takes new meetings.

use balancer_core::{Backend, Binding, Claim};

use super::super::store_fault;
use super::Creation;
use crate::api::{Fault, Params};
use crate::store::{MeetingRecord, ServerState};

/// The meeting that the one to create is a breakout room of.
pub(super) fn parent_of<'p>(params: &'p Params<'_>) -> Option<&'p str> {
    let is_breakout = params.get("isBreakout").is_some_and(|is| is.trim().eq_ignore_ascii_case("true"));
    if is_breakout { params.present("parentMeetingID") } else { None }
}

impl Creation<'_> {
    /// Binds the room where its parent lives; it is created there as a meeting that is bound.
    pub(super) async fn bind_beside(&mut self, parent: &str, over: Option<&Binding>) -> Result<(), Fault> {
        let home = self.who.home_at(parent).await?.ok_or(Fault::MeetingNotFound)?;
        let server = home.server.id();
        if self.tried.contains(server) {
            return Err(self.last.take().unwrap_or(Fault::CreateFailed));
        }
        if !home.online || home.state == ServerState::Disabled {
            return Err(Fault::ServerUnavailable);
        }
        let tenant = self.who.tenant_id();
        let bound = self.cluster.bind_for(tenant, self.id, server, None, over).await.map_err(|e| store_fault(&e))?;
        if let Claim::Won(binding) = bound {
            self.beside = Some(binding);
        }
        Ok(())
    }

    /// Refused by its server, a room that this request bound does not exist.
    pub(super) async fn forget_breakout(&mut self, m: &MeetingRecord) {
        if self.beside.take().as_ref() == Some(&m.binding)
            && let Err(e) = self.cluster.store.release(&self.key, &m.binding).await
        {
            tracing::warn!(error = %e, "a breakout room that was refused cannot be forgotten");
        }
    }
}
