//! A running `serve --shards`, and what stands beside it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use adapter_jitsi::ShardAddresses;
use adapter_jitsi::testing::ShardStandIn;

use crate::{Ran, command, run};

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of one test, gone when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("jitsi-picker-it-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn put(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that is killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(told.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) use real_servers::free_port;

/// A running picker.
pub(crate) struct Picker {
    pub(crate) process: Process,
    pub(crate) url: String,
}

impl Picker {
    /// Starts one on this port, 0 for any, and waits until it listens.
    pub(crate) fn start(config: &str, port: u16) -> Self {
        let bind = format!("127.0.0.1:{port}");
        let mut child = command(&["serve", "--bind", &bind, "--shards", config], &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = Process(child);
        let line = lines.next().expect("a line").unwrap();
        let url = line.strip_prefix("listening at ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { process, url }
    }

    /// Runs `shards ...` against it.
    pub(crate) fn shards(&self, args: &[&str]) -> Ran {
        run(&[&["shards"], args].concat(), &[("JITSI_PICKER_URL", self.url.as_str())])
    }

    /// The same as JSON; it must have been done.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let ran = self.shards(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {args:?} {ran:?}"))
    }

    /// One shard as `list` has it.
    pub(crate) fn shard(&self, id: &str) -> serde_json::Value {
        let list = self.json(&["list"]);
        let found = list["shards"].as_array().unwrap().iter().find(|shard| shard["shard"] == id);
        found.unwrap_or_else(|| panic!("{id}: {list}")).clone()
    }
}

/// Asks again until it is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A `[[shard]]` of the file.
pub(crate) fn stanza(id: &str, region: &str, stand_in: &ShardStandIn) -> String {
    let ShardAddresses { web, bosh, xmpp, focus } = stand_in.addresses();
    let parts = [("web", web), ("bosh", bosh), ("xmpp", xmpp), ("focus", focus)];
    let parts: String = parts.iter().map(|(part, at)| format!("{part} = \"{}\"\n", at.as_ref().unwrap())).collect();
    format!("[[shard]]\nid = \"{id}\"\nregion = \"{region}\"\n{parts}")
}

/// A program at one of these paths, or where the variable says. Under `CI=true` it must be there.
pub(crate) fn program(variable: &str, places: &[&str]) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let found = named.or_else(|| places.iter().map(Path::new).find(|path| path.is_file()).map(Path::to_owned));
    if found.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{variable} is not installed");
        println!("skipped: {} is not installed", variable.to_lowercase());
    }
    found
}
