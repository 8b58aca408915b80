//! What keeps a room on its server: hashes, stick rules and their keys.

use std::collections::BTreeSet;

use crate::config::{ConfigLine, SectionKind};

use super::scene::{Part, Scene, delete};
use super::{Finding, Level};

/// How many stick rules of one proxy are compared with each other.
const RULES: usize = 1000;

/// The algorithms that hash-type applies to.
pub(super) fn is_hash(balance: &str) -> bool {
    matches!(balance, "source" | "uri" | "url_param" | "hash")
        || balance.starts_with("hdr(")
        || balance.starts_with("rdp-cookie")
}

pub(super) fn check(scene: &Scene<'_>, found: &mut Vec<Finding>) {
    nul(scene, found);
    for part in scene.proxies() {
        hash_type(part, found);
        keys(part, found);
        source(part, found);
        misplaced(part, found);
        for line in part.own(&["acl"]).filter(|line| line.word(2).starts_with("url_param(")) {
            if line.word(3) == "-m" && line.word(4) == "found" && !line.word(2).contains("),") {
                let text = format!("{} is also found when it is empty: all such requests share one room", line.word(2));
                let help = "ask for one character at least: -m len ge 1";
                let finding = Finding::new("BLC-H045", part.file, line.number, text, help);
                found.push(finding.with_fix([super::scene::replace(line, 4, "len ge 1")]));
            }
        }
    }
}

fn hash_type(part: &Part<'_>, found: &mut Vec<Finding>) {
    let Some(line) = part.own(&["hash-type"]).last().filter(|_| part.kind != SectionKind::Frontend) else { return };
    let balance = part.setting(&["balance"]).map_or("roundrobin", |line| line.word(1));
    if !is_hash(balance) {
        let text = format!("hash-type has no effect on balance {balance}");
        let help = "delete it, or balance by the room: balance hash var(txn.room)";
        found.push(Finding::new("BLC-H040", part.file, line.number, text, help).with_fix([delete(line)]));
    }
}

/// The expression of a stick rule.
fn key(line: &ConfigLine) -> Option<(&str, &str)> {
    let verb = line.word(1);
    (line.keyword() == "stick" && matches!(verb, "on" | "match" | "store-request")).then(|| (verb, line.word(2)))
}

fn decodes(expression: &str) -> bool {
    expression.contains("url_dec") || expression.contains("b64dec")
}

fn keys(part: &Part<'_>, found: &mut Vec<Finding>) {
    let canonical = "make one decoded key first: http-request set-var(txn.room) url_param(roomId),url_dec(1), \
                     then stick on var(txn.room); refuse NUL bytes in it";
    let rules: Vec<(&ConfigLine, &str, &str)> = part
        .body
        .iter()
        .filter_map(|line| key(line).map(|(verb, expression)| (line, verb, expression)))
        .take(RULES)
        .collect();
    let posted = part.body.iter().any(|line| line.words.iter().any(|word| word.text.contains("req.body_param")));
    let raw = |expression: &str| expression.starts_with("url_param(") && !decodes(expression);
    if let Some((line, _, expression)) = rules.iter().find(|(_, _, expression)| raw(expression)) {
        let mixed = rules.iter().find(|(_, _, other)| decodes(other));
        let text = match mixed {
            Some((other, ..)) => format!(
                "{expression} is the name as it was sent (foo%20bar), line {} looks for it decoded (foo bar): \
                 two entries for one room",
                other.number
            ),
            None => format!("{expression} is the name as it was sent: each spelling of a room is a room of its own"),
        };
        found.push(Finding::new("BLC-H041", part.file, line.number, text, canonical));
    }
    let stores = |expression: &str| {
        rules.iter().any(|(_, verb, other)| matches!(*verb, "on" | "store-request") && *other == expression)
    };
    let balance = part.setting(&["balance"]).filter(|line| line.word(1) == "url_param");
    for (line, verb, expression) in &rules {
        if *verb == "match" && !stores(expression) && decodes(expression) {
            let rest = match balance {
                Some(balance) => format!(" and balance url_param {} does not see it", balance.word(2)),
                None => String::new(),
            };
            let text =
                format!("this key is looked up and never stored{rest}: the first callback of a room goes anywhere");
            found.push(Finding::new("BLC-H042", part.file, line.number, text, canonical));
        }
        if expression.contains("b64dec") && expression.contains("field(") {
            let text = "the room is read from JSON by counting quotes: another order of members gives the peer instead"
                .to_owned();
            let help = "read it by its name: url_param(state),url_dec,b64dec,json_query('$.roomId')";
            found.push(Finding::new("BLC-H043", part.file, line.number, text, help));
        }
        if expression.contains("url_param(state)") && !posted {
            let text = "a callback that is posted carries its state in the body, where this does not look".to_owned();
            let help = "add option http-buffer-request and read req.body_param(state) as well";
            found.push(Finding::new("BLC-H044", part.file, line.number, text, help));
        }
    }
}

/// Keys that end at a NUL byte in the table, where nothing refuses that byte.
fn nul(scene: &Scene<'_>, found: &mut Vec<Finding>) {
    let words = |line: &ConfigLine| line.words.iter().any(|word| word.text.contains("%00"));
    if scene.proxies().any(|part| part.body.iter().any(words)) {
        return;
    }
    // Variables whose value was decoded, `txn.room` and the like.
    let mut decoded: BTreeSet<&str> = BTreeSet::new();
    let variable = |expression: &str, decoded: &BTreeSet<&str>| {
        let name = expression.strip_prefix("var(").and_then(|rest| rest.split(')').next());
        name.is_some_and(|name| decoded.contains(name))
    };
    for line in scene.proxies().flat_map(|part| part.own(&["http-request"])) {
        let name = line.word(1).strip_prefix("set-var(").and_then(|rest| rest.strip_suffix(')'));
        if let Some(name) = name.filter(|_| decodes(line.word(2)) || variable(line.word(2), &decoded)) {
            decoded.insert(name);
        }
    }
    for part in scene.proxies() {
        let is_text = part.setting(&["stick-table"]).and_then(|table| table.after("type"));
        if is_text.is_some_and(|kind| kind.text != "string") {
            continue;
        }
        let first = part.body.iter().find_map(|line| {
            let (verb, expression) = key(line)?;
            let cut = (decodes(expression) || variable(expression, &decoded)) && !expression.contains("url_enc");
            (verb != "match" && cut).then_some((line, expression))
        });
        if let Some((line, expression)) = first {
            let text = "a NUL byte ends the key in the table: whoever asks for NAME%00x moves the room NAME".to_owned();
            let help = format!("refuse it: http-request deny deny_status 400 if {{ {expression},url_enc -m sub %00 }}");
            found.push(Finding::new("BLC-H055", part.file, line.number, text, help));
        }
    }
}

fn source(part: &Part<'_>, found: &mut Vec<Finding>) {
    let sticks = part.body.iter().find(|line| key(line).is_some_and(|(_, expression)| expression == "src"));
    let balance = part.own(&["balance", "source"]).last();
    if let Some(line) = sticks.or(balance) {
        let text = "everybody behind one address (a school, a company, a mobile network) goes to one server".to_owned();
        let help = "stick to the room where there is one, to a cookie where there is none";
        found.push(Finding::new("BLC-H046", part.file, line.number, text, help));
    }
}

/// `stick on src size 1m`: what belongs to the table.
fn misplaced(part: &Part<'_>, found: &mut Vec<Finding>) {
    for line in part.body.iter().filter(|line| line.keyword() == "stick") {
        let condition =
            line.words.iter().position(|word| matches!(&*word.text, "if" | "unless")).unwrap_or(line.words.len());
        for word in line.words.iter().take(condition).skip(3) {
            if matches!(&*word.text, "size" | "expire" | "type" | "nopurge" | "len") {
                let text = format!("{} belongs to the table, not to a stick rule", word.text);
                let help = "move it to the stick-table line, or to the table line of the peers section";
                found.push(Finding::new("BLC-H049", part.file, line.number, text, help).at(Level::Error));
            }
        }
    }
}
