//! Figures of recordings: whether their index answers, and what came in.

use std::time::Duration;

#[cfg(feature = "recordings")]
use std::sync::atomic::Ordering::Relaxed;

use super::BbbService;
use super::metrics::Page;

/// How long the index is waited for: a page of figures comes in time, whatever is away.
const WAIT: Duration = Duration::from_secs(1);

impl BbbService {
    pub(super) async fn recording_figures(&self, page: &mut Page) {
        if let Some(recordings) = &self.recordings {
            let answers = tokio::time::timeout(WAIT, recordings.index.check()).await;
            let name = "balancer_recordings_index_up";
            page.family(name, "gauge", "Whether the index of recordings answers.");
            page.sample(name, &[], f64::from(u8::from(matches!(answers, Ok(Ok(()))))));
        }
        #[cfg(feature = "recordings")]
        if let Some(figures) = self.desk.as_ref().and_then(super::RecordingDesk::import_figures) {
            let name = "balancer_recording_imports_total";
            page.family(name, "counter", "Archives of recordings by what became of them; failed ones are tried again.");
            for (result, counter) in
                [("done", &figures.done), ("refused", &figures.refused), ("failed", &figures.failed)]
            {
                page.sample(name, &[("result", result)], counter.load(Relaxed) as f64);
            }
            let help = "How long archives took, by what became of them.";
            page.histograms("balancer_recording_import_duration_seconds", help, "result", &figures.took);
            let counters = [
                ("balancer_recording_import_bytes_total", "Bytes of archives that came in.", &figures.bytes),
                ("balancer_recordings_imported_total", "Recordings that came in.", &figures.recordings),
            ];
            for (name, help, counter) in counters {
                page.family(name, "counter", help);
                page.sample(name, &[], counter.load(Relaxed) as f64);
            }
            let name = "balancer_recording_spool_archives";
            page.family(name, "gauge", "Archives in the spool, refused ones among them, by the last look at it.");
            page.sample(name, &[], figures.spool.load(Relaxed) as f64);
            let last = figures.last_done_ms.load(Relaxed);
            if last > 0 {
                let name = "balancer_recording_import_last_success_timestamp_seconds";
                page.family(name, "gauge", "When an archive came in last.");
                page.sample(name, &[], last as f64 / 1000.0);
            }
        }
    }
}
