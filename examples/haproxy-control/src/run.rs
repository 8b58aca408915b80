//! `run`: the control loop as a service, until it is told to stop.

use std::path::Path;

use adapter_haproxy::control::ControlEvent;
use adapter_haproxy::runtime::{Client, ClientOptions, RuntimeAddress};
use adapter_haproxy::trace::{Recorder, RecorderOptions};
use balancer_core::stable_hash;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;

use crate::cli::{RunArgs, RunMode};
use crate::settings::{self, EXAMPLE, Format, Level, Settings};
use console::{Failure, Notify, Outcome};

mod agent;
mod explain;
mod http;
mod metrics;
mod part;
mod probes;
mod service;
mod sockets;
mod stores;

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
    let settings = settings_of(path, args.mode)?;
    if args.check {
        return Ok(Outcome::done(settings.effective()?));
    }
    let recorder = args.record.as_deref().map(record).transpose()?;
    let done = runtime()?.block_on(serve(path, args.mode, settings, recorder.clone()));
    if let Some(recorder) = recorder {
        recorded(&recorder);
    }
    done
}

/// The trace that was asked for.
fn record(path: &Path) -> Result<Recorder, Failure> {
    let made = Recorder::create(path, RecorderOptions::default());
    made.map_err(|e| Failure::failed(format!("{} cannot be recorded to", path.display())).cause(e))
}

/// Ends a trace, and says what is not in it.
fn recorded(recorder: &Recorder) {
    let counts = recorder.finish();
    if let Some(why) = counts.fault {
        tracing::warn!("the trace ends early: {}", console::printable(&why));
    } else if counts.full {
        tracing::warn!(lost = counts.lost, "the trace ends early: it has its full size");
    } else if counts.lost > 0 {
        tracing::warn!(lost = counts.lost, "not all is in the trace: it came faster than it could be written");
    }
}

/// The settings of a file, with the mode of the command line for backends that have none of their own.
fn settings_of(path: &Path, mode: Option<RunMode>) -> Result<Settings, Failure> {
    Settings::read(path)?.in_mode(mode.map(Into::into), &path.display().to_string())
}

/// Threads for what waits.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|e| Failure::failed("no threads can be started").cause(e))
}

async fn serve(
    path: &Path,
    mode: Option<RunMode>,
    mut settings: Settings,
    recorder: Option<Recorder>,
) -> Result<Outcome, Failure> {
    log(&settings);
    let notify = Notify::from_env(
        |e| tracing::warn!(error = %e, "NOTIFY_SOCKET cannot be used: the service manager is told nothing"),
    );
    // From here on SIGHUP ends nothing any more.
    let mut hangups = signal(SignalKind::hangup()).ok();
    let mut kept = Kept::open(&settings, recorder)?;
    let mut service = Draft::new(&settings, &kept)?.start(&mut kept).await?;
    notify.ready(&driving(&settings));
    let mut stop = std::pin::pin!(console::signalled());
    let mut alive = std::pin::pin!(alive(&notify));
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = &mut alive => {}
            // Whoever started this starts it again: a service that controls nothing must not look alive.
            ended = &mut service.running => {
                let why = match ended {
                    Ok(Ok(())) => "nobody told it to".to_owned(),
                    Ok(Err(why)) => why,
                    Err(e) => e.to_string(),
                };
                return Err(Failure::failed("the control loop has ended").cause(why));
            }
            () = hung_up(&mut hangups) => {
                notify.reloading();
                let mut told = String::new();
                match Next::read(path, mode, &settings, &kept) {
                    Ok(None) => tracing::info!("the settings were read again: nothing has changed"),
                    Ok(Some(mut next)) => {
                        service.end().await;
                        kept.make_way(&next.kept);
                        match next.draft.start(&mut next.kept).await {
                            Ok(started) => {
                                service = started;
                                (settings, kept) = (next.settings, next.kept);
                                tracing::info!("the settings were read again, and are in force");
                            }
                            Err(failure) => {
                                // What only shows at work, as a socket that cannot be made.
                                service = Draft::new(&settings, &kept)?.start(&mut kept).await?;
                                told.push_str(refused(&failure));
                            }
                        }
                    }
                    Err(failure) => told.push_str(refused(&failure)),
                }
                notify.ready(&format!("{}{told}", driving(&settings)));
            }
        }
    }
    notify.stopping("places stay in force");
    tracing::info!("stopping: places stay in force");
    // Who calls now is refused at once, and goes elsewhere.
    drop(kept);
    service.end().await;
    Ok(Outcome::done(""))
}

/// Says that other settings cannot be, and what the service manager is to show of it.
fn refused(why: &Failure) -> &'static str {
    let why = console::printable(&why.to_string());
    tracing::error!("new settings cannot be used, those of before stay in force: {why}");
    "; new settings were refused"
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

/// The runtime socket of a process.
pub(crate) fn client(process: &settings::Process) -> Result<Client, Failure> {
    recorded_client(process, None)
}

/// The same, with what is said kept in a trace.
fn recorded_client(process: &settings::Process, recorder: Option<&Recorder>) -> Result<Client, Failure> {
    let wrong = |e| Failure::failed(format!("haproxy {}: runtime", process.name.as_str())).cause(e);
    let address: RuntimeAddress = process.runtime.as_str().parse().map_err(wrong)?;
    let mut options = ClientOptions::default();
    options.recorder = recorder.cloned();
    Ok(Client::new(address, options))
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
async fn follow(mut events: tokio::sync::broadcast::Receiver<ControlEvent>, pool: Option<String>, rooms: bool) {
    let told = |event: &ControlEvent| {
        let pool = pool.as_ref().map(|pool| format!("{pool}: ")).unwrap_or_default();
        console::printable(&format!("{pool}{event}"))
    };
    loop {
        match events.recv().await {
            Ok(ControlEvent::Moved { room, from, to, why, .. }) if !rooms => {
                let hash = format!("{:016x}", stable_hash(room.as_bytes()));
                tracing::debug!(room_hash = hash, %from, %to, reason = why.as_str(), "room moved");
            }
            Ok(event @ (ControlEvent::Pushed { .. } | ControlEvent::Moved { .. })) => {
                tracing::debug!("{}", told(&event));
            }
            Ok(event) if event.is_warning() => tracing::warn!("{}", told(&event)),
            Ok(event) => tracing::info!("{}", told(&event)),
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
