//! A server's secret that is changed while it serves: the old one is kept until the new one answers.

use super::Cluster;
use crate::api::{Params, Reply, signed_url};
use crate::secret::Secret;
use crate::server::BbbServer;
use crate::store::ServerPatch;

impl Cluster {
    /// The secret that a server knows now. While there is an old one beside the new one, it is asked first.
    pub(crate) async fn secret_for(&self, server: &BbbServer) -> Secret {
        let Some(old) = server.old_secret() else { return server.secret().clone() };
        match self.knows(server, server.secret()).await {
            Some(false) => old.clone(),
            // It does not answer: whichever is tried makes no difference.
            None => server.secret().clone(),
            Some(true) => {
                let id = balancer_core::Backend::id(server);
                let patch = ServerPatch { proved: Some(server.secret().clone()), ..ServerPatch::default() };
                let done = match self.store.update_server(id, &patch).await {
                    Ok(_) => self.sync().await,
                    Err(e) => Err(e),
                };
                match done {
                    Ok(()) => tracing::info!(backend = %id, "the server's new secret is in use"),
                    // The next call tries again.
                    Err(e) => tracing::warn!(backend = %id, error = %e, "the old secret cannot be forgotten"),
                }
                server.secret().clone()
            }
        }
    }

    /// Whether a server accepts this secret; `None` when it does not answer.
    async fn knows(&self, server: &BbbServer, secret: &Secret) -> Option<bool> {
        let mut params = Params::new();
        params.push("meetingID", "-");
        let url = signed_url(server.url(), "isMeetingRunning", &params, secret.expose(), self.options.outgoing);
        let bytes = self.client.call(&url, None, true).await.ok()?;
        let reply = Reply::parse(&bytes).ok()?;
        Some(reply.message_key() != Some("checksumError"))
    }
}
