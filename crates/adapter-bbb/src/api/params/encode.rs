//! Writing parameters: form encoding as servers expect it, and signed addresses.

use super::super::checksum::{Algorithm, Hasher};
use super::{Params, base};

/// Whether a byte is written as it is.
const fn is_kept(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'-' | b'.' | b'_')
}

/// For each byte, whether it is written as it is.
const KEPT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    loop {
        table[byte as usize] = is_kept(byte);
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    table
};

fn push_encoded(out: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let bytes = text.as_bytes();
    let mut kept_from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if KEPT[usize::from(byte)] {
            continue;
        }
        // Everything between two encoded bytes is ASCII, so these are boundaries.
        out.push_str(text.get(kept_from..at).unwrap_or_default());
        kept_from = at + 1;
        if byte == b' ' {
            out.push('+');
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out.push_str(text.get(kept_from..).unwrap_or_default());
}

impl Params<'_> {
    /// Appends the parameters, form-encoded: a space as `+`, letters, digits and `*-._` as they are, the rest as
    /// upper-case percent codes.
    pub fn encode_into(&self, out: &mut String) {
        for (at, (name, value)) in self.iter().enumerate() {
            if at > 0 {
                out.push('&');
            }
            push_encoded(out, base(name));
            if let Some(value) = value {
                out.push('=');
                push_encoded(out, value);
            }
        }
    }

    /// The parameters, form-encoded.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(self.encoded_guess());
        self.encode_into(&mut out);
        out
    }

    /// About how long the encoded text will be.
    fn encoded_guess(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.map_or(0, |value| value.len() + value.len() / 4) + 2).sum()
    }
}

/// The address of a call to a server: its base, the call, the parameters and the checksum made with the server's
/// secret. An empty call is the version probe.
///
/// The parameters are written as they are: no `checksum` must be among them.
#[must_use]
pub fn signed_url(server: &str, call: &str, params: &Params<'_>, secret: &str, algorithm: Algorithm) -> String {
    const CHECKSUM: &str = "checksum=";
    let fixed = server.len() + call.len() + CHECKSUM.len() + algorithm.hex_len() + 3;
    let mut url = String::with_capacity(fixed + params.encoded_guess());
    url.push_str(server);
    if !server.ends_with('/') {
        url.push('/');
    }
    url.push_str(call);
    url.push('?');
    let query_from = url.len();
    params.encode_into(&mut url);
    let mut hasher = Hasher::new(algorithm);
    hasher.update(call.as_bytes());
    hasher.update(url.get(query_from..).unwrap_or_default().as_bytes());
    hasher.update(secret.as_bytes());
    if url.len() > query_from {
        url.push('&');
    }
    url.push_str(CHECKSUM);
    url.push_str(hasher.finish().as_str());
    url
}
