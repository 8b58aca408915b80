//! HTTP servers in this process that answer with their own names.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tokio::net::TcpSocket;

use crate::haproxy::{free_port, until};

/// The most bytes of a request.
const MAX_REQUEST: usize = 65_536;

/// Servers on loopback ports of their own, for the rest of the process.
pub(crate) fn start(names: impl IntoIterator<Item = String>) -> Vec<u16> {
    names.into_iter().map(|name| Responder::start(&name).port).collect()
}

/// A server that can be stopped; dropped, it goes on.
#[derive(Debug)]
pub(crate) struct Responder {
    name: String,
    pub(crate) port: u16,
    stopping: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
    /// Holds the port while nobody listens there, so that nobody else gets it.
    held: Option<TcpSocket>,
}

impl Responder {
    pub(crate) fn start(name: &str) -> Self {
        let listener = (0..100).find_map(|_| TcpListener::bind(("127.0.0.1", free_port())).ok()).unwrap();
        let (name, port, stopping) =
            (name.to_owned(), listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let accepting = Some(accept(listener, &name, &stopping));
        Self { name, port, stopping, accepting, held: None }
    }

    /// Listens again, where it did before.
    pub(crate) fn listen(&mut self) {
        let held = self.held.take().unwrap();
        held.set_reuseaddr(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let entered = runtime.enter();
        let listener = held.listen(1024).unwrap().into_std().unwrap();
        drop(entered);
        runtime.shutdown_background();
        listener.set_nonblocking(false).unwrap();
        self.accepting = Some(accept(listener, &self.name, &self.stopping));
    }

    /// Listens on the same port of `::1` too, where there is one.
    pub(crate) fn on_both(self) -> Self {
        if let Ok(listener) = TcpListener::bind(("::1", self.port)) {
            accept(listener, &self.name, &self.stopping);
        }
        self
    }

    /// Takes no more connections; those that are there stay.
    pub(crate) fn stop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.accepting.take().unwrap().join().unwrap();
        self.stopping.store(false, Ordering::SeqCst);
        until("the port is held", || {
            self.held = hold(self.port);
            self.held.is_some()
        });
    }
}

/// A socket with this port at which nobody listens: who connects is refused. Connections of before do not matter.
fn hold(port: u16) -> Option<TcpSocket> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_reuseaddr(true).ok()?;
    socket.bind(([127, 0, 0, 1], port).into()).ok()?;
    // From now on nobody else can have it.
    socket.set_reuseaddr(false).ok()?;
    Some(socket)
}

fn accept(listener: TcpListener, name: &str, stopping: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (name, stopping) = (name.to_owned(), Arc::clone(stopping));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if stopping.load(Ordering::SeqCst) {
                return;
            }
            let name = name.clone();
            std::thread::spawn(move || serve(stream, &name));
        }
    })
}

/// Answers requests until the connection ends: with the name, below `/echo` with what came.
fn serve(mut stream: TcpStream, name: &str) {
    while let Some((head, _)) = read_message(&mut stream) {
        let is_echo = head.split(' ').nth(1).is_some_and(|target| target.starts_with("/echo"));
        let body = if is_echo { head.as_str() } else { name };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Head and body of one message, the body by its stated length.
pub(crate) fn read_message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|l| {
                let (name, value) = l.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let want = end + 4 + length.unwrap_or(0);
            if bytes.len() >= want {
                return Some((head, bytes[end + 4..want].to_vec()));
            }
        }
        let n = match stream.read(&mut buffer) {
            // With a time limit that is what stopping and going on again comes to.
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            read => read.ok().filter(|n| *n > 0)?,
        };
        bytes.extend_from_slice(&buffer[..n]);
        if bytes.len() > MAX_REQUEST {
            return None;
        }
    }
}
