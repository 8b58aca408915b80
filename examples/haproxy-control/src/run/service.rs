//! The control loop and its API as one thing that is started, ended, and put in the place of another one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adapter_haproxy::control::Control;
use balancer_core::StickStore;
use console::Failure;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{control, follow, http, probes::Probes, store};
use crate::settings::Settings;

/// How long requests under way may take after the order to stop.
const GRACE: Duration = Duration::from_secs(5);

/// What outlives other settings, unless they name another one: a store in memory keeps its rooms, and nobody who asks is
/// refused meanwhile.
#[derive(Clone)]
pub(super) struct Kept {
    store: Arc<dyn StickStore>,
    listener: Option<Arc<std::net::TcpListener>>,
}

impl Kept {
    /// Opens the store, and the address to listen at.
    pub(super) fn open(settings: &Settings) -> Result<Self, Failure> {
        Ok(Self { store: store(settings)?, listener: listen(settings)? })
    }
}

fn listen(settings: &Settings) -> Result<Option<Arc<std::net::TcpListener>>, Failure> {
    let Some(at) = settings.listen().map_err(Failure::failed)? else { return Ok(None) };
    let bound = std::net::TcpListener::bind(at).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(Some(Arc::new(listener)))
    });
    bound.map_err(|e| {
        Failure::failed(format!("{at} cannot be listened at")).cause(e).hint("http.listen names another address")
    })
}

/// What settings describe, not yet at work.
pub(super) struct Draft {
    control: Control,
    shared: http::Shared,
    listener: Option<TcpListener>,
    rooms: bool,
}

impl Draft {
    /// From settings, and what they need.
    pub(super) fn new(settings: &Settings, kept: &Kept) -> Result<Self, Failure> {
        let probes = Arc::new(Probes::default());
        let control = control(settings, kept.store.clone(), &probes)?;
        let shared = http::Shared::new(control.clone(), settings, probes);
        let listener = kept.listener.as_ref().map(|listener| listener.try_clone().and_then(TcpListener::from_std));
        let listener = listener.transpose().map_err(|e| Failure::failed("nobody can be listened to").cause(e))?;
        Ok(Self { control, shared, listener, rooms: settings.log.rooms })
    }

    /// Sets it to work.
    pub(super) fn start(self) -> Service {
        let (stop, mut stopping) = watch::channel(false);
        let logged = tokio::spawn(follow(self.control.subscribe(), self.rooms));
        let (shared, until) = (self.shared, stopping.clone());
        let running = tokio::spawn(async move {
            // An error means that the sender is gone, which is a stop as well.
            self.control.run(async move { drop(stopping.wait_for(|stop| *stop).await) }).await;
        });
        let serving = self.listener.map(|listener| {
            if let Ok(at) = listener.local_addr() {
                tracing::info!(address = %at, "listening");
            }
            tokio::spawn(http::serve(listener, shared, until, GRACE))
        });
        Service { stop, running, serving, logged }
    }
}

/// At work.
pub(super) struct Service {
    stop: watch::Sender<bool>,
    /// Ends when the loop does.
    pub(super) running: JoinHandle<()>,
    serving: Option<JoinHandle<()>>,
    logged: JoinHandle<()>,
}

impl Service {
    /// Ends it in good order; pins stay in force.
    pub(super) async fn end(self) {
        let _ = self.stop.send(true);
        let _ = self.running.await;
        if let Some(serving) = self.serving {
            let _ = serving.await;
        }
        self.logged.abort();
    }
}

/// Other settings, and all that they need.
pub(super) struct Next {
    pub(super) settings: Settings,
    pub(super) kept: Kept,
    pub(super) draft: Draft,
}

impl Next {
    /// Reads the file again; nothing where nothing has changed. What is at work is not touched.
    ///
    /// # Errors
    ///
    /// Settings that cannot be, a store that cannot be opened, an address that is taken.
    pub(super) fn read(path: &Path, before: &Settings, kept: &Kept) -> Result<Option<Self>, Failure> {
        let settings = Settings::read(path)?;
        if settings == *before {
            return Ok(None);
        }
        if (settings.log.level, settings.log.format) != (before.log.level, before.log.format) {
            tracing::warn!("log.level and log.format cannot be changed at run time: restart for them");
        }
        let mut kept = kept.clone();
        if settings.store != before.store {
            kept.store = store(&settings)?;
        }
        if settings.http.listen != before.http.listen {
            kept.listener = listen(&settings)?;
        }
        let draft = Draft::new(&settings, &kept)?;
        Ok(Some(Self { settings, kept, draft }))
    }
}
