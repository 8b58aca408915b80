//! Base-64 for `testing`, for our own tests, those of `tests/it` as well.

/// Base-64 in the standard alphabet, padded.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, &b| (word << 8) | u32::from(b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ((word >> (18 - 6 * place)) & 63) as usize;
            out.push(if place <= chunk.len() { char::from(ALPHABET[digit]) } else { '=' });
        }
    }
    out
}
