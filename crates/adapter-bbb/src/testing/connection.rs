//! One connection: requests in, answers or misbehaviour out.
use std::borrow::Cow;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::calls::{Answer, Call, failed, first, padded};
use super::hold::Stage;
use super::listen::Shared;
use super::mode::Mode;
use super::sign;
use super::state::LoggedRequest;
use super::wire::{Chunks, Head, Length, Refused, answer, frame};

const XML: &str = "text/xml;charset=utf-8";
/// Bytes kept from a caller that goes on sending while its request hangs.
const HANG_LIMIT: usize = 1 << 20;

/// What becomes of the connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The answer is sent and the next request awaited.
    Stay,
    /// The answer is sent, then the connection closed.
    Close,
    /// The answer is sent byte by byte.
    Drip(Duration),
    /// Nothing is sent until the caller leaves.
    Hang,
    /// The connection is reset.
    Reset,
}

/// Serves a connection until it ends.
pub(super) async fn serve(shared: &Shared, mut stream: TcpStream) {
    // An error here is the caller's departure: nothing is owed to it.
    let _ = stream.set_nodelay(true);
    let _ = requests(shared, &mut stream).await;
}

async fn requests(shared: &Shared, stream: &mut TcpStream) -> io::Result<()> {
    let mut input = BytesMut::with_capacity(8 * 1024);
    let mut out = Vec::with_capacity(4 * 1024);
    loop {
        out.clear();
        let (ending, taken, call) = match read(stream, &mut input).await? {
            None => return Ok(()),
            Some(Err(Refused(status))) => {
                answer(&mut out, status, "text/plain", None, b"refused", true);
                return stream.write_all(&out).await;
            }
            Some(Ok(Read { head, taken, close, chunked })) => {
                let body = chunked.as_deref().unwrap_or(&input[head..taken.max(head)]);
                let (ending, call) = respond(shared, &input[..head], body, close, &mut out).await;
                (ending, taken, call)
            }
        };
        match ending {
            Ending::Stay => stream.write_all(&out).await?,
            Ending::Close => return stream.write_all(&out).await,
            Ending::Hang => return hang(shared, stream, &mut input, &call).await,
            Ending::Reset => return stream.set_zero_linger(),
            Ending::Drip(gap) => {
                for byte in &out {
                    stream.write_all(std::slice::from_ref(byte)).await?;
                    if gap.is_zero() {
                        tokio::task::yield_now().await;
                    } else {
                        sleep(gap).await;
                    }
                }
            }
        }
        input.advance(taken.min(input.len()));
    }
}

/// A request that is completely in the buffer.
struct Read {
    head: usize,
    taken: usize,
    close: bool,
    chunked: Option<Vec<u8>>,
}

async fn read(stream: &mut TcpStream, input: &mut BytesMut) -> io::Result<Option<Result<Read, Refused>>> {
    let framed = loop {
        match frame(input) {
            Ok(Some(framed)) => break framed,
            Err(refused) => return Ok(Some(Err(refused))),
            Ok(None) if stream.read_buf(input).await? == 0 => return Ok(None),
            Ok(None) => {}
        }
    };
    let (head, close) = (framed.head, framed.close);
    if framed.expects_continue && input.len() == head {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    match framed.length {
        Length::Known(length) => {
            while input.len() < head + length {
                if stream.read_buf(input).await? == 0 {
                    return Ok(None);
                }
            }
            Ok(Some(Ok(Read { head, taken: head + length, close, chunked: None })))
        }
        Length::Chunked => {
            let mut chunks = Chunks::default();
            loop {
                match chunks.step(&input[head..]) {
                    Ok(true) => break,
                    Ok(false) if stream.read_buf(input).await? == 0 => return Ok(None),
                    Ok(false) => {}
                    Err(refused) => return Ok(Some(Err(refused))),
                }
            }
            Ok(Some(Ok(Read { head, taken: head + chunks.taken, close, chunked: Some(chunks.body) })))
        }
    }
}

/// Holds the connection without an answer until the caller leaves or the mode changes.
async fn hang(shared: &Shared, stream: &mut TcpStream, input: &mut BytesMut, call: &str) -> io::Result<()> {
    let mut changes = shared.orders.subscribe();
    loop {
        if *shared.state().rules.mode(call) != Mode::Hang || input.len() > HANG_LIMIT {
            return Ok(());
        }
        tokio::select! {
            read = stream.read_buf(input) => if read? == 0 { return Ok(()) },
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// The name of the call in a path: empty for the version probe, `None` outside the API.
fn call_name(path: &[u8]) -> Option<&str> {
    let rest = path.strip_prefix(b"/bigbluebutton/api")?;
    let call = match rest {
        [] => rest,
        [b'/', call @ ..] => call,
        _ => return None,
    };
    std::str::from_utf8(call).ok().map(|call| call.trim_matches('/'))
}

async fn respond(shared: &Shared, head: &[u8], body: &[u8], close: bool, out: &mut Vec<u8>) -> (Ending, String) {
    let ending = if close { Ending::Close } else { Ending::Stay };
    let plain = |out: &mut Vec<u8>, status, text: &str| {
        answer(out, status, "text/plain", None, text.as_bytes(), close);
        (ending, String::new())
    };
    let Ok(head) = Head::read(head) else { return plain(out, 400, "bad request") };
    if head.method != "GET" && head.method != "POST" {
        return plain(out, 405, "only GET and POST");
    }
    if head.path.starts_with(b"/html5client") {
        answer(out, 200, "text/html", None, b"<html>client</html>", close);
        return (ending, String::new());
    }
    let Some(call) = call_name(head.path) else { return plain(out, 404, "not found") };
    let is_form = !body.is_empty()
        && head.header("content-type").is_some_and(|kind| kind.contains("application/x-www-form-urlencoded"));
    let form: &[u8] = if is_form { body } else { &[] };
    let params: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        form_urlencoded::parse(head.query).chain(form_urlencoded::parse(form)).collect();
    let given = first(&params, "checksum").unwrap_or_default();
    let trusted = call.is_empty() || sign::matches(call, head.query, &shared.secret, given);

    let gate = {
        let mut state = shared.state();
        state.tally(call, trusted);
        let gate = state.gate(call, Stage::Before);
        if gate.is_some() || state.log_limit > 0 {
            let request = logged(&head, call, &params, body, trusted);
            state.record(request.clone());
            gate.map(|gate| (gate, request))
        } else {
            None
        }
    };
    shared.changed.notify_waiters();
    if let Some((gate, request)) = gate {
        gate.pass(request).await;
    }
    let wait = shared.state().rules.delay(call);
    if let Some(wait) = wait {
        sleep(wait).await;
    }
    let mode = shared.state().rules.mode(call).clone();
    if let Some((status, kind, bytes)) = canned(&mode) {
        answer(out, status, kind, None, &bytes, close);
        return (ending, String::new());
    }
    match mode {
        Mode::Down => return (Ending::Close, String::new()),
        Mode::Reset => return (Ending::Reset, String::new()),
        Mode::Hang => return (Ending::Hang, call.to_owned()),
        Mode::Slow(wait) => sleep(wait).await,
        _ => {}
    }

    let body = if is_form { &[] } else { body };
    let asked = Call { name: call, is_post: head.method == "POST", params: &params, body, port: shared.port };
    let (decided, late, gate) = {
        let mut state = shared.state();
        let decided = if trusted {
            asked.run(&mut state)
        } else {
            Answer::Document(failed("checksumError", "Checksums do not match"))
        };
        (decided, state.rules.late(call), state.gate(call, Stage::Answer))
    };
    shared.changed.notify_waiters();
    if let Some(gate) = gate {
        gate.pass(logged(&head, call, &params, asked.body, trusted)).await;
    }
    if let Some(late) = late {
        sleep(late).await;
    }
    (send(out, decided, &mode, ending), String::new())
}

/// Writes a decided answer in the way the mode orders.
fn send(out: &mut Vec<u8>, decided: Answer, mode: &Mode, ending: Ending) -> Ending {
    let close = ending == Ending::Close;
    let body = match decided {
        Answer::Redirect(location) => {
            answer(out, 302, XML, Some(&location), b"", close);
            0
        }
        Answer::Json(text) => {
            answer(out, 200, "application/json", None, text.as_bytes(), close);
            text.len()
        }
        Answer::Document(document) => {
            let document = match mode {
                Mode::Huge(size) => padded(document, *size),
                _ => document,
            };
            let whole = document.as_bytes();
            let kept = if *mode == Mode::Truncated { &whole[..whole.len() / 2] } else { whole };
            answer(out, 200, XML, None, kept, close);
            kept.len()
        }
    };
    match mode {
        Mode::Drip(gap) => Ending::Drip(*gap),
        Mode::Cut => {
            let lost = if body == 0 { out.len() / 2 } else { body.div_ceil(2) };
            out.truncate(out.len() - lost);
            Ending::Close
        }
        _ => ending,
    }
}

/// Status, content type and body of the modes that do not look at the request.
fn canned(mode: &Mode) -> Option<(u16, &'static str, Cow<'static, [u8]>)> {
    const PAGE: &[u8] = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
    let fixed = |status, kind, body: &'static [u8]| Some((status, kind, Cow::Borrowed(body)));
    match mode {
        Mode::Garbage => fixed(200, "text/xml", b"\x01<<<not xml & at all\xff"),
        Mode::Html502 => fixed(502, "text/html", PAGE),
        Mode::Http500 => fixed(500, "text/plain", b"boom"),
        Mode::Empty => fixed(200, XML, b""),
        Mode::NoReturnCode => fixed(200, XML, b"<response><hello>world</hello></response>"),
        Mode::FailedNoKey => fixed(200, XML, b"<response><returncode>FAILED</returncode></response>"),
        Mode::Failed { key, message } => Some((200, XML, Cow::Owned(failed(key, message).into_bytes()))),
        _ => None,
    }
}

fn logged(
    head: &Head<'_>,
    call: &str,
    params: &[(Cow<'_, str>, Cow<'_, str>)],
    body: &[u8],
    checksum_ok: bool,
) -> LoggedRequest {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    LoggedRequest {
        method: head.method.to_owned(),
        call: call.to_owned(),
        query: text(head.query),
        params: params.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        headers: head.headers().map(|(name, value)| (text(name).to_lowercase(), text(value))).collect(),
        body: body.to_vec(),
        checksum_ok,
    }
}
