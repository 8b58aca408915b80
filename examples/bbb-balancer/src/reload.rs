//! The configuration is read again on SIGHUP: checked first, and taken over as far as that is possible.

use adapter_bbb::Cluster;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::serve::options;
use crate::settings::{Line, Settings, is_live};
use console::Notify;

/// Waits for the order to read the configuration again.
pub(crate) struct Orders(Option<Signal>);

impl Orders {
    /// From now on SIGHUP is such an order.
    pub(crate) fn new() -> Self {
        Self(signal(SignalKind::hangup()).ok())
    }

    /// Carries out one order after the other, without end.
    pub(crate) async fn follow(
        self,
        started: &Settings,
        again: impl Fn() -> Result<Settings, Vec<String>>,
        cluster: &Cluster,
        notify: &Notify,
        status: &str,
    ) {
        let mut running = started.lines().to_vec();
        let mut secrets = started.secrets.clone();
        let Some(mut orders) = self.0 else { return std::future::pending().await };
        while orders.recv().await.is_some() {
            notify.reloading();
            let told = match again() {
                Ok(settings) => {
                    let changes = changes(&running, settings.lines(), secrets != settings.secrets);
                    for warning in settings.warnings() {
                        tracing::warn!("{warning}");
                    }
                    cluster.reload(options(&settings));
                    for line in &mut running {
                        if let Some(new) =
                            settings.lines().iter().find(|new| new.name == line.name && is_live(new.name))
                        {
                            line.clone_from(new);
                        }
                    }
                    secrets.clone_from(&settings.secrets);
                    changes.tell(status)
                }
                Err(errors) => {
                    for error in &errors {
                        tracing::error!("the configuration cannot be used: {error}");
                    }
                    tracing::error!("nothing was changed");
                    format!("{status}; a new configuration was refused, the old one stays: {}", errors.join("; "))
                }
            };
            notify.ready(&told);
        }
        std::future::pending().await
    }
}

/// What differs from the configuration that runs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    taken: Vec<&'static str>,
    /// These need a restart.
    waiting: Vec<&'static str>,
}

fn changes(running: &[Line], new: &[Line], secrets: bool) -> Changes {
    let mut changes = Changes::default();
    for (old, new) in running.iter().zip(new).filter(|(old, new)| old.value != new.value) {
        let of = if is_live(old.name) { &mut changes.taken } else { &mut changes.waiting };
        of.push(new.name);
    }
    // Short ones look alike where they are shown.
    if secrets && !changes.taken.iter().any(|name| name.starts_with("loadbalancer_secret")) {
        changes.taken.push("loadbalancer_secret");
    }
    changes
}

impl Changes {
    fn tell(&self, status: &str) -> String {
        let list = |names: &[&str]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        tracing::info!(changed = list(&self.taken), "the configuration was read again");
        if self.waiting.is_empty() {
            return status.to_owned();
        }
        tracing::warn!(
            settings = list(&self.waiting),
            "these settings cannot be changed at run time: restart for them"
        );
        format!("{status}; needs a restart for {}", list(&self.waiting))
    }
}
