//! As much HTTP/1.1 as the fake needs, over byte slices; no sockets here.
use std::borrow::Cow;

/// Largest request line and headers, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;
/// Largest body, in bytes.
const BODY_LIMIT: usize = 64 * 1024 * 1024;
/// Largest number of headers.
const HEADER_LIMIT: usize = 128;
/// Largest line that opens a chunk, and largest trailer, in bytes.
const CHUNK_LINE_LIMIT: usize = 8 * 1024;

/// A request this server does not serve, with the status of the refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused(pub(super) u16);

/// How a request is cut out of the bytes that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) head: usize,
    pub(super) length: Length,
    pub(super) close: bool,
    pub(super) expects_continue: bool,
}

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Known(usize),
    Chunked,
}

/// A request head, borrowed from the buffer.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a [u8],
    pub(super) query: &'a [u8],
    lines: &'a [u8],
}

impl<'a> Head<'a> {
    /// Reads a head that [`frame`] accepted.
    pub(super) fn read(head: &'a [u8]) -> Result<Self, Refused> {
        let (first, lines) = split_line(head).ok_or(Refused(400))?;
        let mut words = first.split(|byte| *byte == b' ');
        let method = words.next().and_then(|word| std::str::from_utf8(word).ok()).ok_or(Refused(400))?;
        let target = words.next().filter(|target| target.starts_with(b"/")).ok_or(Refused(400))?;
        let (path, query) = match target.iter().position(|byte| *byte == b'?') {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (target, &target[target.len()..]),
        };
        Ok(Self { method, path, query, lines })
    }

    /// Names as sent, and values without the blanks around them.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        headers(self.lines)
    }

    pub(super) fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        self.headers()
            .find(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| String::from_utf8_lossy(value))
    }
}

/// Finds the end of the head and what follows it; `None` while the head is not complete.
pub(super) fn frame(bytes: &[u8]) -> Result<Option<Frame>, Refused> {
    let window = &bytes[..bytes.len().min(HEAD_LIMIT)];
    let Some(end) = window.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() >= HEAD_LIMIT { Err(Refused(431)) } else { Ok(None) };
    };
    let head = end + 4;
    let (first, lines) = split_line(&bytes[..head]).ok_or(Refused(400))?;
    let mut close = match first.rsplit(|byte| *byte == b' ').next() {
        Some(b"HTTP/1.1") => false,
        Some(b"HTTP/1.0") => true,
        _ => return Err(Refused(400)),
    };
    let (mut known, mut chunked, mut expects_continue, mut count) = (None, false, false, 0);
    for (name, value) in headers(lines) {
        count += 1;
        if count > HEADER_LIMIT {
            return Err(Refused(431));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length: usize = length.and_then(|text| text.parse().ok()).ok_or(Refused(400))?;
            if known.is_some_and(|before| before != length) {
                return Err(Refused(400));
            }
            known = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refused(501));
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"connection") {
            if has_token(value, b"close") {
                close = true;
            } else if has_token(value, b"keep-alive") {
                close = false;
            }
        } else if name.eq_ignore_ascii_case(b"expect") {
            expects_continue = value.eq_ignore_ascii_case(b"100-continue");
        }
    }
    let length = match (chunked, known.unwrap_or(0)) {
        (true, _) if known.is_some() => return Err(Refused(400)),
        (true, _) => Length::Chunked,
        (false, length) if length > BODY_LIMIT => return Err(Refused(413)),
        (false, length) => Length::Known(length),
    };
    Ok(Some(Frame { head, length, close, expects_continue }))
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((&bytes[..at], &bytes[at + 2..]))
}

fn headers(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        Some((&line[..at], line[at + 1..].trim_ascii()))
    })
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|each| each.trim_ascii().eq_ignore_ascii_case(token))
}

/// A chunked body on its way in.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// Bytes of the input that are read.
    pub(super) taken: usize,
    /// The body so far.
    pub(super) body: Vec<u8>,
}

impl Chunks {
    /// Reads on; `bytes` starts where the body starts and only grows between calls. True when the body is complete.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<bool, Refused> {
        loop {
            let rest = &bytes[self.taken.min(bytes.len())..];
            let Some((line, after)) = split_line(&rest[..rest.len().min(CHUNK_LINE_LIMIT)]) else {
                return if rest.len() >= CHUNK_LINE_LIMIT { Err(Refused(400)) } else { Ok(false) };
            };
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let size = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
            let size = size.and_then(|text| usize::from_str_radix(text, 16).ok()).ok_or(Refused(400))?;
            if size > BODY_LIMIT || self.body.len() + size > BODY_LIMIT {
                return Err(Refused(413));
            }
            let start = line.len() + 2;
            if size == 0 {
                return self.trailer(start, after);
            }
            let Some(chunk) = rest.get(start..start + size + 2) else { return Ok(false) };
            if !chunk.ends_with(b"\r\n") {
                return Err(Refused(400));
            }
            self.body.extend_from_slice(&chunk[..size]);
            self.taken += start + size + 2;
        }
    }

    fn trailer(&mut self, start: usize, after: &[u8]) -> Result<bool, Refused> {
        let mut at = 0;
        while let Some((line, _)) = split_line(&after[at..]) {
            at += line.len() + 2;
            if line.is_empty() {
                self.taken += start + at;
                return Ok(true);
            }
        }
        if after.len() + start >= CHUNK_LINE_LIMIT { Err(Refused(431)) } else { Ok(false) }
    }
}

/// Appends a whole HTTP answer.
pub(super) fn answer(out: &mut Vec<u8>, status: u16, kind: &str, location: Option<&str>, body: &[u8], close: bool) {
    let reason = match status {
        200 => "OK",
        302 => "Found",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        _ => "Internal Server Error",
    };
    out.reserve(body.len() + 256);
    let mut digits = [0; 20];
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(decimal(usize::from(status), &mut digits));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\nContent-Type: ");
    out.extend_from_slice(kind.as_bytes());
    if let Some(location) = location {
        out.extend_from_slice(b"\r\nLocation: ");
        out.extend_from_slice(location.as_bytes());
    }
    if close {
        out.extend_from_slice(b"\r\nConnection: close");
    }
    out.extend_from_slice(b"\r\nContent-Length: ");
    out.extend_from_slice(decimal(body.len(), &mut digits));
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

fn decimal(mut value: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
        if value == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heads_are_framed_once_complete() {
        let text = b"POST /a/b?x=1&y HTTP/1.1\r\nHost: h\r\ncontent-length:  5\r\nConnection: close\r\n\r\nhello";
        for cut in 0..text.len() - 5 {
            assert_eq!(frame(&text[..cut]), Ok(None));
        }
        let framed = frame(text).unwrap().unwrap();
        assert_eq!((framed.length, framed.close), (Length::Known(5), true));
        let head = Head::read(&text[..framed.head]).unwrap();
        assert_eq!((head.method, head.path, head.query), ("POST", &b"/a/b"[..], &b"x=1&y"[..]));
        assert_eq!(head.header("Host").as_deref(), Some("h"));
    }

    #[test]
    fn ambiguous_and_large_requests_are_refused() {
        let refused = |text: &str| frame(text.as_bytes()).unwrap_err().0;
        assert_eq!(refused("GET / HTTP/2\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"), 501);
        assert_eq!(refused("GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"), 413);
        assert_eq!(refused(&"x".repeat(HEAD_LIMIT)), 431);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADER_LIMIT + 1))), 431);
    }

    #[test]
    fn chunks_may_come_in_any_pieces() {
        let text = b"5;x=y\r\nhello\r\n1\r\n \r\n05\r\nworld\r\n0\r\nTrailer: 1\r\n\r\nrest";
        for cut in 0..=text.len() {
            let mut chunks = Chunks::default();
            let done = chunks.step(&text[..cut]).unwrap();
            assert_eq!(done, cut >= text.len() - 4, "{cut}");
            assert!(done || chunks.step(text).unwrap());
            assert_eq!((chunks.body.as_slice(), chunks.taken), (&b"hello world"[..], text.len() - 4));
        }
        for bad in
            ["\r\n", "zz\r\n", "+5\r\nhello\r\n", "5\r\nhelloXX", "ffffffffffffffff\r\n", "fffffffffffffffff\r\n"]
        {
            assert!(Chunks::default().step(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), tail in ".{0,60}") {
            let _ = frame(&bytes);
            let _ = Head::read(&bytes);
            let _ = Chunks::default().step(&bytes);
            let text = format!("GET /{tail} HTTP/1.1\r\n{tail}\r\n\r\n");
            if let Ok(Some(framed)) = frame(text.as_bytes()) {
                let _ = Head::read(&text.as_bytes()[..framed.head]);
            }
        }

        #[test]
        fn chunked_bodies_survive_the_trip(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8)) {
            let mut text = Vec::new();
            for part in &parts {
                text.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                text.extend_from_slice(part);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            let mut chunks = Chunks::default();
            prop_assert!(chunks.step(&text).unwrap());
            prop_assert_eq!(chunks.body, parts.concat());
            prop_assert_eq!(chunks.taken, text.len());
        }
    }
}
