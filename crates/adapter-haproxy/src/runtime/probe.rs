//! HAProxy's own view of its servers, as a probe for a pool.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use balancer_core::{Backend, HealthProbe, ProbeError, Report};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::Client;
use super::command::{ServerName, StatKinds, StatScope};
use super::reply::{ServerStatus, StatKind};
use super::report::ServerFigures;

type Figures = HashMap<String, HashMap<String, ServerFigures>>;
type NameOf<B> = Box<dyn Fn(&B) -> ServerName + Send + Sync>;

/// Passes when HAProxy holds the server for usable; the report carries what it has open and waiting there.
///
/// All servers are asked for at once: probes that wait while one question is under way share the next one, so that a
/// thousand servers cost a handful of questions a round, and no report is older than its probe. What is down, in
/// maintenance or unknown to HAProxy does not pass; a drained server does. When HAProxy itself does not answer, nobody
/// has ([`ProbeError::Silent`]): that proves nothing about the server.
pub struct RuntimeProbe<B> {
    client: Arc<Client>,
    name_of: NameOf<B>,
    seen: Mutex<Option<(Instant, Arc<Figures>)>>,
}

impl<B> fmt::Debug for RuntimeProbe<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeProbe").field("client", &self.client).finish_non_exhaustive()
    }
}

impl<B: Backend> RuntimeProbe<B> {
    /// Asks this HAProxy for the server that `name_of` gives.
    pub fn new(client: Arc<Client>, name_of: impl Fn(&B) -> ServerName + Send + Sync + 'static) -> Self {
        Self { client, name_of: Box::new(name_of), seen: Mutex::new(None) }
    }

    /// Figures whose measuring began now or later.
    async fn figures(&self) -> Result<Arc<Figures>, ProbeError> {
        let asked = Instant::now();
        let mut seen = self.seen.lock().await;
        if let Some((began, figures)) = &*seen
            && *began >= asked
        {
            return Ok(figures.clone());
        }
        let began = Instant::now();
        let table = self.client.stat(StatScope::Everything, StatKinds::Servers).await;
        let table = table.map_err(|e| ProbeError::Silent(e.to_string()))?;
        let mut figures = Figures::new();
        for row in table.rows().iter().filter(|row| row.kind() == Some(StatKind::Server)) {
            figures.entry(row.proxy().to_owned()).or_default().insert(row.name().to_owned(), row.into());
        }
        let figures = Arc::new(figures);
        *seen = Some((began, figures.clone()));
        Ok(figures)
    }
}

#[async_trait]
impl<B: Backend> HealthProbe<B> for RuntimeProbe<B> {
    async fn probe(&self, target: &B) -> Result<Report, ProbeError> {
        let name = (self.name_of)(target);
        let began = Instant::now();
        let all = self.figures().await?;
        let Some(figures) = all.get(name.backend()).and_then(|servers| servers.get(name.server())) else {
            return Err(ProbeError::Answer(format!("HAProxy has no server {name}")));
        };
        if figures.is_usable() {
            return Ok(figures.report(began));
        }
        let check = figures.last_check.as_deref().map(|c| format!(" ({c})")).unwrap_or_default();
        let text = format!("HAProxy holds {name} for {}{check}", figures.status);
        Err(match figures.status {
            ServerStatus::MaintResolution => ProbeError::Resolve(text),
            _ => ProbeError::Answer(text),
        })
    }
}
