//! A real Prosody on a free loopback port, for one test.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adapter_jitsi::testing::{Jvb, JvbOptions};
use adapter_jitsi::{
    Backoff, BareJid, BreweryClient, BreweryEvent, BreweryFeed, ClientOptions, Element, LoginOptions, Password, Scope,
    TlsRoots,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::vectors;

static NUMBER: AtomicU32 = AtomicU32::new(0);
pub(crate) const PASSWORD: &str = "s3cret, =1";
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const ROOM: &str = "JvbBrewery@internal.auth.meet.test";

/// How a server is set up.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) tls: bool,
    /// The certificate signed itself, instead of an authority.
    pub(crate) self_signed: bool,
    /// Lines before everything else of the configuration.
    pub(crate) global: &'static str,
    /// Texts of the configuration to replace.
    pub(crate) replace: &'static [(&'static str, &'static str)],
}

/// A running server; killed, and its folder removed, when dropped.
pub(crate) struct Prosody {
    child: Option<Child>,
    pub(crate) port: u16,
    folder: PathBuf,
    tls: bool,
    /// The authority that signed its certificate, in PEM.
    pub(crate) roots: String,
}

impl Prosody {
    /// Starts a server and registers `focus`, `jvb` and `balancer`. `None` when Prosody is not installed; under CI that
    /// is a failure.
    pub(crate) fn start(setup: &Setup) -> Option<Self> {
        if Command::new("prosodyctl").arg("about").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            assert!(std::env::var_os("CI").is_none(), "prosody is not installed");
            eprintln!("skipped: prosody is not installed");
            return None;
        }
        let name = format!("jitsi-prosody-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut text = std::fs::read_to_string(vectors::own().join("prosody.cfg.lua")).unwrap();
        for (from, to) in setup.replace {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        std::fs::write(folder.join("prosody.cfg.lua"), format!("{}\n{text}", setup.global)).unwrap();
        let roots = certificates(&folder, setup.self_signed);
        let mut server = Self { child: None, port: 0, folder, tls: setup.tls, roots };
        for user in ["focus", "jvb", "balancer"] {
            let mut register = server.command("prosodyctl");
            let done = register.args(["register", user, "auth.meet.test", PASSWORD]).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        for _ in 0..10 {
            // Another test may take the port first: then another is tried.
            server.port = real_servers::free_port();
            if server.run() {
                return Some(server);
            }
        }
        panic!("prosody does not start");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("BREW_DATA", &self.folder)
            .env("BREW_CERTS", &self.folder)
            .env("BREW_PORT", self.port.to_string())
            .env("BREW_TLS", if self.tls { "1" } else { "0" })
            .arg("--config")
            .arg(self.folder.join("prosody.cfg.lua"));
        command
    }

    fn run(&mut self) -> bool {
        let mut command = self.command("prosody");
        let mut child = command.arg("-F").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let opened = lines.by_ref().map_while(Result::ok).find(|line| line.contains("Activated service 'c2s' on "));
        // Where the port is taken it goes on without one.
        if !opened.is_some_and(|line| line.contains("on [")) {
            let _ = child.kill();
            child.wait().unwrap();
            return false;
        }
        // The server must never block on its output.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if std::env::var_os("PROSODY_LOG").is_some() {
                    eprintln!("{line}");
                }
            }
        });
        self.child = Some(child);
        true
    }

    /// Kills the server without a warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Has the server shut down in order.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let told = Command::new("kill").arg(child.id().to_string()).status().unwrap();
            assert!(told.success());
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same port.
    pub(crate) fn resume(&mut self) {
        assert!(self.run(), "prosody does not start again");
    }

    /// Options of this account by this nick, with short waits between tries.
    pub(crate) fn options(&self, user: &str, nick: &str) -> ClientOptions {
        let account = BareJid::new(&format!("{user}@auth.meet.test")).unwrap();
        let login = LoginOptions::new(account, Password::new(PASSWORD), BareJid::new(ROOM).unwrap(), nick);
        let mut options = ClientOptions::new(login);
        options.server = format!("127.0.0.1:{}", self.port);
        options.roots = self.tls.then(|| TlsRoots::from_pem(self.roots.as_bytes()).unwrap());
        options.retry = Backoff { first: Duration::from_millis(100), cap: Duration::from_millis(400) };
        options
    }

    /// A bridge that publishes ten times a second.
    pub(crate) fn bridge(&self, nick: &str) -> Jvb {
        Jvb::start(self.options("jvb", nick), quick())
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A stand-in that publishes ten times a second.
pub(crate) fn quick() -> JvbOptions {
    let mut options = JvbOptions::default();
    options.interval = Duration::from_millis(100);
    options
}

/// Writes a certificate with its key for the server, and gives what signed it.
fn certificates(folder: &Path, self_signed: bool) -> String {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let signed = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["auth.meet.test".to_owned(), "internal.auth.meet.test".to_owned()];
    let leaf = rcgen::CertificateParams::new(names).unwrap();
    let leaf = if self_signed { leaf.self_signed(&key) } else { leaf.signed_by(&key, &issuer) }.unwrap();
    std::fs::write(folder.join("auth.meet.test.crt"), leaf.pem()).unwrap();
    std::fs::write(folder.join("auth.meet.test.key"), key.serialize_pem()).unwrap();
    if self_signed { leaf.pem() } else { signed.pem() }
}

/// A client under test with its feed.
pub(crate) struct Observer {
    feed: BreweryFeed,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Observer {
    pub(crate) fn start(options: ClientOptions) -> Self {
        let (client, feed) = BreweryClient::new(options);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(client.run(async move {
            let _ = stopped.await;
        }));
        Self { feed, stop: Some(stop), task }
    }

    /// The first event that is looked for; what comes before it is thrown away.
    pub(crate) async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(BreweryEvent) -> Option<T>) -> T {
        let found = async {
            while let Some(event) = self.feed.next().await {
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
            panic!("the feed ended before {what}");
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!("{what} did not come"),
        }
    }

    /// Waits until the room is joined; gives who is there.
    pub(crate) async fn resynced(&mut self) -> Resync {
        self.until("the resync", |event| match event {
            BreweryEvent::Resynced { away, present, added, missing } => {
                let nicks =
                    |some: Vec<adapter_jitsi::OccupantJid>| some.iter().map(|it| it.nick().to_owned()).collect();
                Some(Resync { away, present: nicks(present), added: nicks(added), missing: nicks(missing) })
            }
            _ => None,
        })
        .await
    }

    /// The next event, if one comes by then.
    pub(crate) async fn next_by(&mut self, deadline: tokio::time::Instant) -> Option<BreweryEvent> {
        let next = tokio::time::timeout_at(deadline, self.feed.next()).await;
        next.ok().map(|event| event.unwrap_or_else(|| panic!("the feed ended")))
    }

    /// Everything that came so far, to say what must not have come.
    pub(crate) fn came(&mut self) -> Vec<BreweryEvent> {
        std::iter::from_fn(|| self.feed.try_next()).collect()
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

#[derive(Debug)]
pub(crate) struct Resync {
    pub(crate) away: Option<Duration>,
    pub(crate) present: Vec<String>,
    pub(crate) added: Vec<String>,
    pub(crate) missing: Vec<String>,
}

/// The figures in a presence. The server writes attributes in an order of its own.
pub(crate) fn figures(stanza: &[u8]) -> BTreeMap<String, String> {
    let stanza = Element::parse(stanza, &Scope::default()).unwrap();
    let stats = stanza.child("stats", "http://jitsi.org/protocol/colibri").unwrap();
    let text = |stat: &Element, name| stat.attribute(name).unwrap().to_owned();
    stats.children().iter().map(|stat| (text(stat, "name"), text(stat, "value"))).collect()
}

/// Waits for something of a stand-in, with a deadline.
pub(crate) async fn soon<T: Debug>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}
