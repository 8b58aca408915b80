//! Files of certificates, as they were when the settings were read.

use std::fmt;
use std::path::Path;

use adapter_haproxy::peers::{PeerNodeError, PeerTls};

use super::Text;
use crate::files;

/// The largest file of certificates that is read, in bytes.
const MAX_LEN: usize = 1024 * 1024;

/// What is in the files. Kept with the settings: renewed files are other settings. Never in `Debug`: there is a key in it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pem {
    authority: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The files of a node of peers; texts that are empty name none.
pub(super) struct PemFiles<'s> {
    pub(super) authority: &'s Text,
    pub(super) certificate: &'s Text,
    pub(super) key: &'s Text,
}

impl PemFiles<'_> {
    /// Reads them; nothing where none is named.
    pub(super) fn read(&self) -> Result<Option<Pem>, String> {
        let given = [("authority", self.authority), ("certificate", self.certificate)];
        let missing = given.iter().find(|(_, text)| text.as_str().is_empty());
        if let Some((what, _)) = missing {
            let other = [given[0], given[1], ("key", self.key)].into_iter().find(|(_, text)| !text.as_str().is_empty());
            return match other {
                Some((other, _)) => Err(format!(
                    "peers.{other} is set and peers.{what} is not: TLS among peers needs an authority and a certificate of it"
                )),
                None => Ok(None),
            };
        }
        let read = |what: &str, text: &Text| {
            let read = files::read(Path::new(text.as_str()), MAX_LEN);
            read.map_err(|why| {
                let cause = why.cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                format!("peers.{what}: {}{cause}", why.what)
            })
        };
        let pem = Pem {
            authority: read("authority", self.authority)?,
            certificate: read("certificate", self.certificate)?,
            key: read(self.key_setting().0, self.key_setting().1)?,
        };
        Ok(Some(pem))
    }

    /// The setting that names the file with the key.
    fn key_setting(&self) -> (&'static str, &Text) {
        if self.key.as_str().is_empty() { ("certificate", self.certificate) } else { ("key", self.key) }
    }

    /// What a node makes of them.
    pub(super) fn tls(&self, pem: &Pem) -> Result<PeerTls, String> {
        PeerTls::new(&pem.authority, &pem.certificate, &pem.key).map_err(|error| {
            let PeerNodeError::Tls { what, why } = &error else { return error.to_string() };
            let (setting, file) = match *what {
                "the authority" => ("authority", self.authority),
                "the key" => self.key_setting(),
                _ => ("certificate", self.certificate),
            };
            let help = match *what {
                "the key" if setting == "certificate" => "; append the key to it, or name its file in peers.key",
                "the certificate" => "; is the key that of the certificate?",
                _ => "",
            };
            format!("peers.{setting}: {}: {what}: {why}{help}", file.as_str())
        })
    }
}
