//! Where a meeting's learning records go, encrypted for its server.

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeEncrypt, KeyIvInit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Sha256;

/// Rounds of the derivation of the key.
const ROUNDS: u32 = 10_000;

/// The value of `meta_secret-lrs-payload`: eight random bytes, the salt, and the text encrypted with AES-256-CBC under
/// a key and vector that follow from the server's secret and the salt.
pub(crate) fn payload(secret: &str, text: &str, random: [u8; 8], salt: [u8; 8]) -> String {
    let mut derived = [0_u8; 48];
    pbkdf2::pbkdf2_hmac::<Sha256>(secret.as_bytes(), &salt, ROUNDS, &mut derived);
    let (key, iv) = derived.split_at(32);
    let mut out = [random, salt].concat();
    // Key and vector have the lengths that are asked for.
    if let Ok(cipher) = cbc::Encryptor::<Aes256>::new_from_slices(key, iv) {
        out.extend(cipher.encrypt_padded_vec::<Pkcs7>(text.as_bytes()));
    }
    STANDARD.encode(out)
}

#[cfg(test)]
mod tests {
    use aes::cipher::BlockModeDecrypt;

    use super::*;

    #[test]
    fn the_server_reads_it_with_its_secret() {
        let text = r#"{"lrs_endpoint":"https://lrs.example","lrs_token":"t"}"#;
        let value = payload("s3cret", text, [7; 8], [9; 8]);
        let bytes = STANDARD.decode(value).unwrap();
        let (head, cipher) = bytes.split_at(16);
        assert_eq!(head, [[7_u8; 8], [9; 8]].concat());
        let mut derived = [0_u8; 48];
        pbkdf2::pbkdf2_hmac::<Sha256>(b"s3cret", &head[8..], ROUNDS, &mut derived);
        let read = cbc::Decryptor::<Aes256>::new_from_slices(&derived[..32], &derived[32..]).unwrap();
        assert_eq!(read.decrypt_padded_vec::<Pkcs7>(cipher).unwrap(), text.as_bytes());
    }
}
