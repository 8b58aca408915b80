//! Dialplans for telephone servers: a caller is asked for a number, and led to the server of that meeting.
//!
//! Everything that is inserted is escaped twice: for XML, and for FreeSWITCH, which would put the value of a variable
//! in the place of `${name}` and runs functions that way.

use std::fmt::Write as _;

/// Answers with which numbers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Least and most digits that are accepted.
    pub(crate) digits: (u32, u32),
    /// The longest call in seconds; 0 is no limit.
    pub(crate) longest: u64,
}

/// Escapes what FreeSWITCH would expand: backslashes, and a `$` before a brace. A `$` elsewhere must stay as it is.
fn for_freeswitch(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\\' || (c == '$' && rest.peek() == Some(&'{')) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Escapes what means something in a regular expression.
fn for_regex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(
            c,
            '\\' | '.' | '*' | '?' | '+' | '^' | '$' | '|' | '(' | ')' | '[' | ']' | '{' | '}' | '-' | '#' | ' '
        ) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Puts text into an attribute. What XML has no form for becomes a sign for that.
fn attribute(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
}

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<document type=\"freeswitch/xml\">\n";

struct Plan(String);

impl Plan {
    /// Begins an extension for calls to this number.
    fn new(description: &str, extension: &str, number: &str) -> Self {
        let mut expression = String::new();
        attribute(&mut expression, &for_freeswitch(&for_regex(number)));
        Self(format!(
            "{HEAD}  <section name=\"dialplan\" description=\"{description}\">\n    <context name=\"public\">\n      \
             <extension name=\"{extension}\">\n        \
             <condition field=\"destination_number\" expression=\"^{expression}$\">\n"
        ))
    }

    fn action(&mut self, application: &str, data: &str) {
        let _ = write!(self.0, "          <action application=\"{application}\"");
        if !data.is_empty() {
            self.0.push_str(" data=\"");
            attribute(&mut self.0, data);
            self.0.push('"');
        }
        self.0.push_str("/>\n");
    }

    fn ask(&mut self, prompt: Prompt) {
        let (least, most) = prompt.digits;
        let files = "conference/conf-enter_conf_pin.wav conference/conf-bad-pin.wav";
        self.action("play_and_get_digits", &format!("{least} {most} 3 7000 # {files} pin \\d+"));
        self.action("transfer", "${pin} XML public");
    }

    fn finish(mut self) -> String {
        self.0.push_str("        </condition>\n      </extension>\n    </context>\n  </section>\n</document>\n");
        self.0
    }
}

/// There is nothing for this request.
pub(crate) fn not_found() -> String {
    format!("{HEAD}  <section name=\"result\">\n    <result status=\"not found\"/>\n  </section>\n</document>\n")
}

/// Greets who called this number, and asks for the number of a meeting.
pub(crate) fn welcome(number: &str, prompt: Prompt) -> String {
    let mut plan = Plan::new("Match DID and Pin for Conference", "match_did_and_prompt_for_pin", number);
    plan.action("answer", "");
    if prompt.longest > 0 {
        plan.action("sched_hangup", &format!("+{} normal_clearing", prompt.longest));
    }
    plan.action("sleep", "500");
    plan.action("playback", "ivr/ivr-welcome.wav");
    plan.action("sleep", "200");
    plan.ask(prompt);
    plan.finish()
}

/// Asks again: no meeting has the number that was typed.
pub(crate) fn again(number: &str, prompt: Prompt) -> String {
    let mut plan = Plan::new("Reprompt for Pin", "reprompt_for_pin", number);
    plan.action("playback", "conference/conf-bad-pin.wav");
    plan.action("sleep", "500");
    plan.ask(prompt);
    plan.finish()
}

/// Leads to the meeting's server.
pub(crate) fn bridge(number: &str, meeting: &str, caller: &str, pin: &str, host: &str) -> String {
    let mut plan = Plan::new("Bridge Call to BBB Server", "bridge_to_bbb_server", number);
    plan.action("set", &format!("meeting_id={}", for_freeswitch(meeting)));
    plan.action("set", &format!("effective_caller_id_name={}", for_freeswitch(caller)));
    plan.action("bridge", &format!("sofia/external/{}@{}", for_freeswitch(pin), for_freeswitch(host)));
    plan.finish()
}

/// The caller's name as others see it: of a number the last four digits are hidden, and what was not to be shown is not.
pub(crate) fn caller_name(name: &str, hide_name: bool, hide_number: bool) -> String {
    const HIDDEN: &str = "Unavailable";
    let shown = if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
        let shown = name.len().saturating_sub(4);
        if hide_number { String::new() } else { format!("{}{}", &name[..shown], "X".repeat(name.len() - shown)) }
    } else if hide_name {
        String::new()
    } else {
        name.to_owned()
    };
    if shown.trim().is_empty() { HIDDEN.to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_freeswitch_expands_is_escaped_and_nothing_else() {
        let rows = [
            ("plain $1 {x}", "plain $1 {x}"),
            ("${system rm}", "\\${system rm}"),
            ("\\${x}", "\\\\\\${x}"),
            ("a\\b", "a\\\\b"),
            ("$${x}$", "$\\${x}$"),
        ];
        for (text, escaped) in rows {
            assert_eq!(for_freeswitch(text), escaped, "{text}");
        }
        assert_eq!(for_regex("+1.555-${x}"), "\\+1\\.555\\-\\$\\{x\\}");
    }

    #[test]
    fn callers_names_hide_what_is_to_be_hidden() {
        let rows = [
            ("6135551234", false, false, "613555XXXX"),
            ("6135551234", true, false, "613555XXXX"),
            ("6135551234", false, true, "Unavailable"),
            ("123", false, false, "XXX"),
            ("Ann", false, true, "Ann"),
            ("Ann", true, false, "Unavailable"),
            ("", false, false, "Unavailable"),
            ("  ", false, false, "Unavailable"),
            ("٣٣٣", false, false, "٣٣٣"),
        ];
        for (name, hide_name, hide_number, shown) in rows {
            assert_eq!(caller_name(name, hide_name, hide_number), shown, "{name}");
        }
    }

    #[test]
    fn the_plans_are_as_documented() {
        let prompt = Prompt { digits: (5, 9), longest: 0 };
        let plan = welcome("+16135551234", prompt);
        assert!(plan.contains("expression=\"^\\\\+16135551234$\""), "{plan}");
        assert!(!plan.contains("sched_hangup"), "{plan}");
        let digits = "data=\"5 9 3 7000 # conference/conf-enter_conf_pin.wav conference/conf-bad-pin.wav pin \\d+\"";
        assert!(plan.contains(digits) && plan.contains("data=\"${pin} XML public\""), "{plan}");
        let limited = welcome("1", Prompt { longest: 3600, ..prompt });
        assert!(limited.contains("application=\"sched_hangup\" data=\"+3600 normal_clearing\""), "{limited}");
        assert!(again("1", prompt).contains("extension name=\"reprompt_for_pin\""));
        assert!(not_found().contains("<result status=\"not found\"/>"));
        let plan = bridge("1", "m<&\"${x}", "Ann ${y}", "12345", "bbb.example.com");
        assert!(plan.contains("data=\"meeting_id=m&lt;&amp;&quot;\\${x}\""), "{plan}");
        assert!(plan.contains("effective_caller_id_name=Ann \\${y}\""), "{plan}");
        assert!(plan.contains("data=\"sofia/external/12345@bbb.example.com\""), "{plan}");
    }

    proptest! {
        /// Whatever a caller sends, the plan stays one document of the same shape, and no variable is expanded.
        #[test]
        fn nothing_from_outside_leaves_its_place(number in ".{0,40}", name in ".{0,40}", meeting in ".{0,40}") {
            let plan = bridge(&number, &meeting, &name, "12345", "h");
            let mut reader = quick_xml::Reader::from_str(&plan);
            let mut actions = 0;
            loop {
                match reader.read_event() {
                    Ok(quick_xml::events::Event::Eof) => break,
                    Ok(quick_xml::events::Event::Empty(e)) => {
                        actions += 1;
                        for a in e.attributes() {
                            a.map_err(|e| TestCaseError::fail(e.to_string()))?;
                        }
                    }
                    Ok(_) => {}
                    Err(e) => return Err(TestCaseError::fail(e.to_string())),
                }
            }
            prop_assert_eq!(actions, 3);
            // Every brace that opens a variable has an odd number of backslashes before its dollar.
            for (at, _) in plan.match_indices("${") {
                let slashes = plan[..at].bytes().rev().take_while(|b| *b == b'\\').count();
                prop_assert!(slashes % 2 == 1, "{}", plan);
            }
        }
    }
}
