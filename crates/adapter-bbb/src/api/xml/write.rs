//! The documents we write ourselves.

use super::scan::is_xml_char;

/// How every document begins, lists of recordings excepted.
pub(crate) const DECLARATION: &[u8] = b"<?xml version=\"1.0\"?>\n";

/// Appends an indented element with this text.
pub(crate) fn push_element(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(b"  <");
    out.extend_from_slice(name.as_bytes());
    if text.is_empty() {
        out.extend_from_slice(b"/>\n");
        return;
    }
    out.push(b'>');
    push_text(out, text);
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b">\n");
}

/// Appends escaped text, without the characters XML forbids.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    for char in text.chars() {
        match char {
            '&' => out.extend_from_slice(b"&amp;"),
            '<' => out.extend_from_slice(b"&lt;"),
            '>' => out.extend_from_slice(b"&gt;"),
            '\r' => out.extend_from_slice(b"&#13;"),
            char if is_xml_char(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => {}
        }
    }
}

/// Appends raw XML, without the characters XML forbids.
pub(super) fn push_clean(out: &mut Vec<u8>, raw: &[u8]) {
    if !may_be_forbidden(raw) {
        out.extend_from_slice(raw);
        return;
    }
    for chunk in raw.utf8_chunks() {
        for char in chunk.valid().chars().filter(|char| is_xml_char(*char)) {
            out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Whether there is a byte of a character that XML forbids, or of one that is written alike.
fn may_be_forbidden(raw: &[u8]) -> bool {
    // U+FFFE and U+FFFF are the only forbidden ones beyond ASCII, and start with this byte.
    const LATE: u8 = 0xef;
    let suspect = |byte: &u8| (*byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')) || *byte == LATE;
    // Eight bytes at a time: whether one of them is below that number, which is at most 128.
    let any_below = |word: u64, number: u8| {
        word.wrapping_sub(u64::from_ne_bytes([number; 8])) & !word & u64::from_ne_bytes([0x80; 8]) != 0
    };
    let (words, rest) = raw.as_chunks::<8>();
    let in_words = words.iter().any(|bytes| {
        let word = u64::from_ne_bytes(*bytes);
        (any_below(word, b' ') || any_below(word ^ u64::from_ne_bytes([LATE; 8]), 1)) && bytes.iter().any(suspect)
    });
    in_words || rest.iter().any(suspect)
}

pub(super) fn open_success(out: &mut Vec<u8>) {
    out.extend_from_slice(DECLARATION);
    out.extend_from_slice(b"<response>\n");
    push_element(out, "returncode", "SUCCESS");
}

/// Appends the answer to the version call.
pub fn write_index(out: &mut Vec<u8>, build: Option<&str>) {
    open_success(out);
    push_element(out, "version", "2.0");
    if let Some(build) = build.filter(|build| !build.is_empty()) {
        push_element(out, "build", build);
    }
    out.extend_from_slice(b"</response>\n");
}

/// Appends our own answer to `isMeetingRunning`.
pub fn write_running(out: &mut Vec<u8>, running: bool) {
    open_success(out);
    push_element(out, "running", if running { "true" } else { "false" });
    out.extend_from_slice(b"</response>\n");
}

/// Appends the list of no meetings.
pub fn write_no_meetings(out: &mut Vec<u8>) {
    open_success(out);
    push_element(out, "messageKey", "noMeetings");
    push_element(out, "message", "no meetings were found on this server");
    out.extend_from_slice(b"  <meetings/>\n</response>\n");
}

/// Appends the list of these `meeting` elements, each as its server wrote it; [`write_no_meetings`] if there are none.
pub fn write_meetings<'a>(out: &mut Vec<u8>, meetings: impl IntoIterator<Item = &'a [u8]>) {
    let mut meetings = meetings.into_iter().peekable();
    if meetings.peek().is_none() {
        return write_no_meetings(out);
    }
    open_success(out);
    out.extend_from_slice(b"  <meetings>\n");
    for raw in meetings {
        push_clean(out, raw);
        out.push(b'\n');
    }
    out.extend_from_slice(b"  </meetings>\n</response>\n");
}

/// Appends the list of no recordings, which has no declaration.
pub fn write_empty_recordings(out: &mut Vec<u8>) {
    out.extend_from_slice(b"<response>\n");
    push_element(out, "returncode", "SUCCESS");
    push_element(out, "recordings", "");
    push_element(out, "messageKey", "noRecordings");
    push_element(out, "message", "There are not recordings for the meetings");
    out.extend_from_slice(b"</response>\n");
}
