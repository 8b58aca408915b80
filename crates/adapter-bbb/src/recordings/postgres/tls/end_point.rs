//! What a login is bound to, so that nobody between the two can use it: a hash of the server's certificate (RFC 5929,
//! `tls-server-end-point`).

use sha2::{Digest, Sha256, Sha384, Sha512};

/// Hashes that signatures are made with, by the identifiers of the algorithms.
const RSA: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
const ECDSA: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];

/// The next element of a DER text: its tag, its content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) =
            rest.split_at_checked(usize::from(first & 0x7f)).filter(|(d, _)| (1..=4).contains(&d.len()))?;
        (digits.iter().fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The hash of a certificate, by the hash that its own signature is made with: at least SHA-256. `None` for signatures
/// without one.
pub(super) fn hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, inside, _) = element(certificate)?;
    let (_, _, after_body) = element(inside)?;
    let (_, algorithm, _) = element(after_body)?;
    let (6, name, _) = element(algorithm)? else { return None };
    let sha256 = || Some(Sha256::digest(certificate).to_vec());
    let sha384 = || Some(Sha384::digest(certificate).to_vec());
    let sha512 = || Some(Sha512::digest(certificate).to_vec());
    match (name.strip_prefix(&RSA[..]), name.strip_prefix(&ECDSA[..])) {
        // With MD5, SHA-1 or SHA-256.
        (Some([4 | 5 | 11]), _) | (_, Some([2])) => sha256(),
        (Some([12]), _) | (_, Some([3])) => sha384(),
        (Some([13]), _) | (_, Some([4])) => sha512(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As much of a certificate as is looked at.
    fn certificate(algorithm: &[u8], padding: usize) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| {
            let mut out = vec![tag, 0x82];
            out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            out.extend(content);
            out
        };
        let parts = [wrap(0x30, &vec![0; padding]), wrap(0x30, &wrap(6, algorithm)), wrap(3, &[0; 9])];
        wrap(0x30, &parts.concat())
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        for (algorithm, length) in [
            ([&RSA[..], &[5]].concat(), Some(32)),
            ([&RSA[..], &[11]].concat(), Some(32)),
            ([&RSA[..], &[12]].concat(), Some(48)),
            ([&RSA[..], &[13]].concat(), Some(64)),
            ([&ECDSA[..], &[2]].concat(), Some(32)),
            ([&ECDSA[..], &[3]].concat(), Some(48)),
            // RSA-PSS and Ed25519 name none.
            ([&RSA[..], &[10]].concat(), None),
            (vec![0x2b, 0x65, 0x70], None),
        ] {
            let found = hash(&certificate(&algorithm, 300));
            assert_eq!(found.map(|h| h.len()), length, "{algorithm:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(bytes in proptest::collection::vec(any::<u8>(), 0..64), cut in 0_usize..400) {
            let _ = hash(&bytes);
            let whole = certificate(&[&ECDSA[..], &[2]].concat(), 200);
            let cut = &whole[..cut.min(whole.len())];
            prop_assert!(cut.len() == whole.len() || hash(cut).is_none());
        }
    }
}
