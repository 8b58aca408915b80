//! Signed tokens of callbacks: three parts, of which the last one signs the others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};

/// The longest token that is looked at.
const MAX_TOKEN: usize = 64 << 10;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Hs256,
    Hs384,
    Hs512,
}

impl TokenKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Hs256, Self::Hs384, Self::Hs512].into_iter().find(|kind| kind.name() == name)
    }
}

/// What is left of a signature when it is known only to be right or wrong.
trait Signer {
    fn sign(secret: &str, text: &[u8]) -> Vec<u8>;
    fn fits(secret: &str, text: &[u8], signature: &[u8]) -> bool;
}

macro_rules! signer {
    ($digest:ty) => {
        impl Signer for $digest {
            fn sign(secret: &str, text: &[u8]) -> Vec<u8> {
                // A key of any length is taken.
                let Ok(mut mac) = Hmac::<$digest>::new_from_slice(secret.as_bytes()) else { return Vec::new() };
                mac.update(text);
                mac.finalize().into_bytes().to_vec()
            }

            fn fits(secret: &str, text: &[u8], signature: &[u8]) -> bool {
                let Ok(mut mac) = Hmac::<$digest>::new_from_slice(secret.as_bytes()) else { return false };
                mac.update(text);
                mac.verify_slice(signature).is_ok()
            }
        }
    };
}

signer!(Sha256);
signer!(Sha384);
signer!(Sha512);

/// A token with these claims.
pub(crate) fn signed_token(kind: TokenKind, secret: &str, claims: &Value) -> String {
    let header = json!({ "alg": kind.name(), "typ": "JWT" });
    let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = match kind {
        TokenKind::Hs256 => Sha256::sign(secret, token.as_bytes()),
        TokenKind::Hs384 => Sha384::sign(secret, token.as_bytes()),
        TokenKind::Hs512 => Sha512::sign(secret, token.as_bytes()),
    };
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    token
}

/// The claims of a token that one of these secrets signed, in one of these ways.
///
/// A token that says when it ends must not have ended at `now` (seconds since the epoch); `must_end` refuses one that
/// does not say so.
pub(crate) fn verified_claims<'s>(
    token: &str,
    kinds: &[TokenKind],
    secrets: impl IntoIterator<Item = &'s str>,
    now: u64,
    must_end: bool,
) -> Option<Value> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let kind = TokenKind::named(header.get("alg")?.as_str()?).filter(|kind| kinds.contains(kind))?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let fits = |secret: &str| match kind {
        TokenKind::Hs256 => Sha256::fits(secret, signed.as_bytes(), &signature),
        TokenKind::Hs384 => Sha384::fits(secret, signed.as_bytes(), &signature),
        TokenKind::Hs512 => Sha512::fits(secret, signed.as_bytes(), &signature),
    };
    // An empty secret would let everybody in.
    if !secrets.into_iter().filter(|secret| !secret.is_empty()).any(fits) {
        return None;
    }
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    #[allow(clippy::cast_precision_loss)]
    let now = now as f64;
    match claims.get("exp").map(|exp| exp.as_f64()) {
        Some(Some(exp)) if exp > now => {}
        None if !must_end => {}
        _ => return None,
    }
    match claims.get("nbf").map(|nbf| nbf.as_f64()) {
        None => Some(claims),
        Some(Some(nbf)) if nbf <= now => Some(claims),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: &[TokenKind] = &[TokenKind::Hs256, TokenKind::Hs384, TokenKind::Hs512];

    #[test]
    fn the_known_example_verifies() {
        // RFC 7515, appendix A.1: its key is not text, so the usual example of HS256 with a text key stands here.
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0Ijox\
                     NTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
        let claims = verified_claims(token, ALL, ["your-256-bit-secret"], 0, false).unwrap();
        assert_eq!(claims["name"], "John Doe");
        assert_eq!(verified_claims(token, &[TokenKind::Hs512], ["your-256-bit-secret"], 0, false), None);
        assert_eq!(verified_claims(token, ALL, ["your-256-bit-secret"], 0, true), None, "it never ends");
    }

    #[test]
    fn a_token_is_taken_in_its_time_and_by_its_secret() {
        for kind in ALL {
            let token = signed_token(*kind, "s3cret", &json!({ "exp": 100, "x": "ä" }));
            let read = |secrets: &[&'static str], now| verified_claims(&token, ALL, secrets.iter().copied(), now, true);
            assert_eq!(read(&["other", "s3cret"], 99).unwrap()["x"], "ä");
            assert_eq!(read(&["s3cret"], 100), None);
            assert_eq!(read(&["other", ""], 99), None);
            for at in 0..token.len() {
                let mut bytes = token.clone().into_bytes();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                let forged = String::from_utf8(bytes).unwrap();
                let taken = verified_claims(&forged, ALL, ["s3cret"], 99, true);
                // The last digit of a signature has bits that stand for nothing, and must be zero.
                assert_eq!(taken, None, "{at} of {forged}");
            }
        }
        for unsigned in ["eyJhbGciOiJub25lIn0.eyJleHAiOjk5OX0.", "a.b", "..", ""] {
            assert_eq!(verified_claims(unsigned, ALL, ["s3cret"], 0, false), None);
        }
        let text = signed_token(TokenKind::Hs512, "s", &json!({ "exp": "never" }));
        assert_eq!(verified_claims(&text, ALL, ["s"], 0, false), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(token in ".*", parts in "[A-Za-z0-9_.-]*") {
            let _ = verified_claims(&token, ALL, ["s"], 0, false);
            let _ = verified_claims(&parts, ALL, ["s"], 0, false);
        }
    }
}
