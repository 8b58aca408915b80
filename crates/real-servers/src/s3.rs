//! A server that speaks S3: moto, which checks the signature of each request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::free_port;

/// Ends with the process that started it, however that one ends: its input is closed then.
const PROGRAM: &str = "import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', sys.argv[1]])
";
/// So many requests are believed without a signature: those that make a user, its access key, its rights and a bucket.
const UNSIGNED: &str = "4";
const RIGHTS: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;

/// A running server with a bucket, and an access key that may do everything there.
#[derive(Debug)]
pub struct S3Server {
    child: Child,
    port: u16,
    key_id: String,
    secret: String,
}

impl S3Server {
    /// The bucket that is there.
    pub const BUCKET: &'static str = "lessons";

    /// The Python interpreter that has moto: `S3_PYTHON`, or that of the workspace's `.venv`.
    ///
    /// # Panics
    ///
    /// When there is none and `CI` is set.
    pub fn python() -> Option<PathBuf> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
        let python = std::env::var_os("S3_PYTHON").map_or(own, PathBuf::from);
        let has = Command::new(&python).args(["-c", "import moto, flask"]).stderr(Stdio::null()).status();
        if has.is_ok_and(|status| status.success()) {
            return Some(python);
        }
        assert!(std::env::var_os("CI").is_none(), "moto is not installed: cargo xtask test unit installs it");
        eprintln!("skipped: moto is not installed; cargo xtask test unit installs it");
        None
    }

    /// The one server of this process, ready; `None`, said on standard error, when moto is not installed.
    ///
    /// # Panics
    ///
    /// When it does not start, or is not installed and `CI` is set.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<S3Server>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// Starts one of its own, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it does not start, or is not installed and `CI` is set.
    pub fn start() -> Option<Self> {
        let python = Self::python()?;
        for _ in 0..5 {
            let port = free_port();
            let mut child = Command::new(&python)
                .args(["-c", PROGRAM, &port.to_string()])
                .env("INITIAL_NO_AUTH_ACTION_COUNT", UNSIGNED)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("moto can be started");
            let mut lines = BufReader::new(child.stderr.take().expect("its output")).lines();
            // Another test may take the port first: then the server ends, and another port is tried.
            if lines.by_ref().map_while(Result::ok).any(|line| line.contains("Running on")) {
                // The server must never block on its output.
                std::thread::spawn(move || lines.for_each(drop));
                let mut server = Self { child, port, key_id: String::new(), secret: String::new() };
                server.prepare();
                return Some(server);
            }
            child.wait().expect("moto has ended");
        }
        panic!("moto does not start");
    }

    fn prepare(&mut self) {
        let order = |form: &str| {
            let head = "Authorization: AWS4-HMAC-SHA256 Credential=x/20200101/us-east-1/iam/aws4_request\r\n\
                        Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";
            self.send("POST /", head, &format!("{form}&Version=2010-05-08&UserName=teacher"))
        };
        order("Action=CreateUser");
        let key = order("Action=CreateAccessKey");
        let rights: String = RIGHTS.bytes().map(|byte| format!("%{byte:02X}")).collect();
        order(&format!("Action=PutUserPolicy&PolicyName=all&PolicyDocument={rights}"));
        self.send(&format!("PUT /{}", Self::BUCKET), "", "");
        let between = |name: &str| {
            let (_, rest) = key.split_once(&format!("<{name}>")).expect("an access key");
            rest.split_once('<').map(|(text, _)| text.to_owned()).expect("an access key")
        };
        (self.key_id, self.secret) = (between("AccessKeyId"), between("SecretAccessKey"));
    }

    fn send(&self, what: &str, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("moto listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        let length = body.len();
        let request = format!("{what} HTTP/1.0\r\nHost: 127.0.0.1\r\n{head}Content-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).expect("moto reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("moto answers");
        assert!(answer.contains(" 200 "), "{what}: {answer}");
        answer
    }

    /// Lets so many further requests pass without a signature in their head.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    pub fn believe(&self, requests: u32) {
        self.send("POST /moto-api/reset-auth", "Content-Type: text/plain\r\n", &requests.to_string());
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The access key: its id, and its secret.
    pub fn key(&self) -> (&str, &str) {
        (&self.key_id, &self.secret)
    }

    /// Sends a signal to the server: `STOP`, `CONT`.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "moto takes no signal {name}");
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
