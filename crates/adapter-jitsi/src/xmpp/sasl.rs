//! Proving who we are: SCRAM by RFC 5802 and 7677, and PLAIN.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The most rounds of hashing that a server may ask for: half a second of work.
const MAX_ROUNDS: u32 = 500_000;
/// The fewest rounds we accept.
const MIN_ROUNDS: u32 = 1_000;
/// The longest message of a server, in bytes before decoding.
const MAX_MESSAGE: usize = 4096;

/// A way to log in, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Mechanism {
    /// The password itself: over TLS or on the loopback only.
    Plain,
    /// Challenge and response with SHA-1.
    ScramSha1,
    /// Challenge and response with SHA-256.
    ScramSha256,
}

impl Mechanism {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// The strongest of what a server offers, not below `least`.
    ///
    /// # Errors
    ///
    /// [`SaslError::NoMechanism`] names what was offered.
    pub fn strongest<'a>(offered: impl IntoIterator<Item = &'a str>, least: Self) -> Result<Self, SaslError> {
        let offered: Vec<&str> = offered.into_iter().take(32).collect();
        [Self::ScramSha256, Self::ScramSha1, Self::Plain]
            .into_iter()
            .find(|way| *way >= least && offered.contains(&way.name()))
            .ok_or_else(|| SaslError::NoMechanism { offered: offered.join(" ").chars().take(200).collect() })
    }
}

/// Why a login ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaslError {
    /// Nothing of what the server offers is ours.
    #[error("the server offers no login we use: it has [{offered}], we use SCRAM-SHA-256, SCRAM-SHA-1 and PLAIN")]
    NoMechanism {
        /// What it offers.
        offered: String,
    },
    /// The server refused: most often a wrong password or account.
    #[error("the server refused the login: {condition}; check account and password")]
    Refused {
        /// Its condition, such as `not-authorized`.
        condition: String,
    },
    /// The server's message is not what the mechanism has it say.
    #[error("the server's login message is wrong: {0}")]
    Message(&'static str),
    /// The server asks for too many or too few rounds of hashing.
    #[error("the server asks for {0} rounds of hashing; between 1000 and {MAX_ROUNDS} are accepted")]
    Rounds(u32),
    /// The server does not know the password itself: somebody else answers in its place.
    #[error("the server did not prove that it knows the password")]
    Impostor,
    /// Account or password hold characters that may not be used.
    #[error("account or password hold a character that no login may have")]
    Characters,
}

/// One login under way.
pub struct Sasl {
    mechanism: Mechanism,
    password: String,
    nonce: String,
    bare: String,
    state: State,
}

enum State {
    Plain,
    First,
    /// What the server must sign with.
    Final(Vec<u8>),
    Proven,
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

impl Sasl {
    /// Begins a login, and gives the first message in base64. The nonce must be unpredictable, once for each login.
    ///
    /// # Errors
    ///
    /// [`SaslError::Characters`].
    pub fn start(
        mechanism: Mechanism,
        account: &str,
        password: &str,
        nonce: &[u8; 18],
    ) -> Result<(Self, String), SaslError> {
        Self::with_nonce(mechanism, account, password, STANDARD.encode(nonce))
    }

    fn with_nonce(
        mechanism: Mechanism,
        account: &str,
        password: &str,
        nonce: String,
    ) -> Result<(Self, String), SaslError> {
        let prepared = |text| stringprep::saslprep(text).map_err(|_| SaslError::Characters);
        let account = prepared(account)?;
        let password = prepared(password)?.into_owned();
        if account.is_empty() || account.contains('\0') || password.contains('\0') {
            return Err(SaslError::Characters);
        }
        let (state, bare, first) = if mechanism == Mechanism::Plain {
            (State::Plain, String::new(), format!("\0{account}\0{password}"))
        } else {
            let name = account.replace('=', "=3D").replace(',', "=2C");
            let bare = format!("n={name},r={nonce}");
            let first = format!("n,,{bare}");
            (State::First, bare, first)
        };
        Ok((Self { mechanism, password, nonce, bare, state }, STANDARD.encode(first)))
    }

    /// Answers a challenge, both in base64.
    ///
    /// # Errors
    ///
    /// [`SaslError`] when the challenge is wrong, or the server fails to prove itself.
    pub fn challenge(&mut self, text: &str) -> Result<String, SaslError> {
        let message = decode(text)?;
        let (answer, state) = match &self.state {
            State::First => self.respond(&message)?,
            State::Final(signature) => {
                verify(&message, signature)?;
                (String::new(), State::Proven)
            }
            State::Plain | State::Proven => return Err(SaslError::Message("a challenge where none is due")),
        };
        self.state = state;
        Ok(answer)
    }

    /// Reads what the server says with its success.
    ///
    /// # Errors
    ///
    /// [`SaslError::Impostor`] when the server has not proved that it knows the password.
    pub fn success(&mut self, text: &str) -> Result<(), SaslError> {
        match &self.state {
            State::Plain | State::Proven => Ok(()),
            State::First => Err(SaslError::Impostor),
            State::Final(signature) => verify(&decode(text)?, signature),
        }
    }

    fn respond(&self, message: &str) -> Result<(String, State), SaslError> {
        let mut fields = message.split(',');
        let mut field = |name| fields.next().and_then(|field| field.strip_prefix(name));
        let nonce = field("r=").ok_or(SaslError::Message("no nonce"))?;
        let salt = field("s=").ok_or(SaslError::Message("no salt"))?;
        let rounds = field("i=").ok_or(SaslError::Message("no number of rounds"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(SaslError::Message("the nonce is not made from ours"));
        }
        let salt = STANDARD.decode(salt).map_err(|_| SaslError::Message("the salt is not in base64"))?;
        let rounds: u32 = rounds.parse().map_err(|_| SaslError::Message("no number of rounds"))?;
        if !(MIN_ROUNDS..=MAX_ROUNDS).contains(&rounds) {
            return Err(SaslError::Rounds(rounds));
        }
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{message},{without_proof}", self.bare);
        let (proof, signature) = match self.mechanism {
            Mechanism::ScramSha256 => {
                let mut salted = [0; 32];
                pbkdf2::pbkdf2_hmac::<Sha256>(self.password.as_bytes(), &salt, rounds, &mut salted);
                prove(&salted, signed.as_bytes(), sha256, |text| Sha256::digest(text).to_vec())
            }
            _ => {
                let mut salted = [0; 20];
                pbkdf2::pbkdf2_hmac::<Sha1>(self.password.as_bytes(), &salt, rounds, &mut salted);
                prove(&salted, signed.as_bytes(), sha1, |text| Sha1::digest(text).to_vec())
            }
        };
        let answer = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((STANDARD.encode(answer), State::Final(signature)))
    }
}

fn sha1(key: &[u8], text: &[u8]) -> Vec<u8> {
    Hmac::<Sha1>::new_from_slice(key)
        .map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

fn sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

/// The client's proof, and the signature the server owes.
fn prove(
    salted: &[u8],
    signed: &[u8],
    mac: fn(&[u8], &[u8]) -> Vec<u8>,
    hash: fn(&[u8]) -> Vec<u8>,
) -> (Vec<u8>, Vec<u8>) {
    let key = mac(salted, b"Client Key");
    let signature = mac(&hash(&key), signed);
    let proof = key.iter().zip(&signature).map(|(key, sign)| key ^ sign).collect();
    (proof, mac(&mac(salted, b"Server Key"), signed))
}

fn verify(message: &str, signature: &[u8]) -> Result<(), SaslError> {
    let first = message.split(',').next().unwrap_or_default();
    if let Some(error) = first.strip_prefix("e=") {
        return Err(SaslError::Refused { condition: error.chars().take(80).collect() });
    }
    let given = first.strip_prefix("v=").and_then(|text| STANDARD.decode(text).ok()).ok_or(SaslError::Impostor)?;
    if bool::from(given.ct_eq(signature)) { Ok(()) } else { Err(SaslError::Impostor) }
}

fn decode(text: &str) -> Result<String, SaslError> {
    if text.len() > MAX_MESSAGE {
        return Err(SaslError::Message("too long"));
    }
    let bytes = STANDARD.decode(text.trim()).map_err(|_| SaslError::Message("not in base64"))?;
    String::from_utf8(bytes).map_err(|_| SaslError::Message("not UTF-8"))
}

#[cfg(test)]
mod tests;
