//! The answer to `getRecordings`.

use std::collections::HashMap;

use super::record::{PlaybackFormat, Recording};
use crate::api::{push_element, push_text, write_empty_recordings};

/// A list of recordings as it is answered.
pub(crate) struct Listing<'a> {
    /// Scheme and host before every path.
    pub(crate) prefix: &'a str,
    /// The recordings, in order.
    pub(crate) recordings: &'a [Recording],
    /// Whether recordings may be protected.
    pub(crate) protected: bool,
    /// Tokens of protected recordings, by recording and format.
    pub(crate) tokens: HashMap<(&'a str, &'a str), String>,
}

impl Listing<'_> {
    /// Appends the document.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if self.recordings.is_empty() {
            return write_empty_recordings(out);
        }
        out.extend_from_slice(b"<response>\n");
        push_element(out, "returncode", "SUCCESS");
        out.extend_from_slice(b"  <recordings>\n");
        for r in self.recordings {
            self.recording(out, r);
        }
        out.extend_from_slice(b"  </recordings>\n</response>\n");
    }

    fn recording(&self, out: &mut Vec<u8>, r: &Recording) {
        let truth = |is: bool| if is { "true" } else { "false" };
        out.extend_from_slice(b"<recording>\n");
        push_element(out, "recordID", &r.record_id);
        push_element(out, "meetingID", &r.meeting_id);
        push_element(out, "internalMeetingID", &r.record_id);
        push_element(out, "name", &r.name);
        push_element(out, "published", truth(r.published));
        if self.protected {
            push_element(out, "protected", truth(r.protected));
        }
        if let Some(state) = r.state {
            push_element(out, "state", state.as_str());
        }
        push_element(out, "startTime", &r.start_ms.unwrap_or_default().to_string());
        push_element(out, "endTime", &r.end_ms.unwrap_or_default().to_string());
        if let Some(participants) = r.participants {
            push_element(out, "participants", &participants.to_string());
        }
        out.extend_from_slice(b"  <metadata>\n");
        for m in &r.metadata {
            let name = element_name(&m.key);
            if m.value.trim().is_empty() {
                // Some front-ends want a text in there, be it an empty one.
                out.extend_from_slice(format!("  <{name}><![CDATA[]]></{name}>\n").as_bytes());
            } else {
                push_element(out, &name, &m.value);
            }
        }
        out.extend_from_slice(b"  </metadata>\n  <playback>\n");
        let mut formats: Vec<&PlaybackFormat> = r.formats.iter().collect();
        formats.sort_by(|a, b| a.format.cmp(&b.format));
        for format in formats {
            self.format(out, r, format);
        }
        out.extend_from_slice(b"  </playback>\n</recording>\n");
    }

    fn format(&self, out: &mut Vec<u8>, r: &Recording, f: &PlaybackFormat) {
        let number = |n: Option<i32>| n.map_or_else(String::new, |n| n.to_string());
        let guarded = self.protected && r.protected;
        out.extend_from_slice(b"<format>\n");
        push_element(out, "type", &f.format);
        let path = match self.tokens.get(&(r.record_id.as_str(), f.format.as_str())) {
            _ if !guarded => f.url.clone(),
            Some(token) => format!("/recording/{}/{}?token={token}", r.record_id, f.format),
            None => format!("/recording/{}/{}", r.record_id, f.format),
        };
        push_element(out, "url", &format!("{}{path}", self.prefix));
        push_element(out, "length", &number(f.length));
        if f.processing_time.is_some() {
            push_element(out, "processingTime", &number(f.processing_time));
        }
        if !guarded && !f.thumbnails.is_empty() {
            out.extend_from_slice(b"  <preview>\n  <images>\n");
            for picture in &f.thumbnails {
                out.extend_from_slice(b"  <image");
                push_attribute(out, "alt", &picture.alt);
                push_attribute(out, "width", &number(picture.width));
                push_attribute(out, "height", &number(picture.height));
                out.push(b'>');
                push_text(out, &format!("{}{}", self.prefix, picture.url));
                out.extend_from_slice(b"</image>\n");
            }
            out.extend_from_slice(b"  </images>\n  </preview>\n");
        }
        out.extend_from_slice(b"</format>\n");
    }
}

fn push_attribute(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(format!(" {name}=\"").as_bytes());
    let mut text = Vec::with_capacity(value.len());
    push_text(&mut text, value);
    for byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"&quot;"),
            b'\n' => out.extend_from_slice(b"&#10;"),
            b'\t' => out.extend_from_slice(b"&#9;"),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The key as a name of XML: what such a name cannot have becomes `_`.
fn element_name(key: &str) -> String {
    let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut name: String = key.chars().map(|c| if good(c) { c } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        name.insert(0, '_');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::super::record::{RecordingState, Thumbnail};
    use super::*;

    fn written(r: Recording, protected: bool) -> String {
        let recordings = [r];
        let tokens = HashMap::from([((recordings[0].record_id.as_str(), "video"), "f00".to_owned())]);
        let mut out = Vec::new();
        Listing { prefix: "https://bbb.example.com", recordings: &recordings, protected, tokens }.write(&mut out);
        String::from_utf8(out).unwrap().split('\n').map(str::trim).collect()
    }

    fn sample() -> Recording {
        let mut r = Recording::new("r-1");
        (r.meeting_id, r.name, r.published) = ("m & <1>".into(), "Öl".into(), true);
        (r.state, r.participants) = (Some(RecordingState::Published), Some(3));
        (r.start_ms, r.end_ms) = (Some(1_600_000_000_123), Some(1_600_000_060_456));
        r.set_meta("isnull", "");
        r.set_meta("1 odd/key", "a]]>b");
        let mut presentation = PlaybackFormat::new("presentation", "/playback/presentation/2.3/r-1");
        (presentation.length, presentation.processing_time) = (Some(2), Some(7_000));
        let mut picture = Thumbnail::new("/presentation/r-1/p?a=1&b=2", 0);
        (picture.alt, picture.width) = ("\"Hi\"\n<there>".into(), Some(176));
        presentation.thumbnails.push(picture);
        r.formats = vec![PlaybackFormat::new("video", "/video/r-1/"), presentation];
        r
    }

    #[test]
    fn elements_stand_in_their_order() {
        assert_eq!(
            written(sample(), false),
            "<response><returncode>SUCCESS</returncode><recordings><recording><recordID>r-1</recordID>\
             <meetingID>m &amp; &lt;1&gt;</meetingID><internalMeetingID>r-1</internalMeetingID><name>Öl</name>\
             <published>true</published><state>published</state><startTime>1600000000123</startTime>\
             <endTime>1600000060456</endTime><participants>3</participants><metadata><isnull><![CDATA[]]></isnull>\
             <_1_odd_key>a]]&gt;b</_1_odd_key></metadata><playback><format><type>presentation</type>\
             <url>https://bbb.example.com/playback/presentation/2.3/r-1</url><length>2</length>\
             <processingTime>7000</processingTime><preview><images><image alt=\"&quot;Hi&quot;&#10;&lt;there&gt;\" \
             width=\"176\" height=\"\">https://bbb.example.com/presentation/r-1/p?a=1&amp;b=2</image></images></preview>\
             </format><format><type>video</type><url>https://bbb.example.com/video/r-1/</url><length/></format>\
             </playback></recording></recordings></response>"
        );
    }

    #[test]
    fn a_protected_recording_has_tokens_and_no_preview() {
        let mut r = sample();
        r.protected = true;
        let open = written(r.clone(), false);
        assert!(!open.contains("<protected>") && open.contains("<preview>") && !open.contains("token"));
        let text = written(r, true);
        assert!(text.contains("<published>true</published><protected>true</protected><state>"), "{text}");
        assert!(text.contains("<url>https://bbb.example.com/recording/r-1/video?token=f00</url>"), "{text}");
        assert!(text.contains("<url>https://bbb.example.com/recording/r-1/presentation</url>"), "{text}");
        assert!(!text.contains("preview"));
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let text = written(Recording::new("r"), false);
        assert!(text.contains("<startTime>0</startTime>") && text.contains("<metadata></metadata>"), "{text}");
        assert!(!text.contains("<state>") && !text.contains("<participants>"), "{text}");
    }
}
