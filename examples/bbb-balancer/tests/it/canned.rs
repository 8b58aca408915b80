//! A balancer that gives prepared answers, checks signatures, and notes what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{Ran, SECRET};

/// One prepared answer: what the path begins with, the status, the body.
pub(crate) type Reply = (&'static str, u16, &'static str);

/// The server; it ends with the test process.
pub(crate) struct Canned {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Canned {
    /// Listens on a free loopback port.
    pub(crate) fn start(replies: &[Reply]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (noted, replies) = (Arc::clone(&asked), replies.to_vec());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (noted, replies) = (Arc::clone(&noted), replies.clone());
                std::thread::spawn(move || serve(stream, &replies, &noted));
            }
        });
        Self { url, asked }
    }

    /// Runs the program against it.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        crate::run(args, &[("BALANCER_URL", &self.url), ("LOADBALANCER_SECRET", SECRET)])
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it was asked: method, path with query but no checksum, body.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn serve(stream: TcpStream, replies: &[Reply], noted: &Mutex<Vec<String>>) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut first = String::new();
        if !reader.read_line(&mut first).is_ok_and(|n| n > 0) {
            return;
        }
        let (mut length, mut json) = (0, false);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(n) = line.strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
            json |= line == "content-type: application/json";
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut words = first.split_whitespace();
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap();
        let (signed, checksum) = match query.split_once("&checksum=") {
            Some(both) => both,
            None => ("", query.strip_prefix("checksum=").unwrap()),
        };
        let call = path.rsplit('/').next().unwrap();
        let digest = Sha256::digest(format!("{call}{signed}{SECRET}"));
        let good = checksum == digest.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let separator = if signed.is_empty() { "" } else { "?" };
        let whole = format!("{path}{separator}{signed}");
        let space = if body.is_empty() { "" } else { " " };
        noted.lock().unwrap().push(format!("{method} {whole}{space}{}", String::from_utf8(body).unwrap()));
        let (status, text) = if !good {
            (
                200,
                "<response><returncode>FAILED</returncode><messageKey>checksumError</messageKey><message>You did not pass the checksum security check</message></response>",
            )
        } else if method == "POST" && !json {
            (200, "<response><messageKey>unsupportedContentType</messageKey></response>")
        } else {
            let reply = replies.iter().find(|(begin, _, _)| whole.starts_with(begin));
            reply.map_or((404, "{\"error\":\"nothing prepared\"}"), |(_, status, text)| (*status, *text))
        };
        if status == 0 {
            // Never answers; the caller hangs up.
            let _ = reader.read(&mut [0]);
            return;
        }
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", text.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
    }
}
