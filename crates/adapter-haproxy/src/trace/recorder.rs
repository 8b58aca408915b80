//! Traces, written while conversations go on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::mask::Mask;
use super::record::{Happened, MAX_BYTES, MAX_RECORD, Protocol, Record, Side, put_said, write_header};

/// How large a trace may grow, and what is in clear.
#[derive(Clone, Debug)]
pub struct RecorderOptions {
    max_bytes: u64,
    queue: usize,
    arguments: BTreeSet<String>,
}

/// Files of 256 MiB, 8 MiB that wait to be written, and the arguments of a placer in clear.
impl Default for RecorderOptions {
    fn default() -> Self {
        let arguments = ["room", "tags", "region", "source", "home", "at"].map(str::to_owned).into();
        Self { max_bytes: 256 << 20, queue: 8 << 20, arguments }
    }
}

impl RecorderOptions {
    /// The most bytes of a file; default 256 MiB. What happens when it is full is not recorded.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The most bytes that wait to be written; default 8 MiB, at least two records. What is said meanwhile is left out,
    /// and a record tells how much.
    #[must_use]
    pub fn with_queue(mut self, bytes: usize) -> Self {
        self.queue = bytes.max(2 * MAX_RECORD);
        self
    }

    /// One more argument of SPOE messages whose text is kept in clear.
    #[must_use]
    pub fn with_argument(mut self, name: impl Into<String>) -> Self {
        self.arguments.insert(name.into());
        self
    }
}

/// What became of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecorderCounts {
    /// Connections.
    pub connections: u64,
    /// Bytes of conversations that are in the file, or on their way there.
    pub bytes: u64,
    /// Bytes of conversations that are not: too fast, or the file was full.
    pub lost: u64,
    /// Whether the file has its full size.
    pub full: bool,
    /// Why nothing more is written, if nothing can be.
    pub fault: Option<String>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<u8>,
    /// The size of the file once all that waits is written.
    size: u64,
    full: bool,
    ended: bool,
    fault: Option<String>,
}

#[derive(Debug)]
struct Shared {
    options: RecorderOptions,
    arguments: Arc<BTreeSet<String>>,
    began: Instant,
    queue: Mutex<Queue>,
    news: Condvar,
    connections: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has these records written, or none of them.
    fn put(&self, records: &[u8]) -> bool {
        let mut queue = self.queue();
        if queue.full || queue.ended || queue.fault.is_some() {
            return false;
        }
        let more = u64::try_from(records.len()).unwrap_or(u64::MAX);
        // The last record of a full file has its place always.
        if queue.size.saturating_add(more).saturating_add(64) > self.options.max_bytes {
            queue.full = true;
            let mut last = Vec::new();
            Record::new(self.began.elapsed(), 0, Happened::Full).encode(&mut last);
            queue.waiting.extend(last);
            self.news.notify_one();
            return false;
        }
        if queue.waiting.len() + records.len() > self.options.queue {
            return false;
        }
        queue.size += more;
        queue.waiting.extend_from_slice(records);
        self.news.notify_one();
        true
    }

    /// Writes what there is to write, until the end.
    fn write(&self, mut file: impl Write) {
        let mut batch = Vec::new();
        loop {
            let mut queue = self.queue();
            while queue.waiting.is_empty() && !queue.ended {
                queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            if queue.waiting.is_empty() {
                return;
            }
            batch.clear();
            std::mem::swap(&mut batch, &mut queue.waiting);
            drop(queue);
            if let Err(error) = file.write_all(&batch).and_then(|()| file.flush()) {
                let mut queue = self.queue();
                (queue.fault, queue.waiting) = (Some(error.to_string()), Vec::new());
                return;
            }
        }
    }
}

#[derive(Debug)]
struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    fn end(&self) {
        self.shared.queue().ended = true;
        self.shared.news.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It panics nowhere.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Keeps conversations in a file. Clones are handles to the same; the last one that is dropped closes it.
#[derive(Clone, Debug)]
pub struct Recorder {
    writer: Arc<Writer>,
}

impl Recorder {
    /// A new file, for its owner alone. One that is there already is kept, with `.old` at its name's end, in the place of
    /// an earlier one.
    ///
    /// # Errors
    /// If it cannot be made, or what is there is no file.
    pub fn create(path: &Path, options: RecorderOptions) -> io::Result<Self> {
        if let Ok(there) = fs::symlink_metadata(path) {
            if !there.is_file() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "what is there is no file: name another one"));
            }
            let mut old = path.as_os_str().to_owned();
            old.push(".old");
            fs::rename(path, old)?;
        }
        let mut made = File::options();
        made.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut made, 0o600);
        Self::to(made.open(path)?, options)
    }

    /// Writes to whatever takes bytes.
    ///
    /// # Errors
    /// If there is no thread to be had for it.
    pub fn to(target: impl Write + Send + 'static, options: RecorderOptions) -> io::Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut waiting = Vec::new();
        write_header(&mut waiting, u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let size = u64::try_from(waiting.len()).unwrap_or(u64::MAX);
        let shared = Arc::new(Shared {
            arguments: Arc::new(options.arguments.clone()),
            options,
            began: Instant::now(),
            queue: Mutex::new(Queue { waiting, size, ..Queue::default() }),
            news: Condvar::new(),
            connections: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let work = shared.clone();
        let thread = std::thread::Builder::new().name("trace".to_owned()).spawn(move || work.write(target))?;
        Ok(Self { writer: Arc::new(Writer { shared, thread: Mutex::new(Some(thread)) }) })
    }

    /// A connection with this one, a name or an address, opened by that side; its text is in clear where that is harmless.
    /// Of peers only the keys of these tables are.
    pub fn tape<'t>(
        &self,
        protocol: Protocol,
        by: Side,
        with: &str,
        tables: impl IntoIterator<Item = &'t str>,
    ) -> Tape {
        let shared = &self.writer.shared;
        let connection = shared.connections.fetch_add(1, Relaxed) + 1;
        let clear = match protocol {
            Protocol::Peers => Arc::new(tables.into_iter().map(str::to_owned).collect()),
            _ => shared.arguments.clone(),
        };
        let mask = Mask::new(protocol, by, clear);
        let opened = Some(Happened::Opened { protocol, by, with: with.to_owned() });
        let recorder = self.clone();
        let mut tape = Tape { recorder, connection, mask, opened, lost: [0; 2], records: Vec::new() };
        let now = tape.now();
        tape.begin(now);
        tape.put();
        tape
    }

    /// What became of it so far.
    pub fn counts(&self) -> RecorderCounts {
        let shared = &self.writer.shared;
        let queue = shared.queue();
        RecorderCounts {
            connections: shared.connections.load(Relaxed),
            bytes: shared.bytes.load(Relaxed),
            lost: shared.lost.load(Relaxed),
            full: queue.full,
            fault: queue.fault.clone(),
        }
    }

    /// Writes what waits and closes the file; what is said afterwards is not recorded. Blocks for as long as the disk
    /// takes for what waits.
    pub fn finish(&self) -> RecorderCounts {
        self.writer.end();
        self.counts()
    }
}

/// One connection of a trace. Dropped, it ends there.
#[derive(Debug)]
pub struct Tape {
    recorder: Recorder,
    connection: u64,
    mask: Mask,
    /// How it began, until the trace tells.
    opened: Option<Happened>,
    /// Bytes of each side that are not in the trace, and not told yet.
    lost: [u64; 2],
    records: Vec<u8>,
}

impl Tape {
    /// HAProxy said this.
    pub fn heard(&mut self, bytes: &[u8]) {
        self.say(Side::Haproxy, bytes);
    }

    /// We said this; over a runtime socket one command at a time.
    pub fn said(&mut self, bytes: &[u8]) {
        self.say(Side::Us, bytes);
    }

    fn say(&mut self, side: Side, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let kept = self.mask.pass(side, bytes);
        self.keep(side, &kept);
    }

    fn now(&self) -> Duration {
        self.recorder.writer.shared.began.elapsed()
    }

    fn keep(&mut self, side: Side, bytes: &[u8]) {
        let at = self.now();
        for part in bytes.chunks(MAX_BYTES) {
            let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
            self.begin(at);
            put_said(&mut self.records, at, self.connection, side, part);
            let put = self.put();
            let shared = &self.recorder.writer.shared;
            if put {
                shared.bytes.fetch_add(len, Relaxed);
            } else {
                shared.lost.fetch_add(len, Relaxed);
                if let Some(lost) = self.lost.get_mut(side.index()) {
                    *lost += len;
                }
            }
        }
    }

    /// What was lost before comes first.
    fn begin(&mut self, at: Duration) {
        self.records.clear();
        let lost = Side::BOTH.into_iter().zip(self.lost).filter(|(_, bytes)| *bytes > 0);
        for what in self.opened.iter().cloned().chain(lost.map(|(side, bytes)| Happened::Lost { side, bytes })) {
            Record::new(at, self.connection, what).encode(&mut self.records);
        }
    }

    fn put(&mut self) -> bool {
        let put = self.recorder.writer.shared.put(&self.records);
        if put {
            (self.opened, self.lost) = (None, [0; 2]);
        }
        put
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        let rest = self.mask.rest();
        self.keep(Side::Haproxy, &rest);
        let at = self.now();
        self.begin(at);
        Record::new(at, self.connection, Happened::Closed).encode(&mut self.records);
        self.put();
    }
}
