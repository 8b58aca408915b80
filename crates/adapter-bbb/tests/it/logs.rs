//! What is logged.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use adapter_bbb::testing::Mode;
use tracing_subscriber::fmt::MakeWriter;

use crate::stage::{Stage, patient};

/// Everything that is logged, in one buffer.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Keeps everything that this thread logs until the answer is dropped.
    pub(crate) fn keep(&self) -> impl Sized {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(self.clone());
        // With a second one beside it, a place that another test's thread passes first is not taken for a silent one.
        let second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
        // One thread: everything that a test does is logged here.
        (tracing::subscriber::set_default(subscriber.finish()), second)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_first_failed_poll_of_a_server_is_told_once() {
    let log = Log::default();
    let _kept = log.keep();
    let stage = Stage::memory(1).await;
    let mut fresh = adapter_bbb::ServerRecord::new(
        crate::stage::id(7),
        stage.fakes[0].base(),
        adapter_bbb::Secret::new("not-the-one"),
    );
    fresh.state = adapter_bbb::ServerState::Enabled;
    stage.store.add_server(&fresh).await.unwrap();
    let process = stage.process(patient()).await;
    let told = |what: &str| log.text().lines().filter(|l| l.contains(what)).count();
    for _ in 0..3 {
        process.poll().await;
    }
    let what = "a server that is not online fails its polls";
    assert_eq!(told(what), 1, "{}", log.text());
    let text = log.text();
    let line = text.lines().find(|l| l.contains(what)).unwrap();
    for part in
        ["WARN", "checksumError", "is the server's secret right?", &format!("127.0.0.1:{}", stage.fakes[0].port())]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!log.text().contains("not-the-one"));
    // One that was online is told of as well, and so is its end.
    stage.fakes[0].set_mode(Mode::Down).await.unwrap();
    for _ in 0..4 {
        process.poll().await;
    }
    assert_eq!((told("a poll of a server failed"), told("server is offline")), (1, 1), "{}", log.text());
}
