//! Looking at the spool by and by, and when something arrives in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::{ImportError, Importer};

/// What arrives together is imported together.
const SETTLE: Duration = Duration::from_millis(200);

impl Importer {
    /// Imports what arrives until `shutdown` resolves; the archive that is being imported then is finished first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is like `shutdown`, only that nobody waits for that archive.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        let arrived = Arc::new(Notify::new());
        let _watcher = self.options.events.then(|| self.watcher(&arrived));
        let mut every = tokio::time::interval(self.options.poll.max(Duration::from_millis(10)));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                _ = every.tick() => {}
                () = arrived.notified() => {
                    tokio::select! {
                        () = &mut shutdown => return,
                        () = tokio::time::sleep(SETTLE) => {}
                    }
                }
            }
            let stop = Arc::new(AtomicBool::new(false));
            let mut work = std::pin::pin!(self.import_until(false, &stop));
            let done = tokio::select! {
                done = &mut work => done,
                () = &mut shutdown => {
                    tracing::info!("the archive that is being imported is finished first");
                    stop.store(true, Relaxed);
                    let _ = work.await;
                    return;
                }
            };
            match done {
                Ok(_) => {}
                // Somebody else does the work, and may end before what has just arrived: the next poll sees to that.
                Err(ImportError::Busy) => tracing::debug!("another process imports from this spool"),
                Err(e) => tracing::warn!(error = %e, "the spool cannot be imported"),
            }
        }
    }

    /// Tells of what arrives, for as long as it is kept.
    fn watcher(&self, arrived: &Arc<Notify>) -> Option<RecommendedWatcher> {
        let told = arrived.clone();
        let made = std::fs::create_dir_all(&self.options.spool).map_err(notify::Error::io).and_then(|()| {
            let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // Reading is no change, and our own reading would tell of itself.
                if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(kind) if !closes(kind))) {
                    told.notify_one();
                }
            })?;
            watcher.watch(&self.options.spool, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        made.inspect_err(|e| {
            let spool = self.options.spool.display();
            tracing::warn!(%spool, error = %e, "nothing tells of archives that arrive; the spool is polled alone");
        })
        .ok()
    }
}

/// Whether somebody has finished writing.
fn closes(kind: notify::event::AccessKind) -> bool {
    kind == notify::event::AccessKind::Close(notify::event::AccessMode::Write)
}
