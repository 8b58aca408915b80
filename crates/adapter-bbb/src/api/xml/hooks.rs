//! Lists of hooks: what servers answer, and what we answer.

use super::ReplyError;
use super::scan::{Gather, Scanner, Step};
use super::write::{open_success, push_element};

/// The most hooks of one server that are looked at.
const MAX_LISTED: usize = 10_000;

/// One hook of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HookEntry {
    /// `hookID`: the server's own number.
    pub(crate) id: String,
    /// `callbackURL`.
    pub(crate) url: String,
    /// `meetingID`.
    pub(crate) meeting: Option<String>,
    /// `eventID`.
    pub(crate) events: Option<String>,
    /// `rawData`.
    pub(crate) raw: bool,
}

/// Reads the answer to `hooks/list`; a failure document has none.
pub(crate) fn hooks(bytes: &[u8]) -> Result<Vec<HookEntry>, ReplyError> {
    let mut scanner = Scanner::new(bytes)?;
    let (mut found, mut one) = (Vec::new(), HookEntry::default());
    let mut text = Gather::default();
    let (mut field, mut in_hook) = (None, false);
    while let Some(step) = scanner.step()? {
        match step {
            Step::Open { name, .. } => {
                text.take();
                if scanner.depth() == 3 {
                    in_hook = name == "hook";
                }
                field = (scanner.depth() == 4 && in_hook).then_some(name);
            }
            Step::Text(piece) if field.is_some() => text.push(piece),
            Step::Text(_) => {}
            Step::Close { .. } => {
                let value = text.take();
                match field.take() {
                    Some("hookID") => one.id = value.trim().to_owned(),
                    Some("callbackURL") => one.url = value.into_owned(),
                    Some("meetingID") => one.meeting = Some(value.into_owned()).filter(|m| !m.is_empty()),
                    Some("eventID") => one.events = Some(value.into_owned()).filter(|e| !e.is_empty()),
                    Some("rawData") => one.raw = value.trim() == "true",
                    _ => {}
                }
                if scanner.depth() == 2 && std::mem::take(&mut in_hook) {
                    if found.len() == MAX_LISTED {
                        return Err(ReplyError::TooMany { limit: MAX_LISTED });
                    }
                    found.push(std::mem::take(&mut one));
                }
            }
        }
    }
    Ok(found)
}

/// Appends the answer to `hooks/list`.
pub(crate) fn write_hooks<'h>(out: &mut Vec<u8>, hooks: impl IntoIterator<Item = &'h HookEntry>) {
    open_success(out);
    out.extend_from_slice(b"  <hooks>\n");
    for hook in hooks {
        out.extend_from_slice(b"    <hook>\n");
        let mut field = |name: &str, value: &str| {
            out.extend_from_slice(b"    ");
            push_element(out, name, value);
        };
        field("hookID", &hook.id);
        field("callbackURL", &hook.url);
        if let Some(meeting) = &hook.meeting {
            field("meetingID", meeting);
        }
        if let Some(events) = &hook.events {
            field("eventID", events);
        }
        field("permanentHook", "false");
        field("rawData", if hook.raw { "true" } else { "false" });
        out.extend_from_slice(b"    </hook>\n");
    }
    out.extend_from_slice(b"  </hooks>\n</response>\n");
}

/// Appends a success with these elements.
pub(crate) fn write_success(out: &mut Vec<u8>, elements: &[(&str, &str)]) {
    open_success(out);
    for (name, text) in elements {
        push_element(out, name, text);
    }
    out.extend_from_slice(b"</response>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let all = [
            HookEntry { id: "1".into(), url: "https://a.example/?x=1&y=<2>".into(), ..HookEntry::default() },
            HookEntry {
                id: "22".into(),
                url: "https://b.example".into(),
                meeting: Some("m & n".into()),
                events: Some("user-joined,user-left".into()),
                raw: true,
            },
        ];
        let mut out = Vec::new();
        write_hooks(&mut out, &all);
        assert_eq!(hooks(&out).unwrap(), all);
        let mut out = Vec::new();
        write_hooks(&mut out, []);
        assert_eq!(hooks(&out).unwrap(), []);
    }

    #[test]
    fn a_servers_list_is_read() {
        let text = b"<response><returncode>SUCCESS</returncode><hooks><hook><hookID>7</hookID><callbackURL>\
            <![CDATA[http://a.example/x]]></callbackURL><meetingID><![CDATA[m]]></meetingID>\
            <permanentHook>true</permanentHook><rawData>false</rawData></hook><other/></hooks></response>";
        let hook = HookEntry {
            id: "7".into(),
            url: "http://a.example/x".into(),
            meeting: Some("m".into()),
            ..HookEntry::default()
        };
        assert_eq!(hooks(text).unwrap(), [hook]);
        assert_eq!(hooks(b"<response><returncode>FAILED</returncode></response>").unwrap(), []);
        assert!(hooks(b"<html>").is_err());
    }
}
