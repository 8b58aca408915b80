//! `serve`: the balancer as a service, until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use adapter_bbb::{
    BbbOptions, BbbService, Bind, Cluster, ClusterError, HttpLimits, HttpServer, LocalRecordings, LocalStore,
    MeetingStore, PostgresRecordings, RecordingIndex, RecordingOptions, Recordings, RedisMeetings, Surface,
};
use balancer_core::{RedisLink, RedisOptions, StickError};

use crate::reload::Orders;
use crate::settings::{Listen, RecordingsAt, Settings, Store};
use console::{Failure, Notify};

/// How long requests under way may take after the order to stop.
const GRACE: Duration = Duration::from_secs(20);
/// How long the servers are asked for running meetings before requests are served.
const RESTORE: Duration = Duration::from_secs(30);

mod recordings;

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(settings: Settings, again: impl Fn() -> Result<Settings, Vec<String>>) -> Result<(), Failure> {
    // From here on SIGHUP ends nothing any more.
    let orders = Orders::new();
    let store = open(&settings.store).await?;
    let fresh = store.meetings(None).await.map_err(|e| store_failure(&e))?.is_empty();
    let cluster = Cluster::start(options(&settings), store.clone()).await.map_err(|e| match e {
        ClusterError::Store(e) => store_failure(&e),
        e => Failure::failed(e.to_string()),
    })?;
    let recordings = index(&settings).await?;
    let notify = Notify::from_env(
        |e| tracing::warn!(error = %e, "NOTIFY_SOCKET cannot be used: the service manager is told nothing"),
    );
    let kept = match recordings {
        Some(recordings) => Some(recordings::Kept::new(recordings, &settings, &store, &cluster).await?),
        None => None,
    };
    let bind = place(&settings.listen);
    let apart = settings.admin_listen.as_ref().map(place);
    // Bound before the servers are asked, so that a port that is taken is told at once; served after.
    let listen = async |bind: &Bind, surface: Surface| {
        let mut service = BbbService::new(cluster.clone()).with_surface(surface);
        if let Some(kept) = &kept {
            service = kept.served_by(service);
        }
        let server = HttpServer::bind(bind, service, limits(&settings)).await;
        server.map_err(|e| Failure::failed(e.to_string()).cause(cause(&e)))
    };
    let server = listen(&bind, if apart.is_some() { Surface::Public } else { Surface::Whole }).await?;
    let operators = match &apart {
        Some(bind) => Some(listen(bind, Surface::Operators).await?),
        None => None,
    };
    let mut stop_order = std::pin::pin!(console::signalled());
    if fresh {
        tokio::select! {
            () = restore(&cluster) => {}
            () = &mut stop_order => return Ok(()),
        }
    }
    let at = server.local().map_or_else(|| bind.to_string(), |b| b.to_string());
    tracing::info!(address = %at, store = %store.describe(), load = %settings.formula_text, "serving");
    if let Some(at) = operators.as_ref().and_then(HttpServer::local) {
        tracing::info!(address = %at, "operators' calls are answered apart");
    }
    let (stop, _) = tokio::sync::watch::channel(false);
    let stopped = |mut on: tokio::sync::watch::Receiver<bool>| async move {
        // An error means that the sender is gone, which is a stop as well.
        let _ = on.wait_for(|stop| *stop).await;
    };
    let background = tokio::spawn(cluster.clone().run(stopped(stop.subscribe())));
    let importer = kept.as_ref().and_then(recordings::Kept::importer);
    let importing = importer.map(|importer| tokio::spawn(importer.run(stopped(stop.subscribe()))));
    let serving = tokio::spawn(server.serve(stopped(stop.subscribe()), GRACE));
    let apart = operators.map(|server| tokio::spawn(server.serve(stopped(stop.subscribe()), GRACE)));
    notify.ready(&format!("serving at {at}"));
    let watched = async {
        let Some(every) = notify.every() else { return std::future::pending::<()>().await };
        // Said by the same threads that answer requests: when they hang, so does this.
        let mut tick = tokio::time::interval(every);
        loop {
            tick.tick().await;
            notify.alive();
        }
    };
    let status = format!("serving at {at}");
    tokio::select! {
        () = &mut stop_order => {}
        () = watched => {}
        () = orders.follow(&settings, again, &cluster, &notify, &status) => {}
    }
    notify.stopping("requests under way are finished first");
    tracing::info!("stopping: requests under way are finished first");
    let _ = stop.send(true);
    let _ = serving.await;
    if let Some(apart) = apart {
        let _ = apart.await;
    }
    if let Some(importing) = importing {
        let _ = importing.await;
    }
    let _ = background.await;
    tracing::info!("stopped");
    Ok(())
}

/// With no meeting known, those that run are bound again before anything is served: a lost store splits no meeting.
/// A server that does not answer delays this by its time-outs, and by [`RESTORE`] at most.
async fn restore(cluster: &Arc<Cluster>) {
    let work = async {
        cluster.poll_now().await?;
        cluster.rebuild().await
    };
    match tokio::time::timeout(RESTORE, work).await {
        Ok(Ok(0)) => {}
        Ok(Ok(n)) => tracing::info!(meetings = n, "running meetings found on the servers are known again"),
        Ok(Err(e)) => tracing::warn!(error = %e, "running meetings cannot be looked for"),
        Err(_) => tracing::warn!("not all servers could be asked for running meetings; the polls go on asking"),
    }
}

fn place(listen: &Listen) -> Bind {
    match listen {
        Listen::Tcp(addr) => Bind::Tcp(*addr),
        Listen::Unix(path) => Bind::Unix(path.clone()),
    }
}

fn cause(e: &dyn std::error::Error) -> String {
    e.source().map_or_else(String::new, ToString::to_string)
}

fn store_failure(e: &StickError) -> Failure {
    Failure::failed(e.to_string())
}

async fn open(store: &Store) -> Result<Arc<dyn MeetingStore>, Failure> {
    match store {
        Store::Memory => Ok(Arc::new(LocalStore::memory())),
        Store::File(dir) => {
            make(dir)?;
            let path = dir.join("bbb-balancer.redb");
            Ok(LocalStore::open(path).await.map_err(|e| store_failure(&e))?)
        }
        Store::Redis { url, namespace, connections, timeout } => {
            let options = RedisOptions::from_url(url.expose())
                .map_err(|e| store_failure(&e))?
                .connections(*connections)
                .response_timeout(*timeout);
            let link = RedisLink::new(options).map_err(|e| store_failure(&e))?;
            let store = RedisMeetings::new(link, namespace);
            store.probe().await.map_err(|e| store_failure(&e).hint("is REDIS_URL right?"))?;
            Ok(Arc::new(store))
        }
    }
}

/// The recordings, if there are to be any. A database that is away stops nothing: it is looked for with each call.
async fn index(s: &Settings) -> Result<Option<Recordings>, Failure> {
    let failed = |e: adapter_bbb::IndexError| Failure::failed(e.to_string());
    let index: Arc<dyn RecordingIndex> = match &s.recordings.at {
        RecordingsAt::Nowhere => return Ok(None),
        RecordingsAt::Unset => {
            tracing::info!(
                "recordings are not known: set DATABASE_URL, or BALANCER_DATA_DIR to keep their index in a file of this \
                 process"
            );
            return Ok(None);
        }
        RecordingsAt::Memory => Arc::new(LocalRecordings::memory()),
        RecordingsAt::File(dir) => {
            make(dir)?;
            match LocalRecordings::open(dir.join("recordings.redb")).await {
                Ok(index) => Arc::new(index),
                // Another process may own it: what they share, Redis, is enough for meetings.
                Err(e) if matches!(s.store, Store::Redis { .. }) => {
                    tracing::warn!(error = %e, "recordings are not known to this process: set DATABASE_URL");
                    return Ok(None);
                }
                Err(e) => return Err(failed(e)),
            }
        }
        RecordingsAt::Postgres(options) => {
            let index = PostgresRecordings::new((**options).clone()).map_err(failed)?;
            if let Err(e) = index.check().await {
                tracing::error!(error = %e, "recordings are not available; meetings are");
            }
            Arc::new(index)
        }
    };
    tracing::info!(index = %index.describe(), "recordings are known");
    let mut options = RecordingOptions::default();
    options.filtered = s.recordings.filtered;
    options.protected = s.folders.key.is_some();
    Ok(Some(Recordings::new(index).with_options(options)))
}

/// Makes the data directory, if it is not there.
fn make(dir: &std::path::Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|e| {
        Failure::failed(format!("the data directory {} cannot be made", dir.display()))
            .cause(e.to_string())
            .hint("choose another with --data-dir, or --memory if nothing need survive a restart")
    })?;
    private(dir);
    Ok(())
}

/// The file holds the servers' secrets: nobody else needs to read it.
fn private(dir: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    // A directory of somebody else stays as it is.
    let _ = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700));
}

pub(crate) fn options(s: &Settings) -> BbbOptions {
    let mut o = BbbOptions::new(s.checksums.clone());
    o.calls.connect = s.connect_timeout;
    o.calls.response = s.response_timeout;
    o.calls.reply = s.limits.reply;
    o.formula = s.formula;
    o.new_meeting = s.formula.new_meeting();
    o.poll_interval = s.poll_interval;
    o.healthy_threshold = s.healthy_threshold;
    o.unhealthy_threshold = s.unhealthy_threshold;
    o.meeting_ttl = s.meeting_ttl;
    o.create = s.create.clone();
    o.join = s.join.clone();
    o.max_duration = s.max_meeting_minutes;
    o.voice_digits = s.voice_digits;
    o.external_voice_bridge = s.external_voice_bridge;
    o.url_host.clone_from(&s.url_host);
    o.signed_forms = s.signed_forms;
    o.callbacks.allow = s.callback_allow.clone();
    o.callbacks.relay_recording_ready = s.relay_recording_ready;
    o.rate = s.rate;
    o.multitenancy = s.multitenancy;
    o.dial_in = s.dial_in.clone();
    o.build.clone_from(&s.build);
    o.get_meetings_disabled = s.get_meetings_disabled;
    o.id_is_hostname = s.id_is_hostname;
    o
}

fn limits(s: &Settings) -> HttpLimits {
    let mut l = HttpLimits::default();
    l.connections = s.limits.connections;
    l.head = s.limits.head;
    l.form = s.limits.form;
    l.slides = s.limits.slides;
    l.slides_held = s.limits.slides_held;
    l.head_time = s.limits.head_time;
    l.idle = s.limits.idle;
    l
}
