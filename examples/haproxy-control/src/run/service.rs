//! The control loops, what HAProxy asks, and the API as one thing that is started, ended, and put in the place of another
//! one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adapter_haproxy::control::Mode;
use adapter_haproxy::peers::{NodeEvent, PeerNode};
use adapter_haproxy::spoe::{AgentServer, AgentServerOptions};
use adapter_haproxy::trace::Recorder;
use adapter_haproxy::{AgentCheckOptions, AgentCheckServer};
use console::Failure;
use tokio::net::TcpListener;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::agent::Agents;
use super::part::Part;
use super::sockets::{Sockets, asked_at};
use super::stores::Stores;
use super::{follow, http};
use crate::cli::RunMode;
use crate::settings::Settings;

/// How long requests under way may take after the order to stop.
const GRACE: Duration = Duration::from_secs(5);

/// What outlives other settings, unless they name another one: a store in memory keeps its rooms, and nobody who asks is
/// refused meanwhile.
#[derive(Clone)]
pub(super) struct Kept {
    stores: Stores,
    listener: Option<Arc<std::net::TcpListener>>,
    sockets: Sockets,
    /// Where what is said is kept.
    recorder: Option<Recorder>,
}

impl Kept {
    /// Opens the stores, and the address to listen at.
    pub(super) fn open(settings: &Settings, recorder: Option<Recorder>) -> Result<Self, Failure> {
        let stores = Stores::open(settings, Stores::default())?;
        Ok(Self { stores, listener: listen(settings)?, sockets: Sockets::default(), recorder })
    }

    /// Lets go of the addresses that the next settings do not keep: they may want another one of the same port.
    pub(super) fn make_way(&mut self, next: &Self) {
        self.sockets = next.sockets.clone();
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
    settings: Settings,
    parts: Vec<Part>,
    node: Option<PeerNode>,
    listener: Option<TcpListener>,
    recorder: Option<Recorder>,
}

impl Draft {
    /// From settings, and what they need.
    pub(super) fn new(settings: &Settings, kept: &Kept) -> Result<Self, Failure> {
        let node = match settings.uses(Mode::Peers) {
            true => {
                let options = settings.peers.clone().unwrap_or_default().options(&settings.haproxy);
                let mut options = options.map_err(Failure::failed)?;
                if let Some(recorder) = &kept.recorder {
                    options = options.with_recorder(recorder.clone());
                }
                let node = PeerNode::new(options);
                Some(node.map_err(|e| Failure::failed("peers").cause(e))?)
            }
            false => None,
        };
        let parts = settings.rooms.iter().map(|rooms| {
            let store = kept.stores.of(rooms).ok_or_else(|| Failure::failed("a store is missing"))?;
            Part::new(settings, rooms, store, node.as_ref(), kept.recorder.as_ref())
        });
        let parts = parts.collect::<Result<Vec<_>, Failure>>()?;
        let listener = kept.listener.as_ref().map(|listener| listener.try_clone().and_then(TcpListener::from_std));
        let listener = listener.transpose().map_err(|e| Failure::failed("nobody can be listened to").cause(e))?;
        Ok(Self { settings: settings.clone(), parts, node, listener, recorder: kept.recorder.clone() })
    }

    /// Sets it to work; addresses where HAProxy asks are held among what is kept.
    ///
    /// # Errors
    ///
    /// An address where HAProxy is to ask that is taken.
    pub(super) async fn start(self, kept: &mut Kept) -> Result<Service, Failure> {
        let Self { settings, parts, node, listener, recorder } = self;
        let (stop, stopping) = watch::channel(false);
        let until = |stopping: &watch::Receiver<bool>| {
            let mut stopping = stopping.clone();
            // An error means that the sender is gone, which is a stop as well.
            async move { drop(stopping.wait_for(|stop| *stop).await) }
        };
        let mut shared = http::Shared::new(&settings, parts.clone(), node.clone());
        // First all addresses, then the work: where one of them is taken, none is held.
        kept.sockets.bind(&settings).await?;
        let mut tasks: JoinSet<Result<(), String>> = JoinSet::new();
        if let Some(socket) = kept.sockets.spoe() {
            let spoe = settings.spoe.clone().unwrap_or_default();
            let mut options = AgentServerOptions::default().with_processing(spoe.patience.get() * 4 / 5);
            if let Some(recorder) = &recorder {
                options = options.with_recorder(recorder.clone());
            }
            let placers: Vec<_> = parts.iter().filter_map(|part| part.placer.clone()).collect();
            let server = AgentServer::on(socket, options, Arc::new(placers));
            tracing::info!(address = %server.address(), "HAProxy may ask where rooms belong");
            shared.spoe = Some(server.counters());
            let until = until(&stopping);
            tasks.spawn(async move {
                server.run(until).await;
                Ok(())
            });
        }
        if let Some(socket) = kept.sockets.agent() {
            let mut server = AgentCheckServer::new(AgentCheckOptions::default(), Arc::new(Agents::new(&parts)));
            if let Some(recorder) = &recorder {
                server = server.with_recorder(recorder.clone());
            }
            tracing::info!(address = %socket.address(), "HAProxy may check what its servers can take");
            server.listen_on(socket);
            shared.agent = Some(server.counters());
            let until = until(&stopping);
            tasks.spawn(async move {
                server.run(until).await;
                Ok(())
            });
        }
        let mut logged = JoinSet::new();
        if let Some(node) = node {
            let peers = settings.peers.clone().unwrap_or_default();
            tracing::info!(address = peers.listen.as_str(), tls = peers.is_encrypted(), "HAProxys may call as peers");
            logged.spawn(follow_peers(node.subscribe(), settings.log.rooms));
            let until = until(&stopping);
            tasks.spawn(async move { node.run(until).await.map_err(|e| e.to_string()) });
        }
        let many = parts.len() > 1;
        for part in parts {
            let pool = many.then(|| part.name.clone());
            logged.spawn(follow(part.control.subscribe(), pool, settings.log.rooms));
            let until = until(&stopping);
            tasks.spawn(async move {
                let control = part.control.clone();
                tokio::select! {
                    () = control.run(until) => {}
                    () = part.tell_numbers() => {}
                }
                Ok(())
            });
        }
        let ending = stopping.clone();
        let running = tokio::spawn(async move {
            while let Some(ended) = tasks.join_next().await {
                let ended = ended.map_err(|e| e.to_string()).flatten();
                if !*ending.borrow() {
                    return ended.and(Err("a part of it ended, and nobody told it to".to_owned()));
                }
            }
            Ok(())
        });
        let serving = listener.map(|listener| {
            if let Ok(at) = listener.local_addr() {
                tracing::info!(address = %at, "listening");
            }
            tokio::spawn(http::serve(listener, shared, stopping, GRACE))
        });
        Ok(Service { stop, running, serving, _logged: logged })
    }
}

/// One line for each event among peers.
async fn follow_peers(mut events: Receiver<NodeEvent>, rooms: bool) {
    loop {
        match events.recv().await {
            Ok(NodeEvent::Conflict { table, peer, told, kept, .. }) if !rooms => {
                tracing::warn!(%table, %peer, %told, %kept, "a peer has a room elsewhere; it stays");
            }
            Ok(NodeEvent::Moved { table, from, to, .. }) if !rooms => {
                tracing::debug!(%table, %from, %to, "a room went where a peer put it");
            }
            Ok(event @ (NodeEvent::Lost { .. } | NodeEvent::Conflict { .. } | NodeEvent::StoreLost { .. })) => {
                tracing::warn!("{}", console::printable(&event.to_string()));
            }
            Ok(event) => tracing::info!("{}", console::printable(&event.to_string())),
            Err(RecvError::Lagged(lost)) => tracing::warn!(lost, "events among peers were not logged"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// At work.
pub(super) struct Service {
    stop: watch::Sender<bool>,
    /// Ends when any part of it does.
    pub(super) running: JoinHandle<Result<(), String>>,
    serving: Option<JoinHandle<()>>,
    _logged: JoinSet<()>,
}

impl Service {
    /// Ends it in good order; places stay in force.
    pub(super) async fn end(self) {
        let _ = self.stop.send(true);
        let _ = self.running.await;
        if let Some(serving) = self.serving {
            let _ = serving.await;
        }
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
    pub(super) fn read(
        path: &Path,
        mode: Option<RunMode>,
        before: &Settings,
        kept: &Kept,
    ) -> Result<Option<Self>, Failure> {
        let settings = super::settings_of(path, mode)?;
        if settings == *before {
            return Ok(None);
        }
        if (settings.log.level, settings.log.format) != (before.log.level, before.log.format) {
            tracing::warn!("log.level and log.format cannot be changed at run time: restart for them");
        }
        let mut kept = kept.clone();
        let open = if settings.store == before.store { kept.stores } else { Stores::default() };
        kept.stores = Stores::open(&settings, open)?;
        if settings.http.listen != before.http.listen {
            kept.listener = listen(&settings)?;
        }
        kept.sockets = kept.sockets.wanted(&settings)?;
        let held = asked_at(before)?;
        for (what, at) in asked_at(&settings)? {
            // Ours are free as soon as we end, also where another address of the same port is wanted; what is somebody
            // else's is not.
            if !held.iter().any(|(_, ours)| ours.port() == at.port()) {
                std::net::TcpListener::bind(at)
                    .map_err(|e| Failure::failed(format!("{what}: {at} cannot be listened at")).cause(e))?;
            }
        }
        let draft = Draft::new(&settings, &kept)?;
        Ok(Some(Self { settings, kept, draft }))
    }
}
