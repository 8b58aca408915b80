//! The system's Prosody on a free port of the loopback, gone with everything it wrote when dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adapter_jitsi::{Backoff, BareJid, ClientOptions, LoginOptions, Password};
use tokio::sync::oneshot;

use super::failed;
use console::Failure;

const CONFIGURATION: &str = include_str!("prosody.cfg.lua");
const DOMAIN: &str = "auth.meet.demo";
/// The brewery.
pub(super) const ROOM: &str = "jvbbrewery@internal.auth.meet.demo";
/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// A running Prosody.
pub(super) struct Prosody {
    child: Option<Child>,
    folder: PathBuf,
    port: u16,
    password: Password,
}

impl Prosody {
    /// Starts one, with accounts for the bridges and for the picker.
    pub(super) async fn start() -> Result<Self, Failure> {
        let folder = folder()?;
        let mut server = Self { child: None, folder, port: 0, password: Password::new(secret()?) };
        server.write("prosody.cfg.lua", CONFIGURATION)?;
        server.write("password", server.password.expose())?;
        let accounts = server.folder.join(DOMAIN.replace('.', "%2e")).join("accounts");
        fs::create_dir_all(&accounts).map_err(|e| failed("its accounts cannot be written", e))?;
        for user in ["jvb", "picker"] {
            let account = format!("return {{ password = \"{}\" }};\n", server.password.expose());
            write(&accounts.join(format!("{user}.dat")), &account)?;
        }
        for _ in 0..5 {
            // Somebody may take the port between our look and Prosody's: then another is tried.
            server.port = free_port()?;
            if server.run().await? {
                return Ok(server);
            }
        }
        Err(Failure::failed("prosody does not start").hint("does `prosody -F` start at all? PROSODY names another one"))
    }

    async fn run(&mut self) -> Result<bool, Failure> {
        let program = std::env::var_os("PROSODY").filter(|it| !it.is_empty()).unwrap_or_else(|| "prosody".into());
        let spawned = Command::new(&program)
            .arg("--config")
            .arg(self.folder.join("prosody.cfg.lua"))
            .arg("-F")
            .env("PICKER_FOLDER", &self.folder)
            .env("PICKER_PORT", self.port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = spawned.map_err(|e| {
            Failure::failed(format!("{} cannot be started", program.display()))
                .cause(e)
                .hint("install it, as with `apt-get install prosody`, or name it by PROSODY; nothing else is needed")
        })?;
        let output = child.stdout.take();
        self.child = Some(child);
        let (tell, ready) = oneshot::channel();
        // It must never block on its output, so that is read to the end.
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in output.into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok) {
                // Where the port is taken it goes on without one.
                if line.contains("Activated service 'c2s' on ")
                    && let Some(tell) = tell.take()
                {
                    let _ = tell.send(line.contains("on ["));
                }
            }
        });
        let ready = matches!(tokio::time::timeout(START, ready).await, Ok(Ok(true)));
        if !ready {
            self.stop();
        }
        Ok(ready)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        write(&self.folder.join(name), text)
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The account of the picker.
    pub(super) fn account(&self) -> String {
        format!("picker@{DOMAIN}")
    }

    /// The file with the password of both accounts.
    pub(super) fn password_file(&self) -> PathBuf {
        self.folder.join("password")
    }

    /// How this account joins by this nick.
    pub(super) fn options(&self, user: &str, nick: &str) -> Result<ClientOptions, Failure> {
        let jid = |text: &str| BareJid::new(text).map_err(|e| failed("an address is none", e));
        let account = jid(&format!("{user}@{DOMAIN}"))?;
        let mut options = ClientOptions::new(LoginOptions::new(account, self.password.clone(), jid(ROOM)?, nick));
        options.server = self.address();
        options.retry = Backoff { first: Duration::from_millis(100), cap: Duration::from_secs(1) };
        Ok(options)
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A new folder that nobody else can read.
fn folder() -> Result<PathBuf, Failure> {
    let path = std::env::temp_dir().join(format!("jitsi-picker-{}-{}", std::process::id(), secret()?));
    let made = fs::DirBuilder::new().mode(0o700).create(&path);
    made.map(|()| path).map_err(|e| failed("a temporary folder cannot be made", e))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    opened.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())).map_err(|e| {
        let what = format!("{} cannot be written", path.display());
        failed(&what, e)
    })
}

fn free_port() -> Result<u16, Failure> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|e| failed("there is no free port", e))
}

/// Something nobody guesses, in letters and digits.
fn secret() -> Result<String, Failure> {
    let mut bytes = [0; 12];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.map_err(|e| failed("the system gives no random numbers", e))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
