//! HTTP servers in this process that answer with their own names.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// The most bytes of a request.
const MAX_REQUEST: usize = 65_536;

/// Servers on loopback ports of their own, for the rest of the process.
pub(crate) fn start(names: impl IntoIterator<Item = String>) -> Vec<u16> {
    names
        .into_iter()
        .map(|name| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let name = name.clone();
                    std::thread::spawn(move || serve(stream, &name));
                }
            });
            port
        })
        .collect()
}

/// Answers requests until the connection ends.
fn serve(mut stream: TcpStream, name: &str) {
    while read_message(&mut stream).is_some() {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
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
        let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..n]);
        if bytes.len() > MAX_REQUEST {
            return None;
        }
    }
}
