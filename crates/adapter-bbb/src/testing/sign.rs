//! The checksum rule of a BigBlueButton server, written apart from the product's own so that one can check the other.
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha256, Sha384, Sha512};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether `given` is the lower-case hex checksum of `call`, the raw query without its checksum, and the secret.
pub(super) fn matches(call: &str, query: &[u8], secret: &str, given: &str) -> bool {
    match given.len() {
        40 => equal(&hashed::<Sha1>(call, query, secret), given),
        64 => equal(&hashed::<Sha256>(call, query, secret), given),
        96 => equal(&hashed::<Sha384>(call, query, secret), given),
        128 => equal(&hashed::<Sha512>(call, query, secret), given),
        _ => false,
    }
}

fn hashed<D: Digest>(call: &str, query: &[u8], secret: &str) -> Vec<u8> {
    let mut hash = D::new();
    hash.update(call.as_bytes());
    let mut first = true;
    for part in query.split(|byte| *byte == b'&').filter(|part| !part.starts_with(b"checksum=")) {
        if !first {
            hash.update(b"&");
        }
        first = false;
        hash.update(part);
    }
    hash.update(secret.as_bytes());
    hash.finalize().to_vec()
}

fn equal(digest: &[u8], hex: &str) -> bool {
    let hex = hex.as_bytes();
    hex.len() == digest.len() * 2
        && digest
            .iter()
            .zip(hex.chunks_exact(2))
            .all(|(byte, pair)| pair[0] == HEX[usize::from(byte >> 4)] && pair[1] == HEX[usize::from(byte & 15)])
}

/// Lower-case hex of the SHA-1 of a text: the first half of an internal meeting id.
pub(super) fn sha1_hex(text: &str) -> String {
    let mut out = String::with_capacity(40);
    for byte in Sha1::digest(text.as_bytes()) {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
    out
}

/// The query with `checksum=` (SHA-256) appended, as a front-end sends it.
pub(super) fn signed_query(call: &str, query: &str, secret: &str) -> String {
    let digest = hashed::<Sha256>(call, query.as_bytes(), secret);
    let mut out = String::with_capacity(query.len() + 76);
    out.push_str(query);
    if !query.is_empty() {
        out.push('&');
    }
    out.push_str("checksum=");
    for byte in digest {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(call: &str, query: &str, want: &str, digest: &[u8]) {
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(hex.starts_with(want), "{hex}");
        assert!(matches(call, query.as_bytes(), "s3cret", &hex));
        assert!(!matches(call, query.as_bytes(), "s3cret", &hex.to_uppercase()));
        for placed in [
            format!("checksum={hex}&{query}"),
            format!("{query}&checksum={hex}"),
            query.replacen('&', &format!("&checksum={hex}&"), 1),
        ] {
            let fits = matches(call, placed.trim_matches('&').as_bytes(), "s3cret", &hex);
            assert!(fits, "{placed}");
        }
    }

    #[test]
    fn known_vectors_hold_wherever_the_checksum_stands() {
        let call = "isMeetingRunning";
        starts(call, "meetingID=a+b", "83304631128793aae3e8e775", &hashed::<Sha1>(call, b"meetingID=a+b", "s3cret"));
        let query = "meetingID=a%20b&x=1";
        starts(call, query, "6c1c45e83a273e6a10d2465b", &hashed::<Sha256>(call, query.as_bytes(), "s3cret"));
        starts(call, "", "3b38928c0a373a41c887a80b", &hashed::<Sha512>(call, b"", "s3cret"));
    }

    #[test]
    fn other_lengths_are_refused() {
        assert!(!matches("end", b"", "s", ""));
        assert!(!matches("end", b"", "s", &"a".repeat(41)));
        assert!(!matches("end", b"", "s", "\u{e9}"));
    }
}
