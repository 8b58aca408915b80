//! What the XMPP server's own configuration says about the bridges that connect to it.
//!
//! Only what is certain counts: a configuration that includes other files, or computes something, may have everything.

use super::connection::Connection;
use super::doctor::{Finding, is_local};
use super::lua::MORE;
use super::{FileKind, JitsiFile, JitsiHost, Setting};

/// The file that everything else is included from.
const MAIN: &str = "prosody.cfg.lua";

/// The names of the hosts and components of a server.
pub(super) fn hosts(file: &JitsiFile) -> impl Iterator<Item = &str> {
    declared(file).map(|setting| &*setting.value).filter(|name| !name.is_empty())
}

fn declared(file: &JitsiFile) -> impl Iterator<Item = &Setting> {
    let prosody = file.kind == FileKind::Prosody;
    let is_host = |key: &str| key == "VirtualHost" || key == "Component" || key.starts_with("Component.");
    file.settings.iter().filter(move |setting| prosody && is_host(&setting.key))
}

/// A server whose whole configuration is one file, all of it written out.
struct Server<'a> {
    host: &'a JitsiHost,
    file: &'a JitsiFile,
}

impl<'a> Server<'a> {
    fn all(hosts: &'a [JitsiHost]) -> Vec<Self> {
        let mut all = Vec::new();
        for host in hosts {
            let mut files = host.files.iter().filter(|file| file.kind == FileKind::Prosody);
            // A second file is another server, or a part of this one.
            if let (Some(file), None) = (files.next(), files.next())
                && file.name.rsplit('/').next() == Some(MAIN)
                && file.setting(MORE).is_none()
                && declared(file).all(|setting| !setting.value.is_empty())
            {
                all.push(Self { host, file });
            }
        }
        all
    }

    /// Whether that connection surely goes to this server.
    fn serves(&self, host: &JitsiHost, one: &Connection<'_>) -> bool {
        let Some(name) = one.value("hostname") else { return false };
        let own = self.host.name == host.name;
        (own && is_local(name)) || name == self.host.name || hosts(self.file).any(|known| known == name)
    }

    fn has(&self, name: &str) -> bool {
        hosts(self.file).any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The ports for clients; `None` where they are not written out.
    fn ports(&self) -> Option<(Vec<u16>, usize)> {
        let Some(setting) = self.file.setting("c2s_ports") else { return Some((vec![5222], 0)) };
        let ports: Result<Vec<u16>, _> = setting.value.split(',').map(str::parse).collect();
        ports.ok().map(|ports| (ports, setting.line))
    }

    /// Whether clients are heard on the loopback alone, and the line that says so.
    fn loopback(&self) -> Option<usize> {
        let setting = self.file.setting("c2s_interfaces").or_else(|| self.file.setting("interfaces"))?;
        (!setting.value.is_empty() && setting.value.split(',').all(is_local)).then_some(setting.line)
    }
}

pub(super) fn check(all: &[JitsiHost], found: &mut Vec<Finding>) {
    for server in Server::all(all) {
        for host in all {
            for one in host.files.iter().flat_map(Connection::all).filter(|one| server.serves(host, one)) {
                connection(&server, host, &one, found);
            }
        }
    }
}

fn connection(server: &Server<'_>, host: &JitsiHost, one: &Connection<'_>, found: &mut Vec<Finding>) {
    let (file, name) = (&*one.file.name, &*server.file.name);
    if let Some(domain) = one.value("domain").filter(|domain| !server.has(domain)) {
        let text = format!("{name} has no VirtualHost {domain}, in which the bridge logs in");
        let help = "write the host of the bridges' account, such as auth.meet.example, in both files";
        found.push(Finding::new("BLC-J019", file, one.line("domain"), text, help));
    }
    for room in one.rooms() {
        let Some((_, service)) = room.split_once('@').filter(|(_, service)| !server.has(service)) else { continue };
        let text = format!("{name} has no Component {service}, in which the brewery is");
        let help =
            format!("write the room service in both files: Component \"{service}\" \"muc\", or another name here");
        found.push(Finding::new("BLC-J019", file, one.line("muc_jids"), text, help));
    }
    let port = one.value("port").map_or(Some(5222), |port| port.parse().ok());
    if let (Some(port), Some((ports, line))) = (port, server.ports())
        && !ports.contains(&port)
    {
        let at = if line > 0 { format!("{name}:{line}") } else { name.to_owned() };
        let text = format!("the bridge connects to port {port}, where {at} does not listen for it");
        let help = "write one port in both files: PORT here, c2s_ports there";
        let part = if one.value("port").is_some() { "port" } else { "hostname" };
        found.push(Finding::new("BLC-J020", file, one.line(part), text, help));
    }
    if let Some(line) = server.loopback().filter(|_| server.host.name != host.name) {
        let text = format!("clients are heard on the loopback alone, and {file} is of a bridge on {}", host.name);
        let help = "add an address that the bridges reach to c2s_interfaces";
        found.push(Finding::new("BLC-J020", name, line, text, help));
    }
}
