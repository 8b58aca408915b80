//! A real HAProxy as a child process, with one frontend, one backend and its runtime socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adapter_haproxy::balance::Version;

use crate::responder::read_message;

/// Where HAProxy is: `HAPROXY`, or the usual place. Under `CI=true` it must be there.
pub(crate) fn binary() -> Option<(PathBuf, Version)> {
    let path = std::env::var_os("HAPROXY").map_or_else(|| PathBuf::from("/usr/sbin/haproxy"), PathBuf::from);
    let Ok(out) = Command::new(&path).arg("-v").output() else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} does not run", path.display());
        println!("skipped: {} does not run", path.display());
        return None;
    };
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let version = text.split(' ').find_map(|w| w.parse().ok()).unwrap_or_else(|| panic!("no version in {text:?}"));
    Some((path, version))
}

/// A running HAProxy; killed when dropped.
#[derive(Debug)]
pub(crate) struct Haproxy {
    child: Child,
    port: u16,
    folder: PathBuf,
    client: Option<TcpStream>,
}

impl Haproxy {
    /// Starts it with these lines in its backend.
    pub(crate) fn start(binary: &PathBuf, backend: &[String]) -> Self {
        // Bound and let go: another process could take it meanwhile, which the start would show.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("haproxy-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let config = folder.join("haproxy.cfg");
        let text = format!(
            "global\n nbthread 1\n stats socket {}/cli level admin\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             frontend f\n bind 127.0.0.1:{port}\n option http-buffer-request\n \
             http-request set-src req.hdr(x-test-src) if {{ req.hdr(x-test-src) -m found }}\n default_backend b\n\
             backend b\n {}\n",
            folder.display(),
            backend.join("\n "),
        );
        std::fs::write(&config, &text).unwrap();
        let child = Command::new(binary)
            .args(["-db", "-q", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut haproxy = Self { child, port, folder, client: None };
        let deadline = Instant::now() + Duration::from_secs(10);
        let socket = haproxy.folder.join("cli");
        while TcpStream::connect(("127.0.0.1", port)).is_err() || UnixStream::connect(&socket).is_err() {
            let ended = haproxy.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let check = Command::new(binary).args(["-c", "-f"]).arg(&config).output().unwrap();
                panic!("HAProxy does not start: {}\n{text}", String::from_utf8_lossy(&check.stderr));
            }
            std::thread::yield_now();
        }
        haproxy
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// One request; the name of the server that answered, or `HTTP` and the status.
    pub(crate) fn ask(&mut self, method: &str, target: &str, headers: &[(String, String)], body: &str) -> String {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if method == "POST" {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += &format!("\r\n{body}");
        let mut stream = self.client.take().unwrap_or_else(|| self.connect());
        stream.write_all(text.as_bytes()).unwrap();
        let (head, body) = read_message(&mut stream).unwrap_or_else(|| panic!("no answer to {text}"));
        let status = head.split(' ').nth(1).unwrap_or("?").to_owned();
        if status == "200" {
            self.client = Some(stream);
            return String::from_utf8(body).unwrap();
        }
        format!("HTTP {status}")
    }

    /// One order on the runtime socket; the answer, trimmed.
    pub(crate) fn order(&self, order: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.join("cli")).unwrap();
        stream.write_all(format!("{order}\n").as_bytes()).unwrap();
        let mut out = String::new();
        stream.read_to_string(&mut out).unwrap();
        out.trim().to_owned()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
