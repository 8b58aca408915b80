//! Certificate files that a configuration names.

use crate::config::{ConfigLine, SectionKind};

use super::scene::{Part, Scene};
use super::{Doctor, Finding};

/// The largest certificate file that is looked into, in bytes.
const MAX_PEM_LEN: usize = 1024 * 1024;
/// The most certificate files that are looked into.
const MAX_FILES: usize = 1000;

pub(super) fn check(doctor: &Doctor, scene: &Scene<'_>, found: &mut Vec<Finding>) {
    let Some(reader) = &doctor.reader else { return };
    let base = scene.of_kind(SectionKind::Global).flat_map(|part| part.own(&["crt-base"])).last();
    let mut left = MAX_FILES;
    let mut names: Vec<String> = Vec::new();
    let mut first = None;
    for part in scene.proxies() {
        for bind in part.binds() {
            let places = (1..bind.words.len()).filter(|&at| bind.word(at) == "crt");
            for word in places.filter_map(|at| bind.words.get(at + 1)).filter(|word| !word.variable) {
                if left == 0 {
                    return;
                }
                left -= 1;
                let path = match base {
                    Some(base) if !word.text.starts_with('/') => format!("{}/{}", base.word(1), word.text),
                    _ => word.text.clone(),
                };
                match reader(&path) {
                    Ok(bytes) => {
                        names.extend(look(doctor, part, bind, &path, &bytes, found));
                        first.get_or_insert((part, bind));
                    }
                    // A folder of certificates: which of them counts is decided by name at run time.
                    Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {}
                    Err(error) => {
                        let text = format!("{path}: {error}");
                        let help = "put certificate, chain and key into that file: cat fullchain.pem privkey.pem";
                        found.push(Finding::new("BLC-H016", part.file, bind.number, text, help));
                    }
                }
            }
        }
    }
    let Some((part, bind)) = first.filter(|_| !names.is_empty()) else { return };
    for wanted in &doctor.names {
        let wanted = wanted.to_ascii_lowercase();
        let parent = wanted.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        if !names.iter().any(|name| *name == wanted || Some(name) == parent.as_ref()) {
            let text = format!("no certificate is for {wanted}, only for {}", names.join(", "));
            found.push(Finding::new("BLC-H020", part.file, bind.number, text, "ask for a certificate with that name"));
        }
    }
}

/// Looks into one file; the names it is for, where they can be read.
fn look(
    doctor: &Doctor,
    part: &Part<'_>,
    bind: &ConfigLine,
    path: &str,
    bytes: &[u8],
    found: &mut Vec<Finding>,
) -> Vec<String> {
    let number = bind.number;
    if bytes.len() > MAX_PEM_LEN {
        let text = format!("{path}: {} bytes is no certificate", bytes.len());
        found.push(Finding::new("BLC-H017", part.file, number, text, "name the pem file"));
        return Vec::new();
    }
    let text = String::from_utf8_lossy(bytes);
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        let text = format!("{path}: no certificate in it");
        found.push(Finding::new("BLC-H017", part.file, number, text, "cat fullchain.pem privkey.pem > FILE"));
    } else if !text.contains("PRIVATE KEY-----")
        && doctor.reader.as_ref().is_some_and(|read| read(&format!("{path}.key")).is_err())
    {
        let text = format!("{path}: no private key in it");
        found.push(Finding::new("BLC-H017", part.file, number, text, "cat fullchain.pem privkey.pem > FILE"));
    }
    #[cfg(feature = "certificates")]
    return dates_and_names(doctor, part, number, path, bytes, found);
    #[cfg(not(feature = "certificates"))]
    Vec::new()
}

#[cfg(feature = "certificates")]
fn dates_and_names(
    doctor: &Doctor,
    part: &Part<'_>,
    number: usize,
    path: &str,
    bytes: &[u8],
    found: &mut Vec<Finding>,
) -> Vec<String> {
    use x509_parser::extensions::GeneralName;
    use x509_parser::pem::Pem;

    let Some(pem) = Pem::iter_from_buffer(bytes).filter_map(Result::ok).find(|pem| pem.label == "CERTIFICATE") else {
        return Vec::new();
    };
    let Ok(certificate) = pem.parse_x509() else {
        let text = format!("{path}: the certificate in it cannot be read");
        found.push(Finding::new("BLC-H017", part.file, number, text, "write it anew"));
        return Vec::new();
    };
    let now = doctor.now.and_then(|now| now.duration_since(std::time::UNIX_EPOCH).ok());
    if let Some(now) = now.and_then(|now| i64::try_from(now.as_secs()).ok()) {
        let (from, to) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        let days = (to - now).div_euclid(86_400);
        let renew = "renew it: certbot renew, then write the pem file again";
        if now < from {
            let text = format!("{path}: not valid before {}", certificate.validity().not_before);
            found.push(Finding::new("BLC-H018", part.file, number, text, "look at the clock of this host"));
        } else if now > to {
            let text = format!("{path}: expired {} days ago", -days);
            found.push(Finding::new("BLC-H018", part.file, number, text, renew));
        } else if days < 21 {
            found.push(Finding::new("BLC-H019", part.file, number, format!("{path}: {days} days left"), renew));
        }
    }
    let mut names: Vec<String> = Vec::new();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        names.extend(alternatives.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        }));
    }
    names
}
