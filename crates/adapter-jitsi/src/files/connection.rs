//! How a bridge reaches its brewery, whichever file says it.

use std::collections::BTreeMap;

use super::{FileKind, JitsiFile, Setting};
use crate::xmpp::Password;

const PROPERTIES: &str = "org.jitsi.videobridge.xmpp.user.";
const BLOCK: &str = "videobridge.apis.xmpp-client.configs.";

/// What one connection needs, in lower case.
pub(super) const NEEDED: [&str; 5] = ["hostname", "domain", "username", "password", "muc_jids"];
pub(super) const KNOWN: [&str; 11] = [
    "hostname",
    "domain",
    "username",
    "password",
    "muc_jids",
    "muc_nickname",
    "muc",
    "port",
    "disable_certificate_verification",
    "iq_handler_mode",
    "mode",
];

/// How a bridge logs in, as its file says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BridgeLogin {
    /// The name of the connection in the file.
    pub id: String,
    /// `host:port` of the XMPP server; port 5222 unless the file says another.
    pub server: String,
    /// The account.
    pub account: String,
    /// Its password; not shown by `Debug`.
    pub password: Password,
    /// The first of its brewery rooms, in lower case.
    pub room: String,
}

impl JitsiFile {
    /// The logins in the file by name; those that lack something are left out.
    pub fn logins(&self) -> Vec<BridgeLogin> {
        let login = |one: &Connection<'_>| {
            let [host, domain, user, password] =
                ["hostname", "domain", "username", "password"].map(|part| one.value(part));
            Some(BridgeLogin {
                id: one.id.clone(),
                server: format!("{}:{}", host?, one.value("port").unwrap_or("5222")),
                account: format!("{}@{}", user?, domain?),
                password: Password::new(password?),
                room: one.rooms().into_iter().next()?,
            })
        };
        Connection::all(self).iter().filter_map(login).collect()
    }
}

/// One connection of one file.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    pub(super) file: &'a JitsiFile,
    /// The name it has in the file.
    pub(super) id: String,
    pub(super) parts: BTreeMap<String, &'a Setting>,
}

impl<'a> Connection<'a> {
    pub(super) fn value(&self, part: &str) -> Option<&'a str> {
        // No name has an equals sign; what has one may carry somebody's secret behind it.
        let sound = |value: &&str| !value.is_empty() && (part == "password" || !value.contains('='));
        self.parts.get(part).map(|setting| &*setting.value).filter(sound)
    }

    /// The line to point at: of this part, or of the first there is.
    pub(super) fn line(&self, part: &str) -> usize {
        let first = || self.parts.values().map(|setting| setting.line).min();
        self.parts.get(part).map(|setting| setting.line).or_else(first).unwrap_or(0)
    }

    /// The brewery rooms, in lower case.
    pub(super) fn rooms(&self) -> Vec<String> {
        let text = self.value("muc_jids").unwrap_or_default();
        text.split(',').map(|room| room.trim().to_lowercase()).filter(|room| !room.is_empty()).collect()
    }

    pub(super) fn all(file: &'a JitsiFile) -> Vec<Self> {
        let front = match file.kind {
            FileKind::Properties => PROPERTIES,
            FileKind::Hocon => BLOCK,
            FileKind::Shell | FileKind::Prosody => return Vec::new(),
        };
        let mut found: BTreeMap<&str, BTreeMap<String, &Setting>> = BTreeMap::new();
        for setting in file.settings.iter().filter(|setting| !setting.old) {
            let Some((id, part)) = setting.key.strip_prefix(front).and_then(|rest| rest.rsplit_once('.')) else {
                continue;
            };
            found.entry(id).or_default().insert(part.to_ascii_lowercase(), setting);
        }
        found.into_iter().map(|(id, parts)| Self { file, id: id.to_owned(), parts }).collect()
    }
}
