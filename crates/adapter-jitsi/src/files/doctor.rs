//! What is wrong with the files of bridges and focuses, where, and what to write instead.

use std::collections::BTreeMap;
use std::fmt;

use balancer_core::{Level, RuleInfo};

use super::connection::{Connection, KNOWN, NEEDED};
use super::names::{near, slips};
use super::server;
use super::{FileError, FileKind, JITSI_RULES, JitsiFile, Setting};

const VIDEOBRIDGE: &str = "org.jitsi.videobridge.";
const STATISTICS: &str = "org.jitsi.videobridge.ENABLE_STATISTICS";
const TRANSPORT: &str = "org.jitsi.videobridge.STATISTICS_TRANSPORT";
const NO_TCP: &str = "org.jitsi.videobridge.DISABLE_TCP_HARVESTER";
const BREWERY: [&str; 2] = ["jicofo.bridge.brewery-jid", "org.jitsi.jicofo.BRIDGE_MUC"];
const PROPERTIES: [&str; 7] = [
    STATISTICS,
    TRANSPORT,
    NO_TCP,
    "org.jitsi.videobridge.STATISTICS_INTERVAL",
    "org.jitsi.videobridge.SINGLE_PORT_HARVESTER_PORT",
    "org.ice4j.ice.harvest.DISABLE_AWS_HARVESTER",
    "org.ice4j.ice.harvest.STUN_MAPPING_HARVESTER_ADDRESSES",
];

/// One defect. Prints as `file:line: level: text [id]` and a line of help. Never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The rule, an id that never changes its meaning.
    pub rule: &'static str,
    /// How bad it is.
    pub level: Level,
    /// The file it is in.
    pub file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub help: String,
}

impl Finding {
    pub(super) fn new(rule: &'static str, file: &str, line: usize, text: String, help: impl Into<String>) -> Self {
        Self {
            rule,
            level: RuleInfo::level_of(JITSI_RULES, rule),
            file: file.to_owned(),
            line,
            text,
            help: help.into(),
        }
    }
}

impl From<&FileError> for Finding {
    fn from(error: &FileError) -> Self {
        Self::new("BLC-J001", &error.file, error.line, error.what.to_string(), "mend the file; until then it is unread")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, level, file, line, text, help } = self;
        write!(f, "{file}:{line}: {level}: {text} [{rule}]\n    help: {help}")
    }
}

/// One machine and its files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JitsiHost {
    /// Its name, as others reach it.
    pub name: String,
    /// Whether the XMPP server and the focus run there: a bridge may say `localhost` then. `None` if that is not known.
    pub signalling: Option<bool>,
    /// Its files.
    pub files: Vec<JitsiFile>,
}

impl JitsiHost {
    /// A machine with bridges only.
    pub fn bridge(name: impl Into<String>, files: Vec<JitsiFile>) -> Self {
        Self { signalling: Some(false), ..Self::unknown(name, files) }
    }

    /// A machine with XMPP server and focus, and perhaps a bridge.
    pub fn signalling(name: impl Into<String>, files: Vec<JitsiFile>) -> Self {
        Self { signalling: Some(true), ..Self::unknown(name, files) }
    }

    /// A machine of which it is not known whether the XMPP server runs there.
    pub fn unknown(name: impl Into<String>, files: Vec<JitsiFile>) -> Self {
        Self { name: name.into(), signalling: None, files }
    }
}

/// The transport of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A port that must be reachable for the files to work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortWanted {
    /// Where it is reached from: a machine's name, or `clients`.
    pub from: String,
    /// The machine it is on.
    pub target: String,
    /// The port.
    pub port: u16,
    /// Its transport.
    pub transport: Transport,
    /// What it is for.
    pub purpose: &'static str,
    /// The file that says so.
    pub file: String,
    /// The line in it.
    pub line: usize,
}

impl PortWanted {
    /// Whether the target is the machine itself: only there it can be tried.
    pub fn is_local(&self) -> bool {
        is_local(&self.target)
    }
}

/// What a probe of the caller saw.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortSeen {
    /// The machine, as in [`PortWanted::target`].
    pub target: String,
    /// The port.
    pub port: u16,
    /// Its transport.
    pub transport: Transport,
    /// Whether it answered.
    pub reachable: bool,
    /// Why not, if known.
    pub why: Option<String>,
    /// The machine it was tried from, as in [`PortWanted::from`]; `None` if that makes no difference.
    pub from: Option<String>,
}

impl PortSeen {
    /// What was seen of a port over TCP.
    pub fn tcp(target: impl Into<String>, port: u16, reachable: bool) -> Self {
        Self { target: target.into(), port, transport: Transport::Tcp, reachable, why: None, from: None }
    }

    /// Says from which machine it was tried: what `localhost` is differs.
    #[must_use]
    pub fn tried_from(mut self, machine: impl Into<String>) -> Self {
        self.from = Some(machine.into());
        self
    }

    /// With the reason why it did not answer.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }
}

/// Checks the files of all machines together. Opens nothing: what to probe is told by
/// [`wanted_ports`](Self::wanted_ports), and what came of it is given to [`check`](Self::check).
///
/// ```
/// use adapter_jitsi::{FileKind, JitsiDoctor, JitsiFile, JitsiHost, PortSeen};
///
/// let text = b"org.jitsi.videobridge.xmpp.user.shard.HOSTNAME=localhost\n";
/// let file = JitsiFile::read("jvb1/sip-communicator.properties", FileKind::Properties, text)?;
/// let hosts = [JitsiHost::bridge("jvb1.meet.example", vec![file])];
/// let found = JitsiDoctor::new().check(&hosts, &[PortSeen::tcp("localhost", 5222, false)]);
/// assert!(found.iter().any(|one| one.rule == "BLC-J008" && one.line == 1));
/// # Ok::<(), adapter_jitsi::FileError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct JitsiDoctor {
    names: Vec<String>,
}

impl JitsiDoctor {
    /// A doctor who knows no names.
    pub const fn new() -> Self {
        Self { names: Vec::new() }
    }

    /// Says names that are surely right, against which others are compared.
    #[must_use]
    pub fn with_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// The ports these files need: XMPP from every bridge to its server, media from clients to every bridge.
    pub fn wanted_ports(&self, hosts: &[JitsiHost]) -> Vec<PortWanted> {
        let mut all = Vec::new();
        for host in hosts {
            for one in host.files.iter().flat_map(Connection::all) {
                let Some(target) = one.value("hostname") else { continue };
                let port = one.value("port").and_then(|port| port.parse().ok()).unwrap_or(5222);
                let wanted = |from: &str, target: &str, port, transport, purpose| PortWanted {
                    from: from.to_owned(),
                    target: target.to_owned(),
                    port,
                    transport,
                    purpose,
                    file: one.file.name.clone(),
                    line: one.line("hostname"),
                };
                all.push(wanted(
                    &host.name,
                    target,
                    port,
                    Transport::Tcp,
                    "XMPP, by which the bridge joins the brewery",
                ));
                let media =
                    wanted("clients", &host.name, 10_000, Transport::Udp, "media between clients and the bridge");
                if !all.iter().any(|known| known.target == media.target && known.transport == Transport::Udp) {
                    all.push(media);
                }
            }
        }
        all
    }

    /// Everything found, in the order of machines and files, by line and rule. `seen`: which of the wanted ports
    /// answered; about others nothing is said.
    pub fn check(&self, hosts: &[JitsiHost], seen: &[PortSeen]) -> Vec<Finding> {
        let mut found = Vec::new();
        for host in hosts {
            for file in &host.files {
                single(file, &mut found);
            }
            statistics(host, &mut found);
            connections(host, &mut found);
        }
        secrets(hosts, &mut found);
        nicknames(hosts, &mut found);
        breweries(hosts, &mut found);
        server::check(hosts, &mut found);
        slips(&self.names, hosts, &mut found);
        for want in self.wanted_ports(hosts) {
            let here = |one: &&PortSeen| {
                (&one.target, one.port, one.transport) == (&want.target, want.port, want.transport)
                    && one.from.as_ref().is_none_or(|from| *from == want.from)
            };
            if let Some(one) = seen.iter().find(here).filter(|one| !one.reachable) {
                let PortWanted { from, target, port, transport, purpose, .. } = &want;
                let why = one.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                let text =
                    format!("{target} port {port} ({transport}) cannot be reached from here{why}; it is for {purpose}");
                let help = format!("open {port}/{transport} on {target} for {from}, and see that its server runs");
                found.push(Finding::new("BLC-J014", &want.file, want.line, text, help));
            }
        }
        let files: Vec<&str> = hosts.iter().flat_map(|host| &host.files).map(|file| &*file.name).collect();
        let order = |name: &str| files.iter().position(|file| *file == name);
        found.sort_by(|a, b| (order(&a.file), a.line, a.rule).cmp(&(order(&b.file), b.line, b.rule)));
        found.dedup();
        found
    }
}

/// What one file says by itself.
fn single(file: &JitsiFile, found: &mut Vec<Finding>) {
    let mut last: BTreeMap<&str, &Setting> = BTreeMap::new();
    let mut told = 0;
    let plain = matches!(file.kind, FileKind::Properties | FileKind::Shell);
    for setting in file.settings.iter().filter(|setting| !setting.old) {
        let line = setting.line;
        if setting.crowded && told != line {
            told = line;
            let text = "several properties on one line: Java takes all behind the first = for one value".to_owned();
            found.push(Finding::new("BLC-J002", &file.name, line, text, "write each property on a line of its own"));
        }
        let known = last.insert(&setting.key, setting);
        if let Some(known) = known.filter(|known| known.value != setting.value && plain) {
            let text = format!("{} was given another value in line {} already", setting.key, known.line);
            found.push(Finding::new(
                "BLC-J017",
                &file.name,
                line,
                text,
                "remove the one that is not meant; the last counts",
            ));
        }
        misspelt(file, setting, found);
        if setting.key == NO_TCP && is_true(&setting.value) {
            let text = "clients whose network has no UDP need a TURN server: the bridge takes no TCP".to_owned();
            found.push(Finding::new("BLC-J007", &file.name, line, text, "keep it if a TURN server is there"));
        }
    }
}

fn misspelt(file: &JitsiFile, setting: &Setting, found: &mut Vec<Finding>) {
    let lower = setting.key.to_ascii_lowercase();
    let part = lower.rsplit('.').next().unwrap_or_default();
    let of_connection = setting.key.contains(".xmpp.user.") || setting.key.contains("xmpp-client.configs.");
    let right = match file.kind {
        _ if of_connection && !KNOWN.contains(&part) => KNOWN.iter().find(|known| near(part, known)).copied(),
        FileKind::Properties if !PROPERTIES.contains(&&*setting.key) => {
            PROPERTIES.iter().find(|known| near(&setting.key, known)).copied()
        }
        _ => None,
    };
    if let Some(right) = right {
        let text = format!("{} is not known; did you mean {right}?", setting.key);
        found.push(Finding::new("BLC-J016", &file.name, setting.line, text, format!("write {right}")));
    }
}

fn is_true(text: &str) -> bool {
    text.trim().eq_ignore_ascii_case("true")
}

fn statistics(host: &JitsiHost, found: &mut Vec<Finding>) {
    let new_style = host.files.iter().any(|file| file.kind == FileKind::Hocon && !Connection::all(file).is_empty());
    for file in &host.files {
        if let Some(off) = file.setting("videobridge.stats.enabled").filter(|setting| !is_true(&setting.value)) {
            let text = "the bridge publishes no statistics: a focus never sees its load".to_owned();
            found.push(Finding::new("BLC-J003", &file.name, off.line, text, "write videobridge.stats.enabled = true"));
        }
        let bridge = file.kind == FileKind::Properties
            && file.settings.iter().any(|setting| !setting.old && setting.key.starts_with(VIDEOBRIDGE));
        if !bridge || new_style {
            continue;
        }
        let line = file.setting(STATISTICS).map_or(0, |setting| setting.line);
        if !file.value(STATISTICS).is_some_and(is_true) {
            let text = "the bridge publishes no statistics: a focus never sees it".to_owned();
            found.push(Finding::new("BLC-J003", &file.name, line, text, format!("write {STATISTICS}=true")));
        }
        let transports = file.value(TRANSPORT).unwrap_or_default();
        if !transports.split([',', ' ']).any(|one| one.eq_ignore_ascii_case("muc")) {
            let line = file.setting(TRANSPORT).map_or(line, |setting| setting.line);
            let text = "statistics do not go to the brewery".to_owned();
            found.push(Finding::new("BLC-J004", &file.name, line, text, format!("write {TRANSPORT}=muc")));
        }
    }
}

fn connections(host: &JitsiHost, found: &mut Vec<Finding>) {
    for one in host.files.iter().flat_map(Connection::all) {
        let file = &*one.file.name;
        for part in NEEDED.into_iter().filter(|part| one.value(part).is_none()) {
            let name = part.to_ascii_uppercase();
            let text = format!("connection {} has no {name}", one.id);
            found.push(Finding::new("BLC-J005", file, one.line(part), text, format!("say its {name}")));
        }
        if one.value("muc_nickname").is_none() {
            let text = format!("connection {} has no MUC_NICKNAME, by which its bridge is known", one.id);
            let help = "give each bridge a name of its own, such as the short name of its machine";
            found.push(Finding::new("BLC-J012", file, one.line("muc_nickname"), text, help));
        }
        if one.value("disable_certificate_verification").is_some_and(is_true) {
            let text =
                "the certificate of the XMPP server is not verified: anybody between may read the password".to_owned();
            let help = "have the server's certificate trusted by Java and remove this setting";
            let line = one.line("disable_certificate_verification");
            found.push(Finding::new("BLC-J006", file, line, text, help));
        }
        let local = one.value("hostname").filter(|name| is_local(name));
        if let Some(name) = local.filter(|_| host.signalling == Some(false)) {
            let text = format!("{name} is the XMPP server of a bridge on another machine, {}", host.name);
            let help = "write the name or address of the machine with the XMPP server";
            found.push(Finding::new("BLC-J008", file, one.line("hostname"), text, help));
        } else if let Some(name) = local.filter(|_| host.signalling.is_none()) {
            let text = format!("{name} is right only if the XMPP server runs on {} as well", host.name);
            let help = "check the files of the XMPP server and the focus together with these, then it is known";
            found.push(Finding::new("BLC-J018", file, one.line("hostname"), text, help));
        }
    }
}

/// Whether a name is that of the machine itself.
pub(super) fn is_local(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.starts_with("127.") || matches!(name, "::1" | "[::1]")
}

fn secrets(hosts: &[JitsiHost], found: &mut Vec<Finding>) {
    // The first secret of every account, and where it stands.
    let mut known: BTreeMap<(String, String), (&str, String)> = BTreeMap::new();
    let mut shared: Option<(&str, String)> = None;
    for host in hosts {
        let all: Vec<Connection<'_>> = host.files.iter().flat_map(Connection::all).collect();
        let passwords: Vec<&str> = all.iter().filter_map(|one| one.value("password")).collect();
        for file in host.files.iter().filter(|file| file.kind == FileKind::Shell) {
            let Some(secret) = file.setting("JVB_SECRET") else { continue };
            let help = "write the same secret in both files of every bridge; it is the password of its XMPP account";
            if !passwords.is_empty() && !passwords.contains(&&*secret.value) {
                let text = "JVB_SECRET is not the password that the bridge's connection has".to_owned();
                found.push(Finding::new("BLC-J009", &file.name, secret.line, text, help));
            }
            match &shared {
                None => shared = Some((&secret.value, format!("{}:{}", file.name, secret.line))),
                Some((value, place)) if *value != secret.value => {
                    let text = format!("JVB_SECRET is not the same as in {place}");
                    found.push(Finding::new("BLC-J010", &file.name, secret.line, text, help));
                }
                Some(_) => {}
            }
        }
        for one in &all {
            let [Some(user), Some(domain), Some(password)] =
                ["username", "domain", "password"].map(|part| one.value(part))
            else {
                continue;
            };
            let line = one.line("password");
            let place = format!("{}:{line}", one.file.name);
            let (value, first) =
                known.entry((user.to_lowercase(), domain.to_lowercase())).or_insert_with(|| (password, place));
            if *value != password {
                let text = format!("the password of {user}@{domain} is not the same as in {first}");
                let help = "write the password that the XMPP server has for this account in both places";
                found.push(Finding::new("BLC-J010", &one.file.name, line, text, help));
            }
        }
    }
}

fn nicknames(hosts: &[JitsiHost], found: &mut Vec<Finding>) {
    let mut known: BTreeMap<(String, &str), String> = BTreeMap::new();
    for one in hosts.iter().flat_map(|host| &host.files).flat_map(Connection::all) {
        let Some(nick) = one.value("muc_nickname") else { continue };
        let line = one.line("muc_nickname");
        for room in one.rooms() {
            let place = format!("{}:{line}", one.file.name);
            if let Some(first) = known.get(&(room.clone(), nick)) {
                let text = format!("another bridge in {room} is called {nick} too, in {first}: only one would be seen");
                let help = "give each bridge a nickname of its own";
                found.push(Finding::new("BLC-J011", &one.file.name, line, text, help));
            }
            known.entry((room, nick)).or_insert(place);
        }
    }
}

fn breweries(hosts: &[JitsiHost], found: &mut Vec<Finding>) {
    let of_focus = |file: &JitsiFile| BREWERY.iter().find_map(|key| file.value(key)).map(str::to_lowercase);
    let focuses: Vec<String> = hosts.iter().flat_map(|host| &host.files).filter_map(of_focus).collect();
    let mut first: BTreeMap<String, (Vec<String>, String)> = BTreeMap::new();
    for one in hosts.iter().flat_map(|host| &host.files).flat_map(Connection::all) {
        let (rooms, line) = (one.rooms(), one.line("muc_jids"));
        if rooms.is_empty() {
            continue;
        }
        let place = format!("{}:{line}", one.file.name);
        let domain = one.value("domain").unwrap_or_default().to_lowercase();
        let (known, at) = first.entry(domain).or_insert_with(|| (rooms.clone(), place));
        let text = if !focuses.is_empty() && !rooms.iter().any(|room| focuses.contains(room)) {
            format!("{} is not the brewery of the focus, {}", rooms.join(", "), focuses.join(", "))
        } else if focuses.is_empty() && !rooms.iter().any(|room| known.contains(room)) {
            format!("{} is another brewery than {} in {at}", rooms.join(", "), known.join(", "))
        } else {
            continue;
        };
        let help = "write the brewery room of the focus in MUC_JIDS of every bridge";
        found.push(Finding::new("BLC-J015", &one.file.name, line, text, help));
    }
}
