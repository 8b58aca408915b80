//! `create` at one server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::{Done, learning};
use super::Creation;
use super::slides::Slides;
use crate::api::{CreateContext, Fault, Reply, create_params};
use crate::client::CallError;
use crate::server::BbbServer;
use crate::store::MeetingRecord;

/// A refused connection is believed when it happens twice with this pause.
const SECOND_PROBE: Duration = Duration::from_millis(100);

/// What sending `create` to one server came to.
pub(super) enum Sent {
    /// The server answered.
    Answer(Bytes),
    /// It certainly did not get the request, twice.
    NotThere,
    /// Nobody knows whether it created the meeting.
    Unknown(Fault),
    /// The slides that were to go along broke off, so the server never got them all.
    Broken(Done),
}

impl Creation<'_> {
    pub(super) async fn send(&self, server: &Arc<BbbServer>, m: &MeetingRecord, password: Option<&str>) -> Sent {
        let o = self.cluster.live();
        let mut context = CreateContext::new(&m.voice_bridge);
        // The stored password goes along when the meeting is made; a client's own one always wins.
        context.moderator_pw = password.filter(|_| self.params.present("moderatorPW").is_none());
        context.server_tag = server.tag();
        context.max_duration_minutes = o.max_duration;
        let tenant = self.who.tenant();
        context.tenant = tenant.map(|t| (t.id.as_str(), t.name.as_str()));
        let payload = match &self.records {
            Some(records) => {
                let secret = self.cluster.secret_for(server).await;
                learning::sealed(secret.expose(), records).await
            }
            None => None,
        };
        context.lrs_payload = payload.as_deref();
        let rules = self.who.rules(&o.create);
        let params = create_params(self.params, &context, &rules);
        let mut second = false;
        loop {
            let answer = self.cluster.ask(server, "create", &params, self.document.upload(), false).await;
            if answer.is_err()
                && let Some(done) = self.document.slides().and_then(Slides::broken)
            {
                return Sent::Broken(done);
            }
            match answer {
                Ok(bytes) if Reply::parse(&bytes).is_ok() => return Sent::Answer(bytes),
                Ok(_) => return Sent::Unknown(Fault::NoReturncode),
                Err(CallError::Refused { .. }) if second => return Sent::NotThere,
                Err(CallError::Refused { .. }) => {
                    second = true;
                    tokio::time::sleep(SECOND_PROBE).await;
                }
                Err(_) => return Sent::Unknown(Fault::CreateFailed),
            }
        }
    }
}
