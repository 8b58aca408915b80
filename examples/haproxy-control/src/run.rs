//! `run`: the control loop as a service, until it is told to stop.

use std::path::Path;
use std::sync::Arc;

use adapter_haproxy::control::{
    Control, ControlEvent, ControlOptions, ControlledProcess, ControlledServer, Decide, Placing,
};
use adapter_haproxy::runtime::{Client, ClientOptions, RuntimeAddress};
use balancer_core::{
    FileOptions, FileStore, HealthProbe, HealthRules, HttpProbe, MemoryStore, MonitorOptions, RedisLink, RedisStore,
    StickStore, TcpProbe, stable_hash,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;

use crate::cli::RunArgs;
use crate::settings::{self, EXAMPLE, Format, Level, ProbeKind, Settings, StoreKind};
use console::{Failure, Notify, Outcome};

mod http;
mod metrics;
mod probes;
mod service;

use probes::Probes;
use service::{Draft, Kept, Next};

/// Runs until SIGTERM or SIGINT; SIGHUP has the settings read again.
///
/// # Errors
///
/// Settings that cannot be, a store that cannot be opened, an address that is taken.
pub(crate) fn run(args: &RunArgs) -> Result<Outcome, Failure> {
    if args.example {
        return Ok(Outcome::done(EXAMPLE));
    }
    let path = args.config.as_deref().ok_or_else(|| Failure::usage("--config is missing"))?;
    let settings = Settings::read(path)?;
    if args.check {
        return Ok(Outcome::done(settings.effective()?));
    }
    runtime()?.block_on(serve(path, settings))
}

/// Threads for what waits.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|e| Failure::failed("no threads can be started").cause(e))
}

async fn serve(path: &Path, mut settings: Settings) -> Result<Outcome, Failure> {
    log(&settings);
    let notify = Notify::from_env(
        |e| tracing::warn!(error = %e, "NOTIFY_SOCKET cannot be used: the service manager is told nothing"),
    );
    // From here on SIGHUP ends nothing any more.
    let mut hangups = signal(SignalKind::hangup()).ok();
    let mut kept = Kept::open(&settings)?;
    let mut service = Draft::new(&settings, &kept)?.start();
    notify.ready(&driving(&settings));
    let mut stop = std::pin::pin!(console::signalled());
    let mut alive = std::pin::pin!(alive(&notify));
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = &mut alive => {}
            // Whoever started this starts it again: a service that controls nothing must not look alive.
            ended = &mut service.running => {
                let why = ended.err().map_or_else(|| "nobody told it to".to_owned(), |e| e.to_string());
                return Err(Failure::failed("the control loop has ended").cause(why));
            }
            () = hung_up(&mut hangups) => {
                notify.reloading();
                let mut told = String::new();
                match Next::read(path, &settings, &kept) {
                    Ok(None) => tracing::info!("the settings were read again: nothing has changed"),
                    Ok(Some(next)) => {
                        service.end().await;
                        service = next.draft.start();
                        (settings, kept) = (next.settings, next.kept);
                        tracing::info!("the settings were read again, and are in force");
                    }
                    Err(failure) => {
                        let why = console::printable(&failure.to_string());
                        tracing::error!("new settings cannot be used, those of before stay in force: {why}");
                        told.push_str("; new settings were refused");
                    }
                }
                notify.ready(&format!("{}{told}", driving(&settings)));
            }
        }
    }
    notify.stopping("pins stay in force");
    tracing::info!("stopping: pins stay in force");
    service.end().await;
    Ok(Outcome::done(""))
}

fn driving(settings: &Settings) -> String {
    format!("driving {}", console::counted(settings.haproxy.len(), "HAProxy"))
}

/// Waits for the next SIGHUP.
async fn hung_up(hangups: &mut Option<Signal>) {
    let heard = match hangups {
        Some(hangups) => hangups.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending().await
    }
}

/// The controller these settings describe.
///
/// # Errors
///
/// Addresses that cannot be.
fn control(settings: &Settings, store: Arc<dyn StickStore>, probes: &Arc<Probes>) -> Result<Control, Failure> {
    let rooms = &settings.rooms;
    let mut options = ControlOptions::new(rooms.backend.as_str(), rooms.map.as_str());
    options.with = rooms.with.iter().map(|name| name.as_str().to_owned()).collect();
    options.table = rooms.table.as_ref().map(|name| name.as_str().to_owned());
    (options.ttl, options.idle) = (rooms.ttl.get(), rooms.idle.get());
    options.placing = match rooms.place {
        settings::Place::Hash => Placing::Hash,
        settings::Place::Least => Placing::Least,
    };
    options.decide = match settings.health.decide {
        settings::Decide::Haproxy => Decide::Haproxy,
        settings::Decide::Probes => Decide::Probes,
        settings::Decide::Either => Decide::Either,
        settings::Decide::Both => Decide::Both,
    };
    options.grace = settings.health.grace.get();
    (options.every, options.learn) = (settings.pace.every.get(), settings.pace.learn.get());
    options.resync = settings.pace.resync.get();
    let processes = settings.haproxy.iter().map(|process| {
        let mut one = ControlledProcess::new(process.name.as_str(), client(process)?);
        one.pins_file = process.pins_path(rooms);
        Ok(one)
    });
    let control = Control::new(options, processes.collect::<Result<_, Failure>>()?, store);
    Ok(match &settings.probe {
        Some(probe) => control.with_probe(prober(probe), {
            let rules = HealthRules::new(probe.rise, probe.fall, probe.inter.get());
            let options = MonitorOptions::new(rules).watch(probes.clone());
            match probe.timeout {
                Some(limit) => options.timeout(limit.get()),
                None => options,
            }
        }),
        None => control,
    })
}

/// The runtime socket of a process.
pub(crate) fn client(process: &settings::Process) -> Result<Client, Failure> {
    let wrong = |e| Failure::failed(format!("haproxy {}: runtime", process.name.as_str())).cause(e);
    let address: RuntimeAddress = process.runtime.as_str().parse().map_err(wrong)?;
    Ok(Client::new(address, ClientOptions::default()))
}

fn prober(probe: &settings::Probe) -> Arc<dyn HealthProbe<ControlledServer>> {
    let address = |server: &ControlledServer| server.address().to_string();
    match probe.kind {
        ProbeKind::Tcp => Arc::new(TcpProbe::new(address)),
        ProbeKind::Http => {
            let [first, last] = probe.statuses;
            let http = HttpProbe::new(address, probe.path.as_str()).expect([first..=last]);
            Arc::new(match &probe.host {
                Some(host) => http.host(host.as_str()),
                None => http,
            })
        }
    }
}

fn store(settings: &Settings) -> Result<Arc<dyn StickStore>, Failure> {
    let cannot = |e| Failure::failed("the store cannot be opened").cause(e).hint("is store.url right?");
    Ok(match settings.store.kind().map_err(Failure::failed)? {
        StoreKind::Memory => Arc::new(MemoryStore::default()),
        StoreKind::File(path) => {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                let made = std::fs::create_dir_all(folder);
                made.map_err(|e| Failure::failed(format!("{} cannot be made", folder.display())).cause(e))?;
            }
            Arc::new(FileStore::open(&path, &FileOptions::new()).map_err(cannot)?)
        }
        StoreKind::Redis(options) => Arc::new(RedisStore::new(RedisLink::new(*options).map_err(cannot)?)),
    })
}

fn log(settings: &Settings) {
    let level = match settings.log.level {
        Level::Error => tracing::Level::ERROR,
        Level::Warn => tracing::Level::WARN,
        Level::Info => tracing::Level::INFO,
        Level::Debug => tracing::Level::DEBUG,
        Level::Trace => tracing::Level::TRACE,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    // Fails only when logging runs already.
    let _ = match settings.log.format {
        Format::Text => log.with_ansi(false).try_init(),
        Format::Json => log.json().try_init(),
    };
}

/// One line for each event.
async fn follow(mut events: tokio::sync::broadcast::Receiver<ControlEvent>, rooms: bool) {
    loop {
        match events.recv().await {
            Ok(ControlEvent::Moved { room, from, to, why, .. }) if !rooms => {
                let hash = format!("{:016x}", stable_hash(room.as_bytes()));
                tracing::debug!(room_hash = hash, %from, %to, reason = why.as_str(), "room moved");
            }
            Ok(event @ (ControlEvent::Pushed { .. } | ControlEvent::Moved { .. })) => {
                tracing::debug!("{}", console::printable(&event.to_string()));
            }
            Ok(event) if event.is_warning() => tracing::warn!("{}", console::printable(&event.to_string())),
            Ok(event) => tracing::info!("{}", console::printable(&event.to_string())),
            Err(RecvError::Lagged(lost)) => tracing::warn!(lost, "events were not logged"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Says so again and again, by the same threads that do the work: when they hang, so does this.
async fn alive(notify: &Notify) {
    let Some(every) = notify.every() else { return std::future::pending().await };
    let mut tick = tokio::time::interval(every);
    loop {
        tick.tick().await;
        notify.alive();
    }
}
